"""The HTTP adapters: one call is one request on the wire, and the caller notices nothing."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
import requests
import urllib3
from conftest import Server, StandIn, eventually
from simple_salesforce.api import Salesforce
from simple_salesforce.exceptions import SalesforceMalformedRequest

import quotagate
import quotagate.aio
import quotagate.httpx
import quotagate.requests

LONG = b"x" * 200_000
ERROR = json.dumps([{"errorCode": "API_DISABLED_FOR_ORG", "message": "no"}]).encode()


class Handler(BaseHTTPRequestHandler):
    """Answers by path, and counts."""

    protocol_version = "HTTP/1.1"
    came: list[str]

    def do_GET(self) -> None:
        self.came.append(self.path)
        page = self.path.rsplit("/", 1)[-1]
        if page == "hangup":
            self.close_connection = True
            return
        if page == "digest" and "Authorization" in self.headers:
            page = "here"
        answers: dict[str, tuple[int, bytes, dict[str, str]]] = {
            "moved": (302, b"", {"Location": "/services/data/v66.0/here"}),
            "here": (200, b"{}", {}),
            "stop": (401, ERROR, {}),
            "zipped": (403, gzip.compress(ERROR), {"Content-Encoding": "gzip"}),
            "long": (500, LONG, {}),
            "chunked": (500, LONG, {"Transfer-Encoding": "chunked"}),
            "cut": (500, LONG[:1000], {"Content-Length": "5000", "Connection": "close"}),
            "digest": (401, b"", {"WWW-Authenticate": 'Digest realm="r", nonce="n", qop="auth"'}),
        }
        status, body, headers = answers[page]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Sforce-Limit-Info", "per-app-api-usage=1/2(appName=a)")
        self.send_header("Sforce-Limit-Info", "api-usage=500/15000")
        if page == "chunked":
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        elif page != "cut":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web() -> Iterator[tuple[str, list[str]]]:
    came: list[str] = []
    handler = type("Counting", (Handler,), {"came": came})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/services/data/v66.0", came
        server.shutdown()
        thread.join()


@pytest.fixture
def client(server: Server) -> Iterator[quotagate.Client]:
    with quotagate.Client(server.address, timeout=5) as client:
        yield client


Get = Callable[..., tuple[int, bytes]]
"""Gets a URL through an adapter: with `stream=True` bit by bit."""


@pytest.fixture(params=["requests", "httpx"])
def get(request: pytest.FixtureRequest, client: quotagate.Client) -> Get:
    def by_requests(url: str, org: str, stream: bool = False, **quota: Any) -> tuple[int, bytes]:
        with requests.Session() as session:
            quotagate.requests.mount(session, client, org=org, **quota)
            answer = session.get(url, stream=stream)
            body = b"".join(answer.iter_content(1000)) if stream else answer.content
            return answer.status_code, body

    def by_httpx(url: str, org: str, stream: bool = False, **quota: Any) -> tuple[int, bytes]:
        transport = quotagate.httpx.Transport(client, org=org, **quota)
        with httpx.Client(transport=transport, follow_redirects=True) as session:
            if not stream:
                answer = session.get(url)
                return answer.status_code, answer.content
            with session.stream("GET", url) as answer:
                return answer.status_code, b"".join(answer.iter_bytes(1000))

    return by_requests if request.param == "requests" else by_httpx


def used(client: quotagate.Client, org: str) -> tuple[int, int]:
    total = client.usage(org).limits[0]
    return total.used_by_caller, total.foreign


def name_of(request: pytest.FixtureRequest) -> str:
    """An org of the test's own."""
    return "".join(c if c.isalnum() else "-" for c in request.node.name)[-60:]


def test_each_hop_of_a_redirect_is_a_call(
    get: Get, client: quotagate.Client, web: Any, request: pytest.FixtureRequest
) -> None:
    base, came = web
    assert get(f"{base}/moved", name_of(request)) == (200, b"{}")
    assert len(came) == 2
    assert used(client, name_of(request))[0] == 2


def test_repeated_headers_are_all_reported(
    get: Get, client: quotagate.Client, web: Any, request: pytest.FixtureRequest
) -> None:
    get(f"{web[0]}/here", name_of(request))
    assert eventually(lambda: used(client, name_of(request))[1] in (499, 500))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("page", "body"), [("stop", ERROR), ("zipped", ERROR), ("long", LONG)])
def test_an_error_s_body_is_read_and_still_there(
    get: Get, web: Any, request: pytest.FixtureRequest, stream: bool, page: str, body: bytes
) -> None:
    advices: list[quotagate.Report] = []
    _, got = get(f"{web[0]}/{page}", name_of(request), stream=stream, on_advice=advices.append)
    assert got == body
    assert eventually(lambda: len(advices) == 1)
    assert advices[0].advice == ("CONTINUE" if page == "long" else "STOP")


READERS: dict[str, Callable[[requests.Response], bytes]] = {
    "chunks as they come": lambda answer: b"".join(answer.iter_content(None)),
    "chunks": lambda answer: b"".join(answer.iter_content(7)),
    "read": lambda answer: b"".join(iter(lambda: answer.raw.read(999), b"")),
    "read1": lambda answer: b"".join(iter(lambda: answer.raw.read1(999), b"")),
    "readinto": lambda answer: io.BufferedReader(answer.raw).read(),
    "all": lambda answer: answer.content,
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(("page", "body"), [("long", LONG), ("chunked", LONG), ("stop", ERROR)])
def test_an_error_s_body_can_be_read_in_each_way(
    client: quotagate.Client, web: Any, reader: str, page: str, body: bytes
) -> None:
    with requests.Session() as session:
        quotagate.requests.mount(session, client, org="readers")
        with session.get(f"{web[0]}/{page}", stream=True) as answer:
            assert READERS[reader](answer) == body


def test_a_body_that_is_cut_off_is_there_as_far_as_it_came(
    client: quotagate.Client, web: Any
) -> None:
    with requests.Session() as session:
        quotagate.requests.mount(session, client, org="cut")
        with session.get(f"{web[0]}/cut", stream=True) as answer:
            chunks = answer.iter_content(500)
            assert [next(chunks), next(chunks)] == [LONG[:500]] * 2
            with pytest.raises(requests.exceptions.ChunkedEncodingError):
                next(chunks)


def test_what_an_authentication_sends_again_is_a_call(client: quotagate.Client, web: Any) -> None:
    base, came = web
    with requests.Session() as session:
        quotagate.requests.mount(session, client, org="digest")
        session.auth = requests.auth.HTTPDigestAuth("ann", "secret")
        assert session.get(f"{base}/digest").status_code == 200
    assert len(came) == 2
    assert used(client, "digest")[0] == 2


@pytest.fixture
def short_lived(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Arguments of a client whose permits live for a moment."""
    monkeypatch.setattr("quotagate._core.PERMIT_LIFE", 0.3)
    return {"servers": "127.0.0.1:1", "timeout": 0.2, "outage": "open"}


def test_nothing_is_sent_by_a_connection_that_came_too_late(
    short_lived: dict[str, Any], web: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = urllib3.util.connection.create_connection

    def slow(*args: Any, **options: Any) -> socket.socket:
        time.sleep(0.4)
        return connect(*args, **options)

    monkeypatch.setattr("urllib3.util.connection.create_connection", slow)
    with quotagate.Client(**short_lived) as client, requests.Session() as session:
        quotagate.requests.mount(session, client, org="late")
        with pytest.raises(requests.RequestException) as error:
            session.get(f"{web[0]}/here")
    assert isinstance(error.value, quotagate.PermitExpired)
    assert web[1] == []


def test_a_place_in_the_pool_is_not_waited_for_longer_than_the_permit_lives(
    short_lived: dict[str, Any], web: Any
) -> None:
    with quotagate.Client(**short_lived) as client, requests.Session() as session:
        session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=1, pool_block=True))
        quotagate.requests.mount(session, client, org="late")
        with session.get(f"{web[0]}/here", stream=True), pytest.raises(quotagate.PermitExpired):
            session.get(f"{web[0]}/here")
        assert session.get(f"{web[0]}/here").status_code == 200
    assert len(web[1]) == 2


def test_httpx_sends_nothing_by_a_connection_that_came_too_late(
    short_lived: dict[str, Any], web: Any
) -> None:
    def slow(event: str, _: object) -> None:
        if event == "connection.connect_tcp.complete":
            time.sleep(0.4)

    with quotagate.Client(**short_lived) as client:
        transport = quotagate.httpx.Transport(client, org="late")
        with httpx.Client(transport=transport) as session:
            with pytest.raises(httpx.TransportError) as error:
                session.get(f"{web[0]}/here", extensions={"trace": slow})
            assert isinstance(error.value, quotagate.PermitExpired)
            assert web[1] == []
            answer = session.get(f"{web[0]}/here")
            assert "trace" not in answer.request.extensions
    assert len(web[1]) == 1


def test_httpx_with_asyncio_sends_nothing_by_a_connection_that_came_too_late(
    short_lived: dict[str, Any], web: Any
) -> None:
    async def slow(event: str, _: object) -> None:
        if event == "connection.connect_tcp.complete":
            await asyncio.sleep(0.4)

    async def work() -> None:
        async with quotagate.aio.Client(**short_lived) as client:
            transport = quotagate.httpx.AsyncTransport(client, org="late")
            async with httpx.AsyncClient(transport=transport) as session:
                with pytest.raises(httpx.TransportError) as error:
                    await session.get(f"{web[0]}/here", extensions={"trace": slow})
                assert isinstance(error.value, quotagate.PermitExpired)

    asyncio.run(work())
    assert web[1] == []


def test_a_lost_answer_counts_as_sent_and_is_not_repeated(
    get: Get, client: quotagate.Client, web: Any, request: pytest.FixtureRequest
) -> None:
    base, came = web
    with pytest.raises((requests.ConnectionError, httpx.RemoteProtocolError)):
        get(f"{base}/hangup", name_of(request))
    assert len(came) == 1
    assert used(client, name_of(request))[0] == 1


def test_what_was_certainly_not_sent_comes_back(
    get: Get, client: quotagate.Client, request: pytest.FixtureRequest
) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}/services/data/v66.0/limits"
        with pytest.raises((requests.ConnectionError, httpx.ConnectError)):
            get(url, name_of(request))
    assert eventually(lambda: used(client, name_of(request))[0] == 0)


def test_retries_of_the_library_are_off(client: quotagate.Client, web: Any) -> None:
    base, came = web
    with requests.Session() as session:
        session.mount("http://", requests.adapters.HTTPAdapter(max_retries=5))
        quotagate.requests.mount(session, client, org="retries")
        with pytest.raises(requests.ConnectionError):
            session.get(f"{base}/hangup")
    assert len(came) == 1


class WithoutTls(requests.adapters.HTTPAdapter):
    """What ends TLS in front of the stand-in: simple-salesforce speaks nothing else."""

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> Any:
        assert request.url is not None
        request.url = request.url.replace("https://", "http://")
        return super().send(request, *args, **options)


def test_simple_salesforce_works_unchanged(client: quotagate.Client, stand_in: StandIn) -> None:
    session = requests.Session()
    session.mount("https://", WithoutTls())
    quotagate.requests.mount(session, client, org="capped", workspace="tiny")

    salesforce = Salesforce(
        instance=stand_in.address.removeprefix("http://"), session_id="simple!ann", session=session
    )
    account: Any = salesforce.Account
    before = stand_in.seen()["arrivals"]
    assert salesforce.query("SELECT Id FROM Account")["totalSize"] == 0
    assert account.create({"Name": "Acme"})["success"]
    assert account.get("001000000000001AAA")["Id"] == "001000000000001AAA"
    assert salesforce.limits()["DailyApiRequests"]["Max"] == 15_000
    assert stand_in.seen()["arrivals"] - before == 4

    # The workspace's cap is 10: an event call pauses at 8, a call site sees an error of its
    # HTTP library, and nothing is sent.
    for _ in range(4):
        salesforce.limits()
    with pytest.raises(requests.RequestException) as denied:
        salesforce.limits()
    assert isinstance(denied.value, quotagate.Denied)
    assert denied.value.reason == "WORKSPACE_CLASS_PAUSED"
    assert stand_in.seen()["arrivals"] - before == 8
    cap = next(w for w in client.usage("capped").workspaces if w.workspace == "tiny").limits[0]
    assert cap.used_by_caller == 8
    session.close()


def test_simple_salesforce_sees_salesforce_s_own_errors(
    client: quotagate.Client, stand_in: StandIn
) -> None:
    session = requests.Session()
    session.mount("https://", WithoutTls())
    quotagate.requests.mount(session, client, org="own-errors", execution_user="ann")
    salesforce = Salesforce(
        instance=stand_in.address.removeprefix("http://"), session_id="own-errors!ann",
        session=session,
    )  # fmt: skip
    with pytest.raises(SalesforceMalformedRequest):
        salesforce.restful("limits", params={"duration_ms": "garbled"})
    assert eventually(lambda: used(client, "own-errors")[0] == 1)
    session.close()
