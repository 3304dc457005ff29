//! The shards of a store that several processes share: somebody else says which
//! of them this process holds, in which epoch, and until when it may grant.
//!
//! Nothing here decides who owns what; every write is fenced by the owner key.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        watch,
    },
    time::timeout,
};

use super::{HAND_OVER, Ownership, Policies, RecoverError, Running, Shards, table::Terms};
use crate::{
    clock::Clock,
    metrics::Metrics,
    quota::{Mono, Wall},
    store::{Shard, SharedStore, StoreError},
};

/// What whoever says which shards are held must hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardEvent {
    /// A transaction was fenced off: the owner key is another's, or nobody's.
    /// The shard was dropped.
    Fenced {
        /// The shard.
        shard: Shard,
        /// The epoch in which it was held.
        epoch: u64,
    },
    /// The owner key is ours, but a ledger panicked, or somebody else has
    /// written a record: the shard was dropped, and is to be taken in a new
    /// epoch.
    Broken {
        /// The shard.
        shard: Shard,
        /// The epoch in which it was held.
        epoch: u64,
    },
    /// The store has lost what it once acknowledged.
    WentBack,
}

/// What [`Shards`] need where others share the store.
#[derive(Debug)]
pub(super) struct Shared {
    /// No grant at or after this: [`Mono`], as a number.
    session_until: AtomicU64,
    events: UnboundedSender<ShardEvent>,
}

/// A shard's records that take longer to read are read again. The store bounds
/// each request by itself; this is for many thousands of records.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

impl Shards {
    /// The shards of a store that others share, none of which is held yet, and
    /// what is to be told about them. Starts tasks on the present runtime.
    #[must_use]
    pub fn start_shared(
        store: SharedStore,
        clock: Clock,
        metrics: Arc<Metrics>,
        policies: Arc<dyn Policies>,
    ) -> (Running, UnboundedReceiver<ShardEvent>) {
        let (events, told) = unbounded_channel();
        let shared = Shared { session_until: AtomicU64::new(0), events };
        let shards = Self::new(store, clock, metrics, policies, Ownership::Shared(shared));
        (Running::spawn(Arc::new(shards)), told)
    }

    /// Serves a shard in an epoch: reads what is recorded, builds the ledgers,
    /// and then lets requests in. The owner key must have been put before.
    /// `closed_since`: what was counted until then is not known.
    ///
    /// # Errors
    /// The store did not answer, a record cannot be used, or the shard was
    /// given up meanwhile.
    pub async fn recover(
        &self,
        shard: Shard,
        epoch: u64,
        closed_since: Option<Wall>,
    ) -> Result<(), RecoverError> {
        if !self.begin(shard, Terms { epoch, closed_since }) {
            let is_served = self.table.terms(shard).epoch == epoch;
            return if is_served { Ok(()) } else { Err(RecoverError::GivenUp) };
        }
        self.count_owned();
        let late = |_| {
            let what = format!("no answer within {READ_TIMEOUT:?}");
            Err(RecoverError::Store(StoreError::NotExecuted(what)))
        };
        let asked = self.clock.mono();
        let found = timeout(READ_TIMEOUT, self.read(&shard.counters())).await.unwrap_or_else(late);
        if let Err(RecoverError::Store(StoreError::WentBack { .. })) = found {
            self.tell(ShardEvent::WentBack);
        }
        if !self.serve(shard, epoch, found?).await {
            return Err(RecoverError::GivenUp);
        }
        self.metrics.read_shard(self.clock.mono().since(asked));
        Ok(())
    }

    /// Gives a shard away: ends its grants, sends on who waits, writes what is
    /// open, and deletes the owner key with the last transaction. When this
    /// returns the ledgers are gone; the owner key, too, unless the store did
    /// not answer for ten seconds.
    pub async fn hand_over(&self, shard: Shard, epoch: u64) {
        let written = timeout(HAND_OVER, async {
            // Until what is in flight has been answered the shard grants on: else
            // its orgs would wait for one more answer of the store.
            let pen = self.state(shard).pen.lock().await;
            let cells = self.table.close(shard, epoch);
            self.count_owned();
            for cell in &cells {
                let sent_on = cell.with(|inner| {
                    inner.ledger.stop();
                    self.pump(inner, self.clock.mono());
                });
                if sent_on.is_none() {
                    cell.abandon();
                }
            }
            self.write_out(&pen, shard, epoch, cells, true).await
        });
        let written = written.await;
        if written == Ok(true) {
            self.metrics.handed_over();
        } else {
            tracing::warn!(
                %shard,
                "the store did not take every record: what is set aside stays counted until its \
                 window has passed, and the next owner comes when the session has ended"
            );
        }
        self.drop_shard(shard, epoch);
    }

    /// Forgets a shard at once, if it is held in this epoch, and writes nothing.
    /// Who waits is sent on.
    pub fn drop_shard(&self, shard: Shard, epoch: u64) {
        self.retire(&self.table.drop(shard, epoch));
        self.count_owned();
    }

    /// Grants are allowed before this moment, and not at it.
    pub fn session_until(&self, until: Mono) {
        if let Ownership::Shared(shared) = &self.ownership {
            shared.session_until.store(until.0, Ordering::Release);
        }
    }

    /// The epoch in which a shard is served here; `None` while it is not.
    #[must_use]
    pub fn served(&self, shard: Shard) -> Option<u64> {
        self.table.served(shard)
    }

    /// Follows what is served here: told of after each change.
    #[must_use]
    pub fn owned(&self) -> watch::Receiver<usize> {
        self.owned.subscribe()
    }

    /// Returns when a shard that has been taken, and is being read, is served here,
    /// or is not after all: at once where none is.
    pub async fn settled(&self, shard: Shard) {
        let mut owned = self.owned();
        while self.table.is_reading(shard) && owned.changed().await.is_ok() {}
    }

    /// Others share the store.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self.ownership, Ownership::Shared(_))
    }

    /// Grants are allowed at this moment.
    pub(super) fn may_grant(&self, now: Mono) -> bool {
        match &self.ownership {
            Ownership::Alone(_) => true,
            Ownership::Shared(shared) => now.0 < shared.session_until.load(Ordering::Acquire),
        }
    }

    /// Drops a shard that cannot be gone on with, and tells why. Of one that is
    /// not served any more there is nothing to tell.
    pub(super) fn lose(&self, shard: Shard, epoch: u64, why: ShardEvent) {
        if self.table.served(shard) == Some(epoch) {
            tracing::warn!(%shard, epoch, ?why, "the shard is lost");
            self.drop_shard(shard, epoch);
            self.tell(why);
        }
    }

    pub(super) fn tell(&self, event: ShardEvent) {
        if let Ownership::Shared(shared) = &self.ownership {
            // Nobody listens any more when the process ends.
            let _ = shared.events.send(event);
        }
    }
}

#[cfg(test)]
mod tests;
