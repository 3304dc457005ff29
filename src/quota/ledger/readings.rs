//! The last readings of an org, for people who ask what the estimate stands on.

use std::collections::VecDeque;

use crate::quota::{Mono, SeenReading};

/// So many are kept.
const KEPT: usize = 10;

/// The last readings by the time of their answers, newest first.
#[derive(Clone, Debug, Default)]
pub struct Readings(VecDeque<SeenReading>);

impl Readings {
    /// Puts a reading in its place: one may come late. Where it is older than all
    /// that are kept, it is not.
    ///
    /// Of too many the oldest goes of whoever has told most of them: however fast
    /// one tells, what others have told can still be seen beside it.
    pub fn note(&mut self, reading: SeenReading) {
        let is_newer = |other: &SeenReading| {
            (other.as_of, other.usage.used) > (reading.as_of, reading.usage.used)
        };
        let place = self.0.partition_point(is_newer);
        self.0.insert(place, reading);
        if self.0.len() > KEPT
            && let Some(place) = self.most_dispensable()
        {
            self.0.remove(place);
        }
    }

    /// Counts units as ours in the newest reading, which is of this moment.
    pub fn settle(&mut self, as_of: Mono, units: u64) {
        if let Some(newest) = self.0.front_mut().filter(|newest| newest.as_of == as_of) {
            newest.own += units;
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &SeenReading> {
        self.0.iter()
    }

    /// Of those who have told most, the oldest; there are but a few, so each is
    /// compared with each.
    fn most_dispensable(&self) -> Option<usize> {
        let told_by = |teller| self.0.iter().filter(move |other| other.told_by == teller).count();
        // Of equals the last one is the oldest.
        (0..self.0.len()).max_by_key(|place| told_by(self.0[*place].told_by.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::salesforce::ApiUsage;

    fn reading(as_of: u64, used: u64, told_by: Option<&str>) -> SeenReading {
        let usage = ApiUsage { used, limit: 100 };
        SeenReading { as_of: Mono(as_of), usage, own: 0, told_by: told_by.map(Into::into) }
    }

    #[test]
    fn the_ten_newest_are_kept_by_the_time_of_their_answers() {
        let mut readings = Readings::default();
        for second in [5, 1, 9, 3, 7, 11, 2, 8, 4, 10, 6, 12, 1] {
            readings.note(reading(second, second, None));
        }
        let times: Vec<u64> = readings.iter().map(|reading| reading.as_of.0).collect();
        assert_eq!(times, [12, 11, 10, 9, 8, 7, 6, 5, 4, 3]);
    }

    #[test]
    fn of_two_of_the_same_moment_the_larger_use_comes_first() {
        let mut readings = Readings::default();
        for used in [5, 9, 7] {
            readings.note(reading(1, used, None));
        }
        readings.settle(Mono(1), 4);
        readings.settle(Mono(2), 100);
        let seen: Vec<_> =
            readings.iter().map(|reading| (reading.usage.used, reading.own)).collect();
        assert_eq!(seen, [(9, 4), (7, 0), (5, 0)]);
    }

    #[test]
    fn a_flood_of_one_teller_hides_nothing_that_others_have_told() {
        let mut readings = Readings::default();
        for second in 1..=4 {
            readings.note(reading(second, second, Some("token:sync")));
        }
        for second in 5..=1_000 {
            readings.note(reading(second, second, Some("token:flood")));
        }
        let seen: Vec<_> = readings
            .iter()
            .map(|reading| (reading.as_of.0, reading.told_by.as_deref().unwrap_or_default()))
            .collect();
        let flood = (995..=1_000).rev().map(|second| (second, "token:flood"));
        let sync = (1..=4).rev().map(|second| (second, "token:sync"));
        assert_eq!(seen, flood.chain(sync).collect::<Vec<_>>());
    }
}
