"""The scenarios that all clients share, with a real server and a real stand-in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import httpx
import pytest
import requests
import scenarios
from conftest import Server, StandIn

import quotagate
import quotagate.aio
import quotagate.httpx
import quotagate.requests
from quotagate import _clock
from quotagate._core import Grant
from quotagate._permit import BasePermit

_T = TypeVar("_T")


class Threads:
    """The client for threads, with `requests`."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._client = quotagate.Client(address, timeout=5)

    def close(self) -> None:
        self._client.close()

    def acquire(self, **request: Any) -> scenarios.Granted:
        return granted(self._client.acquire(**request))

    def check(self, **request: Any) -> scenarios.Granted:
        return looked(self._client.check(**request))

    def release(self, permit_id: str, unused_calls: int | None) -> quotagate.Released:
        return self._client.release(permit_id, unused_calls)

    def report(self, answer: quotagate.Answer, **what: Any) -> quotagate.Report:
        return self._client.report(answer, **what)

    def usage(self, org: str) -> Any:
        return self._client.usage(org)

    def guard(
        self,
        starts: int,
        beyond: bool,
        answers: list[quotagate.Answer],
        throw: bool,
        **request: Any,
    ) -> scenarios.Granted:
        with quotagate.Client(self._address, timeout=5) as client:
            try:
                with client.permit(**request) as permit:
                    found = granted(permit)
                    calls = started(permit, starts, beyond)
                    for call, answer in zip(calls, answers, strict=False):
                        assert permit.report(answer, call=call).delivered
                    if throw:
                        raise ArithmeticError
            except ArithmeticError:
                assert throw
        return found

    def http(
        self, method: str, url: str, token: str, body: bytes | None, quota: dict[str, Any] | None
    ) -> scenarios.Sent:
        # Closed after the step: what it reports has been told before the next one.
        with quotagate.Client(self._address, timeout=5) as client, requests.Session() as session:
            if quota is not None:
                quotagate.requests.mount(session, client, **quota)
            try:
                answer = session.request(method, url, data=body, headers=headers(token))
            except requests.RequestException as error:
                assert isinstance(error, quotagate.QuotaError)
                raise
            return scenarios.Sent(answer.status_code, answer.content)


class ThreadsHttpx(Threads):
    """The same with `httpx`."""

    def http(
        self, method: str, url: str, token: str, body: bytes | None, quota: dict[str, Any] | None
    ) -> scenarios.Sent:
        with quotagate.Client(self._address, timeout=5) as client:
            transport = None
            if quota is not None:
                transport = quotagate.httpx.Transport(client, **quota)
            with httpx.Client(transport=transport) as session:
                try:
                    answer = session.request(method, url, content=body, headers=headers(token))
                except httpx.TransportError as error:
                    assert isinstance(error, quotagate.QuotaError)
                    raise
                return scenarios.Sent(answer.status_code, answer.content)


class Asyncio:
    """The client for asyncio, with `httpx`."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._runner = asyncio.new_event_loop()
        self._client = quotagate.aio.Client(address, timeout=5)

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        return self._runner.run_until_complete(work)

    def close(self) -> None:
        self._run(self._client.close())
        self._runner.close()

    def acquire(self, **request: Any) -> scenarios.Granted:
        return granted(self._run(self._client.acquire(**request)))

    def check(self, **request: Any) -> scenarios.Granted:
        return looked(self._run(self._client.check(**request)))

    def release(self, permit_id: str, unused_calls: int | None) -> quotagate.Released:
        return self._run(self._client.release(permit_id, unused_calls))

    def report(self, answer: quotagate.Answer, **what: Any) -> quotagate.Report:
        return self._run(self._client.report(answer, **what))

    def usage(self, org: str) -> Any:
        return self._run(self._client.usage(org))

    def guard(
        self,
        starts: int,
        beyond: bool,
        answers: list[quotagate.Answer],
        throw: bool,
        **request: Any,
    ) -> scenarios.Granted:
        async def work() -> scenarios.Granted:
            async with quotagate.aio.Client(self._address, timeout=5) as client:
                try:
                    async with client.permit(**request) as permit:
                        found = granted(permit)
                        calls = started(permit, starts, beyond)
                        for call, answer in zip(calls, answers, strict=False):
                            assert (await permit.report(answer, call=call)).delivered
                        if throw:
                            raise ArithmeticError
                except ArithmeticError:
                    assert throw
            return found

        return self._run(work())

    def http(
        self, method: str, url: str, token: str, body: bytes | None, quota: dict[str, Any] | None
    ) -> scenarios.Sent:
        async def work() -> scenarios.Sent:
            async with quotagate.aio.Client(self._address, timeout=5) as client:
                transport = None
                if quota is not None:
                    transport = quotagate.httpx.AsyncTransport(client, **quota)
                async with httpx.AsyncClient(transport=transport) as session:
                    try:
                        answer = await session.request(
                            method, url, content=body, headers=headers(token)
                        )
                    except httpx.TransportError as error:
                        assert isinstance(error, quotagate.QuotaError)
                        raise
                    return scenarios.Sent(answer.status_code, answer.content)

        return self._run(work())


def granted(permit: BasePermit) -> scenarios.Granted:
    return scenarios.Granted(
        permit.id,
        permit.calls,
        permit.execution_user,
        permit.expires_in,
        permit.limits,
        permit.class_state,
    )


def looked(grant: Grant) -> scenarios.Granted:
    ttl = max(0.0, grant.deadline - _clock.now())
    return scenarios.Granted(
        grant.id, grant.calls, grant.execution_user, ttl, grant.limits, grant.class_state
    )


def started(permit: BasePermit, starts: int, beyond: bool) -> list[int]:
    calls = [permit.start() for _ in range(starts)]
    if beyond:
        with pytest.raises(quotagate.PermitExpired):
            permit.start()
    return calls


def headers(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture(
    scope="module",
    params=[Threads, ThreadsHttpx, Asyncio],
    ids=["threads-requests", "threads-httpx", "asyncio-httpx"],
)
def interpreter(request: pytest.FixtureRequest) -> Iterator[scenarios.Interpreter]:
    make: Callable[[str], Threads | Asyncio] = request.param
    with Server() as server, StandIn() as stand_in:
        driver = make(server.address)
        yield scenarios.Interpreter(driver, stand_in.address, lambda: stand_in.seen()["arrivals"])
        driver.close()


@pytest.mark.parametrize("scenario", scenarios.FILE["scenarios"], ids=lambda s: s["name"])
def test_scenario(scenario: Any, interpreter: scenarios.Interpreter) -> None:
    interpreter.run(scenario)


@pytest.mark.parametrize(
    "vector", scenarios.FILE["classify"], ids=lambda v: f"{v['method']} {v['url']}"
)
def test_rules_know_the_call(vector: Any) -> None:
    body = vector.get("body")
    call = quotagate.salesforce_rules(
        vector["method"], vector["url"], None if body is None else body.encode()
    )
    assert (call.operation if call else None) == vector["operation"]
    assert (call.cost if call else 1) == vector["cost"]
