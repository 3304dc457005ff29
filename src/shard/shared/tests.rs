use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use tokio::{sync::watch, task::JoinHandle};

use super::*;
use crate::{
    config::Config,
    node::Settings,
    quota::{Ask, AskError, LimitUsage, OrgId, Outcome, Permit, Report, Teller, WorkspaceId},
    shard::{self, NoLedger, permit_id::PermitId},
    store::{
        Key, Listing, MemoryStore, Record as _, Store, Txn, TxnOutcome, Write,
        records::OwnerRecord, shard_of,
    },
};

/// A store that can be made to wait, and to lose its answers.
#[derive(Debug)]
struct Troubled {
    inner: MemoryStore,
    /// Transactions with records wait before they are carried out.
    before: Gate,
    /// Their answers wait.
    after: Gate,
    /// Lists wait.
    lists: Gate,
    /// So many answers are lost, though the transactions were carried out.
    to_lose: AtomicUsize,
}

#[derive(Debug)]
struct Gate {
    is_open: watch::Sender<bool>,
    waiting: AtomicUsize,
}

impl Gate {
    fn open() -> Self {
        Self { is_open: watch::channel(true).0, waiting: AtomicUsize::new(0) }
    }

    fn set(&self, is_open: bool) {
        self.is_open.send_replace(is_open);
    }

    async fn pass(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let _ = self.is_open.subscribe().wait_for(|is_open| *is_open).await;
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    /// Waits until somebody waits here.
    async fn reached(&self) {
        while self.waiting.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    }
}

#[async_trait]
impl Store for Troubled {
    fn kind(&self) -> &'static str {
        "memory"
    }

    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        self.lists.pass().await;
        self.inner.list(prefix).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        self.before.pass().await;
        let outcome = self.inner.txn(txn).await;
        self.after.pass().await;
        let one_less = |left: usize| left.checked_sub(1);
        if self.to_lose.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok() {
            return Err(StoreError::Unknown("the answer was lost".to_owned()));
        }
        outcome
    }
}

/// Two nodes on one store.
struct World {
    store: Arc<Troubled>,
    a: Node,
    b: Node,
    org: OrgId,
    shard: Shard,
}

struct Node {
    shards: Arc<Shards>,
    events: UnboundedReceiver<ShardEvent>,
    _running: Running,
}

impl World {
    async fn new() -> Self {
        let store = Arc::new(Troubled {
            inner: MemoryStore::new(),
            before: Gate::open(),
            after: Gate::open(),
            lists: Gate::open(),
            to_lose: AtomicUsize::new(0),
        });
        let org = OrgId::parse("acme").expect("an org");
        let (a, b) = (Node::on(&store).await, Node::on(&store).await);
        Self { a, b, shard: shard_of(&org), org, store }
    }

    /// Puts the owner key, whatever stands there. Returns the epoch.
    async fn put_owner(&self) -> u64 {
        let owner = OwnerRecord { node: "n".to_owned(), incarnation: "i".to_owned() };
        let then = vec![Write::Put(Key::ShardOwner(self.shard).into(), owner.encode())];
        let put = self.store.inner.txn(Txn { then, ..Txn::default() }).await;
        let Ok(TxnOutcome::Done { revision }) = put else { panic!("{put:?}") };
        revision
    }

    async fn owner_stands(&self) -> bool {
        let key: String = Key::ShardOwner(self.shard).into();
        !self.store.inner.range(&key).await.expect("it answers").is_empty()
    }

    /// Makes a node the owner.
    async fn give(&self, node: &Node) -> u64 {
        let epoch = self.put_owner().await;
        node.shards.recover(self.shard, epoch, None).await.expect("it can be read");
        assert_eq!(node.shards.served(self.shard), Some(epoch));
        epoch
    }

    async fn ask(&self, node: &Node, ask: Ask) -> Result<Outcome, NoLedger> {
        node.shards.acquire(&self.org, &ask).await.map(|(outcome, _)| outcome)
    }

    async fn grant(&self, node: &Node, ask: Ask) -> Permit {
        match self.ask(node, ask).await {
            Ok(Outcome::Granted(permit)) => *permit,
            other => panic!("{other:?}"),
        }
    }

    /// A request that waits for a slot, since all are taken.
    async fn waiter(&self, node: &Node) -> JoinHandle<Result<Outcome, NoLedger>> {
        loop {
            let outcome = self.ask(node, ask("rest.long")).await;
            match outcome {
                Ok(Outcome::Granted(_)) => {}
                Ok(Outcome::Denied(_)) => break,
                other => panic!("{other:?}"),
            }
        }
        let waiting = Ask { max_wait: Duration::from_secs(600), ..ask("rest.long") };
        let waiter = self.parked(node, waiting);
        while node.shards.usage(&self.org).usage.waiting == 0 {
            tokio::task::yield_now().await;
        }
        waiter
    }

    fn parked(&self, node: &Node, ask: Ask) -> JoinHandle<Result<Outcome, NoLedger>> {
        let (shards, org) = (Arc::clone(&node.shards), self.org.clone());
        tokio::spawn(async move { shards.acquire(&org, &ask).await.map(|(outcome, _)| outcome) })
    }

    fn total(&self, node: &Node) -> LimitUsage {
        node.shards.usage(&self.org).usage.limits.remove(0)
    }
}

impl Node {
    async fn on(store: &Arc<Troubled>) -> Self {
        let settings = Settings::read(Config::built_in(), &**store).await.expect("it is empty");
        let metrics = Arc::new(Metrics::new("test", Wall(0)));
        let (running, events) = Shards::start_shared(
            Arc::clone(store) as _,
            Clock::default(),
            metrics,
            Arc::new(settings),
        );
        let shards = running.shards();
        shards.session_until(shards.now().mono + Duration::from_secs(600));
        Self { shards, events, _running: running }
    }

    fn event(&mut self) -> Option<ShardEvent> {
        self.events.try_recv().ok()
    }
}

fn ask(operation: &str) -> Ask {
    shard::tests::ask(operation, Duration::ZERO)
}

const SENT_ON: Result<Outcome, NoLedger> = Ok(Outcome::Failed(AskError::NotOwner));

#[tokio::test]
async fn a_hand_over_wastes_nothing_whatever_becomes_of_its_answers() {
    for lost_answers in 0..=3 {
        let world = World::new().await;
        let epoch = world.give(&world.a).await;
        let permits = [
            world.grant(&world.a, ask("rest")).await,
            world.grant(&world.a, Ask { calls: 4, min_calls: 4, ..ask("rest") }).await,
        ];
        world.store.to_lose.store(lost_answers, Ordering::SeqCst);
        world.a.shards.hand_over(world.shard, epoch).await;
        assert!(!world.owner_stands().await, "{lost_answers} answers lost");
        assert_eq!(world.a.shards.served(world.shard), None);
        assert_eq!(world.ask(&world.a, ask("rest")).await, Err(NoLedger::NotOwned));

        world.give(&world.b).await;
        let total = world.total(&world.b);
        assert_eq!((total.used_by_caller, total.held), (5, 0), "{lost_answers} answers lost");
        let next = world.grant(&world.b, ask("rest")).await;
        assert!(next.epoch > epoch);
        // A permit of the former epoch is acknowledged, and changes nothing.
        let key = permits[0].key.expect("a permit has a name");
        let id = PermitId { org: world.org.clone(), epoch, key };
        let report = Report { calls: 1, http_status: 200, ..Report::default() };
        assert!(
            world
                .b
                .shards
                .report(&id, &report, &Teller::anybody())
                .expect("it is nobody's")
                .already_settled
        );
        assert_eq!(world.total(&world.b).used_by_caller, 6);
    }
}

// Of a reserve before the hand-over the answer was lost, though it was carried out.
// The last transaction of the hand-over met that record, and was taken for done: a
// second one then deleted the owner key, and what was open was wasted.
#[tokio::test]
async fn a_hand_over_that_meets_its_own_earlier_attempt_writes_all_the_same() {
    let world = World::new().await;
    let epoch = world.give(&world.a).await;
    world.grant(&world.a, ask("rest")).await;
    world.store.to_lose.store(1, Ordering::SeqCst);
    // More than the open block: it reserves, and goes on when it knows how that
    // ended.
    let more = Ask { calls: 500, min_calls: 500, ..ask("rest") };
    let asked = world.parked(&world.a, more);
    while world.store.to_lose.load(Ordering::SeqCst) > 0 {
        tokio::task::yield_now().await;
    }
    world.a.shards.hand_over(world.shard, epoch).await;
    let granted = matches!(asked.await, Ok(Ok(Outcome::Granted(_))));
    assert!(!world.owner_stands().await);

    world.give(&world.b).await;
    let total = world.total(&world.b);
    let spent = if granted { 501 } else { 1 };
    assert_eq!((total.used_by_caller, total.held), (spent, 0));
}

#[tokio::test]
async fn a_hand_over_takes_as_many_transactions_as_its_records_need() {
    let world = World::new().await;
    let epoch = world.give(&world.a).await;
    let workspaces = 300;
    for n in 0..workspaces {
        let workspace = WorkspaceId::parse(&format!("w{n}")).expect("a workspace");
        world.grant(&world.a, Ask { workspace: Some(workspace), ..ask("rest") }).await;
    }
    world.a.shards.hand_over(world.shard, epoch).await;
    assert!(!world.owner_stands().await);
    world.give(&world.b).await;
    let usage = world.b.shards.usage(&world.org).usage;
    assert_eq!((usage.limits[0].used_by_caller, usage.limits[0].held), (workspaces, 0));
    assert_eq!(usage.workspaces.len() as u64, workspaces);
    assert!(usage.workspaces.iter().all(|of| of.limits[0].used_by_caller == 1));
}

#[tokio::test]
async fn a_shard_without_counters_is_handed_over_too() {
    let world = World::new().await;
    let epoch = world.give(&world.a).await;
    world.a.shards.hand_over(world.shard, epoch).await;
    assert!(!world.owner_stands().await);
    let another = world.put_owner().await;
    world.a.shards.hand_over(world.shard, epoch).await;
    assert!(world.owner_stands().await, "another epoch's key, {another}, is not ours to delete");
}

#[tokio::test]
async fn what_a_dropped_owner_had_open_is_sealed_by_the_next() {
    let mut world = World::new().await;
    let epoch = world.give(&world.a).await;
    world.grant(&world.a, ask("rest")).await;
    world.a.shards.drop_shard(world.shard, epoch);
    assert_eq!(world.ask(&world.a, ask("rest")).await, Err(NoLedger::NotOwned));
    assert!(world.owner_stands().await, "nothing is written");
    world.give(&world.b).await;
    let total = world.total(&world.b);
    assert!(total.used_by_caller + total.held >= 1, "{total:?}");
    assert_eq!(world.a.event(), None, "who drops it knows");
}

#[tokio::test]
async fn whoever_waits_is_sent_on() {
    for name in ["handed over", "dropped", "taken anew", "the session has ended"] {
        let world = World::new().await;
        let epoch = world.give(&world.a).await;
        let waiter = world.waiter(&world.a).await;
        let shards = &world.a.shards;
        match name {
            "handed over" => shards.hand_over(world.shard, epoch).await,
            "dropped" => shards.drop_shard(world.shard, epoch),
            "taken anew" => assert!(world.give(&world.a).await > epoch),
            _ => {
                shards.session_until(Mono(0));
                // Any use of the ledger finds out.
                shards.reconfigure(std::slice::from_ref(&world.org));
            }
        }
        assert_eq!(waiter.await.expect("no panic"), SENT_ON, "{name}");
    }
}

#[tokio::test]
async fn nothing_is_granted_from_the_end_of_the_session_on() {
    let world = World::new().await;
    world.give(&world.a).await;
    world.grant(&world.a, ask("rest")).await;
    assert!(world.a.shards.is_serving());
    world.a.shards.session_until(world.a.shards.now().mono);
    assert_eq!(world.ask(&world.a, ask("rest")).await, Err(NoLedger::NotOwned));
    assert!(!world.a.shards.is_serving());
    // A keep-alive that was sent in time was answered late.
    world.a.shards.session_until(Mono(u64::MAX));
    world.grant(&world.a, ask("rest")).await;
}

#[tokio::test]
async fn requests_are_let_in_when_the_records_have_been_read() {
    let world = World::new().await;
    let epoch = world.give(&world.a).await;
    world.grant(&world.a, ask("rest")).await;
    world.a.shards.hand_over(world.shard, epoch).await;

    let reading = |epoch| {
        let (shards, shard) = (Arc::clone(&world.b.shards), world.shard);
        tokio::spawn(async move { shards.recover(shard, epoch, None).await })
    };
    world.store.lists.set(false);
    let dropped = world.put_owner().await;
    let given_up = reading(dropped);
    world.store.lists.reached().await;
    assert_eq!(world.ask(&world.b, ask("rest")).await, Err(NoLedger::NotOwned));
    world.b.shards.drop_shard(world.shard, dropped);
    let epoch = world.put_owner().await;
    let recovered = reading(epoch);
    world.store.lists.set(true);
    let given_up = given_up.await.expect("no panic");
    assert!(matches!(given_up, Err(RecoverError::GivenUp)), "{given_up:?}");
    recovered.await.expect("no panic").expect("it can be read");
    assert_eq!(world.b.shards.served(world.shard), Some(epoch));
    assert_eq!(world.total(&world.b).used_by_caller, 1);
}

#[tokio::test]
async fn who_asks_while_a_shard_is_read_can_wait_for_the_end_of_it() {
    for is_served in [true, false] {
        let world = World::new().await;
        let shards = &world.b.shards;
        shards.settled(world.shard).await;
        world.store.lists.set(false);
        let epoch = world.put_owner().await;
        let recovered = tokio::spawn({
            let (shards, shard) = (Arc::clone(shards), world.shard);
            async move { shards.recover(shard, epoch, None).await.is_ok() }
        });
        world.store.lists.reached().await;
        let mut owned = shards.owned();
        let settled = tokio::spawn({
            let (shards, shard) = (Arc::clone(shards), world.shard);
            async move { shards.settled(shard).await }
        });
        if !is_served {
            shards.drop_shard(world.shard, epoch);
        }
        world.store.lists.set(true);
        settled.await.expect("no panic");
        assert_eq!(shards.served(world.shard), is_served.then_some(epoch));
        owned.changed().await.expect("they live");
        assert_eq!(*owned.borrow(), usize::from(is_served));
        assert_eq!(recovered.await.expect("no panic"), is_served);
    }
}

#[tokio::test]
async fn a_shard_that_is_to_go_grants_until_what_is_in_flight_is_answered() {
    let world = World::new().await;
    let epoch = world.give(&world.a).await;
    let mut granted = 0;
    while world.total(&world.a).held == 0 {
        world.grant(&world.a, ask("rest")).await;
        granted += 1;
    }
    let mut orgs = (0..).filter_map(|n| OrgId::parse(&format!("org-{n}")).ok());
    let another = orgs.find(|org| shard_of(org) == world.shard).expect("there are many");
    world.store.before.set(false);
    let waits = tokio::spawn({
        let shards = Arc::clone(&world.a.shards);
        async move { shards.acquire(&another, &ask("rest")).await.map(|(outcome, _)| outcome) }
    });
    world.store.before.reached().await;
    let mut handing_over = tokio::spawn({
        let (shards, shard) = (Arc::clone(&world.a.shards), world.shard);
        async move { shards.hand_over(shard, epoch).await }
    });
    tokio::select! {
        biased;
        _ = &mut handing_over => panic!("it has not waited"),
        () = tokio::task::yield_now() => {}
    }
    world.grant(&world.a, ask("rest")).await;
    world.store.before.set(true);
    handing_over.await.expect("no panic");
    let outcome = waits.await.expect("no panic");
    assert!(matches!(outcome, Ok(Outcome::Granted(_))) || outcome == SENT_ON, "{outcome:?}");
    assert!(!world.owner_stands().await);
    world.give(&world.b).await;
    let total = world.total(&world.b);
    assert_eq!((total.used_by_caller, total.held), (granted + 1, 0));
}

#[tokio::test]
async fn an_answer_of_a_former_epoch_touches_nothing() {
    for is_applied in [false, true] {
        let mut world = World::new().await;
        let former = world.give(&world.a).await;
        let gate = if is_applied { &world.store.after } else { &world.store.before };
        gate.set(false);
        let asks = world.parked(&world.a, ask("rest"));
        gate.reached().await;
        world.a.shards.drop_shard(world.shard, former);
        assert_eq!(asks.await.expect("no panic"), SENT_ON);
        let epoch = world.give(&world.a).await;
        let recovered = world.total(&world.a);
        assert_eq!(recovered.held > 0, is_applied, "an open block is taken for spent");

        gate.set(true);
        let permit = world.grant(&world.a, ask("rest")).await;
        assert_eq!(permit.epoch, epoch);
        assert_eq!(world.total(&world.a).used_by_caller, 1);
        assert_eq!(world.a.event(), None, "the former epoch is nobody's concern");
        world.a.shards.hand_over(world.shard, epoch).await;
        world.give(&world.b).await;
        let total = world.total(&world.b);
        assert_eq!((total.used_by_caller, total.held), (1, recovered.held));
    }
}

#[tokio::test]
async fn a_shard_that_cannot_be_gone_on_with_is_dropped_and_told_of() {
    // What happens, and whether the owner key is still ours.
    for (name, is_broken) in [("a panic", true), ("a foreign record", true), ("fenced", false)] {
        let mut world = World::new().await;
        let epoch = world.give(&world.a).await;
        world.grant(&world.a, ask("rest")).await;
        match name {
            "a panic" => {
                let cell = world.a.shards.table.get(&world.org).expect("it is there");
                assert!(cell.with(|_| panic!("planted")).is_none());
            }
            "a foreign record" => {
                let records = world.store.inner.range(&world.shard.counters()).await;
                let then = records.expect("it answers").into_iter();
                let then = then.map(|record| Write::Put(record.key, record.value)).collect();
                world.store.inner.txn(Txn { then, ..Txn::default() }).await.expect("it is applied");
            }
            _ => {
                world.put_owner().await;
            }
        }
        // The block runs dry, so that the store is asked, if nothing comes before.
        while world.ask(&world.a, ask("rest")).await != Err(NoLedger::NotOwned) {}
        let shard = world.shard;
        let expected = if is_broken {
            ShardEvent::Broken { shard, epoch }
        } else {
            ShardEvent::Fenced { shard, epoch }
        };
        assert_eq!(world.a.event(), Some(expected), "{name}");
        assert_eq!(world.a.event(), None, "{name}: once");
        assert_eq!(world.a.shards.served(shard), None, "{name}");
        world.give(&world.a).await;
        assert!(world.total(&world.a).used_by_caller + world.total(&world.a).held >= 1);
    }
}
