// Written by scripts/generate.mjs. Do not edit.

import type { TrafficClass as _quotagate_v1_TrafficClass, TrafficClass__Output as _quotagate_v1_TrafficClass__Output } from '../../quotagate/v1/TrafficClass.js';
import type { Duration as _google_protobuf_Duration, Duration__Output as _google_protobuf_Duration__Output } from '../../google/protobuf/Duration.js';
import type { AcquireMode as _quotagate_v1_AcquireMode, AcquireMode__Output as _quotagate_v1_AcquireMode__Output } from '../../quotagate/v1/AcquireMode.js';

export interface AcquireRequest {
  'org'?: (string);
  'workspace'?: (string);
  'operation'?: (string);
  'executionUser'?: (string);
  'trafficClass'?: (_quotagate_v1_TrafficClass);
  'calls'?: (number);
  'minCalls'?: (number);
  'cost'?: (number);
  'maxWait'?: (_google_protobuf_Duration | null);
  'permitTtl'?: (_google_protobuf_Duration | null);
  'requestId'?: (string);
  'mode'?: (_quotagate_v1_AcquireMode);
}

export interface AcquireRequest__Output {
  'org': (string);
  'workspace': (string);
  'operation': (string);
  'executionUser': (string);
  'trafficClass': (_quotagate_v1_TrafficClass__Output);
  'calls': (number);
  'minCalls': (number);
  'cost': (number);
  'maxWait': (_google_protobuf_Duration__Output | null);
  'permitTtl': (_google_protobuf_Duration__Output | null);
  'requestId': (string);
  'mode': (_quotagate_v1_AcquireMode__Output);
}
