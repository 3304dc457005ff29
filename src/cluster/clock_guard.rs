//! Whether this node's wall clock can be trusted, judged by those of its peers.
//!
//! Records are written by wall clocks, and count on all of them being within
//! *ε* of true time. A node that differs from a majority by more than 0.8 ε is
//! wrong itself, and is to give its shards away before it reaches ε.

use std::{collections::BTreeMap, time::Duration};

use crate::quota::{Mono, time::micros};

/// A measurement that took longer says too little: the error is up to half of
/// it.
const LONGEST_ROUND_TRIP: Duration = Duration::from_millis(100);

/// What was measured earlier says nothing about now.
const COUNTS_FOR: Duration = Duration::from_secs(30);

/// The parts of ε, out of [`PARTS`], that a clock may differ by.
const ALLOWED: u64 = 4;
const PARTS: u64 = 5;

/// What the peers' clocks say about this node's.
#[derive(Clone, Debug)]
pub struct ClockGuard {
    epsilon: Duration,
    samples: BTreeMap<String, Sample>,
}

/// A peer's clock less this node's, in microseconds, and when it was measured.
#[derive(Clone, Copy, Debug)]
struct Sample {
    offset_us: i64,
    at: Mono,
}

/// What is to be done about this node's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It differs from nobody's, as far as anybody was measured.
    Fine,
    /// Besides, a majority of at least two agree with it.
    Confirmed,
    /// It differs from some peers, too few to tell whose clock is wrong.
    Warn {
        /// From so many.
        peers: usize,
        /// The greatest of their offsets (peer less this node), in microseconds.
        offset_us: i64,
    },
    /// It differs from a majority, at least two: this node is to own no shard.
    Drain {
        /// From so many.
        peers: usize,
        /// The greatest of their offsets (peer less this node), in microseconds.
        offset_us: i64,
    },
}

impl ClockGuard {
    /// A guard that has measured nothing. `epsilon`: how far every node's clock
    /// may be from true time.
    #[must_use]
    pub fn new(epsilon: Duration) -> Self {
        Self { epsilon, samples: BTreeMap::new() }
    }

    /// A measurement: the peer's clock less this node's, in microseconds, by a
    /// question and its answer that took `round_trip` together. A long one is
    /// ignored.
    pub fn sample(&mut self, now: Mono, peer: &str, offset_us: i64, round_trip: Duration) {
        if round_trip <= LONGEST_ROUND_TRIP {
            self.samples.insert(peer.to_owned(), Sample { offset_us, at: now });
        }
    }

    /// Forgets a peer, which has left.
    pub fn forget(&mut self, peer: &str) {
        self.samples.remove(peer);
    }

    /// The last measurement of a peer's clock less this node's, in
    /// microseconds; `None` if there is none that still counts.
    #[must_use]
    pub fn offset(&self, now: Mono, peer: &str) -> Option<i64> {
        let sample = self.samples.get(peer)?;
        (now.since(sample.at) <= COUNTS_FOR).then_some(sample.offset_us)
    }

    /// What is to be done. `live_peers`: the nodes that are alive besides this
    /// one, measured or not: the majority is of all of them.
    #[must_use]
    pub fn verdict<'a>(&self, now: Mono, live_peers: impl IntoIterator<Item = &'a str>) -> Verdict {
        let bound = micros(self.epsilon) / PARTS * ALLOWED;
        let (mut live, mut agree, mut peers, mut greatest) = (0_usize, 0_usize, 0_usize, 0_i64);
        for peer in live_peers {
            live += 1;
            let Some(offset) = self.offset(now, peer) else { continue };
            if offset.unsigned_abs() <= bound {
                agree += 1;
            } else {
                peers += 1;
                if offset.unsigned_abs() > greatest.unsigned_abs() {
                    greatest = offset;
                }
            }
        }
        match peers {
            0 if agree >= 2 && agree * 2 > live => Verdict::Confirmed,
            0 => Verdict::Fine,
            _ if peers >= 2 && peers * 2 > live => Verdict::Drain { peers, offset_us: greatest },
            _ => Verdict::Warn { peers, offset_us: greatest },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPSILON: Duration = Duration::from_secs(2);
    const GOOD: Duration = Duration::from_millis(3);
    const START: Mono = Mono(1_000_000);

    /// Peers named "0", "1", … with these offsets in milliseconds; `None` is
    /// alive and was not measured.
    fn check(offsets_ms: &[Option<i64>], verdict: Verdict) {
        let mut guard = ClockGuard::new(EPSILON);
        let names: Vec<String> = (0..offsets_ms.len()).map(|n| n.to_string()).collect();
        for (name, offset) in names.iter().zip(offsets_ms) {
            if let Some(offset) = offset {
                guard.sample(START, name, offset * 1000, GOOD);
            }
        }
        let live = || names.iter().map(String::as_str);
        assert_eq!(guard.verdict(START + GOOD, live()), verdict, "{offsets_ms:?}");
        let later = START + COUNTS_FOR + Duration::from_micros(1);
        assert_eq!(guard.verdict(later, live()), Verdict::Fine, "{offsets_ms:?}: it is long ago");
    }

    #[test]
    fn a_node_that_differs_from_a_majority_of_at_least_two_drains() {
        let warn = |peers, ms: i64| Verdict::Warn { peers, offset_us: ms * 1000 };
        let drain = |peers, ms: i64| Verdict::Drain { peers, offset_us: ms * 1000 };
        check(&[], Verdict::Fine);
        check(&[None, None], Verdict::Fine);
        check(&[Some(1600), Some(-1600)], Verdict::Confirmed);
        check(&[Some(1601)], warn(1, 1601));
        check(&[Some(i64::MIN / 1000)], warn(1, i64::MIN / 1000));
        check(&[Some(1601), None], warn(1, 1601));
        check(&[Some(1601), Some(0)], warn(1, 1601));
        check(&[Some(1601), Some(1700)], drain(2, 1700));
        check(&[Some(-1700), Some(-1601)], drain(2, -1700));
        check(&[Some(1601), Some(1601), Some(0)], drain(2, 1601));
        check(&[Some(1601), Some(1601), None], drain(2, 1601));
        check(&[Some(1601), Some(1601), None, None], warn(2, 1601));
        check(&[Some(1601), Some(1601), Some(0), Some(0)], warn(2, 1601));
    }

    #[test]
    fn the_latest_measurement_with_a_short_way_counts() {
        let mut guard = ClockGuard::new(EPSILON);
        guard.sample(START, "a", 5, LONGEST_ROUND_TRIP);
        guard.sample(START, "a", 7_000_000, LONGEST_ROUND_TRIP + Duration::from_micros(1));
        assert_eq!(guard.offset(START, "a"), Some(5));
        guard.sample(START, "a", -6, GOOD);
        assert_eq!(guard.offset(START, "a"), Some(-6));
        assert_eq!(guard.offset(START + COUNTS_FOR, "a"), Some(-6));
        assert_eq!(guard.offset(START + COUNTS_FOR + GOOD, "a"), None);
        guard.forget("a");
        assert_eq!(guard.offset(START, "a"), None);
    }

    #[test]
    fn a_peer_that_is_gone_has_no_say() {
        let mut guard = ClockGuard::new(EPSILON);
        guard.sample(START, "gone", 9_000_000, GOOD);
        guard.sample(START, "alive", 9_000_000, GOOD);
        assert!(matches!(guard.verdict(START, ["alive"]), Verdict::Warn { peers: 1, .. }));
    }
}
