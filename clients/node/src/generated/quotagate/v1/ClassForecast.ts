// Written by scripts/generate.mjs. Do not edit.

import type { TrafficClass as _quotagate_v1_TrafficClass, TrafficClass__Output as _quotagate_v1_TrafficClass__Output } from '../../quotagate/v1/TrafficClass.js';
import type { Duration as _google_protobuf_Duration, Duration__Output as _google_protobuf_Duration__Output } from '../../google/protobuf/Duration.js';

export interface ClassForecast {
  'trafficClass'?: (_quotagate_v1_TrafficClass);
  'pausesIn'?: (_google_protobuf_Duration | null);
}

export interface ClassForecast__Output {
  'trafficClass': (_quotagate_v1_TrafficClass__Output);
  'pausesIn': (_google_protobuf_Duration__Output | null);
}
