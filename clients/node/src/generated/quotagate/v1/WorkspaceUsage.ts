// Written by scripts/generate.mjs. Do not edit.

import type { LimitUsage as _quotagate_v1_LimitUsage, LimitUsage__Output as _quotagate_v1_LimitUsage__Output } from '../../quotagate/v1/LimitUsage.js';
import type { ClassState as _quotagate_v1_ClassState, ClassState__Output as _quotagate_v1_ClassState__Output } from '../../quotagate/v1/ClassState.js';
import type { WorkspaceAttribution as _quotagate_v1_WorkspaceAttribution, WorkspaceAttribution__Output as _quotagate_v1_WorkspaceAttribution__Output } from '../../quotagate/v1/WorkspaceAttribution.js';
import type { Long } from '@grpc/proto-loader';

export interface WorkspaceUsage {
  'workspace'?: (string);
  'limits'?: (_quotagate_v1_LimitUsage)[];
  'classState'?: (_quotagate_v1_ClassState | null);
  'weight'?: (number);
  'guaranteedCalls'?: (number | string | Long);
  'attribution'?: (_quotagate_v1_WorkspaceAttribution | null);
}

export interface WorkspaceUsage__Output {
  'workspace': (string);
  'limits': (_quotagate_v1_LimitUsage__Output)[];
  'classState': (_quotagate_v1_ClassState__Output | null);
  'weight': (number);
  'guaranteedCalls': (number);
  'attribution': (_quotagate_v1_WorkspaceAttribution__Output | null);
}
