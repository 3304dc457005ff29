// Written by scripts/generate.mjs. Do not edit.

import type { Timestamp as _google_protobuf_Timestamp, Timestamp__Output as _google_protobuf_Timestamp__Output } from '../../google/protobuf/Timestamp.js';
import type { Long } from '@grpc/proto-loader';

export interface HistoryPoint {
  'time'?: (_google_protobuf_Timestamp | null);
  'own'?: (number | string | Long);
  'foreign'?: (number | string | Long);
  'limit'?: (number | string | Long);
}

export interface HistoryPoint__Output {
  'time': (_google_protobuf_Timestamp__Output | null);
  'own': (number);
  'foreign': (number);
  'limit': (number);
}
