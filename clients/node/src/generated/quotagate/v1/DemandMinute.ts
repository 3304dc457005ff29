// Written by scripts/generate.mjs. Do not edit.

import type { Timestamp as _google_protobuf_Timestamp, Timestamp__Output as _google_protobuf_Timestamp__Output } from '../../google/protobuf/Timestamp.js';

export interface DemandMinute {
  'minute'?: (_google_protobuf_Timestamp | null);
  'askedCalls'?: (number);
  'askedUnits'?: (number);
  'grantedCalls'?: (number);
  'grantedUnits'?: (number);
  'refusedByExecutionUser'?: (number);
  'refusedByWorkspace'?: (number);
  'refusedByOrg'?: (number);
  'refusedByConcurrency'?: (number);
  'refusedOtherwise'?: (number);
}

export interface DemandMinute__Output {
  'minute': (_google_protobuf_Timestamp__Output | null);
  'askedCalls': (number);
  'askedUnits': (number);
  'grantedCalls': (number);
  'grantedUnits': (number);
  'refusedByExecutionUser': (number);
  'refusedByWorkspace': (number);
  'refusedByOrg': (number);
  'refusedByConcurrency': (number);
  'refusedOtherwise': (number);
}
