//! The HTTP edge: probes, metrics, the services as JSON, and the pages that people
//! look at.

mod admit;
mod api;
mod assets;
mod call;
mod origin;
mod page;
mod ratelimit;
mod session;
mod status;
mod traced;

use std::{fmt, future::Future, io, pin::pin, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::time;
use tokio_stream::{Stream, StreamExt as _};

use self::{admit::Guard, page::Live};
use crate::{
    auth::session::Seal,
    metrics::{self, Metrics},
    proto::{
        admin::v1::admin_service_server::AdminService, v1::quota_service_server::QuotaService,
    },
    rpc::Gate,
    tls::{Connection, Transport},
    trace::Traces,
};

/// How long a client may take to send the head of a request, and to stay idle
/// between two.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);

/// The most that the head of a request may take.
const MAX_HEADER_BYTES: usize = 16 << 10;

/// How long requests that run at the end may go on.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// What the edge serves.
pub struct Services<Q, A> {
    /// The same service that gRPC serves.
    pub quota: Q,
    /// The same service that gRPC serves.
    pub admin: A,
    /// What `/metrics` shows.
    pub metrics: Arc<Metrics>,
    /// Whether requests can be decided.
    pub readiness: Readiness,
    /// Knows who calls: the same that lets requests in by gRPC.
    pub gate: Arc<Gate>,
    /// Seals sessions.
    pub seal: Seal,
}

/// The services, as the API and the pages share them.
struct Backend<Q, A> {
    quota: Q,
    admin: A,
}

/// Asks whether the process can decide requests: `None` if it can, else a
/// sentence that says why not.
pub type Readiness = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// How the edge behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Names under which browsers may reach it for writing, besides loopback
    /// and the address that it listens on. Without port.
    pub hosts: Vec<String>,
    /// The most API requests at a time, parked ones included; more are refused
    /// with 429. Fewer than the connections, so that probes are always answered.
    pub max_requests: usize,
    /// Records requests to the API, or does not.
    pub traces: Traces,
}

impl Default for Options {
    fn default() -> Self {
        Self { hosts: Vec::new(), max_requests: 768, traces: Traces::off() }
    }
}

/// Serves connections until `stop` is ready, then lets requests that run end, for
/// 5 s at most. A handler finds the [`Peer`](crate::tls::Peer) among a request's
/// extensions.
pub async fn serve<Q: QuotaService, A: AdminService, C: Transport>(
    connections: impl Stream<Item = io::Result<Connection<C>>>,
    services: Services<Q, A>,
    options: Options,
    stop: impl Future<Output = ()>,
) {
    let live = Live::new();
    let router = router(services, &options, &live);
    let graceful = GracefulShutdown::new();
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .max_header_size(MAX_HEADER_BYTES);
    let mut stop = pin!(stop);
    {
        // It closes when this is over.
        let mut connections = pin!(connections);
        loop {
            let connection = tokio::select! {
                () = &mut stop => break,
                connection = connections.next() => match connection {
                    Some(Ok(connection)) => connection,
                    Some(Err(_)) => continue,
                    None => break,
                },
            };
            let peer = connection.peer().clone();
            let remote = peer.remote;
            let service = TowerToHyperService::new(router.clone().layer(Extension(peer)));
            let connection =
                graceful.watch(http.serve_connection(TokioIo::new(connection), service));
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, %remote, "an HTTP connection ended early");
                }
            });
        }
    }
    // Pages that are looked at would never end by themselves.
    live.end();
    if time::timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
        tracing::warn!("HTTP requests still ran after {DRAIN_TIMEOUT:?} and were cut off");
    }
}

fn router<Q: QuotaService, A: AdminService>(
    services: Services<Q, A>,
    options: &Options,
    live: &Live,
) -> Router {
    let Services { quota, admin, metrics, readiness, gate, seal } = services;
    let guard = Arc::new(Guard::new(gate, seal, options));
    let traced = middleware::from_fn_with_state(options.traces.clone(), traced::traced);
    let backend = Arc::new(Backend { quota, admin });
    Router::new()
        .merge(page::router(Arc::clone(&backend), Arc::clone(&guard), live.clone()))
        .merge(assets::router())
        .merge(session::router(Arc::clone(&guard)))
        .route("/livez", get(alive))
        .route("/readyz", get(move || async move { ready(&readiness) }))
        .route("/metrics", get(exposition).with_state(metrics))
        .merge(api::router(backend, guard).layer(traced))
        .fallback(not_found)
        .method_not_allowed_fallback(status::method_not_allowed)
        .layer(middleware::from_fn(secure))
}

/// That this is answered at all shows that the loop turns.
async fn alive() -> &'static str {
    "alive\n"
}

fn ready(readiness: &Readiness) -> Response {
    match readiness() {
        None => (StatusCode::OK, "ready\n").into_response(),
        Some(why) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")).into_response()
        }
    }
}

async fn exposition(State(metrics): State<Arc<Metrics>>) -> Response {
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics.encode()).into_response()
}

/// No such path: a page for people, JSON for programs.
async fn not_found(headers: HeaderMap) -> Response {
    if page::wants_page(&headers) { page::not_found() } else { status::not_found().await }
}

/// Only what is served from here is loaded or run, and nothing that stands in a page
/// itself; forms go nowhere else, and nobody frames it.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
);

/// No answer is to be guessed at, shown in somebody else's frame, or kept, unless it
/// says so itself.
async fn secure(request: Request, next: Next) -> Response {
    const HEADERS: [(HeaderName, HeaderValue); 5] = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            HeaderValue::from_static("same-origin"),
        ),
    ];
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.extend(HEADERS);
    let no_store = HeaderValue::from_static("no-store");
    headers.entry(header::CACHE_CONTROL).or_insert(no_store);
    response
}

impl<Q, A> fmt::Debug for Services<Q, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").finish_non_exhaustive()
    }
}
