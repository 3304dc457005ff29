"""For `httpx`: every request of a client takes its quota first.

transport = quotagate.httpx.Transport(client, org="00D000000000001EAA")
salesforce = httpx.Client(transport=transport, base_url=...)
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import Any

import httpx

from quotagate import _errors, aio
from quotagate._answer import BODY_BYTES, Answer, header_pairs
from quotagate._client import Client
from quotagate._errors import QuotaError
from quotagate._http import Quota, connect_within, sooner, too_late, translated
from quotagate._model import Report, TrafficClass
from quotagate._permit import BasePermit
from quotagate._rules import Call, Rules, salesforce_rules

__all__ = ["AsyncTransport", "Transport"]


class Denied(_errors.Denied, httpx.TransportError):
    """The service said no; nothing was sent."""


class Unavailable(_errors.Unavailable, httpx.TransportError):
    """Nothing could be decided; nothing was sent."""


class PermitExpired(_errors.PermitExpired, httpx.TransportError):
    """The permit's life was over before the request could be sent."""


class InvalidRequest(_errors.InvalidRequest, httpx.TransportError):
    """The transport's options are wrong; nothing was sent."""


class NotFound(_errors.NotFound, httpx.TransportError):
    """A name is unknown to the service; nothing was sent."""


class PermissionDenied(_errors.PermissionDenied, httpx.TransportError):
    """The caller lacks the right; nothing was sent."""


class Unauthenticated(_errors.Unauthenticated, httpx.TransportError):
    """The caller has not said who it is; nothing was sent."""


_KINDS: dict[type[QuotaError], type[QuotaError]] = {
    _errors.Denied: Denied,
    _errors.Unavailable: Unavailable,
    _errors.PermitExpired: PermitExpired,
    _errors.InvalidRequest: InvalidRequest,
    _errors.NotFound: NotFound,
    _errors.PermissionDenied: PermissionDenied,
    _errors.Unauthenticated: Unauthenticated,
}

_CERTAINLY_NOT_SENT = (
    PermitExpired,
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
)


class Transport(httpx.BaseTransport):
    """Takes a permit for each request that is a call of the API, sends it, and reports the
    answer. Each redirect comes here as a request of its own."""

    def __init__(
        self,
        client: Client,
        *,
        org: str,
        workspace: str = "",
        execution_user: str = "",
        traffic_class: TrafficClass = "event",
        max_wait: float = 0.0,
        rules: Rules = salesforce_rules,
        on_advice: Callable[[Report], None] | None = None,
        inner: httpx.BaseTransport | None = None,
    ) -> None:
        """Arguments are those of `quotagate.requests.QuotaAdapter`."""
        self._client = client
        self._quota = Quota(
            org, workspace, execution_user, traffic_class, max_wait, rules, on_advice
        )
        self._inner = httpx.HTTPTransport() if inner is None else inner

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """One request on the wire."""
        call = _call_of(self._quota, request)
        if call is None:
            return self._inner.handle_request(request)
        try:
            permit = self._client.acquire(**self._quota.request(call))
        except QuotaError as error:
            raise _as_ours(error, request) from error
        with permit:
            ordinal = _start(permit, request)
            extensions = request.extensions
            request.extensions = _bounded(permit, request)
            try:
                response = self._inner.handle_request(request)
            except _CERTAINLY_NOT_SENT:
                permit.not_sent(ordinal)
                raise
            finally:
                # The next hop of a redirect takes them over, with a permit of its own.
                request.extensions = extensions
            head = b""
            try:
                if response.status_code >= 400:
                    replay = _Replay(response.stream)
                    head = replay.head
                    response.stream = replay
            finally:
                permit._report_later(_answer_of(response, head), self._quota.on_advice)
            return response

    def close(self) -> None:
        self._inner.close()

    def __enter__(self) -> Transport:
        self._inner.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        self._inner.__exit__(kind, error, trace)


class AsyncTransport(httpx.AsyncBaseTransport):
    """The same for `httpx.AsyncClient`, with `quotagate.aio.Client`."""

    def __init__(
        self,
        client: aio.Client,
        *,
        org: str,
        workspace: str = "",
        execution_user: str = "",
        traffic_class: TrafficClass = "event",
        max_wait: float = 0.0,
        rules: Rules = salesforce_rules,
        on_advice: Callable[[Report], None] | None = None,
        inner: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Arguments are those of `quotagate.requests.QuotaAdapter`."""
        self._client = client
        self._quota = Quota(
            org, workspace, execution_user, traffic_class, max_wait, rules, on_advice
        )
        self._inner = httpx.AsyncHTTPTransport() if inner is None else inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One request on the wire."""
        call = _call_of(self._quota, request)
        if call is None:
            return await self._inner.handle_async_request(request)
        try:
            permit = await self._client.acquire(**self._quota.request(call))
        except QuotaError as error:
            raise _as_ours(error, request) from error
        async with permit:
            ordinal = _start(permit, request)
            extensions = request.extensions
            request.extensions = _bounded(permit, request, is_async=True)
            try:
                response = await self._inner.handle_async_request(request)
            except _CERTAINLY_NOT_SENT:
                permit.not_sent(ordinal)
                raise
            finally:
                request.extensions = extensions
            head = b""
            try:
                if response.status_code >= 400:
                    replay = await _AsyncReplay.of(response.stream)
                    head = replay.head
                    response.stream = replay
            finally:
                permit._report_later(_answer_of(response, head), self._quota.on_advice)
            return response

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def __aenter__(self) -> AsyncTransport:
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        await self._inner.__aexit__(kind, error, trace)


class _Replay(httpx.SyncByteStream):
    """A body whose beginning has been looked at."""

    def __init__(self, stream: Any) -> None:
        self._stream: httpx.SyncByteStream = stream
        self._chunks = iter(self._stream)
        self.head = b""
        for chunk in self._chunks:
            self.head += chunk
            if len(self.head) >= BODY_BYTES:
                break

    def __iter__(self) -> Iterator[bytes]:
        if self.head:
            yield self.head
        yield from self._chunks

    def close(self) -> None:
        self._stream.close()


class _AsyncReplay(httpx.AsyncByteStream):
    """The same for an asynchronous body."""

    def __init__(self, stream: Any) -> None:
        self._stream: httpx.AsyncByteStream = stream
        self._chunks = aiter(self._stream)
        self.head = b""

    @classmethod
    async def of(cls, stream: Any) -> _AsyncReplay:
        replay = cls(stream)
        async for chunk in replay._chunks:
            replay.head += chunk
            if len(replay.head) >= BODY_BYTES:
                break
        return replay

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self.head:
            yield self.head
        async for chunk in self._chunks:
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


def _call_of(quota: Quota, request: httpx.Request) -> Call | None:
    try:
        body: bytes | None = request.content
    except httpx.RequestNotRead:
        body = None
    return quota.rules(request.method, str(request.url), body)


def _start(permit: BasePermit, request: httpx.Request) -> int:
    try:
        return permit.start()
    except QuotaError as error:
        raise _as_ours(error, request) from error


def _bounded(permit: BasePermit, request: httpx.Request, is_async: bool = False) -> dict[str, Any]:
    """The request's extensions, so that it is not sent after the permit's end, however long
    it waits for a connection."""
    timeout = dict(request.extensions.get("timeout") or {})
    timeout["pool"] = sooner(timeout.get("pool"), permit.expires_in)
    timeout["connect"] = connect_within(timeout.get("connect"), permit.expires_in)
    theirs = request.extensions.get("trace")

    def check(event: str) -> None:
        if event.endswith(".send_request_headers.started") and permit.expires_in <= 0:
            raise _as_ours(too_late(), request)

    def trace(event: str, info: dict[str, Any]) -> None:
        if theirs is not None:
            theirs(event, info)
        check(event)

    async def async_trace(event: str, info: dict[str, Any]) -> None:
        if theirs is not None:
            await theirs(event, info)
        check(event)

    return {
        **request.extensions,
        "timeout": timeout,
        "trace": async_trace if is_async else trace,
    }


def _answer_of(response: httpx.Response, head: bytes) -> Answer:
    if encoding := response.headers.get("content-encoding"):
        try:
            head = httpx.Response(200, headers={"content-encoding": encoding}, content=head).content
        except httpx.DecodingError:
            head = b""
    return Answer.from_http(response.status_code, header_pairs(response.headers), head)


def _as_ours(error: QuotaError, request: httpx.Request) -> QuotaError:
    ours = translated(error, _KINDS)
    ours._request = request  # type: ignore[attr-defined]
    return ours
