// Written by scripts/generate.mjs. Do not edit.

import type { ClassState as _quotagate_v1_ClassState, ClassState__Output as _quotagate_v1_ClassState__Output } from '../../quotagate/v1/ClassState.js';
import type { Advice as _quotagate_v1_Advice, Advice__Output as _quotagate_v1_Advice__Output } from '../../quotagate/v1/Advice.js';
import type { Duration as _google_protobuf_Duration, Duration__Output as _google_protobuf_Duration__Output } from '../../google/protobuf/Duration.js';

export interface ReportResponse {
  'alreadySettled'?: (boolean);
  'classState'?: (_quotagate_v1_ClassState | null);
  'advice'?: (_quotagate_v1_Advice);
  'backOff'?: (_google_protobuf_Duration | null);
}

export interface ReportResponse__Output {
  'alreadySettled': (boolean);
  'classState': (_quotagate_v1_ClassState__Output | null);
  'advice': (_quotagate_v1_Advice__Output);
  'backOff': (_google_protobuf_Duration__Output | null);
}
