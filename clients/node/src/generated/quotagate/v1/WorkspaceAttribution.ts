// Written by scripts/generate.mjs. Do not edit.

import type { ClassForecast as _quotagate_v1_ClassForecast, ClassForecast__Output as _quotagate_v1_ClassForecast__Output } from '../../quotagate/v1/ClassForecast.js';

export interface WorkspaceAttribution {
  'pauses'?: (_quotagate_v1_ClassForecast)[];
}

export interface WorkspaceAttribution__Output {
  'pauses': (_quotagate_v1_ClassForecast__Output)[];
}
