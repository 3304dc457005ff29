// Written by scripts/generate.mjs. Do not edit.

import type { ClassStatus as _quotagate_v1_ClassStatus, ClassStatus__Output as _quotagate_v1_ClassStatus__Output } from '../../quotagate/v1/ClassStatus.js';
import type { Warning as _quotagate_v1_Warning, Warning__Output as _quotagate_v1_Warning__Output } from '../../quotagate/v1/Warning.js';

export interface ClassState {
  'classes'?: (_quotagate_v1_ClassStatus)[];
  'warnings'?: (_quotagate_v1_Warning)[];
}

export interface ClassState__Output {
  'classes': (_quotagate_v1_ClassStatus__Output)[];
  'warnings': (_quotagate_v1_Warning__Output)[];
}
