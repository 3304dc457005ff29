//! A closed start: what was counted until some moment is not known, since the
//! store that knew it was wiped or restored. All that could have been granted
//! then counts as granted at that moment, and leaves as anything does that a
//! former epoch has lost; so nothing here waits for anything.
//!
//! The org's total of the day need not wait that long: the first reading that
//! speaks of a moment when every call of before must have arrived tells how much
//! of it is used, and opens it, and the caps of workspaces with it.

use std::time::Duration;

use super::{Ledger, UNBOUNDED, counter::Counter};
use crate::quota::{Group, Mono, Now, Wall, catalogue::Charge, ledger::Stored, rules::Rules};

/// What was counted until this moment is not known.
#[derive(Clone, Copy, Debug)]
pub struct Closed {
    /// As it is recorded.
    wall: Wall,
    /// The same moment on this process's clock.
    mono: Mono,
    /// A reading has told what is used of the org's total.
    is_read: bool,
}

impl Closed {
    pub fn since(now: Now, wall: Wall) -> Self {
        Self { wall, mono: now.mono_at(wall), is_read: false }
    }

    /// Takes all that a counter has left for spent at the moment, unless it is
    /// known by a reading.
    /// `ttl_cap`: the longest life of a permit of before.
    pub fn close(self, counter: &mut Counter, ttl_cap: Duration, rules: &Rules) {
        if self.is_read && is_read_with_total(counter) {
            return;
        }
        // A workspace's cap bounds no reservation; what stands against it is all
        // that its classes go by. Its burn limit promises nothing to Salesforce,
        // and what is in shadow refuses nothing: neither has anything to close.
        let all = if counter.is_workspace_cap() { counter.max } else { counter.bound };
        if all == UNBOUNDED {
            return;
        }
        // Whoever had not noticed yet went on granting from its open block.
        let life = counter.horizon(rules) + ttl_cap + rules.travel;
        let rest = all.saturating_sub(counter.used());
        counter.inherited.lose(self.wall + life, self.mono + life, rest);
    }

    /// The moment by which every call of before has arrived.
    fn all_arrived(&self, rules: &Rules) -> Mono {
        let granted = self.mono + rules.horizon_long;
        granted + Charge::org_total().ttl_cap() + rules.travel + rules.clock_error * 2
    }
}

impl Ledger {
    /// Closes every counter that has no record of after the moment.
    pub(super) fn close_unknown(&mut self, stored: &[(Group, Stored)]) {
        let Some(closed) = self.closed else { return };
        let rules = *self.rules;
        let before = stored.iter().filter(|(_, stored)| stored.record.written <= closed.wall);
        for (key, Stored { record, .. }) in before {
            let Some(slot) = self.groups.slot(key) else { continue };
            let counters = &mut self.groups.get_mut(slot).counters;
            for (counter, recorded) in counters.iter_mut().zip(&record.counters) {
                closed.close(counter, recorded.ttl_cap.max(counter.ttl_cap), &rules);
            }
        }
        self.open_by_reading();
    }

    /// Opens what the last reading says enough about, if it contains every call
    /// of before: whatever was spent of what was taken for spent, or lost in a
    /// crash, is in it.
    pub(super) fn open_by_reading(&mut self) {
        let (Some(closed), Some(foreign)) = (&mut self.closed, self.foreign) else { return };
        let until = closed.all_arrived(&self.rules);
        if closed.is_read || foreign.as_of - self.policy.header_lag < until {
            return;
        }
        closed.is_read = true;
        let counters = self.groups.iter_mut().flat_map(|(_, group)| &mut group.counters);
        for counter in counters.filter(|counter| is_read_with_total(counter)) {
            if counter.inherited.forgive(until) {
                counter.block.limited = false;
                counter.block.dirty = true;
            }
        }
    }
}

/// A reading of the org's total says enough about this counter.
fn is_read_with_total(counter: &Counter) -> bool {
    counter.is_org_total() || counter.is_workspace_cap()
}
