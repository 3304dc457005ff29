//! The answer to an Acquire, written without the messages of which it is made: there
//! are some twenty of them in a permit over three limits, each with memory of its own.
//! That is what callers wait for before each of their calls. The bytes are those that
//! prost would write: tests hold them to be the same.

use std::time::Duration;

use prost::Message as _;

use super::{class_status, decided, warning, wire_duration, wire_kind, wire_moment, wire_scope};
use crate::{
    node::{Decided, Decision, PermitId},
    proto::v1,
    quota::{ClassState, ClassStatus, LimitUsage, Now, Permit, UserId},
    rpc::backwards::Backwards,
};

/// Writes an `AcquireResponse`.
pub fn write(out: &mut Backwards, answer: Decided) {
    let Decided { decision, now } = answer;
    match decision {
        Decision::Permit { id, ttl, permit } if permit.explanation.is_empty() => {
            out.message(1, |out| write_permit(out, id.as_ref(), ttl, &permit, now));
        }
        // A caller that is refused has nothing to hurry for, one that checks neither.
        decision => out.raw(&decided(Decided { decision, now }).encode_to_vec()),
    }
}

fn write_permit(
    out: &mut Backwards,
    id: Option<&PermitId>,
    ttl: Duration,
    permit: &Permit,
    now: Now,
) {
    // All of them are named, so that a new one is not forgotten here.
    let Permit {
        key: _,
        epoch: _,
        calls,
        user,
        decided: _,
        life_left: _,
        class_state,
        limits,
        explanation: _,
    } = permit;
    for limit in limits.iter().rev() {
        out.message(6, |out| write_limit(out, limit, now));
    }
    if let Some(state) = class_state {
        out.message(5, |out| write_classes(out, state, now));
    }
    out.message(4, |out| write_duration(out, ttl));
    out.text(3, user.as_ref().map_or("", UserId::as_str));
    out.number(2, *calls);
    if let Some(id) = id {
        // A text stands on the wire as a message does.
        out.message(1, |out| {
            out.raw(id.org.as_str().as_bytes());
            out.raw(&id.head());
        });
    }
}

/// A `LimitUsage`; how long it lasts is not said with a permit.
fn write_limit(out: &mut Backwards, usage: &LimitUsage, now: Now) {
    let LimitUsage {
        name,
        kind,
        scope,
        identity,
        max,
        used_by_caller,
        used_by_others,
        foreign,
        held,
        reserved,
        outage_share,
        remaining,
        window,
        stale,
        shadow,
        cooling_until,
        burn_per_hour,
        exhausted_at: _,
        opens_at: _,
    } = usage;
    out.number(18, *outage_share);
    if let Some(until) = cooling_until {
        let until = wire_moment(*until, now);
        out.message(17, |out| write_seconds(out, until.seconds, until.nanos));
    }
    if let Some(would_have_refused) = shadow {
        out.message(16, |out| out.number(1, *would_have_refused));
    }
    out.number(14, *burn_per_hour);
    out.number(13, *stale);
    out.message(12, |out| write_duration(out, *window));
    out.number(11, *remaining);
    out.number(10, *reserved);
    out.number(9, *held);
    out.number(8, *foreign);
    out.number(7, *used_by_others);
    out.number(6, *used_by_caller);
    out.number(5, *max);
    out.text(4, identity);
    write_enum(out, 3, wire_scope(*scope));
    write_enum(out, 2, wire_kind(*kind));
    out.text(1, name.as_str());
}

fn write_classes(out: &mut Backwards, state: &ClassState, now: Now) {
    let ClassState { classes, warnings } = state;
    for told in warnings.iter().rev() {
        // Hardly anybody has one.
        let bytes = warning(told.clone()).encode_to_vec();
        out.message(2, |out| out.raw(&bytes));
    }
    for status in classes.iter().rev() {
        out.message(1, |out| write_class(out, *status, now));
    }
}

fn write_class(out: &mut Backwards, status: ClassStatus, now: Now) {
    // No part of it has memory of its own.
    let v1::ClassStatus { traffic_class, state, since, pauses_at_percent, resumes_below_percent } =
        class_status(status, now);
    out.number(5, resumes_below_percent);
    out.number(4, pauses_at_percent);
    if let Some(since) = since {
        out.message(3, |out| write_seconds(out, since.seconds, since.nanos));
    }
    write_enum(out, 2, state);
    write_enum(out, 1, traffic_class);
}

fn write_duration(out: &mut Backwards, time: Duration) {
    let time = wire_duration(time);
    write_seconds(out, time.seconds, time.nanos);
}

/// A `Duration` or a `Timestamp`; ours are never negative.
fn write_seconds(out: &mut Backwards, seconds: i64, nanos: i32) {
    out.number(2, nanos.unsigned_abs());
    out.number(1, seconds.unsigned_abs());
}

fn write_enum(out: &mut Backwards, field: u64, number: impl Into<i32>) {
    out.number(field, number.into().unsigned_abs());
}

#[cfg(test)]
mod tests {
    use proptest::{option, prelude::*};

    use super::*;
    use crate::quota::{Class, Kind, LimitName, Mono, OrgId, PermitKey, Scope, Wall, Warning};

    const NOW: Now = Now { mono: Mono(1 << 50), wall: Wall(1_700_000_000_000_000) };

    fn moment() -> impl Strategy<Value = Mono> {
        (0..1_u64 << 40).prop_map(|ago| Mono((1 << 50) - ago))
    }

    fn time() -> impl Strategy<Value = Duration> {
        (0..1_u64 << 45).prop_map(Duration::from_micros)
    }

    fn limit() -> impl Strategy<Value = LimitUsage> {
        let numbers = prop::array::uniform9(prop_oneof![Just(0), any::<u64>()]);
        let others = (any::<bool>(), option::of(any::<u64>()), option::of(moment()), time());
        let scope = prop::sample::select(vec![Scope::Org, Scope::Workspace, Scope::ExecutionUser]);
        ("[a-z]{1,30}", "[A-Za-z0-9]{0,150}", scope, any::<bool>(), numbers, others).prop_map(
            |(name, identity, scope, has_window, numbers, others)| {
                let [max, used_by_caller, used_by_others, foreign, held, ..] = numbers;
                let [.., reserved, outage_share, remaining, burn_per_hour] = numbers;
                let (stale, shadow, cooling_until, window) = others;
                LimitUsage {
                    name: LimitName::parse(&name).expect("a name"),
                    kind: if has_window { Kind::Window } else { Kind::Concurrency },
                    scope,
                    identity: identity.into(),
                    max,
                    used_by_caller,
                    used_by_others,
                    foreign,
                    held,
                    reserved,
                    outage_share,
                    remaining,
                    window,
                    stale,
                    shadow,
                    cooling_until,
                    burn_per_hour,
                    exhausted_at: None,
                    opens_at: None,
                }
            },
        )
    }

    fn classes() -> impl Strategy<Value = ClassState> {
        let class = prop::sample::select(Class::ALL.to_vec());
        let status = (class, any::<bool>(), option::of(moment()), 0_u32..200, any::<u32>())
            .prop_map(|(class, paused, since, pauses_at_percent, resumes_below_percent)| {
                ClassStatus { class, paused, since, pauses_at_percent, resumes_below_percent }
            });
        let warning = (any::<bool>(), ".{0,40}").prop_map(|(is_reached, text)| {
            if is_reached { Warning::LimitReached(text) } else { Warning::ApproachingLimit(text) }
        });
        (prop::collection::vec(status, 0..4), prop::collection::vec(warning, 0..3))
            .prop_map(|(classes, warnings)| ClassState { classes: classes.into(), warnings })
    }

    proptest! {
        #[test]
        fn a_permit_is_written_as_prost_writes_it(
            id in option::of(("[a-z-]{1,64}", any::<u64>(), any::<u64>())),
            (calls, ttl) in (any::<u32>(), time()),
            user in option::of("[a-z]{1,20}"),
            class_state in option::of(classes()),
            limits in prop::collection::vec(limit(), 0..6),
        ) {
            let permit = Permit {
                key: Some(PermitKey(7)),
                epoch: 1,
                calls,
                user: user.map(|user| UserId::parse(&user).expect("a user")),
                decided: NOW.mono,
                life_left: ttl,
                class_state,
                limits: limits.into(),
                explanation: Vec::new(),
            };
            let id = id.and_then(|(org, epoch, key)| {
                Some(PermitId { org: OrgId::parse(&org).ok()?, epoch, key: PermitKey(key) })
            });
            let decision = Decision::Permit { id, ttl, permit: Box::new(permit) };
            let answer = Decided { decision, now: NOW };
            let mut out = Backwards::with_room(64);
            write(&mut out, answer.clone());
            prop_assert_eq!(&*out.into_bytes(), &*decided(answer).encode_to_vec());
        }
    }
}
