// Written by scripts/generate.mjs. Do not edit.


export interface ReleaseResponse {
  'returnedCalls'?: (number);
  'alreadySettled'?: (boolean);
}

export interface ReleaseResponse__Output {
  'returnedCalls': (number);
  'alreadySettled': (boolean);
}
