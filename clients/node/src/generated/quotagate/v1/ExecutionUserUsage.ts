// Written by scripts/generate.mjs. Do not edit.

import type { LimitUsage as _quotagate_v1_LimitUsage, LimitUsage__Output as _quotagate_v1_LimitUsage__Output } from '../../quotagate/v1/LimitUsage.js';

export interface ExecutionUserUsage {
  'executionUser'?: (string);
  'limits'?: (_quotagate_v1_LimitUsage)[];
  'inPool'?: (boolean);
  'foreignTraffic'?: (boolean);
}

export interface ExecutionUserUsage__Output {
  'executionUser': (string);
  'limits': (_quotagate_v1_LimitUsage__Output)[];
  'inPool': (boolean);
  'foreignTraffic': (boolean);
}
