//! Sets of call ordinals, held as ranges.

use std::ops::Range;

use smallvec::SmallVec;

/// Ranges in order that neither touch nor overlap. Most permits are for one call,
/// and the others are settled in order: one or two take no memory of their own.
pub type Ranges = SmallVec<[Range<u32>; 2]>;

/// A set of ordinals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeSet {
    ranges: Ranges,
}

impl RangeSet {
    /// How many ordinals it holds.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.ranges.iter().map(|range| range.end - range.start).sum()
    }

    /// True if it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Its ranges, in order.
    pub fn iter(&self) -> impl Iterator<Item = Range<u32>> + '_ {
        self.ranges.iter().cloned()
    }

    /// The parts of `range` that it does not hold, in order.
    #[must_use]
    pub fn missing(&self, range: Range<u32>) -> Ranges {
        let mut missing = Ranges::new();
        let mut from = range.start;
        for held in &self.ranges[self.ending_after(from)..] {
            if held.start >= range.end {
                break;
            }
            if held.start > from {
                missing.push(from..held.start);
            }
            from = held.end;
        }
        if from < range.end {
            missing.push(from..range.end);
        }
        missing
    }

    /// Adds a range.
    pub fn add(&mut self, range: Range<u32>) {
        if range.is_empty() {
            return;
        }
        let Range { mut start, mut end } = range;
        // Those that touch it become one with it.
        let first = self.ranges.partition_point(|held| held.end < start);
        let touching = self.ranges[first..].iter().take_while(|held| held.start <= end).count();
        if touching > 0 {
            start = start.min(self.ranges[first].start);
            end = end.max(self.ranges[first + touching - 1].end);
            self.ranges[first] = start..end;
            self.ranges.drain(first + 1..first + touching);
        } else {
            self.ranges.insert(first, start..end);
        }
    }

    /// The place of the first range that ends after an ordinal.
    fn ending_after(&self, ordinal: u32) -> usize {
        self.ranges.partition_point(|held| held.end <= ordinal)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// A report of calls beyond a permit's last one asked for such a range and
    /// took the ledger down.
    #[test]
    fn an_empty_range_misses_nothing() {
        let mut ranges = RangeSet::default();
        ranges.add(0..2);
        for at in [0, 2, 5] {
            assert!(ranges.missing(at..at).is_empty());
        }
    }

    proptest! {
        #[test]
        fn a_range_set_is_a_set(ops in prop::collection::vec((0u32..40, 0u32..12, any::<bool>()), 1..40)) {
            let mut ranges = RangeSet::default();
            let mut naive = BTreeSet::new();
            for (start, length, add) in ops {
                let range = start..start + length;
                let missing: Vec<u32> = ranges.missing(range.clone()).into_iter().flatten().collect();
                let expected: Vec<u32> = range.clone().filter(|n| !naive.contains(n)).collect();
                prop_assert_eq!(missing, expected);
                if add {
                    ranges.add(range.clone());
                    naive.extend(range);
                }
                prop_assert_eq!(ranges.len() as usize, naive.len());
            }
        }
    }
}
