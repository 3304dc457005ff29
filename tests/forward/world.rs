//! Some nodes in this process, each with counters of its own, and routes that
//! the test draws.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use quotagate::{
    auth::Authority,
    clock::Clock,
    cluster::{
        NodeInfo, OwnerInfo, View,
        peers::{Kin, Peers, Token},
        pings::{self, Standing},
    },
    config::Config,
    metrics::{Listener, Metrics},
    node::{Insight, Node, Routes, Settings},
    proto::{
        admin::v1::admin_service_client::AdminServiceClient,
        v1::{self, acquire_response::Outcome, quota_service_client::QuotaServiceClient},
    },
    quota::Wall,
    rpc::{self, Forward, Gate},
    shard::{Running, Shards},
    store::{MemoryStore, Shard, SharedStore, records::NodeRecord},
    tls::{Acceptor, Protocol},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{AbortHandle, JoinHandle, JoinSet},
};
use tonic::{
    Code, Response, Status,
    transport::{Channel, Endpoint, server::TcpIncoming},
};
use tonic_types::StatusExt as _;

/// One slot for long-running requests, and one call an hour for `one`.
pub const CONFIG: &str = "
catalogue:
  one: {charges: [{limit: one, scope: org, max: 1, window: 1h}]}
orgs:
  - {id: acme, daily_calls: 1000, concurrent_calls: 1}
";

/// Far longer than any test runs.
pub const LONG: u64 = 300;

/// Nodes, and what they believe about each other.
pub struct World {
    pub nodes: Vec<TestNode>,
}

/// One node with its edge and its peer port.
pub struct TestNode {
    pub name: String,
    pub quota: QuotaServiceClient<Channel>,
    pub admin: AdminServiceClient<Channel>,
    pub address: SocketAddr,
    pub peer_address: SocketAddr,
    /// Where the others believe that its peer port is.
    pub known_as: SocketAddr,
    /// Where clients are told that it is.
    pub told_as: SocketAddr,
    pub forward: Arc<Forward>,
    pub peers: Arc<Peers>,
    pub shards: Running,
    pub metrics: Arc<Metrics>,
    view: watch::Sender<Arc<View>>,
    serves: Arc<AtomicBool>,
    _tasks: JoinSet<()>,
}

impl World {
    /// Nodes a, b, c and so on, as many as there are tokens. Nobody owns
    /// anything yet.
    pub async fn start(tokens: &[Option<&str>]) -> Self {
        Self::start_with(CONFIG, tokens).await
    }

    /// The same with this configuration.
    pub async fn start_with(config: &str, tokens: &[Option<&str>]) -> Self {
        let mut nodes = Vec::new();
        for (name, token) in ["a", "b", "c"].into_iter().zip(tokens) {
            nodes.push(TestNode::start(name, config, *token).await);
        }
        let world = Self { nodes };
        world.draw(None);
        world
    }

    /// Two nodes; the second owns everything.
    pub async fn pair() -> Self {
        let world = Self::start(&[None, None]).await;
        world.owned_by(1);
        world
    }

    /// From now on this node owns everything, and all know it.
    pub fn owned_by(&self, owner: usize) {
        for (at, node) in self.nodes.iter().enumerate() {
            node.serves(at == owner);
        }
        self.draw(Some(owner));
    }

    /// Everybody believes that this node owns everything.
    pub fn draw(&self, owner: Option<usize>) {
        for node in &self.nodes {
            node.believes(self.view(owner));
        }
    }

    /// The view in which a node owns everything, in a new epoch.
    pub fn view(&self, owner: Option<usize>) -> View {
        let mut view = View::default();
        for node in &self.nodes {
            let record = NodeRecord {
                address: node.told_as.to_string(),
                peer_address: node.known_as.to_string(),
                incarnation: "1".to_owned(),
                version: "1.2.3".to_owned(),
                draining: false,
            };
            view.nodes.insert(node.name.clone(), NodeInfo { record, revision: 1 });
        }
        let owned = owner.into_iter().flat_map(|owner| Shard::all().map(move |s| (owner, s)));
        for (owner, shard) in owned {
            let (node, incarnation) = (self.nodes[owner].name.clone(), "1".to_owned());
            view.owners.insert(shard, OwnerInfo { node, incarnation, epoch: 7 });
        }
        view
    }
}

impl TestNode {
    async fn start(name: &str, config: &str, token: Option<&str>) -> Self {
        let store: SharedStore = Arc::new(MemoryStore::new());
        let config = Config::parse(config).expect("a good configuration");
        let auth = config.auth.clone();
        let settings = Arc::new(Settings::read(config, &*store).await.expect("it is empty"));
        let metrics = Arc::new(Metrics::new("test", Wall(0)));
        let clock = Clock::default();
        let policies = Arc::clone(&settings);
        let shards = Shards::start(
            Arc::clone(&store),
            clock.clone(),
            Arc::clone(&metrics),
            policies,
            name.into(),
        );
        let shards = shards.await.expect("it starts");

        let (public, peer) = (listen().await, listen().await);
        let address = public.local_addr().expect("an address");
        let peer_address = peer.local_addr().expect("an address");
        let serves = Arc::new(AtomicBool::new(false));
        let view = watch::Sender::new(Arc::new(View::default()));
        let served = Arc::clone(&serves);
        let routes = Routes::shared(
            name.into(),
            view.subscribe(),
            Arc::new(move |_| served.load(Ordering::Acquire).then_some(7)),
        );
        let pings = watch::Sender::new(Arc::default());
        let standing = Standing { incarnation: "1".into(), ..Standing::default() };
        let insight = Insight {
            standing: watch::channel(standing).1,
            pings: pings.subscribe(),
            moves: watch::channel(Arc::default()).1,
        };
        let node =
            Node::new(name.into(), address.to_string(), store, settings, shards.shards(), routes)
                .observing(insight);
        let token = token.map(|token| Token::parse(token).expect("a good token"));
        let kin = Kin::knowing(token).of(view.subscribe());
        let peers = Arc::new(Peers::new(name.into(), kin.clone()));
        let forward =
            Arc::new(Forward::new(Arc::new(node), Arc::clone(&peers), Arc::clone(&metrics)));
        let authority = Authority::new(&auth, clock.clone(), Arc::clone(&metrics));
        let gate = Gate::new(authority, auth.limits);
        let (edge, _health) =
            rpc::port(Arc::clone(&forward), gate, Arc::clone(&metrics), None).await;
        let inner = rpc::peer_port(&forward, kin, Arc::clone(&metrics));
        let mut tasks = JoinSet::new();
        let ready = |port, listener| {
            let acceptor = Acceptor::plain(port, Protocol::Http2, Arc::clone(&metrics));
            acceptor.take(incoming(listener))
        };
        tasks.spawn(edge.serve(ready(Listener::Grpc, public), std::future::pending()));
        tasks.spawn(inner.serve(ready(Listener::Peer, peer), std::future::pending()));
        tasks.spawn(pings::run(Arc::clone(&peers), clock, view.subscribe(), pings));
        let channel = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        let channel = channel.connect().await.expect("it listens");
        Self {
            name: name.into(),
            quota: QuotaServiceClient::new(channel.clone()),
            admin: AdminServiceClient::new(channel),
            address,
            peer_address,
            known_as: peer_address,
            told_as: address,
            forward,
            peers,
            shards,
            metrics,
            view,
            serves,
            _tasks: tasks,
        }
    }

    /// Whether it decides.
    pub fn serves(&self, serves: bool) {
        self.serves.store(serves, Ordering::Release);
    }

    /// What it knows of the others.
    pub fn believes(&self, view: View) {
        self.view.send_replace(Arc::new(view));
    }

    /// An Acquire through this node: the outcome, and who decided.
    pub async fn acquire(&self, request: v1::AcquireRequest) -> Result<(Outcome, String), Status> {
        let answer = self.quota.clone().acquire(request).await?;
        let owner = owner(&answer);
        Ok((answer.into_inner().outcome.expect("one or the other"), owner))
    }

    pub async fn permit(&self, request: v1::AcquireRequest) -> v1::Permit {
        match self.acquire(request).await.expect("it is decided") {
            (Outcome::Permit(permit), _) => permit,
            (Outcome::Denial(denial), _) => panic!("denied: {denial:?}"),
        }
    }

    /// The org's usage as this node shows it.
    pub async fn usage(&self) -> v1::OrgUsage {
        let request = v1::GetUsageRequest { org: "acme".into() };
        let answer = self.quota.clone().get_usage(request).await.expect("it is shown");
        answer.into_inner().usage.expect("the usage")
    }

    /// Asks until what goes to this peer goes over a stream.
    pub async fn until_streaming_to(&self, peer: &TestNode) {
        while !self.streams_to(peer) {
            let permit_id = self.permit(ask("rest")).await.permit_id;
            let release = v1::ReleaseRequest { permit_id, unused_calls: None };
            self.quota.clone().release(release).await.expect("it is taken");
        }
    }

    /// Whether what goes to this peer goes over a stream.
    pub fn streams_to(&self, peer: &TestNode) -> bool {
        self.peers.has_stream(&peer.known_as.to_string())
    }

    /// Sends a request that is to wait.
    pub fn park(&self, request: v1::AcquireRequest) -> JoinHandle<Result<Outcome, Status>> {
        let mut quota = self.quota.clone();
        tokio::spawn(async move {
            let answer = quota.acquire(request).await?;
            Ok(answer.into_inner().outcome.expect("one or the other"))
        })
    }

    /// Asks until so many requests of the org wait.
    pub async fn until_waiting(&self, count: u32) {
        while self.usage().await.waiting != count {}
    }

    /// How many requests were forwarded with this outcome.
    pub fn forwarded(&self, outcome: &str) -> u64 {
        self.count(&format!("quotagate_forwarded_total{{outcome=\"{outcome}\"}}"))
    }

    /// What a metric of this node shows.
    pub fn count(&self, metric: &str) -> u64 {
        let text = self.metrics.encode();
        let figure = text.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
        figure.expect("it is shown").parse().expect("a number")
    }

    /// Looks until at least so many were.
    pub async fn until_forwarded(&self, outcome: &str, count: u64) {
        while self.forwarded(outcome) < count {
            tokio::task::yield_now().await;
        }
    }
}

/// Stands before a node's peer port, and can be cut.
pub struct Proxy {
    pub address: SocketAddr,
    muted: Arc<AtomicBool>,
    links: Arc<std::sync::Mutex<Vec<AbortHandle>>>,
    _accepts: JoinSet<()>,
}

impl Proxy {
    pub async fn before(target: SocketAddr) -> Self {
        let listener = listen().await;
        let address = listener.local_addr().expect("an address");
        let muted = Arc::new(AtomicBool::new(false));
        let links = Arc::new(std::sync::Mutex::new(Vec::new()));
        let mut accepts = JoinSet::new();
        let (mute, linked) = (Arc::clone(&muted), Arc::clone(&links));
        accepts.spawn(async move {
            loop {
                let (near, _) = listener.accept().await.expect("it listens");
                let link = tokio::spawn(link(near, target, Arc::clone(&mute)));
                linked.lock().expect("no panic").push(link.abort_handle());
            }
        });
        Self { address, muted, links, _accepts: accepts }
    }

    /// Loses every answer from now on, or none.
    pub fn mute(&self, muted: bool) {
        self.muted.store(muted, Ordering::Release);
    }

    /// How many connections there have been since the last cut.
    pub fn connections(&self) -> usize {
        self.links.lock().expect("no panic").len()
    }

    /// Cuts every connection.
    pub fn cut(&self) {
        for link in self.links.lock().expect("no panic").drain(..) {
            link.abort();
        }
    }
}

async fn link(near: TcpStream, target: SocketAddr, muted: Arc<AtomicBool>) -> io::Result<()> {
    let far = TcpStream::connect(target).await?;
    let ((mut near_read, mut near_write), (mut far_read, mut far_write)) =
        (near.into_split(), far.into_split());
    let there = tokio::io::copy(&mut near_read, &mut far_write);
    let back = async {
        let mut buffer = [0; 4096];
        loop {
            let length = far_read.read(&mut buffer).await?;
            if length == 0 {
                return io::Result::Ok(());
            }
            if !muted.load(Ordering::Acquire) {
                near_write.write_all(&buffer[..length]).await?;
            }
        }
    };
    tokio::try_join!(there, back).map(|_| ())
}

/// An Acquire of one call for the org `acme`.
pub fn ask(operation: &str) -> v1::AcquireRequest {
    v1::AcquireRequest { org: "acme".into(), operation: operation.into(), ..Default::default() }
}

/// The same, and it waits.
pub fn waiting(operation: &str) -> v1::AcquireRequest {
    let max_wait = Some(prost_types::Duration { seconds: LONG.cast_signed(), nanos: 0 });
    v1::AcquireRequest { max_wait, ..ask(operation) }
}

/// A report that Salesforce answered.
pub fn answered(permit: &v1::Permit) -> v1::ReportRequest {
    let permit_id = permit.permit_id.clone();
    v1::ReportRequest { permit_id, http_status: 200, ..Default::default() }
}

pub async fn granted(asked: JoinHandle<Result<Outcome, Status>>) -> v1::Permit {
    match asked.await.expect("no panic").expect("it is decided") {
        Outcome::Permit(permit) => permit,
        Outcome::Denial(denial) => panic!("denied: {denial:?}"),
    }
}

pub fn ttl(permit: &v1::Permit) -> Duration {
    permit.ttl.expect("a life").try_into().expect("it is not negative")
}

/// Who decided.
pub fn owner<T>(answer: &Response<T>) -> String {
    let owner = answer.metadata().get("quotagate-owner").expect("it is named");
    owner.to_str().expect("an address").to_owned()
}

/// Checks an error: its code and its reason, and that it says when to try again
/// if it is a passing one.
#[track_caller]
pub fn check_error<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, reason: &str) {
    let status = result.expect_err(reason);
    let details = status.get_error_details();
    let given = details.error_info().map(|info| info.reason.as_str());
    assert_eq!((status.code(), given), (code, Some(reason)), "{status:?}");
    assert_eq!(details.retry_info().is_some(), code == Code::Unavailable, "{status:?}");
}

pub async fn listen() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port")
}

pub fn incoming(listener: TcpListener) -> TcpIncoming {
    TcpIncoming::from(listener).with_nodelay(Some(true))
}
