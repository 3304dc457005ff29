//! A check says why: each limit that an ask touches, and what it leaves.

use std::time::Duration;

use quotagate::quota::{Ask, Class, LimitExplanation, Outcome, WorkspacePolicy};

use crate::bench::*;

fn explained(bench: &mut Bench, ask: Ask) -> Vec<LimitExplanation> {
    match bench.decide(ask.check_only()) {
        Outcome::Granted(permit) => permit.explanation,
        Outcome::Denied(denial) => denial.explanation,
        Outcome::Failed(error) => panic!("{error}"),
    }
}

#[test]
fn every_limit_is_named_with_what_it_leaves_and_the_binding_one_is_marked() {
    let policy = org().capped("w", 5_000).keeping(5);
    let guarantee = WorkspacePolicy { guaranteed_calls: 500, ..WorkspacePolicy::default() };
    let mut bench = Bench::of(policy.workspace("v", guarantee));
    let used = bench.grant(ask(REST).of("w").class(Class::Interactive).calls(2_000));
    bench.report(&used, answered(2_000));
    bench.read(5_000, 15_000);
    let bulk = ask(REST).of("w").class(Class::Bulk).calls(20).at_least(5);
    let explanation = explained(&mut bench, bulk);
    let [cap, total] = &explanation[..] else { panic!("{explanation:#?}") };

    assert!(cap.binding);
    assert_eq!((cap.room, cap.needed, cap.pauses_at), (0, 5, Some(2_000)));
    let wait = cap.opens_in.expect("it resumes");
    assert!(wait > DAY - MINUTE && wait < DAY + MINUTE, "{wait:?}");
    assert!(
        cap.text.starts_with(
            "2000 of 5000 used in 1 d, bulk is paused since it reached 2000: 0 are free for bulk \
             calls, 5 are needed; they will be in "
        ),
        "{}",
        cap.text
    );

    assert!(!total.binding);
    assert_eq!((total.room, total.kept, total.opens_in), (8_750, 500, Some(Duration::ZERO)));
    let held = total.usage.held;
    assert_eq!(
        total.text,
        format!(
            "5000 of 15000 used in 1 d, {held} more are set aside, 750 are kept for other \
             integrations, 500 are kept for workspace v: 8750 are free for bulk calls"
        )
    );
}

#[test]
fn of_a_permit_the_limit_that_cuts_it_short_binds() {
    let mut bench = Bench::of(org().capped("w", 100));
    let event = |calls| ask(REST).of("w").calls(calls).at_least(1);
    let binding = |explanation: &[LimitExplanation]| {
        let binds: Vec<bool> = explanation.iter().map(|about| about.binding).collect();
        binds
    };
    assert_eq!(binding(&explained(&mut bench, event(80))), [false, false]);
    assert_eq!(binding(&explained(&mut bench, event(81))), [true, false]);
}

#[test]
fn who_is_ahead_is_said_and_control_passes_the_cap() {
    let mut bench = Bench::of(org().slots(1).capped("w", 100));
    bench.grant(ask(LONG));
    bench.park(ask(LONG).class(Class::Interactive).waiting(secs(60)));
    let explanation = explained(&mut bench, ask(LONG).of("w").class(Class::Control));
    assert_eq!(explanation.iter().map(|about| about.ahead).collect::<Vec<_>>(), [0, 0, 0]);
    assert!(explanation[0].text.ends_with("it does not stop control calls"), "{explanation:#?}");
    let explanation = explained(&mut bench, ask(LONG).of("w"));
    let slots = explanation.last().expect("the slots");
    assert_eq!((slots.ahead, slots.room, slots.opens_in, slots.binding), (1, 0, None, true));
    assert_eq!(
        slots.text,
        "1 of 1 slots are taken, requests ahead wait for 1: 0 are free for event calls, 1 are \
         needed, and nobody can say when they will be"
    );
}

#[test]
fn a_limit_in_shadow_says_what_it_would_do_and_never_binds() {
    let policy =
        WorkspacePolicy { daily_calls: Some(10), shadow: true, ..WorkspacePolicy::default() };
    let mut bench = Bench::of(org().workspace("w", policy));
    bench.grant(ask(REST).of("w").calls(10));
    let explanation = explained(&mut bench, ask(REST).of("w"));
    assert!(!explanation[0].binding);
    assert_eq!(explanation[0].room, 0);
    assert!(explanation[0].text.ends_with("it is in shadow and refuses nothing"));
}

#[test]
fn only_checks_are_explained() {
    let mut bench = Bench::of(org());
    assert!(bench.grant(ask(REST)).explanation.is_empty());
    assert!(bench.deny(ask(REST).calls(10_000).costing(2)).explanation.is_empty());
}
