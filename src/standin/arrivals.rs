//! What came, and whether it ever came too fast.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use super::{
    engine::Refusal,
    options::{Limit, Options},
};

/// One call as it arrived, whatever became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Microseconds since the start, by a monotonic clock.
    pub at_us: u64,
    /// The org of its session.
    pub org: Arc<str>,
    /// The user of its session.
    pub user: Arc<str>,
    /// Which user limit counts it, one unit.
    pub operation: &'static str,
    /// What it takes of the org's total.
    pub org_units: u64,
    /// Why it was refused; `None` if it was let pass.
    pub refusal: Option<Refusal>,
}

/// How many calls came since the start, and what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls that passed.
    pub accepted: u64,
    /// Refused by an org's total.
    pub refused_by_total: u64,
    /// Refused because of too many long-running requests.
    pub refused_by_concurrency: u64,
    /// Refused by a user's limit.
    pub refused_by_user: u64,
    /// Calls that are not remembered any more.
    pub forgotten: u64,
}

impl Counts {
    /// Calls that were refused for any of the reasons.
    #[must_use]
    pub const fn refused(&self) -> u64 {
        self.refused_by_total + self.refused_by_concurrency + self.refused_by_user
    }

    /// Calls that came.
    #[must_use]
    pub const fn arrived(&self) -> u64 {
        self.accepted + self.refused()
    }
}

/// A counter at a moment when more calls had arrived than its limit allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overrun {
    /// The org.
    pub org: Arc<str>,
    /// The user; `None` for the org's total.
    pub user: Option<Arc<str>>,
    /// The operation of the limit; `None` for the org's total.
    pub operation: Option<&'static str>,
    /// The arrival that was too many.
    pub at_us: u64,
    /// Units in the window that ends with it.
    pub units: u64,
    /// Units that the limit allows.
    pub max: u64,
}

/// The most units in any half-open interval `[t, t + window_us)`. `units` are
/// pairs of a moment in microseconds and a number, in the order of time.
#[must_use]
pub fn worst_window(units: &[(u64, u64)], window_us: u64) -> u64 {
    windows(units, window_us).map(|(_, total)| total).max().unwrap_or(0)
}

/// Every arrival that was too many for a limit of `options`, refused or not:
/// nothing that arrives can be called back. Arrivals are in the order of time.
#[must_use]
pub fn overruns(arrivals: &[Arrival], options: &Options) -> Vec<Overrun> {
    let mut overruns = Vec::new();
    for ((org, user, operation), counted) in counters(arrivals, options) {
        let limit = counted.limit;
        let units = windows(&counted.units, limit.window_us());
        overruns.extend(units.filter(|(_, total)| *total > limit.max).map(|(at_us, units)| {
            let (org, user) = (org.clone(), user.cloned());
            Overrun { org, user, operation, at_us, units, max: limit.max }
        }));
    }
    overruns
}

/// One limit of one identity, and how near to it the arrivals came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowSummary {
    /// The org.
    pub org: Arc<str>,
    /// The user; `None` for the org's total.
    pub user: Option<Arc<str>>,
    /// The operation of the limit; `None` for the org's total.
    pub operation: Option<&'static str>,
    /// The limit.
    pub limit: Limit,
    /// The most units in any interval of the window's length.
    pub worst: u64,
    /// Calls that arrived.
    pub arrivals: u64,
    /// Of these, the refused ones.
    pub refused: u64,
}

/// Each limit that any of these arrivals touched, the totals of orgs first.
/// Arrivals are in the order of time.
#[must_use]
pub fn window_summaries(arrivals: &[Arrival], options: &Options) -> Vec<WindowSummary> {
    let counters = counters(arrivals, options).into_iter();
    let summary = |((org, user, operation), counted): (Counter<'_>, Counted)| WindowSummary {
        org: org.clone(),
        user: user.cloned(),
        operation,
        limit: counted.limit,
        worst: worst_window(&counted.units, counted.limit.window_us()),
        arrivals: counted.units.len() as u64,
        refused: counted.refused,
    };
    counters.map(summary).collect()
}

/// Org, user and operation; a total has neither of the last two.
type Counter<'a> = (&'a Arc<str>, Option<&'a Arc<str>>, Option<&'static str>);

/// What arrived for one limit.
struct Counted {
    limit: Limit,
    /// Moments in microseconds, and units.
    units: Vec<(u64, u64)>,
    refused: u64,
}

/// What arrived for each limit of `options`.
fn counters<'a>(arrivals: &'a [Arrival], options: &Options) -> BTreeMap<Counter<'a>, Counted> {
    let mut counters: BTreeMap<Counter<'_>, Counted> = BTreeMap::new();
    for arrival in arrivals {
        let Arrival { at_us, org, user, operation, org_units, refusal } = arrival;
        let mut count = |counter, limit, units| {
            let unused = || Counted { limit, units: Vec::new(), refused: 0 };
            let counted = counters.entry(counter).or_insert_with(unused);
            counted.units.push((*at_us, units));
            counted.refused += u64::from(refusal.is_some());
        };
        let limits = &options.user_limits;
        if let Some(user_limit) = limits.iter().find(|limit| limit.operation == *operation) {
            count((org, Some(user), Some(*operation)), user_limit.limit, 1);
        }
        if *org_units > 0 {
            count((org, None, None), options.org_limit, *org_units);
        }
    }
    counters
}

/// For each moment, the units of the interval of this length that ends with it.
fn windows(units: &[(u64, u64)], window_us: u64) -> impl Iterator<Item = (u64, u64)> {
    debug_assert!(units.is_sorted_by_key(|(at_us, _)| *at_us), "units are in the order of time");
    let mut first = 0;
    let mut total = 0_u64;
    units.iter().map(move |(at_us, count)| {
        total += count;
        // An arrival exactly one window later is in the next interval.
        while units[first].0.saturating_add(window_us) <= *at_us && units[first].0 < *at_us {
            total -= units[first].1;
            first += 1;
        }
        (*at_us, total)
    })
}

/// The arrivals that are remembered.
#[derive(Debug)]
pub(super) struct Log {
    arrivals: VecDeque<Arrival>,
    kept: usize,
    counts: Counts,
}

impl Log {
    pub(super) fn new(kept: usize) -> Self {
        Self { arrivals: VecDeque::new(), kept, counts: Counts::default() }
    }

    pub(super) fn push(&mut self, arrival: Arrival) {
        let count = match arrival.refusal {
            None => &mut self.counts.accepted,
            Some(Refusal::Total) => &mut self.counts.refused_by_total,
            Some(Refusal::Concurrency) => &mut self.counts.refused_by_concurrency,
            Some(Refusal::User { .. }) => &mut self.counts.refused_by_user,
        };
        *count += 1;
        self.arrivals.push_back(arrival);
        if self.arrivals.len() > self.kept {
            self.arrivals.pop_front();
            self.counts.forgotten += 1;
        }
    }

    pub(super) fn arrivals(&self) -> Vec<Arrival> {
        self.arrivals.iter().cloned().collect()
    }

    pub(super) const fn counts(&self) -> Counts {
        self.counts
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::standin::options::{GET_ENTRIES, Limit, REST};

    fn check(moments: &[u64], window_us: u64, worst: u64) {
        let units: Vec<_> = moments.iter().map(|at_us| (*at_us, 1)).collect();
        assert_eq!(worst_window(&units, window_us), worst, "{moments:?} in windows of {window_us}");
    }

    #[test]
    fn the_worst_window_is_half_open() {
        check(&[], 10, 0);
        check(&[5], 10, 1);
        check(&[5, 15], 10, 1);
        check(&[5, 14], 10, 2);
        check(&[0, 5, 9, 10, 14, 15, 19], 10, 4);
        check(&[3, 3, 3], 1, 3);
        check(&[0, u64::MAX], u64::MAX, 1);
    }

    proptest! {
        #[test]
        fn the_worst_window_agrees_with_counting_by_hand(
            gaps in prop::collection::vec((0_u64..6, 0_u64..4), 0..40),
            window_us in 1_u64..20,
        ) {
            let mut at_us = 0;
            let units: Vec<_> = gaps.iter().map(|(gap, count)| { at_us += gap; (at_us, *count) }).collect();
            let in_window_from = |from: u64| -> u64 {
                units.iter().filter(|(at, _)| (from..from + window_us).contains(at)).map(|(_, n)| n).sum()
            };
            let naive = units.iter().map(|(from, _)| in_window_from(*from)).max().unwrap_or(0);
            prop_assert_eq!(worst_window(&units, window_us), naive);
        }
    }

    fn arrival(at_us: u64, user: &str, operation: &'static str, org_units: u64) -> Arrival {
        Arrival { at_us, org: "o".into(), user: user.into(), operation, org_units, refusal: None }
    }

    #[test]
    fn an_overrun_names_the_counter_and_the_arrival_that_was_too_many() {
        let mut options = Options::default();
        options.user_limits[0].limit = Limit::sliding(2, Duration::from_micros(10));
        options.org_limit = Limit::sliding(4, Duration::from_micros(10));
        let mut arrivals = vec![
            arrival(0, "a", GET_ENTRIES, 1),
            arrival(1, "b", GET_ENTRIES, 1),
            arrival(2, "a", GET_ENTRIES, 1),
            arrival(3, "b", REST, 1),
            arrival(10, "a", GET_ENTRIES, 1),
        ];
        assert_eq!(overruns(&arrivals, &options), []);
        arrivals.push(arrival(11, "a", GET_ENTRIES, 0));
        let mut expected = Overrun {
            org: "o".into(),
            user: Some("a".into()),
            operation: Some(GET_ENTRIES),
            at_us: 11,
            units: 3,
            max: 2,
        };
        assert_eq!(overruns(&arrivals, &options), [expected.clone()]);
        // Two windows later, a batch that is too much for the total.
        arrivals.push(arrival(30, "a", REST, 5));
        let batch = Overrun {
            user: None,
            operation: None,
            at_us: 30,
            units: 5,
            max: 4,
            ..expected.clone()
        };
        expected.at_us = 11;
        assert_eq!(overruns(&arrivals, &options), [batch, expected]);
    }

    #[test]
    fn the_log_forgets_the_oldest_and_keeps_counting() {
        let mut log = Log::new(2);
        for at_us in 0..5 {
            log.push(arrival(at_us, "a", REST, 1));
        }
        log.push(Arrival { refusal: Some(Refusal::Total), ..arrival(5, "a", REST, 1) });
        let kept: Vec<_> = log.arrivals().iter().map(|arrival| arrival.at_us).collect();
        assert_eq!(kept, [4, 5]);
        let counts = log.counts();
        assert_eq!((counts.accepted, counts.refused(), counts.arrived()), (5, 1, 6));
        assert_eq!(counts.forgotten, 4);
    }
}
