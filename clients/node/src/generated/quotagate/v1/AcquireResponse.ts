// Written by scripts/generate.mjs. Do not edit.

import type { Permit as _quotagate_v1_Permit, Permit__Output as _quotagate_v1_Permit__Output } from '../../quotagate/v1/Permit.js';
import type { Denial as _quotagate_v1_Denial, Denial__Output as _quotagate_v1_Denial__Output } from '../../quotagate/v1/Denial.js';

export interface AcquireResponse {
  'permit'?: (_quotagate_v1_Permit | null);
  'denial'?: (_quotagate_v1_Denial | null);
  'outcome'?: "permit"|"denial";
}

export interface AcquireResponse__Output {
  'permit'?: (_quotagate_v1_Permit__Output | null);
  'denial'?: (_quotagate_v1_Denial__Output | null);
  'outcome'?: "permit"|"denial";
}
