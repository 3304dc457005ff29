"""Share Salesforce's API limits among many processes: a client of quotagate.

    client = quotagate.Client("quotagate:7400")
    with client.permit(org="00D000000000001EAA", operation="rest", max_wait=10) as permit:
        permit.start()
        answer = session.get(url)
        permit.report(answer)

`quotagate.requests` and `quotagate.httpx` do the same for every request of a session,
`quotagate.aio` is for asyncio.
"""

from quotagate._answer import Answer, HttpResponse
from quotagate._client import Client, Permit
from quotagate._errors import (
    Denied,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    PermitExpired,
    QuotaError,
    RequestRefused,
    Unauthenticated,
    Unavailable,
)
from quotagate._model import (
    ClassState,
    ClassStatus,
    LimitUsage,
    Released,
    Report,
    TrafficClass,
    Warned,
)
from quotagate._outage import Policies, Policy
from quotagate._outage import Safe as safe
from quotagate._rules import Call, Rules, salesforce_rules

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "Call",
    "ClassState",
    "ClassStatus",
    "Client",
    "Denied",
    "HttpResponse",
    "InvalidRequest",
    "LimitUsage",
    "NotFound",
    "PermissionDenied",
    "Permit",
    "PermitExpired",
    "Policies",
    "Policy",
    "QuotaError",
    "Released",
    "Report",
    "RequestRefused",
    "Rules",
    "TrafficClass",
    "Unauthenticated",
    "Unavailable",
    "Warned",
    "safe",
    "salesforce_rules",
]
