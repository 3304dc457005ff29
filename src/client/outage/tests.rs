//! However calls come and go, no window sees more of them than the share allows.

use proptest::prelude::*;

use super::*;

const WINDOW: Duration = Duration::from_secs(2);

fn at(ms: u64) -> Moment {
    Moment::from_start(Duration::from_millis(ms))
}

fn limit(name: &str, kind: LimitKind, max: u64, share: u64) -> LimitUsage {
    LimitUsage {
        name: name.into(),
        kind: kind.into(),
        scope: LimitScope::ExecutionUser.into(),
        identity: "ann".into(),
        max,
        window: WINDOW.try_into().ok(),
        outage_share: share,
        ..LimitUsage::default()
    }
}

fn windowed(share: u64) -> LimitUsage {
    limit("entries", LimitKind::Window, 90, share)
}

fn ask(calls: u32) -> Ask {
    Ask::new("acme", "entries.get").calls(calls)
}

fn processes(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).expect("some")
}

/// What one question is allowed after the service has named these limits.
#[track_caller]
fn check(limits: &[LimitUsage], ask: &Ask, number: u32, allowed: Option<u32>) {
    let mut shares = Shares::default();
    shares.learn(ask, "ann", limits);
    let leave = shares.take(at(0), ask, processes(number));
    assert_eq!(leave.ok().map(|leave| leave.calls), allowed, "{limits:?} {ask:?} {number}");
}

#[test]
fn each_process_has_its_part_of_every_limit_rounded_down() {
    let slots = |share| limit("long", LimitKind::Concurrency, 5, share);
    for (limits, asked, number, allowed) in [
        (vec![windowed(18)], ask(9), 2, Some(9)),
        (vec![windowed(18)], ask(10), 2, None),
        (vec![windowed(18)], ask(10).min_calls(1), 2, Some(9)),
        (vec![windowed(18)], ask(1), 19, None),
        (vec![windowed(18)], ask(3).cost(3), 2, Some(3)),
        (vec![windowed(18)], ask(4).cost(3), 2, None),
        // A limit without a share gives nothing; a workspace without a cap bounds
        // nothing.
        (vec![windowed(0)], ask(1), 1, None),
        (vec![windowed(18), limit("calls", LimitKind::Window, 0, 0)], ask(18), 1, Some(18)),
        (vec![windowed(18), limit("calls", LimitKind::Window, 15_000, 0)], ask(1), 1, None),
        (vec![windowed(18), slots(1)], ask(1).cost(5), 1, Some(1)),
        (vec![windowed(18), slots(1)], ask(2), 1, None),
        (vec![], ask(1), 1, None),
    ] {
        check(&limits, &asked, number, allowed);
    }
}

#[test]
fn a_question_that_was_never_answered_is_closed() {
    let mut shares = Shares::default();
    shares.learn(&ask(1), "ann", &[windowed(18)]);
    let one = processes(1);
    for other in [
        Ask::new("other", "entries.get"),
        Ask::new("acme", "other"),
        ask(1).workspace("eu"),
        ask(1).execution_user("bob"),
    ] {
        assert!(shares.take(at(0), &other, one).is_err(), "{other:?}");
    }
    let leave = shares.take(at(0), &ask(1), one).expect("it is known");
    assert_eq!(leave.execution_user, "ann", "whose limits they are");
}

#[test]
fn questions_that_touch_the_same_limit_share_its_part() {
    let mut shares = Shares::default();
    let other = Ask::new("acme", "entries.list").calls(9);
    for ask in [&ask(9), &other] {
        shares.learn(ask, "ann", &[windowed(18)]);
        shares.take(at(0), ask, processes(1)).expect("there is room");
    }
    assert!(shares.take(at(0), &ask(1), processes(1)).is_err());
    // Forgetting what was learnt does not forget what was used.
    for number in 0..=MAX_QUESTIONS {
        shares.learn(&Ask::new(format!("o{number}"), "rest"), "", &[windowed(18)]);
    }
    shares.learn(&ask(1), "ann", &[windowed(18)]);
    assert!(shares.take(at(0), &ask(1), processes(1)).is_err());
}

#[test]
fn calls_leave_when_they_were_answered_or_cannot_be_made_any_more() {
    let one = processes(1);
    let mut shares = Shares::default();
    shares.learn(&ask(1), "ann", &[windowed(3)]);
    let leave = shares.take(at(0), &ask(3), one).expect("there is room");
    shares.answered(leave.ticket, 1, at(100));
    shares.unused(leave.ticket, 1);
    shares.take(at(100), &ask(1), one).expect("one came back");
    assert!(shares.take(at(2_099), &ask(1), one).is_err());
    shares.take(at(2_100), &ask(1), one).expect("one was answered a window ago");
    // The one of which nothing was heard: expiry, margin, window.
    assert!(shares.take(at(11_999), &ask(1), one).is_err());
    shares.take(at(12_000), &ask(1), one).expect("it has left");
    // Settled twice is settled once, and an answer that is told late brings nothing
    // back.
    shares.answered(leave.ticket, 9, at(12_000));
    assert!(shares.logs.values().all(|log| log.iter().all(|one| one.ticket != leave.ticket)));
}

#[test]
fn a_slot_is_free_when_its_call_is_answered() {
    let one = processes(1);
    let mut shares = Shares::default();
    shares.learn(&ask(1), "ann", &[limit("long", LimitKind::Concurrency, 5, 1)]);
    let leave = shares.take(at(0), &ask(1), one).expect("there is room");
    assert!(shares.take(at(500), &ask(1), one).is_err());
    shares.answered(leave.ticket, 1, at(600));
    shares.take(at(600), &ask(1), one).expect("it is free");
}

/// What a caller does next, and how long after the last.
#[derive(Clone, Copy, Debug)]
enum Step {
    Take {
        calls: u32,
    },
    /// The oldest call is made, and answered after so many ms.
    Answer {
        after_ms: u64,
    },
    /// The oldest call is not made.
    Unused,
    /// The oldest call is made at its last moment, and nothing is heard of it.
    Lost,
}

fn step() -> impl Strategy<Value = (u64, Step)> {
    let step = prop_oneof![
        4 => (1_u32..4).prop_map(|calls| Step::Take { calls }),
        3 => (0_u64..4_000).prop_map(|after_ms| Step::Answer { after_ms }),
        1 => Just(Step::Unused),
        1 => Just(Step::Lost),
    ];
    (0_u64..1_500, step)
}

proptest! {
    #[test]
    fn no_window_sees_more_calls_than_the_share(
        share in 1_u64..20,
        number in 1_u32..5,
        steps in proptest::collection::vec(step(), 1..200),
    ) {
        let mut shares = Shares::default();
        shares.learn(&ask(1), "ann", &[windowed(share)]);
        let (mut now, mut open, mut made) = (0, Vec::new(), Vec::new());
        for (pause, step) in steps {
            now += pause;
            match step {
                Step::Take { calls } => {
                    let asked = ask(calls).min_calls(1);
                    if let Ok(leave) = shares.take(at(now), &asked, processes(number)) {
                        open.extend((0..leave.calls).map(|_| (now, leave.ticket)));
                    }
                }
                Step::Answer { after_ms } if !open.is_empty() => {
                    let (taken, ticket) = open.remove(0);
                    // It was started in time, at the latest moment that is.
                    let answered = (taken + after_ms).min(now);
                    made.push(answered);
                    shares.answered(ticket, 1, at(answered));
                }
                Step::Unused if !open.is_empty() => {
                    shares.unused(open.remove(0).1, 1);
                }
                Step::Lost if !open.is_empty() => {
                    let (taken, _) = open.remove(0);
                    made.push(taken + 9_999);
                }
                _ => {}
            }
        }
        made.extend(open.iter().map(|(taken, _)| taken + 9_999));
        made.sort_unstable();
        let part = usize::try_from(share / u64::from(number)).expect("small");
        for (first, start) in made.iter().enumerate() {
            let within = made[first..].iter().take_while(|call| **call < start + 2_000).count();
            prop_assert!(within <= part, "{within} of {part} from {start}: {made:?}");
        }
    }
}
