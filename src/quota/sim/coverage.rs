//! What has happened in runs: a simulation in which nothing happens proves
//! nothing.

use std::{collections::BTreeMap, fmt};

/// Counts of events, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    counts: BTreeMap<&'static str, u64>,
}

impl Coverage {
    /// Counts one event.
    pub fn hit(&mut self, what: &'static str) {
        self.add(what, 1);
    }

    /// Counts several events.
    pub fn add(&mut self, what: &'static str, times: u64) {
        *self.counts.entry(what).or_default() += times;
    }

    /// How often an event has happened.
    pub fn of(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or(0)
    }

    /// Adds the counts of another run.
    pub fn merge(&mut self, other: &Self) {
        for (what, times) in &other.counts {
            self.add(what, *times);
        }
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, times) in &self.counts {
            writeln!(f, "{times:>12}  {what}")?;
        }
        Ok(())
    }
}
