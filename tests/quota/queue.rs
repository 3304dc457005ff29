//! Requests that wait: whose turn it is, what they hold, how a wait ends.

use std::time::Duration;

use quotagate::quota::{Answer, AskError, Class, Denial, DenialReason, Outcome, Rules, WaiterId};

use crate::bench::*;

/// The pause after which a minute's counter at its limit is reserved again.
const PAUSE: Duration = ms(60);

fn full() -> (Bench, quotagate::quota::Permit) {
    let mut bench = Bench::of(org());
    let permit = bench.grant(ask(READ).calls(90));
    (bench, permit)
}

#[track_caller]
fn denied(bench: &mut Bench, id: WaiterId) -> Denial {
    match bench.answer(id) {
        Some(Outcome::Denied(denial)) => denial,
        other => panic!("should have been denied, is {other:#?}"),
    }
}

fn patient() -> quotagate::quota::Ask {
    ask(READ).waiting(secs(600))
}

#[test]
fn a_waiting_request_is_woken_at_the_instant_at_which_there_is_room() {
    let (mut bench, _) = full();
    let waiter = bench.park(patient());
    bench.advance(secs(70) - Duration::from_micros(1));
    assert!(bench.still_waits(waiter));
    bench.advance(Duration::from_micros(1));
    bench.woken(waiter);
}

#[test]
fn the_classes_are_served_strictly_in_order_and_within_a_class_by_arrival() {
    let mut bench = Bench::of(org());
    let permits: Vec<_> = (0..9).map(|_| bench.grant(ask(READ).calls(10))).collect();
    let arrivals = [
        Class::Bulk,
        Class::Event,
        Class::Interactive,
        Class::Control,
        Class::Bulk,
        Class::Event,
        Class::Interactive,
        Class::Control,
    ];
    let waiters = arrivals.map(|class| bench.park(patient().class(class).calls(10)));
    for (permit, served) in permits.iter().zip([3, 7, 2, 6, 1, 5, 0, 4]) {
        bench.release(permit, None);
        bench.advance(PAUSE);
        bench.woken(waiters[served]);
    }
    assert_eq!(bench.ledger.waiting(), 0);
}

#[test]
fn the_head_holds_the_counters_that_it_lacks() {
    let mut bench = Bench::of(org());
    bench.grant(ask(READ).calls(45));
    bench.advance(secs(20));
    bench.grant(ask(READ).calls(40));
    // Five are left: not enough for the head, but it is the head's turn.
    let large = bench.park(patient().calls(10));
    let denial = bench.deny(ask(READ));
    assert_eq!(denial.reason, DenialReason::ExecutionUserLimit);
    bench.deny(ask(READ).class(Class::Bulk));
    let behind = bench.park(patient().calls(5));
    // A higher class does not queue behind it.
    bench.grant(ask(READ).class(Class::Interactive));
    assert!(bench.still_waits(large) && bench.still_waits(behind));
    bench.advance(secs(51));
    assert_eq!(bench.woken(large).calls, 10);
    assert_eq!(bench.woken(behind).calls, 5);
}

#[test]
fn others_pass_the_head() {
    let mut bench = Bench::of(org().pool(&["alice", "bob"]));
    bench.grant(ask(READ).by("alice").calls(90));
    let head = bench.park(patient().by("alice"));
    bench.grant(ask(READ).by("bob").calls(90));
    bench.grant(ask(REST));
    assert!(bench.still_waits(head));
}

#[test]
fn a_counter_that_the_head_has_enough_of_is_not_held() {
    let both = vec![per_org("wide", 100, MINUTE), per_user("narrow", 1, MINUTE)];
    let wide = vec![per_org("wide", 100, MINUTE)];
    let operations = catalogue(vec![("both", both), ("wide", wide)]);
    let mut bench = Bench::with(org(), operations, Rules::default());
    bench.grant(ask("both"));
    let head = bench.park(ask("both").waiting(secs(600)));
    bench.grant(ask("wide").calls(99));
    assert!(bench.still_waits(head));
}

#[test]
fn large_requests_do_not_starve() {
    let mut bench = Bench::of(org());
    for _ in 0..9 {
        bench.grant(ask(READ).calls(10));
        bench.advance(secs(1));
    }
    let large = bench.park(patient().calls(60));
    let mut small = Vec::new();
    for _ in 0..20 {
        small.push(bench.park(patient()));
        bench.advance(secs(3));
    }
    // The sixth permit's calls leave 5 + 70 s after the first grant.
    bench.advance(secs(6) + PAUSE);
    bench.woken(large);
    assert!(small.iter().any(|id| bench.still_waits(*id)));
}

#[test]
fn a_wait_ends_with_a_place_and_an_estimate() {
    let mut bench = Bench::of(org());
    bench.grant(ask(DELETE).calls(10));
    let waits = [60, 60, 60, 600];
    let waiters = waits.map(|seconds| bench.park(ask(DELETE).waiting(secs(seconds))));
    let hasty = bench.park(ask(DELETE).waiting(secs(60)));
    bench.advance(secs(60));
    let first_turn = secs(30 + 5) + HOUR - secs(60);
    for (place, waiter) in (1..).zip(&waiters[..3]) {
        let denial = denied(&mut bench, *waiter);
        assert_eq!((denial.queue_position, denial.retry_after), (place, Some(first_turn)));
    }
    assert!(bench.still_waits(waiters[3]));
    assert_eq!(denied(&mut bench, hasty).queue_position, 5);
}

#[test]
fn those_further_back_wait_for_several_windows() {
    let mut bench = Bench::of(org());
    bench.grant(ask(DELETE).calls(10));
    for _ in 0..20 {
        bench.park(ask(DELETE).waiting(secs(600)));
    }
    let first_turn = secs(30 + 5) + HOUR;
    assert_eq!(bench.deny(ask(DELETE)).retry_after, Some(first_turn + HOUR * 2));
    let ahead_of_all = ask(DELETE).class(Class::Interactive);
    assert_eq!(bench.deny(ahead_of_all).retry_after, Some(first_turn));
}

#[test]
fn who_does_not_wait_has_no_place() {
    let (mut bench, _) = full();
    bench.park(patient());
    assert_eq!(bench.deny(ask(READ)).queue_position, 0);
}

#[test]
fn so_many_wait_and_not_more() {
    let rules = Rules { max_waiting: 3, ..Rules::default() };
    let mut bench = Bench::with(org(), built_in(), rules);
    bench.grant(ask(READ).calls(90));
    let waiters = [0; 3].map(|_| bench.park(patient()));
    let denial = bench.deny(patient());
    assert_eq!(denial.reason, DenialReason::QueueFull);
    assert!(denial.limit.is_none() && denial.retry_after.is_some());
    assert_eq!(bench.deny(ask(READ)).reason, DenialReason::ExecutionUserLimit);
    bench.cancel(waiters[1]);
    bench.park(patient());
}

#[test]
fn the_node_may_have_too_many_waiting_already() {
    let (mut bench, _) = full();
    let Answer::Done(Outcome::Denied(denial)) =
        bench.ledger.acquire(bench.now.mono, patient(), 77, false)
    else {
        panic!("should be denied");
    };
    assert_eq!(denial.reason, DenialReason::QueueFull);
    // What waits for the store alone was not refused by a limit.
    let other = ask(DELETE);
    let answer = bench.ledger.acquire(bench.now.mono, other, 78, false);
    assert_eq!(answer, Answer::Done(Outcome::Failed(AskError::Overloaded)));
}

#[test]
fn a_client_that_goes_away_leaves_the_queue_and_holds_nothing() {
    let mut bench = Bench::of(org());
    bench.grant(ask(READ).calls(85));
    let head = bench.park(patient().calls(10));
    bench.deny(ask(READ));
    bench.cancel(head);
    assert_eq!(bench.ledger.waiting(), 0);
    bench.grant(ask(READ).calls(5));
    // Again changes nothing.
    bench.cancel(head);
    let before = bench.usage();
    bench.advance(secs(1));
    assert_eq!(bench.usage().waiting, before.waiting);
}

#[test]
fn those_behind_one_that_goes_away_are_decided_at_once() {
    let mut bench = Bench::of(org());
    bench.grant(ask(READ).calls(85));
    let head = bench.park(patient().calls(10));
    let behind = bench.park(patient().calls(5));
    bench.cancel(head);
    bench.woken(behind);
}

#[test]
fn a_released_permit_wakes_those_who_wait() {
    let (mut bench, permit) = full();
    let waiter = bench.park(patient());
    bench.advance(secs(1));
    bench.release(&permit, Some(1));
    bench.advance(PAUSE);
    bench.woken(waiter);
    bench.deny(ask(READ));
}

#[test]
fn a_partial_grant_ends_a_wait() {
    let mut bench = Bench::of(org());
    bench.grant(ask(READ).calls(80));
    bench.advance(secs(20));
    bench.grant(ask(READ).calls(10));
    let waiter = bench.park(patient().calls(90).at_least(50));
    bench.advance(secs(50));
    assert_eq!(bench.woken(waiter).calls, 80);
}

#[test]
fn an_owner_that_stops_tells_those_who_wait() {
    let (mut bench, _) = full();
    let waiter = bench.park(patient());
    bench.ledger.stop();
    bench.quiet();
    assert_eq!(bench.answer(waiter), Some(Outcome::Failed(AskError::NotOwner)));
    assert_eq!(bench.fail(ask(READ)), AskError::NotOwner);
}

#[test]
fn a_request_waits_for_the_store_for_two_seconds() {
    let mut bench = Bench::of(org());
    bench.withholds = true;
    let waiter = bench.park(ask(READ));
    bench.advance(secs(2) - ms(1));
    assert!(bench.still_waits(waiter));
    bench.advance(ms(1));
    assert_eq!(bench.answer(waiter), Some(Outcome::Failed(AskError::StoreTimeout)));
    assert_eq!(spent(&bench.of_user("alice", "entries")), 0);
}

#[test]
fn a_store_that_comes_back_in_time_is_not_noticed() {
    let mut bench = Bench::of(org());
    bench.withholds = true;
    let waiter = bench.park(ask(READ));
    bench.advance(secs(1));
    bench.withholds = false;
    bench.quiet();
    bench.woken(waiter);
}
