//! Days of traffic against the strict stand-in, of which other integrations take
//! their share: is the estimate of theirs near the truth, and is nothing refused?

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    time::Duration,
};

use quotagate::{
    quota::{Class, Outcome, Permit, Reading, Report, Wall, salesforce::ApiUsage},
    standin::{
        Limit, Options,
        engine::{Call, Engine},
    },
};

use crate::bench::*;

const LIMIT: u64 = 100_000;
/// A day for the others alone, then a day and some hours for all: the window has
/// filled and moves on.
const LENGTH: Duration = Duration::from_secs(54 * 3_600);
/// Between two asks of ours.
const PACE: Duration = secs(60);
/// Between two calls that are made to learn the truth, whatever is full.
const POLL: Duration = secs(300);
/// From the arrival of a call to its answer.
const CALL: Duration = ms(200);

/// A world: what others do, and what comes of the answers.
#[derive(Clone, Copy, Debug)]
struct Row {
    /// Percent of the limit that others take in a day.
    foreign: u64,
    lag: Duration,
    /// The shown figure falls in steps of this length.
    steps: Duration,
    /// Percent of the answers that nobody reports.
    lost: u32,
    /// Reports come up to this late, in any order.
    late: Duration,
}

/// What was seen.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    refused: u64,
    calls: u64,
    /// How far the estimate was above and below the truth, in units.
    above: u64,
    below: u64,
}

/// An answer that is on its way to the ledger.
#[derive(Debug)]
struct Answer {
    permit: Permit,
    calls: u32,
    reading: Reading,
}

fn run(row: Row) -> Seen {
    let mut policy = org().daily(LIMIT).keeping(5);
    policy.header_lag = row.lag;
    let mut bench = Bench::of(policy);
    let mut engine = Engine::new(&Options {
        org_limit: Limit::sliding(LIMIT, DAY),
        header_lag: row.lag,
        header_steps: row.steps,
        foreign_units_per_second: (LIMIT * row.foreign) as f64 / 100.0 / 86_400.0,
        ..Options::default()
    });
    let mut random = fastrand::Rng::with_seed(7);
    let begin = bench.now.mono;
    let mut seen = Seen::default();
    let mut arrived: VecDeque<(u64, u64)> = VecDeque::new();
    let mut under_way: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    let mut answers: Vec<Option<Answer>> = Vec::new();
    // The others have been at it for a day by then: their use is what it stays.
    let mut next_ask = DAY;
    let mut last_reading = None;
    while next_ask < LENGTH {
        let time = bench.now.mono.since(begin);
        let due = under_way.peek().map(|Reverse((at_us, _))| Duration::from_micros(*at_us));
        if let Some(due) = due.filter(|due| *due <= next_ask) {
            bench.advance(due.saturating_sub(time));
            let Reverse((_, index)) = under_way.pop().expect("it was there");
            let Answer { permit, calls, reading } = answers[index].take().expect("once");
            let answered_at = reading.answer_time.expect("it has a time");
            let ago = Duration::from_micros(bench.now.wall.0 - answered_at.0);
            // The header has whole seconds.
            let answer_time = Some(Wall(answered_at.0 / 1_000_000 * 1_000_000));
            let reading = Some(Reading { answer_time, ..reading });
            bench.report(&permit, Report { completed_ago: ago, reading, ..answered(calls) });
            last_reading = Some(bench.now.mono);
        } else {
            bench.advance(next_ask.saturating_sub(time));
            next_ask += PACE;
            let is_poll = next_ask.as_secs().is_multiple_of(POLL.as_secs());
            let asked = if is_poll {
                ask(REST).class(Class::Control)
            } else {
                ask(REST).calls(120).at_least(1)
            };
            if let Outcome::Granted(permit) = bench.decide(asked) {
                let at = bench.now.mono.since(begin);
                let at_us = u64::try_from(at.as_micros()).unwrap();
                let calls = permit.calls;
                let units = u64::from(calls);
                let call = Call {
                    org: "o",
                    user: "u",
                    operation: REST,
                    org_units: units,
                    duration: Duration::ZERO,
                };
                seen.calls += units;
                match engine.arrive(at_us, &call) {
                    Ok(()) => arrived.push_back((at_us, units)),
                    Err(_) => seen.refused += units,
                }
                let answered_us = at_us + u64::try_from(CALL.as_micros()).unwrap();
                let shown = engine.shown(answered_us, "o");
                if random.u32(..100) >= row.lost {
                    let late = random.u64(..=u64::try_from(row.late.as_micros()).unwrap());
                    let reading = Reading {
                        usage: ApiUsage { used: shown.used, limit: shown.max },
                        answer_time: Some(bench.now.wall + CALL),
                    };
                    under_way.push(Reverse((answered_us + late, answers.len())));
                    answers.push(Some(Answer { permit: *permit, calls, reading }));
                }
            }
        }
        // The truth, once there was time for it to be told.
        let at_us = u64::try_from(bench.now.mono.since(begin).as_micros()).unwrap();
        let is_told = last_reading.is_some() && at_us > 86_400_000_000 + 1_800_000_000;
        if is_told {
            while arrived.front().is_some_and(|(at, _)| at + 86_400_000_000 <= at_us) {
                arrived.pop_front();
            }
            let own: u64 = arrived.iter().map(|(_, units)| units).sum();
            let truth = engine.org_usage(at_us, "o").used - own;
            let estimate = bench.total().foreign;
            seen.above = seen.above.max(estimate.saturating_sub(truth));
            seen.below = seen.below.max(truth.saturating_sub(estimate));
        }
    }
    seen
}

#[test]
fn the_estimate_is_near_the_truth_and_nothing_is_refused() {
    println!("foreign  lag   steps  lost  late   calls   refused  above    below");
    let mut faults = Vec::new();
    for foreign in [0, 10, 30, 60] {
        for lag in [0, 30, 300] {
            for (steps, lost, late) in [(0, 0, 0), (300, 30, 50)] {
                let row =
                    Row { foreign, lag: secs(lag), steps: secs(steps), lost, late: secs(late) };
                let seen = run(row);
                let percent = |units: u64| units as f64 * 100.0 / LIMIT as f64;
                println!(
                    "{foreign:>5} %  {lag:>3} s  {steps:>3} s  {lost:>2} %  {late:>2} s  {:>6}  {:>7}  {:>5.2} %  {:>5.2} %",
                    seen.calls,
                    seen.refused,
                    percent(seen.above),
                    percent(seen.below)
                );
                let near = seen.above.max(seen.below) * 50 <= LIMIT;
                if !near || seen.refused > 0 {
                    faults.push((row, seen));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}
