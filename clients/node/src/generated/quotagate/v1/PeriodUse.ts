// Written by scripts/generate.mjs. Do not edit.

import type { UseCount as _quotagate_v1_UseCount, UseCount__Output as _quotagate_v1_UseCount__Output } from '../../quotagate/v1/UseCount.js';

export interface PeriodUse {
  'lastMinute'?: (_quotagate_v1_UseCount | null);
  'lastHour'?: (_quotagate_v1_UseCount | null);
  'lastDay'?: (_quotagate_v1_UseCount | null);
}

export interface PeriodUse__Output {
  'lastMinute': (_quotagate_v1_UseCount__Output | null);
  'lastHour': (_quotagate_v1_UseCount__Output | null);
  'lastDay': (_quotagate_v1_UseCount__Output | null);
}
