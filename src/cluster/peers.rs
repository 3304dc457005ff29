//! Connections to the other nodes of the cluster, and what can be asked over
//! them.
//!
//! A forwarded request has four ends, and what its caller may do next hangs on
//! which it was: see [`PeerError`]. tonic's own channel hides the difference
//! between a request that never left and one whose answer was lost, and connects
//! anew for one waiting request after the other; so the connections are made
//! here, one attempt for all who wait for it. `calls` is the stream that the most
//! frequent requests share.

mod calls;
mod kin;

use std::{
    collections::BTreeMap,
    fmt, io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};
use tonic::{
    Code, Request, Response, Status, Streaming,
    body::Body,
    codegen::{
        Service,
        http::{self, HeaderMap},
    },
    metadata::{Ascii, MetadataValue},
};
use tonic_types::StatusExt as _;

use self::calls::{Asked, CallStream, Forwardable};
pub use self::{
    calls::error_of,
    kin::{BadToken, Kin, Stranger, Token},
};
use super::pings::Facts;
use crate::{
    proto::peer::v1::{
        AcquireRequest, AcquireResponse, AdministerRequest, AdministerResponse, GetDemandRequest,
        GetDemandResponse, GetUsageRequest, GetUsageResponse, GlanceRequest, GlanceResponse,
        PingRequest, PingResponse, ReleaseRequest, ReleaseResponse, ReplayDemandRequest,
        ReplayDemandResponse, ReportRequest, ReportResponse, WatchUsageRequest, WatchUsageResponse,
        peer_service_client::PeerServiceClient,
    },
    quota::Wall,
    trace::Span,
    unsent::was_not_begun,
};

/// The reason of an answer that says: not the owner, and nothing was done.
pub const NOT_OWNER: &str = "NOT_OWNER";

/// A node that is there takes a connection within a round trip.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// A peer that is silent for both together is taken for dead: what waits there
/// is asked elsewhere. A paused process answers no pings, though its kernel
/// still takes what is sent.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(1);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(2);

/// What a peer may send on one stream before it hears that it was read, and on
/// a connection: more than all the watchers of a node can leave unread, so that
/// slow ones do not hold up answers.
const STREAM_WINDOW: u32 = 64 << 10;
/// The same of a stream that has the answers of thousands of requests.
const CALLS_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 128 << 20;

/// The usage of an org with all the names that are kept is some hundred KiB.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// Why a peer gave no answer of the kind that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// It does not own the org. Nothing was done.
    #[error("the node does not own the org")]
    NotOwner,
    /// The request did not leave this node. Nothing was done.
    #[error("{0}")]
    NotSent(String),
    /// It takes no requests from this node. Nothing was done.
    #[error("the node refuses this one: {0}")]
    Refused(String),
    /// It was sent, perhaps, and no answer came: nobody knows what was done.
    #[error("{0}")]
    Lost(String),
    /// The owner's own answer, for whoever asked.
    #[error("{0}")]
    Status(Status),
}

/// Opens a stream to `HOST:PORT`; the connections of [`Peers`] are made over it.
pub type Dial = Arc<dyn Fn(String) -> Dialing + Send + Sync>;

/// A stream that is being opened.
pub type Dialing = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send>>;

/// Opens TCP connections.
#[must_use]
pub fn dial_tcp() -> Dial {
    Arc::new(|address: String| {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    })
}

/// What a connection runs over.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// The connections to all peers, opened when they are first needed.
pub struct Peers {
    node: String,
    kin: Kin,
    dial: Dial,
    /// By peer address.
    peers: Mutex<BTreeMap<String, Arc<Peer>>>,
}

/// What goes with a request to a peer, besides its message.
#[derive(Clone, Debug)]
pub struct Call {
    /// When the caller stops listening.
    pub deadline: Instant,
    /// The trace that the request belongs to.
    pub trace: Trace,
}

/// The context of a W3C trace, as it came and as it goes on.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    traceparent: Option<MetadataValue<Ascii>>,
    tracestate: Option<MetadataValue<Ascii>>,
}

/// There is a connection of its own to each peer for either, so that large answers
/// do not hold up those that decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// What callers ask for all the time: Acquire, Release, Report.
    Calls,
    /// Anything else.
    Rest,
}

/// A connection to a peer, open when it was asked for.
#[derive(Debug)]
pub struct Connection {
    open: Arc<Open>,
    kin: Kin,
}

impl Peers {
    /// The peers of the node with this name, none of them connected yet.
    #[must_use]
    pub fn new(node: String, kin: Kin) -> Self {
        Self::dialing(node, kin, dial_tcp())
    }

    /// The same over streams that `dial` opens.
    #[must_use]
    pub fn dialing(node: String, kin: Kin, dial: Dial) -> Self {
        Self { node, kin, dial, peers: Mutex::default() }
    }

    /// The name of this node, by which its peers know who asks.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// By what its peers know this node, and it them.
    #[must_use]
    pub fn kin(&self) -> Kin {
        self.kin.clone()
    }

    /// A connection to the peer at an address, opened if there is none.
    ///
    /// # Errors
    /// [`PeerError::NotSent`]: there was none within 500 ms, or before the
    /// deadline.
    pub async fn connect(
        &self,
        address: &str,
        lane: Lane,
        deadline: Instant,
    ) -> Result<Connection, PeerError> {
        let peer = self.peer(address);
        let link = peer.link(lane);
        let open = match link.present() {
            Some(open) => open,
            None => timeout_at(deadline, link.open(address, &self.dial))
                .await
                .unwrap_or_else(|_| Err("it took too long".into()))
                .map_err(|why| {
                    PeerError::NotSent(format!("no connection to the node at {address}: {why}"))
                })?,
        };
        Ok(Connection { open, kin: self.kin.clone() })
    }

    /// Whether the peer at an address takes many requests in one message.
    #[must_use]
    pub fn has_stream(&self, address: &str) -> bool {
        self.peer(address).calls.present().is_some_and(|open| open.stream.is_open())
    }

    /// Forgets the peers at all other addresses. What is under way still ends.
    pub fn keep_only(&self, is_kept: impl Fn(&str) -> bool) {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers.retain(|address, _| is_kept(address));
    }

    fn peer(&self, address: &str) -> Arc<Peer> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        match peers.get(address) {
            Some(peer) => Arc::clone(peer),
            None => {
                Arc::clone(peers.entry(address.to_owned()).or_insert_with(|| Arc::new(Peer::new())))
            }
        }
    }
}

impl Trace {
    /// The trace that a request belongs to.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let of = |key| MetadataValue::try_from(headers.get(key)?.as_bytes()).ok();
        Self { traceparent: of("traceparent"), tracestate: of("tracestate") }
    }

    /// The same trace, from a span on that is recorded here; `None` if none is.
    #[must_use]
    pub fn through(span: &Span) -> Option<Self> {
        let (traceparent, tracestate) = span.headers()?;
        let value = |text: String| text.parse().ok();
        Some(Self { traceparent: value(traceparent), tracestate: tracestate.and_then(value) })
    }
}

macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident($request:ty) -> $response:ty $(, $begin:ident)?;)*) => {
        impl Connection {$(
            $(#[$doc])*
            ///
            /// # Errors
            /// No answer of this kind: see [`PeerError`].
            pub async fn $name(
                &self,
                message: $request,
                call: &Call,
            ) -> Result<$response, PeerError> {
                $(let message = match self.$begin(message, call) {
                    Ok(asked) => return asked.answered::<$request>().await,
                    Err(message) => message,
                };)?
                let mut client = self.open.client.clone();
                let request = self.request(message, call);
                answered(call.deadline, client.$name(request)).await
            }
        )*}
    };
}

// Those that `begin` may go over the stream.
calls! {
    /// Has an Acquire decided.
    acquire(AcquireRequest) -> AcquireResponse, begin;
    /// Has calls taken back.
    release(ReleaseRequest) -> ReleaseResponse, begin;
    /// Has calls settled.
    report(ReportRequest) -> ReportResponse, begin;
    /// Has an org's counters read.
    get_usage(GetUsageRequest) -> GetUsageResponse;
    /// Has an org's counters followed. The deadline is that of the first answer;
    /// the stream goes on after it.
    watch_usage(WatchUsageRequest) -> Streaming<WatchUsageResponse>;
    /// Has an org's demand read.
    get_demand(GetDemandRequest) -> GetDemandResponse;
    /// Has a node's orgs summarised. The deadline is that of the first answer.
    glance(GlanceRequest) -> Streaming<GlanceResponse>;
    /// Has settings tried on an org's demand.
    replay_demand(ReplayDemandRequest) -> ReplayDemandResponse;
    /// Has a change carried out.
    administer(AdministerRequest) -> AdministerResponse;
}

impl Connection {
    /// Asks how it is, in the name of a node.
    ///
    /// # Errors
    /// It did not say.
    pub async fn ping(&self, node: &str, deadline: Instant) -> Result<Facts, PeerError> {
        let request = PingRequest { node: node.to_owned() };
        let call = Call { deadline, trace: Trace::default() };
        let request = self.request(request, &call);
        let answer = answered(deadline, self.open.client.clone().ping(request)).await?;
        facts(answer).ok_or_else(|| PeerError::Lost("its answer is garbled".to_owned()))
    }

    /// Sends it on the stream, if there is one that takes it; else it comes back.
    fn begin<M: Forwardable>(&self, message: M, call: &Call) -> Result<Asked, M> {
        let Open { client, stream, .. } = &*self.open;
        match stream.get(client, &self.kin) {
            Some(calls) => calls.begin(message, call),
            None => Err(message),
        }
    }

    fn request<M>(&self, message: M, call: &Call) -> Request<M> {
        let mut request = Request::new(message);
        request.set_timeout(call.deadline.saturating_duration_since(Instant::now()));
        let Trace { traceparent, tracestate } = &call.trace;
        for (key, value) in [("traceparent", traceparent), ("tracestate", tracestate)] {
            if let Some(value) = value {
                request.metadata_mut().insert(key, value.clone());
            }
        }
        self.kin.sign(request.metadata_mut());
        request
    }
}

/// The next message of a peer's stream; `None` at its end.
///
/// # Errors
/// It broke, or the peer ended it: see [`PeerError`].
pub async fn next<T>(stream: &mut Streaming<T>) -> Result<Option<T>, PeerError> {
    stream.message().await.map_err(sorted)
}

/// A peer's connections.
struct Peer {
    calls: Link,
    rest: Link,
}

impl Peer {
    fn new() -> Self {
        Self { calls: Link::new(CALLS_WINDOW), rest: Link::new(STREAM_WINDOW) }
    }

    fn link(&self, lane: Lane) -> &Link {
        match lane {
            Lane::Calls => &self.calls,
            Lane::Rest => &self.rest,
        }
    }
}

/// One connection, opened again whenever it is closed.
struct Link {
    /// What the peer may send on one stream.
    window: u32,
    open: Mutex<Option<Arc<Open>>>,
    /// Held by who opens it; when that last failed, and why.
    opening: tokio::sync::Mutex<Option<(Instant, String)>>,
}

/// An open connection.
#[derive(Debug)]
struct Open {
    wire: Wire,
    client: PeerServiceClient<Wire>,
    stream: CallStream,
}

impl Link {
    fn new(window: u32) -> Self {
        Self { window, open: Mutex::default(), opening: tokio::sync::Mutex::default() }
    }

    /// The connection; one attempt, also for all who come while it is made.
    async fn open(&self, address: &str, dial: &Dial) -> Result<Arc<Open>, String> {
        let origin = format!("http://{address}");
        let origin = origin.parse().map_err(|_| "it is no address".to_owned())?;
        let came = Instant::now();
        let mut failed = self.opening.lock().await;
        if let Some(open) = self.present() {
            return Ok(open);
        }
        if let Some((at, why)) = &*failed
            && *at >= came
        {
            return Err(why.clone());
        }
        match timeout(CONNECT_TIMEOUT, connect(address, self.window, dial)).await {
            Ok(Ok(wire)) => {
                *failed = None;
                let client = PeerServiceClient::with_origin(wire.clone(), origin)
                    .max_decoding_message_size(MAX_ANSWER_BYTES);
                let open = Arc::new(Open { wire, client, stream: CallStream::default() });
                *self.last() = Some(Arc::clone(&open));
                Ok(open)
            }
            Ok(Err(why)) => Err(failed.insert((Instant::now(), why)).1.clone()),
            Err(_) => {
                let why = format!("it does not answer within {CONNECT_TIMEOUT:?}");
                Err(failed.insert((Instant::now(), why)).1.clone())
            }
        }
    }

    fn present(&self) -> Option<Arc<Open>> {
        self.last().as_ref().filter(|open| !open.wire.send.is_closed()).cloned()
    }

    fn last(&self) -> MutexGuard<'_, Option<Arc<Open>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn connect(address: &str, window: u32, dial: &Dial) -> Result<Wire, String> {
    let stream = dial(address.to_owned()).await.map_err(|error| error.to_string())?;
    let (send, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_stream_window_size(window)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let address = address.to_owned();
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, address, "the connection to a peer broke");
        }
    });
    Ok(Wire { send })
}

/// An open HTTP/2 connection, which says of each request whether it left.
#[derive(Clone, Debug)]
struct Wire {
    send: http2::SendRequest<Body>,
}

/// What became of a request that got no answer.
#[derive(Debug, thiserror::Error)]
enum WireError {
    #[error("the request was not sent")]
    NotSent(#[source] hyper::Error),
    #[error("the connection broke")]
    Lost(#[source] hyper::Error),
}

impl Service<http::Request<Body>> for Wire {
    type Response = http::Response<Incoming>;
    type Error = WireError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, WireError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        self.send.poll_ready(context).map_err(WireError::NotSent)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answer = self.send.try_send_request(request);
        Box::pin(async move {
            answer.await.map_err(|mut error| match error.take_message() {
                Some(_unsent) => WireError::NotSent(error.into_error()),
                None => match error.into_error() {
                    error if was_not_begun(&error) => WireError::NotSent(error),
                    error => WireError::Lost(error),
                },
            })
        })
    }
}

async fn answered<T>(
    deadline: Instant,
    answer: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, PeerError> {
    answered_in_time(deadline, answer).await?.map(Response::into_inner).map_err(sorted)
}

async fn answered_in_time<T>(
    deadline: Instant,
    answer: impl Future<Output = T>,
) -> Result<T, PeerError> {
    let late = |_| PeerError::Lost("it did not answer in time".to_owned());
    timeout_at(deadline, answer).await.map_err(late)
}

fn facts(answer: PingResponse) -> Option<Facts> {
    let wall = |time: prost_types::Timestamp| {
        let seconds = u64::try_from(time.seconds).ok()?.checked_mul(1_000_000)?;
        Some(Wall(seconds + u64::try_from(time.nanos).ok()? / 1_000))
    };
    Some(Facts {
        node: answer.node,
        incarnation: answer.incarnation,
        clock: wall(answer.clock?)?,
        session_left: answer.session_left.and_then(|left| left.try_into().ok()),
        owned_shards: answer.owned_shards,
        orgs: answer.orgs,
        started: wall(answer.started?)?,
        problem: answer.problem,
    })
}

/// Every error of a peer's services carries details; what has none was made on
/// this side, or by something that is no peer.
fn sorted(status: Status) -> PeerError {
    if status.details().is_empty() {
        let source = std::error::Error::source(&status);
        let wire = source.and_then(|source| source.downcast_ref::<WireError>());
        return match wire {
            Some(WireError::NotSent(why)) => PeerError::NotSent(why.to_string()),
            Some(WireError::Lost(why)) => PeerError::Lost(why.to_string()),
            None => PeerError::Lost(status.to_string()),
        };
    }
    match status.code() {
        Code::FailedPrecondition => {
            let info = status.get_details_error_info();
            match info {
                Some(info) if info.reason == NOT_OWNER => PeerError::NotOwner,
                _ => PeerError::Status(status),
            }
        }
        Code::Unauthenticated => PeerError::Refused(status.message().to_owned()),
        _ => PeerError::Status(status),
    }
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").field("node", &self.node).finish_non_exhaustive()
    }
}
