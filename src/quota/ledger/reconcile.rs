//! What others use of the org's total, by Salesforce's own figures.

use std::time::Duration;

use super::{Counter, Ledger};
use crate::quota::{
    ForeignRecord, Group, Mono, Now, Reading, SeenReading, Teller, Wall, salesforce::ApiUsage,
};

/// What the newest reading said, and what of it is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// The moment that the reading speaks of.
    pub as_of: Mono,
    /// The largest `used` among the readings of that moment.
    used: u64,
    /// Our own part of it: *own(t)*, by all that has been reported until now.
    own: u64,
    /// The limit that it carried, if a usable one.
    pub limit: Option<u64>,
    /// The highest limit of the last day, and when it was last read.
    highest: (u64, Mono),
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
/// A reading that is older than the newest one by more than this is ignored.
const LATE: Duration = Duration::from_secs(300);
/// Limits outside of this are not believed.
pub(super) const BELIEVABLE: std::ops::RangeInclusive<u64> = 1..=100_000_000;
/// Use may exceed the limit, but beyond ten times the largest limit a figure
/// says no more than this one, and sums with it stay far from overflowing.
const MOST_USED: u64 = 1_000_000_000;

impl Foreign {
    pub(super) fn restored(now: Now, record: ForeignRecord) -> Self {
        let as_of = now.mono_at(record.as_of).min(now.mono);
        let used = record.used.max(record.estimate).min(MOST_USED);
        Self {
            as_of,
            used,
            own: used.saturating_sub(record.estimate),
            limit: record.limit,
            highest: (record.limit.unwrap_or(0), as_of),
        }
    }

    /// What others use by the reading, in units. It may be more than the limit,
    /// as Salesforce's own figure may; nothing is cut off it here, so that a
    /// limit that rises later finds all of it.
    pub(super) fn estimate(&self) -> u64 {
        self.used.saturating_sub(self.own)
    }

    /// The use that the reading showed, ours and foreign, in units.
    pub(super) const fn used(&self) -> u64 {
        self.used
    }

    /// Says nothing any more of what others use; the limit holds.
    fn drop_estimate(&mut self) {
        (self.used, self.own) = (0, 0);
    }

    /// The limit that was in force within the last day, where the one of now is
    /// more than a tenth below it.
    pub(super) fn fell_from(&self) -> Option<u64> {
        let (before, now) = (self.highest.0, self.limit?);
        (u128::from(now) * 10 < u128::from(before) * 9).then_some(before)
    }

    /// The highest limit of the day up to a reading with `limit`.
    fn highest_with(known: Option<&Self>, limit: Option<u64>, moment: Mono) -> (u64, Mono) {
        let limit = limit.or(known.and_then(|known| known.limit)).unwrap_or(0);
        match known.map(|known| known.highest) {
            Some((highest, read)) if highest > limit && moment.since(read) <= ESTIMATE_LIFE => {
                (highest, read)
            }
            _ => (limit, moment),
        }
    }
}

impl Ledger {
    /// Takes a reading of somebody who is believed: what Salesforce counts and
    /// we do not, others use. `completed`: when the answer that carried it was
    /// complete. Returns the moment that it speaks of, if none speaks of a later one.
    pub(super) fn take_reading(
        &mut self,
        now: Now,
        reading: Reading,
        completed: Mono,
        by: &Teller,
    ) -> Option<Mono> {
        let moment = reading_moment(now, reading.answer_time, completed.min(now.mono));
        let newest = self.foreign.as_ref();
        if newest.is_some_and(|newest| newest.as_of.since(moment) > LATE) {
            return None;
        }
        let used = reading.usage.used.min(MOST_USED);
        let is_newest = newest.is_none_or(|newest| (moment, used) >= (newest.as_of, newest.used));
        let total = self.total_ref();
        self.expire_counters(now.mono, total.into_iter());
        let own = self.own_at(moment);
        let usage = ApiUsage { used, limit: reading.usage.limit };
        let told_by = by.principal.clone();
        self.readings.note(SeenReading { as_of: moment, usage, own, told_by });
        if !is_newest {
            return None;
        }
        let limit = Some(reading.usage.limit).filter(|limit| BELIEVABLE.contains(limit));
        let known = self.foreign.and_then(|foreign| foreign.limit);
        let changed = limit.is_some() && limit != known;
        let before = self.foreign_units(now.mono);
        self.foreign = Some(Foreign {
            as_of: moment,
            used,
            own,
            limit: limit.or(known),
            highest: Foreign::highest_with(self.foreign.as_ref(), limit, moment),
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
        self.note_level(now.mono);
        self.note_for_record();
        Some(moment)
    }

    /// Takes over what others use, in units, and the limit (0: not known), where
    /// both are known otherwise than by a reading: in a replay.
    pub fn take_estimate(&mut self, now: Now, foreign: u64, limit: u64) {
        let total = self.total_ref();
        self.expire_counters(now.mono, total.into_iter());
        let used = self.own_at(now.mono).saturating_add(foreign);
        let reading = Reading { usage: ApiUsage { used, limit }, answer_time: None };
        self.take_reading(now, reading, now.mono, &Teller::anybody());
    }

    /// A record that stands is brought up to date with what was read, by the next
    /// reserve or at its block's end. None is made for a reading alone.
    fn note_for_record(&mut self) {
        if let Some(slot) = self.groups.slot(&Group::Org) {
            let record = &mut self.groups.get_mut(slot).record;
            record.dirty |= record.revision != 0;
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
        let (limit, percent) = (self.daily_limit(), u64::from(self.policy.reserve_percent));
        (limit / 100).saturating_mul(percent).saturating_add(limit % 100 * percent / 100)
    }

    /// What others use, as far as it is known: never more than the limit in
    /// force, which leaves no room already.
    pub(super) fn foreign_units(&self, _now: Mono) -> u64 {
        self.foreign.map_or(0, |foreign| foreign.estimate().min(self.daily_limit()))
    }

    /// Units of ours moved to an earlier stamp, because their answer was
    /// reported. Where it was complete by the newest reading, Salesforce's figure
    /// had them already: they are no foreign use.
    pub(super) fn answered_by_reading(&mut self, from: Mono, to: Mono, units: u64) {
        let lag = self.policy.header_lag;
        let before = self.foreign_units(from);
        let Some(foreign) = &mut self.foreign else { return };
        let until = foreign.as_of - lag;
        if from <= until || to > until {
            return;
        }
        foreign.own += units;
        let as_of = foreign.as_of;
        self.readings.settle(as_of, units);
        if self.foreign_units(from) < before {
            self.others_use_less();
        }
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
            if let Some(foreign) = &mut self.foreign
                && foreign.estimate() > 0
            {
                foreign.drop_estimate();
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
        if let Some(total) = self.total_ref() {
            self.groups.counter_mut(total).block.limited = false;
        }
    }

    /// One call may look whether foreign use is still what it was.
    pub(super) fn probe_is_due(&self, now: Mono) -> bool {
        let quiet = |since: Mono| now.since(since) > PROBE_AFTER;
        self.foreign.is_some_and(|foreign| foreign.estimate() > 0 && quiet(foreign.as_of))
            && self.last_probe.is_none_or(quiet)
    }

    /// When the next probe may be made for those who wait: foreign use alone
    /// blocks them. `None` where it does not, or where one is due already.
    pub(super) fn probe_wake(&self, now: Mono) -> Option<Mono> {
        let foreign = self.foreign.as_ref()?;
        let since = self.last_probe.map_or(foreign.as_of, |probe| probe.max(foreign.as_of));
        // Due is what has been quiet for longer.
        let due = since + PROBE_AFTER + Duration::from_micros(1);
        (due > now && foreign.estimate() > 0 && self.total_is_blocked(now, 1)).then_some(due)
    }

    /// For how long Salesforce's figures must be remembered as they were: a
    /// reading may come late, and its figure lag behind.
    pub(super) fn look_back(&self) -> Duration {
        LATE + self.policy.header_lag
    }

    /// The last readings, newest first.
    pub(super) fn seen_readings(&self) -> Vec<SeenReading> {
        self.readings.iter().cloned().collect()
    }

    /// Foreign use, and nothing else, leaves no room for so many units in the
    /// org's total.
    pub(super) fn total_is_blocked(&self, now: Mono, units: u64) -> bool {
        let Some(counter) = self.total_counter() else { return false };
        let limit = counter.bound.saturating_sub(self.reserve());
        let used = counter.used() + units;
        used <= limit && used + self.foreign_units(now) > limit
    }

    /// *own(t)*: our units in the 24 hours up to a moment that Salesforce must
    /// have counted by then: answered, or never reported and travelled. Units
    /// younger than the lag of its figure are left out. Where a bucket holds units
    /// of before and after, none of it counts: what is ours is never taken for
    /// more than it is, nor what is foreign for less.
    fn own_at(&self, moment: Mono) -> u64 {
        let until = moment - self.policy.header_lag;
        self.total_counter().map_or(0, |counter| {
            let from = moment - counter.window;
            let inherited = &counter.inherited;
            counter.own.between(from, until) + inherited.sealed_between(from, until, counter.window)
        })
    }

    fn total_counter(&self) -> Option<&Counter> {
        self.total_ref().map(|at| self.groups.counter(at))
    }
}

/// The moment that a reading speaks of.
///
/// A `Date` header has whole seconds: the answer was made somewhere in the
/// second that it names, and the call that carried it was complete at
/// `completed`. Taking the start of the second would count every own call of
/// that second as foreign, until the next reading.
///
/// Without a time that can be believed the arrival counts: at the caller, which
/// may have reported it much later. Nor was any answer made after it arrived.
fn reading_moment(now: Now, answer_time: Option<Wall>, completed: Mono) -> Mono {
    let Some(answer_time) = answer_time else { return completed };
    if answer_time > now.wall + AHEAD {
        return completed;
    }
    let earliest = now.mono_at(answer_time);
    let is_exact = answer_time.0 % 1_000_000 != 0;
    completed.min(if is_exact { earliest } else { earliest + DATE_PRECISION })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_of_whole_seconds_is_taken_for_the_moment_within_it_that_fits_the_answer() {
        let now = Now { mono: Mono(50_000_000), wall: Wall(1_000_400_000) };
        let rows = [
            ("no answer time: the arrival", None, 49_000_000, 49_000_000),
            (
                "more than two minutes ahead: the arrival",
                Some(1_200_000_000),
                49_000_000,
                49_000_000,
            ),
            ("a fraction is exact", Some(1_000_300_000), 49_950_000, 49_900_000),
            ("within the second", Some(1_000_000_000), 49_900_000, 49_900_000),
            ("before the second", Some(1_000_000_000), 49_000_000, 49_000_000),
            ("after the second", Some(998_000_000), 49_900_000, 48_600_000),
            ("slightly ahead: the arrival", Some(1_001_000_000), 49_900_000, 49_900_000),
            ("a fraction after the arrival", Some(1_000_300_000), 49_800_000, 49_800_000),
        ];
        for (name, answer_time, completed, expected) in rows {
            let moment = reading_moment(now, answer_time.map(Wall), Mono(completed));
            assert_eq!(moment, Mono(expected), "{name}");
        }
    }
}
