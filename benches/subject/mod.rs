//! What is measured: decisions about one hot org, each with its report, over the
//! windows of the org, of a workspace and of a user.

#[path = "../../tests/common/wire.rs"]
mod wire;

use std::{hint::black_box, io, net::Ipv4Addr, sync::Arc, time::Duration};

use quotagate::{
    auth::Caller,
    clock::Clock,
    cluster::{
        NodeInfo, OwnerInfo, View,
        peers::{Kin, Peers, Stream},
    },
    config::Config,
    metrics::{Listener, Metrics},
    node::{Decided, Decision, Node, Routes, Settings},
    proto::v1::{AcquireRequest, ReportRequest, acquire_response::Outcome as Answered},
    quota::{
        Answer, Ask, Class, Ledger, Mono, OperationId, OrgId, Outcome, Permit, Report,
        ReserveOutcome, Rules, Teller, UserId, WorkspaceId,
    },
    rpc::{self, Forward, Quota},
    shard::{Policies as _, Running, Shards},
    store::{
        Key, MemoryStore, Record as _, SharedStore, Txn, TxnOutcome, Write,
        records::{NodeRecord, OwnerRecord},
        shard_of,
    },
    tls::{Acceptor, Protocol},
};
use tokio::{
    io::duplex,
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Request;

/// The program's.
#[global_allocator]
static MEMORY: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An operation that charges its user and the org, and a workspace: all with more
/// room than can be used.
const CONFIG: &str = "
catalogue:
  hot:
    charges:
      - {limit: of-user, scope: execution_user, max: 1000000000, window: 1m}
      - {limit: calls, scope: org}
orgs:
  - id: acme
    daily_calls: 100000000
    execution_users: [alice]
    workspaces:
      - {id: acme-eu, daily_calls: 100000000}
";

const ORG: &str = "acme";
const WORKSPACE: &str = "acme-eu";
const OPERATION: &str = "hot";
const USER: &str = "alice";

/// Two nodes, and where they say that they are.
const OWNER: &str = "node-1";
const EDGE: &str = "node-2";
const ADDRESS: &str = "127.0.0.1:7400";

/// The life of a permit. It is known for as long, and an org has 100,000 at most:
/// with a longer one that bound is measured, and not a decision.
const TTL: Duration = Duration::from_millis(100);

/// Records of one reserve.
const MOST_RECORDS: usize = 126;

/// A ledger, whose reserves are committed at once.
pub struct Core {
    ledger: Ledger,
    clock: Clock,
    ask: Ask,
    revision: u64,
    nonce: u64,
}

impl Core {
    pub fn new(clock: Clock) -> Self {
        let settings = settings();
        let (policy, catalogue) = (settings.policy(&org()), settings.catalogue());
        let rules = Rules::default();
        let ledger = Ledger::new(clock.now(), 1, rules, policy, catalogue, Vec::new());
        Self { ledger, clock, ask: ask(), revision: 1, nonce: 0 }
    }

    pub fn decides(&mut self) {
        let now = self.clock.now();
        self.nonce += 1;
        let permit = match self.ledger.acquire(now.mono, &self.ask, self.nonce, true) {
            Answer::Done(outcome) => granted(outcome),
            Answer::Parked(_) => loop {
                self.reserve();
                if let Some((_, outcome)) = self.ledger.pump(self.clock.now().mono).pop() {
                    break granted(outcome);
                }
            },
        };
        let key = permit.key.expect("it is no check");
        let told = self.ledger.report(self.clock.now(), key, &report(), &Teller::anybody());
        black_box(told.expect("nobody is asked for a name"));
        if self.ledger.wants_reserve(now.mono) {
            self.reserve();
        }
    }

    fn reserve(&mut self) {
        let now = self.clock.now();
        let writes = self.ledger.begin_reserve(now, MOST_RECORDS);
        self.revision += 1;
        let committed = ReserveOutcome::Committed { revision: self.revision };
        self.ledger.finish_reserve(now.mono, &writes, &committed);
    }
}

/// A node of a cluster that owns the org.
pub struct Owner {
    node: Arc<Node>,
    metrics: Arc<Metrics>,
    forward: Arc<Forward>,
    quota: Quota,
    org: OrgId,
    ask: Ask,
    _running: Running,
    _view: watch::Sender<Arc<View>>,
}

impl Owner {
    pub async fn start(clock: Clock) -> Self {
        let Begun { store, settings, metrics, running } = Begun::by(clock);
        let shards = running.shards();

        let (org, shard) = (org(), shard_of(&org()));
        let record = OwnerRecord { node: OWNER.to_owned(), incarnation: "1".to_owned() };
        let then = vec![Write::Put(Key::ShardOwner(shard).into(), record.encode())];
        let put = store.txn(Txn { then, ..Txn::default() }).await;
        let Ok(TxnOutcome::Done { revision: epoch }) = put else { panic!("{put:?}") };
        shards.session_until(Mono(u64::MAX));
        shards.recover(shard, epoch, None).await.expect("there is nothing to be read");

        let (sender, view) = watch::channel(Arc::default());
        let serving = Arc::clone(&shards);
        let served = Arc::new(move |shard| serving.served(shard));
        let routes = Routes::shared(OWNER.to_owned(), view, served);
        let node = Node::new(OWNER.to_owned(), ADDRESS.to_owned(), store, settings, shards, routes);
        let node = Arc::new(node);
        let peers = Arc::new(Peers::new(OWNER.to_owned(), Kin::default()));
        let forward = Arc::new(Forward::new(Arc::clone(&node), peers, Arc::clone(&metrics)));
        let quota = Quota::new(Arc::clone(&forward));
        Self { node, metrics, forward, quota, org, ask: ask(), _running: running, _view: sender }
    }

    pub async fn decides(&self) {
        let arrived = self.node.now().mono;
        let decided = self.node.acquire(&self.org, &self.ask, arrived).await;
        let Ok(Decided { decision: Decision::Permit { id: Some(id), .. }, .. }) = decided else {
            panic!("{decided:?}")
        };
        black_box(
            self.node
                .report(&id.to_string(), report(), &Teller::anybody())
                .await
                .expect("it is taken"),
        );
    }

    pub async fn serves(&self) {
        serves(&self.quota).await;
    }
}

/// What a node begins with, before it has its place in a cluster.
struct Begun {
    store: SharedStore,
    settings: Arc<Settings>,
    metrics: Arc<Metrics>,
    running: Running,
}

impl Begun {
    fn by(clock: Clock) -> Self {
        let store: SharedStore = Arc::new(MemoryStore::new());
        let settings = Arc::new(settings());
        let metrics = Arc::new(Metrics::new("bench", clock.now().wall));
        let policies = Arc::clone(&settings);
        let (running, _) =
            Shards::start_shared(Arc::clone(&store), clock, Arc::clone(&metrics), policies);
        Self { store, settings, metrics, running }
    }
}

/// A node that forwards to the [`Owner`], over memory instead of a network.
pub struct Edge {
    quota: Arc<Quota>,
    _owner: Owner,
    _serving: JoinHandle<()>,
    _running: Running,
    _view: watch::Sender<Arc<View>>,
}

/// How an edge asks the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By a stream, on which requests share messages.
    Stream,
    /// By a call for each request.
    Calls,
}

impl Edge {
    pub async fn start(clock: Clock, way: Way) -> Self {
        let owner = Owner::start(clock.clone()).await;
        if way == Way::Calls {
            // It takes no more streams.
            owner.forward.stop();
        }
        let port = rpc::peer_port(&owner.forward, Kin::default(), Arc::clone(&owner.metrics));
        let (dialled, connections) = mpsc::unbounded_channel();
        let connections = UnboundedReceiverStream::new(connections);
        let acceptor = Acceptor::plain(Listener::Peer, Protocol::Http2, Arc::clone(&owner.metrics));
        let ready = acceptor.take(connections);
        let serving = tokio::spawn(port.serve(ready, std::future::pending()));
        let dial = Arc::new(move |_: String| {
            let (near, far) = duplex(PIPE);
            let end = (Ipv4Addr::LOCALHOST, 1).into();
            let far = wire::Wire { stream: far, ends: (end, end) };
            let dialled = dialled.send(Ok::<_, io::Error>(far));
            let near = dialled.map(|()| Box::new(near) as Box<dyn Stream>);
            let near = near.map_err(|_| io::ErrorKind::ConnectionRefused.into());
            Box::pin(async { near }) as quotagate::cluster::peers::Dialing
        });

        let Begun { store, settings, metrics, running } = Begun::by(clock);
        let (sender, view) = watch::channel(Arc::new(owned_by_the_owner()));
        let routes = Routes::shared(EDGE.to_owned(), view, Arc::new(|_| None));
        let node = Node::new(
            EDGE.to_owned(),
            ADDRESS.to_owned(),
            store,
            settings,
            running.shards(),
            routes,
        );
        let peers = Arc::new(Peers::dialing(EDGE.to_owned(), Kin::default(), dial));
        let quota = Arc::new(Quota::new(Arc::new(Forward::new(Arc::new(node), peers, metrics))));
        let edge =
            Self { quota, _owner: owner, _serving: serving, _running: running, _view: sender };
        // What goes from node to node finds its way first.
        for _ in 0..AT_ONCE {
            edge.serves(AT_ONCE).await;
        }
        edge
    }

    /// So many at the same time.
    pub async fn serves(&self, count: u64) {
        let mut asked = JoinSet::new();
        for _ in 0..count {
            let quota = Arc::clone(&self.quota);
            asked.spawn(async move { serves(&quota).await });
        }
        asked.join_all().await;
    }
}

/// What callers ask an edge for at the same time.
pub const AT_ONCE: u64 = 20;

/// What a connection takes before it is read.
const PIPE: usize = 64 << 10;

/// The view of a node that has another one beside it, which owns everything.
fn owned_by_the_owner() -> View {
    let mut view = View::default();
    let record = NodeRecord {
        address: ADDRESS.to_owned(),
        peer_address: ADDRESS.to_owned(),
        incarnation: "1".to_owned(),
        version: "1.2.3".to_owned(),
        draining: false,
    };
    view.nodes.insert(OWNER.to_owned(), NodeInfo { record, revision: 1 });
    let owner = OwnerInfo { node: OWNER.to_owned(), incarnation: "1".to_owned(), epoch: 1 };
    view.owners.insert(shard_of(&org()), owner);
    view
}

async fn serves(quota: &Quota) {
    let request = AcquireRequest {
        org: ORG.to_owned(),
        workspace: WORKSPACE.to_owned(),
        operation: OPERATION.to_owned(),
        execution_user: USER.to_owned(),
        permit_ttl: Some(TTL.try_into().expect("it is short")),
        ..AcquireRequest::default()
    };
    let answer = quota.acquire(by_anybody(request)).await;
    let answer = answer.expect("it is decided").into_inner();
    let Some(Answered::Permit(permit)) = answer.outcome else { panic!("{answer:?}") };
    let report = ReportRequest {
        permit_id: permit.permit_id,
        calls: 1,
        http_status: 200,
        ..ReportRequest::default()
    };
    black_box(quota.report(by_anybody(report)).await.expect("it is taken"));
}

/// As it comes from an edge that asks nobody for a name.
fn by_anybody<M>(message: M) -> Request<M> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(Caller::anybody());
    request
}

fn settings() -> Settings {
    Settings::of_file(Config::parse(CONFIG).expect("a good configuration"))
}

fn org() -> OrgId {
    OrgId::parse(ORG).expect("a good id")
}

/// One call by the user who makes all of them.
fn ask() -> Ask {
    Ask {
        caller: None,
        principal: None,
        workspace: Some(WorkspaceId::parse(WORKSPACE).expect("a good id")),
        operation: OperationId::parse(OPERATION).expect("a good id"),
        user: Some(UserId::parse(USER).expect("a good id")),
        class: Class::Event,
        calls: 1,
        min_calls: 1,
        cost: 1,
        ttl: Some(TTL),
        request: None,
        max_wait: Duration::ZERO,
        check_only: false,
    }
}

/// The call was answered just now.
fn report() -> Report {
    Report { calls: 1, http_status: 200, ..Report::default() }
}

fn granted(outcome: Outcome) -> Permit {
    match outcome {
        Outcome::Granted(permit) => *permit,
        other => panic!("there is room: {other:?}"),
    }
}
