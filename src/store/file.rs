//! The store that keeps a directory on the local disk.
//!
//! One thread owns the database; callers hand it requests through a bounded
//! queue. It takes everything that waits and commits it together (**group
//! commit**): one write to the disk carries the transactions of many callers,
//! each with its own conditions, evaluated in order against the effects of
//! those before it.

use std::{
    fmt,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    thread::{self, JoinHandle},
};

use async_trait::async_trait;
use redb::{Database, Durability, ReadableDatabase as _, ReadableTable};
use tokio::sync::{mpsc, oneshot};

use self::directory::{DATA, Directory, LAST_WALL_KEY, META, Meta, REVISION_KEY, panic_message};
use super::{
    KeyValue, Listing, Store, StoreError, Txn, TxnOutcome,
    apply::{self, Table},
};
use crate::quota::Wall;

mod directory;

pub use self::directory::{Holder, OpenError};

/// Requests that wait for the thread, and the most that one commit carries.
/// Each shard has at most one reserve in flight, so 256 is all of them.
const QUEUE: usize = 256;

/// A store in a directory, for one process on one machine.
///
/// What it answers as done has been written through to the disk. When a write
/// fails, the fate of what was in flight is [`StoreError::Unknown`], and from
/// then on every request is [`StoreError::NotExecuted`]: after a failed write
/// nobody knows what the disk holds until the directory is opened anew.
pub struct FileStore {
    dir: PathBuf,
    last_wall: Option<Wall>,
    /// `None` once the store closes.
    requests: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

impl FileStore {
    /// Opens the store in a directory, and makes directory and store if there
    /// are none. Reads the whole database to check it: some milliseconds per
    /// megabyte, so not from a runtime's worker that others wait for.
    ///
    /// # Errors
    /// [`OpenError`]: another process has it open, it is of a newer format or
    /// damaged, or the operating system refuses.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        let directory = Directory::hold(dir)?;
        let (database, Meta { revision, last_wall }) = directory.open_database()?;
        let (requests, queue) = mpsc::channel(QUEUE);
        let thread = thread::Builder::new()
            .name("quotagate-store".into())
            .spawn(move || {
                Worker { database, revision, last_wall, failed: None }.run(queue);
                // The lock goes last, when nothing writes any more.
                drop(directory);
            })
            .map_err(|source| OpenError::Io { path: dir.into(), source })?;
        Ok(Self { dir: dir.into(), last_wall, requests: Some(requests), thread: Some(thread) })
    }

    /// The last [`Txn::wall`] that was stored before this opening: time must
    /// not be taken to be earlier. `None` if there was none.
    #[must_use]
    pub fn last_wall(&self) -> Option<Wall> {
        self.last_wall
    }

    /// Carries out what was asked for and lets go of the directory: when this
    /// returns, another process can open it. Dropping the store does the same.
    /// Waits for the disk, usually for some milliseconds.
    pub fn close(self) {
        drop(self);
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Request,
        lost: fn(String) -> StoreError,
    ) -> Result<T, StoreError> {
        const GONE: &str = "its thread has ended";
        let (reply, answer) = oneshot::channel();
        let requests = self.requests.as_ref().ok_or_else(|| not_executed(GONE))?;
        // A full queue makes the caller wait, for as long as it likes.
        requests.send(request(reply)).await.map_err(|_| not_executed(GONE))?;
        answer.await.unwrap_or_else(|_| Err(lost(GONE.into())))
    }
}

#[async_trait]
impl Store for FileStore {
    fn kind(&self) -> &'static str {
        "file"
    }

    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        let prefix = prefix.to_owned();
        self.ask(|reply| Request::List { prefix, reply }, StoreError::NotExecuted).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        apply::check(&txn)?;
        self.ask(|reply| Request::Txn { txn, reply }, StoreError::Unknown).await
    }
}

impl Drop for FileStore {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // The thread catches the panics of what it runs, and one that it
            // does not catch has been printed.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileStore").field("dir", &self.dir).finish_non_exhaustive()
    }
}

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

enum Request {
    Txn { txn: Txn, reply: Reply<TxnOutcome> },
    List { prefix: String, reply: Reply<Listing> },
}

/// The thread's state: the database and what is known about it without asking.
struct Worker {
    database: Database,
    revision: u64,
    last_wall: Option<Wall>,
    /// Why nothing is carried out any more.
    failed: Option<String>,
}

/// Why a batch was not committed.
enum Failure {
    /// Certainly nothing was written; the next batch may fare better.
    Before(redb::Error),
    /// It may have been written.
    During(String),
}

impl Worker {
    /// Serves until the store is dropped and its queue is empty.
    fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        while let Some(first) = queue.blocking_recv() {
            let mut batch = vec![first];
            while batch.len() < QUEUE
                && let Ok(next) = queue.try_recv()
            {
                batch.push(next);
            }
            self.serve(batch);
        }
        // Whatever was answered is on the disk; should the last page that says
        // "closed cleanly" fail, the next opening checks the more.
        let _ = panic::catch_unwind(AssertUnwindSafe(|| self.database.close()));
    }

    /// Carries out a batch: its transactions in order, in one commit, then its
    /// reads, which see all of them.
    fn serve(&mut self, batch: Vec<Request>) {
        let mut txns = Vec::new();
        let mut replies = Vec::new();
        let mut reads = Vec::new();
        for request in batch {
            match request {
                Request::Txn { txn, reply } => {
                    txns.push(txn);
                    replies.push(reply);
                }
                Request::List { prefix, reply } => reads.push((prefix, reply)),
            }
        }
        // A caller that has gone meanwhile is not missed: its transaction is
        // carried out all the same, and its answer is thrown away.
        if !txns.is_empty() {
            match self.commit(txns) {
                Ok(outcomes) => {
                    for (outcome, reply) in outcomes.into_iter().zip(replies) {
                        let _ = reply.send(Ok(outcome));
                    }
                }
                Err(error) => {
                    for reply in replies {
                        let _ = reply.send(Err(error.clone()));
                    }
                }
            }
        }
        for (prefix, reply) in reads {
            let _ = reply.send(self.read(&prefix));
        }
    }

    /// Commits transactions together. An error is the answer to each of them.
    fn commit(&mut self, txns: Vec<Txn>) -> Result<Vec<TxnOutcome>, StoreError> {
        if let Some(reason) = &self.failed {
            return Err(not_executed(reason));
        }
        let (database, mut meta) =
            (&self.database, Meta { revision: self.revision, last_wall: self.last_wall });
        // After a panic inside, the database is not used again (`failed`).
        let committed =
            panic::catch_unwind(AssertUnwindSafe(|| commit_together(database, &mut meta, txns)))
                .unwrap_or_else(|panic| Err(Failure::During(panic_message(&*panic))));
        match committed {
            Ok(outcomes) => {
                Meta { revision: self.revision, last_wall: self.last_wall } = meta;
                Ok(outcomes)
            }
            Err(Failure::Before(error)) => Err(not_executed(error)),
            Err(Failure::During(reason)) => {
                self.failed = Some(format!(
                    "an earlier write failed ({reason}); see to the disk, then start the service again"
                ));
                Err(StoreError::Unknown(reason))
            }
        }
    }

    fn read(&self, prefix: &str) -> Result<Listing, StoreError> {
        if let Some(reason) = &self.failed {
            return Err(not_executed(reason));
        }
        let revision = self.revision;
        panic::catch_unwind(AssertUnwindSafe(|| read_range(&self.database, prefix)))
            .map(|read| read.map(|entries| Listing { revision, entries }))
            .unwrap_or_else(|panic| {
                // Reading changes nothing, so what is on the disk stays good.
                Err(redb::Error::Corrupted(panic_message(&*panic)))
            })
            .map_err(not_executed)
    }
}

/// Applies transactions in order and commits them with one write to the disk.
/// `meta` is brought up to date with them.
fn commit_together(
    database: &Database,
    meta: &mut Meta,
    txns: Vec<Txn>,
) -> Result<Vec<TxnOutcome>, Failure> {
    let revision_before = meta.revision;
    let mut write = database.begin_write().map_err(|error| Failure::Before(error.into()))?;
    let outcomes = apply_all(&write, meta, txns).map_err(Failure::Before)?;
    if meta.revision == revision_before {
        // Nothing changed: the transaction is dropped, and the disk left alone.
        return Ok(outcomes);
    }
    write.set_durability(Durability::Immediate).map_err(|error| Failure::Before(error.into()))?;
    // In two phases, so that of what was acknowledged nothing is ever rolled
    // back: with one, an opening that finds the last commit damaged silently
    // takes the one before for the truth, and units are granted twice.
    write.set_two_phase_commit(true);
    write.commit().map_err(|error| Failure::During(error.to_string()))?;
    Ok(outcomes)
}

fn apply_all(
    write: &redb::WriteTransaction,
    meta: &mut Meta,
    txns: Vec<Txn>,
) -> Result<Vec<TxnOutcome>, redb::Error> {
    let mut data = write.open_table(DATA)?;
    let mut outcomes = Vec::with_capacity(txns.len());
    let revision_before = meta.revision;
    for txn in txns {
        let (wall, revision) = (txn.wall, meta.revision);
        outcomes.push(apply::apply(&mut data, &mut meta.revision, txn)?);
        if meta.revision > revision {
            // The last one, not the greatest: after the clock was set back, what is
            // written counts by the clock as it is now.
            meta.last_wall = wall.or(meta.last_wall);
        }
    }
    if meta.revision > revision_before {
        let mut table = write.open_table(META)?;
        table.insert(REVISION_KEY, meta.revision)?;
        if let Some(Wall(last_wall_us)) = meta.last_wall {
            table.insert(LAST_WALL_KEY, last_wall_us)?;
        }
    }
    Ok(outcomes)
}

fn read_range(database: &Database, prefix: &str) -> Result<Vec<KeyValue>, redb::Error> {
    let read = database.begin_read()?;
    let data = read.open_table(DATA)?;
    let mut entries = Vec::new();
    for entry in data.range(prefix..)? {
        let (key, held) = entry?;
        if !key.value().starts_with(prefix) {
            break;
        }
        entries.push(key_value(key.value(), held.value()));
    }
    Ok(entries)
}

impl Table for redb::Table<'_, &'static str, (u64, u64, &'static [u8])> {
    type Error = redb::Error;

    fn get(&self, key: &str) -> Result<Option<KeyValue>, redb::Error> {
        let held = ReadableTable::get(self, key)?;
        Ok(held.map(|held| key_value(key, held.value())))
    }

    fn put(&mut self, entry: KeyValue) -> Result<(), redb::Error> {
        let KeyValue { key, value, create_revision, mod_revision } = entry;
        self.insert(key.as_str(), (create_revision, mod_revision, value.as_slice()))?;
        Ok(())
    }

    fn remove(&mut self, key: &str) -> Result<bool, redb::Error> {
        Ok(redb::Table::remove(self, key)?.is_some())
    }
}

fn key_value(key: &str, held: (u64, u64, &[u8])) -> KeyValue {
    let (create_revision, mod_revision, value) = held;
    KeyValue { key: key.to_owned(), value: value.to_vec(), create_revision, mod_revision }
}

fn not_executed(reason: impl fmt::Display) -> StoreError {
    StoreError::NotExecuted(reason.to_string())
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{
            Arc,
            atomic::{AtomicU64, Ordering::SeqCst},
        },
    };

    use redb::{StorageBackend, backends::InMemoryBackend};

    use super::*;
    use crate::store::{Compare, Write};

    /// A disk that counts how often it was told to write through, and can fail.
    #[derive(Clone, Debug)]
    struct Disk {
        bytes: Arc<InMemoryBackend>,
        syncs: Arc<AtomicU64>,
        /// The number of the sync from which on every one fails.
        dies_at: Arc<AtomicU64>,
    }

    impl StorageBackend for Disk {
        fn len(&self) -> io::Result<u64> {
            self.bytes.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.bytes.read(offset, out)
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            self.bytes.set_len(len)
        }

        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.bytes.write(offset, data)
        }

        fn sync_data(&self) -> io::Result<()> {
            if self.syncs.fetch_add(1, SeqCst) < self.dies_at.load(SeqCst) {
                Ok(())
            } else {
                Err(io::Error::other("no disk any more"))
            }
        }
    }

    fn disk() -> Disk {
        Disk {
            bytes: Arc::new(InMemoryBackend::new()),
            syncs: Arc::default(),
            dies_at: Arc::new(AtomicU64::new(u64::MAX)),
        }
    }

    fn worker(disk: &Disk) -> Worker {
        let database = Database::builder().create_with_backend(disk.clone()).unwrap();
        directory::write_first_meta(&database).unwrap();
        Worker { database, revision: 0, last_wall: None, failed: None }
    }

    /// The key must be at the revision; then it is set.
    fn swap(key: &str, revision: u64) -> Txn {
        Txn {
            when: vec![Compare::ModRevision(key.into(), revision)],
            then: vec![Write::Put(key.into(), vec![])],
            wall: None,
        }
    }

    type Answer<T> = Result<T, StoreError>;
    type Entries = Vec<KeyValue>;

    /// Serves a read of everything and transactions as one batch.
    fn serve(worker: &mut Worker, txns: Vec<Txn>) -> (Vec<Answer<TxnOutcome>>, Answer<Entries>) {
        let (read, mut entries) = oneshot::channel();
        let mut batch = vec![Request::List { prefix: String::new(), reply: read }];
        let mut answers = Vec::new();
        for txn in txns {
            let (reply, answer) = oneshot::channel();
            batch.push(Request::Txn { txn, reply });
            answers.push(answer);
        }
        worker.serve(batch);
        let outcomes = answers.iter_mut().map(|answer| answer.try_recv().unwrap()).collect();
        (outcomes, entries.try_recv().unwrap().map(|listing| listing.entries))
    }

    fn done(revision: u64) -> Result<TxnOutcome, String> {
        Ok(TxnOutcome::Done { revision })
    }

    fn readable(outcomes: Vec<Answer<TxnOutcome>>) -> Vec<Result<TxnOutcome, String>> {
        outcomes.into_iter().map(|outcome| outcome.map_err(|error| error.to_string())).collect()
    }

    #[test]
    fn a_batch_is_one_commit_in_which_each_sees_those_before_it() {
        let disk = disk();
        let mut worker = worker(&disk);
        let _ = serve(&mut worker, vec![swap("warm", 0)]);
        let before = disk.syncs.load(SeqCst);
        let _ = serve(&mut worker, vec![swap("warm", 1)]);
        let syncs_of_one = disk.syncs.load(SeqCst) - before;

        let before = disk.syncs.load(SeqCst);
        let batch = [("a", 0), ("a", 0), ("a", 3), ("b", 0), ("a", 4)];
        let txns = batch.map(|(key, revision)| swap(key, revision)).into();
        let (outcomes, entries) = serve(&mut worker, txns);
        assert_eq!(disk.syncs.load(SeqCst) - before, syncs_of_one);

        let a_at = |mod_revision| KeyValue {
            key: "a".into(),
            value: vec![],
            create_revision: 3,
            mod_revision,
        };
        let conflict = Ok(TxnOutcome::Conflict { current: vec![Some(a_at(3))] });
        assert_eq!(readable(outcomes), [done(3), conflict, done(4), done(5), done(6)]);
        // The read came first and is not older than its call: it may be newer.
        assert_eq!(entries.unwrap()[0], a_at(6));
    }

    #[test]
    fn a_batch_that_changes_nothing_leaves_the_disk_alone() {
        let disk = disk();
        let mut worker = worker(&disk);
        let before = disk.syncs.load(SeqCst);
        let (outcomes, _) = serve(&mut worker, vec![swap("a", 7), Txn::default()]);
        let conflict = Ok(TxnOutcome::Conflict { current: vec![None] });
        assert_eq!(readable(outcomes), [conflict, done(0)]);
        assert_eq!(disk.syncs.load(SeqCst), before);
    }

    #[test]
    fn after_a_failed_commit_its_batch_is_unknown_and_nothing_is_carried_out_any_more() {
        // The first or the second of a commit's two syncs fails.
        for survives in 0..2 {
            let disk = disk();
            let mut worker = worker(&disk);
            let _ = serve(&mut worker, vec![swap("a", 0)]);
            disk.dies_at.store(disk.syncs.load(SeqCst) + survives, SeqCst);

            let (outcomes, entries) = serve(&mut worker, vec![swap("a", 1), swap("b", 9)]);
            for outcome in outcomes {
                assert!(matches!(outcome, Err(StoreError::Unknown(_))), "{outcome:?}");
            }
            assert!(matches!(entries, Err(StoreError::NotExecuted(_))), "{entries:?}");

            // Not even where the disk comes back: what it holds is unknown.
            disk.dies_at.store(u64::MAX, SeqCst);
            let (outcomes, entries) = serve(&mut worker, vec![swap("a", 1)]);
            let [Err(StoreError::NotExecuted(reason))] = &outcomes[..] else {
                panic!("{outcomes:?}")
            };
            assert!(reason.ends_with("then start the service again"), "{reason}");
            assert!(matches!(entries, Err(StoreError::NotExecuted(_))), "{entries:?}");
        }
    }
}
