// Written by scripts/generate.mjs. Do not edit.

import type { TrafficClass as _quotagate_v1_TrafficClass, TrafficClass__Output as _quotagate_v1_TrafficClass__Output } from '../../quotagate/v1/TrafficClass.js';
import type { ClassRunState as _quotagate_v1_ClassRunState, ClassRunState__Output as _quotagate_v1_ClassRunState__Output } from '../../quotagate/v1/ClassRunState.js';
import type { Timestamp as _google_protobuf_Timestamp, Timestamp__Output as _google_protobuf_Timestamp__Output } from '../../google/protobuf/Timestamp.js';

export interface ClassStatus {
  'trafficClass'?: (_quotagate_v1_TrafficClass);
  'state'?: (_quotagate_v1_ClassRunState);
  'since'?: (_google_protobuf_Timestamp | null);
  'pausesAtPercent'?: (number);
  'resumesBelowPercent'?: (number);
}

export interface ClassStatus__Output {
  'trafficClass': (_quotagate_v1_TrafficClass__Output);
  'state': (_quotagate_v1_ClassRunState__Output);
  'since': (_google_protobuf_Timestamp__Output | null);
  'pausesAtPercent': (number);
  'resumesBelowPercent': (number);
}
