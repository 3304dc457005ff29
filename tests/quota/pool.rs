//! Which user of the pool makes the calls, where the caller leaves it open.

use quotagate::quota::{AskError, Charge, DenialReason, Permit, Unknown};

use crate::bench::*;

fn served_by(permit: &Permit) -> &str {
    permit.user.as_ref().map_or("nobody", |user| user.as_str())
}

#[test]
fn the_user_with_most_room_serves() {
    let mut bench = Bench::of(org().pool(&["alice", "bob", "carol"]));
    bench.grant(ask(READ).by("alice").calls(10));
    bench.grant(ask(READ).by("carol").calls(5));
    assert_eq!(served_by(&bench.grant(ask(READ).calls(6))), "bob");
    // 80, 84 and 85 are left.
    assert_eq!(served_by(&bench.grant(ask(READ))), "carol");
}

#[test]
fn ties_are_broken_by_id() {
    let mut bench = Bench::of(org().pool(&["carol", "bob", "alice"]));
    let served: Vec<String> =
        (0..4).map(|_| served_by(&bench.grant(ask(READ))).to_owned()).collect();
    assert_eq!(served, ["alice", "bob", "carol", "alice"]);
}

#[test]
fn a_workspace_keeps_its_user_while_half_of_its_max_is_left() {
    let mut bench = Bench::of(org().pool(&["alice", "bob"]));
    assert_eq!(served_by(&bench.grant(ask(READ).of("w"))), "alice");
    assert_eq!(served_by(&bench.grant(ask(READ).of("w").calls(44))), "alice", "89 are left");
    assert_eq!(served_by(&bench.grant(ask(READ).of("w"))), "alice", "45 of 90 are left");
    assert_eq!(served_by(&bench.grant(ask(READ).of("w"))), "bob", "44 of 90 are left");
    assert_eq!(served_by(&bench.grant(ask(READ).of("w"))), "bob");
}

#[test]
fn each_workspace_has_a_user_of_its_own() {
    let mut bench = Bench::of(org().pool(&["alice", "bob"]));
    assert_eq!(served_by(&bench.grant(ask(READ).of("one").calls(2))), "alice");
    assert_eq!(served_by(&bench.grant(ask(READ).of("two"))), "bob");
    assert_eq!(served_by(&bench.grant(ask(READ).of("one").calls(3))), "alice");
    assert_eq!(served_by(&bench.grant(ask(READ).of("two"))), "bob");
}

#[test]
fn without_a_workspace_no_user_is_kept() {
    let mut bench = Bench::of(org().pool(&["alice", "bob"]));
    assert_eq!(served_by(&bench.grant(ask(READ))), "alice");
    assert_eq!(served_by(&bench.grant(ask(READ))), "bob");
}

#[test]
fn a_user_must_have_room_in_all_its_windows() {
    let both = vec![per_user("few", 2, HOUR), per_user("many", 90, MINUTE)];
    let few = vec![per_user("few", 2, HOUR)];
    let operations = catalogue(vec![("both", both), ("few", few)]);
    let mut bench = Bench::with(org().pool(&["alice", "bob"]), operations, Default::default());
    bench.grant(ask("few").by("alice").calls(2));
    assert_eq!(served_by(&bench.grant(ask("both"))), "bob");
    // Room is that of the tightest window.
    assert_eq!(served_by(&bench.grant(ask("both"))), "bob");
    assert_eq!(bench.deny(ask("both")).reason, DenialReason::ExecutionUserLimit);
}

#[test]
fn where_none_has_room_the_user_with_the_shortest_wait_is_asked_for() {
    let mut bench = Bench::of(org().pool(&["alice", "bob"]));
    bench.grant(ask(READ).by("bob").calls(90));
    bench.advance(secs(10));
    bench.grant(ask(READ).by("alice").calls(90));
    let denial = bench.deny(ask(READ));
    let binding = denial.limit.expect("a limit binds");
    assert_eq!(&*binding.identity, "bob");
    assert_eq!(denial.retry_after, Some(secs(60)), "5 s of life, 5 s to travel, 60 s, less 10 s");
    let waiter = bench.park(ask(READ).waiting(MINUTE * 2));
    bench.advance(secs(61));
    assert_eq!(served_by(&bench.woken(waiter)), "bob");
}

#[test]
fn a_request_too_big_for_one_user_is_not_divided() {
    let mut bench = Bench::of(org().pool(&["alice", "bob"]));
    let denial = bench.deny(ask(READ).calls(91));
    assert_eq!(denial.retry_after, None);
    assert_eq!(bench.grant(ask(READ).calls(91).at_least(1)).calls, 90);
}

/// A waiting request kept the pool as it was when it came.
#[test]
fn a_user_who_joins_the_pool_serves_those_who_wait() {
    let mut bench = Bench::of(org());
    bench.grant(ask(READ).calls(90));
    let waiter = bench.park(ask(READ).waiting(MINUTE));
    bench.change(|policy| policy.pool.push(user("bob")));
    assert_eq!(served_by(&bench.woken(waiter)), "bob");
}

#[test]
fn a_user_who_leaves_the_pool_serves_nobody_any_more() {
    let mut bench = Bench::of(org().pool(&["alice", "bob"]));
    let permit = bench.grant(ask(READ).of("w"));
    assert_eq!(served_by(&permit), "alice");
    bench.change(|policy| policy.pool = vec![user("bob")]);
    assert_eq!(served_by(&bench.grant(ask(READ).of("w"))), "bob");
    // Its permits stay valid, and its counters are known.
    assert!(!bench.report(&permit, answered(1)).already_settled);
    assert_eq!(spent(&bench.of_user("alice", "entries")), 1);
}

/// A waiting request was granted by a user who had left the pool.
#[test]
fn a_user_who_leaves_the_pool_does_not_serve_those_who_wait() {
    let mut bench = Bench::of(org().pool(&["alice", "bob"]));
    bench.grant(ask(READ).by("alice").calls(90));
    bench.advance(secs(10));
    bench.grant(ask(READ).by("bob").calls(90));
    let waiter = bench.park(ask(READ).waiting(MINUTE * 2));
    bench.change(|policy| policy.pool = vec![user("bob")]);
    bench.advance(secs(61));
    assert!(bench.still_waits(waiter), "alice would be free");
    bench.advance(secs(10));
    assert_eq!(served_by(&bench.woken(waiter)), "bob");
}

#[test]
fn those_who_wait_hear_that_they_cannot_be_served_any_more() {
    let mut bench = Bench::of(org());
    bench.grant(ask(READ).calls(90));
    bench.grant(ask(READ).by("stranger").calls(90));
    let by_pool = bench.park(ask(READ).waiting(MINUTE));
    let by_name = bench.park(ask(READ).by("stranger").waiting(MINUTE));
    bench.change(|policy| {
        policy.pool.clear();
        policy.unknown_users = Unknown::Refuse;
    });
    let failed = |error| Some(quotagate::quota::Outcome::Failed(error));
    assert_eq!(bench.answer(by_pool), failed(AskError::NoUser));
    assert_eq!(bench.answer(by_name), failed(AskError::UnknownUser));
}

#[test]
fn an_operation_that_charges_no_user_leaves_the_pool_alone() {
    let mut bench = Bench::of(org().pool(&["alice", "bob"]));
    assert_eq!(served_by(&bench.grant(ask(REST))), "nobody");
    assert_eq!(served_by(&bench.grant(ask(REST).by("alice"))), "alice");
}

#[test]
fn a_named_user_is_charged_together_with_the_org_or_not_at_all() {
    let read_and_total = vec![Charge::org_total(), per_user("entries", 2, MINUTE)];
    let operations = catalogue(vec![("read", read_and_total)]);
    let mut bench = Bench::with(org(), operations, Default::default());
    bench.grant(ask("read").calls(2));
    let before = bench.usage();
    bench.deny(ask("read"));
    assert_eq!(bench.usage(), before);
    assert_eq!(spent(&bench.total()), 2);
}

/// A refusal that was about the same moment, and said less, opened a user after
/// seconds whom a Retry-After had closed for an hour.
#[test]
fn what_is_closed_for_long_is_not_opened_earlier_by_another_refusal() {
    let mut bench = Bench::of(org().pool(&["alice", "bob"]));
    let (first, second) =
        (bench.grant(ask(DELETE).by("alice")), bench.grant(ask(DELETE).by("alice")));
    let trouble = quotagate::quota::salesforce::errors::Trouble::of(429, "", "", Some(HOUR));
    bench.report(&first, quotagate::quota::Report { trouble, ..report(0, 1, 429) });
    bench.advance(secs(1));
    bench.report(&second, refused(403, "REQUEST_LIMIT_EXCEEDED", "Limit exceeded."));
    assert!(
        bench.deny(ask(DELETE).by("alice")).retry_after.expect("it is known") >= HOUR - secs(1)
    );
}
