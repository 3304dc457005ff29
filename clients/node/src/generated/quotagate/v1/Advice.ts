// Written by scripts/generate.mjs. Do not edit.

export const Advice = {
  ADVICE_UNSPECIFIED: 'ADVICE_UNSPECIFIED',
  ADVICE_CONTINUE: 'ADVICE_CONTINUE',
  ADVICE_BACK_OFF: 'ADVICE_BACK_OFF',
  ADVICE_STOP: 'ADVICE_STOP',
} as const;

export type Advice =
  | 'ADVICE_UNSPECIFIED'
  | 0
  | 'ADVICE_CONTINUE'
  | 1
  | 'ADVICE_BACK_OFF'
  | 2
  | 'ADVICE_STOP'
  | 3

export type Advice__Output = typeof Advice[keyof typeof Advice]
