"""What scenarios do not reach: arguments, decorators, errors, forks, threads."""

from __future__ import annotations

import asyncio
import copy
import multiprocessing
import pickle
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import requests
from conftest import Server, eventually

import quotagate
import quotagate.aio
import quotagate.httpx
import quotagate.requests
from quotagate._core import MOST_PENDING, target_of

DENIED = quotagate.Denied(
    "no room",
    reason="ORG_LIMIT",
    retry_after=1.5,
    limit=None,
    limits=(),
    class_state=quotagate.ClassState(),
    queue_position=2,
)


@pytest.fixture
def client(server: Server) -> Iterator[quotagate.Client]:
    with quotagate.Client(server.address, timeout=5) as client:
        yield client


@dataclass
class Response:
    """Looks like one of an HTTP library."""

    status_code: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes = b""


class ResponseError(Exception):
    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


def used(client: quotagate.Client, org: str) -> tuple[int, int]:
    total = client.usage(org).limits[0]
    return total.used_by_caller, total.foreign


def test_a_limited_function_makes_one_call_and_reports_it(client: quotagate.Client) -> None:
    @client.limited(org="decorated", operation="rest")
    def call(response: Response, *, fails: bool = False) -> Response:
        """Its own words."""
        if fails:
            raise ResponseError(response)
        return response

    assert call.__doc__ == "Its own words."
    call(Response(headers={"sforce-limit-info": "api-usage=300/15000"}))
    assert eventually(lambda: used(client, "decorated")[1] >= 299)
    over = Response(403, {}, b'[{"errorCode":"REQUEST_LIMIT_EXCEEDED","message":"TotalRequests"}]')
    with pytest.raises(ResponseError):
        call(over, fails=True)
    assert eventually(lambda: len(client.usage("decorated").cooling) == 1)
    with pytest.raises(quotagate.Denied):
        call(Response())


def test_a_limited_coroutine_does_the_same(server: Server) -> None:
    async def work() -> None:
        async with quotagate.aio.Client(server.address, timeout=5) as client:

            @client.limited(org="decorated-aio", operation="conversations.delete",
                            execution_user="ann")  # fmt: skip
            async def call(number: int) -> int:
                await asyncio.sleep(0)
                return number

            assert [await call(n) for n in range(10)] == list(range(10))
            with pytest.raises(quotagate.Denied):
                await call(10)

    asyncio.run(work())


@pytest.mark.parametrize(
    "error",
    [
        DENIED,
        quotagate.Unavailable("nobody", code="UNAVAILABLE"),
        quotagate.PermitExpired("over"),
        quotagate.InvalidRequest("bad", code="INVALID_ARGUMENT", fields=(("org", "is bad"),)),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_can_be_pickled(error: quotagate.QuotaError) -> None:
    request = requests.Request("GET", "http://127.0.0.1/").prepare()
    ours = quotagate.requests.QuotaAdapter._as_ours(error, request)
    theirs = quotagate.httpx._as_ours(error, httpx.Request("GET", "http://127.0.0.1/"))
    assert isinstance(ours, requests.RequestException)
    assert isinstance(theirs, httpx.TransportError)
    for one in (error, ours, theirs, copy.copy(error)):
        again = pickle.loads(pickle.dumps(one))
        assert type(again) is type(one)
        assert isinstance(again, type(error))
        assert str(again) == str(error)
        for name, value in error.__dict__.items():
            assert getattr(again, name) == value


def test_a_client_of_before_a_fork_says_so(client: quotagate.Client) -> None:
    client._core._process -= 1  # what a child sees
    with pytest.raises(RuntimeError, match="after the fork"):
        client.acquire("forked", "rest")


@pytest.mark.parametrize(
    "options",
    [{"timeout": 0}, {"servers": []}, {"servers": ["a:1", "b:2"]}, {"outage": "ajar"},
     {"outage": {"bulk": "ajar"}}],
    ids=repr,
)  # fmt: skip
def test_what_cannot_be_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must|several"):
        quotagate.Client(**options)


def test_servers_become_a_target() -> None:
    assert target_of(["dns:///quotagate:7400"]) == "dns:///quotagate:7400"
    assert target_of(["10.0.0.1:1", "10.0.0.2:2"]) == "ipv4:10.0.0.1:1,10.0.0.2:2"
    assert target_of(["[::1]:1", "[fe80::2]:2"]) == "ipv6:[::1]:1,[fe80::2]:2"


def test_threads_share_a_client_and_a_permit(client: quotagate.Client) -> None:
    with client.permit("threads", "rest", calls=200) as shared:
        ordinals: list[int] = []
        denied: list[quotagate.Denied] = []

        def work() -> None:
            for _ in range(20):
                ordinals.append(shared.start())
                try:
                    with client.permit("threads", "conversations.delete", execution_user="ann"):
                        pass
                except quotagate.Denied as error:
                    denied.append(error)

        threads = [threading.Thread(target=work) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(ordinals) == list(range(200))
        with pytest.raises(quotagate.PermitExpired):
            shared.start()
    assert used(client, "threads")[0] == 200


def test_the_background_keeps_no_more_than_so_many() -> None:
    with quotagate.Client("127.0.0.1:1", timeout=0.2, outage="open") as client:
        settler = client._settler
        request = quotagate._core.report_request(quotagate.Answer(), permit_id="x")
        for _ in range(MOST_PENDING + 50):
            settler._add(quotagate._core.Pending(request, float("inf")), 60.0)
        assert len(settler._queue) == MOST_PENDING


def test_a_permit_ends_at_its_deadline(client: quotagate.Client) -> None:
    with client.permit("expiring", "rest", calls=3, permit_ttl=0.2) as permit:
        assert permit.expires_in <= 0.25
        permit.start()
        assert eventually(lambda: permit.expires_in < 0)
        with pytest.raises(quotagate.PermitExpired):
            permit.start()


def answer(headers: dict[str, str], status: int = 200, body: bytes = b"") -> quotagate.Answer:
    return quotagate.Answer.from_http(status, headers.items(), body)


def test_answers_are_read_as_they_come() -> None:
    date = "Sun, 06 Nov 1994 08:49:37 GMT"
    assert answer({"Date": date}).answer_time == 784111777
    assert answer({"Date": "yesterday"}).answer_time is None
    assert answer({"Retry-After": "7"}).retry_after == 7
    assert answer({"Retry-After": "-7"}).retry_after is None
    later = "Sun, 06 Nov 1994 08:50:37 GMT"
    assert answer({"Retry-After": later, "Date": date}).retry_after == 60
    assert answer({"Retry-After": date, "Date": later}).retry_after == 0
    assert answer({"SFORCE-limit-info": "a=1/2"}).limit_info == ("a=1/2",)
    assert answer({"Sforce-Limit-Info": "a" * 2000}).limit_info == ()


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b'[{"errorCode": "A", "message": "b"}, {"errorCode": "C"}]', "A", "b"),
        (b'{"errorCode": "A", "message": "b"}', "A", "b"),
        (b'{"error": "invalid_grant", "error_description": "b"}', "invalid_grant", "b"),
        (b'[{"errorCode": "A"}]', "A", ""),
        (b"[]", "", "[]"),
        (b'{"other": 1}', "", '{"other": 1}'),
        (b"<html>" + b"x" * 5000, "", "<html>" + "x" * 1018),
        (b"\xff\xfe", "", "\ufffd\ufffd"),
        (b"[" * 70_000, "", "[" * 1024),
        (b"", "", ""),
    ],
)
def test_an_error_s_body_tells_code_and_message(body: bytes, code: str, message: str) -> None:
    found = answer({}, 400, body)
    assert (found.error_code, found.error_message) == (code, message)
    assert answer({}, 200, body).error_message == ""


def test_a_spawned_process_makes_a_client_of_its_own(server: Server) -> None:
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(1) as pool:
        assert pool.apply(ask, (server.address,)) == "service"


def ask(server: str) -> str:
    with quotagate.Client(server, timeout=5) as client:
        return client.acquire("spawned", "rest").origin
