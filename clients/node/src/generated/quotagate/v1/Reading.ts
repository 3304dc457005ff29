// Written by scripts/generate.mjs. Do not edit.

import type { Timestamp as _google_protobuf_Timestamp, Timestamp__Output as _google_protobuf_Timestamp__Output } from '../../google/protobuf/Timestamp.js';
import type { Long } from '@grpc/proto-loader';

export interface Reading {
  'answerTime'?: (_google_protobuf_Timestamp | null);
  'used'?: (number | string | Long);
  'limit'?: (number | string | Long);
  'own'?: (number | string | Long);
  'foreign'?: (number | string | Long);
  'toldBy'?: (string);
}

export interface Reading__Output {
  'answerTime': (_google_protobuf_Timestamp__Output | null);
  'used': (number);
  'limit': (number);
  'own': (number);
  'foreign': (number);
  'toldBy': (string);
}
