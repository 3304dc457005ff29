//! Where a ledger is found: by its shard, then by its org. The only file that
//! names `DashMap`: a guard of the map is held for one look-up or one change of
//! it, and for one shard at a time; a ledger's own lock is never taken under it,
//! but may be held when it is taken.

use std::{
    collections::HashMap,
    panic::{self, AssertUnwindSafe},
    sync::{Arc, Mutex, PoisonError},
};

use dashmap::{
    DashMap,
    mapref::one::{Ref, RefMut},
};
use tokio::sync::oneshot;

use crate::{
    quota::{Ledger, Mono, OrgId, Outcome, WaiterId, Wall},
    store::{Shard, shard_of},
};

/// All ledgers of this process, and the epoch of each shard.
#[derive(Debug)]
pub struct Table {
    /// Every shard has its place from the start.
    shards: DashMap<Shard, Held>,
}

/// One org's ledger behind its lock.
#[derive(Debug)]
pub struct Cell {
    pub org: OrgId,
    pub shard: Shard,
    /// The epoch of its ledger.
    pub epoch: u64,
    inner: Mutex<Inner>,
}

/// What the lock guards.
#[derive(Debug)]
pub struct Inner {
    pub ledger: Ledger,
    /// Who waits for the answer to a parked ask.
    pub waiters: HashMap<WaiterId, Vec<oneshot::Sender<Outcome>>>,
    /// The earliest wake that is planned.
    pub wake_at: Option<Mono>,
    /// The ledger is not in the table any more: look it up again.
    pub retired: bool,
}

/// What a new ledger of a shard begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// The epoch.
    pub epoch: u64,
    /// What was counted until then is not known.
    pub closed_since: Option<Wall>,
}

/// One shard as this process holds it.
#[derive(Debug, Default)]
struct Held {
    terms: Terms,
    phase: Phase,
    cells: HashMap<OrgId, Arc<Cell>>,
}

/// How far the hold on a shard has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// It is not held.
    #[default]
    None,
    /// The owner key stands; what is recorded is being read.
    Reading,
    /// Its ledgers decide.
    Serving,
    /// Its ledgers can still be settled, and no new ones are made.
    Closing,
}

impl Default for Table {
    fn default() -> Self {
        Self { shards: Shard::all().map(|shard| (shard, Held::default())).collect() }
    }
}

impl Table {
    /// The cell of an org.
    pub fn get(&self, org: &OrgId) -> Option<Arc<Cell>> {
        self.read(shard_of(org)).cells.get(org).cloned()
    }

    /// The cell of an org; made if there is none and its shard is served, else
    /// `None`.
    pub fn get_or_insert(
        &self,
        org: &OrgId,
        make: impl FnOnce(Terms) -> Ledger,
    ) -> Option<Arc<Cell>> {
        let mut held = self.write(shard_of(org));
        let Held { terms, phase, cells } = held.value_mut();
        if let Some(cell) = cells.get(org) {
            return Some(Arc::clone(cell));
        }
        (*phase == Phase::Serving).then(|| {
            let cell = Arc::new(Cell::new(org, make(*terms)));
            cells.insert(org.clone(), Arc::clone(&cell));
            cell
        })
    }

    /// Takes a cell out, unless another one is in its place.
    pub fn remove(&self, cell: &Arc<Cell>) {
        let mut held = self.write(cell.shard);
        if held.cells.get(&cell.org).is_some_and(|present| Arc::ptr_eq(present, cell)) {
            held.cells.remove(&cell.org);
        }
    }

    /// The epoch in which a shard is served; `None` while it is not.
    pub fn served(&self, shard: Shard) -> Option<u64> {
        let held = self.read(shard);
        (held.phase == Phase::Serving).then_some(held.terms.epoch)
    }

    /// True while what is recorded of a shard is being read, to be served here.
    pub fn is_reading(&self, shard: Shard) -> bool {
        self.read(shard).phase == Phase::Reading
    }

    /// What a new ledger of a shard would begin with.
    pub fn terms(&self, shard: Shard) -> Terms {
        self.read(shard).terms
    }

    /// The epochs of the shards that are served.
    pub fn epochs(&self) -> impl Iterator<Item = u64> + '_ {
        Shard::all().filter_map(|shard| self.served(shard))
    }

    /// What is recorded of a shard is about to be read, in a new epoch. Returns
    /// the cells of the former one, which are in the table no more; `None` if
    /// this epoch is held already, or a later one: who speaks of an earlier
    /// epoch is late.
    pub fn begin(&self, shard: Shard, terms: Terms) -> Option<Vec<Arc<Cell>>> {
        let mut held = self.write(shard);
        let is_held = matches!(held.phase, Phase::Serving | Phase::Closing);
        let is_late = held.phase != Phase::None && terms.epoch < held.terms.epoch;
        if is_late || is_held && held.terms.epoch == terms.epoch {
            return None;
        }
        held.terms = terms;
        held.phase = Phase::Reading;
        Some(held.take())
    }

    /// Serves a shard with the ledgers that were built from its records. False
    /// if it was dropped, handed over or taken anew while they were read.
    pub fn serve(&self, shard: Shard, epoch: u64, cells: Vec<Cell>) -> bool {
        let mut held = self.write(shard);
        let awaited = held.phase == Phase::Reading && held.terms.epoch == epoch;
        if awaited {
            held.phase = Phase::Serving;
            held.cells = cells.into_iter().map(|cell| (cell.org.clone(), Arc::new(cell))).collect();
        }
        awaited
    }

    /// No more ledgers are made of a shard in this epoch. Returns those that
    /// there are.
    pub fn close(&self, shard: Shard, epoch: u64) -> Vec<Arc<Cell>> {
        let mut held = self.write(shard);
        if held.phase == Phase::None || held.terms.epoch != epoch {
            return Vec::new();
        }
        held.phase = Phase::Closing;
        held.cells.values().cloned().collect()
    }

    /// Forgets a shard, if it is held in this epoch. Returns its cells, which
    /// are in the table no more.
    pub fn drop(&self, shard: Shard, epoch: u64) -> Vec<Arc<Cell>> {
        let mut held = self.write(shard);
        if held.phase == Phase::None || held.terms.epoch != epoch {
            return Vec::new();
        }
        held.terms = Terms::default();
        held.phase = Phase::None;
        held.take()
    }

    /// The cells of a shard.
    pub fn cells(&self, shard: Shard) -> Vec<Arc<Cell>> {
        self.read(shard).cells.values().cloned().collect()
    }

    /// The orgs that have a cell.
    pub fn orgs(&self) -> Vec<OrgId> {
        let all = Shard::all().flat_map(|shard| self.cells(shard));
        all.map(|cell| cell.org.clone()).collect()
    }

    /// How many cells there are.
    pub fn len(&self) -> usize {
        Shard::all().map(|shard| self.read(shard).cells.len()).sum()
    }

    fn read(&self, shard: Shard) -> Ref<'_, Shard, Held> {
        self.shards.get(&shard).expect("every shard has its place")
    }

    fn write(&self, shard: Shard) -> RefMut<'_, Shard, Held> {
        self.shards.get_mut(&shard).expect("every shard has its place")
    }
}

impl Held {
    fn take(&mut self) -> Vec<Arc<Cell>> {
        std::mem::take(&mut self.cells).into_values().collect()
    }
}

impl Cell {
    pub fn new(org: &OrgId, ledger: Ledger) -> Self {
        let epoch = ledger.epoch();
        let inner = Inner { ledger, waiters: HashMap::new(), wake_at: None, retired: false };
        Self { org: org.clone(), shard: shard_of(org), epoch, inner: Mutex::new(inner) }
    }

    /// Uses the ledger under its lock. `None` if the work panics, or has before:
    /// what it left half done is not used any more, and the panic ends neither
    /// the connection nor the task that it happened in.
    pub fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> Option<T> {
        let work = AssertUnwindSafe(|| Some(work(&mut *self.inner.lock().ok()?)));
        panic::catch_unwind(work).ok().flatten()
    }

    /// Ends the use of a ledger that a panic has left half done. Whoever waits
    /// is sent on.
    pub fn abandon(&self) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.retired = true;
        inner.waiters.clear();
    }
}

impl Inner {
    /// Ends the use of this ledger: whoever holds the cell looks it up again.
    pub fn retire(&mut self) {
        self.retired = true;
        self.ledger.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_speaks_of_an_earlier_epoch_is_late() {
        // It made the ledgers of the later epoch disappear.
        let table = Table::default();
        let shard = Shard::new(3).expect("a shard");
        let terms = |epoch| Terms { epoch, closed_since: None };
        assert!(table.begin(shard, terms(7)).is_some());
        assert!(table.serve(shard, 7, Vec::new()));
        for epoch in [6, 7] {
            assert!(table.begin(shard, terms(epoch)).is_none(), "{epoch}");
            assert_eq!(table.served(shard), Some(7));
        }
        assert!(table.begin(shard, terms(8)).is_some());
    }
}
