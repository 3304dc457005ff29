// Written by scripts/generate.mjs. Do not edit.


export interface WatchUsageRequest {
  'org'?: (string);
}

export interface WatchUsageRequest__Output {
  'org': (string);
}
