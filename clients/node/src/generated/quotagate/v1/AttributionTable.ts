// Written by scripts/generate.mjs. Do not edit.

import type { AttributionDimension as _quotagate_v1_AttributionDimension, AttributionDimension__Output as _quotagate_v1_AttributionDimension__Output } from '../../quotagate/v1/AttributionDimension.js';
import type { Consumer as _quotagate_v1_Consumer, Consumer__Output as _quotagate_v1_Consumer__Output } from '../../quotagate/v1/Consumer.js';
import type { PeriodUse as _quotagate_v1_PeriodUse, PeriodUse__Output as _quotagate_v1_PeriodUse__Output } from '../../quotagate/v1/PeriodUse.js';
import type { Long } from '@grpc/proto-loader';

export interface AttributionTable {
  'dimension'?: (_quotagate_v1_AttributionDimension);
  'consumers'?: (_quotagate_v1_Consumer)[];
  'others'?: (_quotagate_v1_PeriodUse | null);
  'missingUnitsAtMost'?: (number | string | Long);
}

export interface AttributionTable__Output {
  'dimension': (_quotagate_v1_AttributionDimension__Output);
  'consumers': (_quotagate_v1_Consumer__Output)[];
  'others': (_quotagate_v1_PeriodUse__Output | null);
  'missingUnitsAtMost': (number);
}
