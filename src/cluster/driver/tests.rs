//! The driver on a store in memory that has its troubles.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::store::{Listing, MemoryStore, Store, Watched};

/// A store that is away for so many attempts to end a lease, and that goes
/// back when it is told to.
#[derive(Debug, Default)]
struct Away {
    store: MemoryStore,
    attempts: AtomicU32,
    lives: watch::Sender<u64>,
}

#[async_trait]
impl Store for Away {
    fn kind(&self) -> &'static str {
        self.store.kind()
    }

    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        self.store.list(prefix).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        self.store.txn(txn).await
    }

    fn sessions(&self) -> Option<&dyn Sessions> {
        Some(self)
    }
}

#[async_trait]
impl Sessions for Away {
    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.store.grant(ttl).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Duration, StoreError> {
        self.store.keep_alive(lease).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        let left = |left: u32| left.checked_sub(1);
        if self.attempts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok() {
            return Err(StoreError::Unknown("it is away".to_owned()));
        }
        self.store.revoke(lease).await
    }

    fn lives(&self) -> watch::Receiver<u64> {
        self.lives.subscribe()
    }

    fn watch(&self, prefix: &str) -> mpsc::Receiver<Watched> {
        self.store.watch(prefix)
    }
}

/// A node without shards.
#[derive(Debug)]
struct Bare;

#[async_trait]
impl Ground for Bare {
    async fn recover(&self, _: Shard, _: u64, _: Option<Wall>) -> Recovery {
        Recovery::Done
    }
    async fn hand_over(&self, _: Shard, _: u64) {}
    fn drop_shard(&self, _: Shard, _: u64) {}
    fn session_until(&self, _: Mono) {}
}

// The lease of a session that died because the store was away was to be
// ended once, while it still was: after its return the node's own old keys
// stood in the way of its new session for a whole lease.
#[tokio::test(start_paused = true)]
async fn an_old_lease_is_ended_as_soon_as_the_store_is_back() {
    let store = Arc::new(Away { attempts: AtomicU32::new(20), ..Away::default() });
    let lease = store.grant(Duration::from_secs(60)).await.unwrap();
    let (acts, _told) = acts(&store);
    let event = acts.outcome_of(Effect::Revoke(lease), None).await;
    assert_eq!(event, Event::Revoked { lease });
    assert_eq!(store.keep_alive(lease).await.unwrap(), Duration::ZERO);
}

/// What a node acts with on a store, and somebody who listens.
fn acts(store: &Arc<Away>) -> (Acts, mpsc::UnboundedReceiver<Event>) {
    let (tell, told) = mpsc::unbounded_channel();
    let acts = Acts {
        store: Arc::clone(store) as SharedStore,
        clock: Clock::default(),
        ground: Arc::new(Bare),
        name: "me".to_owned(),
        ttl: Duration::from_secs(1),
        tell,
    };
    (acts, told)
}

async fn closed_since(store: &Away) -> Option<Wall> {
    let closed: String = Key::Closed.into();
    let stands = store.range(&closed).await.unwrap().into_iter().next();
    stands.map(|entry| ClosedRecord::decode(&entry.value).unwrap().since)
}

// A restored store has the node keys of its backup, under leases that nobody
// keeps alive: they were taken for living nodes, and the orgs stayed open.
#[tokio::test]
async fn the_keys_of_a_backup_do_not_keep_the_orgs_from_being_closed() {
    let store = Arc::new(Away::default());
    let lease = store.grant(Duration::from_secs(1)).await.unwrap();
    for name in ["other", "me"] {
        let then = vec![Write::PutLeased(format!("{NODES}{name}"), vec![], lease)];
        store.txn(Txn { then, ..Txn::default() }).await.unwrap();
    }
    let (acts, _told) = acts(&store);
    acts.close_if_alone().await.unwrap();
    assert!(closed_since(&store).await.is_some());
    assert_eq!(store.range(NODES).await.unwrap(), []);
}

// Where a watch was the first to notice, nobody else heard of it: sessions
// went on, and what was granted since the backup was forgotten.
#[tokio::test]
async fn a_store_that_went_back_ends_the_session_and_closes_the_orgs() {
    let store = Arc::new(Away::default());
    let (settled, settled_is) = oneshot::channel();
    settled.send(()).unwrap();
    let options = Options {
        name: "me".to_owned(),
        address: "127.0.0.1:1".to_owned(),
        peer_address: "127.0.0.1:2".to_owned(),
        timing: Timing { retry: Duration::from_millis(10), ..Timing::default() },
        create: true,
        cold_start_closed: false,
        clock_error: Duration::from_secs(2),
        seed: 1,
    };
    let (_pings, pings) = watch::channel(Arc::default());
    let shared = Arc::clone(&store) as SharedStore;
    let driver =
        Driver::start(shared, Clock::default(), Arc::new(Bare), pings, settled_is, options);
    let all = usize::from(SHARDS);
    let mut progress = driver.progress();
    progress.wait_for(|progress| progress.served == all).await.unwrap();
    let first = driver.standing().borrow().incarnation.clone();
    assert_eq!(closed_since(&store).await, None);

    let before = Clock::default().now().wall;
    store.lives.send_replace(1);
    let mut standing = driver.standing();
    let is_new = |now: &Standing| !now.incarnation.is_empty() && now.incarnation != first;
    standing.wait_for(is_new).await.unwrap();
    // In milliseconds, rounded up.
    assert!(closed_since(&store).await.is_some_and(|since| since >= before));
    driver.leave().await;
}
