"""For `requests`: every request of a session takes its quota first.

session = requests.Session()
quotagate.requests.mount(session, client, org="00D000000000001EAA")
salesforce = simple_salesforce.Salesforce(..., session=session)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import requests
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3.exceptions import HTTPError, MaxRetryError, NewConnectionError
from urllib3.util.retry import Retry

from quotagate import _errors
from quotagate._answer import BODY_BYTES, Answer
from quotagate._client import Client, Permit
from quotagate._errors import QuotaError
from quotagate._http import Quota, sooner, translated
from quotagate._model import Report, TrafficClass
from quotagate._rules import Rules, salesforce_rules

__all__ = ["QuotaAdapter", "mount"]


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
            return self._inner.send(request, stream=stream, timeout=timeout, **options)
        try:
            permit = self._client.acquire(**self._quota.request(call))
        except QuotaError as error:
            raise self._as_ours(error, request) from error
        with permit:
            try:
                ordinal = permit.start()
            except QuotaError as error:
                raise self._as_ours(error, request) from error
            try:
                response = self._inner.send(
                    request, stream=stream, timeout=_within(timeout, permit), **options
                )
            except requests.RequestException as error:
                if _certainly_not_sent(error):
                    permit.not_sent(ordinal)
                raise
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


class _Replay:
    """A raw response whose beginning has been looked at."""

    def __init__(self, raw: Any, head: bytes) -> None:
        self._raw = raw
        self._head = head

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def read(self, amount: int | None = None, **options: Any) -> bytes:
        if not self._head:
            return bytes(self._raw.read(amount, **options))
        if amount is None:
            head, self._head = self._head, b""
            return head + bytes(self._raw.read(**options))
        head, self._head = self._head[:amount], self._head[amount:]
        return head

    def stream(self, amount: int = 65536, **options: Any) -> Iterator[bytes]:
        head, self._head = self._head, b""
        for at in range(0, len(head), amount):
            yield head[at : at + amount]
        yield from self._raw.stream(amount, **options)


def _peek(response: requests.Response) -> bytes:
    """The beginning of a body that the caller wants to stream; it still gets all of it."""
    try:
        head = bytes(response.raw.read(BODY_BYTES, decode_content=True))
    except HTTPError:
        return b""
    response.raw = _Replay(response.raw, head)
    return head


def _body(request: requests.PreparedRequest) -> bytes | None:
    if isinstance(request.body, str):
        return request.body.encode()
    return request.body if isinstance(request.body, bytes) else None


def _header_pairs(response: requests.Response) -> list[tuple[str, str]]:
    """Repeated headers one by one: `response.headers` has joined them."""
    raw = getattr(response.raw, "headers", None)
    return list((response.headers if raw is None else raw).items())


def _within(timeout: Any, permit: Permit) -> Any:
    """The timeout, with no longer a wait for a connection than the permit lives."""
    if timeout is None or isinstance(timeout, (int, float)):
        timeout = (timeout, timeout)
    if not isinstance(timeout, tuple):
        return timeout  # of urllib3's: whoever gives it knows what it says
    return (sooner(timeout[0], permit.expires_in), timeout[1])


def _certainly_not_sent(error: requests.RequestException) -> bool:
    if isinstance(error, requests.ConnectTimeout):
        return True
    cause = error.args[0] if error.args else None
    if isinstance(cause, MaxRetryError):
        cause = cause.reason
    return isinstance(cause, NewConnectionError)
