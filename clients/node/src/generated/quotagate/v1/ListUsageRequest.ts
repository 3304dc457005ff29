// Written by scripts/generate.mjs. Do not edit.

import type { UsageOrder as _quotagate_v1_UsageOrder, UsageOrder__Output as _quotagate_v1_UsageOrder__Output } from '../../quotagate/v1/UsageOrder.js';

export interface ListUsageRequest {
  'pageSize'?: (number);
  'pageToken'?: (string);
  'order'?: (_quotagate_v1_UsageOrder);
  'search'?: (string);
}

export interface ListUsageRequest__Output {
  'pageSize': (number);
  'pageToken': (string);
  'order': (_quotagate_v1_UsageOrder__Output);
  'search': (string);
}
