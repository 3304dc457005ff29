//! The service as a process: configuration, store, node, edges, and their end.

mod args;
pub mod cluster;
mod exposure;

use std::{
    fmt,
    io::{self, Write as _},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_stream::Stream;
use tonic::transport::server::TcpIncoming;

pub use self::{
    args::{ClusterArgs, ColdStart, ConnectionArgs, HttpTls, ServeArgs, TraceArgs},
    exposure::Connections,
};
use self::{
    cluster::{Addresses, Around, Place, counting},
    exposure::{Port, warn_of_store},
};
use crate::{
    auth::{
        Authority,
        session::{KEY_BYTES, Seal},
    },
    clock::Clock,
    cluster::{
        peers::{self, Dial, Kin, Peers},
        pings::Standing,
    },
    config::{
        Config,
        reload::{self, Reload, Watcher},
    },
    metrics::{self, Metrics, ReloadOutcome, ShownOrgs, TlsFiles},
    node::{Node, Routes, Settings},
    rpc::{self, Forward, Gate, Health},
    shard::{Running, Shards},
    store::{self, Opened, SharedStore, StoreAddress, StoreOptions},
    telemetry,
    tls::{Acceptor, Protocol, Transport},
    trace::{Collector, Traces},
    web::{self, Readiness},
    webhook::{Patience, Webhook},
};

/// What a service needs to start.
#[derive(Debug)]
pub struct Options {
    /// The configuration.
    pub config: Config,
    /// Where to listen for gRPC.
    pub grpc: SocketAddr,
    /// Where to listen for HTTP.
    pub http: SocketAddr,
    /// What holds the counters.
    pub store: StoreAddress,
    /// How to speak to it.
    pub store_options: StoreOptions,
    /// The name of this node.
    pub node: String,
    /// How it takes part in a cluster; `None` where one process has the store
    /// for itself.
    pub cluster: Option<cluster::Options>,
    /// The age at which clients are asked to connect anew; `None`: never.
    pub max_connection_age: Option<Duration>,
    /// Names under which HTTP may write, besides loopback's and its own address.
    pub http_hosts: Vec<String>,
    /// How many orgs the metrics show by name.
    pub metrics_orgs: ShownOrgs,
    /// How the connections of clients come in.
    pub connections: Connections,
    /// Where traces are sent; `None`: nothing is recorded.
    pub traces: Option<Collector>,
}

impl Options {
    /// A service that is alone, forgets everything at its end, and listens on free
    /// ports of loopback, in the clear.
    #[must_use]
    pub fn in_memory(config: Config) -> Self {
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            config,
            grpc: free,
            http: free,
            store: StoreAddress::Memory,
            store_options: StoreOptions::default(),
            node: "local".to_owned(),
            cluster: None,
            max_connection_age: None,
            http_hosts: Vec::new(),
            metrics_orgs: ShownOrgs::default(),
            connections: Connections::default(),
            traces: None,
        }
    }
}

/// What a service has around it. A process has TCP and the machine's clocks;
/// simulations have their own.
pub struct Surroundings<I> {
    /// The clocks.
    pub clock: Clock,
    /// Clients, by gRPC.
    pub grpc: Listener<I>,
    /// Clients, by HTTP.
    pub http: TcpListener,
    /// The other nodes, where there is a cluster.
    pub peer: Option<Listener<I>>,
    /// The way to the other nodes.
    pub dial: Dial,
}

/// Where connections come in.
pub struct Listener<I> {
    /// The address.
    pub address: SocketAddr,
    /// The connections, as they come.
    pub connections: I,
}

impl Listener<TcpIncoming> {
    async fn tcp(address: SocketAddr, name: &str) -> anyhow::Result<Self> {
        let listener = bind(address, name).await?;
        let address = listener.local_addr()?;
        Ok(Self { address, connections: TcpIncoming::from(listener).with_nodelay(Some(true)) })
    }
}

/// A service that runs.
#[derive(Debug)]
pub struct Service {
    grpc_addr: SocketAddr,
    http_addr: SocketAddr,
    node: Arc<Node>,
    forward: Arc<Forward>,
    clock: Clock,
    metrics: Arc<Metrics>,
    health: Health,
    /// Tells health checks of the store.
    told: JoinHandle<()>,
    shards: Running,
    cluster: Option<Cluster>,
    stop: watch::Sender<bool>,
    grpc: JoinHandle<()>,
    http: JoinHandle<()>,
    webhook: Webhook,
    authority: Arc<Authority>,
    gate: Arc<Gate>,
    traces: Traces,
}

/// How long requests that run at the end may go on.
const DRAIN: Duration = Duration::from_secs(5);

/// So long the other nodes may go on asking here after the last shard was given away:
/// they hear of it a moment later. What they ask of a port that closes may get no answer,
/// and then nobody knows what was done.
const ROUTES_FOLLOW: Duration = Duration::from_millis(250);

/// How long records may be written at the end: what is not counts as spent.
const HAND_OVER: Duration = Duration::from_secs(10);

/// Reloads that wait to be put in force.
const RELOADS: usize = 1;

impl Service {
    /// Opens the store, takes over what it holds, and serves on all addresses
    /// when it returns. In a cluster it serves at once, and is ready when it has
    /// its place there.
    ///
    /// # Errors
    /// What kept it from starting.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let opened = store::open(&options.store, &options.store_options)
            .with_context(|| format!("cannot open the store {}", options.store))?;
        Self::start_on(opened, options).await
    }

    /// The same on a store that is open already; `options.store` only names it.
    ///
    /// # Errors
    /// What kept it from starting.
    pub async fn start_on(opened: Opened, options: Options) -> anyhow::Result<Self> {
        let Opened { store, last_wall, tls } = opened;
        let clock = Clock::not_before(last_wall);
        if !clock.behind().is_zero() {
            tracing::warn!(
                behind = ?clock.behind(),
                "the clock is behind the store's last time: time goes on from there"
            );
        }
        let peer = match &options.cluster {
            Some(cluster) => Some(Listener::tcp(cluster.peer, "the other nodes").await?),
            None => None,
        };
        let surroundings = Surroundings {
            clock,
            grpc: Listener::tcp(options.grpc, "gRPC").await?,
            http: bind(options.http, "HTTP").await?,
            peer,
            dial: peers::dial_tcp(),
        };
        let service = Self::start_among(store, options, surroundings).await?;
        if let Some(tls) = tls {
            tls.on_reload(counting(&service.metrics, TlsFiles::Store));
        }
        Ok(service)
    }

    /// The same among surroundings that are not the process's own; the addresses
    /// of `options` are not listened on.
    ///
    /// # Errors
    /// What kept it from starting.
    pub async fn start_among<I, C, E>(
        store: SharedStore,
        options: Options,
        surroundings: Surroundings<I>,
    ) -> anyhow::Result<Self>
    where
        I: Stream<Item = Result<C, E>> + Send + 'static,
        C: Transport,
        E: fmt::Display + Send + 'static,
    {
        let Surroundings { clock, grpc, http, peer, dial } = surroundings;
        let (grpc_addr, http_addr) = (grpc.address, http.local_addr()?);
        let metrics = Metrics::new(env!("CARGO_PKG_VERSION"), clock.now().wall);
        let metrics = Arc::new(metrics.showing(options.metrics_orgs));
        let parts = Parts { store, clock: clock.clone(), metrics: Arc::clone(&metrics) };
        let [grpc_acceptor, http_acceptor] = options.connections.acceptors(&metrics)?;
        let traces = match &options.traces {
            Some(collector) => Traces::to(collector, &options.node, Arc::clone(&metrics))?,
            None => Traces::off(),
        };
        let stop = watch::channel(false).0;
        let (webhook, _) = Webhook::start(
            options.config.webhook.as_ref(),
            clock.clone(),
            Arc::clone(&metrics),
            Patience::default(),
        )?;

        for warning in options.config.auth.warnings() {
            tracing::warn!("auth: {warning}");
        }
        let auth = options.config.auth.clone();
        let authority = Authority::new(&auth, clock.clone(), Arc::clone(&metrics));

        let (node, shards, forward, cluster) = match options.cluster {
            None => {
                let (node, shards) =
                    parts.alone(options.node.clone(), grpc_addr, options.config).await?;
                let peers = Arc::new(Peers::new(options.node, Kin::default()));
                let forward = Forward::new(Arc::clone(&node), peers, Arc::clone(&metrics));
                (node, shards, Arc::new(forward.tracing(traces.clone())), None)
            }
            Some(cluster) => {
                let listener = peer.context("a node of a cluster has a port for the others")?;
                let peer_addr = listener.address;
                let addresses = cluster.addresses(grpc_addr, peer_addr)?;
                let (acceptor, dial) = match &cluster.tls {
                    Some(tls) => (tls.acceptor(&metrics)?, tls.secure(dial, &metrics)?),
                    None => {
                        let (peer, metrics) = (metrics::Listener::Peer, Arc::clone(&metrics));
                        (Acceptor::plain(peer, Protocol::Http2, metrics), dial)
                    }
                };
                let (node, shards, place) =
                    parts.shared(options.node, &addresses, &cluster, dial, options.config);
                let forward = Forward::new(Arc::clone(&node), place.peers(), Arc::clone(&metrics))
                    .tracing(traces.clone());
                let port = rpc::peer_port(&forward, place.peers().kin(), Arc::clone(&metrics));
                let incoming = acceptor.take(listener.connections);
                let served = port.serve(incoming, stopped(&stop));
                let cluster = Cluster { peer_addr, place, served: tokio::spawn(served) };
                (node, shards, Arc::new(forward), Some(cluster))
            }
        };
        shards.shards().listen(Arc::new(webhook.clone()));
        let standing = cluster.as_ref().map(|cluster| cluster.place.insight().standing);
        if cluster.is_some() {
            let node = Arc::downgrade(&node);
            metrics.show_cluster(Box::new(move || node.upgrade()?.sample()));
        }
        let readiness = readiness(Arc::clone(&node), standing.clone());

        let seal = seal(auth.session_key_file.as_deref())?;
        let gate = Gate::new(Arc::clone(&authority), auth.limits);
        let (port, health) = rpc::port(
            Arc::clone(&forward),
            Arc::clone(&gate),
            Arc::clone(&metrics),
            options.max_connection_age,
        )
        .await;
        let incoming = grpc_acceptor.take(grpc.connections);
        let served = port.serve(incoming, stopped(&stop));
        let grpc = tokio::spawn(served);
        let services = web::Services {
            quota: rpc::Quota::new(Arc::clone(&forward)),
            admin: rpc::Admin::new(Arc::clone(&forward)),
            metrics: Arc::clone(&metrics),
            readiness: Arc::clone(&readiness),
            gate: Arc::clone(&gate),
            seal,
        };
        let http_options = web::Options {
            hosts: options.http_hosts,
            traces: traces.clone(),
            ..web::Options::default()
        };
        let http = http_acceptor.take(TcpIncoming::from(http).with_nodelay(Some(true)));
        let http = tokio::spawn(web::serve(http, services, http_options, stopped(&stop)));
        health.set_serving(readiness().is_none()).await;
        let told =
            tokio::spawn(tell_health(health.clone(), readiness, node.store_works(), standing));
        Ok(Self {
            grpc_addr,
            http_addr,
            node,
            forward,
            clock,
            metrics,
            health,
            told,
            shards,
            cluster,
            stop,
            grpc,
            http,
            webhook,
            authority,
            gate,
            traces,
        })
    }

    /// Where it takes gRPC.
    #[must_use]
    pub fn grpc_addr(&self) -> SocketAddr {
        self.grpc_addr
    }

    /// Where it takes HTTP.
    #[must_use]
    pub fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// Where it takes the other nodes; `None` where there is no cluster.
    #[must_use]
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.cluster.as_ref().map(|cluster| cluster.peer_addr)
    }

    /// The node.
    #[must_use]
    pub fn node(&self) -> Arc<Node> {
        Arc::clone(&self.node)
    }

    /// Not ready, shards are given away, no more grants, requests end, records
    /// are written.
    pub async fn stop(mut self) {
        self.told.abort();
        self.health.set_serving(false).await;
        if let Some(cluster) = &self.cluster {
            // Requests are taken and forwarded until all orgs are others', who know it.
            cluster.place.drain().await;
            sleep(ROUTES_FOLLOW).await;
        }
        self.shards.stop_granting();
        self.forward.stop();
        self.stop.send_replace(true);
        if timeout(DRAIN, &mut self.grpc).await.is_err() {
            tracing::warn!("gRPC requests still ran after {DRAIN:?} and were cut off");
            self.grpc.abort();
        }
        if timeout(DRAIN, &mut self.http).await.is_err() {
            self.http.abort();
        }
        if timeout(HAND_OVER, self.shards.hand_over()).await.is_err() {
            tracing::error!(
                "not every record was written within {HAND_OVER:?}: open blocks stay counted as held"
            );
        }
        if timeout(DRAIN, self.webhook.settle()).await.is_err() {
            tracing::warn!("not all was told to the webhook within {DRAIN:?}");
        }
        if let Some(Cluster { place, mut served, .. }) = self.cluster {
            place.leave().await;
            if timeout(DRAIN, &mut served).await.is_err() {
                served.abort();
            }
        }
        self.traces.finish().await;
    }
}

/// What the two kinds of service are made of.
struct Parts {
    store: SharedStore,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl Parts {
    /// One process has the store for itself.
    async fn alone(
        self,
        name: String,
        address: SocketAddr,
        config: Config,
    ) -> anyhow::Result<(Arc<Node>, Running)> {
        let Self { store, clock, metrics } = self;
        let settings = Settings::read(config, &*store).await.context("cannot read the settings")?;
        let settings = Arc::new(settings);
        let policies = Arc::clone(&settings) as _;
        let shards = Shards::start(Arc::clone(&store), clock, metrics, policies, name.clone())
            .await
            .context("cannot take over what the store holds")?;
        let routes = Routes::alone();
        let node = Node::new(name, address.to_string(), store, settings, shards.shards(), routes);
        Ok((Arc::new(node), shards))
    }

    /// Others share the store.
    fn shared(
        self,
        name: String,
        addresses: &Addresses,
        options: &cluster::Options,
        dial: Dial,
        config: Config,
    ) -> (Arc<Node>, Running, Place) {
        let Self { store, clock, metrics } = self;
        // What is declared in the store follows, before any shard is taken.
        let settings = Arc::new(Settings::of_file(config));
        let policies = Arc::clone(&settings) as _;
        let (running, events) =
            Shards::start_shared(Arc::clone(&store), clock.clone(), metrics, policies);
        let shards = running.shards();
        let around = Around { store: &store, clock: &clock, settings: &settings, shards: &shards };
        let place = Place::take(&name, addresses, options, &around, dial, events);
        let address = addresses.clients.clone();
        let node = Node::new(name, address, store, settings, shards, place.routes());
        (Arc::new(node.observing(place.insight())), running, place)
    }
}

/// A node's part in a cluster, while it runs.
#[derive(Debug)]
struct Cluster {
    peer_addr: SocketAddr,
    place: Place,
    served: JoinHandle<()>,
}

/// Seals sessions with the key in a file; without one, with a key of this process
/// alone.
fn seal(file: Option<&Path>) -> anyhow::Result<Seal> {
    let Some(file) = file else { return Ok(Seal::random()) };
    let key = std::fs::read(file)
        .with_context(|| format!("cannot read auth.session_key_file {}", file.display()))?;
    if key.len() < KEY_BYTES {
        bail!(
            "auth.session_key_file {} holds {} bytes: it needs at least {KEY_BYTES} random ones",
            file.display(),
            key.len()
        );
    }
    Ok(Seal::new(&key))
}

/// Why requests cannot be decided by this process, if they cannot.
fn readiness(node: Arc<Node>, standing: Option<watch::Receiver<Standing>>) -> Readiness {
    Arc::new(move || {
        let problem = standing.as_ref().map(|standing| standing.borrow().problem.clone());
        if let Some(problem) = problem.filter(|problem| !problem.is_empty()) {
            return Some(problem);
        }
        let sentence = "this node does not grant: it starts, stops, or lost its store";
        (!node.is_ready()).then(|| sentence.to_owned())
    })
}

/// Runs the service until it is told to stop.
///
/// # Errors
/// What kept it from starting, or from ending in order.
pub async fn serve(args: ServeArgs) -> anyhow::Result<()> {
    telemetry::init(args.log_format, &args.log)?;
    let in_cluster = matches!(args.store, StoreAddress::Etcd(_));
    let node = match args.node {
        Some(name) => name,
        None if in_cluster => host_name(),
        None => "local".to_owned(),
    };
    check_name(&node)?;
    let cluster = in_cluster.then(|| args.cluster.options()).transpose()?;
    let (config, watcher) = match &args.config {
        None => (Config::built_in(), None),
        Some(path) => {
            let (config, watcher) = Watcher::open(path).map_err(|faults| {
                let lines: Vec<String> =
                    faults.iter().map(|fault| format!("\n  {fault}")).collect();
                anyhow::anyhow!("{} has faults:{}", path.display(), lines.concat())
            })?;
            (config, Some(watcher))
        }
    };
    let connections = args.connections.connections();
    let asks_for_names = config.auth.requires_identity();
    let mut ports =
        Vec::from(Port::of_clients([args.grpc, args.http], &connections, asks_for_names));
    let peer = cluster.as_ref().map(|cluster| Port::of_peers(cluster.peer, cluster.tls.is_some()));
    ports.extend(peer);
    for port in ports {
        port.check(args.insecure)?;
    }
    warn_of_store(&args.store);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let service = Service::start(Options {
        config,
        grpc: args.grpc,
        http: args.http,
        store: args.store.clone(),
        store_options: args.store_options,
        node,
        cluster,
        http_hosts: args.http_hosts,
        metrics_orgs: args.metrics_orgs,
        connections,
        traces: args.traces.collector()?,
        max_connection_age: Some(args.max_connection_age).filter(|age| !age.is_zero()),
    })
    .await?;
    if let Some(file) = args.cluster.test_clock_offset {
        tokio::spawn(follow_clock_offset(file, service.clock.clone()));
    }
    announce(&service, &args.store, &args.connections, asks_for_names);
    let reloads = watcher.map(|watcher| follow(watcher, &service));
    let told = stop_told(&mut terminate, &mut interrupt).await;
    tracing::info!("{told}: stopping");
    if let Some(reloads) = reloads {
        reloads.abort();
    }
    service.stop().await;
    tracing::info!("stopped: every counter is written down");
    Ok(())
}

/// Waits for a signal to stop: its name.
async fn stop_told(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

/// Says where it listens, and what to try first.
fn announce(service: &Service, store: &StoreAddress, args: &ConnectionArgs, asks_for_names: bool) {
    let (grpc, http) = (service.grpc_addr, service.http_addr);
    let is_tls = args.tls_cert.is_some();
    let scheme = if is_tls && args.http_tls == HttpTls::On { "https" } else { "http" };
    let plaintext = if is_tls { "" } else { "-plaintext " };
    let token = if asks_for_names { "-H \"authorization: Bearer $TOKEN\" " } else { "" };
    let note = match store {
        StoreAddress::Memory => " (everything is forgotten at the end)",
        StoreAddress::File(_) | StoreAddress::Etcd(_) => "",
    };
    let peer = service.peer_addr().map(|peer| format!("peer   {peer}\n")).unwrap_or_default();
    // Whoever has read what it wanted may close the pipe: that ends no service.
    let _ = writeln!(
        io::stdout(),
        "gRPC   {grpc}\n\
         HTTP   {scheme}://{http}/\n\
         {peer}store  {store}{note}\n\
         try    grpcurl {plaintext}{token}-d '{TRY}' {grpc} quotagate.v1.QuotaService/Acquire"
    );
    tracing::info!(%grpc, %http, %store, version = env!("CARGO_PKG_VERSION"), "serving");
}

/// A first request, in the shell's quotes.
const TRY: &str =
    r#"{"org": "acme", "operation": "conversation-entries.get", "execution_user": "alice"}"#;

/// Puts changes of the configuration file in force; a bad file changes nothing.
fn follow(watcher: Watcher, service: &Service) -> JoinHandle<()> {
    let (tell, mut told) = mpsc::channel(RELOADS);
    let (node, metrics) = (Arc::clone(&service.node), Arc::clone(&service.metrics));
    let webhook = service.webhook.clone();
    let (authority, gate) = (Arc::clone(&service.authority), Arc::clone(&service.gate));
    tokio::spawn(async move {
        let apply = async {
            while let Some(reload) = told.recv().await {
                let now = node.now().wall;
                match reload {
                    Reload::Accepted(config) => {
                        if let Err(error) = authority.accepts(&config.auth) {
                            metrics.reloaded(ReloadOutcome::Rejected, now);
                            tracing::error!(
                                %error,
                                "the configuration was refused for its auth; the last good one \
                                 stays in force"
                            );
                            continue;
                        }
                        if let Err(error) = webhook.configure(config.webhook.as_ref()) {
                            metrics.reloaded(ReloadOutcome::Rejected, now);
                            tracing::error!(
                                %error,
                                "the configuration was refused for its webhook; the last good one \
                                 stays in force"
                            );
                            continue;
                        }
                        if let Err(error) = authority.reconfigure(&config.auth) {
                            tracing::error!(%error, "the former identities stay in force");
                        }
                        gate.set_limits(config.auth.limits);
                        node.reconfigure(*config).await;
                        metrics.reloaded(ReloadOutcome::Applied, now);
                        tracing::info!("the configuration was read again and is in force");
                    }
                    Reload::Refused(faults) => {
                        metrics.reloaded(ReloadOutcome::Rejected, now);
                        for fault in &faults {
                            tracing::error!(%fault, "the configuration has a fault");
                        }
                        tracing::error!(
                            faults = faults.len(),
                            "the configuration was refused; the last good one stays in force"
                        );
                    }
                }
            }
        };
        let (watched, ()) = tokio::join!(reload::watch(watcher, tell), apply);
        if let Err(error) = watched {
            tracing::error!(%error, "the configuration file is not watched any more");
        }
    })
}

/// A service whose store does not work can decide nothing for long, and one
/// without a session nothing at all.
async fn tell_health(
    health: Health,
    readiness: Readiness,
    mut store_works: watch::Receiver<bool>,
    standing: Option<watch::Receiver<Standing>>,
) {
    // Alone there is no session to follow: this one never changes.
    let (_never, forever) = watch::channel(Standing::default());
    let mut standing = standing.unwrap_or(forever);
    loop {
        tokio::select! {
            biased;
            Ok(()) = store_works.changed() => {}
            Ok(()) = standing.changed() => {}
            else => return,
        }
        health.set_serving(readiness().is_none()).await;
    }
}

async fn bind(address: SocketAddr, name: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen for {name} on {address}: is it in use already?"))
}

fn stopped(stop: &watch::Sender<bool>) -> impl Future<Output = ()> + use<> {
    let mut stop = stop.subscribe();
    async move {
        // An error means that the service is gone: that is a stop, too.
        let _ = stop.wait_for(|stop| *stop).await;
    }
}

/// A name goes into keys of the store.
fn check_name(name: &str) -> anyhow::Result<()> {
    let is_good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(is_good) {
        bail!("--node {name:?} must be 1 to 64 letters, digits, dots, dashes or underscores");
    }
    Ok(())
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Moves this process's wall clock as a file says, for tests that cannot step
/// the machine's.
async fn follow_clock_offset(file: PathBuf, clock: Clock) {
    const EVERY: Duration = Duration::from_millis(50);
    loop {
        let text = tokio::fs::read_to_string(&file).await.unwrap_or_default();
        if let Ok(offset_ms) = text.trim().parse::<i64>() {
            clock.plant_step(offset_ms.saturating_mul(1_000));
        }
        tokio::time::sleep(EVERY).await;
    }
}
