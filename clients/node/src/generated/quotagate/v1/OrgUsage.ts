// Written by scripts/generate.mjs. Do not edit.

import type { Timestamp as _google_protobuf_Timestamp, Timestamp__Output as _google_protobuf_Timestamp__Output } from '../../google/protobuf/Timestamp.js';
import type { LimitUsage as _quotagate_v1_LimitUsage, LimitUsage__Output as _quotagate_v1_LimitUsage__Output } from '../../quotagate/v1/LimitUsage.js';
import type { WorkspaceUsage as _quotagate_v1_WorkspaceUsage, WorkspaceUsage__Output as _quotagate_v1_WorkspaceUsage__Output } from '../../quotagate/v1/WorkspaceUsage.js';
import type { ExecutionUserUsage as _quotagate_v1_ExecutionUserUsage, ExecutionUserUsage__Output as _quotagate_v1_ExecutionUserUsage__Output } from '../../quotagate/v1/ExecutionUserUsage.js';
import type { CoolingUsage as _quotagate_v1_CoolingUsage, CoolingUsage__Output as _quotagate_v1_CoolingUsage__Output } from '../../quotagate/v1/CoolingUsage.js';
import type { QueueUsage as _quotagate_v1_QueueUsage, QueueUsage__Output as _quotagate_v1_QueueUsage__Output } from '../../quotagate/v1/QueueUsage.js';
import type { Reading as _quotagate_v1_Reading, Reading__Output as _quotagate_v1_Reading__Output } from '../../quotagate/v1/Reading.js';
import type { Attribution as _quotagate_v1_Attribution, Attribution__Output as _quotagate_v1_Attribution__Output } from '../../quotagate/v1/Attribution.js';

export interface OrgUsage {
  'org'?: (string);
  'asOf'?: (_google_protobuf_Timestamp | null);
  'limits'?: (_quotagate_v1_LimitUsage)[];
  'workspaces'?: (_quotagate_v1_WorkspaceUsage)[];
  'executionUsers'?: (_quotagate_v1_ExecutionUserUsage)[];
  'waiting'?: (number);
  'permitsOut'?: (number);
  'lastReading'?: (_google_protobuf_Timestamp | null);
  'warnings'?: (string)[];
  'cooling'?: (_quotagate_v1_CoolingUsage)[];
  'queue'?: (_quotagate_v1_QueueUsage | null);
  'readings'?: (_quotagate_v1_Reading)[];
  'attribution'?: (_quotagate_v1_Attribution | null);
}

export interface OrgUsage__Output {
  'org': (string);
  'asOf': (_google_protobuf_Timestamp__Output | null);
  'limits': (_quotagate_v1_LimitUsage__Output)[];
  'workspaces': (_quotagate_v1_WorkspaceUsage__Output)[];
  'executionUsers': (_quotagate_v1_ExecutionUserUsage__Output)[];
  'waiting': (number);
  'permitsOut': (number);
  'lastReading': (_google_protobuf_Timestamp__Output | null);
  'warnings': (string)[];
  'cooling': (_quotagate_v1_CoolingUsage__Output)[];
  'queue': (_quotagate_v1_QueueUsage__Output | null);
  'readings': (_quotagate_v1_Reading__Output)[];
  'attribution': (_quotagate_v1_Attribution__Output | null);
}
