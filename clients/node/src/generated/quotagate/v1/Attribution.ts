// Written by scripts/generate.mjs. Do not edit.

import type { Timestamp as _google_protobuf_Timestamp, Timestamp__Output as _google_protobuf_Timestamp__Output } from '../../google/protobuf/Timestamp.js';
import type { PeriodUse as _quotagate_v1_PeriodUse, PeriodUse__Output as _quotagate_v1_PeriodUse__Output } from '../../quotagate/v1/PeriodUse.js';
import type { AttributionTable as _quotagate_v1_AttributionTable, AttributionTable__Output as _quotagate_v1_AttributionTable__Output } from '../../quotagate/v1/AttributionTable.js';

export interface Attribution {
  'since'?: (_google_protobuf_Timestamp | null);
  'total'?: (_quotagate_v1_PeriodUse | null);
  'tables'?: (_quotagate_v1_AttributionTable)[];
}

export interface Attribution__Output {
  'since': (_google_protobuf_Timestamp__Output | null);
  'total': (_quotagate_v1_PeriodUse__Output | null);
  'tables': (_quotagate_v1_AttributionTable__Output)[];
}
