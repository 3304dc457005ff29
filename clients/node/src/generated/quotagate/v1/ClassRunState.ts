// Written by scripts/generate.mjs. Do not edit.

export const ClassRunState = {
  CLASS_RUN_STATE_UNSPECIFIED: 'CLASS_RUN_STATE_UNSPECIFIED',
  CLASS_RUN_STATE_RUNNING: 'CLASS_RUN_STATE_RUNNING',
  CLASS_RUN_STATE_PAUSED: 'CLASS_RUN_STATE_PAUSED',
} as const;

export type ClassRunState =
  | 'CLASS_RUN_STATE_UNSPECIFIED'
  | 0
  | 'CLASS_RUN_STATE_RUNNING'
  | 1
  | 'CLASS_RUN_STATE_PAUSED'
  | 2

export type ClassRunState__Output = typeof ClassRunState[keyof typeof ClassRunState]
