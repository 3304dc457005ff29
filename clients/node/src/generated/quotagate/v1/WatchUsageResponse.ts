// Written by scripts/generate.mjs. Do not edit.

import type { OrgUsage as _quotagate_v1_OrgUsage, OrgUsage__Output as _quotagate_v1_OrgUsage__Output } from '../../quotagate/v1/OrgUsage.js';
import type { ClassTransition as _quotagate_v1_ClassTransition, ClassTransition__Output as _quotagate_v1_ClassTransition__Output } from '../../quotagate/v1/ClassTransition.js';

export interface WatchUsageResponse {
  'usage'?: (_quotagate_v1_OrgUsage | null);
  'snapshot'?: (boolean);
  'transitions'?: (_quotagate_v1_ClassTransition)[];
}

export interface WatchUsageResponse__Output {
  'usage': (_quotagate_v1_OrgUsage__Output | null);
  'snapshot': (boolean);
  'transitions': (_quotagate_v1_ClassTransition__Output)[];
}
