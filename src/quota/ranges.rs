//! Sets of call ordinals, held as ranges.

use std::{collections::BTreeMap, ops::Range};

/// A set of ordinals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeSet {
    /// End by start; ranges neither touch nor overlap.
    ranges: BTreeMap<u32, u32>,
}

impl RangeSet {
    /// How many ordinals it holds.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.ranges.iter().map(|(start, end)| end - start).sum()
    }

    /// True if it holds none.
    #[cfg(test)]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Its ranges, in order.
    pub fn iter(&self) -> impl Iterator<Item = Range<u32>> + '_ {
        self.ranges.iter().map(|(start, end)| *start..*end)
    }

    /// The parts of `range` that it does not hold, in order.
    #[must_use]
    pub fn missing(&self, range: Range<u32>) -> Vec<Range<u32>> {
        let mut missing = Vec::new();
        if range.is_empty() {
            return missing;
        }
        let mut from = range.start;
        let before = self.ranges.range(..=from).next_back();
        let within = self.ranges.range(from.saturating_add(1)..range.end);
        for (start, end) in before.into_iter().chain(within) {
            if *start > from {
                missing.push(from..*start);
            }
            from = from.max(*end);
            if from >= range.end {
                return missing;
            }
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
        if let Some((left, left_end)) = self.ranges.range(..=start).next_back()
            && *left_end >= start
        {
            start = *left;
            end = end.max(*left_end);
        }
        let swallowed: Vec<u32> = self.ranges.range(start..=end).map(|(key, _)| *key).collect();
        for key in swallowed {
            if let Some(last) = self.ranges.remove(&key) {
                end = end.max(last);
            }
        }
        self.ranges.insert(start, end);
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
        assert_eq!(ranges.missing(0..0), []);
        assert_eq!(ranges.missing(2..2), []);
        assert_eq!(ranges.missing(5..5), []);
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
