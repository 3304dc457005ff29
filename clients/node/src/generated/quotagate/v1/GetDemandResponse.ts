// Written by scripts/generate.mjs. Do not edit.

import type { Timestamp as _google_protobuf_Timestamp, Timestamp__Output as _google_protobuf_Timestamp__Output } from '../../google/protobuf/Timestamp.js';
import type { DemandSeries as _quotagate_v1_DemandSeries, DemandSeries__Output as _quotagate_v1_DemandSeries__Output } from '../../quotagate/v1/DemandSeries.js';
import type { HistoryPoint as _quotagate_v1_HistoryPoint, HistoryPoint__Output as _quotagate_v1_HistoryPoint__Output } from '../../quotagate/v1/HistoryPoint.js';

export interface GetDemandResponse {
  'org'?: (string);
  'asOf'?: (_google_protobuf_Timestamp | null);
  'countedSince'?: (_google_protobuf_Timestamp | null);
  'series'?: (_quotagate_v1_DemandSeries)[];
  'history'?: (_quotagate_v1_HistoryPoint)[];
}

export interface GetDemandResponse__Output {
  'org': (string);
  'asOf': (_google_protobuf_Timestamp__Output | null);
  'countedSince': (_google_protobuf_Timestamp__Output | null);
  'series': (_quotagate_v1_DemandSeries__Output)[];
  'history': (_quotagate_v1_HistoryPoint__Output)[];
}
