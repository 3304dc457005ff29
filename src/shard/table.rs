//! Where a ledger is found: the only file that names `DashMap`. A guard of the
//! map lives for one expression; the ledger's own lock is taken after it.

use std::{
    collections::HashMap,
    panic::{self, AssertUnwindSafe},
    sync::{Arc, Mutex, PoisonError},
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
