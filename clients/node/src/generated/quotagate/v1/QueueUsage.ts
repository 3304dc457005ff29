// Written by scripts/generate.mjs. Do not edit.

import type { ClassWaiting as _quotagate_v1_ClassWaiting, ClassWaiting__Output as _quotagate_v1_ClassWaiting__Output } from '../../quotagate/v1/ClassWaiting.js';
import type { QueuedRequest as _quotagate_v1_QueuedRequest, QueuedRequest__Output as _quotagate_v1_QueuedRequest__Output } from '../../quotagate/v1/QueuedRequest.js';

export interface QueueUsage {
  'waiting'?: (_quotagate_v1_ClassWaiting)[];
  'first'?: (_quotagate_v1_QueuedRequest)[];
}

export interface QueueUsage__Output {
  'waiting': (_quotagate_v1_ClassWaiting__Output)[];
  'first': (_quotagate_v1_QueuedRequest__Output)[];
}
