"""The client for threads."""

from __future__ import annotations

import functools
import logging
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import ParamSpec, TypeVar

import grpc

from quotagate import _clock
from quotagate._answer import Answer, HttpResponse
from quotagate._core import (
    FLUSH_SECONDS,
    MOST_PENDING,
    Core,
    Grant,
    Pending,
    report_request,
    told_error,
)
from quotagate._model import Released, Report, TrafficClass
from quotagate._outage import Policies
from quotagate._permit import BasePermit, answer_in
from quotagate.v1 import quota_pb2 as pb
from quotagate.v1.quota_pb2_grpc import QuotaServiceStub

_P = ParamSpec("_P")
_R = TypeVar("_R")

_log = logging.getLogger("quotagate")


class Client:
    """Asks for calls of Salesforce's API. One for a process; threads may share it.

    Make it after a fork, never before: gRPC does not survive one, and a client says so.
    """

    def __init__(
        self,
        servers: str | Sequence[str] = "127.0.0.1:7400",
        *,
        caller: str | None = None,
        timeout: float = 1.0,
        outage: Policies = "closed",
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        """
        Args:
            servers: HOST:PORT, a target of gRPC's (`dns:///…`), or several addresses.
            caller: the name that use is shown under.
            timeout: seconds in which there is a decision, `max_wait` on top.
            outage: what to do while there is none: 'closed', 'open' or `safe(processes=N)`,
                for all classes or by class.
            credentials: for TLS; without, the connection is in the clear.
        """
        self._core = Core(servers, caller, timeout, outage)
        target, options = self._core.target, self._core.options
        channel = (
            grpc.insecure_channel(target, options)
            if credentials is None
            else grpc.secure_channel(target, credentials, options)
        )
        self._stub = QuotaServiceStub(channel)
        self._settler = _Settler(self._stub, self._core)
        # Also at the interpreter's exit, and for a client that nobody closes.
        self._finish = weakref.finalize(self, _close, self._settler, channel)

    def acquire(
        self,
        org: str,
        operation: str,
        *,
        workspace: str = "",
        execution_user: str = "",
        traffic_class: TrafficClass = "event",
        calls: int = 1,
        min_calls: int = 0,
        cost: int = 0,
        max_wait: float = 0.0,
        permit_ttl: float | None = None,
        request_id: str | None = None,
    ) -> Permit:
        """A permit, to be used in a `with` statement or settled by hand.

        Args:
            org: the Salesforce org.
            operation: of the catalogue, for example `conversation-entries.get` or `rest`.
            workspace: that pays; may be empty.
            execution_user: that makes the call; empty lets the service choose one of the
                org's pool: see `Permit.execution_user`.
            traffic_class: who waits for the call.
            calls: how many.
            min_calls: the fewest that are of use; 0 is `calls`.
            cost: quota units of one call; 0 is 1.
            max_wait: seconds to wait for room.
            permit_ttl: seconds that the permit is to live; None takes the default.
            request_id: makes a repeat safe; None makes one up.

        Raises:
            Denied: there is no room.
            Unavailable: nothing could be decided, and the outage policy is closed.
            RequestRefused: a field is wrong, a name unknown, or a right missing.
        """
        ask = self._core.ask(
            org, operation, workspace, execution_user, traffic_class, calls, min_calls, cost,
            max_wait, permit_ttl, request_id,
        )  # fmt: skip
        try:
            response = self._stub.Acquire(
                ask.request, timeout=ask.timeout, metadata=self._core.metadata
            )
        except grpc.RpcError as error:
            grant = self._core.undecided(ask, error)
        else:
            grant = self._core.decide(ask, response)
        return Permit(self._settler, grant, operation)

    @contextmanager
    def permit(
        self,
        org: str,
        operation: str,
        *,
        workspace: str = "",
        execution_user: str = "",
        traffic_class: TrafficClass = "event",
        calls: int = 1,
        min_calls: int = 0,
        cost: int = 0,
        max_wait: float = 0.0,
        permit_ttl: float | None = None,
        request_id: str | None = None,
    ) -> Iterator[Permit]:
        """A permit for a `with` statement: what is not started by its end is given back.

        Arguments and errors are those of `acquire`.
        """
        with self.acquire(
            org, operation, workspace=workspace, execution_user=execution_user,
            traffic_class=traffic_class, calls=calls, min_calls=min_calls, cost=cost,
            max_wait=max_wait, permit_ttl=permit_ttl, request_id=request_id,
        ) as permit:  # fmt: skip
            yield permit

    def limited(
        self,
        org: str,
        operation: str,
        *,
        workspace: str = "",
        execution_user: str = "",
        traffic_class: TrafficClass = "event",
        cost: int = 0,
        max_wait: float = 0.0,
    ) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
        """A decorator for functions that make exactly one call.

        What they return is reported if it is a response of an HTTP library; so is the
        `response` of an exception. Else the call counts as sent without an answer.
        """

        def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
            @functools.wraps(function)
            def limited(*args: _P.args, **kwargs: _P.kwargs) -> _R:
                with self.acquire(
                    org, operation, workspace=workspace, execution_user=execution_user,
                    traffic_class=traffic_class, cost=cost, max_wait=max_wait,
                ) as permit:  # fmt: skip
                    permit.start()
                    try:
                        result = function(*args, **kwargs)
                    except Exception as error:
                        permit._report_later(answer_in(getattr(error, "response", None)))
                        raise
                    permit._report_later(answer_in(result))
                    return result

            return limited

        return decorate

    def check(
        self,
        org: str,
        operation: str,
        *,
        workspace: str = "",
        execution_user: str = "",
        traffic_class: TrafficClass = "event",
        calls: int = 1,
        min_calls: int = 0,
        cost: int = 0,
    ) -> Grant:
        """What an acquire would be answered now; charges nothing.

        Raises:
            Denied, Unavailable, RequestRefused: as `acquire` does.
        """
        ask = self._core.ask(
            org, operation, workspace, execution_user, traffic_class, calls, min_calls, cost,
            0.0, None, None, check_only=True,
        )  # fmt: skip
        try:
            response = self._stub.Acquire(
                ask.request, timeout=ask.timeout, metadata=self._core.metadata
            )
        except grpc.RpcError as error:
            return self._core.undecided(ask, error)
        return self._core.decide(ask, response)

    def release(self, permit_id: str, unused_calls: int | None = None) -> Released:
        """Gives back calls of a permit of which only the id is left.

        Raises:
            Unavailable: the service cannot be told now.
            RequestRefused: a field is wrong, or a right missing.
        """
        request = pb.ReleaseRequest(permit_id=permit_id, unused_calls=unused_calls)
        with _as_errors():
            response = self._stub.Release(
                request, timeout=self._core.timeout, metadata=self._core.metadata
            )
        return Released(response.returned_calls, response.already_settled)

    def report(
        self,
        answer: Answer | HttpResponse,
        *,
        permit_id: str = "",
        org: str = "",
        execution_user: str = "",
        operation: str = "",
        first_call: int = 0,
        calls: int = 1,
    ) -> Report:
        """Tells an answer without a `Permit`: by its id, or by org alone, which feeds readings
        and cooling-down only.

        Raises:
            Unavailable: the service cannot be told now.
            RequestRefused: a field is wrong, or a right missing.
        """
        if not isinstance(answer, Answer):
            answer = Answer.of(answer)
        request = report_request(
            answer, permit_id=permit_id, org=org, execution_user=execution_user,
            operation=operation, first_call=first_call, calls=calls,
        )  # fmt: skip
        with _as_errors():
            return Report._of(
                self._stub.Report(
                    Pending(request, 0.0, answer.completed_at).report_now(),
                    timeout=self._core.timeout,
                    metadata=self._core.metadata,
                )
            )

    def usage(self, org: str) -> pb.OrgUsage:
        """Everything that is counted for one org.

        Raises:
            Unavailable: the service cannot be asked now.
            RequestRefused: the org is unknown, or a right missing.
        """
        with _as_errors():
            response = self._stub.GetUsage(
                pb.GetUsageRequest(org=org),
                timeout=self._core.timeout,
                metadata=self._core.metadata,
            )
        return response.usage

    def close(self) -> None:
        """Tells what is still to be told, for at most 2 s, and ends. Idempotent."""
        self._finish()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Permit(BasePermit):
    """The right to start calls before its deadline. Threads may share it.

    Left as a context manager it gives back what was never started, and reports what was
    started and not reported as sent without an answer. Not used as one, it is settled by
    `report` and `release`, or runs out.
    """

    def __init__(self, settler: _Settler, grant: Grant, operation: str) -> None:
        super().__init__(grant, operation, settler.put)
        self._settler = settler

    def report(
        self, answer: Answer | HttpResponse, *, call: int | None = None, calls: int = 1
    ) -> Report:
        """Tells what Salesforce answered to `calls` calls from ordinal `call` on.

        Without an ordinal it is the earliest that was started and not reported. Does not fail
        where the service cannot be told: it is told later (`Report.delivered`).
        """
        pending = self._settle(answer, call, calls)
        return Report("CONTINUE") if pending is None else self._settler.tell(pending)

    def __enter__(self) -> Permit:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave()


class _Settler:
    """Tells releases and reports in the background: a bounded queue, and a thread that is
    there while there is something to tell."""

    def __init__(self, stub: QuotaServiceStub, core: Core) -> None:
        self._stub = stub
        self._core = core
        self._changed = threading.Condition()
        self._queue: deque[tuple[float, Pending]] = deque()
        self._thread: threading.Thread | None = None
        self._closes_at: float | None = None

    def put(self, pending: Pending, wait: float = 0.0) -> None:
        """Leaves something to the background, to be told in `wait` seconds."""
        with self._changed:
            if self._closes_at is not None:
                return
            self._add(pending, wait)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, name="quotagate-settler", daemon=True
                )
                self._thread.start()
            self._changed.notify()

    def tell(self, pending: Pending) -> Report:
        """Tells a report now; where that fails, in the background."""
        try:
            return Report._of(self._send_report(pending, self._core.timeout))
        except grpc.RpcError as error:
            wait = pending.retry_in(error)
            if wait is not None:
                self.put(pending, wait)
            return Report("CONTINUE", delivered=False)

    def close(self) -> None:
        """Tells the rest, for at most 2 s."""
        with self._changed:
            self._closes_at = _clock.now() + FLUSH_SECONDS
            thread = self._thread
            self._changed.notify()
        if thread is not None and thread is not threading.current_thread():
            thread.join(FLUSH_SECONDS + 0.2)

    def _add(self, pending: Pending, wait: float) -> None:
        if len(self._queue) >= MOST_PENDING:
            self._queue.popleft()
            _log.warning("%d reports wait to be told: the oldest is dropped", MOST_PENDING)
        self._queue.append((_clock.now() + wait, pending))

    def _work(self) -> None:
        while (item := self._next()) is not None:
            pending, timeout = item
            try:
                self._send(pending, timeout)
            except grpc.RpcError as error:
                wait = pending.retry_in(error)
                if wait is not None:
                    with self._changed:
                        self._add(pending, wait)
            except ValueError:
                return  # the channel was closed over our head

    def _send(self, pending: Pending, timeout: float) -> None:
        if isinstance(pending.request, pb.ReleaseRequest):
            self._stub.Release(pending.request, timeout=timeout, metadata=self._core.metadata)
        else:
            pending.told(self._send_report(pending, timeout))

    def _send_report(self, pending: Pending, timeout: float) -> pb.ReportResponse:
        return self._stub.Report(
            pending.report_now(), timeout=timeout, metadata=self._core.metadata
        )

    def _next(self) -> tuple[Pending, float] | None:
        """Waits for the next, and says how long it may take; None when the thread is to end."""
        with self._changed:
            while True:
                now = _clock.now()
                closes_in = None if self._closes_at is None else self._closes_at - now
                if closes_in is not None and (closes_in <= 0 or not self._queue):
                    self._thread = None
                    return None
                first = min(self._queue, key=lambda item: item[0], default=None)
                if first is not None and first[0] <= now:
                    self._queue.remove(first)
                    if first[1].is_of_use(now):
                        timeout = self._core.timeout
                        return first[1], timeout if closes_in is None else min(timeout, closes_in)
                    continue
                wait = _IDLE_SECONDS if first is None else first[0] - now
                is_woken = self._changed.wait(wait if closes_in is None else min(wait, closes_in))
                if first is None and not is_woken and not self._queue:
                    self._thread = None
                    return None


_IDLE_SECONDS = 10.0
"""The thread ends when there was nothing to tell for so long."""


@contextmanager
def _as_errors() -> Iterator[None]:
    """gRPC's errors as ours, for calls that no outage policy concerns."""
    try:
        yield
    except grpc.RpcError as error:
        raise told_error(error) from error


def _close(settler: _Settler, channel: grpc.Channel) -> None:
    settler.close()
    channel.close()
