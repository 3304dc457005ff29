//! Wakes ledgers at the moments that they have named: when a waiting request's
//! turn comes or its wait ends, and when a block is to be fetched.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

use super::Shards;
use crate::quota::{Mono, OrgId};

/// Planned wakes, earliest first.
#[derive(Debug, Default)]
pub struct Wakes {
    planned: Mutex<BinaryHeap<Reverse<(Mono, OrgId)>>>,
    earlier: Notify,
}

/// A ledger that asks for a wake that is due already has just been looked at:
/// it is looked at again after this, not in a busy loop.
const SHORTEST: Duration = Duration::from_millis(1);

impl Wakes {
    /// Plans a wake, and says for when: not for now, since the ledger has just
    /// been looked at, and a wake that leads to the next one would spin.
    pub fn plan(&self, at: Mono, now: Mono, org: &OrgId) -> Mono {
        let at = at.max(now + SHORTEST);
        let mut planned = self.planned.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = planned.peek().is_none_or(|Reverse((first, _))| at < *first);
        planned.push(Reverse((at, org.clone())));
        if is_first {
            self.earlier.notify_one();
        }
        at
    }

    /// Takes out one wake that is due.
    fn take_due(&self, now: Mono) -> Option<(Mono, OrgId)> {
        let mut planned = self.planned.lock().unwrap_or_else(PoisonError::into_inner);
        planned.peek().filter(|Reverse((at, _))| *at <= now)?;
        planned.pop().map(|Reverse(wake)| wake)
    }

    fn next(&self) -> Option<Mono> {
        let planned = self.planned.lock().unwrap_or_else(PoisonError::into_inner);
        planned.peek().map(|Reverse((at, _))| *at)
    }
}

impl Shards {
    /// Carries out the planned wakes, until the process stops.
    pub(super) async fn wake(self: Arc<Self>) {
        let mut stopping = self.stopping.subscribe();
        loop {
            while let Some((at, org)) = self.wakes.take_due(self.clock.mono()) {
                self.with_live(&org, |_, inner, now| {
                    if inner.wake_at == Some(at) {
                        inner.wake_at = None;
                    }
                    self.pump(inner, now.mono);
                });
            }
            let until = self.wakes.next().map(|at| at.since(self.clock.mono()).max(SHORTEST));
            tokio::select! {
                () = tokio::time::sleep(until.unwrap_or(Duration::MAX)), if until.is_some() => {}
                () = self.wakes.earlier.notified() => {}
                _ = stopping.changed() => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_that_is_due_already_does_not_come_in_the_same_moment() {
        // A ledger that asked for a wake in the past was woken again at once,
        // for ever, and nothing else ran on that thread.
        let (wakes, now) = (Wakes::default(), Mono(1_000_000));
        let org = OrgId::parse("acme").expect("an org");
        for at in [Mono(0), now] {
            let planned = wakes.plan(at, now, &org);
            assert!(planned > now);
            assert_eq!(wakes.take_due(now), None);
            assert_eq!(wakes.take_due(planned), Some((planned, org.clone())));
        }
        let later = now + Duration::from_secs(60);
        assert_eq!(wakes.plan(later, now, &org), later);
    }
}
