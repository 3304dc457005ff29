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
        if not self.reads_late:
            return self.started
        latest = self.deadline + TRANSIT
        return latest if self.answered is None else min(latest, self.answered)


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


# Mostly greedy: what there is room for is taken and sent at once, and pauses are about as
# long as a permit, a window, or both.
events = st.lists(
    st.tuples(
        st.sampled_from(["send", "send", "acquire", "start", "answer", "fail", "release"]),
        st.sampled_from([0.0, 0.0, 0.5, 1.0, 2.0, 4.9, 5.0, 6.9, 7.0, 9.9, 12.0, 16.9]),
        st.integers(1, 6),
        st.booleans(),
    ),
    min_size=2,
    max_size=30,
)


@given(events, st.integers(1, 3))
@settings(max_examples=300, deadline=None)
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
@settings(max_examples=100, deadline=None)
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
    if kind in ("acquire", "send"):
        grant = world.outage.grant(safe(PROCESSES), QUESTION, number, 1, cost, world.now)
        if grant is not None:
            deadline = world.now + PERMIT_LIFE
            world.unstarted += [(deadline, cost, spent) for spent in grant.spent]
    if kind in ("start", "send"):
        for deadline, units, spent in world.unstarted:
            if world.now < deadline:
                world.calls.append(Call(units, world.now, deadline, spent, reads_late=late))
        world.unstarted.clear()
    elif kind in ("answer", "fail"):
        running = [call for call in world.calls if call.answered is None]
        for call in running[:number]:
            world.outage.answered(call.spent, 503 if kind == "fail" else 200, world.now)
            if kind == "answer":
                call.answered = world.now
    elif kind == "release":
        for _, _, spent in world.unstarted:
            world.outage.unsent(spent)
        world.unstarted.clear()


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
