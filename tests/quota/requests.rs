//! A request that is repeated under its own name.

use quotagate::quota::{AskError, Outcome};

use crate::bench::*;

#[test]
fn a_repeat_gets_the_same_permit_with_the_life_that_is_left() {
    let mut bench = Bench::of(org());
    let first = bench.grant(ask(READ).named("r"));
    bench.advance(secs(2));
    let again = bench.grant(ask(READ).named("r"));
    assert_eq!(again.key, first.key);
    assert_eq!(again.calls, first.calls);
    assert_eq!(again.user, first.user);
    assert_eq!((first.life_left, again.life_left), (secs(5), secs(3)));
    assert_eq!(spent(&bench.of_user("alice", "entries")), 1);
}

#[test]
fn a_name_is_remembered_until_the_permits_expiry() {
    let mut bench = Bench::of(org());
    let first = bench.grant(ask(READ).named("r"));
    bench.advance(secs(5) - ms(1));
    assert_eq!(bench.grant(ask(READ).named("r")).key, first.key);
    bench.advance(ms(1));
    assert_ne!(bench.grant(ask(READ).named("r")).key, first.key);
    assert_eq!(spent(&bench.of_user("alice", "entries")), 2);
}

#[test]
fn a_name_belongs_to_its_caller() {
    let mut bench = Bench::of(org());
    let mine = bench.grant(ask(READ).named_by("me", "r", 1));
    let yours = bench.grant(ask(READ).named_by("you", "r", 1));
    assert_ne!(mine.key, yours.key);
}

/// The digest of the body was taken for a part of the name: a name with another
/// body was granted another permit.
#[test]
fn the_same_name_with_another_body_is_an_error() {
    let mut bench = Bench::of(org().pool(&["alice", "bob"]));
    bench.grant(ask(READ).by("alice").named_by("me", "r", 1));
    let error = bench.fail(ask(READ).by("bob").named_by("me", "r", 2));
    assert_eq!(error, AskError::RequestIdReused);

    bench.grant(ask(READ).by("bob").calls(90));
    bench.park(ask(READ).by("bob").waiting(MINUTE).named_by("me", "waits", 1));
    let error = bench.fail(ask(READ).by("bob").named_by("me", "waits", 2));
    assert_eq!(error, AskError::RequestIdReused);

    bench.advance(secs(5));
    bench.grant(ask(READ).by("alice").named_by("me", "r", 2));
}

/// The end of a permit that still held slots made the ledger forget the name,
/// though it stood for a later permit by then.
#[test]
fn the_end_of_an_earlier_permit_does_not_forget_a_name() {
    let mut bench = Bench::of(org());
    bench.grant(ask(LONG).lasting(secs(60)).named("r"));
    // The first permit is known for 60 + 5 + 600 s, for its slot.
    bench.advance(secs(640));
    let second = bench.grant(ask(LONG).lasting(secs(60)).named("r"));
    bench.advance(secs(30));
    assert_eq!(bench.grant(ask(LONG).lasting(secs(60)).named("r")).key, second.key);
}

#[test]
fn denials_are_not_remembered() {
    let mut bench = Bench::of(org());
    let full = bench.grant(ask(READ).calls(90));
    bench.deny(ask(READ).named_by("me", "r", 1));
    bench.release(&full, None);
    // Even with another body.
    bench.grant(ask(READ).calls(2).named_by("me", "r", 2));
}

#[test]
fn a_repeat_while_the_first_waits_joins_it() {
    let mut bench = Bench::of(org());
    let full = bench.grant(ask(READ).calls(90));
    let first = bench.park(ask(READ).waiting(secs(30)).named("r"));
    let again = bench.park(ask(READ).waiting(secs(30)).named("r"));
    assert_eq!(first, again);
    assert_eq!(bench.ledger.waiting(), 1);
    bench.release(&full, None);
    bench.advance(MINUTE / 1_000);
    let permit = bench.woken(first);
    assert_eq!(bench.grant(ask(READ).waiting(secs(30)).named("r")).key, permit.key);
}

#[test]
fn a_wait_that_ended_in_vain_is_decided_anew() {
    let mut bench = Bench::of(org());
    bench.grant(ask(READ).calls(90));
    let waiter = bench.park(ask(READ).waiting(secs(3)).named("r"));
    bench.advance(secs(3));
    assert!(matches!(bench.answer(waiter), Some(Outcome::Denied(_))));
    let other = bench.park(ask(READ).waiting(secs(3)).named("r"));
    assert_ne!(waiter, other);
}

#[test]
fn a_check_ignores_the_name() {
    let mut bench = Bench::of(org());
    let check = bench.grant(ask(READ).named_by("me", "r", 1).check_only());
    assert_eq!(check.key, None);
    let permit = bench.grant(ask(READ).named_by("me", "r", 2));
    assert!(permit.key.is_some());
    assert_eq!(bench.grant(ask(READ).named_by("me", "r", 3).check_only()).key, None);
}

/// Calls that had been given back, and granted again to somebody else, were
/// handed out a second time to whoever repeated the first request.
#[test]
fn a_repeat_does_not_hand_out_what_was_given_back() {
    let mut bench = Bench::of(org());
    let first = bench.grant(ask(READ).calls(90).named("r"));
    bench.release(&first, Some(60));
    assert_eq!(bench.grant(ask(READ).calls(90).named("r")).calls, 30);

    let mut bench = Bench::of(org());
    let first = bench.grant(ask(READ).calls(90).named("r"));
    bench.release(&first, None);
    bench.grant(ask(READ).calls(90));
    bench.deny(ask(READ).calls(90).named("r"));
}
