//! What others use of the org's total, by Salesforce's own figures.

use std::time::Duration;

use super::Ledger;
use crate::quota::{ForeignRecord, Mono, Now, Reading, Wall};

/// The estimate of what others use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// Units.
    pub estimate: u64,
    /// The moment that the reading speaks of.
    pub as_of: Mono,
    /// The largest `used` among the readings of that moment.
    used: u64,
    /// The limit that it carried, if a usable one.
    pub limit: Option<u64>,
}

/// An estimate older than this says nothing any more.
const ESTIMATE_LIFE: Duration = Duration::from_secs(24 * 3_600);
/// Figures older than this are marked as stale.
const STALE_AFTER: Duration = Duration::from_secs(600);
/// After this time without a reading one probe is let through, if foreign use
/// alone blocks.
const PROBE_AFTER: Duration = Duration::from_secs(300);
/// A client's answer time may be ahead of the service's clock by this much;
/// else the arrival counts.
const AHEAD: Duration = Duration::from_secs(120);
/// `Date` headers are cut to whole seconds.
const DATE_PRECISION: Duration = Duration::from_secs(1);
/// Limits outside of this are not believed.
const BELIEVABLE: std::ops::RangeInclusive<u64> = 1..=100_000_000;
/// Use may exceed the limit, but beyond ten times the largest limit a figure
/// says no more than this one, and sums with it stay far from overflowing.
const MOST_USED: u64 = 1_000_000_000;

impl Foreign {
    pub(super) fn restored(now: Now, record: ForeignRecord) -> Self {
        Self {
            estimate: record.estimate,
            as_of: now.mono_at(record.as_of).min(now.mono),
            used: 0,
            limit: record.limit,
        }
    }
}

impl Ledger {
    /// Takes a reading that came without a permit of ours.
    pub fn reading(&mut self, now: Now, reading: Reading, completed_ago: Duration) {
        self.forget(now.mono);
        self.take_reading(now, reading, now.mono - completed_ago);
        self.cool_by_reading(now, reading, now.mono - completed_ago);
    }

    /// Takes a reading: what Salesforce counts and we do not, others use.
    /// `completed`: when the answer that carried it was complete.
    pub(super) fn take_reading(&mut self, now: Now, reading: Reading, completed: Mono) {
        let moment = reading_moment(now, reading.answer_time, completed.min(now.mono));
        if let Some(foreign) = &self.foreign {
            let older = moment < foreign.as_of;
            let same = moment == foreign.as_of && reading.usage.used.min(MOST_USED) < foreign.used;
            if older || same {
                return;
            }
        }
        let total = self.total_ref();
        self.expire_counters(now.mono, total.into_iter());
        let used = reading.usage.used.min(MOST_USED);
        let own = self.own_until(moment - self.policy.header_lag);
        let limit = Some(reading.usage.limit).filter(|limit| BELIEVABLE.contains(limit));
        let known = self.foreign.and_then(|foreign| foreign.limit);
        let changed = limit.is_some() && limit != known;
        let before = self.foreign_units(now.mono);
        self.foreign = Some(Foreign {
            estimate: used.saturating_sub(own),
            as_of: moment,
            used,
            limit: limit.or(known),
        });
        self.unread_since = None;
        self.last_probe = None;
        self.changes += 1;
        self.open_by_reading();
        if self.foreign_units(now.mono) < before {
            self.others_use_less();
        }
        if changed {
            self.configure_counters();
        }
    }

    /// The org's total as it is known: the header's limit once there was one,
    /// never more than the settings allow.
    pub(super) fn daily_limit(&self) -> u64 {
        let read = self.foreign.and_then(|foreign| foreign.limit);
        let limit = read.unwrap_or(self.policy.daily_calls);
        limit.min(self.policy.daily_calls_max.unwrap_or(u64::MAX))
    }

    /// Kept for foreign traffic between two readings.
    pub(super) fn reserve(&self) -> u64 {
        let units = u128::from(self.daily_limit()) * u128::from(self.policy.reserve_percent) / 100;
        u64::try_from(units).unwrap_or(u64::MAX)
    }

    /// What others use, as far as it is known.
    pub(super) fn foreign_units(&self, _now: Mono) -> u64 {
        self.foreign.map_or(0, |foreign| foreign.estimate)
    }

    /// True while grants go on without a reading for ten minutes.
    pub(super) fn is_stale(&self, now: Mono) -> bool {
        let since = match (&self.foreign, self.unread_since) {
            (Some(foreign), _) => Some(foreign.as_of),
            (None, since) => since,
        };
        since.is_some_and(|since| now.since(since) > STALE_AFTER)
    }

    /// When the last reading was taken.
    pub(super) fn last_reading(&self) -> Option<Mono> {
        self.foreign.map(|foreign| foreign.as_of)
    }

    pub(super) fn expire_foreign(&mut self, now: Mono) {
        let Some(foreign) = self.foreign else { return };
        if now.since(foreign.as_of) <= ESTIMATE_LIFE {
            return;
        }
        if self.total_counter().is_some_and(|counter| counter.used() > 0) {
            // The limit was read and holds; the estimate says nothing any more.
            if foreign.estimate > 0 {
                self.foreign = Some(Foreign { estimate: 0, ..foreign });
                self.others_use_less();
            }
        } else {
            // An org at rest is forgotten wholly.
            self.foreign = None;
            self.others_use_less();
            self.configure_counters();
        }
    }

    /// The total that was at its limit is not any more: it need not wait for its
    /// turn to be reserved.
    fn others_use_less(&mut self) {
        let counters = self.groups.iter_mut().flat_map(|(_, group)| &mut group.counters);
        for counter in counters.filter(|counter| counter.is_org_total()) {
            counter.block.limited = false;
        }
    }

    /// One call may look whether foreign use is still what it was.
    pub(super) fn probe_is_due(&self, now: Mono) -> bool {
        let quiet = |since: Mono| now.since(since) > PROBE_AFTER;
        self.foreign.is_some_and(|foreign| foreign.estimate > 0 && quiet(foreign.as_of))
            && self.last_probe.is_none_or(quiet)
    }

    /// Foreign use, and nothing else, leaves no room for so many units in the
    /// org's total.
    pub(super) fn total_is_blocked(&self, now: Mono, units: u64) -> bool {
        let Some(counter) = self.total_counter() else { return false };
        let limit = counter.bound.saturating_sub(self.reserve());
        let used = counter.used() + units;
        used <= limit && used + self.foreign_units(now) > limit
    }

    /// Our units in the 24 hours up to a moment that Salesforce must have
    /// counted by then: answered, or never reported and travelled.
    fn own_until(&self, moment: Mono) -> u64 {
        self.total_counter().map_or(0, |counter| {
            let own = counter.own.total() - counter.own.after(moment);
            own + counter.inherited.sealed_until(moment)
        })
    }

    fn total_counter(&self) -> Option<&super::Counter> {
        let slot = self.groups.slot(&crate::quota::Group::Org)?;
        self.groups.get(slot).counters.iter().find(|counter| counter.is_org_total())
    }
}

/// The moment that a reading speaks of.
///
/// A `Date` header has whole seconds: the answer was made somewhere in the
/// second that it names, and the call that carried it was complete at
/// `completed`. Taking the start of the second would count every own call of
/// that second as foreign, until the next reading.
fn reading_moment(now: Now, answer_time: Option<Wall>, completed: Mono) -> Mono {
    let Some(answer_time) = answer_time else { return now.mono };
    if answer_time > now.wall + AHEAD {
        return now.mono;
    }
    let earliest = now.mono_at(answer_time).min(now.mono);
    if answer_time.0 % 1_000_000 != 0 {
        return earliest;
    }
    completed.clamp(earliest, earliest + DATE_PRECISION).min(now.mono)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_of_whole_seconds_is_taken_for_the_moment_within_it_that_fits_the_answer() {
        let now = Now { mono: Mono(50_000_000), wall: Wall(1_000_400_000) };
        let rows = [
            ("no answer time: the arrival", None, 49_000_000, 50_000_000),
            (
                "more than two minutes ahead: the arrival",
                Some(1_200_000_000),
                49_000_000,
                50_000_000,
            ),
            ("a fraction is exact", Some(1_000_300_000), 49_950_000, 49_900_000),
            ("within the second", Some(1_000_000_000), 49_900_000, 49_900_000),
            ("before the second", Some(1_000_000_000), 49_000_000, 49_600_000),
            ("after the second", Some(998_000_000), 49_900_000, 48_600_000),
            ("slightly ahead: now", Some(1_001_000_000), 49_900_000, 50_000_000),
        ];
        for (name, answer_time, completed, expected) in rows {
            let moment = reading_moment(now, answer_time.map(Wall), Mono(completed));
            assert_eq!(moment, Mono(expected), "{name}");
        }
    }
}
