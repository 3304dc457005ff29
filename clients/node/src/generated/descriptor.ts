// Written by scripts/generate.mjs. Do not edit.
export const descriptor: unknown = {
  "nested": {
    "quotagate": {
      "nested": {
        "v1": {
          "nested": {
            "QuotaService": {
              "methods": {
                "Acquire": {
                  "requestType": "AcquireRequest",
                  "responseType": "AcquireResponse"
                },
                "Release": {
                  "requestType": "ReleaseRequest",
                  "responseType": "ReleaseResponse"
                },
                "Report": {
                  "requestType": "ReportRequest",
                  "responseType": "ReportResponse"
                },
                "GetUsage": {
                  "requestType": "GetUsageRequest",
                  "responseType": "GetUsageResponse"
                },
                "WatchUsage": {
                  "requestType": "WatchUsageRequest",
                  "responseType": "WatchUsageResponse",
                  "responseStream": true
                },
                "GetDemand": {
                  "requestType": "GetDemandRequest",
                  "responseType": "GetDemandResponse"
                },
                "ListUsage": {
                  "requestType": "ListUsageRequest",
                  "responseType": "ListUsageResponse"
                }
              }
            },
            "TrafficClass": {
              "values": {
                "TRAFFIC_CLASS_UNSPECIFIED": 0,
                "TRAFFIC_CLASS_BULK": 1,
                "TRAFFIC_CLASS_EVENT": 2,
                "TRAFFIC_CLASS_INTERACTIVE": 3,
                "TRAFFIC_CLASS_CONTROL": 4
              }
            },
            "AcquireMode": {
              "values": {
                "ACQUIRE_MODE_UNSPECIFIED": 0,
                "ACQUIRE_MODE_ENFORCE": 1,
                "ACQUIRE_MODE_CHECK_ONLY": 2
              }
            },
            "AcquireRequest": {
              "fields": {
                "org": {
                  "type": "string",
                  "id": 1
                },
                "workspace": {
                  "type": "string",
                  "id": 2
                },
                "operation": {
                  "type": "string",
                  "id": 3
                },
                "executionUser": {
                  "type": "string",
                  "id": 4
                },
                "trafficClass": {
                  "type": "TrafficClass",
                  "id": 5
                },
                "calls": {
                  "type": "uint32",
                  "id": 6
                },
                "minCalls": {
                  "type": "uint32",
                  "id": 7
                },
                "cost": {
                  "type": "uint32",
                  "id": 8
                },
                "maxWait": {
                  "type": "google.protobuf.Duration",
                  "id": 9
                },
                "permitTtl": {
                  "type": "google.protobuf.Duration",
                  "id": 10
                },
                "requestId": {
                  "type": "string",
                  "id": 11
                },
                "mode": {
                  "type": "AcquireMode",
                  "id": 12
                }
              }
            },
            "AcquireResponse": {
              "oneofs": {
                "outcome": {
                  "oneof": [
                    "permit",
                    "denial"
                  ]
                }
              },
              "fields": {
                "permit": {
                  "type": "Permit",
                  "id": 1
                },
                "denial": {
                  "type": "Denial",
                  "id": 2
                }
              }
            },
            "Permit": {
              "fields": {
                "permitId": {
                  "type": "string",
                  "id": 1
                },
                "calls": {
                  "type": "uint32",
                  "id": 2
                },
                "executionUser": {
                  "type": "string",
                  "id": 3
                },
                "ttl": {
                  "type": "google.protobuf.Duration",
                  "id": 4
                },
                "classState": {
                  "type": "ClassState",
                  "id": 5
                },
                "limits": {
                  "rule": "repeated",
                  "type": "LimitUsage",
                  "id": 6
                },
                "explanation": {
                  "rule": "repeated",
                  "type": "LimitExplanation",
                  "id": 7
                }
              }
            },
            "DenialReason": {
              "values": {
                "DENIAL_REASON_UNSPECIFIED": 0,
                "DENIAL_REASON_EXECUTION_USER_LIMIT": 1,
                "DENIAL_REASON_WORKSPACE_CLASS_PAUSED": 2,
                "DENIAL_REASON_WORKSPACE_LIMIT": 3,
                "DENIAL_REASON_ORG_LIMIT": 4,
                "DENIAL_REASON_CONCURRENCY_LIMIT": 5,
                "DENIAL_REASON_COOLING_DOWN": 6,
                "DENIAL_REASON_QUEUE_FULL": 7
              }
            },
            "Denial": {
              "fields": {
                "reason": {
                  "type": "DenialReason",
                  "id": 1
                },
                "limit": {
                  "type": "LimitUsage",
                  "id": 2
                },
                "limits": {
                  "rule": "repeated",
                  "type": "LimitUsage",
                  "id": 3
                },
                "retryAfter": {
                  "type": "google.protobuf.Duration",
                  "id": 4
                },
                "queuePosition": {
                  "type": "uint32",
                  "id": 5
                },
                "message": {
                  "type": "string",
                  "id": 6
                },
                "classState": {
                  "type": "ClassState",
                  "id": 7
                },
                "explanation": {
                  "rule": "repeated",
                  "type": "LimitExplanation",
                  "id": 8
                }
              }
            },
            "LimitExplanation": {
              "oneofs": {
                "_pausesAt": {
                  "oneof": [
                    "pausesAt"
                  ]
                }
              },
              "fields": {
                "usage": {
                  "type": "LimitUsage",
                  "id": 1
                },
                "room": {
                  "type": "uint64",
                  "id": 2
                },
                "needed": {
                  "type": "uint64",
                  "id": 3
                },
                "ahead": {
                  "type": "uint64",
                  "id": 4
                },
                "keptForWorkspaces": {
                  "type": "uint64",
                  "id": 5
                },
                "pausesAt": {
                  "type": "uint64",
                  "id": 6,
                  "options": {
                    "proto3_optional": true
                  }
                },
                "binding": {
                  "type": "bool",
                  "id": 7
                },
                "opensIn": {
                  "type": "google.protobuf.Duration",
                  "id": 8
                },
                "text": {
                  "type": "string",
                  "id": 9
                }
              }
            },
            "LimitKind": {
              "values": {
                "LIMIT_KIND_UNSPECIFIED": 0,
                "LIMIT_KIND_WINDOW": 1,
                "LIMIT_KIND_CONCURRENCY": 2
              }
            },
            "LimitScope": {
              "values": {
                "LIMIT_SCOPE_UNSPECIFIED": 0,
                "LIMIT_SCOPE_ORG": 1,
                "LIMIT_SCOPE_WORKSPACE": 2,
                "LIMIT_SCOPE_EXECUTION_USER": 3
              }
            },
            "LimitUsage": {
              "fields": {
                "name": {
                  "type": "string",
                  "id": 1
                },
                "kind": {
                  "type": "LimitKind",
                  "id": 2
                },
                "scope": {
                  "type": "LimitScope",
                  "id": 3
                },
                "identity": {
                  "type": "string",
                  "id": 4
                },
                "max": {
                  "type": "uint64",
                  "id": 5
                },
                "usedByCaller": {
                  "type": "uint64",
                  "id": 6
                },
                "usedByOthers": {
                  "type": "uint64",
                  "id": 7
                },
                "foreign": {
                  "type": "uint64",
                  "id": 8
                },
                "held": {
                  "type": "uint64",
                  "id": 9
                },
                "reserved": {
                  "type": "uint64",
                  "id": 10
                },
                "remaining": {
                  "type": "uint64",
                  "id": 11
                },
                "window": {
                  "type": "google.protobuf.Duration",
                  "id": 12
                },
                "stale": {
                  "type": "bool",
                  "id": 13
                },
                "burnPerHour": {
                  "type": "uint64",
                  "id": 14
                },
                "exhaustedIn": {
                  "type": "google.protobuf.Duration",
                  "id": 15
                },
                "shadow": {
                  "type": "Shadow",
                  "id": 16
                },
                "coolingUntil": {
                  "type": "google.protobuf.Timestamp",
                  "id": 17
                },
                "outageShare": {
                  "type": "uint64",
                  "id": 18
                },
                "opensIn": {
                  "type": "google.protobuf.Duration",
                  "id": 19
                }
              }
            },
            "Shadow": {
              "fields": {
                "wouldHaveRefused": {
                  "type": "uint64",
                  "id": 1
                }
              }
            },
            "ClassRunState": {
              "values": {
                "CLASS_RUN_STATE_UNSPECIFIED": 0,
                "CLASS_RUN_STATE_RUNNING": 1,
                "CLASS_RUN_STATE_PAUSED": 2
              }
            },
            "ClassStatus": {
              "fields": {
                "trafficClass": {
                  "type": "TrafficClass",
                  "id": 1
                },
                "state": {
                  "type": "ClassRunState",
                  "id": 2
                },
                "since": {
                  "type": "google.protobuf.Timestamp",
                  "id": 3
                },
                "pausesAtPercent": {
                  "type": "uint32",
                  "id": 4
                },
                "resumesBelowPercent": {
                  "type": "uint32",
                  "id": 5
                }
              }
            },
            "WarningKind": {
              "values": {
                "WARNING_KIND_UNSPECIFIED": 0,
                "WARNING_KIND_APPROACHING_LIMIT": 1,
                "WARNING_KIND_LIMIT_REACHED": 2
              }
            },
            "Warning": {
              "fields": {
                "kind": {
                  "type": "WarningKind",
                  "id": 1
                },
                "text": {
                  "type": "string",
                  "id": 2
                }
              }
            },
            "ClassState": {
              "fields": {
                "classes": {
                  "rule": "repeated",
                  "type": "ClassStatus",
                  "id": 1
                },
                "warnings": {
                  "rule": "repeated",
                  "type": "Warning",
                  "id": 2
                }
              }
            },
            "ReleaseRequest": {
              "oneofs": {
                "_unusedCalls": {
                  "oneof": [
                    "unusedCalls"
                  ]
                }
              },
              "fields": {
                "permitId": {
                  "type": "string",
                  "id": 1
                },
                "unusedCalls": {
                  "type": "uint32",
                  "id": 2,
                  "options": {
                    "proto3_optional": true
                  }
                }
              }
            },
            "ReleaseResponse": {
              "fields": {
                "returnedCalls": {
                  "type": "uint32",
                  "id": 1
                },
                "alreadySettled": {
                  "type": "bool",
                  "id": 2
                }
              }
            },
            "ReportRequest": {
              "fields": {
                "permitId": {
                  "type": "string",
                  "id": 1
                },
                "org": {
                  "type": "string",
                  "id": 2
                },
                "executionUser": {
                  "type": "string",
                  "id": 3
                },
                "operation": {
                  "type": "string",
                  "id": 4
                },
                "firstCall": {
                  "type": "uint32",
                  "id": 5
                },
                "calls": {
                  "type": "uint32",
                  "id": 6
                },
                "httpStatus": {
                  "type": "uint32",
                  "id": 7
                },
                "errorCode": {
                  "type": "string",
                  "id": 8
                },
                "errorMessage": {
                  "type": "string",
                  "id": 9
                },
                "retryAfter": {
                  "type": "google.protobuf.Duration",
                  "id": 10
                },
                "limitInfo": {
                  "rule": "repeated",
                  "type": "string",
                  "id": 11
                },
                "answerTime": {
                  "type": "google.protobuf.Timestamp",
                  "id": 12
                },
                "completedAgo": {
                  "type": "google.protobuf.Duration",
                  "id": 13
                }
              }
            },
            "Advice": {
              "values": {
                "ADVICE_UNSPECIFIED": 0,
                "ADVICE_CONTINUE": 1,
                "ADVICE_BACK_OFF": 2,
                "ADVICE_STOP": 3
              }
            },
            "ReportResponse": {
              "fields": {
                "alreadySettled": {
                  "type": "bool",
                  "id": 1
                },
                "classState": {
                  "type": "ClassState",
                  "id": 2
                },
                "advice": {
                  "type": "Advice",
                  "id": 3
                },
                "backOff": {
                  "type": "google.protobuf.Duration",
                  "id": 4
                }
              }
            },
            "GetUsageRequest": {
              "fields": {
                "org": {
                  "type": "string",
                  "id": 1
                }
              }
            },
            "GetUsageResponse": {
              "fields": {
                "usage": {
                  "type": "OrgUsage",
                  "id": 1
                }
              }
            },
            "OrgUsage": {
              "fields": {
                "org": {
                  "type": "string",
                  "id": 1
                },
                "asOf": {
                  "type": "google.protobuf.Timestamp",
                  "id": 2
                },
                "limits": {
                  "rule": "repeated",
                  "type": "LimitUsage",
                  "id": 3
                },
                "workspaces": {
                  "rule": "repeated",
                  "type": "WorkspaceUsage",
                  "id": 4
                },
                "executionUsers": {
                  "rule": "repeated",
                  "type": "ExecutionUserUsage",
                  "id": 5
                },
                "waiting": {
                  "type": "uint32",
                  "id": 6
                },
                "permitsOut": {
                  "type": "uint32",
                  "id": 7
                },
                "lastReading": {
                  "type": "google.protobuf.Timestamp",
                  "id": 8
                },
                "warnings": {
                  "rule": "repeated",
                  "type": "string",
                  "id": 9
                },
                "cooling": {
                  "rule": "repeated",
                  "type": "CoolingUsage",
                  "id": 10
                },
                "attribution": {
                  "type": "Attribution",
                  "id": 13
                },
                "queue": {
                  "type": "QueueUsage",
                  "id": 11
                },
                "readings": {
                  "rule": "repeated",
                  "type": "Reading",
                  "id": 12
                }
              }
            },
            "CoolingCause": {
              "values": {
                "COOLING_CAUSE_UNSPECIFIED": 0,
                "COOLING_CAUSE_THROTTLED": 1,
                "COOLING_CAUSE_LIMIT_EXCEEDED": 2,
                "COOLING_CAUSE_CONCURRENCY_EXCEEDED": 3,
                "COOLING_CAUSE_LOGINS_EXCEEDED": 4,
                "COOLING_CAUSE_COUNTER_EXCEEDED": 5,
                "COOLING_CAUSE_TOTAL_EXCEEDED": 6
              }
            },
            "CoolingUsage": {
              "fields": {
                "scope": {
                  "type": "LimitScope",
                  "id": 1
                },
                "identity": {
                  "type": "string",
                  "id": 2
                },
                "limit": {
                  "type": "string",
                  "id": 3
                },
                "cause": {
                  "type": "CoolingCause",
                  "id": 4
                },
                "since": {
                  "type": "google.protobuf.Timestamp",
                  "id": 5
                },
                "until": {
                  "type": "google.protobuf.Timestamp",
                  "id": 6
                },
                "attempts": {
                  "type": "uint32",
                  "id": 7
                },
                "probeOut": {
                  "type": "bool",
                  "id": 8
                }
              }
            },
            "Attribution": {
              "fields": {
                "since": {
                  "type": "google.protobuf.Timestamp",
                  "id": 1
                },
                "total": {
                  "type": "PeriodUse",
                  "id": 2
                },
                "tables": {
                  "rule": "repeated",
                  "type": "AttributionTable",
                  "id": 3
                }
              }
            },
            "AttributionDimension": {
              "values": {
                "ATTRIBUTION_DIMENSION_UNSPECIFIED": 0,
                "ATTRIBUTION_DIMENSION_WORKSPACE": 1,
                "ATTRIBUTION_DIMENSION_TRAFFIC_CLASS": 2,
                "ATTRIBUTION_DIMENSION_OPERATION": 3,
                "ATTRIBUTION_DIMENSION_EXECUTION_USER": 4,
                "ATTRIBUTION_DIMENSION_CALLER": 5
              }
            },
            "AttributionTable": {
              "fields": {
                "dimension": {
                  "type": "AttributionDimension",
                  "id": 1
                },
                "consumers": {
                  "rule": "repeated",
                  "type": "Consumer",
                  "id": 2
                },
                "others": {
                  "type": "PeriodUse",
                  "id": 3
                },
                "missingUnitsAtMost": {
                  "type": "uint64",
                  "id": 4
                }
              }
            },
            "Consumer": {
              "fields": {
                "name": {
                  "type": "string",
                  "id": 1
                },
                "used": {
                  "type": "PeriodUse",
                  "id": 2
                }
              }
            },
            "PeriodUse": {
              "fields": {
                "lastMinute": {
                  "type": "UseCount",
                  "id": 1
                },
                "lastHour": {
                  "type": "UseCount",
                  "id": 2
                },
                "lastDay": {
                  "type": "UseCount",
                  "id": 3
                }
              }
            },
            "UseCount": {
              "fields": {
                "units": {
                  "type": "uint64",
                  "id": 1
                },
                "calls": {
                  "type": "uint64",
                  "id": 2
                },
                "refusedCalls": {
                  "type": "uint64",
                  "id": 3
                }
              }
            },
            "QueueUsage": {
              "fields": {
                "waiting": {
                  "rule": "repeated",
                  "type": "ClassWaiting",
                  "id": 1
                },
                "first": {
                  "rule": "repeated",
                  "type": "QueuedRequest",
                  "id": 2
                }
              }
            },
            "ClassWaiting": {
              "fields": {
                "trafficClass": {
                  "type": "TrafficClass",
                  "id": 1
                },
                "requests": {
                  "type": "uint32",
                  "id": 2
                }
              }
            },
            "QueuedRequest": {
              "fields": {
                "place": {
                  "type": "uint32",
                  "id": 1
                },
                "workspace": {
                  "type": "string",
                  "id": 2
                },
                "operation": {
                  "type": "string",
                  "id": 3
                },
                "trafficClass": {
                  "type": "TrafficClass",
                  "id": 4
                },
                "calls": {
                  "type": "uint32",
                  "id": 5
                },
                "executionUser": {
                  "type": "string",
                  "id": 6
                },
                "waitingSince": {
                  "type": "google.protobuf.Timestamp",
                  "id": 7
                },
                "dueAt": {
                  "type": "google.protobuf.Timestamp",
                  "id": 8
                },
                "limit": {
                  "type": "string",
                  "id": 9
                },
                "scope": {
                  "type": "LimitScope",
                  "id": 10
                },
                "identity": {
                  "type": "string",
                  "id": 11
                }
              }
            },
            "Reading": {
              "fields": {
                "answerTime": {
                  "type": "google.protobuf.Timestamp",
                  "id": 1
                },
                "used": {
                  "type": "uint64",
                  "id": 2
                },
                "limit": {
                  "type": "uint64",
                  "id": 3
                },
                "own": {
                  "type": "uint64",
                  "id": 4
                },
                "foreign": {
                  "type": "uint64",
                  "id": 5
                },
                "toldBy": {
                  "type": "string",
                  "id": 6
                }
              }
            },
            "WorkspaceUsage": {
              "fields": {
                "workspace": {
                  "type": "string",
                  "id": 1
                },
                "limits": {
                  "rule": "repeated",
                  "type": "LimitUsage",
                  "id": 2
                },
                "classState": {
                  "type": "ClassState",
                  "id": 3
                },
                "weight": {
                  "type": "uint32",
                  "id": 4
                },
                "guaranteedCalls": {
                  "type": "uint64",
                  "id": 5
                },
                "attribution": {
                  "type": "WorkspaceAttribution",
                  "id": 6
                }
              }
            },
            "WorkspaceAttribution": {
              "fields": {
                "pauses": {
                  "rule": "repeated",
                  "type": "ClassForecast",
                  "id": 1
                }
              }
            },
            "ClassForecast": {
              "fields": {
                "trafficClass": {
                  "type": "TrafficClass",
                  "id": 1
                },
                "pausesIn": {
                  "type": "google.protobuf.Duration",
                  "id": 2
                }
              }
            },
            "ExecutionUserUsage": {
              "fields": {
                "executionUser": {
                  "type": "string",
                  "id": 1
                },
                "limits": {
                  "rule": "repeated",
                  "type": "LimitUsage",
                  "id": 2
                },
                "inPool": {
                  "type": "bool",
                  "id": 3
                },
                "foreignTraffic": {
                  "type": "bool",
                  "id": 4
                }
              }
            },
            "WatchUsageRequest": {
              "fields": {
                "org": {
                  "type": "string",
                  "id": 1
                }
              }
            },
            "ClassTransition": {
              "fields": {
                "workspace": {
                  "type": "string",
                  "id": 1
                },
                "status": {
                  "type": "ClassStatus",
                  "id": 2
                }
              }
            },
            "WatchUsageResponse": {
              "fields": {
                "usage": {
                  "type": "OrgUsage",
                  "id": 1
                },
                "snapshot": {
                  "type": "bool",
                  "id": 2
                },
                "transitions": {
                  "rule": "repeated",
                  "type": "ClassTransition",
                  "id": 3
                }
              }
            },
            "GetDemandRequest": {
              "oneofs": {
                "_workspace": {
                  "oneof": [
                    "workspace"
                  ]
                }
              },
              "fields": {
                "org": {
                  "type": "string",
                  "id": 1
                },
                "workspace": {
                  "type": "string",
                  "id": 2,
                  "options": {
                    "proto3_optional": true
                  }
                },
                "since": {
                  "type": "google.protobuf.Timestamp",
                  "id": 3
                }
              }
            },
            "GetDemandResponse": {
              "fields": {
                "org": {
                  "type": "string",
                  "id": 1
                },
                "asOf": {
                  "type": "google.protobuf.Timestamp",
                  "id": 2
                },
                "countedSince": {
                  "type": "google.protobuf.Timestamp",
                  "id": 3
                },
                "series": {
                  "rule": "repeated",
                  "type": "DemandSeries",
                  "id": 4
                },
                "history": {
                  "rule": "repeated",
                  "type": "HistoryPoint",
                  "id": 5
                }
              }
            },
            "HistoryPoint": {
              "fields": {
                "time": {
                  "type": "google.protobuf.Timestamp",
                  "id": 1
                },
                "own": {
                  "type": "uint64",
                  "id": 2
                },
                "foreign": {
                  "type": "uint64",
                  "id": 3
                },
                "limit": {
                  "type": "uint64",
                  "id": 4
                }
              }
            },
            "DemandSeries": {
              "fields": {
                "workspace": {
                  "type": "string",
                  "id": 1
                },
                "trafficClass": {
                  "type": "TrafficClass",
                  "id": 2
                },
                "operation": {
                  "type": "string",
                  "id": 3
                },
                "rest": {
                  "type": "bool",
                  "id": 4
                },
                "minutes": {
                  "rule": "repeated",
                  "type": "DemandMinute",
                  "id": 5
                }
              }
            },
            "DemandMinute": {
              "fields": {
                "minute": {
                  "type": "google.protobuf.Timestamp",
                  "id": 1
                },
                "askedCalls": {
                  "type": "uint32",
                  "id": 2
                },
                "askedUnits": {
                  "type": "uint32",
                  "id": 3
                },
                "grantedCalls": {
                  "type": "uint32",
                  "id": 4
                },
                "grantedUnits": {
                  "type": "uint32",
                  "id": 5
                },
                "refusedByExecutionUser": {
                  "type": "uint32",
                  "id": 6
                },
                "refusedByWorkspace": {
                  "type": "uint32",
                  "id": 7
                },
                "refusedByOrg": {
                  "type": "uint32",
                  "id": 8
                },
                "refusedByConcurrency": {
                  "type": "uint32",
                  "id": 9
                },
                "refusedOtherwise": {
                  "type": "uint32",
                  "id": 10
                }
              }
            },
            "UsageOrder": {
              "values": {
                "USAGE_ORDER_UNSPECIFIED": 0,
                "USAGE_ORDER_TROUBLE": 1,
                "USAGE_ORDER_USED": 2,
                "USAGE_ORDER_EXHAUSTED": 3,
                "USAGE_ORDER_NAME": 4
              }
            },
            "Severity": {
              "values": {
                "SEVERITY_UNSPECIFIED": 0,
                "SEVERITY_FINE": 1,
                "SEVERITY_NOTICE": 2,
                "SEVERITY_WARNING": 3,
                "SEVERITY_CRITICAL": 4,
                "SEVERITY_UNKNOWN": 5
              }
            },
            "ListUsageRequest": {
              "fields": {
                "pageSize": {
                  "type": "uint32",
                  "id": 1
                },
                "pageToken": {
                  "type": "string",
                  "id": 2
                },
                "order": {
                  "type": "UsageOrder",
                  "id": 3
                },
                "search": {
                  "type": "string",
                  "id": 4
                }
              }
            },
            "ListUsageResponse": {
              "fields": {
                "asOf": {
                  "type": "google.protobuf.Timestamp",
                  "id": 1
                },
                "orgs": {
                  "rule": "repeated",
                  "type": "OrgLine",
                  "id": 2
                },
                "nextPageToken": {
                  "type": "string",
                  "id": 3
                },
                "totalSize": {
                  "type": "uint32",
                  "id": 4
                },
                "inTrouble": {
                  "type": "uint32",
                  "id": 5
                },
                "unknown": {
                  "type": "uint32",
                  "id": 6
                },
                "silentNodes": {
                  "rule": "repeated",
                  "type": "SilentNode",
                  "id": 7
                }
              }
            },
            "SilentNode": {
              "fields": {
                "node": {
                  "type": "string",
                  "id": 1
                },
                "reason": {
                  "type": "string",
                  "id": 2
                }
              }
            },
            "OrgLine": {
              "fields": {
                "org": {
                  "type": "string",
                  "id": 1
                },
                "total": {
                  "type": "LimitUsage",
                  "id": 2
                },
                "workspaces": {
                  "type": "uint32",
                  "id": 3
                },
                "paused": {
                  "rule": "repeated",
                  "type": "PausedClass",
                  "id": 4
                },
                "workspacesAtLimit": {
                  "type": "uint32",
                  "id": 5
                },
                "fullestWorkspace": {
                  "type": "string",
                  "id": 6
                },
                "fullestUsedPercent": {
                  "type": "uint32",
                  "id": 7
                },
                "waiting": {
                  "type": "uint32",
                  "id": 8
                },
                "cooling": {
                  "type": "CoolingLine",
                  "id": 9
                },
                "severity": {
                  "type": "Severity",
                  "id": 10
                },
                "trouble": {
                  "type": "string",
                  "id": 11
                }
              }
            },
            "PausedClass": {
              "fields": {
                "trafficClass": {
                  "type": "TrafficClass",
                  "id": 1
                },
                "workspaces": {
                  "type": "uint32",
                  "id": 2
                }
              }
            },
            "CoolingLine": {
              "fields": {
                "until": {
                  "type": "google.protobuf.Timestamp",
                  "id": 1
                },
                "scope": {
                  "type": "LimitScope",
                  "id": 2
                },
                "total": {
                  "type": "bool",
                  "id": 3
                },
                "limits": {
                  "type": "uint32",
                  "id": 4
                }
              }
            }
          }
        }
      }
    },
    "google": {
      "nested": {
        "protobuf": {
          "nested": {
            "Duration": {
              "fields": {
                "seconds": {
                  "type": "int64",
                  "id": 1
                },
                "nanos": {
                  "type": "int32",
                  "id": 2
                }
              }
            },
            "Timestamp": {
              "fields": {
                "seconds": {
                  "type": "int64",
                  "id": 1
                },
                "nanos": {
                  "type": "int32",
                  "id": 2
                }
              }
            }
          }
        },
        "rpc": {
          "nested": {
            "Status": {
              "fields": {
                "code": {
                  "type": "int32",
                  "id": 1
                },
                "message": {
                  "type": "string",
                  "id": 2
                },
                "details": {
                  "rule": "repeated",
                  "type": "Detail",
                  "id": 3
                }
              }
            },
            "Detail": {
              "fields": {
                "typeUrl": {
                  "type": "string",
                  "id": 1
                },
                "value": {
                  "type": "bytes",
                  "id": 2
                }
              }
            },
            "BadRequest": {
              "fields": {
                "fieldViolations": {
                  "rule": "repeated",
                  "type": "FieldViolation",
                  "id": 1
                }
              },
              "nested": {
                "FieldViolation": {
                  "fields": {
                    "field": {
                      "type": "string",
                      "id": 1
                    },
                    "description": {
                      "type": "string",
                      "id": 2
                    }
                  }
                }
              }
            },
            "ErrorInfo": {
              "fields": {
                "reason": {
                  "type": "string",
                  "id": 1
                },
                "domain": {
                  "type": "string",
                  "id": 2
                }
              }
            },
            "RetryInfo": {
              "fields": {
                "retryDelay": {
                  "type": "google.protobuf.Duration",
                  "id": 1
                }
              }
            }
          }
        }
      }
    }
  }
};
