// Written by scripts/generate.mjs. Do not edit.

import type { Duration as _google_protobuf_Duration, Duration__Output as _google_protobuf_Duration__Output } from '../../google/protobuf/Duration.js';
import type { Timestamp as _google_protobuf_Timestamp, Timestamp__Output as _google_protobuf_Timestamp__Output } from '../../google/protobuf/Timestamp.js';

export interface ReportRequest {
  'permitId'?: (string);
  'org'?: (string);
  'executionUser'?: (string);
  'operation'?: (string);
  'firstCall'?: (number);
  'calls'?: (number);
  'httpStatus'?: (number);
  'errorCode'?: (string);
  'errorMessage'?: (string);
  'retryAfter'?: (_google_protobuf_Duration | null);
  'limitInfo'?: (string)[];
  'answerTime'?: (_google_protobuf_Timestamp | null);
  'completedAgo'?: (_google_protobuf_Duration | null);
}

export interface ReportRequest__Output {
  'permitId': (string);
  'org': (string);
  'executionUser': (string);
  'operation': (string);
  'firstCall': (number);
  'calls': (number);
  'httpStatus': (number);
  'errorCode': (string);
  'errorMessage': (string);
  'retryAfter': (_google_protobuf_Duration__Output | null);
  'limitInfo': (string)[];
  'answerTime': (_google_protobuf_Timestamp__Output | null);
  'completedAgo': (_google_protobuf_Duration__Output | null);
}
