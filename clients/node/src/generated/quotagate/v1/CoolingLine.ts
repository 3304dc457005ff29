// Written by scripts/generate.mjs. Do not edit.

import type { Timestamp as _google_protobuf_Timestamp, Timestamp__Output as _google_protobuf_Timestamp__Output } from '../../google/protobuf/Timestamp.js';
import type { LimitScope as _quotagate_v1_LimitScope, LimitScope__Output as _quotagate_v1_LimitScope__Output } from '../../quotagate/v1/LimitScope.js';

export interface CoolingLine {
  'until'?: (_google_protobuf_Timestamp | null);
  'scope'?: (_quotagate_v1_LimitScope);
  'total'?: (boolean);
  'limits'?: (number);
}

export interface CoolingLine__Output {
  'until': (_google_protobuf_Timestamp__Output | null);
  'scope': (_quotagate_v1_LimitScope__Output);
  'total': (boolean);
  'limits': (number);
}
