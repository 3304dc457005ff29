//! The service as a process: configuration, store, node, edges, and their end.

use std::{
    io::{self, Write as _},
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};
use tonic::transport::server::TcpIncoming;

use crate::{
    clock::Clock,
    cluster::peers::Peers,
    config::{
        Config,
        reload::{self, Reload, Watcher},
    },
    metrics::{Metrics, ReloadOutcome},
    node::{Node, Routes, Settings},
    rpc::{self, Forward, Health},
    shard::{Running, Shards},
    store::{self, Opened, StoreAddress, StoreOptions, keys::META},
    telemetry::{self, LogFormat},
    web,
};

/// What `serve` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct ServeArgs {
    /// The configuration file (YAML); read again whenever it changes
    ///
    /// Without one, any org is taken, with 15,000 calls a day and the built-in
    /// catalogue.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where to listen for gRPC; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7400")]
    pub grpc: SocketAddr,
    /// Where to listen for HTTP: probes, metrics, JSON; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7401")]
    pub http: SocketAddr,
    /// What holds the counters: `memory:`, `file:DIR` or `etcd://HOST:PORT,…`
    ///
    /// `memory:` forgets everything at exit. A restart on the same `file:`
    /// directory goes on with the same counts. Nodes with the same etcd share
    /// them: `etcd://HOST:PORT,HOST:PORT/PREFIX` names its members, and what its
    /// keys begin with; `etcds://` speaks TLS.
    #[arg(long, value_name = "STORE", default_value = "file:./quotagate-data")]
    pub store: StoreAddress,
    /// The name of this node in logs and in GetCluster
    #[arg(long, value_name = "NAME", default_value = "local")]
    pub node: String,
    /// Listen also where others can connect, although callers are not identified
    #[arg(long)]
    pub insecure: bool,
    /// What to log: a level, or directives such as `info,quotagate::shard=debug`
    #[arg(long, value_name = "FILTER", default_value = "info")]
    pub log: String,
    /// How to log
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,
    /// How to speak to the store.
    #[command(flatten)]
    pub store_options: StoreOptions,
}

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
}

/// A service that runs.
#[derive(Debug)]
pub struct Service {
    grpc_addr: SocketAddr,
    http_addr: SocketAddr,
    node: Arc<Node>,
    forward: Arc<Forward>,
    metrics: Arc<Metrics>,
    health: Health,
    /// Tells health checks of the store.
    told: JoinHandle<()>,
    shards: Running,
    stop: watch::Sender<bool>,
    grpc: JoinHandle<Result<(), tonic::transport::Error>>,
    http: JoinHandle<()>,
}

/// How long requests that run at the end may go on.
const DRAIN: Duration = Duration::from_secs(5);

/// How long records may be written at the end: what is not counts as spent.
const HAND_OVER: Duration = Duration::from_secs(10);

/// Reloads that wait to be put in force.
const RELOADS: usize = 1;

impl Service {
    /// Opens the store, takes over what it holds, and serves on both addresses
    /// when it returns.
    ///
    /// # Errors
    /// What kept it from starting.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let opened = store::open(&options.store, &options.store_options)
            .with_context(|| format!("cannot open the store {}", options.store))?;
        store::open::wait_until_it_answers(&*opened.store, META).await;
        Self::start_on(opened, options).await
    }

    /// The same on a store that is open already; `options.store` only names it.
    ///
    /// # Errors
    /// What kept it from starting.
    pub async fn start_on(opened: Opened, options: Options) -> anyhow::Result<Self> {
        let Opened { store, last_wall } = opened;
        let clock = Clock::not_before(last_wall);
        if !clock.behind().is_zero() {
            tracing::warn!(
                behind = ?clock.behind(),
                "the clock is behind the store's last time: time goes on from there"
            );
        }
        let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"), clock.now().wall));
        let settings = Arc::new(
            Settings::read(options.config, &*store).await.context("cannot read the settings")?,
        );
        let grpc = bind(options.grpc, "gRPC").await?;
        let http = bind(options.http, "HTTP").await?;
        let (grpc_addr, http_addr) = (grpc.local_addr()?, http.local_addr()?);
        let name = options.node;
        let shards = Shards::start(
            Arc::clone(&store),
            clock,
            Arc::clone(&metrics),
            Arc::clone(&settings) as _,
            name.clone(),
        )
        .await
        .context("cannot take over what the store holds")?;
        let address = grpc_addr.to_string();
        let routes = Routes::alone();
        let peers = Arc::new(Peers::new(name.clone(), None));
        let node = Node::new(name, address, store, settings, shards.shards(), routes);
        let node = Arc::new(node);
        let forward = Forward::new(Arc::clone(&node), peers, Arc::clone(&metrics));
        let forward = Arc::new(forward);
        let stop = watch::channel(false).0;
        let (router, health) = rpc::router(Arc::clone(&forward), Arc::clone(&metrics)).await;
        let incoming = TcpIncoming::from(grpc).with_nodelay(Some(true));
        let grpc = tokio::spawn(router.serve_with_incoming_shutdown(incoming, stopped(&stop)));
        let ready = Arc::clone(&node);
        let services = web::Services {
            quota: rpc::Quota::new(Arc::clone(&forward)),
            admin: rpc::Admin::new(Arc::clone(&forward)),
            metrics: Arc::clone(&metrics),
            readiness: Arc::new(move || {
                let sentence = "this node does not grant: it starts, stops, or lost its store";
                (!ready.is_ready()).then(|| sentence.to_owned())
            }),
        };
        let http =
            tokio::spawn(web::serve(http, services, web::Options::default(), stopped(&stop)));
        health.set_serving(true).await;
        let told = tokio::spawn(tell_health(health.clone(), node.store_works()));
        Ok(Self {
            grpc_addr,
            http_addr,
            node,
            forward,
            metrics,
            health,
            told,
            shards,
            stop,
            grpc,
            http,
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

    /// The node.
    #[must_use]
    pub fn node(&self) -> Arc<Node> {
        Arc::clone(&self.node)
    }

    /// Not ready, no more grants, requests end, records are written.
    pub async fn stop(mut self) {
        self.told.abort();
        self.health.set_serving(false).await;
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
    }
}

/// Runs the service until it is told to stop.
///
/// # Errors
/// What kept it from starting, or from ending in order.
pub async fn serve(args: ServeArgs) -> anyhow::Result<()> {
    telemetry::init(args.log_format, &args.log)?;
    for (name, address) in [("--grpc", args.grpc), ("--http", args.http)] {
        if !is_loopback(address.ip()) && !args.insecure {
            bail!(
                "{name} {address} can be reached from other machines, and callers are not \
                 identified: listen on 127.0.0.1, or say --insecure"
            );
        }
    }
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
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let starting = Service::start(Options {
        config,
        grpc: args.grpc,
        http: args.http,
        store: args.store.clone(),
        store_options: args.store_options,
        node: args.node,
    });
    // It may have to wait for its store.
    let service = tokio::select! {
        started = starting => started?,
        _ = terminate.recv() => return Ok(tracing::info!("SIGTERM: stopped before it served")),
        _ = interrupt.recv() => return Ok(tracing::info!("SIGINT: stopped before it served")),
    };
    announce(&service, &args.store);
    let reloads = watcher.map(|watcher| follow(watcher, &service));
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
        _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
    }
    if let Some(reloads) = reloads {
        reloads.abort();
    }
    service.stop().await;
    tracing::info!("stopped: every counter is written down");
    Ok(())
}

/// Says where it listens, and what to try first.
fn announce(service: &Service, store: &StoreAddress) {
    let (grpc, http) = (service.grpc_addr, service.http_addr);
    let note = match store {
        StoreAddress::Memory => " (everything is forgotten at the end)",
        StoreAddress::File(_) | StoreAddress::Etcd(_) => "",
    };
    // Whoever has read what it wanted may close the pipe: that ends no service.
    let _ = writeln!(
        io::stdout(),
        "gRPC   {grpc}\n\
         HTTP   http://{http}/\n\
         store  {store}{note}\n\
         try    grpcurl -plaintext -d '{TRY}' {grpc} quotagate.v1.QuotaService/Acquire"
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
    tokio::spawn(async move {
        let apply = async {
            while let Some(reload) = told.recv().await {
                let now = node.now().wall;
                match reload {
                    Reload::Accepted(config) => {
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

/// A service whose store does not work can decide nothing for long.
async fn tell_health(health: Health, mut store_works: watch::Receiver<bool>) {
    while store_works.changed().await.is_ok() {
        let works = *store_works.borrow_and_update();
        health.set_serving(works).await;
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

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}
