//! The heaviest keys of a table, in bounded memory.
//!
//! This is the space-saving summary of Metwally, Agrawal and El Abbadi (2005),
//! with weights that are halved now and then, so that what is long over drives
//! nobody out:
//!
//! - A listed key has a weight, which is never less than what it has used. A new
//!   key takes the place of the lightest one, and its weight begins at the
//!   largest weight that was ever driven out, as it may have been that one.
//! - So whoever is not listed has used no more than that weight; and that is no
//!   more than a K-th of all that was counted, because K keys weigh more.
//! - Weights are halved every 25 h. Nothing that is shown is older than 24 h
//!   15 min, so it has been halved at most once: twice that weight bounds it.

use super::{
    mark::{Mark, Marked},
    series::{LONGEST_SECS, Periods, Series, Use},
};
use crate::quota::tight;

/// Keys that are told apart.
pub const LISTED: usize = 50;

/// Weights are halved this often.
const HALVING_SECS: u64 = 25 * 3_600;

const _: () = assert!(HALVING_SECS > LONGEST_SECS, "what is shown is halved once at most");

/// The heaviest keys, and what each has used since it was listed. There are so few
/// that looking through them is faster than a map, and takes no memory.
#[derive(Clone, Debug)]
pub struct Top<K> {
    slots: Vec<Slot<K>>,
    /// No key that is not listed weighs more.
    missing: u64,
    /// How many times 25 h have passed since the Unix epoch.
    halvings: u64,
}

#[derive(Clone, Debug)]
struct Slot<K> {
    mark: Mark,
    key: K,
    used: Series,
    /// At least what the key has used, halved as often as it is old.
    weight: u64,
}

impl<K> Default for Top<K> {
    fn default() -> Self {
        Self { slots: Vec::new(), missing: 0, halvings: 0 }
    }
}

impl<K: Clone + Eq + Marked> Top<K> {
    /// Counts for a key.
    pub fn add(&mut self, at: u64, key: &K, used: Use, weight: u64) {
        self.halve(at);
        let slot = match self.place(key) {
            Some(place) => &mut self.slots[place],
            None => self.list(key),
        };
        slot.weight = slot.weight.saturating_add(weight);
        slot.used.add(at, used);
    }

    /// Takes back what was counted for a key at a second, if that is known. Its
    /// weight stays: it may only be too large.
    pub fn take_back(&mut self, then: u64, key: &K, back: Use) {
        if let Some(place) = self.place(key) {
            self.slots[place].used.take_back(then, back);
        }
    }

    /// What each listed key has used.
    pub fn periods(&self, at: u64) -> impl Iterator<Item = (&K, Periods)> {
        self.slots.iter().map(move |slot| (&slot.key, slot.used.periods(at)))
    }

    /// Units and refused requests of the last day that may be missing of any one
    /// key.
    pub fn missing_at_most(&mut self, at: u64) -> u64 {
        self.halve(at);
        self.missing.saturating_mul(2)
    }

    /// Forgets keys that were not heard of for a day: nothing of them is missed,
    /// as what is not listed of them weighs no more than `missing` already.
    pub fn sweep(&mut self, at: u64) {
        self.halve(at);
        let before = self.slots.len();
        self.slots.retain_mut(|slot| {
            slot.used.expire(at);
            !slot.used.is_empty()
        });
        if self.slots.len() < before {
            self.slots.shrink_to_fit();
        }
    }

    fn place(&self, key: &K) -> Option<usize> {
        let mark = key.mark();
        self.slots.iter().position(|slot| slot.mark == mark && slot.key == *key)
    }

    /// The slot of a new key.
    fn list(&mut self, key: &K) -> &mut Slot<K> {
        let lightest = (0..self.slots.len()).min_by_key(|place| self.slots[*place].weight);
        let place = match lightest {
            Some(lightest) if self.slots.len() >= LISTED => {
                self.missing = self.missing.max(self.slots[lightest].weight);
                lightest
            }
            _ => self.slots.len(),
        };
        let (mark, key) = (key.mark(), key.clone());
        let slot = Slot { mark, key, used: Series::default(), weight: self.missing };
        match self.slots.get_mut(place) {
            Some(taken) => *taken = slot,
            None => tight::push(&mut self.slots, slot),
        }
        &mut self.slots[place]
    }

    fn halve(&mut self, at: u64) {
        let due = at / HALVING_SECS;
        let times = due.saturating_sub(self.halvings).min(64);
        self.halvings = due;
        for _ in 0..times {
            if self.slots.is_empty() && self.missing == 0 {
                return;
            }
            // Rounded up: a weight is never less than what was used.
            for slot in &mut self.slots {
                slot.weight = slot.weight.div_ceil(2);
            }
            self.missing = self.missing.div_ceil(2);
        }
    }

    /// Bytes that it has taken besides itself, without the names.
    #[cfg(test)]
    pub fn heap_bytes(&self) -> usize {
        let series: usize = self.slots.iter().map(|slot| slot.used.heap_bytes()).sum();
        series + self.slots.capacity() * size_of::<Slot<K>>()
    }
}
