// Written by scripts/generate.mjs. Do not edit.


export interface GetUsageRequest {
  'org'?: (string);
}

export interface GetUsageRequest__Output {
  'org': (string);
}
