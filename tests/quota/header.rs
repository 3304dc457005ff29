//! The counter that others also move: readings of Salesforce's own figures.

use std::time::Duration;

use quotagate::quota::{Class, DenialReason, Reading, Report, Wall, salesforce::ApiUsage};

use crate::bench::*;

fn with_reading(calls: u32, used: u64, limit: u64) -> Report {
    Report { reading: Some(reading(used, limit)), ..answered(calls) }
}

#[test]
fn what_salesforce_counts_and_we_do_not_others_use() {
    // (own calls answered, header's use, foreign)
    let rows = [(10, 10, 0), (10, 25, 15), (10, 5, 0), (0, 30, 30), (10, 110_018, 100_000)];
    for (own, used, foreign) in rows {
        let mut bench = Bench::of(org().daily(100_000));
        if own > 0 {
            let permit = bench.grant(ask(REST).calls(own));
            bench.advance(ms(1_003));
            bench.report(&permit, with_reading(own, used, 100_000));
        } else {
            bench.read(used, 100_000);
        }
        assert_eq!(bench.total().foreign, foreign, "{own} of {used}");
    }
}

/// Stamps of so large a limit are kept in buckets: a bucket ended after the reading,
/// so the calls in it were taken for foreign until the next one.
#[test]
fn calls_that_were_answered_just_before_a_reading_are_ours() {
    for after in [ms(0), ms(1), ms(4), ms(9), ms(13)] {
        let mut bench = Bench::of(org().daily(100_000));
        bench.advance(ms(1_003));
        for _ in 0..3 {
            let permit = bench.grant(ask(REST).calls(2));
            bench.advance(ms(1));
            bench.report(&permit, answered(2));
        }
        let later = bench.grant(ask(REST).calls(4));
        bench.advance(after);
        bench.report(&later, with_reading(4, 15, 100_000));
        assert_eq!(bench.total().foreign, 5, "{after:?} after the others");
    }
}

/// `Date` has whole seconds, and an answer takes its time: the second that it names was
/// over when the call was complete, which was taken for foreign, though the figure that
/// came with it has it.
#[test]
fn the_call_that_carried_a_reading_is_ours() {
    for daily in [1_000, 100_000] {
        let mut bench = Bench::of(org().daily(daily));
        bench.advance(MINUTE);
        let permit = bench.grant(ask(REST).calls(3));
        let date = Wall(bench.now.wall.0 / 1_000_000 * 1_000_000);
        bench.advance(ms(1_050));
        let usage = ApiUsage { used: 8, limit: daily };
        let read = Some(Reading { usage, answer_time: Some(date) });
        bench.report(&permit, Report { reading: read, ..answered(2) });
        assert_eq!(bench.total().foreign, 6, "of {daily}");
        bench.report(&permit, Report { first_call: 2, ..answered(1) });
        assert_eq!(bench.total().foreign, 6, "of {daily}: it may have been answered later");
        assert_eq!(bench.usage().readings[0].own, 2);
    }
}

/// It was taken for ours, although nobody had been allowed to make the call by then.
#[test]
fn a_reading_from_before_the_grant_did_not_come_with_the_call() {
    for daily in [1_000, 100_000] {
        let mut bench = Bench::of(org().daily(daily));
        bench.advance(MINUTE);
        let permit = bench.grant(ask(REST));
        let report = with_reading(1, 1, daily);
        bench.report(&permit, Report { completed_ago: ms(10), ..report });
        assert_eq!(bench.total().foreign, 1, "of {daily}");
    }
}

/// What is in one bucket with calls from after the reading may be of after it, too.
#[test]
fn a_reading_that_comes_late_takes_no_later_calls_for_ours() {
    let mut bench = Bench::of(org().daily(100_000));
    bench.advance(ms(1_001));
    let early = bench.grant(ask(REST).calls(2));
    let late = bench.grant(ask(REST).calls(4));
    bench.advance(ms(1));
    bench.report(&early, answered(2));
    let answer_time = Some(bench.now.wall);
    bench.advance(ms(3));
    bench.report(&late, answered(4));
    let usage = ApiUsage { used: 10, limit: 100_000 };
    tell_reading(&mut bench.ledger, bench.now, Reading { usage, answer_time }, ms(3));
    assert_eq!(bench.total().foreign, 10, "none of the bucket is ours for certain");
}

#[test]
fn permits_that_are_out_released_units_and_unspent_blocks_are_not_own_use_yet() {
    let mut bench = Bench::of(org().daily(100));
    let released = bench.grant(ask(REST).calls(20));
    bench.release(&released, None);
    let done = bench.grant(ask(REST).calls(10));
    bench.grant(ask(REST).calls(5));
    bench.report(&done, with_reading(10, 12, 100));
    let total = bench.total();
    assert_eq!((total.foreign, spent(&total)), (2, 15));
}

#[test]
fn a_lost_answer_counts_as_sent_once_it_has_travelled() {
    let mut bench = Bench::of(org().daily(100));
    let permit = bench.grant(ask(REST).calls(10));
    bench.advance(permit.life_left);
    bench.read(10, 100);
    assert_eq!(bench.total().foreign, 10, "it may be under way");
    bench.advance(TRAVEL);
    bench.read(10, 100);
    assert_eq!(bench.total().foreign, 0);
}

#[test]
fn foreign_use_takes_room_and_a_fall_gives_it_back() {
    let mut bench = Bench::of(org().daily(100).keeping(5));
    bench.read(90, 100);
    assert_eq!(bench.total().remaining, 10);
    bench.deny(ask(REST).calls(6));
    bench.grant(ask(REST).calls(5).class(Class::Event));
    assert_eq!(bench.deny(ask(REST)).reason, DenialReason::OrgLimit);
    bench.grant(ask(REST).calls(5).class(Class::Control));
    bench.deny(ask(REST).class(Class::Control));
    bench.advance(secs(1));
    bench.read(30, 100);
    bench.grant(ask(REST).calls(55));
}

#[test]
fn readings_are_ordered_by_answer_time_and_ties_take_the_larger_use() {
    let mut bench = Bench::of(org().daily(1_000));
    bench.advance(HOUR);
    let at = |bench: &Bench, ago: Duration, used| Reading {
        usage: ApiUsage { used, limit: 1_000 },
        // Fractions of a second are exact.
        answer_time: Some(bench.now.wall - ago - ms(1)),
    };
    // (age of the answer, use, foreign afterwards)
    let rows = [
        (secs(30), 50, 50),
        (secs(40), 70, 50),
        (secs(30), 60, 60),
        (secs(30), 40, 60),
        (secs(20), 10, 10),
        (secs(600), 90, 10),
    ];
    for (age, used, foreign) in rows {
        let reading = at(&bench, age, used);
        tell_reading(&mut bench.ledger, bench.now, reading, Duration::ZERO);
        assert_eq!(bench.total().foreign, foreign, "{used}, {age:?} old");
    }
}

#[test]
fn the_limit_is_the_headers_once_there_was_one() {
    // (declared, at most, header, in force)
    let rows = [
        (15_000, None, 20_000, 20_000),
        (15_000, None, 10_000, 10_000),
        (15_000, Some(18_000), 20_000, 18_000),
        (15_000, Some(18_000), 17_000, 17_000),
        (15_000, Some(12_000), 0, 12_000),
        (15_000, None, 0, 15_000),
        (15_000, None, 100_000_001, 15_000),
        (15_000, None, 100_000_000, 100_000_000),
        (15_000, None, 1, 1),
    ];
    for (declared, most, header, limit) in rows {
        let mut policy = org().daily(declared);
        policy.daily_calls_max = most;
        let mut bench = Bench::of(policy);
        bench.read(7, header);
        let total = bench.total();
        let name = format!("{declared}, at most {most:?}, header {header}");
        assert_eq!((total.max, total.foreign), (limit, 7.min(limit)), "{name}");
    }
}

#[test]
fn an_unusable_limit_leaves_the_last_one_in_force() {
    let mut bench = Bench::of(org().daily(100));
    bench.read(0, 200);
    bench.advance(secs(1));
    bench.read(0, 0);
    assert_eq!(bench.total().max, 200);
    bench.restart(secs(1));
    assert_eq!(bench.total().max, 100, "nothing was written: no grant, no record");
}

#[test]
fn a_raised_header_limit_acts_at_once() {
    let mut bench = Bench::of(org().daily(10));
    let permit = bench.grant(ask(REST).calls(10));
    bench.deny(ask(REST));
    bench.report(&permit, with_reading(10, 10, 20));
    bench.grant(ask(REST).calls(10));
}

/// A counter at its limit is reserved once in 86 s; a reading that showed less
/// foreign use did not end that pause.
#[test]
fn a_fall_of_foreign_use_acts_at_once() {
    let mut bench = Bench::of(org().daily(100));
    bench.read(97, 100);
    bench.grant(ask(REST).calls(10).at_least(1));
    bench.deny(ask(REST));
    bench.advance(secs(1));
    bench.read(20, 100);
    bench.grant(ask(REST).calls(50));
}

#[test]
fn a_limit_that_falls_by_more_than_a_tenth_is_warned_of() {
    for (header, warned) in [(90, false), (89, true), (120, false)] {
        let mut bench = Bench::of(org().daily(100));
        bench.read(0, header);
        assert_eq!(!bench.usage().warnings.is_empty(), warned, "{header} of 100");
    }
}

/// A limit of years may fall while it stays above the declared one.
#[test]
fn a_fall_of_the_limit_that_was_read_is_warned_of_for_a_day() {
    let mut bench = Bench::of(org().daily(100));
    // (time before, header, warned)
    let rows = [
        (secs(1), 1_000, false),
        (HOUR, 900, false),
        (HOUR, 850, true),
        (HOUR, 0, true),
        (HOUR, 900, false),
        (HOUR, 850, true),
        (DAY, 850, false),
        (HOUR, 700, true),
        (HOUR, 2_000, false),
    ];
    for (time, header, warned) in rows {
        bench.advance(time);
        bench.read(0, header);
        let warnings = bench.usage().warnings;
        assert_eq!(!warnings.is_empty(), warned, "{header}: {warnings:?}");
    }
}

/// The estimate was cut when it was taken: after a raise it was too small.
#[test]
fn what_is_above_a_limit_is_found_when_the_limit_rises() {
    let mut policy = org().daily(100);
    policy.daily_calls_max = Some(100);
    let mut bench = Bench::of(policy);
    bench.read(170, 200);
    assert_eq!((bench.total().foreign, bench.total().remaining), (100, 0));
    bench.change(|policy| policy.daily_calls_max = None);
    assert_eq!((bench.total().foreign, bench.total().remaining), (170, 30));
}

/// Nobody woke a waiting request for its probe, which it then missed.
#[test]
fn a_waiting_request_is_woken_to_probe() {
    let mut bench = Bench::of(org().daily(100).keeping(5));
    bench.read(400, 100);
    let first = bench.park(ask(REST).waiting(secs(590)));
    let second = bench.park(ask(REST).waiting(secs(590)));
    bench.advance(secs(299));
    assert!(bench.still_waits(first));
    bench.advance(secs(2));
    bench.woken(first);
    assert!(bench.still_waits(second), "one call at a time");
    bench.read(0, 100);
    bench.woken(second);
}

/// An answer that was complete by the reading is in its figure, though the
/// report comes after the reading.
#[test]
fn a_late_report_corrects_the_estimate() {
    let mut bench = Bench::of(org().daily(1_000));
    let permit = bench.grant(ask(REST).calls(10));
    bench.advance(secs(1));
    bench.read(10, 1_000);
    assert_eq!(bench.total().foreign, 10, "nobody has said that they were made");
    bench.advance(secs(2));
    let some = Report { completed_ago: secs(2), ..answered(4) };
    bench.report(&permit, some.clone());
    assert_eq!(bench.total().foreign, 6);
    bench.report(&permit, some);
    assert_eq!(bench.total().foreign, 6, "once");
    bench.report(&permit, Report { first_call: 4, ..answered(6) });
    assert_eq!(bench.total().foreign, 6, "they may have been made after it");
    assert_eq!(bench.usage().readings[0].foreign(), 6);
}

#[test]
fn the_last_readings_are_shown_in_the_order_of_their_answers() {
    let mut bench = Bench::of(org().daily(1_000));
    let permit = bench.grant(ask(REST).calls(10));
    bench.report(&permit, answered(10));
    bench.advance(HOUR);
    // (age of the answer, use)
    for (age, used) in [(secs(30), 50), (secs(90), 40), (secs(10), 60), (secs(301 + 10), 30)] {
        let answer_time = Some(bench.now.wall - age - ms(1));
        let usage = ApiUsage { used, limit: 1_000 };
        tell_reading(&mut bench.ledger, bench.now, Reading { usage, answer_time }, Duration::ZERO);
    }
    let usage = bench.usage();
    let seen: Vec<_> =
        usage.readings.iter().map(|seen| (seen.usage.used, seen.own, seen.foreign())).collect();
    assert_eq!(seen, [(60, 10, 50), (50, 10, 40), (40, 10, 30)]);
    assert_eq!(usage.last_reading, Some(usage.readings[0].as_of));
    assert_eq!(bench.total().foreign, 50);
}

/// Units that left between the answer and its reading were taken for foreign.
#[test]
fn a_late_reading_finds_what_was_ours_then() {
    for daily in [1_000, 100_000] {
        let mut bench = Bench::of(org().daily(daily));
        let permit = bench.grant(ask(REST).calls(500));
        bench.report(&permit, answered(500));
        bench.advance(DAY - MINUTE * 2);
        let late = Reading {
            usage: ApiUsage { used: 510, limit: daily },
            answer_time: Some(bench.now.wall - ms(1)),
        };
        bench.advance(MINUTE * 4);
        assert_eq!(spent(&bench.total()), 0, "they have left");
        tell_reading(&mut bench.ledger, bench.now, late, MINUTE * 4);
        assert_eq!(bench.total().foreign, 10, "of {daily}");
    }
}

#[test]
fn after_a_takeover_a_tie_still_takes_the_larger_use() {
    let mut bench = Bench::of(org().daily(1_000));
    let permit = bench.grant(ask(REST).calls(10));
    bench.report(&permit, answered(10));
    bench.advance(secs(1));
    // Whole milliseconds, as they are recorded, and no whole second.
    let answer_time = Some(Wall(bench.now.wall.0 / 1_000_000 * 1_000_000 - 7_000));
    let reading = |used| Reading { usage: ApiUsage { used, limit: 1_000 }, answer_time };
    tell_reading(&mut bench.ledger, bench.now, reading(50), Duration::ZERO);
    bench.hand_over();
    bench.restart(secs(5));
    assert_eq!(bench.total().foreign, 40);
    for (used, foreign) in [(45, 40), (60, 50), (50, 50)] {
        tell_reading(&mut bench.ledger, bench.now, reading(used), secs(5));
        assert_eq!(bench.total().foreign, foreign, "{used}");
    }
    bench.advance(secs(1));
    bench.read(15, 1_000);
    assert_eq!(bench.total().foreign, 5, "what the former epoch used is ours");
}

#[test]
fn figures_are_stale_after_ten_minutes() {
    let mut bench = Bench::of(org());
    bench.advance(HOUR);
    assert!(!bench.total().stale, "nothing was granted");
    bench.grant(ask(REST));
    bench.advance(secs(600));
    assert!(!bench.total().stale);
    bench.advance(ms(1));
    assert!(bench.total().stale, "granting without a reading for ten minutes");
    bench.read(1, 15_000);
    assert!(!bench.total().stale);
    bench.advance(secs(601));
    assert!(bench.total().stale);
}

#[test]
fn an_estimate_is_dropped_after_a_day() {
    let mut bench = Bench::of(org().daily(100));
    bench.read(60, 100);
    bench.advance(DAY);
    assert_eq!(bench.total().foreign, 60);
    bench.advance(ms(1));
    assert_eq!(bench.total().foreign, 0);
}

#[test]
fn one_probe_is_let_through_where_foreign_use_alone_blocks() {
    let mut bench = Bench::of(org().daily(100).keeping(5));
    bench.read(400, 100);
    bench.deny(ask(REST));
    bench.advance(secs(300));
    bench.deny(ask(REST));
    bench.advance(ms(1));
    let probe = bench.grant(ask(REST).calls(10).at_least(1));
    assert_eq!(probe.calls, 1, "one call");
    bench.deny(ask(REST));
    bench.advance(secs(200));
    bench.deny(ask(REST));
    bench.advance(secs(101));
    bench.grant(ask(REST));
    // A good reading opens the org again.
    bench.report(&probe, with_reading(1, 3, 100));
    bench.read(3, 100);
    bench.grant(ask(REST).calls(50));
}

/// A probe of more than one unit was set aside one unit, and waited for the
/// rest in vain.
#[test]
fn a_probe_may_cost_more_than_one_unit() {
    let mut bench = Bench::of(org().daily(100));
    bench.read(400, 100);
    bench.advance(secs(301));
    assert_eq!(bench.grant(ask(REST).costing(7)).calls, 1);
    bench.deny(ask(REST).costing(7));
}

/// An org whose callers all ask for several calls was never looked at again.
#[test]
fn a_probe_is_the_fewest_calls_that_are_of_use() {
    let mut bench = Bench::of(org().daily(100));
    bench.read(400, 100);
    bench.advance(secs(301));
    assert_eq!(bench.grant(ask(REST).calls(20).at_least(5)).calls, 5);
    bench.deny(ask(REST).calls(20).at_least(5));
}

/// Where only the reserve was left, a due probe cut CONTROL down to one call.
#[test]
fn a_due_probe_takes_nothing_from_control() {
    let mut bench = Bench::of(org().daily(100).keeping(20));
    bench.read(85, 100);
    bench.advance(secs(301));
    bench.grant(ask(REST).class(Class::Control).calls(15));
}

#[test]
fn own_use_that_blocks_is_not_probed() {
    let mut bench = Bench::of(org().daily(100));
    let permit = bench.grant(ask(REST).calls(100));
    bench.report(&permit, with_reading(100, 130, 100));
    bench.advance(HOUR);
    bench.deny(ask(REST));
}

#[test]
fn the_estimate_and_the_limit_survive_a_restart() {
    let mut bench = Bench::of(org().daily(100));
    bench.grant(ask(REST));
    bench.read(40, 200);
    bench.advance(secs(1));
    bench.grant(ask(REST));
    bench.advance(secs(100));
    bench.restart(secs(5));
    let total = bench.total();
    assert_eq!((total.foreign, total.max), (40, 200));
    bench.advance(DAY);
    assert_eq!(bench.total().foreign, 0);
}

#[test]
fn header_lag_leaves_young_units_out_of_our_own_use() {
    let mut policy = org().daily(100);
    policy.header_lag = secs(30);
    let mut bench = Bench::of(policy);
    let permit = bench.grant(ask(REST).calls(10));
    bench.report(&permit, answered(10));
    bench.advance(secs(29));
    bench.read(10, 100);
    assert_eq!(bench.total().foreign, 10);
    bench.advance(secs(1));
    bench.read(10, 100);
    assert_eq!(bench.total().foreign, 0);
}

/// With the estimate the limit was forgotten, too: an org whose limit had fallen
/// was served by its higher declared one.
#[test]
fn an_estimate_that_is_dropped_leaves_the_limit_that_was_read() {
    let mut bench = Bench::of(org().daily(100_000));
    bench.read(400, 15_000);
    bench.advance(DAY - HOUR);
    bench.grant(ask(REST));
    bench.advance(HOUR + secs(1));
    let total = bench.total();
    assert_eq!((total.foreign, total.max), (0, 15_000));
}

/// With a part of the limit kept for clients, foreign use that blocked was not
/// seen to block, and no probe ever looked again.
#[test]
fn a_probe_is_let_through_where_a_part_of_the_limit_is_never_granted() {
    let mut policy = org().daily(100).keeping(5);
    policy.outage_share = 10;
    let mut bench = Bench::of(policy);
    bench.read(88, 100);
    bench.deny(ask(REST));
    bench.advance(secs(301));
    assert_eq!(bench.grant(ask(REST)).calls, 1);
}
