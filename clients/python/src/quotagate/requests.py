"""For `requests`: every request of a session takes its quota first.

session = requests.Session()
quotagate.requests.mount(session, client, org="00D000000000001EAA")
salesforce = simple_salesforce.Salesforce(..., session=session)
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Mapping
from typing import Any

import requests
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import EmptyPoolError, HTTPError, MaxRetryError, NewConnectionError
from urllib3.response import HTTPResponse
from urllib3.util.retry import Retry

from quotagate import _errors
from quotagate._answer import BODY_BYTES, Answer
from quotagate._client import Client, Permit
from quotagate._errors import QuotaError
from quotagate._http import Quota, connect_within, sooner, too_late, translated
from quotagate._model import Report, TrafficClass
from quotagate._rules import Rules, salesforce_rules

__all__ = ["QuotaAdapter", "mount"]

_PART_BYTES = 8 * 1024


class Denied(_errors.Denied, requests.RequestException):
    """The service said no; nothing was sent."""


class Unavailable(_errors.Unavailable, requests.ConnectionError):
    """Nothing could be decided; nothing was sent."""


class PermitExpired(_errors.PermitExpired, requests.RequestException):
    """The permit's life was over before the request could be sent."""


class InvalidRequest(_errors.InvalidRequest, requests.RequestException):
    """The adapter's options are wrong; nothing was sent."""


class NotFound(_errors.NotFound, requests.RequestException):
    """A name is unknown to the service; nothing was sent."""


class PermissionDenied(_errors.PermissionDenied, requests.RequestException):
    """The caller lacks the right; nothing was sent."""


class Unauthenticated(_errors.Unauthenticated, requests.RequestException):
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


def mount(
    session: requests.Session,
    client: Client,
    *,
    org: str,
    workspace: str = "",
    execution_user: str = "",
    traffic_class: TrafficClass = "event",
    max_wait: float = 0.0,
    rules: Rules = salesforce_rules,
    on_advice: Callable[[Report], None] | None = None,
) -> None:
    """Puts a `QuotaAdapter` in front of each adapter that the session has."""
    for prefix, inner in list(session.adapters.items()):
        adapter = QuotaAdapter(
            client, org=org, workspace=workspace, execution_user=execution_user,
            traffic_class=traffic_class, max_wait=max_wait, rules=rules, on_advice=on_advice,
            inner=inner,
        )  # fmt: skip
        session.mount(prefix, adapter)


class QuotaAdapter(BaseAdapter):
    """Takes a permit for each request that is a call of the API, sends it, and reports the
    answer.

    Each redirect comes here as a request of its own. Retries below are switched off, because
    each would be a call without a permit.
    """

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
        inner: BaseAdapter | None = None,
    ) -> None:
        """
        Args:
            client: asks the service.
            org: the Salesforce org.
            workspace: that pays; may be empty.
            execution_user: the Salesforce user that the session's token is of.
            traffic_class: who waits for the calls.
            max_wait: seconds to wait for room.
            rules: which operation a request is.
            on_advice: called with the service's answer to each report, in a thread of the
                client's.
            inner: sends; without, an `HTTPAdapter`.
        """
        super().__init__()
        self._client = client
        self._quota = Quota(
            org, workspace, execution_user, traffic_class, max_wait, rules, on_advice
        )
        self._inner = HTTPAdapter() if inner is None else inner
        if isinstance(self._inner, HTTPAdapter):
            self._inner.max_retries = Retry(0, read=False)
            manager = self._inner.poolmanager
            manager.pool_classes_by_scheme = {
                scheme: _punctual(pool) for scheme, pool in manager.pool_classes_by_scheme.items()
            }

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: float | tuple[float, float] | tuple[float, None] | None = None,
        verify: bool | str = True,
        cert: bytes | str | tuple[bytes | str, bytes | str] | None = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """One request on the wire."""
        call = self._quota.rules(request.method or "", request.url or "", _body(request))
        options: dict[str, Any] = {"verify": verify, "cert": cert, "proxies": proxies}
        if call is None:
            response = self._inner.send(request, stream=stream, timeout=timeout, **options)
            response.connection = self  # type: ignore[assignment]
            return response
        try:
            permit = self._client.acquire(**self._quota.request(call))
        except QuotaError as error:
            raise self._as_ours(error, request) from error
        with permit:
            try:
                ordinal = permit.start()
            except QuotaError as error:
                raise self._as_ours(error, request) from error
            _sending.permit = permit
            try:
                response = self._inner.send(
                    request, stream=stream, timeout=_within(timeout, permit), **options
                )
            except (_errors.PermitExpired, EmptyPoolError) as error:
                permit.not_sent(ordinal)
                raise self._as_ours(too_late(), request) from error
            except requests.RequestException as error:
                if _certainly_not_sent(error):
                    permit.not_sent(ordinal)
                raise
            finally:
                _sending.permit = None
            # What sends once more by itself, as digest authentication does, sends by this.
            response.connection = self  # type: ignore[assignment]
            self._report(permit, response, stream)
            return response

    def close(self) -> None:
        self._inner.close()

    def _report(self, permit: Permit, response: requests.Response, stream: bool) -> None:
        headers = _header_pairs(response)
        answer = Answer.from_http(response.status_code, headers)
        try:
            if response.status_code >= 400:
                body = _peek(response) if stream else response.content
                answer = Answer.from_http(response.status_code, headers, body)
        finally:
            permit._report_later(answer, self._quota.on_advice)

    @staticmethod
    def _as_ours(error: QuotaError, request: requests.PreparedRequest) -> QuotaError:
        ours = translated(error, _KINDS)
        ours.request = request  # type: ignore[attr-defined]
        ours.response = None  # type: ignore[attr-defined]
        return ours


class _Sending(threading.local):
    permit: Permit | None = None


_sending = _Sending()
"""What this thread sends with: urllib3 hands nothing through to its connections."""


def _punctual(pool: type[HTTPConnectionPool]) -> type[HTTPConnectionPool]:
    """The pool, but with no connection for a request whose permit's life is over: its
    timeout counts for each address anew, and not for a place in the pool."""
    if "is_punctual" in pool.__dict__:
        return pool

    def connect(self: Any) -> None:
        super(connection, self).connect()
        _check()

    def get(self: Any, block: bool = True, timeout: float | None = None) -> Any:
        permit = _sending.permit
        if block and permit is not None:
            timeout = sooner(timeout, permit.expires_in)
        return super(queue, self).get(block, timeout)

    connection: Any = type("Connection", (pool.ConnectionCls,), {"connect": connect})
    queue: Any = type("Queue", (pool.QueueCls,), {"get": get})
    return type(
        pool.__name__, (pool,),
        {"ConnectionCls": connection, "QueueCls": queue, "is_punctual": True},
    )  # fmt: skip


def _check() -> None:
    permit = _sending.permit
    if permit is not None and permit.expires_in <= 0:
        raise too_late()


class _Rest:
    """The bytes of a body whose beginning has been looked at, as they came."""

    def __init__(self, raw: HTTPResponse) -> None:
        self._raw = raw
        self._error: HTTPError | None = None
        self._is_closed = False
        head = bytearray()
        try:
            # In small parts: what came before an error is the caller's all the same.
            while len(head) < BODY_BYTES and (part := self._read_raw(_PART_BYTES)):
                head += part
        except HTTPError as error:
            self._error = error
        self.head = bytes(head)
        self._left = self.head

    @property
    def closed(self) -> bool:
        return self._is_closed

    def read(self, amount: int | None = None) -> bytes:
        if amount is not None and amount >= 0:
            return self._take(amount) or self._more(amount)
        return self._take(len(self._left)) + self._more(None)

    def read1(self, amount: int = -1) -> bytes:
        amount = _PART_BYTES if amount < 0 else amount
        return self._take(amount) or self._more(amount)

    def close(self) -> None:
        self._is_closed = True
        self._raw.close()
        self._raw.release_conn()

    def _take(self, amount: int) -> bytes:
        taken, self._left = self._left[:amount], self._left[amount:]
        return taken

    def _more(self, amount: int | None) -> bytes:
        if self._error is not None:
            raise self._error
        more = bytes(self._raw.read(amount, decode_content=False))
        if amount is None:
            self.close()  # or urllib3 asks for more for ever
        return more

    def _read_raw(self, amount: int) -> bytes:
        # urllib3 1 has no read1.
        read = getattr(self._raw, "read1", self._raw.read)
        return bytes(read(amount, decode_content=False))


def _peek(response: requests.Response) -> bytes:
    """The beginning of a body that the caller wants to stream; it still gets all of it."""
    raw = response.raw
    if not isinstance(raw, HTTPResponse):
        return b""
    rest = _Rest(raw)
    # One of urllib3's own, so that each way to read it is there and decodes.
    response.raw = _over(rest, raw)
    decoded = _over(io.BytesIO(rest.head), raw)
    try:
        return bytes(decoded.read(BODY_BYTES, decode_content=True))
    except HTTPError:
        return b""


def _over(body: Any, raw: HTTPResponse) -> HTTPResponse:
    """A response like `raw` with another source of bytes, which are free of chunks."""
    response = HTTPResponse(
        body=body, headers=raw.headers, status=raw.status, version=raw.version,
        reason=raw.reason, preload_content=False, decode_content=raw.decode_content,
        original_response=raw._original_response, retries=raw.retries,
        enforce_content_length=False, request_url=raw.geturl(),
    )  # fmt: skip
    response.chunked = False
    return response


def _body(request: requests.PreparedRequest) -> bytes | None:
    if isinstance(request.body, str):
        return request.body.encode()
    return request.body if isinstance(request.body, bytes) else None


def _header_pairs(response: requests.Response) -> list[tuple[str, str]]:
    """Repeated headers one by one: `response.headers` has joined them."""
    raw = getattr(response.raw, "headers", None)
    return list((response.headers if raw is None else raw).items())


def _within(timeout: Any, permit: Permit) -> Any:
    """The timeout, with no longer a wait for a connection than is allowed."""
    if timeout is None or isinstance(timeout, (int, float)):
        timeout = (timeout, timeout)
    if not isinstance(timeout, tuple):
        return timeout  # of urllib3's: whoever gives it knows what it says
    return (connect_within(timeout[0], permit.expires_in), timeout[1])


def _certainly_not_sent(error: requests.RequestException) -> bool:
    if isinstance(error, requests.ConnectTimeout):
        return True
    cause = error.args[0] if error.args else None
    if isinstance(cause, MaxRetryError):
        cause = cause.reason
    return isinstance(cause, NewConnectionError)
