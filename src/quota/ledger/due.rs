//! Which groups want to be written, and when the others will: what is asked after
//! every use of a ledger. Only groups that were changed since are looked at; an org
//! has thousands, and one call changes three.

use std::collections::BTreeSet;

use super::{Ledger, groups::CounterRef};
use crate::quota::Mono;

/// Groups that will want to be written, unless they are changed before.
#[derive(Clone, Debug, Default)]
pub struct Due {
    /// By when their blocks are due.
    by_time: BTreeSet<(Mono, u32)>,
    /// Those that may want it for another reason.
    otherwise: BTreeSet<u32>,
    /// What stands in `by_time`, by slot.
    times: Vec<Option<Mono>>,
}

impl Due {
    fn note(&mut self, slot: u32, at: Option<Mono>, otherwise: bool) {
        let place = slot as usize;
        if self.times.len() <= place {
            self.times.resize(place + 1, None);
        }
        let before = std::mem::replace(&mut self.times[place], at);
        if before != at {
            before.map(|before| self.by_time.remove(&(before, slot)));
            at.map(|at| self.by_time.insert((at, slot)));
        }
        if otherwise {
            self.otherwise.insert(slot);
        } else if !self.otherwise.is_empty() {
            self.otherwise.remove(&slot);
        }
    }
}

impl Ledger {
    /// True if a reserve should be sent now.
    pub fn wants_reserve(&mut self, now: Mono) -> bool {
        if self.in_flight || self.stopped {
            return false;
        }
        self.note_due(now);
        let by_time = self.due.by_time.iter().take_while(|(at, _)| *at <= now);
        let mut due = by_time.map(|(_, slot)| *slot).chain(self.due.otherwise.iter().copied());
        due.any(|slot| self.wants(slot, self.groups.get(slot), now))
    }

    /// When the first block is due; `None` if nothing is open and all is written.
    pub(super) fn next_block(&mut self, now: Mono) -> Option<Mono> {
        // The answer to a reserve in flight comes by itself.
        if self.in_flight || self.stopped {
            return None;
        }
        self.note_due(now);
        self.due.by_time.first().map(|(at, _)| *at)
    }

    /// Looks at the groups that were changed since the last time.
    fn note_due(&mut self, now: Mono) {
        while let Some(slot) = self.groups.take_changed() {
            let (mut at, mut otherwise) = (None, false);
            if self.groups.is_live(slot) {
                let group = self.groups.get(slot);
                at = self.block_wake(group, now);
                let counters = u16::try_from(group.counters.len()).unwrap_or(u16::MAX);
                let refs = (0..counters).map(|counter| CounterRef { group: slot, counter });
                otherwise = group.record.urgent
                    || !self.demand.is_empty() && refs.into_iter().any(|at| self.demand_of(at) > 0)
                    || at.is_none() && self.is_deletable(group, Mono(u64::MAX));
            }
            self.due.note(slot, at, otherwise);
        }
    }
}
