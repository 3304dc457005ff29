"""What a client does while nothing can be decided.

A service that cannot be reached must not lead to a limit that is overrun. So the default
is *closed*. *Safe* uses a part of each limit that the service never grants
(`outage_share`), divided by the number of processes that may do so: each keeps a log of
its own calls, and a call is counted as long as it can be in the limit's window.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from quotagate._model import LimitUsage, TrafficClass

PERMIT_LIFE = 5.0
"""Seconds that a permit of an outage lives."""

_TRANSIT = 5.0
"""Seconds after its permit's end at which a call without an answer has certainly arrived."""

_MOST_QUESTIONS = 10_000

_log = logging.getLogger("quotagate")


@dataclass(frozen=True, slots=True)
class Safe:
    """Grant from this process's part of the limits' `outage_share`.

    `processes` is how many processes may do so within one window of the limits, restarted
    ones included: each takes a part of that size for its own.
    """

    processes: int

    def __post_init__(self) -> None:
        if self.processes < 1:
            raise ValueError(f"processes must be at least 1, is {self.processes}")


Policy: TypeAlias = Literal["closed", "open"] | Safe
"""Of one class: refuse, let everything through, or grant from a part of one's own."""

Policies: TypeAlias = Policy | Mapping[TrafficClass, Policy]
"""Of all classes, or by class; a class that is not named is closed."""


def policy_of(policies: Policies, traffic_class: TrafficClass) -> Policy:
    """The policy that holds for a class."""
    if isinstance(policies, Mapping):
        return policies.get(traffic_class, "closed")
    return policies


def check_policies(policies: Policies) -> None:
    """Raises ValueError where a policy is none."""
    for policy in policies.values() if isinstance(policies, Mapping) else [policies]:
        if not isinstance(policy, Safe) and policy not in ("closed", "open"):
            raise ValueError(f"outage must be 'closed', 'open' or safe(…), is {policy!r}")


class Question(NamedTuple):
    """What limits an acquire touches hangs on this alone."""

    org: str
    workspace: str
    operation: str
    execution_user: str

    @classmethod
    def of(cls, org: str, workspace: str, operation: str, execution_user: str) -> Question:
        """The question; ids of Salesforce are the same in each of their spellings, as they
        are for the service, so that they share their logs."""
        return cls(
            _one_spelling(org, "00D"), workspace, operation, _one_spelling(execution_user, "005")
        )


def _one_spelling(name: str, prefix: str) -> str:
    """An id of Salesforce in its form of 18 characters; any other name as it is."""
    is_id = name.startswith(prefix) and name.isascii() and name.isalnum()
    if not is_id or len(name) not in (15, 18):
        return name
    full = name[:15]
    for at in (0, 5, 10):
        # Each letter says which of five characters are capitals.
        capitals = sum(1 << place for place, c in enumerate(name[at : at + 5]) if c.isupper())
        full += "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"[capitals]
    # The service refuses an id whose last three characters are wrong, whatever their case.
    return full if name[15:].upper() in ("", full[15:]) else name


class Spent:
    """One call in the logs of all limits that it touches."""

    __slots__ = ("entries",)

    def __init__(self) -> None:
        self.entries: list[_Entry] = []


@dataclass(slots=True)
class _Entry:
    units: int
    until: float
    after_answer: float


class SafeGrant(NamedTuple):
    """What the local log allows."""

    calls: int
    execution_user: str
    spent: list[Spent]


class Outage:
    """What is known for an outage, and what was let through in one. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[Question, tuple[str, tuple[LimitUsage, ...]]] = OrderedDict()
        self._logs: dict[tuple[str, str, str, str], list[_Entry]] = {}
        self._is_on = False

    def decided(self, question: Question, user: str, limits: tuple[LimitUsage, ...]) -> None:
        """The service has granted: no outage, and these are the limits; none say nothing."""
        with self._lock:
            self._is_on = False
            if not limits:
                return
            self._known[question] = (user, limits)
            self._known.move_to_end(question)
            if len(self._known) > _MOST_QUESTIONS:
                self._known.popitem(last=False)

    def denied(self, question: Question, limits: tuple[LimitUsage, ...]) -> None:
        """The service has refused: no outage.

        Where it was to choose the user and came to none, that user's limits are missing:
        to learn from that would let calls through that nobody counts.
        """
        user = question.execution_user
        if not user:
            user = next((x.identity for x in limits if x.scope == "EXECUTION_USER"), "")
        self.decided(question, user, limits if user else ())

    def begins(self, policy: Policy, cause: str) -> None:
        """Nothing could be decided: warns once until the next decision."""
        with self._lock:
            was_on, self._is_on = self._is_on, True
        if not was_on and policy != "closed":
            _log.warning("quotagate cannot be asked (%s): calls go on, %s", cause, policy)

    def grant(
        self, safe: Safe, question: Question, calls: int, min_calls: int, cost: int, now: float
    ) -> SafeGrant | None:
        """Takes up to `calls` calls of this process's part; None if there is no room for
        `min_calls`, or nothing is known."""
        with self._lock:
            user, limits = self._known.get(question, ("", ()))
            touched: list[tuple[LimitUsage, list[_Entry], int]] = []
            granted = calls if limits else 0
            for limit in limits:
                if limit.max == 0 or limit.shadow:
                    continue  # a workspace without a cap, or what refuses nothing
                log = self._log_of(question.org, limit, now)
                # What a limit charges by cost only the service knows: the larger is safe.
                units = 1 if limit.kind == "CONCURRENCY" else cost
                room = limit.outage_share // safe.processes - sum(entry.units for entry in log)
                granted = min(granted, max(room, 0) // units)
                touched.append((limit, log, units))
            if granted < max(min_calls, 1):
                return None
            spent = [Spent() for _ in range(granted)]
            for limit, log, units in touched:
                after_answer = 0.0 if limit.kind == "CONCURRENCY" else limit.window
                until = now + PERMIT_LIFE + _TRANSIT + limit.window
                for call in spent:
                    entry = _Entry(units, until, after_answer)
                    log.append(entry)
                    call.entries.append(entry)
            return SafeGrant(granted, user, spent)

    def answered(self, spent: Spent, http_status: int, answered_at: float) -> None:
        """A call was answered. As with the service, no answer and 5xx do not say that it
        has arrived for good."""
        if not 100 <= http_status <= 499:
            return
        with self._lock:
            for entry in spent.entries:
                entry.until = min(entry.until, answered_at + entry.after_answer)

    def unsent(self, spent: Spent) -> None:
        """A call was not sent and will not be."""
        with self._lock:
            for entry in spent.entries:
                entry.until = float("-inf")

    def _log_of(self, org: str, limit: LimitUsage, now: float) -> list[_Entry]:
        """A limit's log, without what has left it; never more entries than its share."""
        key = (org, limit.scope, limit.identity, limit.name)
        log = self._logs.setdefault(key, [])
        log[:] = [entry for entry in log if entry.until > now]
        return log


@dataclass(frozen=True, slots=True)
class LocalCalls:
    """The calls of a permit that was granted in an outage."""

    outage: Outage
    spent: list[Spent] = field(default_factory=list)

    def answered(self, first: int, calls: int, http_status: int, answered_at: float) -> None:
        for spent in self.spent[first : first + calls]:
            self.outage.answered(spent, http_status, answered_at)

    def unsent(self, first: int) -> None:
        for spent in self.spent[first:]:
            self.outage.unsent(spent)
