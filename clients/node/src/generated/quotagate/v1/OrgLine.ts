// Written by scripts/generate.mjs. Do not edit.

import type { LimitUsage as _quotagate_v1_LimitUsage, LimitUsage__Output as _quotagate_v1_LimitUsage__Output } from '../../quotagate/v1/LimitUsage.js';
import type { PausedClass as _quotagate_v1_PausedClass, PausedClass__Output as _quotagate_v1_PausedClass__Output } from '../../quotagate/v1/PausedClass.js';
import type { CoolingLine as _quotagate_v1_CoolingLine, CoolingLine__Output as _quotagate_v1_CoolingLine__Output } from '../../quotagate/v1/CoolingLine.js';
import type { Severity as _quotagate_v1_Severity, Severity__Output as _quotagate_v1_Severity__Output } from '../../quotagate/v1/Severity.js';

export interface OrgLine {
  'org'?: (string);
  'total'?: (_quotagate_v1_LimitUsage | null);
  'workspaces'?: (number);
  'paused'?: (_quotagate_v1_PausedClass)[];
  'workspacesAtLimit'?: (number);
  'fullestWorkspace'?: (string);
  'fullestUsedPercent'?: (number);
  'waiting'?: (number);
  'cooling'?: (_quotagate_v1_CoolingLine | null);
  'severity'?: (_quotagate_v1_Severity);
  'trouble'?: (string);
}

export interface OrgLine__Output {
  'org': (string);
  'total': (_quotagate_v1_LimitUsage__Output | null);
  'workspaces': (number);
  'paused': (_quotagate_v1_PausedClass__Output)[];
  'workspacesAtLimit': (number);
  'fullestWorkspace': (string);
  'fullestUsedPercent': (number);
  'waiting': (number);
  'cooling': (_quotagate_v1_CoolingLine__Output | null);
  'severity': (_quotagate_v1_Severity__Output);
  'trouble': (string);
}
