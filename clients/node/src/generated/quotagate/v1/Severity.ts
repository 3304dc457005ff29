// Written by scripts/generate.mjs. Do not edit.

export const Severity = {
  SEVERITY_UNSPECIFIED: 'SEVERITY_UNSPECIFIED',
  SEVERITY_FINE: 'SEVERITY_FINE',
  SEVERITY_NOTICE: 'SEVERITY_NOTICE',
  SEVERITY_WARNING: 'SEVERITY_WARNING',
  SEVERITY_CRITICAL: 'SEVERITY_CRITICAL',
  SEVERITY_UNKNOWN: 'SEVERITY_UNKNOWN',
} as const;

export type Severity =
  | 'SEVERITY_UNSPECIFIED'
  | 0
  | 'SEVERITY_FINE'
  | 1
  | 'SEVERITY_NOTICE'
  | 2
  | 'SEVERITY_WARNING'
  | 3
  | 'SEVERITY_CRITICAL'
  | 4
  | 'SEVERITY_UNKNOWN'
  | 5

export type Severity__Output = typeof Severity[keyof typeof Severity]
