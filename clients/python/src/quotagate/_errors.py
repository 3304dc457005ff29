"""What can be raised. All of it can be pickled, so that it crosses processes."""

from __future__ import annotations

from typing import Any

from quotagate._model import ClassState, LimitUsage


class QuotaError(Exception):
    """The base of everything that this package raises by itself."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Subclasses have arguments of their own, and some a second base with
        # others: the attributes are what counts.
        return (_restore, (type(self), self.args, self.__dict__))


class Denied(QuotaError):
    """The service said no: that is an answer, and nothing was charged."""

    def __init__(
        self,
        message: str,
        *,
        reason: str,
        retry_after: float | None,
        limit: LimitUsage | None,
        limits: tuple[LimitUsage, ...],
        class_state: ClassState,
        queue_position: int,
    ) -> None:
        super().__init__(message)
        self.message = message
        """One sentence for people."""
        self.reason = reason
        """`EXECUTION_USER_LIMIT`, `WORKSPACE_CLASS_PAUSED`, `WORKSPACE_LIMIT`, `ORG_LIMIT`,
        `CONCURRENCY_LIMIT`, `COOLING_DOWN` or `QUEUE_FULL`."""
        self.retry_after = retry_after
        """Seconds until it is useful to try again; None where nobody can know, or where
        it can never be granted."""
        self.limit = limit
        """The limit that binds: the one that frees last."""
        self.limits = limits
        """Every limit that the request touches."""
        self.class_state = class_state
        self.queue_position = queue_position
        """The place at which the wait ended, from 1; 0 if it did not wait."""


class Unavailable(QuotaError):
    """Nothing could be decided in time, and the outage policy lets no call through."""

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code
        """The gRPC status, for example `UNAVAILABLE` or `DEADLINE_EXCEEDED`."""


class PermitExpired(QuotaError):
    """A call must not start: the permit's life is over, or all its calls are started."""


class RequestRefused(QuotaError):
    """The service does not take this request; to repeat it is of no use."""

    def __init__(self, message: str, *, code: str, fields: tuple[tuple[str, str], ...]) -> None:
        super().__init__(message)
        self.code = code
        """The gRPC status, for example `INVALID_ARGUMENT`."""
        self.fields = fields
        """Each wrong field, and what is wrong with it."""


class InvalidRequest(RequestRefused):
    """A field is wrong."""


class NotFound(RequestRefused):
    """There is no such operation; or org, workspace or user, where unknown ones are refused."""


class PermissionDenied(RequestRefused):
    """The caller lacks the right."""


class Unauthenticated(RequestRefused):
    """The caller has not said who it is."""


def _restore(
    kind: type[QuotaError], args: tuple[Any, ...], attributes: dict[str, Any]
) -> QuotaError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(attributes)
    return error
