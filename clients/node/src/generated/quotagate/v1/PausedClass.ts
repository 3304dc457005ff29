// Written by scripts/generate.mjs. Do not edit.

import type { TrafficClass as _quotagate_v1_TrafficClass, TrafficClass__Output as _quotagate_v1_TrafficClass__Output } from '../../quotagate/v1/TrafficClass.js';

export interface PausedClass {
  'trafficClass'?: (_quotagate_v1_TrafficClass);
  'workspaces'?: (number);
}

export interface PausedClass__Output {
  'trafficClass': (_quotagate_v1_TrafficClass__Output);
  'workspaces': (number);
}
