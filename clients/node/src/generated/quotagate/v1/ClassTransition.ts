// Written by scripts/generate.mjs. Do not edit.

import type { ClassStatus as _quotagate_v1_ClassStatus, ClassStatus__Output as _quotagate_v1_ClassStatus__Output } from '../../quotagate/v1/ClassStatus.js';

export interface ClassTransition {
  'workspace'?: (string);
  'status'?: (_quotagate_v1_ClassStatus | null);
}

export interface ClassTransition__Output {
  'workspace': (string);
  'status': (_quotagate_v1_ClassStatus__Output | null);
}
