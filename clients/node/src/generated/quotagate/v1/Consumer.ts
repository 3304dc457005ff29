// Written by scripts/generate.mjs. Do not edit.

import type { PeriodUse as _quotagate_v1_PeriodUse, PeriodUse__Output as _quotagate_v1_PeriodUse__Output } from '../../quotagate/v1/PeriodUse.js';

export interface Consumer {
  'name'?: (string);
  'used'?: (_quotagate_v1_PeriodUse | null);
}

export interface Consumer__Output {
  'name': (string);
  'used': (_quotagate_v1_PeriodUse__Output | null);
}
