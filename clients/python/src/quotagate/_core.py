"""Everything of a client that waits for nothing: shared by `Client` and `aio.Client`."""

from __future__ import annotations

import logging
import os
import re
import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Literal

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2

from quotagate import _clock
from quotagate._answer import Answer
from quotagate._errors import (
    Denied,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    PermitExpired,
    RequestRefused,
    Unauthenticated,
    Unavailable,
)
from quotagate._model import (
    ClassState,
    LimitUsage,
    Report,
    TrafficClass,
    class_number,
    limits_of,
    name_of,
)
from quotagate._outage import (
    PERMIT_LIFE,
    LocalCalls,
    Outage,
    Policies,
    Question,
    Safe,
    check_policies,
    policy_of,
)
from quotagate.v1 import quota_pb2 as pb

_log = logging.getLogger("quotagate")

FLUSH_SECONDS = 2.0
"""So long `close` waits for what is still to be told."""

MOST_PENDING = 1_000
"""So many releases and reports wait to be told; beyond, the oldest is dropped."""

_REFUSALS: dict[grpc.StatusCode, type[RequestRefused]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
}


@dataclass(frozen=True, slots=True)
class Ask:
    """One acquire."""

    request: pb.AcquireRequest
    traffic_class: TrafficClass
    timeout: float
    """Seconds for all of it: what the caller waits for room, and the client's timeout."""
    asked_at: float = field(default_factory=_clock.now)

    @property
    def question(self) -> Question:
        request = self.request
        return Question.of(
            request.org, request.workspace, request.operation, request.execution_user
        )


@dataclass(frozen=True, slots=True)
class Grant:
    """The calls that may be made: what a permit stands on, or what a check has found."""

    id: str
    calls: int
    execution_user: str
    deadline: float
    limits: tuple[LimitUsage, ...]
    class_state: ClassState
    origin: Literal["service", "outage"]
    local: LocalCalls | None = None


class Core:
    """A client's settings and what it remembers."""

    def __init__(
        self, servers: str | Sequence[str], caller: str | None, timeout: float, outage: Policies
    ) -> None:
        if not timeout > 0:
            raise ValueError(f"timeout must be more than 0 seconds, is {timeout}")
        check_policies(outage)
        servers = [servers] if isinstance(servers, str) else list(servers)
        self.target = target_of(servers)
        self.options = channel_options()
        if len(servers) > 1:
            # Of several addresses gRPC makes an authority that no server takes.
            self.options.append(("grpc.default_authority", servers[0]))
        self.timeout = timeout
        self.metadata: tuple[tuple[str, str], ...] = (
            (("quotagate-caller", caller),) if caller else ()
        )
        self._policies = outage
        self._outage = Outage()
        self._process = os.getpid()

    def check_process(self) -> None:
        """gRPC does not survive a fork: say so instead of hanging."""
        if os.getpid() != self._process:
            raise RuntimeError(
                "this quotagate client was made before the process forked: make one after the "
                "fork, in each process (multiprocessing: use 'spawn'; gunicorn: not in preload)"
            )

    def ask(
        self,
        org: str,
        operation: str,
        workspace: str,
        execution_user: str,
        traffic_class: TrafficClass,
        calls: int,
        min_calls: int,
        cost: int,
        max_wait: float,
        permit_ttl: float | None,
        request_id: str | None,
        check_only: bool = False,
    ) -> Ask:
        """The request for these arguments."""
        self.check_process()
        if max_wait < 0:
            raise ValueError(f"max_wait must not be negative, is {max_wait}")
        request = pb.AcquireRequest(
            org=org,
            workspace=workspace,
            operation=operation,
            execution_user=execution_user,
            traffic_class=class_number(traffic_class),
            calls=calls,
            min_calls=min_calls,
            cost=cost,
            max_wait=duration(max_wait) if max_wait else None,
            permit_ttl=None if permit_ttl is None else duration(permit_ttl),
            # All tries of one acquire carry the same id, so that one whose answer was
            # lost is not charged twice.
            request_id=str(uuid.uuid4()) if request_id is None else request_id,
            mode=pb.ACQUIRE_MODE_CHECK_ONLY if check_only else pb.ACQUIRE_MODE_ENFORCE,
        )
        return Ask(request, traffic_class, self.timeout + max_wait)

    def decide(self, ask: Ask, response: pb.AcquireResponse) -> Grant:
        """The service's answer.

        Raises:
            Denied: it said no.
            Unavailable: it said nothing, and the outage policy is closed.
        """
        outcome = response.WhichOneof("outcome")
        if outcome == "permit":
            permit = response.permit
            limits = limits_of(permit.limits)
            self._outage.decided(ask.question, permit.execution_user, limits)
            return Grant(
                id=permit.permit_id,
                calls=permit.calls,
                execution_user=permit.execution_user,
                # The ttl counts from the sending of the try that was answered; the
                # first one was sent no later.
                deadline=ask.asked_at + permit.ttl.ToNanoseconds() / 1e9,
                limits=limits,
                class_state=ClassState._of(permit.class_state),
                origin="service",
            )
        if outcome == "denial":
            denial = response.denial
            limits = limits_of(denial.limits)
            is_full = denial.reason == pb.DENIAL_REASON_QUEUE_FULL
            self._outage.denied(ask.question, () if is_full else limits)
            raise Denied(
                denial.message,
                reason=name_of(pb.DenialReason, denial.reason, "DENIAL_REASON_"),
                retry_after=seconds(denial.retry_after) if denial.HasField("retry_after") else None,
                limit=LimitUsage._of(denial.limit) if denial.HasField("limit") else None,
                limits=limits,
                class_state=ClassState._of(denial.class_state),
                queue_position=denial.queue_position,
            )
        return self._without_decision(ask, "UNKNOWN", "the answer holds no outcome")

    def undecided(self, ask: Ask, error: grpc.RpcError) -> Grant:
        """What the outage policy grants after an error.

        Raises:
            RequestRefused: the error is an answer to this request.
            Unavailable: nothing is granted.
        """
        code, details = code_of(error)
        if kind := _REFUSALS.get(code):
            raise kind(details, code=code.name, fields=fields_of(error)) from error
        try:
            return self._without_decision(ask, code.name, details)
        except Unavailable as unavailable:
            raise unavailable from error

    def _without_decision(self, ask: Ask, code: str, details: str) -> Grant:
        policy = policy_of(self._policies, ask.traffic_class)
        request = ask.request
        if request.mode == pb.ACQUIRE_MODE_CHECK_ONLY:
            policy = "closed"
        self._outage.begins(policy, f"{code}: {details}")
        now = _clock.now()
        calls = request.calls or 1
        user, local = request.execution_user, LocalCalls(self._outage)
        if isinstance(policy, Safe):
            granted = self._outage.grant(
                policy, ask.question, calls, request.min_calls or calls, request.cost or 1, now
            )
            if granted is None:
                raise Unavailable(
                    f"quotagate cannot be asked ({code}: {details}), and this process's part of "
                    "what is kept for outages has no room",
                    code=code,
                )
            calls, user, local = (
                granted.calls,
                granted.execution_user,
                LocalCalls(self._outage, granted.spent),
            )
        elif policy == "closed":
            raise Unavailable(f"quotagate cannot be asked: {code}: {details}", code=code)
        return Grant(
            id="",
            calls=calls,
            execution_user=user,
            deadline=now + PERMIT_LIFE,
            limits=(),
            class_state=ClassState(),
            origin="outage",
            local=local,
        )


class Progress:
    """Which calls of a permit are started, reported and given back. Thread-safe."""

    def __init__(self, grant: Grant) -> None:
        self._grant = grant
        self._lock = threading.Lock()
        self._started = 0
        self._most = grant.calls
        self._reported: set[int] = set()

    def start(self) -> int:
        """The next call's ordinal, if it may start now."""
        with self._lock:
            if _clock.now() >= self._grant.deadline:
                raise PermitExpired("the permit's life is over: no call may start any more")
            if self._started >= self._most:
                raise PermitExpired("all calls of the permit have been started or given back")
            self._started += 1
            return self._started - 1

    def reporting(self, call: int | None, calls: int) -> int:
        """The first ordinal of a report: `call`, else the earliest that was started and
        not reported."""
        with self._lock:
            if call is None:
                waiting = (n for n in range(self._started) if n not in self._reported)
                call = next(waiting, None)
                if call is None:
                    raise ValueError("no call of this permit waits for its answer: start() first")
            if call < 0 or calls < 1 or call + calls > self._started:
                raise ValueError("only calls that were started can be reported")
            self._reported.update(range(call, call + calls))
            return call

    def give_back(self) -> tuple[int, int]:
        """Ends starting: how many calls were started, and how many never will be."""
        with self._lock:
            unused, self._most = self._most - self._started, self._started
            return self._started, unused

    def not_sent(self, call: int) -> bool:
        """Takes a start back that led to nothing; False if others were started since."""
        with self._lock:
            if call != self._started - 1 or call in self._reported:
                return False
            self._started -= 1
            return True

    def unanswered(self) -> list[tuple[int, int]]:
        """Ranges (first, calls) that were started and never reported; they count as
        reported now."""
        with self._lock:
            ranges: list[tuple[int, int]] = []
            for ordinal in range(self._started):
                if ordinal in self._reported:
                    continue
                if ranges and sum(ranges[-1]) == ordinal:
                    ranges[-1] = (ranges[-1][0], ranges[-1][1] + 1)
                else:
                    ranges.append((ordinal, 1))
            self._reported.update(range(self._started))
            return ranges


@dataclass(slots=True, eq=False)
class Pending:
    """A release or report that is to be told."""

    request: pb.ReleaseRequest | pb.ReportRequest
    expires_at: float
    """When the permit ends."""
    completed_at: float = 0.0
    on_told: Callable[[Report], None] | None = None
    tries: int = 0

    def report_now(self) -> pb.ReportRequest:
        """The report as it is to be sent now."""
        assert isinstance(self.request, pb.ReportRequest)
        ago = max(0.0, _clock.now() - self.completed_at)
        self.request.completed_ago.CopyFrom(duration(ago))
        return self.request

    def is_of_use(self, now: float) -> bool:
        """Whether it may still be told: a release only while the permit lives, a report
        also once after that, because it corrects the counters."""
        return now < self.expires_at or (
            self.tries == 0 and isinstance(self.request, pb.ReportRequest)
        )

    def retry_in(self, error: grpc.RpcError) -> float | None:
        """Seconds until the next try; None if there is to be none."""
        wait: float = min(0.1 * 2**self.tries, 2.0)
        self.tries += 1
        if code_of(error)[0] in _REFUSALS or _clock.now() + wait >= self.expires_at:
            _log.debug("not told: %s", error)
            return None
        return wait

    def told(self, response: pb.ReportResponse) -> None:
        """Hands the service's answer on to who wants it."""
        if self.on_told is not None:
            try:
                self.on_told(Report._of(response))
            except Exception:
                _log.exception("a callback for advice has failed")


def release_of(grant: Grant, started: int, unused: int) -> Pending:
    """Gives back what was never started: the number only where it is needed."""
    return Pending(
        pb.ReleaseRequest(permit_id=grant.id, unused_calls=unused if started else None),
        grant.deadline,
    )


def report_request(
    answer: Answer,
    *,
    permit_id: str = "",
    org: str = "",
    execution_user: str = "",
    operation: str = "",
    first_call: int = 0,
    calls: int = 1,
) -> pb.ReportRequest:
    """A report of an answer; how long ago it came is filled in when it is sent."""
    return pb.ReportRequest(
        permit_id=permit_id,
        org=org,
        execution_user=execution_user,
        operation=operation,
        first_call=first_call,
        calls=calls,
        http_status=answer.http_status,
        error_code=answer.error_code,
        error_message=answer.error_message,
        retry_after=None if answer.retry_after is None else duration(answer.retry_after),
        limit_info=answer.limit_info,
        answer_time=None if answer.answer_time is None else timestamp(answer.answer_time),
    )


def report_of(grant: Grant, operation: str, answer: Answer, first: int, calls: int) -> Pending:
    """The report of some of a permit's calls. It names user and operation, because the
    service may have forgotten the permit by the time that it comes."""
    request = report_request(
        answer,
        permit_id=grant.id,
        execution_user=grant.execution_user,
        operation=operation,
        first_call=first,
        calls=calls,
    )
    return Pending(request, grant.deadline, answer.completed_at)


def channel_options() -> list[tuple[str, Any]]:
    """Balancing, health checks and retries by gRPC's own means."""
    config = resources.files("quotagate").joinpath("service_config.json").read_text("utf-8")
    return [
        ("grpc.service_config", config),
        ("grpc.enable_retries", 1),
        # A server that comes back is found again soon.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 1_000),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        # A peer that has vanished without a word is given up.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        # Connections belong to one client, and end with it.
        ("grpc.use_local_subchannel_pool", 1),
    ]


def target_of(servers: list[str]) -> str:
    """gRPC's name for one or several servers.

    Raises:
        ValueError: there is none, or several that are not all addresses of one kind.
    """
    if not servers:
        raise ValueError("servers must name at least one HOST:PORT")
    if len(servers) == 1:
        return servers[0]
    if all(re.fullmatch(r"[0-9.]+:[0-9]+", server) for server in servers):
        return "ipv4:" + ",".join(servers)
    if all(re.fullmatch(r"\[[0-9a-fA-F:.]+\]:[0-9]+", server) for server in servers):
        return "ipv6:" + ",".join(servers)
    raise ValueError(
        "several servers must all be IPv4 or all be [IPv6] addresses with ports; or give one "
        f"DNS name that leads to all of them: {servers}"
    )


def code_of(error: grpc.RpcError) -> tuple[grpc.StatusCode, str]:
    """Status and sentence of a failed call."""
    if isinstance(error, (grpc.Call, grpc.aio.AioRpcError)):
        return error.code() or grpc.StatusCode.UNKNOWN, error.details() or ""
    return grpc.StatusCode.UNKNOWN, str(error)


def told_error(error: grpc.RpcError) -> RequestRefused | Unavailable:
    """The error of a call that no outage policy concerns, as ours."""
    code, details = code_of(error)
    if kind := _REFUSALS.get(code):
        return kind(details, code=code.name, fields=fields_of(error))
    return Unavailable(f"quotagate cannot be reached: {code.name}: {details}", code=code.name)


def fields_of(error: grpc.RpcError) -> tuple[tuple[str, str], ...]:
    """Each wrong field, and what is wrong with it."""
    if not isinstance(error, (grpc.Call, grpc.aio.AioRpcError)):
        return ()
    for key, value in error.trailing_metadata() or ():
        if key != "grpc-status-details-bin" or not isinstance(value, bytes):
            continue
        bad = error_details_pb2.BadRequest()
        for detail in status_pb2.Status.FromString(value).details:
            if detail.Unpack(bad):
                return tuple((x.field, x.description) for x in bad.field_violations)
    return ()


def duration(value: float) -> Duration:
    """Seconds as a message."""
    message = Duration()
    message.FromNanoseconds(round(value * 1e9))
    return message


def seconds(message: Duration) -> float:
    """A message as seconds."""
    return message.ToNanoseconds() / 1e9


def timestamp(value: float) -> Timestamp:
    """Seconds since 1970 as a message."""
    message = Timestamp()
    message.FromNanoseconds(round(value * 1e9))
    return message
