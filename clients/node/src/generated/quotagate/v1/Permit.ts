// Written by scripts/generate.mjs. Do not edit.

import type { Duration as _google_protobuf_Duration, Duration__Output as _google_protobuf_Duration__Output } from '../../google/protobuf/Duration.js';
import type { ClassState as _quotagate_v1_ClassState, ClassState__Output as _quotagate_v1_ClassState__Output } from '../../quotagate/v1/ClassState.js';
import type { LimitUsage as _quotagate_v1_LimitUsage, LimitUsage__Output as _quotagate_v1_LimitUsage__Output } from '../../quotagate/v1/LimitUsage.js';
import type { LimitExplanation as _quotagate_v1_LimitExplanation, LimitExplanation__Output as _quotagate_v1_LimitExplanation__Output } from '../../quotagate/v1/LimitExplanation.js';

export interface Permit {
  'permitId'?: (string);
  'calls'?: (number);
  'executionUser'?: (string);
  'ttl'?: (_google_protobuf_Duration | null);
  'classState'?: (_quotagate_v1_ClassState | null);
  'limits'?: (_quotagate_v1_LimitUsage)[];
  'explanation'?: (_quotagate_v1_LimitExplanation)[];
}

export interface Permit__Output {
  'permitId': (string);
  'calls': (number);
  'executionUser': (string);
  'ttl': (_google_protobuf_Duration__Output | null);
  'classState': (_quotagate_v1_ClassState__Output | null);
  'limits': (_quotagate_v1_LimitUsage__Output)[];
  'explanation': (_quotagate_v1_LimitExplanation__Output)[];
}
