// Written by scripts/generate.mjs. Do not edit.

export const WarningKind = {
  WARNING_KIND_UNSPECIFIED: 'WARNING_KIND_UNSPECIFIED',
  WARNING_KIND_APPROACHING_LIMIT: 'WARNING_KIND_APPROACHING_LIMIT',
  WARNING_KIND_LIMIT_REACHED: 'WARNING_KIND_LIMIT_REACHED',
} as const;

export type WarningKind =
  | 'WARNING_KIND_UNSPECIFIED'
  | 0
  | 'WARNING_KIND_APPROACHING_LIMIT'
  | 1
  | 'WARNING_KIND_LIMIT_REACHED'
  | 2

export type WarningKind__Output = typeof WarningKind[keyof typeof WarningKind]
