// Written by scripts/generate.mjs. Do not edit.

export const UsageOrder = {
  USAGE_ORDER_UNSPECIFIED: 'USAGE_ORDER_UNSPECIFIED',
  USAGE_ORDER_TROUBLE: 'USAGE_ORDER_TROUBLE',
  USAGE_ORDER_USED: 'USAGE_ORDER_USED',
  USAGE_ORDER_EXHAUSTED: 'USAGE_ORDER_EXHAUSTED',
  USAGE_ORDER_NAME: 'USAGE_ORDER_NAME',
} as const;

export type UsageOrder =
  | 'USAGE_ORDER_UNSPECIFIED'
  | 0
  | 'USAGE_ORDER_TROUBLE'
  | 1
  | 'USAGE_ORDER_USED'
  | 2
  | 'USAGE_ORDER_EXHAUSTED'
  | 3
  | 'USAGE_ORDER_NAME'
  | 4

export type UsageOrder__Output = typeof UsageOrder[keyof typeof UsageOrder]
