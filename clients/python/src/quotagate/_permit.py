"""What the permits of both clients have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from quotagate import _clock
from quotagate._answer import Answer, HttpResponse
from quotagate._core import Grant, Pending, Progress, release_of, report_of
from quotagate._model import ClassState, LimitUsage, Report


class BasePermit:
    """The right to start calls before its deadline."""

    def __init__(self, grant: Grant, operation: str, put: Callable[[Pending], None]) -> None:
        self._grant = grant
        self._operation = operation
        self._put = put
        self._progress = Progress(grant)

    @property
    def id(self) -> str:
        """Names the permit in the service; empty for one of an outage."""
        return self._grant.id

    @property
    def calls(self) -> int:
        """How many may be started."""
        return self._grant.calls

    @property
    def execution_user(self) -> str:
        """The Salesforce user to make the calls as."""
        return self._grant.execution_user

    @property
    def deadline(self) -> float:
        """When no call may start any more, on a clock of this machine: see `expires_in`."""
        return self._grant.deadline

    @property
    def expires_in(self) -> float:
        """Seconds until no call may start any more; negative when that is over."""
        return self._grant.deadline - _clock.now()

    @property
    def limits(self) -> tuple[LimitUsage, ...]:
        """Every limit that was charged, as it stands after the grant."""
        return self._grant.limits

    @property
    def class_state(self) -> ClassState:
        """The workspace's traffic classes."""
        return self._grant.class_state

    @property
    def origin(self) -> Literal["service", "outage"]:
        """Who granted it: the service, or this process by its outage policy."""
        return self._grant.origin

    def start(self) -> int:
        """To be called right before a call is sent; its ordinal, from 0.

        Raises:
            PermitExpired: it must not be sent.
        """
        return self._progress.start()

    def not_sent(self, call: int) -> None:
        """Takes back the last start, of a call that has certainly not left this machine."""
        self._progress.not_sent(call)

    def release(self) -> None:
        """Gives back what was never started; no call may start any more.

        The service is told in the background.
        """
        started, unused = self._progress.give_back()
        if not unused:
            return
        if self._grant.local is not None:
            self._grant.local.unsent(started)
        else:
            self._put(release_of(self._grant, started, unused))

    def _report_later(
        self, answer: Answer, on_told: Callable[[Report], None] | None = None
    ) -> None:
        """Reports the earliest call without an answer, without waiting for the service."""
        pending = self._settle(answer, None, 1)
        if pending is not None:
            pending.on_told = on_told
            self._put(pending)

    def _settle(
        self, answer: Answer | HttpResponse, call: int | None, calls: int
    ) -> Pending | None:
        """Books an answer; what is left to tell."""
        if not isinstance(answer, Answer):
            answer = Answer.of(answer)
        first = self._progress.reporting(call, calls)
        return self._told(answer, first, calls)

    def _told(self, answer: Answer, first: int, calls: int) -> Pending | None:
        if self._grant.local is not None:
            self._grant.local.answered(first, calls, answer.http_status, answer.completed_at)
            return None
        return report_of(self._grant, self._operation, answer, first, calls)

    def _leave(self) -> None:
        """Ends the permit: what was never started goes back, and what was started and not
        reported counts as sent without an answer."""
        self.release()
        for first, calls in self._progress.unanswered():
            pending = self._told(Answer(), first, calls)
            if pending is not None:
                self._put(pending)


def answer_in(result: object) -> Answer:
    """The answer that a function's result is, if it is one."""
    if isinstance(getattr(result, "status_code", None), int) and hasattr(result, "headers"):
        return Answer.of(result)  # type: ignore[arg-type]
    return Answer()
