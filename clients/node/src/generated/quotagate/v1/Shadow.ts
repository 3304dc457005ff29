// Written by scripts/generate.mjs. Do not edit.

import type { Long } from '@grpc/proto-loader';

export interface Shadow {
  'wouldHaveRefused'?: (number | string | Long);
}

export interface Shadow__Output {
  'wouldHaveRefused': (number);
}
