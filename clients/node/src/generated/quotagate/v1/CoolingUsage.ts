// Written by scripts/generate.mjs. Do not edit.

import type { LimitScope as _quotagate_v1_LimitScope, LimitScope__Output as _quotagate_v1_LimitScope__Output } from '../../quotagate/v1/LimitScope.js';
import type { CoolingCause as _quotagate_v1_CoolingCause, CoolingCause__Output as _quotagate_v1_CoolingCause__Output } from '../../quotagate/v1/CoolingCause.js';
import type { Timestamp as _google_protobuf_Timestamp, Timestamp__Output as _google_protobuf_Timestamp__Output } from '../../google/protobuf/Timestamp.js';

export interface CoolingUsage {
  'scope'?: (_quotagate_v1_LimitScope);
  'identity'?: (string);
  'limit'?: (string);
  'cause'?: (_quotagate_v1_CoolingCause);
  'since'?: (_google_protobuf_Timestamp | null);
  'until'?: (_google_protobuf_Timestamp | null);
  'attempts'?: (number);
  'probeOut'?: (boolean);
}

export interface CoolingUsage__Output {
  'scope': (_quotagate_v1_LimitScope__Output);
  'identity': (string);
  'limit': (string);
  'cause': (_quotagate_v1_CoolingCause__Output);
  'since': (_google_protobuf_Timestamp__Output | null);
  'until': (_google_protobuf_Timestamp__Output | null);
  'attempts': (number);
  'probeOut': (boolean);
}
