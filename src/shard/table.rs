//! Where a ledger is found: the only file that names `DashMap`. A guard of the
//! map lives for one expression; the ledger's own lock is taken after it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use dashmap::DashMap;
use tokio::sync::oneshot;

use crate::{
    quota::{Ledger, Mono, OrgId, Outcome, WaiterId},
    store::{Shard, shard_of},
};

/// All ledgers of this process.
#[derive(Debug, Default)]
pub struct Table {
    cells: DashMap<OrgId, Arc<Cell>>,
}

/// One org's ledger behind its lock.
#[derive(Debug)]
pub struct Cell {
    pub org: OrgId,
    pub shard: Shard,
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

impl Cell {
    fn new(org: &OrgId, ledger: Ledger) -> Self {
        let inner = Inner { ledger, waiters: HashMap::new(), wake_at: None, retired: false };
        Self { org: org.clone(), shard: shard_of(org), inner: Mutex::new(inner) }
    }

    /// Locks the ledger. Never across an await.
    ///
    /// # Panics
    /// If a holder of the lock panicked: what it left half done is not used.
    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of a ledger's lock has panicked")
    }
}

impl Inner {
    /// Ends the use of this ledger: whoever holds the cell looks it up again.
    pub fn retire(&mut self) {
        self.retired = true;
        self.ledger.stop();
    }
}

impl Table {
    /// The cell of an org.
    pub fn get(&self, org: &OrgId) -> Option<Arc<Cell>> {
        self.cells.get(org).map(|cell| Arc::clone(&cell))
    }

    /// The cell of an org; made if there is none.
    pub fn get_or_insert(&self, org: &OrgId, make: impl FnOnce() -> Ledger) -> Arc<Cell> {
        Arc::clone(
            &self.cells.entry(org.clone()).or_insert_with(|| Arc::new(Cell::new(org, make()))),
        )
    }

    /// Puts a ledger in the place of the one that is there. Returns that.
    pub fn replace(&self, org: &OrgId, ledger: Ledger) -> Option<Arc<Cell>> {
        self.cells.insert(org.clone(), Arc::new(Cell::new(org, ledger)))
    }

    /// Takes a cell out, unless another one is in its place.
    pub fn remove(&self, cell: &Arc<Cell>) {
        self.cells.remove_if(&cell.org, |_, present| Arc::ptr_eq(present, cell));
    }

    /// The orgs that have a cell.
    pub fn orgs(&self) -> Vec<OrgId> {
        self.cells.iter().map(|entry| entry.key().clone()).collect()
    }

    /// How many cells there are.
    pub fn len(&self) -> usize {
        self.cells.len()
    }
}
