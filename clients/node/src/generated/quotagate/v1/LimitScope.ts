// Written by scripts/generate.mjs. Do not edit.

export const LimitScope = {
  LIMIT_SCOPE_UNSPECIFIED: 'LIMIT_SCOPE_UNSPECIFIED',
  LIMIT_SCOPE_ORG: 'LIMIT_SCOPE_ORG',
  LIMIT_SCOPE_WORKSPACE: 'LIMIT_SCOPE_WORKSPACE',
  LIMIT_SCOPE_EXECUTION_USER: 'LIMIT_SCOPE_EXECUTION_USER',
} as const;

export type LimitScope =
  | 'LIMIT_SCOPE_UNSPECIFIED'
  | 0
  | 'LIMIT_SCOPE_ORG'
  | 1
  | 'LIMIT_SCOPE_WORKSPACE'
  | 2
  | 'LIMIT_SCOPE_EXECUTION_USER'
  | 3

export type LimitScope__Output = typeof LimitScope[keyof typeof LimitScope]
