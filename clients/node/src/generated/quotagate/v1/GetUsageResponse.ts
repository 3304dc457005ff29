// Written by scripts/generate.mjs. Do not edit.

import type { OrgUsage as _quotagate_v1_OrgUsage, OrgUsage__Output as _quotagate_v1_OrgUsage__Output } from '../../quotagate/v1/OrgUsage.js';

export interface GetUsageResponse {
  'usage'?: (_quotagate_v1_OrgUsage | null);
}

export interface GetUsageResponse__Output {
  'usage': (_quotagate_v1_OrgUsage__Output | null);
}
