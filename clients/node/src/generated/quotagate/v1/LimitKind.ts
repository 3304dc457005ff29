// Written by scripts/generate.mjs. Do not edit.

export const LimitKind = {
  LIMIT_KIND_UNSPECIFIED: 'LIMIT_KIND_UNSPECIFIED',
  LIMIT_KIND_WINDOW: 'LIMIT_KIND_WINDOW',
  LIMIT_KIND_CONCURRENCY: 'LIMIT_KIND_CONCURRENCY',
} as const;

export type LimitKind =
  | 'LIMIT_KIND_UNSPECIFIED'
  | 0
  | 'LIMIT_KIND_WINDOW'
  | 1
  | 'LIMIT_KIND_CONCURRENCY'
  | 2

export type LimitKind__Output = typeof LimitKind[keyof typeof LimitKind]
