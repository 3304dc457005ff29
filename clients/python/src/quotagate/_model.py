"""What the service tells, as values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from quotagate.v1 import quota_pb2 as pb

TrafficClass: TypeAlias = Literal["bulk", "event", "interactive", "control"]
"""Who waits for a call; `bulk` pauses first, `control` never by a workspace's cap."""

_CLASSES: dict[str, pb.TrafficClass] = {
    "bulk": pb.TRAFFIC_CLASS_BULK,
    "event": pb.TRAFFIC_CLASS_EVENT,
    "interactive": pb.TRAFFIC_CLASS_INTERACTIVE,
    "control": pb.TRAFFIC_CLASS_CONTROL,
}


@dataclass(frozen=True, slots=True)
class LimitUsage:
    """One limit as it stands, in units."""

    name: str
    """Its name in the catalogue."""
    kind: str
    """`WINDOW`: at most `max` units in every `window`; `CONCURRENCY`: at the same time."""
    scope: str
    """`ORG`, `WORKSPACE` or `EXECUTION_USER`."""
    identity: str
    """The org, workspace or execution user."""
    max: int
    """0 for a workspace without a cap."""
    used_by_caller: int
    used_by_others: int
    """The rest of the counter: other workspaces, and foreign."""
    foreign: int
    """The estimate of what other integrations use; part of `used_by_others`."""
    held: int
    reserved: int
    remaining: int
    window: float
    """Seconds; for slots, the longest time that a call may hold one."""
    stale: bool
    outage_share: int
    """Units of `max` that the service never grants: for clients to use by
    themselves while it cannot be reached. 0 where there is none."""
    shadow: bool = False
    """It is counted and shown, and refuses nothing."""

    @classmethod
    def _of(cls, message: pb.LimitUsage) -> LimitUsage:
        return cls(
            name=message.name,
            kind=name_of(pb.LimitKind, message.kind, "LIMIT_KIND_"),
            scope=name_of(pb.LimitScope, message.scope, "LIMIT_SCOPE_"),
            identity=message.identity,
            max=message.max,
            used_by_caller=message.used_by_caller,
            used_by_others=message.used_by_others,
            foreign=message.foreign,
            held=message.held,
            reserved=message.reserved,
            remaining=message.remaining,
            window=message.window.ToNanoseconds() / 1e9,
            stale=message.stale,
            outage_share=message.outage_share,
            shadow=message.HasField("shadow"),
        )


@dataclass(frozen=True, slots=True)
class ClassStatus:
    """One traffic class of a workspace."""

    traffic_class: str
    paused: bool
    pauses_at_percent: int
    resumes_below_percent: int


@dataclass(frozen=True, slots=True)
class Warned:
    """What a workspace is warned of: a state for machines, a sentence for people."""

    kind: str
    """`APPROACHING_LIMIT` or `LIMIT_REACHED`."""
    text: str


@dataclass(frozen=True, slots=True)
class ClassState:
    """A workspace's traffic classes and warnings; empty where no workspace was named."""

    classes: tuple[ClassStatus, ...] = ()
    warnings: tuple[Warned, ...] = ()

    @classmethod
    def _of(cls, message: pb.ClassState) -> ClassState:
        return cls(
            classes=tuple(
                ClassStatus(
                    traffic_class=name_of(
                        pb.TrafficClass, status.traffic_class, "TRAFFIC_CLASS_"
                    ).lower(),
                    paused=status.state == pb.CLASS_RUN_STATE_PAUSED,
                    pauses_at_percent=status.pauses_at_percent,
                    resumes_below_percent=status.resumes_below_percent,
                )
                for status in message.classes
            ),
            warnings=tuple(
                Warned(name_of(pb.WarningKind, w.kind, "WARNING_KIND_"), w.text)
                for w in message.warnings
            ),
        )


@dataclass(frozen=True, slots=True)
class Released:
    """What a release gave back."""

    returned_calls: int
    already_settled: bool


@dataclass(frozen=True, slots=True)
class Report:
    """What the service says to an answer that was reported."""

    advice: Literal["CONTINUE", "BACK_OFF", "STOP"]
    """`CONTINUE`; `BACK_OFF`: wait before the next call; `STOP`: somebody must
    mend something first."""
    back_off: float | None = None
    """Seconds to wait, for `BACK_OFF`."""
    already_settled: bool = False
    class_state: ClassState = ClassState()
    delivered: bool = True
    """False where the service could not be told yet: it is tried again in the
    background, and nothing is known of its advice."""

    @classmethod
    def _of(cls, message: pb.ReportResponse) -> Report:
        advices: dict[int, Literal["CONTINUE", "BACK_OFF", "STOP"]] = {
            pb.ADVICE_BACK_OFF: "BACK_OFF",
            pb.ADVICE_STOP: "STOP",
        }
        return cls(
            advice=advices.get(message.advice, "CONTINUE"),
            back_off=(
                message.back_off.ToNanoseconds() / 1e9 if message.HasField("back_off") else None
            ),
            already_settled=message.already_settled,
            class_state=ClassState._of(message.class_state),
        )


def name_of(kinds: Any, number: int, prefix: str) -> str:
    """The name of an enum's number without its prefix. A newer server may have numbers that
    have no name here: an answer is an answer all the same, and shows them as they are."""
    try:
        return str(kinds.Name(number)).removeprefix(prefix)
    except ValueError:
        return str(number)


def limits_of(messages: Iterable[pb.LimitUsage]) -> tuple[LimitUsage, ...]:
    """The messages as values."""
    return tuple(map(LimitUsage._of, messages))


def class_number(traffic_class: str) -> pb.TrafficClass:
    """The number of a class's name.

    Raises:
        ValueError: there is no such class.
    """
    try:
        return _CLASSES[traffic_class]
    except KeyError:
        known = ", ".join(_CLASSES)
        raise ValueError(f"traffic_class must be one of {known}, is {traffic_class!r}") from None
