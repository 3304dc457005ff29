//! Names that nobody declared, and how many of them are kept.

use quotagate::quota::{AskError, Rules, Unknown};

use crate::bench::*;

#[test]
fn an_unknown_operation_is_an_error() {
    assert_eq!(Bench::of(org()).fail(ask("no-such")), AskError::UnknownOperation);
}

#[test]
fn an_unknown_workspace_is_counted_without_a_cap() {
    let mut bench = Bench::of(org());
    let permit = bench.grant(ask(REST).of("anybody").calls(100));
    assert_eq!(permit.class_state, None);
    assert_eq!(spent(&bench.cap("anybody")), 100);
}

#[test]
fn an_unknown_workspace_is_refused_where_the_policy_says_so() {
    let mut policy = org().capped("known", 100);
    policy.unknown_workspaces = Unknown::Refuse;
    let mut bench = Bench::of(policy);
    assert_eq!(bench.fail(ask(REST).of("anybody")), AskError::UnknownWorkspace);
    bench.grant(ask(REST).of("known"));
    bench.grant(ask(REST));
}

#[test]
fn a_user_outside_the_pool_has_a_bucket_of_its_own() {
    let mut bench = Bench::of(org());
    bench.grant(ask(READ).calls(90));
    bench.grant(ask(READ).by("stranger").calls(90));
    assert_eq!(spent(&bench.of_user("alice", "entries")), 90);
    assert_eq!(spent(&bench.of_user("stranger", "entries")), 90);
}

#[test]
fn an_unknown_user_is_refused_where_the_policy_says_so() {
    let mut policy = org();
    policy.unknown_users = Unknown::Refuse;
    let mut bench = Bench::of(policy);
    assert_eq!(bench.fail(ask(READ).by("stranger")), AskError::UnknownUser);
    bench.grant(ask(READ).by("alice"));
}

#[test]
fn an_operation_that_charges_a_user_needs_one() {
    let mut bench = Bench::of(org().pool(&[]));
    assert_eq!(bench.fail(ask(READ)), AskError::NoUser);
    bench.grant(ask(READ).by("stranger"));
    bench.grant(ask(REST));
}

/// Room for so many undeclared names was added to the number of declared ones,
/// used or not.
#[test]
fn a_thousand_undeclared_workspaces_are_kept_besides_the_declared() {
    let mut bench = Bench::of(org().capped("one", 100).capped("two", 100));
    for number in 0..1_000 {
        bench.grant(ask(REST).of(&format!("w{number}")));
    }
    assert_eq!(bench.fail(ask(REST).of("one-more")), AskError::TooManyNames);
    bench.grant(ask(REST).of("w7"));
    bench.grant(ask(REST).of("one"));
    bench.grant(ask(REST).of("two"));
    // Once their calls have left and their records are gone, they make room.
    bench.advance(DAY + secs(180));
    bench.sweep();
    bench.grant(ask(REST).of("one-more"));
}

#[test]
fn two_hundred_undeclared_users_are_kept_besides_the_pool() {
    let mut bench = Bench::of(org());
    for number in 0..200 {
        bench.grant(ask(READ).by(&format!("u{number}")));
    }
    assert_eq!(bench.fail(ask(READ).by("one-more")), AskError::TooManyNames);
    bench.grant(ask(READ).by("u7"));
    bench.grant(ask(READ).by("alice"));
    // An operation that charges no user keeps none.
    bench.grant(ask(REST).by("one-more"));
    bench.advance(secs(80));
    bench.sweep();
    bench.grant(ask(READ).by("one-more"));
}

/// To make room for a new user the ledger forgot names that nothing pointed to,
/// and with them those that the same ask had just made: its workspace's place
/// became its user's.
#[test]
fn making_room_for_a_user_does_not_forget_the_workspace_of_the_same_ask() {
    let rules = Rules { max_users: 1, ..Rules::default() };
    let mut bench = Bench::with(org(), built_in(), rules);
    bench.grant(ask(READ).by("first"));
    bench.grant(ask(READ).by("alice"));
    bench.advance(secs(80));
    // What has left is noticed, and the records are deleted; the names are known.
    bench.usage();
    bench.quiet();
    bench.grant(ask(READ).of("fresh").by("second").calls(3));
    assert_eq!(spent(&bench.of_user("second", "entries")), 3);
    assert_eq!(spent(&bench.cap("fresh")), 3);
}

#[test]
fn so_many_permits_are_out_and_not_more() {
    let rules = Rules { max_permits: 2, ..Rules::default() };
    let mut bench = Bench::with(org(), built_in(), rules);
    let first = bench.grant(ask(READ));
    bench.grant(ask(READ));
    assert_eq!(bench.fail(ask(READ)), AskError::TooManyPermits);
    assert_eq!(bench.usage().permits_out, 2);
    bench.grant(ask(READ).check_only());
    bench.advance(first.life_left);
    bench.grant(ask(READ));
}
