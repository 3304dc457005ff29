// Written by scripts/generate.mjs. Do not edit.

import type { Timestamp as _google_protobuf_Timestamp, Timestamp__Output as _google_protobuf_Timestamp__Output } from '../../google/protobuf/Timestamp.js';

export interface GetDemandRequest {
  'org'?: (string);
  'workspace'?: (string);
  'since'?: (_google_protobuf_Timestamp | null);
  '_workspace'?: "workspace";
}

export interface GetDemandRequest__Output {
  'org': (string);
  'workspace'?: (string);
  'since': (_google_protobuf_Timestamp__Output | null);
  '_workspace'?: "workspace";
}
