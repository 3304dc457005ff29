//! How fast limits are used, and until when they last if that goes on.
//!
//! The rate is what the counter itself has of the last ten minutes, or of its
//! window where that is shorter. Ahead, units come at that rate, and what is
//! counted now leaves when it does: after one window nothing of it is left, so a
//! limit that has not been reached by then is not going to be. Foreign use stays
//! as it is.

use std::time::Duration;

use super::{Ledger, counter::Counter, groups::CounterRef};
use crate::quota::{
    Class, Kind, LimitUsage, Mono, OrgUsage, Rules, Scope,
    time::micros,
    window::{NO_TAG, Tag},
};

/// The rate is taken from so long a time.
const OF_LATE: Duration = Duration::from_secs(600);

/// Nor from a shorter one than this: the first seconds after a start say little.
const SHORTEST: Duration = Duration::from_secs(60);

const HOUR: Duration = Duration::from_secs(3_600);

/// So many units in such a time.
#[derive(Clone, Copy, Debug)]
struct Burn {
    units: u64,
    span: Duration,
}

impl Ledger {
    /// Limits as they stand, and as they will if it goes on as of late. A
    /// workspace's share of the org's total is not forecast: the total is.
    pub(super) fn forecasts(
        &self,
        now: Mono,
        refs: impl Iterator<Item = CounterRef>,
        tag: Tag,
    ) -> Vec<LimitUsage> {
        refs.map(|at| {
            let mut usage = self.usage_of(now, at, tag);
            let is_share = tag != NO_TAG && usage.scope != Scope::Workspace;
            if usage.kind == Kind::Window && !is_share {
                let counter = self.groups.counter(at);
                let burn = self.burn(now, counter);
                usage.burn_per_hour = burn.per_hour();
                if let Some(bound) = self.room_of(now, at) {
                    usage.exhausted_at = exhausted_at(now, counter, burn, bound, &self.rules);
                    let beyond = (counter.used() + 1).checked_sub(bound).filter(|&more| more > 0);
                    let opens_at = beyond.and_then(|more| counter.frees_at(more, &self.rules));
                    usage.opens_at = opens_at.map(|at| at.max(now));
                }
            }
            usage
        })
        .collect()
    }

    /// When each class of the workspace in this slot will pause that runs now.
    pub(super) fn pauses(&self, now: Mono, slot: u32) -> Vec<(Class, Mono)> {
        let group = self.groups.get(slot);
        let Some(counter) = group.counters.iter().find(|counter| counter.is_workspace_cap()) else {
            return Vec::new();
        };
        let burn = self.burn(now, counter);
        let runs = Class::PAUSABLE.into_iter().filter(|class| !group.classes.get(*class).paused);
        runs.filter_map(|class| {
            let pause_point = self.thresholds(slot, class)?.pause_point(counter.max);
            let pause_point = pause_point.min(counter.served());
            Some((class, exhausted_at(now, counter, burn, pause_point, &self.rules)?))
        })
        .collect()
    }

    /// The units that may be counted of a limit before it refuses; `None` where
    /// it has no bound.
    fn room_of(&self, now: Mono, at: CounterRef) -> Option<u64> {
        let counter = self.groups.counter(at);
        if counter.is_workspace_cap() {
            return (counter.max > 0).then_some(counter.served());
        }
        let kept = if counter.is_org_total() { self.reserve() } else { 0 };
        Some(counter.bound.saturating_sub(kept).saturating_sub(self.others(now, counter)))
    }

    fn burn(&self, now: Mono, counter: &Counter) -> Burn {
        let inherited = counter.inherited.total();
        // Without anything from before, the time before is not known to have
        // been quiet: this life may have begun with the first call.
        let known = if inherited > 0 { OF_LATE } else { now.since(self.attribution.began()) };
        let span = known.clamp(SHORTEST, OF_LATE).min(counter.window);
        let from = now - span;
        let before = counter.inherited.sealed_between(from, Mono(u64::MAX), counter.window);
        Burn { units: counter.own.after(from) + before, span }
    }
}

impl Burn {
    /// Rounded up: something is never nothing.
    fn per_hour(self) -> u64 {
        let units = u128::from(self.units) * u128::from(micros(HOUR));
        u64::try_from(units.div_ceil(self.span_us())).unwrap_or(u64::MAX)
    }

    /// How long it takes to use so many units.
    fn time_for(self, units: u64) -> Option<Duration> {
        let time = u128::from(units) * self.span_us();
        let time = time.checked_div(self.units.into())?;
        Some(Duration::from_micros(u64::try_from(time).unwrap_or(u64::MAX)))
    }

    fn span_us(self) -> u128 {
        u128::from(micros(self.span).max(1))
    }
}

/// When `bound` units are counted; now, if they are already. `None` if not
/// within a window, which is never.
fn exhausted_at(
    now: Mono,
    counter: &Counter,
    burn: Burn,
    bound: u64,
    rules: &Rules,
) -> Option<Mono> {
    let mut counted = counter.used();
    if counted >= bound {
        return Some(now);
    }
    let reached = |counted: u64| burn.time_for(bound - counted).map(|time| now + time);
    let horizon = now + counter.window;
    if reached(counted)? > horizon {
        return None;
    }
    let life = counter.inherited_life(rules);
    let own = counter.own.iter().map(|(stamp, units)| (stamp + counter.window, units));
    let inherited = counter.inherited.iter().map(|(stamp, units)| (stamp + life, units));
    let mut leaving: Vec<(Mono, u64)> =
        own.chain(inherited).filter(|(leaves, _)| *leaves < horizon).collect();
    leaving.sort_unstable();
    for (leaves, units) in leaving {
        let at = reached(counted)?;
        if at <= leaves {
            return Some(at);
        }
        counted -= units;
    }
    reached(counted).filter(|at| *at <= horizon)
}

impl OrgUsage {
    /// The usage without what changes by the passing of time alone: what a
    /// watcher is told of when something else has changed.
    #[must_use]
    pub fn without_forecasts(&self) -> Self {
        let mut usage = self.clone();
        let of_workspaces = usage.workspaces.iter_mut().flat_map(|workspace| {
            workspace.pauses.clear();
            &mut workspace.limits
        });
        let of_users = usage.users.iter_mut().flat_map(|user| &mut user.limits);
        for limit in usage.limits.iter_mut().chain(of_workspaces).chain(of_users) {
            limit.exhausted_at = None;
            limit.opens_at = None;
        }
        usage
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::counter::Numbers, *};
    use crate::quota::Charge;

    const NOW: Mono = Mono(1_000_000_000);

    const WINDOW: u64 = 100;

    /// A window of 100 s in which so many units were used so many seconds ago.
    fn counter(used: &[(u64, u64)]) -> Counter {
        let charge = Charge { window: Duration::from_secs(WINDOW), ..Charge::org_total() };
        let numbers = Numbers {
            max: 1_000,
            outage_share: 0,
            bound: 1_000,
            block_base: 1_000,
            shadow: false,
            look_back: Duration::ZERO,
        };
        let mut counter = Counter::new(&charge, "acme".into(), numbers);
        for (ago, units) in used {
            counter.own.add(NOW - Duration::from_secs(*ago), NO_TAG, *units);
        }
        counter
    }

    fn check(used: &[(u64, u64)], units: u64, bound: u64, expected: Option<u64>) {
        let burn = Burn { units, span: Duration::from_secs(WINDOW) };
        let at = exhausted_at(NOW, &counter(used), burn, bound, &Rules::default());
        let seconds = at.map(|at| at.since(NOW).as_secs());
        assert_eq!(seconds, expected, "{used:?}, {units} in {WINDOW} s, of {bound}");
    }

    #[test]
    fn a_limit_lasts_until_what_comes_has_filled_what_is_free_and_what_leaves() {
        check(&[], 0, 10, None);
        check(&[(50, 10)], 0, 10, Some(0));
        // One a second, and nothing leaves before it is full.
        check(&[(10, 40)], 100, 100, Some(60));
        // After 20 s 40 units leave: they come in again.
        check(&[(80, 40), (10, 20)], 100, 90, Some(70));
        // As much comes as leaves, but what leaves is late.
        check(&[(80, 40), (10, 50)], 90, 100, Some(11));
        check(&[(80, 40), (10, 50)], 90, 140, None);
        // Never, though it would be soon if nothing left.
        check(&[(99, 90)], 50, 100, None);
    }

    proptest! {
        #[test]
        fn the_forecast_is_what_a_simulation_by_the_second_shows(
            used in prop::collection::vec((1_u64..WINDOW, 1_u64..30), 0..20),
            units in 0_u64..400,
            bound in 1_u64..300,
        ) {
            let burn = Burn { units, span: Duration::from_secs(WINDOW) };
            let found = exhausted_at(NOW, &counter(&used), burn, bound, &Rules::default());
            let counted = |second: u64| {
                let own = used.iter().filter(|(ago, _)| WINDOW - ago > second);
                own.map(|(_, units)| units * WINDOW).sum::<u64>() + units * second
            };
            // What leaves at a second has not left just before.
            let reached = |second: u64| {
                counted(second) >= bound * WINDOW
                    || second > 0 && counted(second - 1) + units >= bound * WINDOW
            };
            let first = (0..=WINDOW).find(|second| reached(*second));
            match (found, first) {
                (None, None) => {}
                (Some(found), Some(first)) => {
                    let found = found.since(NOW).as_micros().div_ceil(1_000_000);
                    prop_assert!(found.abs_diff(u128::from(first)) <= 1, "{found} {first}");
                }
                (found, first) => prop_assert!(false, "{found:?} {first:?}"),
            }
        }
    }
}
