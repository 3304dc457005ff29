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
    pub fn note(&mut self, reading: SeenReading) {
        let is_newer = |other: &SeenReading| {
            (other.as_of, other.usage.used) > (reading.as_of, reading.usage.used)
        };
        let place = self.0.partition_point(is_newer);
        self.0.insert(place, reading);
        self.0.truncate(KEPT);
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::salesforce::ApiUsage;

    #[test]
    fn the_ten_newest_are_kept_by_the_time_of_their_answers() {
        let mut readings = Readings::default();
        for second in [5, 1, 9, 3, 7, 11, 2, 8, 4, 10, 6, 12, 1] {
            let usage = ApiUsage { used: second, limit: 100 };
            readings.note(SeenReading { as_of: Mono(second), usage, own: 0 });
        }
        let times: Vec<u64> = readings.iter().map(|reading| reading.as_of.0).collect();
        assert_eq!(times, [12, 11, 10, 9, 8, 7, 6, 5, 4, 3]);
    }

    #[test]
    fn of_two_of_the_same_moment_the_larger_use_comes_first() {
        let mut readings = Readings::default();
        for used in [5, 9, 7] {
            let usage = ApiUsage { used, limit: 100 };
            readings.note(SeenReading { as_of: Mono(1), usage, own: 0 });
        }
        readings.settle(Mono(1), 4);
        readings.settle(Mono(2), 100);
        let seen: Vec<_> =
            readings.iter().map(|reading| (reading.usage.used, reading.own)).collect();
        assert_eq!(seen, [(9, 4), (7, 0), (5, 0)]);
    }
}
