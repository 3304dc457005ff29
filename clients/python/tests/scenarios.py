"""Runs the scenarios of clients/conformance, as its README says."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from conftest import CONFORMANCE

import quotagate
from quotagate import _clock
from quotagate.v1 import quota_pb2 as pb

FILE: Any = json.loads((CONFORMANCE / "scenarios.json").read_text("utf-8"))

Step = dict[str, Any]


@dataclass
class Granted:
    """What was granted, whatever the client."""

    id: str
    calls: int
    execution_user: str
    ttl: float
    limits: tuple[quotagate.LimitUsage, ...]
    class_state: quotagate.ClassState


@dataclass
class Sent:
    """What an HTTP request came to."""

    status: int
    body: bytes


class Driver(Protocol):
    """A client and an HTTP library."""

    def acquire(self, **request: Any) -> Granted: ...
    def check(self, **request: Any) -> Granted: ...
    def release(self, permit_id: str, unused_calls: int | None) -> quotagate.Released: ...
    def report(self, answer: quotagate.Answer, **what: Any) -> quotagate.Report: ...
    def usage(self, org: str) -> pb.OrgUsage: ...
    def guard(
        self,
        starts: int,
        beyond: bool,
        answers: list[quotagate.Answer],
        throw: bool,
        **request: Any,
    ) -> Granted: ...
    def http(
        self, method: str, url: str, token: str, body: bytes | None, quota: dict[str, Any] | None
    ) -> Sent: ...


class MismatchError(AssertionError):
    """An outcome is not the expected one."""


class Interpreter:
    """Runs scenarios with one driver."""

    def __init__(self, driver: Driver, base: str, arrivals: Callable[[], int]) -> None:
        self._driver = driver
        self._base = base
        self._arrivals = arrivals

    def run(self, scenario: Step) -> None:
        self._org = scenario["org"]
        self._permits: dict[str, str] = {}
        for number, step in enumerate(scenario["steps"], 1):
            kind = next(k for k in step if k not in ("as", "expect"))
            try:
                getattr(self, f"_{kind}")(dict(step[kind]), step)
            except (MismatchError, quotagate.QuotaError) as error:
                raise AssertionError(f"step {number}, {kind} {step[kind]}: {error!r}") from error

    def _acquire(self, request: Step, step: Step) -> None:
        self._grant(lambda: self._driver.acquire(**self._request(request)), step)

    def _check(self, request: Step, step: Step) -> None:
        self._grant(lambda: self._driver.check(**self._request(request)), step)

    def _guard(self, request: Step, step: Step) -> None:
        answers = [_answer(answer) for answer in request.pop("answers", [])]
        starts, beyond = request.pop("start", 0), request.pop("start_beyond", False)
        throw = request.pop("throw", False)
        self._grant(
            lambda: self._driver.guard(starts, beyond, answers, throw, **self._request(request)),
            step,
        )

    def _release(self, request: Step, step: Step) -> None:
        self._told(
            lambda: self._driver.release(self._id(request), request.get("unused_calls")), step
        )

    def _report(self, request: Step, step: Step) -> None:
        what = ("first_call", "calls", "execution_user", "operation")
        names: Step = {key: request.pop(key) for key in what if key in request}
        if permit_id := self._id(request):
            names["permit_id"] = permit_id
        else:
            names["org"] = self._org
        self._told(lambda: self._driver.report(_answer(request), **names), step)

    def _usage(self, request: Step, step: Step) -> None:
        ends = time.monotonic() + 5
        while True:
            found = self._figures(request)
            try:
                return _compare_fields(step["expect"], found)
            except MismatchError:
                if time.monotonic() > ends:
                    raise
                time.sleep(0.02)

    def _http(self, request: Step, step: Step) -> None:
        before = self._arrivals()
        body = None
        if "batch" in request:
            body = json.dumps({"batchRequests": [{}] * request["batch"]}).encode()
        token = f"{self._org}!{request['user']}"
        quota: dict[str, Any] | None = None
        if not request.get("direct"):
            quota = {"org": self._org, "execution_user": request["user"]}
            quota |= {k: request[k] for k in ("workspace", "traffic_class") if k in request}
        expect = dict(step["expect"])
        sent = expect.pop("sent", None)
        for _ in range(request.get("times", 1)):
            url = self._base + request["path"]
            try:
                answer = self._driver.http(request["method"], url, token, body, quota)
            except quotagate.Denied as denied:
                if "denied" not in expect:
                    raise
                _compare_fields(expect["denied"], _denied(denied))
                continue
            if "denied" in expect:
                raise MismatchError(f"not denied: {answer}")
            found: dict[str, Any] = {"status": answer.status}
            if "error_code" in expect:
                found["error_code"] = json.loads(answer.body)[0]["errorCode"]
            _compare_fields(expect, found)
        if sent is not None and self._arrivals() - before != sent:
            raise MismatchError(f"{self._arrivals() - before} requests were sent, not {sent}")

    def _request(self, request: Step) -> Step:
        renamed = {key.removesuffix("_s"): value for key, value in request.items()}
        return {"org": self._org} | renamed

    def _id(self, request: Step) -> str:
        if "permit" in request:
            return self._permits[request.pop("permit")]
        return str(request.pop("permit_id", ""))

    def _grant(self, ask: Callable[[], Granted], step: Step) -> None:
        expect = step["expect"]
        try:
            permit = ask()
        except quotagate.Denied as denied:
            if "denied" not in expect:
                raise
            return _compare_fields(expect["denied"], _denied(denied))
        except quotagate.RequestRefused as error:
            return _compare_error(expect, error)
        if "permit" not in expect:
            raise MismatchError(f"granted: {permit}")
        wanted = dict(expect["permit"])
        if "id" in wanted:
            self._compare_id(wanted.pop("id"), permit.id)
        if limit := wanted.pop("limit", None):
            _compare_any(limit, [_figures_of(x) for x in permit.limits])
        _compare_fields(
            wanted,
            {
                "calls": permit.calls,
                "execution_user": permit.execution_user,
                "ttl_s": permit.ttl,
                **_state(permit.class_state),
            },
        )
        if "as" in step:
            self._permits[step["as"]] = permit.id
        return None

    def _compare_id(self, wanted: str | bool | None, found: str) -> None:
        known = self._permits.values()
        if wanted is None:
            is_good = found == ""
        elif wanted is True:
            is_good = found != "" and found not in known
        else:
            is_good = found == self._permits[str(wanted)]
        if not is_good:
            raise MismatchError(f"the id is {found!r}, expected {wanted}")

    def _told(self, tell: Callable[[], quotagate.Released | quotagate.Report], step: Step) -> None:
        expect = step["expect"]
        try:
            told = tell()
        except quotagate.RequestRefused as error:
            return _compare_error(expect, error)
        found = {name: getattr(told, name) for name in told.__dataclass_fields__}
        found["back_off_s"] = found.pop("back_off", None)
        return _compare_fields(expect, found)

    def _figures(self, request: Step) -> dict[str, Any]:
        usage = self._driver.usage(self._org)
        scope, identity = request["scope"], request.get("identity", self._org)
        limits, state = list(usage.limits), quotagate.ClassState()
        if scope == "WORKSPACE":
            limits = []
            for workspace in usage.workspaces:
                if workspace.workspace == identity:
                    limits = list(workspace.limits)
                    state = quotagate.ClassState._of(workspace.class_state)
        elif scope == "EXECUTION_USER":
            limits = [
                limit
                for user in usage.execution_users
                if user.execution_user == identity
                for limit in user.limits
            ]
        for limit in map(quotagate.LimitUsage._of, limits):
            if (limit.name, limit.scope) == (request["limit"], scope):
                return _figures_of(limit) | _state(state)
        return dict.fromkeys(("max", "used_by_caller", "used_by_others", "foreign"), 0)


def _answer(fields: Step) -> quotagate.Answer:
    renamed = {key.removesuffix("_s"): value for key, value in fields.items()}
    renamed["limit_info"] = tuple(renamed.get("limit_info", ()))
    return quotagate.Answer(**renamed, completed_at=_clock.now())


def _denied(denied: quotagate.Denied) -> dict[str, Any]:
    return {
        "reason": denied.reason,
        "limit": None if denied.limit is None else _figures_of(denied.limit),
        "retry_after_s": denied.retry_after,
        "queue_position": denied.queue_position,
        **_state(denied.class_state),
    }


def _figures_of(limit: quotagate.LimitUsage) -> dict[str, Any]:
    figures = {name: getattr(limit, name) for name in quotagate.LimitUsage.__slots__}
    figures["window_s"] = figures.pop("window")
    return figures


def _state(state: quotagate.ClassState) -> dict[str, Any]:
    return {
        "paused": sorted(status.traffic_class for status in state.classes if status.paused),
        "warnings": sorted(warned.kind for warned in state.warnings),
    }


def _compare_error(expect: Step, error: quotagate.RequestRefused) -> None:
    if "error" not in expect:
        raise error
    fields = [field for field, _ in error.fields]
    _compare_fields(expect["error"], {"code": error.code, "fields": fields})


def _compare_any(wanted: Step, found: list[dict[str, Any]]) -> None:
    for one in found:
        try:
            return _compare_fields(wanted, one)
        except MismatchError:
            continue
    raise MismatchError(f"none of {found} is {wanted}")


def _compare_fields(wanted: Step, found: dict[str, Any]) -> None:
    for key, value in wanted.items():
        if key == "limit":
            _compare_fields(value, found[key] or {})
        elif not _matches(key, value, found.get(key)):
            raise MismatchError(f"{key} is {found.get(key)!r}, expected {value!r}")


def _matches(key: str, wanted: Any, found: Any) -> bool:
    if wanted is True and key.endswith("_s"):
        return found is not None
    if isinstance(wanted, list) and key in ("paused", "warnings"):
        return bool(sorted(wanted) == found)
    if isinstance(wanted, list) and key != "fields":
        return found is not None and bool(wanted[0] <= found <= wanted[1])
    return bool(wanted == found)
