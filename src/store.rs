//! All knowledge of storage: a small transactional key-value contract with the
//! shape of etcd's, and the stores that keep it.
//!
//! [`keys`] says what is stored under which name, [`records`] how the values
//! become bytes. [`MemoryStore`] forgets at exit, [`FileStore`] keeps a
//! directory; [`open`](open()) chooses between them. The rules of a transaction
//! are written once, in `apply`, for both.

use std::{fmt, sync::Arc};

use async_trait::async_trait;

use crate::quota::Wall;

mod apply;
pub mod file;
pub mod keys;
pub mod memory;
pub mod open;
pub mod records;

pub use self::{
    file::{FileStore, OpenError},
    keys::{Key, Shard, shard_of},
    memory::MemoryStore,
    open::{Opened, StoreAddress, open},
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
    async fn range(&self, prefix: &str) -> Result<Vec<KeyValue>, StoreError>;

    /// Carries out a transaction. When `Done` is returned it is durable. A
    /// caller that stops waiting does not stop the transaction.
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError>;
}

/// A store that is shared by the parts of a process.
pub type SharedStore = Arc<dyn Store>;
