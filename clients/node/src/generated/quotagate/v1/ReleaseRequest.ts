// Written by scripts/generate.mjs. Do not edit.


export interface ReleaseRequest {
  'permitId'?: (string);
  'unusedCalls'?: (number);
  '_unusedCalls'?: "unusedCalls";
}

export interface ReleaseRequest__Output {
  'permitId': (string);
  'unusedCalls'?: (number);
  '_unusedCalls'?: "unusedCalls";
}
