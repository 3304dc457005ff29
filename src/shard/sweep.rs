//! Frees what is idle, and keeps the gauges that are sums over all orgs. There may be
//! a million of them, so they are looked at some at a time, and requests are let in
//! between.

use std::{sync::Arc, time::Duration};

use super::{
    AT_ONCE, MOST_REMEMBERED, Shards,
    table::{Cell, Inner},
};
use crate::{
    metrics::Busiest,
    quota::{CoolingCause, Now},
    store::Shard,
};

/// How often it is done.
pub(super) const SWEEP_EVERY: Duration = Duration::from_secs(5);

impl Shards {
    /// Sweeps every some seconds, until the process stops.
    pub(super) async fn keep_swept(self: Arc<Self>) {
        let mut stopping = self.stopping.subscribe();
        loop {
            tokio::select! {
                biased;
                _ = stopping.changed() => return,
                () = tokio::time::sleep(SWEEP_EVERY) => {}
            }
            self.sweep().await;
            if !*self.store_works.borrow() {
                // Nobody may ask any more while this is not ready.
                self.try_store().await;
            }
        }
    }

    /// Looks at every ledger. Nothing here is done with all of them at once, not even
    /// to list them: of 100,000 that takes as long as thousands of requests.
    async fn sweep(&self) {
        let mut seen = Seen::new(self.metrics.choose_orgs(), self.table.len());
        let mut looked_at = 0;
        for shard in Shard::all() {
            for cell in self.table.cells(shard) {
                self.with_cell(&cell, |cell, inner, now| {
                    self.look_after(cell, inner, now, &mut seen)
                });
                looked_at += 1;
                if looked_at % AT_ONCE == 0 {
                    tokio::task::yield_now().await;
                }
            }
        }
        self.metrics.show_orgs(seen.busiest);
        self.metrics.set_permits_out(seen.permits);
        self.metrics.set_cooling(seen.cooling);
        self.metrics.set_waiting(seen.waiting);
        self.metrics.set_orgs(u32::try_from(self.table.len()).unwrap_or(u32::MAX));
    }

    /// Takes the ledger out of the table if there is nothing in it.
    fn look_after(&self, cell: &Arc<Cell>, inner: &mut Inner, now: Now, seen: &mut Seen) {
        let is_kept = seen.orgs <= MOST_REMEMBERED || self.policies.is_declared(&cell.org);
        let is_empty = inner.ledger.sweep(now.mono)
            && inner.waiters.is_empty()
            && !(is_kept && inner.ledger.is_remembered(now.mono));
        if is_empty {
            inner.retire();
            self.table.remove(cell);
            seen.orgs = seen.orgs.saturating_sub(1);
        } else {
            seen.add(cell, inner, now);
            self.pump(inner, now.mono);
        }
    }
}

/// What was seen of the orgs so far.
struct Seen {
    busiest: Busiest,
    permits: u32,
    waiting: [u32; 4],
    cooling: [u32; CoolingCause::ALL.len()],
    /// How many are left of all that there were.
    orgs: usize,
}

impl Seen {
    const fn new(busiest: Busiest, orgs: usize) -> Self {
        Self { busiest, permits: 0, waiting: [0; 4], cooling: [0; CoolingCause::ALL.len()], orgs }
    }

    fn add(&mut self, cell: &Cell, inner: &mut Inner, now: Now) {
        let ledger = &mut inner.ledger;
        self.permits = self.permits.saturating_add(ledger.permits_out(now.mono));
        for (sum, of) in self.waiting.iter_mut().zip(ledger.waiting_by_class()) {
            *sum = sum.saturating_add(of);
        }
        for (sum, counters) in self.cooling.iter_mut().zip(ledger.cooling_counts(now.mono)) {
            *sum = sum.saturating_add(counters);
        }
        if let Some(glance) = ledger.glance(now.mono) {
            self.busiest.offer(&cell.org, glance);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Waker},
    };

    use super::*;
    use crate::{quota::OrgId, shard::tests::start};

    #[tokio::test(start_paused = true)]
    async fn after_a_hundred_orgs_others_have_their_turn() {
        let running = start().await;
        let shards = running.shards();
        let all = 7 * AT_ONCE + 1;
        for number in 0..all {
            let org = OrgId::parse(&format!("idle-{number}")).expect("an org");
            shards.cell(&org).expect("it is served");
        }
        let mut sweep = pin!(shards.sweep());
        let mut context = Context::from_waker(Waker::noop());
        let mut left = all;
        while sweep.as_mut().poll(&mut context).is_pending() {
            let before = std::mem::replace(&mut left, shards.table.len());
            assert_eq!(before - left, AT_ONCE);
        }
        assert_eq!((left, shards.table.len()), (1, 0));
    }
}
