// Written by scripts/generate.mjs. Do not edit.

import type { TrafficClass as _quotagate_v1_TrafficClass, TrafficClass__Output as _quotagate_v1_TrafficClass__Output } from '../../quotagate/v1/TrafficClass.js';
import type { Timestamp as _google_protobuf_Timestamp, Timestamp__Output as _google_protobuf_Timestamp__Output } from '../../google/protobuf/Timestamp.js';
import type { LimitScope as _quotagate_v1_LimitScope, LimitScope__Output as _quotagate_v1_LimitScope__Output } from '../../quotagate/v1/LimitScope.js';

export interface QueuedRequest {
  'place'?: (number);
  'workspace'?: (string);
  'operation'?: (string);
  'trafficClass'?: (_quotagate_v1_TrafficClass);
  'calls'?: (number);
  'executionUser'?: (string);
  'waitingSince'?: (_google_protobuf_Timestamp | null);
  'dueAt'?: (_google_protobuf_Timestamp | null);
  'limit'?: (string);
  'scope'?: (_quotagate_v1_LimitScope);
  'identity'?: (string);
}

export interface QueuedRequest__Output {
  'place': (number);
  'workspace': (string);
  'operation': (string);
  'trafficClass': (_quotagate_v1_TrafficClass__Output);
  'calls': (number);
  'executionUser': (string);
  'waitingSince': (_google_protobuf_Timestamp__Output | null);
  'dueAt': (_google_protobuf_Timestamp__Output | null);
  'limit': (string);
  'scope': (_quotagate_v1_LimitScope__Output);
  'identity': (string);
}
