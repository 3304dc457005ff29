//! The HTTP edge: probes, metrics, and the services as JSON.

mod admit;
mod api;
mod landing;
mod origin;
mod ratelimit;
mod session;
mod status;
mod traced;

use std::{fmt, future::Future, io, pin::pin, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
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

use self::admit::Guard;
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
    let router = router(services, &options);
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
    if time::timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
        tracing::warn!("HTTP requests still ran after {DRAIN_TIMEOUT:?} and were cut off");
    }
}

fn router<Q: QuotaService, A: AdminService>(services: Services<Q, A>, options: &Options) -> Router {
    let Services { quota, admin, metrics, readiness, gate, seal } = services;
    let guard = Arc::new(Guard::new(gate, seal, options));
    let traced = middleware::from_fn_with_state(options.traces.clone(), traced::traced);
    Router::new()
        .route("/", get(landing::page).with_state(Arc::clone(&guard)))
        .merge(session::router(Arc::clone(&guard)))
        .route("/livez", get(alive))
        .route("/readyz", get(move || async move { ready(&readiness) }))
        .route("/metrics", get(exposition).with_state(metrics))
        .merge(api::router(quota, admin, guard).layer(traced))
        .fallback(status::not_found)
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

/// No answer is to be kept, guessed at, or shown in somebody else's frame.
async fn secure(request: Request, next: Next) -> Response {
    const HEADERS: [(HeaderName, HeaderValue); 3] = [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    ];
    let mut response = next.run(request).await;
    response.headers_mut().extend(HEADERS);
    response
}

impl<Q, A> fmt::Debug for Services<Q, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").finish_non_exhaustive()
    }
}
