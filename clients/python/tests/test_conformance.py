"""The scenarios that all clients share, with a real server and a real stand-in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import quotagate
import scenarios
from conftest import Server
from quotagate import _clock


class Threads:
    """The client for threads."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._client = quotagate.Client(address, timeout=5)

    def close(self) -> None:
        self._client.close()

    def acquire(self, **request: Any) -> scenarios.Granted:
        return granted(self._client.acquire(**request))

    def check(self, **request: Any) -> scenarios.Granted:
        grant = self._client.check(**request)
        ttl = max(0.0, grant.deadline - _clock.now())
        return scenarios.Granted(
            grant.id, grant.calls, grant.execution_user, ttl, grant.limits, grant.class_state
        )

    def release(self, permit_id: str, unused_calls: int | None) -> quotagate.Released:
        return self._client.release(permit_id, unused_calls)

    def report(self, answer: quotagate.Answer, **what: Any) -> quotagate.Report:
        return self._client.report(answer, **what)

    def usage(self, org: str) -> Any:
        return self._client.usage(org)

    def guard(
        self, starts: int, beyond: bool, answers: list[quotagate.Answer], throw: bool, **request: Any
    ) -> scenarios.Granted:
        with quotagate.Client(self._address, timeout=5) as client:
            try:
                with client.permit(**request) as permit:
                    found = granted(permit)
                    calls = [permit.start() for _ in range(starts)]
                    if beyond:
                        with pytest.raises(quotagate.PermitExpired):
                            permit.start()
                    for call, answer in zip(calls, answers, strict=False):
                        permit.report(answer, call=call)
                    if throw:
                        raise ArithmeticError
            except ArithmeticError:
                assert throw
        return found

    def http(self, *_: Any) -> scenarios.Sent:
        pytest.skip("not yet")


def granted(permit: quotagate.Permit) -> scenarios.Granted:
    return scenarios.Granted(
        permit.id,
        permit.calls,
        permit.execution_user,
        permit.expires_in,
        permit.limits,
        permit.class_state,
    )


@pytest.fixture(scope="module")
def interpreter() -> Iterator[scenarios.Interpreter]:
    with Server() as server:
        driver = Threads(server.address)
        yield scenarios.Interpreter(driver, "http://127.0.0.1:1", lambda: 0)
        driver.close()


@pytest.mark.parametrize("scenario", scenarios.FILE["scenarios"], ids=lambda s: s["name"])
def test_scenario(scenario: Any, interpreter: scenarios.Interpreter) -> None:
    interpreter.run(scenario)


@pytest.mark.parametrize("vector", scenarios.FILE["classify"], ids=lambda v: v["method"] + v["url"])
def test_rules_know_the_call(vector: Any) -> None:
    body = vector.get("body")
    call = quotagate.salesforce_rules(
        vector["method"], vector["url"], None if body is None else body.encode()
    )
    assert (call.operation if call else None) == vector["operation"]
    assert (call.cost if call else 1) == vector["cost"]
