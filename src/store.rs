//! All knowledge of storage: a small transactional key-value contract with the
//! shape of etcd's, and the stores that keep it.
//!
//! [`keys`] says what is stored under which name, [`records`] how the values
//! become bytes. [`MemoryStore`] forgets at exit, [`FileStore`] keeps a
//! directory, [`EtcdStore`] is shared by the nodes of a cluster;
//! [`open`](open()) chooses between them. The rules of a transaction are written
//! once, in `apply`, for the two that have them to themselves.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::sync::{mpsc, watch};

use crate::quota::Wall;

mod apply;
pub mod etcd;
pub mod file;
pub mod keys;
pub mod memory;
pub mod open;
pub mod records;

pub use self::{
    etcd::{EtcdOptions, EtcdStore},
    file::{FileStore, OpenError},
    keys::{Key, Shard, shard_of},
    memory::MemoryStore,
    open::{Opened, StoreAddress, StoreOptions, open},
    records::{Record, RecordError},
};

/// A key and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: String,
    /// Its value.
    pub value: Vec<u8>,
    /// The store's revision at which the key came into being.
    pub create_revision: u64,
    /// The store's revision at which the value was last written.
    pub mod_revision: u64,
}

/// A condition of a transaction. A key that does not exist has the revisions 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compare {
    /// The key's mod revision is this.
    ModRevision(String, u64),
    /// The key's create revision is this.
    CreateRevision(String, u64),
}

/// A write of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Sets a key.
    Put(String, Vec<u8>),
    /// Sets a key that is removed when a lease ends. For stores with
    /// [`Sessions`]; if the lease is gone the transaction is not executed.
    PutLeased(String, Vec<u8>, LeaseId),
    /// Removes a key, if it exists.
    Delete(String),
}

/// Writes that are all applied if every condition holds, and none otherwise.
/// Every key is written at most once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// The conditions.
    pub when: Vec<Compare>,
    /// The writes.
    pub then: Vec<Write>,
    /// The writer's wall clock. A store that outlives the process keeps the
    /// one that came with the last transaction that wrote, so that time can
    /// go on from there where the clock was set back meanwhile.
    pub wall: Option<Wall>,
}

/// What became of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxnOutcome {
    /// Applied and durable, at this revision of the store.
    Done {
        /// The mod revision of every key that was put.
        revision: u64,
    },
    /// A condition did not hold: what the keys of the conditions hold instead,
    /// in the order of the conditions (`None`: the key does not exist).
    Conflict {
        /// The present values.
        current: Vec<Option<KeyValue>>,
    },
}

/// Why a store did not answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Certainly nothing was written.
    #[error("the store did not carry it out: {0}")]
    NotExecuted(String),
    /// It may have been written, or may be yet.
    #[error("the store did not say whether it carried it out: {0}")]
    Unknown(String),
    /// The store has lost what it once acknowledged: it was restored from a
    /// backup, or made anew. Nothing that this process knows of it holds.
    #[error("the store went back from revision {seen} to {found}: it was restored or made anew")]
    WentBack {
        /// The highest revision that it had acknowledged.
        seen: u64,
        /// The one that it shows now.
        found: u64,
    },
}

/// Everything under a prefix, as of one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The store's revision when it was read.
    pub revision: u64,
    /// The keys, in order.
    pub entries: Vec<KeyValue>,
}

/// Names a lease: a promise to whoever holds it that the keys put under it stay
/// for as long as it is kept alive. It is no lock: whoever believes to hold it
/// may be wrong, so every write is fenced by the mod revision of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub i64);

/// What a watch tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watched {
    /// All that stands now: the first message of every watch, and again where
    /// changes were missed. What was known before is void.
    All(Listing),
    /// What changed, in order; the changes of one revision come together.
    Changes(Vec<Changed>),
}

/// A change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It was set.
    Put(KeyValue),
    /// It was removed, or its lease ended.
    Deleted {
        /// The key.
        key: String,
        /// The revision at which it went.
        revision: u64,
    },
}

/// A transactional key-value store. Revisions rise by one with every transaction
/// that changes a key, and never fall, also over restarts. A key that is removed
/// and set again gets a new create revision. To remove a key that does not exist
/// changes nothing.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug + 'static {
    /// What the store is called: "memory", "file" or "etcd".
    fn kind(&self) -> &'static str;

    /// Every key that begins with `prefix`, by key, as of one revision that is
    /// not older than the call.
    async fn list(&self, prefix: &str) -> Result<Listing, StoreError>;

    /// The entries of [`Store::list`].
    async fn range(&self, prefix: &str) -> Result<Vec<KeyValue>, StoreError> {
        Ok(self.list(prefix).await?.entries)
    }

    /// Carries out a transaction. When `Done` is returned it is durable. A
    /// caller that stops waiting does not stop the transaction.
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError>;

    /// What a store that is shared by several processes can do besides; `None`
    /// where one process has the store for itself.
    fn sessions(&self) -> Option<&dyn Sessions> {
        None
    }

    /// How the members are of a store that has such, in the order in which they are
    /// listed, by what was last asked of each.
    fn members(&self) -> Vec<StoreMember> {
        Vec::new()
    }
}

/// One of the processes that make up a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreMember {
    /// `HOST:PORT`.
    pub endpoint: String,
    /// Why it does not answer as it should, in a clause; empty if it does.
    pub problem: String,
    /// How long its last answer took; `None` before the first.
    pub round_trip: Option<Duration>,
}

/// Leases and watches: how the processes that share a store learn of each other.
#[async_trait]
pub trait Sessions: Store {
    /// Makes a lease that ends `ttl` after it was last kept alive, or later:
    /// never earlier.
    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError>;

    /// Keeps a lease alive: the time that it has left from some moment between
    /// the call and the answer on; zero if it is gone, which is final.
    async fn keep_alive(&self, lease: LeaseId) -> Result<Duration, StoreError>;

    /// Ends a lease, and removes its keys. To end one that is gone is no error.
    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError>;

    /// Follows how many times the store was found to have gone back, since this
    /// process uses it. Of several requests only those that were under way then
    /// are answered so; this tells everybody.
    fn lives(&self) -> watch::Receiver<u64>;

    /// Follows the keys under a prefix, from a [`Watched::All`] on, over every
    /// loss of connection; dropping the receiver ends it. While the store cannot
    /// be reached it is silent.
    fn watch(&self, prefix: &str) -> mpsc::Receiver<Watched>;
}

/// A store that is shared by the parts of a process.
pub type SharedStore = Arc<dyn Store>;
