"""The client for asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, ParamSpec, TypedDict, TypeVar

import grpc
import grpc.aio

from quotagate import _clock
from quotagate._answer import Answer, HttpResponse
from quotagate._core import (
    FLUSH_SECONDS,
    MOST_PENDING,
    Ask,
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

if TYPE_CHECKING:
    from quotagate.v1.quota_pb2_grpc import QuotaServiceAsyncStub

__all__ = ["Client", "Permit"]

_P = ParamSpec("_P")
_R = TypeVar("_R")

_log = logging.getLogger("quotagate")


class Client:
    """Asks for calls of Salesforce's API. It belongs to the event loop that first uses it.

    To be closed: `await client.close()`, or `async with`. Make it after a fork, never before.
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
        """Arguments are those of `quotagate.Client`."""
        self._core = Core(servers, caller, timeout, outage)
        self._credentials = credentials
        self._channel: grpc.aio.Channel | None = None
        self._settler: _Settler | None = None

    async def acquire(
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
        """A permit; arguments and errors are those of `quotagate.Client.acquire`."""
        grant = await self._grant(
            self._core.ask(
                org, operation, workspace, execution_user, traffic_class, calls, min_calls,
                cost, max_wait, permit_ttl, request_id,
            )
        )  # fmt: skip
        return Permit(self._connected(), grant, operation)

    @contextlib.asynccontextmanager
    async def permit(
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
    ) -> AsyncIterator[Permit]:
        """A permit for an `async with` statement: what is not started by its end is given back.

        Arguments and errors are those of `quotagate.Client.acquire`.
        """
        async with await self.acquire(
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
    ) -> Callable[[Callable[_P, Awaitable[_R]]], Callable[_P, Awaitable[_R]]]:
        """A decorator for coroutine functions that make exactly one call: see
        `quotagate.Client.limited`."""

        def decorate(function: Callable[_P, Awaitable[_R]]) -> Callable[_P, Awaitable[_R]]:
            @functools.wraps(function)
            async def limited(*args: _P.args, **kwargs: _P.kwargs) -> _R:
                async with await self.acquire(
                    org, operation, workspace=workspace, execution_user=execution_user,
                    traffic_class=traffic_class, cost=cost, max_wait=max_wait,
                ) as permit:  # fmt: skip
                    permit.start()
                    try:
                        result = await function(*args, **kwargs)
                    except Exception as error:
                        permit._report_later(answer_in(getattr(error, "response", None)))
                        raise
                    permit._report_later(answer_in(result))
                    return result

            return limited

        return decorate

    async def check(
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
        """What an acquire would be answered now; charges nothing."""
        return await self._grant(
            self._core.ask(
                org, operation, workspace, execution_user, traffic_class, calls, min_calls,
                cost, 0.0, None, None, check_only=True,
            )
        )  # fmt: skip

    async def release(self, permit_id: str, unused_calls: int | None = None) -> Released:
        """Gives back calls of a permit of which only the id is left: see
        `quotagate.Client.release`."""
        request = pb.ReleaseRequest(permit_id=permit_id, unused_calls=unused_calls)
        settler = self._connected()
        with _as_errors():
            response = await settler.stub.Release(request, **settler.options)
        return Released(response.returned_calls, response.already_settled)

    async def report(
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
        """Tells an answer without a `Permit`: see `quotagate.Client.report`."""
        if not isinstance(answer, Answer):
            answer = Answer.of(answer)
        request = report_request(
            answer, permit_id=permit_id, org=org, execution_user=execution_user,
            operation=operation, first_call=first_call, calls=calls,
        )  # fmt: skip
        pending = Pending(request, 0.0, answer.completed_at)
        settler = self._connected()
        with _as_errors():
            return Report._of(await settler.stub.Report(pending.report_now(), **settler.options))

    async def usage(self, org: str) -> pb.OrgUsage:
        """Everything that is counted for one org: see `quotagate.Client.usage`."""
        settler = self._connected()
        with _as_errors():
            response = await settler.stub.GetUsage(pb.GetUsageRequest(org=org), **settler.options)
        return response.usage

    async def close(self) -> None:
        """Tells what is still to be told, for at most 2 s, and ends. Idempotent."""
        if self._settler is not None:
            await self._settler.close()
        if self._channel is not None:
            await self._channel.close()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _grant(self, ask: Ask) -> Grant:
        try:
            response = await self._connected().stub.Acquire(
                ask.request, timeout=ask.timeout, metadata=self._core.metadata
            )
        except grpc.RpcError as error:
            return self._core.undecided(ask, error)
        return self._core.decide(ask, response)

    def _connected(self) -> _Settler:
        """Made late, because a channel of gRPC's belongs to the loop that runs then."""
        self._core.check_process()
        if self._settler is None:
            target, options = self._core.target, self._core.options
            self._channel = (
                grpc.aio.insecure_channel(target, options)
                if self._credentials is None
                else grpc.aio.secure_channel(target, self._credentials, options)
            )
            self._settler = _Settler(QuotaServiceStub(self._channel), self._core)
        return self._settler


class Permit(BasePermit):
    """The right to start calls before its deadline, within one event loop.

    Left as a context manager it gives back what was never started, and reports what was
    started and not reported as sent without an answer. Not used as one, it is settled by
    `report` and `release`, or runs out.
    """

    def __init__(self, settler: _Settler, grant: Grant, operation: str) -> None:
        super().__init__(grant, operation, settler.put)
        self._settler = settler

    async def report(
        self, answer: Answer | HttpResponse, *, call: int | None = None, calls: int = 1
    ) -> Report:
        """Tells what Salesforce answered: see `quotagate.Permit.report`."""
        pending = self._settle(answer, call, calls)
        return Report("CONTINUE") if pending is None else await self._settler.tell(pending)

    async def __aenter__(self) -> Permit:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave()


class _Options(TypedDict):
    timeout: float
    metadata: tuple[tuple[str, str], ...]


class _Settler:
    """Tells releases and reports in the background: a bounded queue, and a task that is
    there while there is something to tell."""

    def __init__(self, stub: QuotaServiceAsyncStub, core: Core) -> None:
        self.stub = stub
        self.options: _Options = {"timeout": core.timeout, "metadata": core.metadata}
        self._core = core
        self._queue: deque[tuple[float, Pending]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._is_closed = False

    def put(self, pending: Pending, wait: float = 0.0) -> None:
        """Leaves something to the background, to be told in `wait` seconds."""
        if self._is_closed:
            return
        self._add(pending, wait)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work())
        self._changed.set()

    async def tell(self, pending: Pending) -> Report:
        """Tells a report now; where that fails, in the background."""
        try:
            return Report._of(await self.stub.Report(pending.report_now(), **self.options))
        except grpc.RpcError as error:
            wait = pending.retry_in(error)
            if wait is not None:
                self.put(pending, wait)
            return Report("CONTINUE", delivered=False)

    async def close(self) -> None:
        """Tells the rest, for at most 2 s."""
        self._is_closed = True
        if (task := self._task) is None:
            return
        await asyncio.wait([task], timeout=FLUSH_SECONDS)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    def _add(self, pending: Pending, wait: float) -> None:
        if len(self._queue) >= MOST_PENDING:
            self._queue.popleft()
            _log.warning("%d reports wait to be told: the oldest is dropped", MOST_PENDING)
        self._queue.append((_clock.now() + wait, pending))

    async def _work(self) -> None:
        try:
            while self._queue:
                first = min(self._queue, key=lambda item: item[0])
                wait = first[0] - _clock.now()
                if wait > 0:
                    self._changed.clear()
                    with contextlib.suppress(asyncio.TimeoutError):
                        await asyncio.wait_for(self._changed.wait(), wait)
                    continue
                self._queue.remove(first)
                if first[1].is_of_use(_clock.now()):
                    await self._send(first[1])
        finally:
            self._task = None

    async def _send(self, pending: Pending) -> None:
        try:
            if isinstance(pending.request, pb.ReleaseRequest):
                await self.stub.Release(pending.request, **self.options)
            else:
                pending.told(await self.stub.Report(pending.report_now(), **self.options))
        except grpc.RpcError as error:
            wait = pending.retry_in(error)
            if wait is not None:
                self._add(pending, wait)


@contextlib.contextmanager
def _as_errors() -> Iterator[None]:
    """gRPC's errors as ours, for calls that no outage policy concerns."""
    try:
        yield
    except grpc.RpcError as error:
        raise told_error(error) from error
