"""What Salesforce answered, as it is reported."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

from quotagate import _clock

BODY_BYTES = 64 * 1024
"""So much of an error's body is read."""

_MESSAGE_BYTES = 1024
_LIMIT_INFO_VALUES = 8
_LIMIT_INFO_BYTES = 1024


class HttpResponse(Protocol):
    """A response of `requests` or `httpx`, or one that is like them."""

    @property
    def status_code(self) -> int: ...
    @property
    def headers(self) -> Any: ...
    @property
    def content(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one call, or that there was none."""

    http_status: int = 0
    """0 if no answer came: the call counts as sent all the same."""
    error_code: str = ""
    """Salesforce's `errorCode`."""
    error_message: str = ""
    limit_info: tuple[str, ...] = ()
    """The values of Sforce-Limit-Info, as they came."""
    retry_after: float | None = None
    """Seconds."""
    answer_time: float | None = None
    """The answer's Date, in seconds since 1970."""
    completed_at: float = field(default_factory=_clock.now, compare=False)
    """When it came, on the monotonic clock."""

    @classmethod
    def of(cls, response: HttpResponse) -> Answer:
        """The answer that a response is; its body is read where it is an error."""
        body = response.content if response.status_code >= 400 else b""
        return cls.from_http(response.status_code, header_pairs(response.headers), body)

    @classmethod
    def from_http(
        cls, status: int, headers: Iterable[tuple[str, str]], body: bytes = b""
    ) -> Answer:
        """The answer with this status and these headers, each value by itself.

        `body` matters from status 400 on; what is beyond 64 KiB is not looked at.
        """
        completed_at = _clock.now()
        values: dict[str, list[str]] = {}
        for name, value in headers:
            values.setdefault(name.lower(), []).append(value)
        answer_time = _http_date(values.get("date", [""])[0])
        code, message = _error_of(body[:BODY_BYTES]) if status >= 400 else ("", "")
        limit_info = [
            value
            for value in values.get("sforce-limit-info", [])
            if len(value.encode()) <= _LIMIT_INFO_BYTES
        ]
        return cls(
            http_status=status,
            error_code=code,
            error_message=message,
            limit_info=tuple(limit_info[:_LIMIT_INFO_VALUES]),
            retry_after=_retry_after(values.get("retry-after", [""])[0], answer_time),
            answer_time=answer_time,
            completed_at=completed_at,
        )


def header_pairs(headers: Any) -> list[tuple[str, str]]:
    """The headers of whatever library, repeated ones by themselves where it keeps them so."""
    if hasattr(headers, "multi_items"):  # httpx
        return [(str(name), str(value)) for name, value in headers.multi_items()]
    return [(str(name), str(value)) for name, value in headers.items()]


def _error_of(body: bytes) -> tuple[str, str]:
    """`errorCode` and message of an error's body; of any other body its beginning."""
    text = body.decode("utf-8", errors="replace")
    try:
        parsed: object = json.loads(text)
    except (ValueError, RecursionError):
        return "", _cut(text)
    first = parsed[0] if isinstance(parsed, list) and parsed else parsed
    if isinstance(first, dict):
        for code, message in (("errorCode", "message"), ("error", "error_description")):
            if isinstance(first.get(code), str):
                said = first.get(message)
                return _cut(first[code], 256), _cut(said if isinstance(said, str) else "")
    return "", _cut(text)


def _cut(text: str, most: int = _MESSAGE_BYTES) -> str:
    return text.encode("utf-8", errors="replace")[:most].decode("utf-8", errors="ignore")


def _retry_after(value: str, answer_time: float | None) -> float | None:
    if value.strip().isascii() and value.strip().isdigit():
        return float(min(int(value[:12]), 366 * 24 * 3600))
    at = _http_date(value)
    if at is None:
        return None
    return max(0.0, at - (_clock.wall() if answer_time is None else answer_time))


def _http_date(value: str) -> float | None:
    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
