"""What a client does while nothing can be decided."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc
import pytest
from conftest import CONFORMANCE, Server, eventually

import quotagate
import quotagate.aio

TIMEOUT = 0.5
SLACK = 0.5


@contextlib.contextmanager
def listener(answers: bytes | None) -> Iterator[str]:
    """Something that accepts connections, and says nothing or nonsense."""
    connections = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    connections.append(connection)
                    if answers is not None:
                        connection.sendall(answers)

        thread = threading.Thread(target=accept)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    for connection in connections:
        connection.close()


@contextlib.contextmanager
def nobody() -> Iterator[str]:
    """An address where nobody listens."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{reserved.getsockname()[1]}"


FAULTS: dict[str, Callable[[], contextlib.AbstractContextManager[str]]] = {
    "nobody listens": nobody,
    "nobody answers": lambda: listener(None),
    "garbage is answered": lambda: listener(b"\x00\xff not HTTP/2 at all \r\n\r\n" * 100),
    "HTTP/1 is answered": lambda: listener(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_class_has_its_policy_within_the_deadline(fault: str) -> None:
    with (
        FAULTS[fault]() as address,
        quotagate.Client(
            address,
            timeout=TIMEOUT,
            outage={"interactive": "open", "event": quotagate.safe(processes=2)},
        ) as client,
    ):
        began = time.monotonic()
        with pytest.raises(quotagate.Unavailable) as refused:
            client.acquire("acme", "rest", traffic_class="bulk")
        assert refused.value.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED")
        with pytest.raises(quotagate.Unavailable):
            client.acquire("acme", "rest", traffic_class="event")
        with client.permit("acme", "rest", traffic_class="interactive") as permit:
            assert (permit.origin, permit.id, permit.calls) == ("outage", "", 1)
            assert 4 < permit.expires_in <= 5
            permit.start()
            permit.report(quotagate.Answer(http_status=200))
        assert time.monotonic() - began < 3 * (TIMEOUT + SLACK)


@pytest.mark.parametrize("fault", FAULTS)
def test_asyncio_has_the_same_policies(fault: str) -> None:
    async def work(address: str) -> None:
        async with quotagate.aio.Client(
            address, timeout=TIMEOUT, outage={"interactive": "open"}
        ) as client:
            began = time.monotonic()
            with pytest.raises(quotagate.Unavailable):
                await client.acquire("acme", "rest")
            async with client.permit("acme", "rest", traffic_class="interactive") as permit:
                assert permit.origin == "outage"
                permit.start()
            assert time.monotonic() - began < 2 * (TIMEOUT + SLACK)

    with FAULTS[fault]() as address:
        asyncio.run(work(address))


@contextlib.contextmanager
def aborting(code: grpc.StatusCode) -> Iterator[str]:
    """A server that answers every acquire with an error."""

    def acquire(_: object, context: grpc.ServicerContext) -> bytes:
        context.abort(code, "because")

    handler: Any = grpc.unary_unary_rpc_method_handler(acquire)
    service = grpc.method_handlers_generic_handler(
        "quotagate.v1.QuotaService", {"Acquire": handler}
    )
    server = grpc.server(futures.ThreadPoolExecutor(1), handlers=[service])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("INVALID_ARGUMENT", quotagate.InvalidRequest),
        ("NOT_FOUND", quotagate.NotFound),
        ("PERMISSION_DENIED", quotagate.PermissionDenied),
        ("UNAUTHENTICATED", quotagate.Unauthenticated),
        ("UNAVAILABLE", None),
        ("RESOURCE_EXHAUSTED", None),
        ("UNKNOWN", None),
        ("INTERNAL", None),
        ("UNIMPLEMENTED", None),
    ],
)
def test_only_what_could_not_be_decided_is_an_outage(
    code: str, error: type[quotagate.QuotaError] | None
) -> None:
    with (
        aborting(grpc.StatusCode[code]) as address,
        quotagate.Client(address, timeout=3, outage="open") as client,
    ):
        if error is None:
            assert client.acquire("acme", "rest").origin == "outage"
        else:
            with pytest.raises(error) as refused:
                client.acquire("acme", "rest")
            assert str(refused.value) == "because"


def test_the_other_server_goes_on_when_one_stops() -> None:
    with (
        Server() as first,
        Server() as second,
        quotagate.Client([first.address, second.address], timeout=2) as client,
    ):
        for _ in range(4):
            client.acquire("acme", "rest")
        first.kill()
        for _ in range(20):
            assert client.acquire("acme", "rest").origin == "service"


def test_a_server_that_comes_back_is_found_again(caplog: pytest.LogCaptureFixture) -> None:
    with (
        Server() as server,
        quotagate.Client(server.address, timeout=TIMEOUT, outage="open") as client,
    ):
        client.acquire("acme", "rest")
        server.kill()
        with caplog.at_level(logging.WARNING, "quotagate"):
            for _ in range(3):
                assert client.acquire("acme", "rest").origin == "outage"
        assert len(caplog.records) == 1, "an outage is told once"
        with Server(grpc=server.address):
            assert eventually(lambda: client.acquire("acme", "rest").origin == "service")


def test_what_could_not_be_told_is_told_later() -> None:
    with (
        Server() as server,
        quotagate.Client(server.address, timeout=TIMEOUT) as client,
    ):
        permit = client.acquire("acme", "rest")
        server.kill()
        permit.start()
        limited = quotagate.Answer(http_status=200, limit_info=("api-usage=700/15000",))
        assert not permit.report(limited).delivered
        with Server(grpc=server.address):

            def foreign() -> int:
                with contextlib.suppress(quotagate.Unavailable):
                    return client.usage("acme").limits[0].foreign
                return 0

            # The new server has forgotten the permit, but not how to read.
            assert eventually(lambda: foreign() > 0, 10)


def test_safe_grants_this_process_s_part_and_no_more() -> None:
    with (
        Server(CONFORMANCE / "outage.yaml") as server,
        quotagate.Client(
            server.address, timeout=TIMEOUT, outage=quotagate.safe(processes=2)
        ) as client,
    ):
        question: dict[str, Any] = {
            "org": "acme",
            "operation": "conversation-entries.get",
            "execution_user": "ann",
        }
        permit = client.acquire(**question)
        assert [limit.outage_share for limit in permit.limits] == [18]
        server.kill()
        permits = [client.acquire(**question, calls=2) for _ in range(4)]
        assert {permit.origin for permit in permits} == {"outage"}
        assert client.acquire(**question, calls=3, min_calls=1).calls == 1
        with pytest.raises(quotagate.Unavailable):
            client.acquire(**question)
        with pytest.raises(quotagate.Unavailable):
            client.acquire("acme", "rest")
        # What was not sent can be used again; what was answered is in its window.
        with permits[0]:
            permits[0].start()
            permits[0].report(quotagate.Answer(http_status=200))
        assert client.acquire(**question).calls == 1
        with pytest.raises(quotagate.Unavailable):
            client.acquire(**question)


def test_nothing_is_left_behind() -> None:
    def one_life(address: str) -> None:
        with quotagate.Client(address, timeout=0.2, outage="open") as client:
            for _ in range(3):
                with client.permit("leaks", "rest", calls=2) as permit:
                    permit.start()

    async def one_async_life(address: str) -> None:
        async with quotagate.aio.Client(address, timeout=0.2, outage="open") as client:
            for _ in range(3):
                async with client.permit("leaks", "rest", calls=2) as permit:
                    permit.start()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    def figures() -> tuple[int, int]:
        return threading.active_count(), len(os.listdir("/proc/self/fd"))

    with Server() as server, nobody() as dead:
        for address in (server.address, dead) * 2:
            one_life(address)
            asyncio.run(one_async_life(address))
        threads, files = figures()
        for address in (server.address, dead) * 5:
            one_life(address)
            asyncio.run(one_async_life(address))
        assert eventually(lambda: figures()[0] <= threads)
        assert eventually(lambda: figures()[1] <= files + 2), (files, figures())
