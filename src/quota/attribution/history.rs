//! An org's total as it stood, by five minutes, for a day: the curve that people
//! look at. Nothing is decided by it.

use std::collections::VecDeque;

use crate::quota::Wall;

/// The highest use within each of such intervals is kept.
pub const INTERVAL_SECS: u64 = 300;

/// A day of intervals, and the one that it began in.
pub const MAX_POINTS: usize = 289;

/// How far a total is used, in units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// Through the service, in the window until then; also what a crash lost.
    pub own: u64,
    /// By others: an estimate.
    pub foreign: u64,
    /// The limit.
    pub limit: u64,
}

/// The highest use within one interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryPoint {
    /// The interval's number since the Unix epoch.
    interval: u64,
    /// How far the total was used.
    pub level: Level,
}

/// The intervals of a day. One that is like that before takes no memory.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Oldest first: those that differ from the one before.
    kept: VecDeque<Kept>,
    /// The last interval that is known.
    until: Option<u64>,
}

/// A point in half the size: a total has at most 10^8 units, and what is used far
/// beyond it shows as 4 billion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kept {
    interval: u32,
    own: u32,
    foreign: u32,
    limit: u32,
}

impl Level {
    /// All that is used.
    #[must_use]
    pub fn used(self) -> u64 {
        self.own.saturating_add(self.foreign)
    }
}

impl HistoryPoint {
    /// When the interval begins.
    #[must_use]
    pub fn begins(&self) -> Wall {
        Wall(self.interval * INTERVAL_SECS * 1_000_000)
    }
}

impl History {
    /// Notes how far the total is used at a second, which is not earlier than the
    /// last one: what has left since the last note may be in it still. `then` tells
    /// it exactly, for any second from the last note on in which nobody has used
    /// anything: for the beginning of every interval that has begun since.
    pub fn note(&mut self, at: u64, level: Level, then: impl Fn(u64) -> Level) {
        let now = at / INTERVAL_SECS;
        match (self.until, self.kept.back()) {
            (Some(until), Some(highest)) if until >= now => {
                let highest = highest.level();
                let highest = if level.used() > highest.used() { level } else { highest };
                self.set(until, Level { limit: level.limit, ..highest });
            }
            (Some(until), _) => {
                for interval in (until + 1).max(oldest(now))..=now {
                    self.set(interval, then(interval * INTERVAL_SECS));
                }
            }
            (None, _) => self.set(now, then(at)),
        }
        while self.kept.get(1).is_some_and(|next| u64::from(next.interval) <= oldest(now)) {
            self.kept.pop_front();
        }
    }

    /// What is known from a second on, until one that is not earlier than the last
    /// note.
    pub fn points(&self, from: u64, at: u64) -> Vec<HistoryPoint> {
        let Some(until) = self.until else { return Vec::new() };
        let begin = oldest(at / INTERVAL_SECS).max(from / INTERVAL_SECS);
        let mut kept = self.kept.iter().peekable();
        let mut points = Vec::new();
        while let Some(point) = kept.next() {
            let end = kept.peek().map_or(until + 1, |next| next.interval.into());
            let intervals = u64::from(point.interval).max(begin)..end;
            points
                .extend(intervals.map(|interval| HistoryPoint { interval, level: point.level() }));
        }
        points
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn set(&mut self, interval: u64, level: Level) {
        self.until = Some(interval);
        let point = Kept::new(interval, level);
        match self.kept.back_mut() {
            Some(last) if last.interval == point.interval => *last = point,
            Some(last) if (Kept { interval: point.interval, ..*last }) == point => {}
            _ => self.kept.push_back(point),
        }
    }

    /// Points that take memory.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.kept.len()
    }
}

impl Kept {
    fn new(interval: u64, level: Level) -> Self {
        let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        Self {
            interval: narrow(interval),
            own: narrow(level.own),
            foreign: narrow(level.foreign),
            limit: narrow(level.limit),
        }
    }

    fn level(&self) -> Level {
        Level { own: self.own.into(), foreign: self.foreign.into(), limit: self.limit.into() }
    }
}

/// The oldest interval that is kept.
fn oldest(now: u64) -> u64 {
    now.saturating_sub(MAX_POINTS as u64 - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: u64 = 1_700_000_100 / INTERVAL_SECS * INTERVAL_SECS;

    fn level(own: u64) -> Level {
        Level { own, foreign: 5, limit: 100 }
    }

    fn own(history: &History, at: u64) -> Vec<u64> {
        history.points(0, at).iter().map(|point| point.level.own).collect()
    }

    /// Nobody has looked: so much is used at the beginning of each interval.
    fn falling(before: u64) -> impl Fn(u64) -> Level {
        move |at| level(before.saturating_sub((at - NOON) / INTERVAL_SECS))
    }

    #[test]
    fn the_highest_use_of_each_interval_is_kept() {
        let mut history = History::default();
        assert!(history.points(0, NOON).is_empty());
        for (at, now) in [(0, 3), (10, 9), (20, 7), (300, 6), (310, 8), (900, 7)] {
            history.note(NOON + at, level(now), |_| level(now));
        }
        assert_eq!(own(&history, NOON + 900), [9, 8, 7, 7]);
        let points = history.points(NOON + 301, NOON + 900);
        assert_eq!(points[0].begins(), Wall((NOON + 300) * 1_000_000));
        assert_eq!(points.len(), 3);
    }

    #[test]
    fn where_nobody_looked_use_falls_as_units_leave() {
        let mut history = History::default();
        history.note(NOON, level(20), falling(20));
        let later = NOON + 4 * INTERVAL_SECS + 7;
        // What has left has not been dropped yet, and is not taken for use.
        history.note(later, level(20), falling(20));
        assert_eq!(own(&history, later), [20, 19, 18, 17, 16]);
        history.note(later, level(40), falling(20));
        assert_eq!(own(&history, later), [20, 19, 18, 17, 40]);
    }

    #[test]
    fn a_day_is_kept_and_what_does_not_change_takes_no_memory() {
        let mut history = History::default();
        for interval in 0..1_000 {
            history.note(NOON + interval * INTERVAL_SECS, level(7), |_| level(7));
        }
        assert_eq!((history.len(), history.points(0, NOON + 999 * 300).len()), (1, MAX_POINTS));
        for interval in 1_000..2_000 {
            history.note(NOON + interval * INTERVAL_SECS, level(interval), |_| level(interval));
        }
        assert_eq!((history.len(), history.points(0, NOON + 1_999 * 300).len()), (289, 289));
        // After a week of silence only the last day is filled in.
        let week = NOON + 4_000 * INTERVAL_SECS;
        history.note(week, level(0), |_| level(0));
        assert_eq!(own(&history, week), [0; MAX_POINTS]);
    }

    #[test]
    fn another_limit_is_shown_though_use_has_not_risen() {
        let mut history = History::default();
        history.note(NOON, level(9), |_| level(9));
        history.note(NOON + 1, Level { limit: 50, ..level(3) }, |_| level(3));
        let [point] = history.points(0, NOON)[..] else { panic!("one") };
        assert_eq!(point.level, Level { limit: 50, ..level(9) });
    }
}
