//! Readings in any order, at any moment, among grants and reports: the estimate
//! of foreign use against a naive list of our own units.

use std::time::Duration;

use proptest::prelude::*;
use quotagate::quota::{Mono, Permit, Reading, Report, salesforce::ApiUsage};

use crate::bench::*;

/// All times are multiples of this, which fresh buckets keep exactly.
const GRAIN: Duration = ms(10);

/// What may happen.
#[derive(Clone, Debug)]
enum Step {
    Grant { calls: u32, ttl: Duration },
    Report { permit: usize, calls: u32, ago: Duration, reads: Option<Figure> },
    Release { permit: usize },
    Read { age: Option<Duration>, ago: Duration, figure: Figure },
    Advance(Duration),
    Restart(Duration),
    SetLimit(u64),
}

#[derive(Clone, Copy, Debug)]
struct Figure {
    used: u64,
    limit: u64,
}

/// One call of ours, as the definition sees it.
#[derive(Clone, Copy, Debug)]
struct Call {
    permit: usize,
    /// The moment from which on Salesforce must have counted it.
    counted: Mono,
    settled: bool,
    gone: bool,
}

/// The newest reading and our own calls, one by one.
#[derive(Clone, Debug, Default)]
struct Naive {
    calls: Vec<Call>,
    newest: Option<(Mono, u64)>,
    limit: Option<u64>,
    /// The newest reading came too late to find all that was ours then.
    is_late: bool,
}

impl Naive {
    /// Our units within the 24 hours up to `moment`, or somewhat more than these,
    /// counted by then.
    fn own(&self, moment: Mono, lag: Duration, more: Duration) -> u64 {
        let from = moment - DAY - more;
        let counts =
            |call: &&Call| !call.gone && call.counted <= moment - lag && call.counted > from;
        self.calls.iter().filter(counts).count() as u64
    }

    fn read(&mut self, now: Mono, moment: Mono, figure: Figure) {
        // Beyond this a figure says no more.
        let figure = Figure { used: figure.used.min(1_000_000_000), ..figure };
        if self.newest.is_some_and(|newest| (moment, figure.used) < newest) {
            return;
        }
        self.newest = Some((moment, figure.used));
        self.is_late = now.since(moment) > MINUTE * 5;
        if (1..=100_000_000).contains(&figure.limit) {
            self.limit = Some(figure.limit);
        }
    }
}

fn grains(range: std::ops::Range<u32>) -> impl Strategy<Value = Duration> {
    range.prop_map(|count| GRAIN * count)
}

fn figure() -> impl Strategy<Value = Figure> {
    let used = prop_oneof![8 => 0..3_000_u64, 1 => Just(0), 1 => any::<u64>()];
    let limit = prop_oneof![
        8 => 100..5_000_u64,
        1 => Just(0),
        1 => Just(100_000_000),
        1 => any::<u64>(),
    ];
    (used, limit).prop_map(|(used, limit)| Figure { used, limit })
}

fn step() -> impl Strategy<Value = Step> {
    let ago = || prop_oneof![3 => Just(Duration::ZERO), 1 => grains(0..40_000)];
    prop_oneof![
        6 => (1..40_u32, grains(100..6_000)).prop_map(|(calls, ttl)| Step::Grant { calls, ttl }),
        6 => (0..30_usize, 1..40_u32, ago(), proptest::option::of(figure()))
            .prop_map(|(permit, calls, ago, reads)| Step::Report { permit, calls, ago, reads }),
        1 => (0..30_usize).prop_map(|permit| Step::Release { permit }),
        6 => (proptest::option::of(grains(0..45_000)), ago(), figure())
            .prop_map(|(age, ago, figure)| Step::Read { age, ago, figure }),
        6 => prop_oneof![
            4 => grains(0..1_000),
            2 => grains(1_000..60_000),
            1 => grains(60_000..6_000_000),
        ].prop_map(Step::Advance),
        1 => grains(1_000..30_000).prop_map(Step::Restart),
        1 => (100..5_000_u64).prop_map(Step::SetLimit),
    ]
}

/// Runs the steps, and looks at the estimate after each.
fn run(daily: u64, lag: Duration, steps: Vec<Step>) {
    let mut policy = org().daily(daily);
    policy.header_lag = lag;
    let mut bench = Bench::of(policy);
    // Limits of more units than this are counted in buckets, and a takeover
    // rounds as well.
    let mut is_exact = daily <= 4_096;
    let mut naive = Naive::default();
    let mut permits: Vec<(Permit, Mono)> = Vec::new();
    for step in steps {
        let now = bench.now;
        match step {
            Step::Grant { calls, ttl } => {
                let asked = ask(REST).calls(calls).at_least(1).lasting(ttl);
                if let quotagate::quota::Outcome::Granted(permit) = bench.decide(asked) {
                    let counted = bench.now.mono + permit.life_left + TRAVEL;
                    let index = permits.len();
                    let call = Call { permit: index, counted, settled: false, gone: false };
                    naive.calls.extend(vec![call; permit.calls as usize]);
                    permits.push((*permit, bench.now.mono));
                }
            }
            Step::Report { permit, calls, ago, reads } => {
                let Some((permit, granted)) = permits.get(permit).cloned() else { continue };
                let index = permits.iter().position(|(other, _)| other.key == permit.key).unwrap();
                let reading = reads.map(|Figure { used, limit }| Reading {
                    usage: ApiUsage { used, limit },
                    answer_time: None,
                });
                let report = Report { completed_ago: ago, reading, ..answered(calls) };
                bench.report(&permit, report);
                let (expires, completed) = (granted + permit.life_left, now.mono - ago);
                if now.mono < expires {
                    let of_permit = naive.calls.iter_mut().filter(|call| call.permit == index);
                    for call in of_permit.take(calls as usize).filter(|call| !call.settled) {
                        call.settled = true;
                        call.counted = expires.min(granted.max(completed));
                    }
                }
                if let Some(figure) = reads {
                    naive.read(now.mono, completed, figure);
                }
            }
            Step::Release { permit } => {
                let Some((permit, granted)) = permits.get(permit).cloned() else { continue };
                let index = permits.iter().position(|(other, _)| other.key == permit.key).unwrap();
                let unsettled =
                    |call: &&mut Call| call.permit == index && !call.settled && !call.gone;
                let left = naive.calls.iter_mut().filter(unsettled).count();
                bench.release(&permit, Some(u32::try_from(left).unwrap()));
                if now.mono < granted + permit.life_left {
                    naive.calls.iter_mut().filter(unsettled).for_each(|call| call.gone = true);
                }
            }
            Step::Read { age, ago, figure } => {
                // A microsecond off the second is exact.
                let answer_time = age.map(|age| now.wall - age - Duration::from_micros(1));
                let Figure { used, limit } = figure;
                let reading = Reading { usage: ApiUsage { used, limit }, answer_time };
                tell_reading(&mut bench.ledger, now, reading, ago);
                bench.quiet();
                let completed = now.mono - ago;
                let moment = age.map_or(completed, |age| {
                    completed.min(now.mono - age - Duration::from_micros(1))
                });
                naive.read(now.mono, moment, figure);
            }
            Step::Advance(time) => bench.advance(time),
            Step::Restart(after) => {
                bench.hand_over();
                is_exact = false;
                let (mono, wall) = (bench.now.mono, bench.now.wall);
                bench.restart(after);
                // The new process's clock began elsewhere.
                let begun = bench.now;
                let shift = |old: Mono| {
                    let wall = wall - mono.since(old) + old.since(mono);
                    begun.mono_at(wall)
                };
                // Everything is recorded in whole milliseconds.
                let ms_up = |moment: Mono| Mono(moment.0.div_ceil(1_000) * 1_000);
                for call in &mut naive.calls {
                    call.counted = ms_up(shift(call.counted));
                    call.settled = true;
                }
                for (_, granted) in &mut permits {
                    *granted = Mono(0);
                }
                permits.iter_mut().for_each(|(permit, _)| permit.life_left = Duration::ZERO);
                if bench.usage().last_reading.is_none() {
                    (naive.newest, naive.limit) = (None, None);
                }
                naive.newest = naive.newest.map(|(moment, used)| (ms_up(shift(moment)), used));
            }
            Step::SetLimit(limit) => bench.change(|policy| policy.daily_calls_max = Some(limit)),
        }
        let usage = bench.usage();
        if usage.last_reading.is_none() {
            // An org at rest forgets what it has read.
            (naive.newest, naive.limit) = (None, None);
        }
        let total = &usage.limits[0];
        assert!(total.foreign <= total.max, "{total:?}");
        assert!(total.remaining <= total.max, "{total:?}");
        assert!(usage.readings.len() <= 10);
        let max = naive.limit.unwrap_or(daily);
        let max = max.min(bench.policy.daily_calls_max.unwrap_or(u64::MAX));
        assert_eq!(total.max, max, "the limit of the newest reading holds");
        let Some((moment, used)) = naive.newest else { continue };
        if bench.now.mono.since(moment) > DAY {
            assert_eq!(total.foreign, 0, "it says nothing any more");
            continue;
        }
        // Records round by a millisecond, so what is just about to leave may have
        // left, or not.
        let edge = if is_exact { Duration::ZERO } else { Duration::from_millis(2) };
        let by_definition = used.saturating_sub(naive.own(moment, lag, edge)).min(max);
        if is_exact && !naive.is_late {
            assert_eq!(total.foreign, by_definition, "{:?}", usage.readings.first());
        } else {
            assert!(total.foreign >= by_definition, "{by_definition}: {usage:#?}");
        }
    }
}

proptest! {
    #[test]
    fn no_order_of_readings_drives_the_estimate_out_of_its_bounds(
        daily in prop_oneof![Just(1_000_u64), Just(4_000), Just(20_000)],
        lag in prop_oneof![Just(0_u64), Just(30), Just(300), Just(3_600)],
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        run(daily, secs(lag), steps);
    }
}
