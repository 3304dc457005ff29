// Written by scripts/generate.mjs. Do not edit.

import type { Timestamp as _google_protobuf_Timestamp, Timestamp__Output as _google_protobuf_Timestamp__Output } from '../../google/protobuf/Timestamp.js';
import type { OrgLine as _quotagate_v1_OrgLine, OrgLine__Output as _quotagate_v1_OrgLine__Output } from '../../quotagate/v1/OrgLine.js';
import type { SilentNode as _quotagate_v1_SilentNode, SilentNode__Output as _quotagate_v1_SilentNode__Output } from '../../quotagate/v1/SilentNode.js';

export interface ListUsageResponse {
  'asOf'?: (_google_protobuf_Timestamp | null);
  'orgs'?: (_quotagate_v1_OrgLine)[];
  'nextPageToken'?: (string);
  'totalSize'?: (number);
  'inTrouble'?: (number);
  'unknown'?: (number);
  'silentNodes'?: (_quotagate_v1_SilentNode)[];
}

export interface ListUsageResponse__Output {
  'asOf': (_google_protobuf_Timestamp__Output | null);
  'orgs': (_quotagate_v1_OrgLine__Output)[];
  'nextPageToken': (string);
  'totalSize': (number);
  'inTrouble': (number);
  'unknown': (number);
  'silentNodes': (_quotagate_v1_SilentNode__Output)[];
}
