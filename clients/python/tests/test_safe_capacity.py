"""No outage overruns this process's part of a limit, whatever happens in it."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from quotagate import LimitUsage, safe
from quotagate._outage import PERMIT_LIFE, Outage, Question, Spent

QUESTION = Question("acme", "", "op", "ann")
SHARE, PROCESSES, WINDOW, SLOTS = 17, 3, 7.0, 9
PART = SHARE // PROCESSES
TRANSIT = 5.0


def limit(name: str, kind: str, most: int, share: int, window: float) -> LimitUsage:
    return LimitUsage(
        name, kind, "EXECUTION_USER", "ann", most, 0, 0, 0, 0, 0, most, window, False, share
    )


@dataclass
class Call:
    """A call that was started: it arrives some time between its start and `latest`."""

    units: int
    started: float
    deadline: float
    spent: Spent
    answered: float | None = None
    reads_late: bool = False

    @property
    def arrival(self) -> float:
        latest = self.deadline + TRANSIT if self.answered is None else self.answered
        return latest if self.reads_late else self.started


@dataclass
class World:
    outage: Outage
    now: float = 0.0
    calls: list[Call] = field(default_factory=list)
    unstarted: list[tuple[float, int, Spent]] = field(default_factory=list)


def known(*limits: LimitUsage) -> Outage:
    outage = Outage()
    outage.decided(QUESTION, "ann", limits)
    return outage


events = st.lists(
    st.tuples(
        st.sampled_from(["acquire", "start", "answer", "fail", "release"]),
        st.floats(0, 4),
        st.integers(1, 4),
        st.booleans(),
    ),
    max_size=80,
)


@given(events, st.integers(1, 3))
@settings(max_examples=400, deadline=None)
def test_no_window_holds_more_than_the_part(
    steps: list[tuple[str, float, int, bool]], cost: int
) -> None:
    world = World(known(limit("w", "WINDOW", 90, SHARE, WINDOW)))
    for kind, pause, number, late in steps:
        world.now += pause
        apply(world, kind, number, late, cost)
    arrivals = sorted((call.arrival, call.units) for call in world.calls)
    for first, _ in arrivals:
        within = sum(units for at, units in arrivals if first <= at < first + WINDOW)
        assert within <= PART


@given(events)
@settings(max_examples=200, deadline=None)
def test_no_more_slots_than_the_part_are_taken(steps: list[tuple[str, float, int, bool]]) -> None:
    world = World(known(limit("s", "CONCURRENCY", 25, SLOTS, 600.0)))
    for kind, pause, number, late in steps:
        world.now += pause
        apply(world, kind, number, late, 1)
    for call in world.calls:
        running = [
            other
            for other in world.calls
            if other.started <= call.started
            and (other.answered is None or other.answered > call.started)
        ]
        assert len(running) <= SLOTS // PROCESSES


def apply(world: World, kind: str, number: int, late: bool, cost: int) -> None:
    if kind == "acquire":
        grant = world.outage.grant(safe(PROCESSES), QUESTION, number, 1, cost, world.now)
        if grant is not None:
            deadline = world.now + PERMIT_LIFE
            world.unstarted += [(deadline, cost, spent) for spent in grant.spent]
    elif kind == "start" and world.unstarted:
        deadline, units, spent = world.unstarted.pop(number % len(world.unstarted))
        if world.now < deadline:
            world.calls.append(Call(units, world.now, deadline, spent, reads_late=late))
    elif kind in ("answer", "fail"):
        # An answer comes in time: a call that runs on has certainly arrived by then.
        running = [call for call in world.calls if call.answered is None]
        if running:
            call = running[number % len(running)]
            world.outage.answered(call.spent, 503 if kind == "fail" else 200, world.now)
            if kind == "answer" and world.now <= call.deadline + TRANSIT:
                call.answered = world.now
    elif kind == "release" and world.unstarted:
        world.outage.unsent(world.unstarted.pop()[2])


def test_what_is_not_known_or_has_no_share_is_closed() -> None:
    rows: list[tuple[tuple[LimitUsage, ...], int]] = [
        ((), 0),
        ((limit("w", "WINDOW", 90, 0, WINDOW),), 0),
        ((limit("w", "WINDOW", 90, 2, WINDOW),), 0),
        ((limit("cap", "WINDOW", 0, 0, WINDOW), limit("w", "WINDOW", 90, 9, WINDOW)), 3),
        ((limit("v", "WINDOW", 90, 3, WINDOW), limit("w", "WINDOW", 90, 90, WINDOW)), 1),
    ]
    for limits, calls in rows:
        grant = known(*limits).grant(safe(PROCESSES), QUESTION, 3, 1, 1, 0.0)
        assert (0 if grant is None else grant.calls) == calls, limits
    assert Outage().grant(safe(1), QUESTION, 1, 1, 1, 0.0) is None
