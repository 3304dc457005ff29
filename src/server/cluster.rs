//! The parts of a service that has others beside it: its place in the cluster,
//! the port for the other nodes, and what follows the store.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail};
use tokio::{
    sync::{mpsc::UnboundedReceiver, oneshot, watch},
    task::JoinSet,
};

use crate::{
    clock::Clock,
    cluster::{
        Event, Timing,
        driver::{self, Driver},
        moves::{self, Moves},
        peers::{Dial, Kin, Peers, Stream, Token},
        pings::{self, Pings},
    },
    metrics::{Listener, Metrics, TlsFiles},
    node::{Insight, Routes, Settings},
    quota::Rules,
    shard::{ShardEvent, Shards, random},
    store::{
        SharedStore,
        keys::{META, ORG_CONFIGS},
        open::wait_until_it_answers,
    },
    tls::{self, ClientAuth, ClientFiles, Connector, Protocol, ServerFiles, files::Reload},
};

/// What a service needs to take part in a cluster.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen for the other nodes.
    pub peer: SocketAddr,
    /// Where clients reach this node; the address of its listener if `None`.
    pub advertise: Option<String>,
    /// Where the other nodes reach it; the host of `advertise` with the port of
    /// the peers' listener if `None`.
    pub advertise_peer: Option<String>,
    /// What all nodes know, and nobody else.
    pub token: Option<Token>,
    /// TLS between the nodes; `None`: in the clear.
    pub tls: Option<PeerFiles>,
    /// Make the cluster, if there is none.
    pub create: bool,
    /// What was counted until now is not known.
    pub cold_start_closed: bool,
    /// How long a lease lives unless it is kept alive.
    pub lease: Duration,
}

/// The files by which nodes know each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerFiles {
    /// The certificate that this node shows, whoever has connected to whom, with
    /// those between it and its authority (PEM).
    pub cert: PathBuf,
    /// Its private key (PEM).
    pub key: PathBuf,
    /// The certificates of the authorities that the other nodes' are checked with
    /// (PEM).
    pub ca: PathBuf,
    /// The name that stands in every node's certificate; `None` where each has that
    /// of its own host.
    pub name: Option<String>,
}

/// Where a node is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// By clients.
    pub clients: String,
    /// By the other nodes.
    pub peers: String,
}

/// A node's place in the cluster, while it runs.
#[derive(Debug)]
pub struct Place {
    driver: Driver,
    routes: Routes,
    insight: Insight,
    peers: Arc<Peers>,
    /// End with this.
    tasks: JoinSet<()>,
}

/// The parts of the service that a place in the cluster has to do with.
#[derive(Debug)]
pub struct Around<'a> {
    /// Shared with the other nodes.
    pub store: &'a SharedStore,
    /// The process's clocks.
    pub clock: &'a Clock,
    /// What is declared.
    pub settings: &'a Arc<Settings>,
    /// The ledgers.
    pub shards: &'a Arc<Shards>,
}

/// How long a node that ends waits for its shards to be others'.
const DRAIN: Duration = Duration::from_secs(15);

/// A session ends this long before its lease may.
const MARGIN: Duration = Duration::from_secs(2);

impl Options {
    /// Where a node is reached that listens on these addresses.
    ///
    /// # Errors
    /// It listens on all addresses, so it has to be said which of them to use.
    pub fn addresses(&self, grpc: SocketAddr, peer: SocketAddr) -> anyhow::Result<Addresses> {
        let clients = match &self.advertise {
            Some(address) => address.clone(),
            None if grpc.ip().is_unspecified() => bail!(
                "--grpc {grpc} listens on all addresses: say with --advertise HOST:PORT where \
                 clients and other nodes reach this node"
            ),
            None => grpc.to_string(),
        };
        let peers = match &self.advertise_peer {
            Some(address) => address.clone(),
            None if peer.ip().is_unspecified() => {
                let host = clients.rsplit_once(':').map_or(clients.as_str(), |(host, _)| host);
                format!("{host}:{}", peer.port())
            }
            None => peer.to_string(),
        };
        Ok(Addresses { clients, peers })
    }

    fn timing(&self) -> Timing {
        // A short lease, for tests, has a short margin.
        Timing { ttl: self.lease, margin: MARGIN.min(self.lease / 4), ..Timing::default() }
    }
}

impl PeerFiles {
    /// How the other nodes' connections are taken.
    ///
    /// # Errors
    /// A file is of no use, or the name is none.
    pub fn acceptor(&self, metrics: &Arc<Metrics>) -> anyhow::Result<tls::Acceptor> {
        let server = tls::Server::open(ServerFiles {
            cert: self.cert.clone(),
            key: self.key.clone(),
            client_ca: Some(self.ca.clone()),
            client_auth: ClientAuth::Require,
        });
        let server = server.context("cannot speak TLS with the other nodes")?;
        server.on_reload(counting(metrics, TlsFiles::Peer));
        Ok(tls::Acceptor {
            tls: Some(server),
            client_name: self.name.as_deref().map(tls::Acceptor::name).transpose()?,
            ..tls::Acceptor::plain(Listener::Peer, Protocol::Http2, Arc::clone(metrics))
        })
    }

    /// The same way to the other nodes, over TLS.
    ///
    /// # Errors
    /// A file is of no use, or the name is none.
    pub fn secure(&self, dial: Dial, metrics: &Arc<Metrics>) -> anyhow::Result<Dial> {
        let connector = Connector::open(ClientFiles {
            ca: Some(self.ca.clone()),
            identity: Some((self.cert.clone(), self.key.clone())),
            name: self.name.clone(),
        });
        let connector = connector.context("cannot speak TLS with the other nodes")?;
        connector.on_reload(counting(metrics, TlsFiles::PeerClient));
        Ok(Arc::new(move |address: String| {
            let (dial, connector) = (Arc::clone(&dial), connector.clone());
            Box::pin(async move {
                let host = address.rsplit_once(':').map_or("", |(host, _)| host).to_owned();
                let stream = dial(address).await?;
                Ok(Box::new(connector.wrap(&host, stream).await?) as Box<dyn Stream>)
            })
        }))
    }
}

/// Counts the changes of files.
pub(super) fn counting(metrics: &Arc<Metrics>, files: TlsFiles) -> impl Fn(Reload) + use<> {
    let metrics = Arc::clone(metrics);
    move |reload| metrics.tls_reloaded(files, reload == Reload::Applied)
}

/// Reads what all nodes know, and nobody else.
///
/// # Errors
/// The file cannot be read, or holds no token.
pub fn read_token(path: &Path) -> anyhow::Result<Token> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read --peer-token-file {}", path.display()))?;
    Token::parse(&text).with_context(|| format!("--peer-token-file {}", path.display()))
}

impl Place {
    /// Starts to take part. `dial` is the way to the other nodes, `events` are
    /// what the shards find out.
    #[must_use]
    pub fn take(
        name: &str,
        addresses: &Addresses,
        options: &Options,
        around: &Around<'_>,
        dial: Dial,
        events: UnboundedReceiver<ShardEvent>,
    ) -> Self {
        let &Around { store, clock, settings, shards } = around;
        let mut tasks = JoinSet::new();
        let (settled, settled_is) = oneshot::channel();
        tasks.spawn(follow_settings(
            Arc::clone(store),
            Arc::clone(settings),
            Arc::clone(shards),
            settled,
        ));
        let (tell_pings, pings) = watch::channel(Arc::new(Pings::new()));
        let driver = Driver::start(
            Arc::clone(store),
            clock.clone(),
            Arc::clone(shards) as _,
            pings.clone(),
            settled_is,
            driver::Options {
                name: name.to_owned(),
                address: addresses.clients.clone(),
                peer_address: addresses.peers.clone(),
                timing: options.timing(),
                create: options.create,
                cold_start_closed: options.cold_start_closed,
                clock_error: Rules::default().clock_error,
                seed: random::next(),
            },
        );
        tasks.spawn(pass_on(events, driver.teller()));
        let kin = Kin::knowing(options.token.clone()).of(driver.view());
        let peers = Arc::new(Peers::dialing(name.to_owned(), kin, dial));
        tasks.spawn(pings::run(Arc::clone(&peers), clock.clone(), driver.view(), tell_pings));
        let served = {
            let shards = Arc::clone(shards);
            Arc::new(move |shard| shards.served(shard))
        };
        let routes = Routes::shared(name.to_owned(), driver.view(), served);
        let (tell_moves, moves) = watch::channel(Arc::new(Moves::new()));
        tasks.spawn(moves::run(clock.clone(), driver.view(), tell_moves));
        let insight = Insight { standing: driver.standing(), pings, moves };
        Self { driver, routes, insight, peers, tasks }
    }

    /// The way to every org's owner.
    #[must_use]
    pub fn routes(&self) -> Routes {
        self.routes.clone()
    }

    /// How this node and the others are.
    #[must_use]
    pub fn insight(&self) -> Insight {
        self.insight.clone()
    }

    /// The connections to the other nodes.
    #[must_use]
    pub fn peers(&self) -> Arc<Peers> {
        Arc::clone(&self.peers)
    }

    /// Gives every shard to the other nodes.
    pub async fn drain(&self) {
        if !self.driver.drain(DRAIN).await {
            tracing::warn!(
                "not every shard was given away within {DRAIN:?}: the others take the rest when \
                 this node's session has ended"
            );
        }
    }

    /// Ends this node's session.
    pub async fn leave(mut self) {
        self.driver.leave().await;
        self.tasks.shutdown().await;
    }
}

/// Puts in force what is declared in the store, as it changes. Says when all of
/// it is known for the first time.
async fn follow_settings(
    store: SharedStore,
    settings: Arc<Settings>,
    shards: Arc<Shards>,
    settled: oneshot::Sender<()>,
) {
    let Some(sessions) = store.sessions() else { return };
    wait_until_it_answers(&*store, META).await;
    let mut told = sessions.watch(ORG_CONFIGS);
    let mut settled = Some(settled);
    while let Some(told) = told.recv().await {
        let changed = settings.take_in(&told);
        shards.reconfigure_all(&changed).await;
        if let Some(settled) = settled.take() {
            tracing::debug!(orgs = changed.len(), "the declared orgs are known");
            // The service has ended meanwhile, where nobody listens.
            let _ = settled.send(());
        }
    }
}

/// What the shards find out changes the node's part in the cluster.
async fn pass_on(mut events: UnboundedReceiver<ShardEvent>, tell: impl Fn(Event)) {
    while let Some(event) = events.recv().await {
        tell(match event {
            ShardEvent::Fenced { shard, epoch } => Event::Fenced { shard, epoch },
            ShardEvent::Broken { shard, epoch } => Event::Broken { shard, epoch },
            ShardEvent::WentBack => Event::WentBack,
        });
    }
}
