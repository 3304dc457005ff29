// Written by scripts/generate.mjs. Do not edit.

import type { LimitUsage as _quotagate_v1_LimitUsage, LimitUsage__Output as _quotagate_v1_LimitUsage__Output } from '../../quotagate/v1/LimitUsage.js';
import type { Duration as _google_protobuf_Duration, Duration__Output as _google_protobuf_Duration__Output } from '../../google/protobuf/Duration.js';
import type { Long } from '@grpc/proto-loader';

export interface LimitExplanation {
  'usage'?: (_quotagate_v1_LimitUsage | null);
  'room'?: (number | string | Long);
  'needed'?: (number | string | Long);
  'ahead'?: (number | string | Long);
  'keptForWorkspaces'?: (number | string | Long);
  'pausesAt'?: (number | string | Long);
  'binding'?: (boolean);
  'opensIn'?: (_google_protobuf_Duration | null);
  'text'?: (string);
  '_pausesAt'?: "pausesAt";
}

export interface LimitExplanation__Output {
  'usage': (_quotagate_v1_LimitUsage__Output | null);
  'room': (number);
  'needed': (number);
  'ahead': (number);
  'keptForWorkspaces': (number);
  'pausesAt'?: (number);
  'binding': (boolean);
  'opensIn': (_google_protobuf_Duration__Output | null);
  'text': (string);
  '_pausesAt'?: "pausesAt";
}
