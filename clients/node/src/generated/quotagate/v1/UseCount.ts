// Written by scripts/generate.mjs. Do not edit.

import type { Long } from '@grpc/proto-loader';

export interface UseCount {
  'units'?: (number | string | Long);
  'calls'?: (number | string | Long);
  'refusedCalls'?: (number | string | Long);
}

export interface UseCount__Output {
  'units': (number);
  'calls': (number);
  'refusedCalls': (number);
}
