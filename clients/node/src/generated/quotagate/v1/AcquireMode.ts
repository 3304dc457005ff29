// Written by scripts/generate.mjs. Do not edit.

export const AcquireMode = {
  ACQUIRE_MODE_UNSPECIFIED: 'ACQUIRE_MODE_UNSPECIFIED',
  ACQUIRE_MODE_ENFORCE: 'ACQUIRE_MODE_ENFORCE',
  ACQUIRE_MODE_CHECK_ONLY: 'ACQUIRE_MODE_CHECK_ONLY',
} as const;

export type AcquireMode =
  | 'ACQUIRE_MODE_UNSPECIFIED'
  | 0
  | 'ACQUIRE_MODE_ENFORCE'
  | 1
  | 'ACQUIRE_MODE_CHECK_ONLY'
  | 2

export type AcquireMode__Output = typeof AcquireMode[keyof typeof AcquireMode]
