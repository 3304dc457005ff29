//! What is measured: decisions about one hot org, each with its report, over the
//! windows of the org, of a workspace and of a user.

use std::{hint::black_box, sync::Arc, time::Duration};

use quotagate::{
    auth::Caller,
    clock::Clock,
    cluster::{View, peers::Peers},
    config::Config,
    metrics::Metrics,
    node::{Decided, Decision, Node, Routes, Settings},
    proto::v1::{AcquireRequest, ReportRequest, acquire_response::Outcome as Answered},
    quota::{
        Answer, Ask, Class, Ledger, Mono, OperationId, OrgId, Outcome, Permit, Report,
        ReserveOutcome, Rules, Teller, UserId, WorkspaceId,
    },
    rpc::{Forward, Quota},
    shard::{Policies as _, Running, Shards},
    store::{
        Key, MemoryStore, Record as _, SharedStore, Txn, TxnOutcome, Write, records::OwnerRecord,
        shard_of,
    },
};
use tokio::sync::watch;
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
        let permit = match self.ledger.acquire(now.mono, self.ask.clone(), self.nonce, true) {
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
    quota: Quota,
    org: OrgId,
    ask: Ask,
    request: AcquireRequest,
    _running: Running,
    _view: watch::Sender<Arc<View>>,
}

impl Owner {
    pub async fn start(clock: Clock) -> Self {
        let name = "node-1".to_owned();
        let store: SharedStore = Arc::new(MemoryStore::new());
        let settings = Arc::new(settings());
        let metrics = Arc::new(Metrics::new("bench", clock.now().wall));
        let policies = Arc::clone(&settings);
        let (running, _) =
            Shards::start_shared(Arc::clone(&store), clock, Arc::clone(&metrics), policies);
        let shards = running.shards();

        let (org, shard) = (org(), shard_of(&org()));
        let record = OwnerRecord { node: name.clone(), incarnation: "1".to_owned() };
        let then = vec![Write::Put(Key::ShardOwner(shard).into(), record.encode())];
        let put = store.txn(Txn { then, ..Txn::default() }).await;
        let Ok(TxnOutcome::Done { revision: epoch }) = put else { panic!("{put:?}") };
        shards.session_until(Mono(u64::MAX));
        shards.recover(shard, epoch, None).await.expect("there is nothing to be read");

        let (sender, view) = watch::channel(Arc::default());
        let serving = Arc::clone(&shards);
        let served = Arc::new(move |shard| serving.served(shard));
        let routes = Routes::shared(name.clone(), view, served);
        let address = "127.0.0.1:7400".to_owned();
        let node = Node::new(name.clone(), address, store, settings, Arc::clone(&shards), routes);
        let node = Arc::new(node);
        let peers = Arc::new(Peers::new(name, None));
        let quota = Quota::new(Arc::new(Forward::new(Arc::clone(&node), peers, metrics)));
        let request = AcquireRequest {
            org: org.to_string(),
            workspace: WORKSPACE.to_owned(),
            operation: OPERATION.to_owned(),
            execution_user: USER.to_owned(),
            permit_ttl: Some(TTL.try_into().expect("it is short")),
            ..AcquireRequest::default()
        };
        Self { node, quota, org, ask: ask(), request, _running: running, _view: sender }
    }

    pub async fn decides(&self) {
        let arrived = self.node.now().mono;
        let decided = self.node.acquire(&self.org, &self.ask, arrived).await;
        let Ok(Decided { decision: Decision::Permit { permit_id, .. }, .. }) = decided else {
            panic!("{decided:?}")
        };
        black_box(
            self.node.report(&permit_id, report(), &Teller::anybody()).await.expect("it is taken"),
        );
    }

    pub async fn serves(&self) {
        let answer = self.quota.acquire(by_anybody(self.request.clone())).await;
        let answer = answer.expect("it is decided").into_inner();
        let Some(Answered::Permit(permit)) = answer.outcome else { panic!("{answer:?}") };
        let report = ReportRequest {
            permit_id: permit.permit_id,
            calls: 1,
            http_status: 200,
            ..ReportRequest::default()
        };
        black_box(self.quota.report(by_anybody(report)).await.expect("it is taken"));
    }
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
        Outcome::Granted(permit) => permit,
        other => panic!("there is room: {other:?}"),
    }
}
