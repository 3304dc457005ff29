//! Leases and watches of the store in memory.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{sync::mpsc, time::Instant};

use super::{MemoryStore, State, lock};
use crate::store::{Changed, LeaseId, Sessions, StoreError, Txn, Watched, Write};

/// Messages of a watch that its receiver has not taken yet, before they are
/// kept elsewhere.
const WATCH_BUFFER: usize = 64;

/// The leases that have not ended, and what was put under them.
#[derive(Default)]
pub(super) struct Leases {
    alive: BTreeMap<LeaseId, Lease>,
    /// Whose each leased key is.
    keys: BTreeMap<String, LeaseId>,
    last: i64,
}

struct Lease {
    ttl: Duration,
    until: Instant,
}

/// Who follows what.
#[derive(Default)]
pub(super) struct Watchers {
    all: Vec<Watcher>,
}

struct Watcher {
    prefix: String,
    tell: mpsc::UnboundedSender<Watched>,
}

/// What a transaction is about to do to a key.
pub(super) struct Followed {
    key: String,
    existed: bool,
    lease: Option<LeaseId>,
}

impl Leases {
    /// A lease that a transaction puts a key under, and that is gone.
    pub(super) fn missing(&self, txn: &Txn) -> Option<LeaseId> {
        txn.then.iter().find_map(|write| match write {
            Write::PutLeased(_, _, lease) if !self.alive.contains_key(lease) => Some(*lease),
            Write::PutLeased(..) | Write::Put(..) | Write::Delete(_) => None,
        })
    }
}

impl State {
    /// What there is to remember of a transaction, for leases and watches.
    pub(super) fn followed(&self, txn: &Txn) -> Vec<Followed> {
        let followed = |write: &Write| Followed {
            key: write.key().to_owned(),
            existed: self.entries.contains_key(write.key()),
            lease: match write {
                Write::PutLeased(_, _, lease) => Some(*lease),
                Write::Put(..) | Write::Delete(_) => None,
            },
        };
        txn.then.iter().map(followed).collect()
    }

    /// Notes whose the keys of an applied transaction are now, and tells who
    /// follows them.
    pub(super) fn follow(&mut self, followed: Vec<Followed>) {
        let is_watched = !self.watchers.all.is_empty();
        let mut changes = Vec::new();
        for Followed { key, existed, lease } in followed {
            match lease {
                Some(lease) => self.leases.keys.insert(key.clone(), lease),
                None => self.leases.keys.remove(&key),
            };
            match self.entries.get(&key) {
                _ if !is_watched => {}
                Some(entry) => changes.push(Changed::Put(entry.clone())),
                None if existed => {
                    changes.push(Changed::Deleted { key, revision: self.revision });
                }
                None => {}
            }
        }
        self.watchers.tell(&changes);
    }

    /// Ends the leases whose time has passed.
    pub(super) fn end_leases(&mut self) {
        let now = Instant::now();
        let over = self.leases.alive.iter().filter(|(_, lease)| lease.until <= now);
        for lease in over.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.end_lease(lease);
        }
    }

    /// Ends a lease, and removes its keys in one revision.
    fn end_lease(&mut self, lease: LeaseId) {
        self.leases.alive.remove(&lease);
        let its = self.leases.keys.iter().filter(|(_, of)| **of == lease);
        let its: Vec<String> = its.map(|(key, _)| key.clone()).collect();
        if its.is_empty() {
            return;
        }
        self.revision += 1;
        let revision = self.revision;
        for key in &its {
            self.leases.keys.remove(key);
            self.entries.remove(key);
        }
        let deleted = |key| Changed::Deleted { key, revision };
        self.watchers.tell(&its.into_iter().map(deleted).collect::<Vec<_>>());
    }
}

impl Watchers {
    fn tell(&mut self, changes: &[Changed]) {
        self.all.retain(|watcher| {
            let its: Vec<Changed> = changes
                .iter()
                .filter(|change| change.key().starts_with(&watcher.prefix))
                .cloned()
                .collect();
            // Without a change for it, too, one that nobody reads is let go.
            !watcher.tell.is_closed()
                && (its.is_empty() || watcher.tell.send(Watched::Changes(its)).is_ok())
        });
    }
}

impl Changed {
    fn key(&self) -> &str {
        match self {
            Self::Put(entry) => &entry.key,
            Self::Deleted { key, .. } => key,
        }
    }
}

#[async_trait]
impl Sessions for MemoryStore {
    /// It never goes back.
    fn lives(&self) -> tokio::sync::watch::Receiver<u64> {
        tokio::sync::watch::channel(0).1
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        let mut state = self.state();
        state.end_leases();
        state.leases.last += 1;
        let lease = LeaseId(state.leases.last);
        state.leases.alive.insert(lease, Lease { ttl, until: Instant::now() + ttl });
        tokio::spawn(end_in_time(Arc::downgrade(&self.state), lease));
        Ok(lease)
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Duration, StoreError> {
        let mut state = self.state();
        state.end_leases();
        let Some(lease) = state.leases.alive.get_mut(&lease) else { return Ok(Duration::ZERO) };
        lease.until = Instant::now() + lease.ttl;
        Ok(lease.ttl)
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.state().end_lease(lease);
        Ok(())
    }

    fn watch(&self, prefix: &str) -> mpsc::Receiver<Watched> {
        let (tell, mut told) = mpsc::unbounded_channel();
        let (pass_on, watched) = mpsc::channel(WATCH_BUFFER);
        let mut state = self.state();
        state.end_leases();
        // The channel is new, and its other end is still here.
        let _ = tell.send(Watched::All(state.list(prefix)));
        state.watchers.all.push(Watcher { prefix: prefix.to_owned(), tell });
        tokio::spawn(async move {
            loop {
                let next = tokio::select! {
                    next = told.recv() => next,
                    () = pass_on.closed() => None,
                };
                let Some(next) = next else { return };
                if pass_on.send(next).await.is_err() {
                    return;
                }
            }
        });
        watched
    }
}

/// Ends a lease when its time has passed, although nobody uses the store.
async fn end_in_time(state: Weak<Mutex<State>>, lease: LeaseId) {
    loop {
        let until = {
            let Some(state) = state.upgrade() else { return };
            let mut state = lock(&state);
            state.end_leases();
            let Some(lease) = state.leases.alive.get(&lease) else { return };
            lease.until
        };
        tokio::time::sleep_until(until).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Compare, KeyValue, Store as _, TxnOutcome};

    const TTL: Duration = Duration::from_secs(10);

    fn put(key: &str, lease: Option<LeaseId>) -> Txn {
        let (key, value) = (key.to_owned(), b"value".to_vec());
        let write = match lease {
            Some(lease) => Write::PutLeased(key, value, lease),
            None => Write::Put(key, value),
        };
        Txn { then: vec![write], ..Txn::default() }
    }

    async fn keys(store: &MemoryStore) -> Vec<String> {
        let listing = store.list("").await.expect("it answers");
        listing.entries.into_iter().map(|entry| entry.key).collect()
    }

    async fn leased(store: &MemoryStore, keys: &[&str]) -> LeaseId {
        let lease = store.grant(TTL).await.expect("a lease");
        for key in keys {
            store.txn(put(key, Some(lease))).await.expect("it is alive");
        }
        lease
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_ends_when_it_is_not_kept_alive_and_takes_its_keys_along() {
        let store = MemoryStore::new();
        let lease = leased(&store, &["a", "b"]).await;
        store.txn(put("c", None)).await.expect("it is applied");
        for _ in 0..3 {
            tokio::time::advance(TTL - Duration::from_millis(1)).await;
            assert_eq!(store.keep_alive(lease).await.expect("it answers"), TTL);
        }
        assert_eq!(keys(&store).await, ["a", "b", "c"]);
        tokio::time::advance(TTL).await;
        assert_eq!(keys(&store).await, ["c"]);
        assert_eq!(store.keep_alive(lease).await.expect("it answers"), Duration::ZERO);
        let late = store.txn(put("a", Some(lease))).await;
        assert!(matches!(late, Err(StoreError::NotExecuted(_))), "{late:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_its_last_writers_lease() {
        let store = MemoryStore::new();
        let first = leased(&store, &["kept", "moved", "deleted"]).await;
        let second = leased(&store, &["moved"]).await;
        store.txn(put("kept", None)).await.expect("it is applied");
        let delete = Txn { then: vec![Write::Delete("deleted".to_owned())], ..Txn::default() };
        store.txn(delete).await.expect("it is applied");
        store.txn(put("deleted", None)).await.expect("it is applied");
        store.revoke(first).await.expect("it answers");
        assert_eq!(keys(&store).await, ["deleted", "kept", "moved"]);
        store.revoke(second).await.expect("it answers");
        store.revoke(second).await.expect("that it is gone is no error");
        assert_eq!(keys(&store).await, ["deleted", "kept"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_stands_in_the_way_is_said_before_that_the_lease_is_gone() {
        let store = MemoryStore::new();
        let lease = leased(&store, &["a"]).await;
        store.revoke(lease).await.expect("it answers");
        store.txn(put("b", None)).await.expect("it is applied");
        let when = vec![Compare::CreateRevision("b".to_owned(), 0)];
        let outcome = store.txn(Txn { when, ..put("a", Some(lease)) }).await;
        assert!(matches!(outcome, Ok(TxnOutcome::Conflict { .. })), "{outcome:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_tells_what_stands_and_then_what_changes() {
        let store = MemoryStore::new();
        let lease = leased(&store, &["nodes/a"]).await;
        let mut watch = store.watch("nodes/");
        let Some(Watched::All(listing)) = watch.recv().await else { panic!("it begins with all") };
        assert_eq!(listing, store.list("nodes/").await.expect("it answers"));

        store.txn(put("owners/7", None)).await.expect("it is applied");
        let both = Txn {
            then: vec![
                Write::PutLeased("nodes/b".to_owned(), b"b".to_vec(), lease),
                Write::Put("config/orgs/acme".to_owned(), Vec::new()),
                Write::Delete("nodes/none".to_owned()),
            ],
            ..Txn::default()
        };
        store.txn(both).await.expect("it is applied");
        let b = KeyValue {
            key: "nodes/b".to_owned(),
            value: b"b".to_vec(),
            create_revision: 3,
            mod_revision: 3,
        };
        assert_eq!(watch.recv().await, Some(Watched::Changes(vec![Changed::Put(b)])));

        // Nobody uses the store, and time passes: both go in one revision.
        let gone = |key: &str| Changed::Deleted { key: key.to_owned(), revision: 4 };
        let ended = Watched::Changes(vec![gone("nodes/a"), gone("nodes/b")]);
        assert_eq!(watch.recv().await, Some(ended));
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_nobody_reads_is_let_go() {
        let store = MemoryStore::new();
        drop(store.watch(""));
        let slow = store.watch("");
        for _ in 0..3 * WATCH_BUFFER {
            store.txn(put("a", None)).await.expect("it is applied");
            tokio::task::yield_now().await;
        }
        assert_eq!(store.state().watchers.all.len(), 1, "a slow one is kept");
        drop(slow);
    }
}
