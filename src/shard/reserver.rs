//! Carries reserves to the store: one transaction in flight per shard, asks
//! gathered meanwhile, fenced by the shard's owner key.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use tokio::sync::Notify;

use super::{Shards, table::Cell};
use crate::{
    metrics::ReserveOutcome as Counted,
    quota::{GroupRecord, GroupWrite, Now, OrgId, ReserveOutcome, Standing, Stored},
    store::{
        Compare, Key, KeyValue, Record as _, Shard, StoreError, Txn, TxnOutcome, Write, shard_of,
    },
};

/// Records of one transaction: etcd's bound is 128 operations.
const MAX_RECORDS: usize = 126;

/// Bytes of one transaction's values.
const MAX_BYTES: usize = 1 << 20;

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
    orgs: Mutex<BTreeSet<OrgId>>,
    some: Notify,
}

impl Asked {
    /// Asks for an org.
    pub fn ask(&self, org: &OrgId) {
        let is_new = {
            let mut orgs = self.orgs.lock().unwrap_or_else(PoisonError::into_inner);
            !orgs.contains(org) && orgs.insert(org.clone())
        };
        if is_new {
            self.some.notify_one();
        }
    }

    fn take(&self) -> BTreeSet<OrgId> {
        std::mem::take(&mut self.orgs.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The part of a transaction that belongs to one org.
struct Part {
    cell: Arc<Cell>,
    writes: Vec<GroupWrite>,
}

impl Shards {
    /// Serves the reserves of one shard, until the process stops; then hands the
    /// shard over.
    pub(super) async fn reserve_for(self: Arc<Self>, shard: Shard) {
        let mut stopping = self.stopping.subscribe();
        while !*stopping.borrow_and_update() {
            tokio::select! {
                () = self.state(shard).asked.some.notified() => {
                    if self.state(shard).broken.load(Ordering::Acquire) {
                        self.take_back(shard).await;
                    }
                    self.reserve_what_is_asked(shard).await;
                }
                _ = stopping.changed() => {}
            }
        }
        self.hand_over(shard).await;
    }

    async fn reserve_what_is_asked(&self, shard: Shard) {
        let mut failures = 0;
        loop {
            let asking = self.state(shard).asked.take();
            if asking.is_empty() {
                return;
            }
            let now = self.clock.now();
            let mut parts: Vec<Part> = Vec::new();
            let mut left = MAX_RECORDS;
            for org in asking {
                if left == 0 {
                    self.state(shard).asked.ask(&org);
                    continue;
                }
                let Some(cell) = self.table.get(&org) else { continue };
                let begun = cell.with(|inner| inner.ledger.begin_reserve(now, left));
                let Some(writes) = begun else { continue };
                left -= writes.len();
                if !writes.is_empty() {
                    parts.push(Part { cell, writes });
                }
            }
            if parts.is_empty() {
                continue;
            }
            let standing = self.commit(shard, now, &parts).await;
            match standing {
                Ok(Standing::Owner) => failures = 0,
                Ok(Standing::Overtaken) => self.take_back(shard).await,
                Err(_) => {
                    failures += 1;
                    tokio::time::sleep(RETRY_PAUSE * failures.min(5)).await;
                }
            }
            // What the transaction left open asks again by itself.
            for part in &parts {
                self.with_live(&part.cell.org, |_, _, _| ());
            }
        }
    }

    /// Sends one transaction and lets the ledgers know what became of it.
    async fn commit(&self, shard: Shard, now: Now, parts: &[Part]) -> Result<Standing, StoreError> {
        let epoch = self.state(shard).epoch.load(Ordering::Acquire);
        let txn = transaction(shard, epoch, now, parts);
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
        self.note_store(&result);
        let mut standing = Standing::Owner;
        let mut first = 0;
        for part in parts {
            let mine = first..first + part.writes.len();
            first = mine.end;
            let outcome = match &outcome {
                Outcome::All(outcome) => outcome.clone(),
                Outcome::Fenced => ReserveOutcome::NotExecuted,
                Outcome::Conflict(records) => match stored(&part.writes, &records[mine]) {
                    Some(current) => ReserveOutcome::Conflict(current),
                    // Nothing may be concluded from a record that cannot be read.
                    None => {
                        standing = Standing::Overtaken;
                        ReserveOutcome::NotExecuted
                    }
                },
            };
            let finished = part.cell.with(|inner| {
                let now = self.clock.mono();
                let standing = inner.ledger.finish_reserve(now, &part.writes, &outcome);
                self.pump(inner, now);
                self.after(&part.cell, inner, now);
                standing
            });
            // What a panic has left half done is read again, too.
            if finished != Some(Standing::Owner) {
                standing = Standing::Overtaken;
            }
        }
        if matches!(outcome, Outcome::Fenced) {
            standing = Standing::Overtaken;
        }
        result.map(|_| standing)
    }

    /// A ledger of the shard panicked: the shard is to be read again.
    pub(super) fn read_again(&self, shard: Shard) {
        let state = self.state(shard);
        if !state.broken.swap(true, Ordering::AcqRel) {
            tracing::error!(%shard, "a ledger panicked: this is a bug");
            state.asked.some.notify_one();
        }
    }

    /// Somebody else has written here, or a ledger panicked: every ledger of the
    /// shard ends, and the shard is taken anew with what the store holds.
    async fn take_back(&self, shard: Shard) {
        tracing::warn!(%shard, "the shard is read again");
        self.state(shard).broken.store(false, Ordering::Release);
        self.state(shard).epoch.store(0, Ordering::Release);
        while let Err(error) = self.take_over(&[shard]).await {
            tracing::error!(%shard, %error, "cannot take the shard");
            tokio::time::sleep(RETRY_PAUSE * 10).await;
            if *self.stopping.borrow() {
                return;
            }
        }
    }

    /// Writes every record of the shard that has open units or lacks a grant.
    async fn hand_over(&self, shard: Shard) {
        let orgs = self.table.orgs().into_iter().filter(|org| shard_of(org) == shard);
        for org in orgs {
            let Some(cell) = self.table.get(&org) else { continue };
            let mut failures = 0;
            while failures < HAND_OVER_TRIES {
                let now = self.clock.now();
                let begun = cell.with(|inner| {
                    let writes = inner.ledger.begin_hand_over(now, MAX_RECORDS);
                    self.pump(inner, now.mono);
                    writes
                });
                let writes = begun.unwrap_or_default();
                if writes.is_empty() {
                    break;
                }
                let part = Part { cell: Arc::clone(&cell), writes };
                let failure = match self.commit(shard, now, &[part]).await {
                    Ok(Standing::Owner) => continue,
                    // Whoever has taken the shard has sealed what stood there.
                    Ok(Standing::Overtaken) => break,
                    Err(error) => error,
                };
                tracing::warn!(%org, error = %failure, "cannot write a record at the end");
                failures += 1;
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }
}

/// What became of a transaction, for the parts of it.
enum Outcome<'a> {
    All(ReserveOutcome),
    Conflict(&'a [Option<KeyValue>]),
    Fenced,
}

/// The owner key is compared first, then each record.
fn transaction(shard: Shard, epoch: u64, now: Now, parts: &[Part]) -> Txn {
    let mut txn = Txn { wall: Some(now.wall), ..Txn::default() };
    txn.when.push(Compare::ModRevision(Key::ShardOwner(shard).into(), epoch));
    let mut bytes = 0;
    for part in parts {
        for write in &part.writes {
            let key: String =
                Key::Counters { org: part.cell.org.clone(), group: write.group.clone() }.into();
            txn.when.push(Compare::ModRevision(key.clone(), write.expected_revision));
            txn.then.push(match &write.record {
                Some(record) => {
                    let value = record.encode();
                    bytes += value.len();
                    Write::Put(key, value)
                }
                None => Write::Delete(key),
            });
        }
    }
    debug_assert!(bytes <= MAX_BYTES, "126 records of a few KB each");
    txn
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
