// Written by scripts/generate.mjs. Do not edit.


export interface SilentNode {
  'node'?: (string);
  'reason'?: (string);
}

export interface SilentNode__Output {
  'node': (string);
  'reason': (string);
}
