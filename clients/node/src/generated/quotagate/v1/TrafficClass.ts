// Written by scripts/generate.mjs. Do not edit.

export const TrafficClass = {
  TRAFFIC_CLASS_UNSPECIFIED: 'TRAFFIC_CLASS_UNSPECIFIED',
  TRAFFIC_CLASS_BULK: 'TRAFFIC_CLASS_BULK',
  TRAFFIC_CLASS_EVENT: 'TRAFFIC_CLASS_EVENT',
  TRAFFIC_CLASS_INTERACTIVE: 'TRAFFIC_CLASS_INTERACTIVE',
  TRAFFIC_CLASS_CONTROL: 'TRAFFIC_CLASS_CONTROL',
} as const;

export type TrafficClass =
  | 'TRAFFIC_CLASS_UNSPECIFIED'
  | 0
  | 'TRAFFIC_CLASS_BULK'
  | 1
  | 'TRAFFIC_CLASS_EVENT'
  | 2
  | 'TRAFFIC_CLASS_INTERACTIVE'
  | 3
  | 'TRAFFIC_CLASS_CONTROL'
  | 4

export type TrafficClass__Output = typeof TrafficClass[keyof typeof TrafficClass]
