//! How long a permit lives.

use std::time::Duration;

use quotagate::quota::Charge;

use crate::bench::*;

#[test]
fn the_default_life_goes_by_the_shortest_window() {
    let day = || per_org("day", 100, DAY);
    let rows = [
        ("a minute", vec![per_user("m", 9, MINUTE)], 5),
        ("a second", vec![per_user("s", 9, secs(20))], 5),
        ("an hour", vec![per_user("h", 9, HOUR)], 30),
        ("two minutes", vec![per_user("m2", 9, MINUTE * 2)], 30),
        ("a day", vec![day()], 60),
        ("two hours", vec![per_user("h2", 9, HOUR * 2)], 60),
        ("a minute and a day", vec![day(), per_user("m", 9, MINUTE)], 5),
        ("an hour and a day", vec![per_user("h", 9, HOUR), day()], 30),
        ("slots are no window", vec![slots(secs(10)), day()], 5),
    ];
    for (name, charges, seconds) in rows {
        let mut bench = Bench::with(org(), catalogue(vec![("op", charges)]), Default::default());
        assert_eq!(bench.grant(ask("op")).life_left, secs(seconds), "{name}");
    }
}

#[test]
fn a_longer_life_than_half_the_shortest_window_or_five_minutes_is_shortened() {
    let rows: [(&str, Vec<Charge>, u64, u64); 7] = [
        ("within", vec![per_user("m", 9, MINUTE)], 29_000, 29_000),
        ("half a minute", vec![per_user("m", 9, MINUTE)], 30_001, 30_000),
        ("half of ten minutes", vec![per_user("m10", 9, MINUTE * 10)], 400_000, 300_000),
        ("five minutes", vec![per_user("h", 9, HOUR)], 301_000, 300_000),
        ("the shortest", vec![per_org("d", 9, DAY), per_user("s", 9, secs(3))], 60_000, 1_500),
        ("slots too", vec![slots(secs(100)), per_org("d", 9, DAY)], 60_000, 50_000),
        ("a shorter one is given", vec![per_org("d", 9, DAY)], 1, 1),
    ];
    for (name, charges, asked, given) in rows {
        let mut bench = Bench::with(org(), catalogue(vec![("op", charges)]), Default::default());
        assert_eq!(bench.grant(ask("op").lasting(ms(asked))).life_left, ms(given), "{name}");
    }
}

#[test]
fn the_life_is_at_most_the_recorded_cap() {
    let reads = |window| catalogue(vec![(READ, vec![per_user("entries", 90, window)])]);
    let mut bench = Bench::with(org(), reads(secs(10)), Default::default());
    let asked = || ask(READ).lasting(MINUTE * 2);
    assert_eq!(bench.grant(asked()).life_left, secs(5));
    // The window grows, but no reserve has recorded that yet.
    bench.withholds = true;
    bench.catalogue = reads(secs(100));
    bench.configure();
    assert_eq!(bench.grant(asked()).life_left, secs(5), "as recorded");
    bench.withholds = false;
    bench.quiet();
    bench.advance(secs(10));
    assert_eq!(bench.grant(asked()).life_left, secs(50), "recorded by now");
    // It shrinks: that acts at once.
    bench.withholds = true;
    bench.catalogue = reads(secs(4));
    bench.configure();
    assert_eq!(bench.grant(asked()).life_left, secs(2));
}

#[test]
fn the_life_counts_from_the_grant_not_from_the_arrival() {
    let mut bench = Bench::of(org());
    bench.grant(ask(READ).calls(90));
    let waiter = bench.park(ask(READ).waiting(MINUTE * 2));
    bench.advance(secs(70));
    assert_eq!(bench.woken(waiter).life_left, secs(5));
}

#[test]
fn a_step_of_the_wall_clock_moves_nothing() {
    for forwards in [true, false] {
        let mut bench = Bench::of(org());
        bench.grant(ask(READ).calls(90));
        let step = HOUR * 3;
        let wall = bench.now.wall;
        bench.now.wall = if forwards { wall + step } else { wall - step };
        assert_eq!(bench.deny(ask(READ)).retry_after, Some(secs(70)));
        bench.advance(secs(70) - ms(1));
        bench.deny(ask(READ));
        bench.advance(ms(61));
        bench.grant(ask(READ).calls(90));
    }
}

#[test]
fn nothing_is_granted_from_a_block_whose_time_is_over() {
    let mut bench = Bench::of(org());
    bench.grant(ask(READ));
    bench.grant(ask(READ).calls(2));
    bench.withholds = true;
    bench.advance(secs(3));
    let waiter = bench.park(ask(READ));
    bench.advance(Duration::from_millis(1_990));
    assert!(bench.still_waits(waiter));
    bench.advance(ms(20));
    let outcome = bench.answer(waiter);
    let timeout = quotagate::quota::AskError::StoreTimeout;
    assert_eq!(outcome, Some(quotagate::quota::Outcome::Failed(timeout)));
}
