//! A strict stand-in for Salesforce: it sees calls arrive, at true time, and
//! nothing else.

use std::{collections::BTreeMap, fmt};

use super::store::CounterKey;

/// Units that arrived at a counter together.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// True time, in microseconds.
    pub at: u64,
    /// Until when the call was in flight.
    pub until: u64,
    /// Units.
    pub units: u64,
    /// The place of its grant in the order of things.
    pub order: u64,
    /// The limit that was in force at its grant.
    pub limit: u64,
}

/// A window as it was from some moment in the order of things on.
#[derive(Clone, Copy, Debug)]
struct Period {
    from: u64,
    window: u64,
}

/// What is seen of one counter.
#[derive(Clone, Debug, Default)]
struct Seen {
    arrivals: Vec<Arrival>,
    periods: Vec<Period>,
    slots: bool,
}

/// The observer.
#[derive(Clone, Debug, Default)]
pub struct Observer {
    counters: BTreeMap<CounterKey, Seen>,
}

/// More than the limit arrived.
#[derive(Clone, Debug)]
pub struct Overrun {
    key: CounterKey,
    units: u64,
    limit: u64,
    from: u64,
    window: Option<u64>,
}

impl Observer {
    /// From now on a counter's window is this long; the counter is known.
    pub fn window(&mut self, key: &CounterKey, order: u64, window: u64, slots: bool) {
        let seen = self.counters.entry(key.clone()).or_default();
        seen.slots = slots;
        if seen.periods.last().is_none_or(|period| period.window != window) {
            seen.periods.push(Period { from: order, window });
        }
    }

    /// The counters that it has heard of.
    pub fn keys(&self) -> Vec<CounterKey> {
        self.counters.keys().cloned().collect()
    }

    /// A call arrives.
    pub fn arrive(&mut self, key: &CounterKey, arrival: Arrival) {
        self.counters.entry(key.clone()).or_default().arrivals.push(arrival);
    }

    /// Units that arrived in the half-open interval `(after, until]`.
    pub fn units(&self, key: &CounterKey, after: u64, until: u64) -> u64 {
        self.counters.get(key).map_or(0, |seen| {
            let within = |arrival: &&Arrival| arrival.at > after && arrival.at <= until;
            seen.arrivals.iter().filter(within).map(|arrival| arrival.units).sum()
        })
    }

    /// All arrivals at a counter, in order of time.
    pub fn arrivals(&self, key: &CounterKey) -> Vec<Arrival> {
        let mut arrivals = self.counters.get(key).map_or(Vec::new(), |seen| seen.arrivals.clone());
        arrivals.sort_by_key(|arrival| arrival.at);
        arrivals
    }

    /// I4: at most L arrivals in every half-open interval of length T; at most L
    /// calls in flight at any moment.
    pub fn check(&self) -> Result<(), Overrun> {
        for (key, seen) in &self.counters {
            if seen.slots {
                in_flight(key, &seen.arrivals)?;
                continue;
            }
            let mut windows: Vec<u64> = seen.periods.iter().map(|period| period.window).collect();
            windows.sort_unstable();
            windows.dedup();
            for window in windows {
                for run in runs(seen, window) {
                    in_windows(key, run, window)?;
                }
            }
        }
        Ok(())
    }
}

/// A window that grows counts what is still recorded: what has left already
/// under the shorter one is not promised any more. So an interval is checked
/// among the calls that were granted while the window was at least as long.
fn runs(seen: &Seen, window: u64) -> Vec<Vec<Arrival>> {
    let mut runs = Vec::new();
    let mut from = None;
    let ends = seen.periods.iter().map(Some).chain([None]);
    for period in ends {
        let long = period.is_some_and(|period| period.window >= window);
        match (from, long) {
            (None, true) => from = period.map(|period| period.from),
            (Some(start), false) => {
                let end = period.map_or(u64::MAX, |period| period.from);
                let within = |arrival: &&Arrival| (start..end).contains(&arrival.order);
                let mut run: Vec<Arrival> = seen.arrivals.iter().filter(within).copied().collect();
                run.sort_by_key(|arrival| arrival.at);
                runs.push(run);
                from = None;
            }
            _ => {}
        }
    }
    runs
}

fn in_windows(key: &CounterKey, run: Vec<Arrival>, window: u64) -> Result<(), Overrun> {
    let lowest = run.iter().map(|arrival| arrival.limit).min().unwrap_or(u64::MAX);
    let mut end = 0;
    let mut units = 0;
    for (start, first) in run.iter().enumerate() {
        while end < run.len() && run[end].at < first.at + window {
            units += run[end].units;
            end += 1;
        }
        // The last one that was granted saw all of the others counted, so the
        // limit that was in force then holds for the interval.
        if units > lowest {
            let last = run[start..end].iter().max_by_key(|arrival| arrival.order);
            let limit = last.map_or(u64::MAX, |arrival| arrival.limit);
            if units > limit {
                let (key, window) = (key.clone(), Some(window));
                return Err(Overrun { key, units, limit, from: first.at, window });
            }
        }
        units -= first.units;
    }
    Ok(())
}

fn in_flight(key: &CounterKey, arrivals: &[Arrival]) -> Result<(), Overrun> {
    let mut starts: Vec<&Arrival> = arrivals.iter().collect();
    starts.sort_by_key(|arrival| arrival.at);
    let mut running: Vec<&Arrival> = Vec::new();
    for start in starts {
        running.retain(|arrival| arrival.until > start.at);
        running.push(start);
        let units: u64 = running.iter().map(|arrival| arrival.units).sum();
        let last = running.iter().max_by_key(|arrival| arrival.order);
        let limit = last.map_or(u64::MAX, |arrival| arrival.limit);
        if units > limit {
            let key = key.clone();
            return Err(Overrun { key, units, limit, from: start.at, window: None });
        }
    }
    Ok(())
}

impl fmt::Display for Overrun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, units, limit, from, window } = self;
        match window {
            Some(window) => {
                write!(f, "{key:?}: {units} of {limit} arrived in [{from}, {from} + {window})")
            }
            None => write!(f, "{key:?}: {units} of {limit} slots are taken at {from}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::{Group, LimitName};

    #[test]
    fn the_observer_sees_what_is_too_much_and_nothing_else() {
        let at = |at, order, limit| Arrival { at, until: at + 5, units: 1, order, limit };
        // (name, periods, slots, arrivals, good)
        type Row = (&'static str, Vec<(u64, u64)>, bool, Vec<Arrival>, bool);
        let rows: [Row; 7] = [
            ("the limit", vec![(0, 10)], false, vec![at(0, 1, 2), at(9, 2, 2)], true),
            ("one more", vec![(0, 10)], false, vec![at(0, 1, 1), at(9, 2, 1)], false),
            ("half open", vec![(0, 10)], false, vec![at(0, 1, 1), at(10, 2, 1)], true),
            ("lowered later", vec![(0, 10)], false, vec![at(0, 1, 2), at(9, 2, 2)], true),
            ("raised before", vec![(0, 10)], false, vec![at(9, 2, 2), at(0, 1, 1)], true),
            ("longer later", vec![(0, 5), (2, 10)], false, vec![at(0, 1, 1), at(6, 3, 1)], true),
            ("slots", vec![(0, 10)], true, vec![at(0, 1, 1), at(4, 2, 1)], false),
        ];
        for (name, periods, slots, arrivals, good) in rows {
            let limit = LimitName::parse("limit").expect("a name");
            let key = CounterKey { group: Group::Org, limit };
            let mut observer = Observer::default();
            for (order, window) in periods {
                observer.window(&key, order, window, slots);
            }
            for arrival in arrivals {
                observer.arrive(&key, arrival);
            }
            assert_eq!(observer.check().is_ok(), good, "{name}");
        }
    }
}
