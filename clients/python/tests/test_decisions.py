"""What a client makes of the service's answers, and keeps of them for an outage."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

import quotagate
from quotagate._core import Core, Grant
from quotagate.v1 import quota_pb2 as pb

ORG = ("00D3h000007R1Lu", "00D3h000007R1LuEAK")
USER = ("0053V000000vD5q", "0053V000000vD5qQAE")


class World:
    """A client's core, and the answers that it is given."""

    def __init__(self) -> None:
        self._core = Core("127.0.0.1:1", None, 1.0, quotagate.safe(processes=1))

    def told(self, response: pb.AcquireResponse, org: str = "acme", user: str = "") -> Grant:
        return self._core.decide(self._ask(org, user, 1), response)

    def refused(self, denial: pb.Denial, user: str = "") -> quotagate.Denied:
        with pytest.raises(quotagate.Denied) as denied:
            self.told(pb.AcquireResponse(denial=denial), user=user)
        return denied.value

    def room(self, org: str = "acme", user: str = "") -> int:
        """How many calls an outage lets through now."""
        try:
            return self._core.undecided(self._ask(org, user, 100), grpc.RpcError()).calls
        except quotagate.Unavailable:
            return 0

    def _ask(self, org: str, user: str, calls: int) -> Any:
        return self._core.ask(org, "op", "", user, "event", calls, 1, 0, 0.0, None, None)


def limit(scope: int, identity: str, share: int, **more: Any) -> pb.LimitUsage:
    found = pb.LimitUsage(
        name="calls", scope=scope, kind=pb.LIMIT_KIND_WINDOW, identity=identity,  # type: ignore[arg-type]
        max=100, outage_share=share, **more,
    )  # fmt: skip
    found.window.FromSeconds(60)
    return found


def permit(*limits: pb.LimitUsage, user: str = "") -> pb.AcquireResponse:
    return pb.AcquireResponse(
        permit=pb.Permit(permit_id="p", calls=1, execution_user=user, limits=limits)
    )


ORG_LIMIT = limit(pb.LIMIT_SCOPE_ORG, "acme", 20)
USER_LIMIT = limit(pb.LIMIT_SCOPE_EXECUTION_USER, "ann", 5)


@pytest.mark.parametrize("reason", [pb.DENIAL_REASON_QUEUE_FULL, pb.DENIAL_REASON_ORG_LIMIT])
def test_a_denial_that_names_fewer_limits_widens_nothing(reason: pb.DenialReason) -> None:
    world = World()
    world.told(permit(ORG_LIMIT, USER_LIMIT, user="ann"))
    world.refused(pb.Denial(reason=reason, limits=[ORG_LIMIT]))
    assert world.room() == 5


@pytest.mark.parametrize("user", ["", "ann"])
def test_a_full_queue_tells_nothing_of_the_limits(user: str) -> None:
    world = World()
    world.refused(pb.Denial(reason=pb.DENIAL_REASON_QUEUE_FULL, limits=[ORG_LIMIT]), user)
    assert world.room(user=user) == 0


def test_a_denial_of_a_known_user_tells_the_limits() -> None:
    for user in ("", "ann"):
        world = World()
        denial = pb.Denial(reason=pb.DENIAL_REASON_ORG_LIMIT, limits=[ORG_LIMIT, USER_LIMIT])
        world.refused(denial, user)
        assert world.room(user=user) == 5


def test_an_answer_without_limits_is_closed_and_forgets_nothing() -> None:
    world = World()
    world.told(permit())
    assert world.room() == 0
    world.told(permit(ORG_LIMIT))
    world.told(permit())
    assert world.room() == 20


def test_both_spellings_of_an_id_share_their_log() -> None:
    world = World()
    found = permit(limit(pb.LIMIT_SCOPE_ORG, ORG[1], 20), user=USER[1])
    for org in ORG:
        for user in USER:
            world.told(found, org, user)
    assert [world.room(org, user) for org in ORG for user in USER] == [20, 0, 0, 0]


@pytest.mark.parametrize(
    ("spelled", "is_same"),
    [
        (ORG[1].lower(), False),  # the first 15 characters have their case
        (ORG[1][:15] + "eak", True),
        (ORG[1][:15] + "EAA", False),
        (ORG[1][:17], False),
        ("x" + ORG[1][1:], False),
    ],
)
def test_only_an_id_has_two_spellings(spelled: str, is_same: bool) -> None:
    world = World()
    world.told(permit(limit(pb.LIMIT_SCOPE_ORG, ORG[1], 20)), ORG[0])
    assert (world.room(spelled) == 20) == is_same


def test_a_limit_in_shadow_refuses_nothing() -> None:
    world = World()
    shadow = limit(pb.LIMIT_SCOPE_EXECUTION_USER, "ann", 0, shadow=pb.Shadow())
    granted = world.told(permit(ORG_LIMIT, shadow, user="ann"))
    assert [limit.shadow for limit in granted.limits] == [False, True]
    assert world.room() == 20


def test_what_a_newer_server_calls_by_numbers_is_shown_as_they_are() -> None:
    strange: Any = 99
    usage = pb.LimitUsage(name="n", kind=strange, scope=strange, max=1)
    state = pb.ClassState(
        classes=[pb.ClassStatus(traffic_class=strange)],
        warnings=[pb.Warning(kind=strange, text="!")],
    )
    denied = World().refused(pb.Denial(reason=strange, limits=[usage], class_state=state))
    assert denied.reason == "99"
    assert [(x.kind, x.scope) for x in denied.limits] == [("99", "99")]
    assert denied.class_state.classes[0].traffic_class == "99"
    assert denied.class_state.warnings[0].kind == "99"
