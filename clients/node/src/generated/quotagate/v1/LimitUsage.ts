// Written by scripts/generate.mjs. Do not edit.

import type { LimitKind as _quotagate_v1_LimitKind, LimitKind__Output as _quotagate_v1_LimitKind__Output } from '../../quotagate/v1/LimitKind.js';
import type { LimitScope as _quotagate_v1_LimitScope, LimitScope__Output as _quotagate_v1_LimitScope__Output } from '../../quotagate/v1/LimitScope.js';
import type { Duration as _google_protobuf_Duration, Duration__Output as _google_protobuf_Duration__Output } from '../../google/protobuf/Duration.js';
import type { Shadow as _quotagate_v1_Shadow, Shadow__Output as _quotagate_v1_Shadow__Output } from '../../quotagate/v1/Shadow.js';
import type { Timestamp as _google_protobuf_Timestamp, Timestamp__Output as _google_protobuf_Timestamp__Output } from '../../google/protobuf/Timestamp.js';
import type { Long } from '@grpc/proto-loader';

export interface LimitUsage {
  'name'?: (string);
  'kind'?: (_quotagate_v1_LimitKind);
  'scope'?: (_quotagate_v1_LimitScope);
  'identity'?: (string);
  'max'?: (number | string | Long);
  'usedByCaller'?: (number | string | Long);
  'usedByOthers'?: (number | string | Long);
  'foreign'?: (number | string | Long);
  'held'?: (number | string | Long);
  'reserved'?: (number | string | Long);
  'remaining'?: (number | string | Long);
  'window'?: (_google_protobuf_Duration | null);
  'stale'?: (boolean);
  'burnPerHour'?: (number | string | Long);
  'exhaustedIn'?: (_google_protobuf_Duration | null);
  'shadow'?: (_quotagate_v1_Shadow | null);
  'coolingUntil'?: (_google_protobuf_Timestamp | null);
  'outageShare'?: (number | string | Long);
  'opensIn'?: (_google_protobuf_Duration | null);
}

export interface LimitUsage__Output {
  'name': (string);
  'kind': (_quotagate_v1_LimitKind__Output);
  'scope': (_quotagate_v1_LimitScope__Output);
  'identity': (string);
  'max': (number);
  'usedByCaller': (number);
  'usedByOthers': (number);
  'foreign': (number);
  'held': (number);
  'reserved': (number);
  'remaining': (number);
  'window': (_google_protobuf_Duration__Output | null);
  'stale': (boolean);
  'burnPerHour': (number);
  'exhaustedIn': (_google_protobuf_Duration__Output | null);
  'shadow': (_quotagate_v1_Shadow__Output | null);
  'coolingUntil': (_google_protobuf_Timestamp__Output | null);
  'outageShare': (number);
  'opensIn': (_google_protobuf_Duration__Output | null);
}
