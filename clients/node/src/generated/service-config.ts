// Written by scripts/generate.mjs. Do not edit.
export const serviceConfig: unknown = {
  "loadBalancingConfig": [
    {
      "round_robin": {}
    }
  ],
  "healthCheckConfig": {
    "serviceName": "quotagate.v1.QuotaService"
  },
  "methodConfig": [
    {
      "name": [
        {
          "service": "quotagate.v1.QuotaService",
          "method": "Acquire"
        },
        {
          "service": "quotagate.v1.QuotaService",
          "method": "Release"
        },
        {
          "service": "quotagate.v1.QuotaService",
          "method": "Report"
        },
        {
          "service": "quotagate.v1.QuotaService",
          "method": "GetUsage"
        }
      ],
      "retryPolicy": {
        "maxAttempts": 4,
        "initialBackoff": "0.05s",
        "maxBackoff": "1s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": [
          "UNAVAILABLE"
        ]
      }
    }
  ]
};
