//! Carries reserves to the store: one transaction in flight per shard, asks
//! gathered meanwhile, fenced by the shard's owner key.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use tokio::sync::{MutexGuard, Notify};

use super::{
    Ownership, ShardEvent, Shards,
    batch::{Batch, MAX_BYTES, MAX_RECORDS, Part, batches},
    table::Cell,
};
use crate::{
    metrics::ReserveOutcome as Counted,
    quota::{GroupRecord, GroupWrite, Now, OrgId, ReserveOutcome, Standing, Stored},
    store::{Compare, Key, KeyValue, Record as _, Shard, StoreError, Txn, TxnOutcome, Write},
    trace::Span,
};

/// An answer that takes longer is taken for unknown.
pub(super) const STORE_TIMEOUT: Duration = Duration::from_secs(2);

/// After a transaction that failed the next one waits this long, after several
/// in a row up to five times as long.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// How often a hand-over tries to write what the store does not take.
const HAND_OVER_TRIES: u32 = 20;

/// The orgs of a shard that ask for a reserve.
#[derive(Debug, Default)]
pub struct Asked {
    /// With the span of the request that made it be asked for.
    orgs: Mutex<BTreeMap<OrgId, Span>>,
    some: Notify,
}

impl Asked {
    /// Asks for an org, on behalf of the request that this task serves, if it does.
    pub fn ask(&self, org: &OrgId) {
        self.ask_for(org, Span::current);
    }

    fn ask_for(&self, org: &OrgId, span: impl FnOnce() -> Span) {
        {
            let mut orgs = self.orgs.lock().unwrap_or_else(PoisonError::into_inner);
            if orgs.contains_key(org) {
                return;
            }
            orgs.insert(org.clone(), span());
        }
        self.some.notify_one();
    }

    fn take(&self) -> BTreeMap<OrgId, Span> {
        std::mem::take(&mut self.orgs.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What an answer of the store says about the right to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    /// Go on.
    Held,
    /// Nothing was written: an earlier attempt had been, whose answer was lost.
    /// The ledgers know of it now, and go on from there.
    Adopted,
    /// The owner key is not ours in this epoch.
    Fenced,
    /// The owner key is ours, but a record is not, or a ledger panicked.
    Broken,
}

impl Shards {
    /// Serves the reserves of one shard, until the process stops; then hands the
    /// shard over.
    pub(super) async fn reserve_for(self: Arc<Self>, shard: Shard) {
        let mut stopping = self.stopping.subscribe();
        while !*stopping.borrow_and_update() {
            tokio::select! {
                biased;
                _ = stopping.changed() => {}
                () = self.state(shard).asked.some.notified() => {
                    if self.state(shard).broken.load(Ordering::Acquire) {
                        self.take_back(shard).await;
                    }
                    self.reserve_what_is_asked(shard).await;
                }
            }
        }
        let Some(epoch) = self.table.served(shard) else { return };
        match self.ownership {
            Ownership::Alone(_) => {
                let pen = self.state(shard).pen.lock().await;
                self.write_out(&pen, shard, epoch, self.table.cells(shard), false).await;
            }
            Ownership::Shared(_) => self.hand_over(shard, epoch).await,
        }
    }

    async fn reserve_what_is_asked(&self, shard: Shard) {
        let mut failures = 0;
        loop {
            let asking = self.state(shard).asked.take();
            if asking.is_empty() {
                return;
            }
            let pen = self.state(shard).pen.lock().await;
            // Whoever asked may be of a former epoch: its ledger is gone.
            let Some(epoch) = self.table.served(shard) else { continue };
            let now = self.clock.now();
            let parts = self.gather(shard, epoch, now, asking);
            let cells: Vec<Arc<Cell>> = parts.iter().map(|part| Arc::clone(&part.cell)).collect();
            let sent = self.send(shard, epoch, now, batches(parts, MAX_BYTES), Last::Keep).await;
            drop(pen);
            match sent {
                Ok(Right::Held | Right::Adopted) => failures = 0,
                Ok(Right::Fenced) => {
                    self.lost(shard, epoch, ShardEvent::Fenced { shard, epoch }).await;
                }
                Ok(Right::Broken) => {
                    self.lost(shard, epoch, ShardEvent::Broken { shard, epoch }).await;
                }
                Err(_) => {
                    failures += 1;
                    tokio::time::sleep(RETRY_PAUSE * failures.min(5)).await;
                }
            }
            // What the transaction left open asks again by itself.
            for cell in cells {
                self.with_live(&cell.org, |_, _, _| ());
            }
        }
    }

    /// What the ledgers that ask want written. Those for which there is no place
    /// ask again.
    fn gather(
        &self,
        shard: Shard,
        epoch: u64,
        now: Now,
        asking: BTreeMap<OrgId, Span>,
    ) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut left = MAX_RECORDS;
        for (org, span) in asking {
            if left == 0 {
                self.state(shard).asked.ask_for(&org, || span);
                continue;
            }
            let Some(cell) = self.table.get(&org).filter(|cell| cell.epoch == epoch) else {
                continue;
            };
            let begun = cell.with(|inner| inner.ledger.begin_reserve(now, left));
            let Some(writes) = begun else { continue };
            left -= writes.len();
            if !writes.is_empty() {
                parts.push(Part { cell, writes, span: span.part("reserve") });
            }
        }
        parts
    }

    /// Sends transactions one after the other, up to the first that fails; of
    /// those after it the ledgers learn that they were not carried out. The
    /// whole counts from `now`, which was read before.
    async fn send(
        &self,
        shard: Shard,
        epoch: u64,
        now: Now,
        batches: Vec<Batch>,
        last: Last,
    ) -> Result<Right, StoreError> {
        let mut sent = Ok(Right::Held);
        let count = batches.len();
        for (at, batch) in batches.into_iter().enumerate() {
            if let Ok(Right::Held) = sent {
                let last = if at + 1 == count { last } else { Last::Keep };
                sent = self.commit(shard, epoch, now, batch, last).await;
            } else {
                self.finish(&batch.parts, &Outcome::All(ReserveOutcome::NotExecuted));
            }
        }
        sent
    }

    /// Sends one transaction and lets the ledgers know what became of it.
    async fn commit(
        &self,
        shard: Shard,
        epoch: u64,
        now: Now,
        batch: Batch,
        last: Last,
    ) -> Result<Right, StoreError> {
        let Batch { parts, when, mut then, .. } = batch;
        let owner: String = Key::ShardOwner(shard).into();
        // The owner key is compared first, then each record.
        let fence = Compare::ModRevision(owner.clone(), epoch);
        let when = [fence].into_iter().chain(when).collect();
        if last == Last::DeletesOwner {
            then.push(Write::Delete(owner));
        }
        let records = then.len();
        let txn = Txn { when, then, wall: Some(now.wall) };
        let sent = self.clock.mono();
        let result = tokio::time::timeout(STORE_TIMEOUT, self.store.txn(txn)).await;
        let result = result.unwrap_or_else(|_| {
            Err(StoreError::Unknown(format!("no answer within {STORE_TIMEOUT:?}")))
        });
        let (outcome, counted) = match &result {
            Ok(TxnOutcome::Done { revision }) => {
                (Outcome::All(ReserveOutcome::Committed { revision: *revision }), Counted::Done)
            }
            Ok(TxnOutcome::Conflict { current }) => match current.split_first() {
                Some((owner, records))
                    if owner.as_ref().is_some_and(|o| o.mod_revision == epoch) =>
                {
                    (Outcome::Conflict(records), Counted::Conflict)
                }
                _ => (Outcome::Fenced, Counted::Fenced),
            },
            Err(StoreError::NotExecuted(_)) => {
                (Outcome::All(ReserveOutcome::NotExecuted), Counted::NotExecuted)
            }
            Err(StoreError::Unknown(_) | StoreError::WentBack { .. }) => {
                (Outcome::All(ReserveOutcome::Unknown), Counted::Unknown)
            }
        };
        self.metrics.reserved(counted, self.clock.mono().since(sent));
        for part in &parts {
            part.record(shard, records, &result);
        }
        self.note_store(&result);
        if let Err(StoreError::WentBack { .. }) = result {
            self.tell(ShardEvent::WentBack);
        }
        let right = self.finish(&parts, &outcome);
        result.map(|_| right)
    }

    /// Lets the ledgers know what became of a transaction. A ledger of a former
    /// epoch hears of it in its own cell, which nobody looks up any more.
    fn finish(&self, parts: &[Part], outcome: &Outcome<'_>) -> Right {
        let mut right = match outcome {
            Outcome::Fenced => Right::Fenced,
            Outcome::All(_) => Right::Held,
            Outcome::Conflict(_) => Right::Adopted,
        };
        let mut first = 0;
        for part in parts {
            let mine = first..first + part.writes.len();
            first = mine.end;
            let (outcome, is_readable) = match outcome {
                Outcome::All(outcome) => (outcome.clone(), true),
                Outcome::Fenced => (ReserveOutcome::NotExecuted, true),
                Outcome::Conflict(records) => {
                    match stored(&part.writes, records.get(mine).unwrap_or_default()) {
                        Some(current) => (ReserveOutcome::Conflict(current), true),
                        // Nothing may be concluded from a record that cannot be read.
                        None => (ReserveOutcome::NotExecuted, false),
                    }
                }
            };
            let finished = part.cell.with(|inner| {
                let now = self.clock.mono();
                let standing = inner.ledger.finish_reserve(now, &part.writes, &outcome);
                self.pump(inner, now);
                self.after(&part.cell, inner, now);
                standing
            });
            // What a panic has left half done is read again, too.
            let is_ours = is_readable && finished == Some(Standing::Owner);
            if !is_ours && right != Right::Fenced {
                right = Right::Broken;
            }
        }
        right
    }

    /// A ledger panicked: its shard is to be read again.
    pub(super) fn read_again(&self, cell: &Cell) {
        let (shard, epoch) = (cell.shard, cell.epoch);
        if self.is_shared() {
            self.lose(shard, epoch, ShardEvent::Broken { shard, epoch });
            return;
        }
        let state = self.state(shard);
        if !state.broken.swap(true, Ordering::AcqRel) {
            tracing::error!(%shard, "a ledger panicked: this is a bug");
            state.asked.some.notify_one();
        }
    }

    /// The shard cannot be gone on with: it is taken anew, by whoever says which
    /// are held.
    async fn lost(&self, shard: Shard, epoch: u64, why: ShardEvent) {
        match self.ownership {
            Ownership::Alone(_) => self.take_back(shard).await,
            Ownership::Shared(_) => self.lose(shard, epoch, why),
        }
    }

    /// Somebody else has written to a store of one process, or a ledger
    /// panicked: every ledger of the shard ends, and the shard is taken anew
    /// with what the store holds.
    async fn take_back(&self, shard: Shard) {
        let Ownership::Alone(owner) = &self.ownership else { return };
        tracing::warn!(%shard, "the shard is read again");
        self.state(shard).broken.store(false, Ordering::Release);
        self.table.close(shard, self.table.terms(shard).epoch);
        while let Err(error) = self.take_over(owner, &[shard]).await {
            tracing::error!(%shard, %error, "cannot take the shard");
            tokio::time::sleep(RETRY_PAUSE * 10).await;
            if *self.stopping.borrow() {
                return;
            }
        }
    }

    /// Writes every record that has open units or lacks a grant, with nothing else
    /// in flight, as the shard's pen says; with `deletes_owner` the last
    /// transaction deletes the owner key. False if the store did not take all of
    /// it.
    pub(super) async fn write_out(
        &self,
        _pen: &MutexGuard<'_, ()>,
        shard: Shard,
        epoch: u64,
        mut cells: Vec<Arc<Cell>>,
        deletes_owner: bool,
    ) -> bool {
        let mut failures = 0;
        loop {
            let now = self.clock.now();
            let mut parts = Vec::new();
            let mut left = MAX_RECORDS;
            cells.retain(|cell| {
                if left == 0 {
                    return true;
                }
                let begun = cell.with(|inner| {
                    let writes = inner.ledger.begin_hand_over(now, left);
                    self.pump(inner, now.mono);
                    writes
                });
                // What a panic has left half done stays as it is recorded.
                let writes = begun.unwrap_or_default();
                left -= writes.len();
                let is_written = writes.is_empty();
                if !is_written {
                    let (cell, span) = (Arc::clone(cell), Span::default());
                    parts.push(Part { cell, writes, span });
                }
                !is_written
            });
            // With a place left over, nothing more is to be written than this.
            let is_last = deletes_owner && left > 0;
            if parts.is_empty() && !is_last {
                return true;
            }
            let last = if is_last { Last::DeletesOwner } else { Last::Keep };
            let mut batches = batches(parts, MAX_BYTES);
            if batches.is_empty() {
                batches.push(Batch::default());
            }
            match self.send(shard, epoch, now, batches, last).await {
                Ok(Right::Held) if is_last => return true,
                Ok(Right::Held) => failures = 0,
                // Whoever has taken the shard has sealed what stood there; or an
                // earlier attempt, whose answer was lost, was the last one.
                Ok(Right::Fenced) => return true,
                Ok(_) if failures >= HAND_OVER_TRIES => return false,
                // What is to be written is not written yet, and the owner key
                // stands.
                Ok(Right::Adopted | Right::Broken) => failures += 1,
                Err(error) => {
                    failures += 1;
                    tracing::debug!(%shard, %error, "cannot write the records at the end");
                    if failures >= HAND_OVER_TRIES {
                        return false;
                    }
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }
}

/// Whether the last of several transactions ends the ownership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    Keep,
    DeletesOwner,
}

impl Part {
    /// Notes what became of the transaction that it was a part of.
    fn record(&self, shard: Shard, records: usize, result: &Result<TxnOutcome, StoreError>) {
        if !self.span.is_recorded() {
            return;
        }
        self.span.note("quotagate.org", self.cell.org.as_str());
        self.span.note("quotagate.shard", &shard.to_string());
        self.span.count("quotagate.store.writes", u64::try_from(records).unwrap_or(u64::MAX));
        match result {
            Ok(TxnOutcome::Done { revision }) => {
                self.span.count("quotagate.store.revision", *revision);
            }
            Ok(TxnOutcome::Conflict { .. }) => self.span.fail("somebody else has written"),
            Err(error) => self.span.fail(&error.to_string()),
        }
    }
}

/// What became of a transaction, for the parts of it.
enum Outcome<'a> {
    All(ReserveOutcome),
    Conflict(&'a [Option<KeyValue>]),
    Fenced,
}

/// What stands in the store for each write; `None` if a record cannot be read.
fn stored(
    writes: &[GroupWrite],
    records: &[Option<KeyValue>],
) -> Option<Vec<(crate::quota::Group, Option<Stored>)>> {
    let decode = |present: &KeyValue| {
        let record = GroupRecord::decode(&present.value).ok()?;
        Some(Stored { revision: present.mod_revision, record })
    };
    let pairs = writes.iter().zip(records);
    pairs
        .map(|(write, present)| {
            let stored = match present {
                Some(present) => Some(decode(present)?),
                None => None,
            };
            Some((write.group.clone(), stored))
        })
        .collect()
}
