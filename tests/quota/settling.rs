//! How calls are settled: reports, releases, expiry, slots.

use std::time::Duration;

use quotagate::quota::{Class, DenialReason, Permit, Released, Report};

use crate::bench::*;

fn returned(calls: u32) -> Released {
    Released::Returned { calls, already_settled: false }
}

fn already(calls: u32) -> Released {
    Released::Returned { calls, already_settled: true }
}

fn reads(bench: &mut Bench) -> u64 {
    spent(&bench.of_user("alice", "entries"))
}

/// When the calls of a permit leave the minute's window, seen from its grant.
#[track_caller]
fn leave_after(mut bench: Bench, granted: quotagate::quota::Mono, expected: Duration) {
    let used = reads(&mut bench);
    assert!(used > 0);
    let elapsed = bench.now.mono.since(granted);
    bench.advance(expected - elapsed - Duration::from_micros(1));
    assert_eq!(reads(&mut bench), used, "should not have left before {expected:?}");
    bench.advance(Duration::from_micros(1));
    assert_eq!(reads(&mut bench), 0, "should have left after {expected:?}");
}

#[test]
fn a_call_leaves_a_window_after_its_stamp_the_window_and_the_time_to_travel() {
    let ago =
        |ms_ago, http_status| Report { completed_ago: ms(ms_ago), ..report(0, 1, http_status) };
    // (name, reported after, report, leaves after)
    let rows = [
        ("never reported", None, 5 + 60 + 5, 0),
        ("answered at once", Some((0, ago(0, 200))), 60, 0),
        ("answered after 2 s", Some((2_000, ago(0, 200))), 62, 0),
        ("answered 1.5 s before the report", Some((2_000, ago(1_500, 200))), 60, 500),
        ("answered before the grant, it says", Some((2_000, ago(9_000, 200))), 60, 0),
        ("refused calls count as used", Some((1_000, ago(0, 403))), 61, 0),
        ("429 too", Some((1_000, ago(0, 429))), 61, 0),
        ("100 is an answer", Some((1_000, ago(0, 100))), 61, 0),
        ("499 is an answer", Some((1_000, ago(0, 499))), 61, 0),
        ("500 is none", Some((1_000, ago(0, 500))), 70, 0),
        ("503 is none", Some((1_000, ago(0, 503))), 70, 0),
        ("no answer", Some((1_000, ago(0, 0))), 70, 0),
        ("answered just before the expiry", Some((4_999, ago(0, 200))), 64, 999),
        ("reported at the expiry", Some((5_000, ago(3_000, 200))), 70, 0),
        ("reported late", Some((6_000, ago(5_000, 200))), 70, 0),
    ];
    for (name, reported, seconds, millis) in rows {
        let mut bench = Bench::of(org());
        let granted = bench.now.mono;
        let permit = bench.grant(ask(READ));
        if let Some((after, report)) = reported {
            bench.advance(ms(after));
            let late = after >= 5_000;
            assert_eq!(bench.report(&permit, report).already_settled, late, "{name}");
        }
        println!("{name}");
        leave_after(bench, granted, secs(seconds) + ms(millis));
    }
}

#[test]
fn a_report_settles_the_calls_of_its_range_and_repeating_it_changes_nothing() {
    // Reports of a permit of ten calls, in order: (first, calls, status, already settled)
    type Row = (&'static str, &'static [(u32, u32, u16, bool)]);
    let rows: [Row; 8] = [
        ("one by one", &[(0, 1, 200, false), (1, 1, 200, false), (0, 1, 200, true)]),
        ("a repeat", &[(2, 3, 200, false), (2, 3, 200, true)]),
        (
            "an overlap has something new",
            &[(0, 5, 200, false), (3, 5, 200, false), (0, 8, 200, true)],
        ),
        (
            "beyond the permit",
            &[(8, 10, 200, false), (10, 1, 200, true), (4_000_000_000, 4_000_000_000, 200, true)],
        ),
        (
            "an answer after none is new",
            &[(0, 2, 0, false), (0, 2, 503, true), (0, 2, 200, false), (0, 2, 200, true)],
        ),
        ("no answer after one is not", &[(0, 2, 200, false), (0, 2, 0, true), (0, 3, 0, false)]),
        (
            "a hole is filled",
            &[(0, 2, 200, false), (4, 2, 200, false), (2, 2, 200, false), (0, 6, 200, true)],
        ),
        ("all at once", &[(0, 10, 200, false), (9, 1, 200, true)]),
    ];
    for (name, reports) in rows {
        let mut bench = Bench::of(org());
        let permit = bench.grant(ask(READ).calls(10));
        for (first, calls, status, settled) in reports {
            let reported = bench.report(&permit, report(*first, *calls, *status));
            assert_eq!(reported.already_settled, *settled, "{name}: {first} + {calls}, {status}");
            assert_eq!(reads(&mut bench), 10, "{name}: a report frees nothing at once");
        }
    }
}

/// A report of calls beyond a permit that was settled in part took the ledger
/// down.
#[test]
fn a_report_beyond_the_permit_changes_nothing() {
    let mut bench = Bench::of(org());
    let permit = bench.grant(ask(READ).calls(3));
    bench.report(&permit, answered(1));
    for first in [3, 4, u32::MAX] {
        assert!(bench.report(&permit, report(first, 1, 200)).already_settled);
        assert!(bench.report(&permit, report(first, u32::MAX, 0)).already_settled);
    }
    assert_eq!(bench.release(&permit, Some(9)), returned(2));
}

#[test]
fn each_call_leaves_by_its_own_report() {
    let mut bench = Bench::of(org());
    let permit = bench.grant(ask(READ).calls(3));
    bench.report(&permit, report(0, 1, 200));
    bench.advance(secs(3));
    bench.report(&permit, report(2, 1, 200));
    bench.advance(secs(57));
    assert_eq!(reads(&mut bench), 2, "60 s after the first report");
    bench.advance(secs(3));
    assert_eq!(reads(&mut bench), 1, "60 s after the second");
    bench.advance(secs(7));
    assert_eq!(reads(&mut bench), 0, "70 s after the grant");
}

#[test]
fn release_returns_what_was_never_sent() {
    // (reports as (first, calls, status), unused, answer, used afterwards) of ten calls
    type Row = (&'static str, &'static [(u32, u32, u16)], Option<u32>, Released, u64);
    let rows: [Row; 10] = [
        ("all of them", &[], None, returned(10), 0),
        ("some", &[], Some(4), returned(4), 6),
        ("none", &[], Some(0), returned(0), 10),
        ("more than there are", &[], Some(11), returned(10), 0),
        ("u32::MAX", &[], Some(u32::MAX), returned(10), 0),
        ("without a number after a report", &[(0, 1, 200)], None, Released::NumberNeeded, 10),
        ("without a number after none came back", &[(0, 1, 0)], None, Released::NumberNeeded, 10),
        ("what is left after reports", &[(0, 3, 200), (3, 1, 0)], Some(9), returned(6), 4),
        ("fewer than is left", &[(0, 3, 200)], Some(2), returned(2), 8),
        ("everything is reported", &[(0, 10, 200)], Some(1), returned(0), 10),
    ];
    for (name, reports, unused, answer, used) in rows {
        let mut bench = Bench::of(org());
        let permit = bench.grant(ask(READ).calls(10));
        for (first, calls, status) in reports {
            bench.report(&permit, report(*first, *calls, *status));
        }
        assert_eq!(bench.release(&permit, unused), answer, "{name}");
        assert_eq!(reads(&mut bench), used, "{name}");
        if let Released::Returned { calls, .. } = answer {
            for again in [None, Some(0), Some(3), Some(10)] {
                assert_eq!(bench.release(&permit, again), already(calls), "{name}, again");
            }
            assert_eq!(reads(&mut bench), used, "{name}, again");
        }
    }
}

#[test]
fn a_release_that_needs_a_number_can_be_repeated_with_one() {
    let mut bench = Bench::of(org());
    let permit = bench.grant(ask(READ).calls(10));
    bench.report(&permit, answered(2));
    assert_eq!(bench.release(&permit, None), Released::NumberNeeded);
    assert_eq!(bench.release(&permit, Some(8)), returned(8));
    assert_eq!(bench.release(&permit, None), already(8));
}

#[test]
fn release_takes_the_highest_calls_that_no_report_has_settled() {
    let mut bench = Bench::of(org());
    let permit = bench.grant(ask(READ).calls(10));
    // 0, 8 and 9 are settled: 7, 6 and 5 come back.
    bench.report(&permit, report(0, 1, 200));
    bench.report(&permit, report(8, 2, 0));
    assert_eq!(bench.release(&permit, Some(3)), returned(3));
    assert_eq!(reads(&mut bench), 7);
    for call in 5..8 {
        assert!(bench.report(&permit, report(call, 1, 200)).already_settled, "call {call}");
    }
    assert!(!bench.report(&permit, report(8, 2, 200)).already_settled, "an answer after none");
    assert!(!bench.report(&permit, report(0, 10, 200)).already_settled, "1 to 4 are new");
    assert!(bench.report(&permit, report(0, 10, 200)).already_settled);
    assert_eq!(reads(&mut bench), 7, "a late report for a returned call changes nothing");
}

#[test]
fn release_takes_the_highest_calls_on_both_sides_of_a_reported_one() {
    let mut bench = Bench::of(org());
    let permit = bench.grant(ask(READ).calls(10));
    bench.report(&permit, report(5, 1, 200));
    assert_eq!(bench.release(&permit, Some(5)), returned(5));
    assert!(bench.report(&permit, report(4, 6, 200)).already_settled, "9, 8, 7, 6 and 4");
    assert!(!bench.report(&permit, report(3, 1, 200)).already_settled);
}

#[test]
fn calls_neither_reported_nor_returned_can_be_reported_until_the_expiry() {
    let mut bench = Bench::of(org());
    let permit = bench.grant(ask(READ).calls(10));
    bench.release(&permit, Some(5));
    bench.advance(secs(5) - ms(1));
    assert!(!bench.report(&permit, report(0, 2, 200)).already_settled);
    bench.advance(ms(1));
    assert!(bench.report(&permit, report(2, 2, 200)).already_settled);
}

#[test]
fn a_release_at_the_expiry_or_later_returns_nothing() {
    for after in [secs(5), secs(6), secs(600)] {
        let mut bench = Bench::of(org());
        let permit = bench.grant(ask(READ).calls(10));
        bench.advance(after);
        let used = reads(&mut bench);
        assert_eq!(bench.release(&permit, None), already(0));
        assert_eq!(bench.release(&permit, Some(10)), already(0));
        assert_eq!(reads(&mut bench), used);
    }
}

#[test]
fn what_is_returned_can_be_granted_again() {
    let mut bench = Bench::of(org());
    let permit = bench.grant(ask(READ).calls(90));
    bench.release(&permit, None);
    assert_eq!(bench.grant(ask(READ).calls(90)).calls, 90);
    bench.deny(ask(READ));
}

#[test]
fn nothing_that_a_caller_repeats_mints_quota() {
    let mut bench = Bench::of(org());
    let mut out = 0;
    for round in 0..30 {
        let permit = bench.grant(ask(READ).calls(3));
        out += 3;
        for _ in 0..3 {
            bench.report(&permit, report(0, 1, 200));
            bench.release(&permit, Some(1 + round % 2));
            bench.report(&permit, report(0, 3, 200));
            bench.release(&permit, None);
        }
        out -= 1 + u64::from(round % 2);
        assert_eq!(reads(&mut bench), out);
        if out > 85 {
            break;
        }
    }
}

#[test]
fn every_limit_of_a_permit_gets_its_units_back() {
    let mut bench = Bench::of(org().capped("w", 100));
    let permit = bench.grant(ask(LONG).of("w").calls(4).costing(6));
    bench.release(&permit, Some(3));
    assert_eq!(spent(&bench.total()), 6);
    assert_eq!(spent(&bench.cap("w")), 6);
    assert_eq!(spent(&bench.slots()), 1);
}

#[test]
fn a_permit_of_another_epoch_is_acknowledged_and_ignored() {
    let mut bench = Bench::of(org());
    let permit = bench.grant(ask(READ).calls(10));
    bench.restart(secs(1));
    let before = bench.of_user("alice", "entries");
    assert!(bench.report(&permit, answered(10)).already_settled);
    assert_eq!(bench.release(&permit, None), already(0));
    assert_eq!(bench.of_user("alice", "entries"), before);
}

#[test]
fn a_late_report_still_feeds_the_reading() {
    let mut bench = Bench::of(org().daily(100));
    let permit = bench.grant(ask(REST));
    bench.advance(HOUR);
    let late = Report { reading: Some(reading(41, 100)), ..answered(1) };
    assert!(bench.report(&permit, late).already_settled);
    assert_eq!(bench.total().foreign, 40);
}

/// The rest of a permit's story, for slots.
#[track_caller]
fn takes(bench: &mut Bench, slots: u64) {
    assert_eq!(spent(&bench.slots()), slots);
}

#[test]
fn calls_takes_that_many_slots() {
    let mut bench = Bench::of(org().slots(5));
    bench.grant(ask(LONG).calls(4));
    assert_eq!(bench.deny(ask(LONG).calls(2)).reason, DenialReason::ConcurrencyLimit);
    bench.grant(ask(LONG));
}

#[test]
fn an_answer_frees_a_slot_at_once_and_the_window_keeps_the_call() {
    let mut bench = Bench::of(org().slots(2));
    let permit = bench.grant(ask(LONG).calls(2));
    bench.report(&permit, answered(1));
    takes(&mut bench, 1);
    assert_eq!(spent(&bench.total()), 2);
    bench.report(&permit, answered(1));
    takes(&mut bench, 1);
    bench.grant(ask(LONG));
    bench.deny(ask(LONG));
}

#[test]
fn a_slot_is_held_until_an_answer_also_one_after_the_expiry() {
    let mut bench = Bench::of(org().slots(1));
    let permit = bench.grant(ask(LONG));
    bench.advance(secs(300));
    takes(&mut bench, 1);
    assert!(!bench.report(&permit, unanswered(1)).already_settled);
    takes(&mut bench, 1);
    assert!(!bench.report(&permit, answered(1)).already_settled);
    takes(&mut bench, 0);
    assert!(bench.report(&permit, answered(1)).already_settled);
    bench.grant(ask(LONG));
}

#[test]
fn an_unanswered_slot_is_held_for_the_longest_duration() {
    let mut bench = Bench::of(org().slots(1));
    let permit = bench.grant(ask(LONG));
    let held = permit.life_left + secs(600) + TRAVEL;
    bench.advance(held - ms(1));
    takes(&mut bench, 1);
    bench.advance(ms(1));
    takes(&mut bench, 0);
    bench.grant(ask(LONG));
    assert!(bench.report(&permit, answered(1)).already_settled);
    takes(&mut bench, 1);
}

#[test]
fn a_release_frees_a_slot_at_once_but_not_after_the_expiry() {
    let mut bench = Bench::of(org().slots(2));
    let early = bench.grant(ask(LONG));
    let late = bench.grant(ask(LONG));
    assert_eq!(bench.release(&early, None), returned(1));
    takes(&mut bench, 1);
    bench.advance(late.life_left);
    assert_eq!(bench.release(&late, None), already(0));
    takes(&mut bench, 1);
    // It can still be answered for.
    assert!(!bench.report(&late, answered(1)).already_settled);
    takes(&mut bench, 0);
}

#[test]
fn a_slot_that_waits_for_nobody_is_free_for_the_next() {
    let mut bench = Bench::of(org().slots(1));
    let permit: Permit = bench.grant(ask(LONG));
    let waiter = bench.park(ask(LONG).class(Class::Interactive).waiting(MINUTE));
    bench.advance(secs(20));
    assert!(bench.still_waits(waiter));
    bench.report(&permit, answered(1));
    bench.advance(ms(60));
    bench.woken(waiter);
}
