// Written by scripts/generate.mjs. Do not edit.

import type { DenialReason as _quotagate_v1_DenialReason, DenialReason__Output as _quotagate_v1_DenialReason__Output } from '../../quotagate/v1/DenialReason.js';
import type { LimitUsage as _quotagate_v1_LimitUsage, LimitUsage__Output as _quotagate_v1_LimitUsage__Output } from '../../quotagate/v1/LimitUsage.js';
import type { Duration as _google_protobuf_Duration, Duration__Output as _google_protobuf_Duration__Output } from '../../google/protobuf/Duration.js';
import type { ClassState as _quotagate_v1_ClassState, ClassState__Output as _quotagate_v1_ClassState__Output } from '../../quotagate/v1/ClassState.js';
import type { LimitExplanation as _quotagate_v1_LimitExplanation, LimitExplanation__Output as _quotagate_v1_LimitExplanation__Output } from '../../quotagate/v1/LimitExplanation.js';

export interface Denial {
  'reason'?: (_quotagate_v1_DenialReason);
  'limit'?: (_quotagate_v1_LimitUsage | null);
  'limits'?: (_quotagate_v1_LimitUsage)[];
  'retryAfter'?: (_google_protobuf_Duration | null);
  'queuePosition'?: (number);
  'message'?: (string);
  'classState'?: (_quotagate_v1_ClassState | null);
  'explanation'?: (_quotagate_v1_LimitExplanation)[];
}

export interface Denial__Output {
  'reason': (_quotagate_v1_DenialReason__Output);
  'limit': (_quotagate_v1_LimitUsage__Output | null);
  'limits': (_quotagate_v1_LimitUsage__Output)[];
  'retryAfter': (_google_protobuf_Duration__Output | null);
  'queuePosition': (number);
  'message': (string);
  'classState': (_quotagate_v1_ClassState__Output | null);
  'explanation': (_quotagate_v1_LimitExplanation__Output)[];
}
