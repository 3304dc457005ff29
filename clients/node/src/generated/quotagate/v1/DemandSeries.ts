// Written by scripts/generate.mjs. Do not edit.

import type { TrafficClass as _quotagate_v1_TrafficClass, TrafficClass__Output as _quotagate_v1_TrafficClass__Output } from '../../quotagate/v1/TrafficClass.js';
import type { DemandMinute as _quotagate_v1_DemandMinute, DemandMinute__Output as _quotagate_v1_DemandMinute__Output } from '../../quotagate/v1/DemandMinute.js';

export interface DemandSeries {
  'workspace'?: (string);
  'trafficClass'?: (_quotagate_v1_TrafficClass);
  'operation'?: (string);
  'rest'?: (boolean);
  'minutes'?: (_quotagate_v1_DemandMinute)[];
}

export interface DemandSeries__Output {
  'workspace': (string);
  'trafficClass': (_quotagate_v1_TrafficClass__Output);
  'operation': (string);
  'rest': (boolean);
  'minutes': (_quotagate_v1_DemandMinute__Output)[];
}
