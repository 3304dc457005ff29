//! Entries in the order of their stamps: what a window counts.
//!
//! A sorted list in chunks. Grants are appended, as most of them leave last; what
//! is settled is found by two short searches, and moves a chunk at most. A tree of
//! the standard library takes five times the instructions: it compares its way down
//! from the root for every entry, the last one too.

use super::Tag;
use crate::quota::tight;

/// The most entries of a chunk: as many as are moved to make room for one.
const MOST: usize = 32;

/// What is counted under one stamp and tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// In microseconds; with the tag it is an entry's place.
    pub stamp: u64,
    pub tag: Tag,
    pub units: u64,
    /// No unit in it has a later stamp, to the microsecond: the end of a bucket
    /// lies behind the calls that were answered just now, and a reading that came
    /// with the last of them would find none of theirs.
    pub latest: u64,
}

impl Entry {
    fn place(&self) -> (u64, Tag) {
        (self.stamp, self.tag)
    }

    fn add(&mut self, other: &Self) {
        self.units += other.units;
        self.latest = self.latest.max(other.latest);
    }
}

/// Entries by stamp and tag, each place once.
#[derive(Clone, Debug, Default)]
pub struct Entries {
    /// Sorted, one after the other; none is empty.
    chunks: Vec<Vec<Entry>>,
}

impl Entries {
    /// Counts an entry, with those that are in its place.
    pub fn add(&mut self, entry: Entry) {
        let place = entry.place();
        // Grants follow each other, and those of one moment are one entry.
        let Some(chunk) = self.chunks.last_mut() else {
            tight::push(&mut self.chunks, vec![entry]);
            return;
        };
        match chunk.last_mut() {
            Some(last) if last.place() == place => last.add(&entry),
            Some(last) if last.place() < place => {
                if chunk.len() < MOST {
                    chunk.push(entry);
                } else {
                    tight::push(&mut self.chunks, vec![entry]);
                }
            }
            _ => self.insert(entry),
        }
    }

    /// Takes units out of the entry in a place, at most as many as it has. Returns
    /// how many.
    pub fn take(&mut self, stamp: u64, tag: Tag, units: u64) -> u64 {
        let place = (stamp, tag);
        let at = self.chunk_of(place);
        let Some(chunk) = self.chunks.get_mut(at) else { return 0 };
        let Ok(within) = chunk.binary_search_by_key(&place, Entry::place) else { return 0 };
        let entry = &mut chunk[within];
        let taken = units.min(entry.units);
        entry.units -= taken;
        if entry.units == 0 {
            chunk.remove(within);
            self.shrunk(at);
        }
        taken
    }

    /// Drops entries from the front, as long as they have left by `has_left`.
    pub fn leave(&mut self, has_left: impl Fn(&Entry) -> bool, mut left: impl FnMut(Entry)) {
        while let Some(chunk) = self.chunks.first_mut() {
            let gone = chunk.iter().take_while(|entry| has_left(entry)).count();
            if gone == 0 {
                return;
            }
            chunk.drain(..gone).for_each(&mut left);
            if !chunk.is_empty() {
                return;
            }
            self.chunks.remove(0);
        }
    }

    /// All of them, first stamps first.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.chunks.iter().flatten()
    }

    /// Those with this stamp and later ones.
    pub fn since(&self, stamp: u64) -> impl Iterator<Item = &Entry> {
        let at = self.chunk_of((stamp, 0));
        self.chunks[at..].iter().flatten().skip_while(move |entry| entry.stamp < stamp)
    }

    /// The first chunk that ends with this place or behind it.
    fn chunk_of(&self, place: (u64, Tag)) -> usize {
        self.chunks.partition_point(|chunk| chunk.last().is_some_and(|last| last.place() < place))
    }

    /// Puts an entry before the last one.
    fn insert(&mut self, entry: Entry) {
        let place = entry.place();
        let at = self.chunk_of(place);
        let chunk = &mut self.chunks[at];
        match chunk.binary_search_by_key(&place, Entry::place) {
            Ok(within) => chunk[within].add(&entry),
            Err(within) if chunk.len() < MOST => chunk.insert(within, entry),
            Err(within) => {
                let mut behind = chunk.split_off(MOST / 2);
                match within.checked_sub(MOST / 2) {
                    Some(within) => behind.insert(within, entry),
                    None => chunk.insert(within, entry),
                }
                self.chunks.insert(at + 1, behind);
            }
        }
    }

    /// Keeps chunks from being many and nearly empty.
    fn shrunk(&mut self, at: usize) {
        let of = |chunk: usize| self.chunks.get(chunk).map_or(MOST, Vec::len);
        if of(at) == 0 {
            self.chunks.remove(at);
        } else if of(at) + of(at + 1) <= MOST / 2 {
            let next = self.chunks.remove(at + 1);
            self.chunks[at].extend(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::{
        collection::vec,
        prelude::{Strategy, any, prop_oneof},
        proptest,
    };

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Add { stamp: u64, tag: Tag, units: u64 },
        Take { stamp: u64, tag: Tag, units: u64 },
        Leave { until: u64 },
    }

    fn step() -> impl Strategy<Value = Step> {
        let (stamp, tag, units) = (0_u64..400, 0_u32..3, 1_u64..4);
        prop_oneof![
            6 => (stamp.clone(), tag.clone(), units.clone())
                .prop_map(|(stamp, tag, units)| Step::Add { stamp, tag, units }),
            4 => (stamp, tag, units).prop_map(|(stamp, tag, units)| Step::Take { stamp, tag, units }),
            1 => (0_u64..40).prop_map(|until| Step::Leave { until }),
        ]
    }

    proptest! {
        #[test]
        fn they_are_what_a_sorted_map_is(
            steps in vec(step(), 0..800),
            in_order in any::<bool>(),
            asked in 0_u64..400,
        ) {
            let mut entries = Entries::default();
            let mut map = BTreeMap::<(u64, Tag), (u64, u64)>::new();
            for (at, step) in (0_u64..).zip(steps) {
                match step {
                    Step::Add { stamp, tag, units } => {
                        let stamp = if in_order { at / 2 } else { stamp };
                        let latest = stamp.saturating_sub(units);
                        entries.add(Entry { stamp, tag, units, latest });
                        let known = map.entry((stamp, tag)).or_default();
                        *known = (known.0 + units, known.1.max(latest));
                    }
                    Step::Take { stamp, tag, units } => {
                        let known = map.get(&(stamp, tag)).map_or(0, |known| known.0);
                        assert_eq!(entries.take(stamp, tag, units), units.min(known));
                        if known > units {
                            map.entry((stamp, tag)).and_modify(|known| known.0 -= units);
                        } else {
                            map.remove(&(stamp, tag));
                        }
                    }
                    Step::Leave { until } => {
                        let mut left = Vec::new();
                        entries.leave(|entry| entry.stamp <= until, |entry| left.push(entry.place()));
                        let behind = map.split_off(&(until + 1, 0));
                        assert_eq!(left, map.into_keys().collect::<Vec<_>>());
                        map = behind;
                    }
                }
                assert!(entries.chunks.iter().all(|chunk| (1..=MOST).contains(&chunk.len())));
            }
            let all: Vec<Entry> = map
                .iter()
                .map(|((stamp, tag), (units, latest))| {
                    Entry { stamp: *stamp, tag: *tag, units: *units, latest: *latest }
                })
                .collect();
            let since: Vec<Entry> =
                all.iter().filter(|entry| entry.stamp >= asked).copied().collect();
            assert_eq!(entries.iter().copied().collect::<Vec<_>>(), all);
            assert_eq!(entries.since(asked).copied().collect::<Vec<_>>(), since);
        }
    }
}
