// Written by scripts/generate.mjs. Do not edit.

import type { TrafficClass as _quotagate_v1_TrafficClass, TrafficClass__Output as _quotagate_v1_TrafficClass__Output } from '../../quotagate/v1/TrafficClass.js';

export interface ClassWaiting {
  'trafficClass'?: (_quotagate_v1_TrafficClass);
  'requests'?: (number);
}

export interface ClassWaiting__Output {
  'trafficClass': (_quotagate_v1_TrafficClass__Output);
  'requests': (number);
}
