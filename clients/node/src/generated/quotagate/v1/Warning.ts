// Written by scripts/generate.mjs. Do not edit.

import type { WarningKind as _quotagate_v1_WarningKind, WarningKind__Output as _quotagate_v1_WarningKind__Output } from '../../quotagate/v1/WarningKind.js';

export interface Warning {
  'kind'?: (_quotagate_v1_WarningKind);
  'text'?: (string);
}

export interface Warning__Output {
  'kind': (_quotagate_v1_WarningKind__Output);
  'text': (string);
}
