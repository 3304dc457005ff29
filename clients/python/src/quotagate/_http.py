"""What the HTTP adapters have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from quotagate import _errors
from quotagate._errors import PermitExpired, QuotaError
from quotagate._model import Report, TrafficClass
from quotagate._rules import Call, Rules


@dataclass(frozen=True, slots=True)
class Quota:
    """Whose quota an adapter's calls take."""

    org: str
    workspace: str
    execution_user: str
    traffic_class: TrafficClass
    max_wait: float
    rules: Rules
    on_advice: Callable[[Report], None] | None

    def request(self, call: Call) -> dict[str, Any]:
        """The arguments of an acquire."""
        return {
            "org": self.org,
            "operation": call.operation,
            "workspace": self.workspace,
            "execution_user": self.execution_user,
            "traffic_class": self.traffic_class,
            "cost": call.cost,
            "max_wait": self.max_wait,
        }


def translated(error: QuotaError, kinds: dict[type[QuotaError], type[QuotaError]]) -> QuotaError:
    """The error as one that is the HTTP library's, too."""
    kind = kinds.get(type(error))
    return error if kind is None else _errors._restore(kind, error.args, dict(error.__dict__))


_MOST_CONNECT = 2.0
"""Seconds; a connection that takes longer is of no use to most permits."""


def sooner(limit: float | None, life: float) -> float:
    """The shorter of a timeout and what is left of a permit's life."""
    life = max(life, 0.001)
    return life if limit is None else min(limit, life)


def connect_within(limit: float | None, life: float) -> float:
    """The timeout to connect with. The libraries take it for each address and for TLS anew, so
    that it is a part of the permit's life only."""
    return sooner(limit, min(life, _MOST_CONNECT))


def too_late() -> PermitExpired:
    """The error of a request that got its connection too late to be sent."""
    return PermitExpired("the permit's life was over before there was a connection")
