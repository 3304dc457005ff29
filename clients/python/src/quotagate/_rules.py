"""Which operation an HTTP request is, and what it costs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import NamedTuple, TypeAlias
from urllib.parse import urlsplit


class Call(NamedTuple):
    """A call of Salesforce's API."""

    operation: str
    """The operation of the catalogue."""
    cost: int = 1
    """Quota units."""


Rules: TypeAlias = Callable[[str, str, "bytes | None"], "Call | None"]
"""From method, URL and body (None where it cannot be read) to the call, or None for what
needs no permit."""

_MOST_COST = 10_000
_VERSIONED = re.compile(r"/services/data/v[0-9.]+/(.*)")
_LOGIN = re.compile(rb"<(?:[\w.-]+:)?login[\s/>]")

_BY_COLLECTION = {
    ("GET", "conversation-entries"): "conversation-entries.get",
    ("DELETE", "conversation-participants"): "conversation-participants.delete",
    ("DELETE", "conversations"): "conversations.delete",
}


def salesforce_rules(method: str, url: str, body: bytes | None) -> Call | None:
    """The default rules: the built-in operations, by method and path.

    What is not below `/services/`, logins and the list of versions need no permit.
    """
    method = method.upper()
    # Servers, and some HTTP libraries, take several slashes at the beginning for one.
    path = "/" + urlsplit(url).path.strip("/")
    versioned = _VERSIONED.fullmatch(path)
    is_service = path.startswith("/services/")
    if versioned or not is_service:
        resource = versioned[1] if versioned else path.removeprefix("/")
        collection = resource.removeprefix("connect/").split("/", 1)[0]
        if operation := _BY_COLLECTION.get((method, collection)):
            return Call(operation)
    if not is_service or path == "/services/data" or f"{path}/".startswith("/services/oauth2/"):
        return None
    if path.startswith("/services/Soap/") and body is not None and _LOGIN.search(body):
        return None
    if versioned and method == "POST" and versioned[1] == "composite/batch":
        return Call("rest", _batch_cost(body))
    return Call("rest")


def _batch_cost(body: bytes | None) -> int:
    """The number of requests in the body of a batch; what is no batch costs 1."""
    try:
        requests = json.loads(body or b"")["batchRequests"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return 1
    return min(max(len(requests), 1), _MOST_COST) if isinstance(requests, list) else 1
