//! What every request passes before its handler, and its answer afterwards: a
//! bound on how many are served at once, the question who calls, the caller's
//! deadline, a span, and an explanation for errors that tonic makes by itself.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http_body_util::BodyExt as _;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};
use tonic::{
    Code, Request, Status,
    body::Body,
    codegen::http::{self, HeaderMap},
    transport::Server,
};
use tower::{
    Layer, Service,
    layer::util::{Identity, Stack},
};
use tracing::{Instrument as _, debug, debug_span, field::Empty, info_span};

use super::{
    convert::quota::MAX_WAIT,
    gate::{self, Gate},
    status::Problem,
};
use crate::{
    metrics::{Metrics, code_name},
    quota::OrgId,
    trace::{self, Traces},
};

/// One message of a request. The largest useful one is a PutOrg.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024;

/// Requests that are served at once, parked ones included (a node parks 10,000);
/// what comes beyond is refused at once. Watches count until they stand.
const MAX_REQUESTS: usize = 12_000;

/// Besides, places that only operators get: those who see and mend everything.
const OPERATORS_PLACES: usize = 200;

/// Health checks that are served at once. They need no identity, so nobody can
/// tell whose they are.
const MAX_CHECKS: usize = 1_000;

/// A health check needs no longer, whatever its client says.
const CHECK_DURATION: Duration = Duration::from_secs(5);

/// Watches of the health: clients that balance have one each. One takes a few
/// kilobytes.
const MAX_HEALTH_WATCHES: usize = 10_000;

/// Conversations about the contract at the same time: people have them.
const MAX_REFLECTIONS: usize = 64;

/// One client's connection can hold a whole org's queue (1,000 waiters) and
/// still get its reports through.
const MAX_STREAMS_PER_CONNECTION: u32 = 2_000;

/// Streams of one connection that the server itself had to reset, because what was
/// sent on them was wrong; after them the connection ends. Such streams do not count
/// to those of the connection, so without this bound a client could have any number
/// begun ("MadeYouReset", CVE-2025-8671): tonic sets none where nothing is said.
const MAX_ERROR_RESET_STREAMS: usize = 1_024;

/// hyper's own default, said here because memory hangs on it.
const MAX_HEADER_BYTES: u32 = 16 * 1024;

/// A client that has vanished without a word is noticed after these, and leaves
/// the queue.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// What a client may send before it hears that it was read. hyper takes small
/// frames that lie unread for an attack when they are more than a 512th of this:
/// a connection may have as many requests, so it must be so large.
const CONNECTION_WINDOW: u32 = 1 << 20;

/// What another node may send before it hears that it was read: thousands of
/// requests.
const PEER_WINDOW: u32 = 8 << 20;

/// A node that has vanished leaves the queues soon.
const PEER_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// The longest wait and some time to answer: the longest that anything takes,
/// also a message that never comes.
const MAX_DURATION: Duration = Duration::from_secs(MAX_WAIT.as_secs() + 30);

/// An answer needs this long to be of use before the caller's deadline.
const ANSWER_MARGIN: Duration = Duration::from_millis(100);

/// Before the caller's deadline, so that it still hears why.
const DEADLINE_MARGIN: Duration = Duration::from_millis(10);

/// What proxies and callers name a request by, in their logs and ours.
const REQUEST_ID: &str = "x-request-id";

/// A longer one is nobody's name for a request.
const MAX_REQUEST_ID: usize = 128;

/// A burst is over after about this time.
const SHED_RETRY: Duration = Duration::from_secs(1);

/// The server with its bounds. A connection that is as old as `max_connection_age`
/// is told to go away: its client makes another one, maybe to another node. What
/// was asked over it is answered over it, however long it waits: no grace is set,
/// after which tonic would cut it off.
pub fn server(
    gate: Arc<Gate>,
    metrics: Arc<Metrics>,
    traces: Traces,
    max_connection_age: Option<Duration>,
) -> Server<Stack<EdgeLayer, Identity>> {
    let server = Server::builder();
    let server = match max_connection_age {
        Some(age) => server.max_connection_age(age),
        None => server,
    };
    server
        .max_concurrent_streams(MAX_STREAMS_PER_CONNECTION)
        // A client that gave its requests up while this process was paused says so
        // all at once when it goes on: no attack, and no reason to end what else
        // waits on the connection.
        .http2_max_pending_accept_reset_streams(Some(MAX_STREAMS_PER_CONNECTION as usize))
        .http2_max_local_error_reset_streams(Some(MAX_ERROR_RESET_STREAMS))
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .layer(EdgeLayer::new(Places::of_edge(), Some(gate), metrics, traces))
}

/// The server for other nodes, with its bounds. A node forwards all of its
/// requests over a few connections, and what waits there may not hold up the
/// rest. Who calls was asked at that node's edge.
pub fn peer_server(metrics: Arc<Metrics>, traces: Traces) -> Server<Stack<EdgeLayer, Identity>> {
    Server::builder()
        .max_concurrent_streams(u32::try_from(MAX_REQUESTS).unwrap_or(u32::MAX))
        .http2_max_pending_accept_reset_streams(Some(MAX_REQUESTS))
        .http2_max_local_error_reset_streams(Some(MAX_ERROR_RESET_STREAMS))
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .initial_connection_window_size(PEER_WINDOW)
        .http2_keepalive_interval(Some(PEER_KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .layer(EdgeLayer::new(Places::new(MAX_REQUESTS, 0), None, metrics, traces))
}

/// The moment at which the caller stops listening.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// A deadline at a moment.
    pub fn new(at: Instant) -> Self {
        Self(at)
    }

    /// The moment.
    pub fn at(self) -> Instant {
        self.0
    }

    /// The deadline of a request that has passed the layer.
    pub fn of<T>(request: &Request<T>) -> Self {
        let extensions = request.extensions();
        extensions.get().copied().unwrap_or_else(|| Self(Instant::now() + MAX_DURATION))
    }

    /// `wait`, shortened so that there is time for an answer.
    pub fn cap(self, wait: Duration) -> Duration {
        wait.min(self.0.saturating_duration_since(Instant::now()).saturating_sub(ANSWER_MARGIN))
    }

    fn from_headers(headers: &HeaderMap) -> Self {
        let timeout = grpc_timeout(headers).map_or(MAX_DURATION, |t| t.min(MAX_DURATION));
        Self(Instant::now() + timeout)
    }
}

/// `grpc-timeout`: at most eight digits and a unit. A value that is none is
/// taken for absent, as tonic takes it.
fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(value * 60 * 60)),
        "M" => Some(Duration::from_secs(value * 60)),
        "S" => Some(Duration::from_secs(value)),
        "m" => Some(Duration::from_millis(value)),
        "u" => Some(Duration::from_micros(value)),
        "n" => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

/// Wraps all services of the edge.
#[derive(Clone, Debug)]
pub struct EdgeLayer {
    places: Arc<Places>,
    gate: Option<Arc<Gate>>,
    metrics: Arc<Metrics>,
    traces: Traces,
}

impl EdgeLayer {
    fn new(places: Places, gate: Option<Arc<Gate>>, metrics: Arc<Metrics>, traces: Traces) -> Self {
        Self { places: Arc::new(places), gate, metrics, traces }
    }
}

impl<S> Layer<S> for EdgeLayer {
    type Service = Edge<S>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { places, gate, metrics, traces } = self.clone();
        Edge { inner, places, gate, metrics, traces }
    }
}

/// A service of the edge.
#[derive(Clone, Debug)]
pub struct Edge<S> {
    inner: S,
    places: Arc<Places>,
    gate: Option<Arc<Gate>>,
    metrics: Arc<Metrics>,
    traces: Traces,
}

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl<S> Service<http::Request<Body>> for Edge<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let path = request.uri().path().to_owned();
        let kind = Kind::of(&path);
        let trace = match kind {
            // A node that was asked by another one begins no trace of its own.
            Kind::Work => self.traces.serve(&path, request.headers(), self.gate.is_some()),
            Kind::Check | Kind::HealthWatch | Kind::Reflection => trace::Span::default(),
        };
        let span = log_span(&path, request.headers(), &trace);
        let Some(place) = self.places.take(kind) else {
            self.metrics.request(&path, Code::ResourceExhausted);
            answered(&trace, &Status::from(overloaded()));
            let refused = Status::from(overloaded()).into_http();
            return Box::pin(async { Ok(refused) });
        };
        let mut deadline = Deadline::from_headers(request.headers());
        if kind == Kind::Check {
            deadline.0 = deadline.0.min(Instant::now() + CHECK_DURATION);
        }
        request.extensions_mut().insert(deadline);
        let metrics = Arc::clone(&self.metrics);
        let gate = self.gate.clone().filter(|_| kind == Kind::Work);
        // The one that is ready serves this request, its copy the next one.
        let ready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, ready);
        let answer = async move {
            let _turn = match gate {
                Some(gate) => match come_in(&gate, &mut request, &place).await {
                    Ok(turn) => Some(turn),
                    Err(problem) => return Ok(Status::from(problem).into_http()),
                },
                None => None,
            };
            let response = inner.call(request).await?;
            Ok(match kind {
                // These go on for as long as their streams do.
                Kind::HealthWatch | Kind::Reflection => response.map(|body| place.held_by(body)),
                Kind::Check | Kind::Work => response,
            })
        };
        let answer = async move {
            let last_moment = deadline.0 - DEADLINE_MARGIN;
            let response = match timeout_at(last_moment, answer).await {
                Ok(response) => explain(response?, &path),
                Err(_) => Status::from(deadline_exceeded()).into_http(),
            };
            metrics.request(&path, code(&response));
            debug!(outcome = ?code(&response), "answered");
            let trace = trace::Span::current();
            if trace.is_recorded() {
                let status = Status::from_header_map(response.headers());
                answered(&trace, &status.unwrap_or_else(|| Status::ok("")));
            }
            Ok(response)
        };
        if trace.is_recorded() {
            return Box::pin(trace.within(answer).instrument(span));
        }
        Box::pin(answer.instrument(span))
    }
}

/// What the lines of the log say of a request. One that can be followed by an id
/// of its caller's has it in every line; the others need `debug`, and cost nothing
/// without.
pub fn log_span(method: &str, headers: &HeaderMap, trace: &trace::Span) -> tracing::Span {
    let begun = trace.trace_id();
    let trace_id = begun.as_deref().or_else(|| trace::trace_id(headers));
    let request_id = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
    let request_id = request_id.filter(|id| id.len() <= MAX_REQUEST_ID);
    if trace_id.is_none() && request_id.is_none() {
        return debug_span!("rpc", method, org = Empty, owner = Empty, from = Empty);
    }
    info_span!("rpc", method, trace_id, request_id, org = Empty, owner = Empty, from = Empty)
}

/// Notes for logs and traces which org is asked about.
pub fn note_org(org: &OrgId) {
    tracing::Span::current().record("org", org.as_str());
    trace::Span::current().note("quotagate.org", org.as_str());
}

/// Notes how a request ended. What its caller did wrong is no failure of ours.
fn answered(span: &trace::Span, status: &Status) {
    span.note("rpc.response.status_code", code_name(status.code()));
    match status.code() {
        Code::Unknown
        | Code::DeadlineExceeded
        | Code::Unimplemented
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => span.fail(status.message()),
        _ => {}
    }
}

/// Notes among a request's extensions who makes it, and takes their turn.
async fn come_in(
    gate: &Arc<Gate>,
    request: &mut http::Request<Body>,
    place: &Place,
) -> Result<gate::Turn, Problem> {
    let caller = gate.identify(request.headers(), request.extensions()).await?;
    // It has said what it had to say, and nobody else is to see it.
    request.headers_mut().remove(http::header::AUTHORIZATION);
    if place.is_operators && !gate::is_operator(&caller) {
        return Err(overloaded());
    }
    let turn = gate.enter(&caller)?;
    request.extensions_mut().insert(caller);
    Ok(turn)
}

/// What a request takes a place among.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Work,
    /// Health checks and reflection have places of their own: an overloaded
    /// service is alive, and who abuses them takes nothing from others.
    Check,
    HealthWatch,
    Reflection,
}

impl Kind {
    fn of(path: &str) -> Self {
        match path.trim_start_matches('/').split_once('/') {
            Some(("grpc.health.v1.Health", "Watch")) => Self::HealthWatch,
            Some(("grpc.health.v1.Health", _)) => Self::Check,
            Some((service, _)) if service.starts_with("grpc.reflection.") => Self::Reflection,
            _ => Self::Work,
        }
    }
}

/// Requests that are served at once.
#[derive(Debug)]
struct Places {
    work: Arc<Semaphore>,
    operators: Arc<Semaphore>,
    checks: Arc<Semaphore>,
    health_watches: Arc<Semaphore>,
    reflections: Arc<Semaphore>,
}

impl Places {
    fn of_edge() -> Self {
        Self::new(MAX_REQUESTS, OPERATORS_PLACES)
    }

    fn new(work: usize, operators: usize) -> Self {
        let places = |count| Arc::new(Semaphore::new(count));
        Self {
            work: places(work),
            operators: places(operators),
            checks: places(MAX_CHECKS),
            health_watches: places(MAX_HEALTH_WATCHES),
            reflections: places(MAX_REFLECTIONS),
        }
    }

    fn take(&self, kind: Kind) -> Option<Place> {
        let of = |places: &Arc<Semaphore>| Arc::clone(places).try_acquire_owned().ok();
        let place = |permit| Place { _permit: permit, is_operators: false };
        match kind {
            Kind::Work => of(&self.work).map(place).or_else(|| {
                of(&self.operators).map(|permit| Place { is_operators: true, ..place(permit) })
            }),
            Kind::Check => of(&self.checks).map(place),
            Kind::HealthWatch => of(&self.health_watches).map(place),
            Kind::Reflection => of(&self.reflections).map(place),
        }
    }
}

/// A place among the requests that are served at once, given back when dropped.
#[derive(Debug)]
struct Place {
    _permit: OwnedSemaphorePermit,
    /// It is for operators only.
    is_operators: bool,
}

impl Place {
    /// The body, which keeps the place until it has ended.
    fn held_by(self, body: Body) -> Body {
        Body::new(body.map_frame(move |frame| {
            let _held = &self;
            frame
        }))
    }
}

fn overloaded() -> Problem {
    Problem::new(
        Code::ResourceExhausted,
        "TOO_MANY_REQUESTS",
        "the service has as many requests as it serves at once: try again",
    )
    .retry_after(SHED_RETRY)
}

fn deadline_exceeded() -> Problem {
    Problem::new(
        Code::DeadlineExceeded,
        "DEADLINE_EXCEEDED",
        "there was no answer before the deadline: allow more time, and repeat with the same \
         request_id",
    )
}

fn code(response: &http::Response<Body>) -> Code {
    Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code())
}

/// Gives details to an error that has none: tonic made it before a handler was
/// reached. Ours have theirs, and an error within a stream is always ours.
fn explain(response: http::Response<Body>, path: &str) -> http::Response<Body> {
    match Status::from_header_map(response.headers()) {
        Some(status) if status.code() != Code::Ok && status.details().is_empty() => {
            let mut explained = Status::from(problem_of(&status, path)).into_http();
            // For one, `grpc-accept-encoding`, which helps a caller on.
            for (name, value) in response.headers() {
                explained.headers_mut().entry(name).or_insert_with(|| value.clone());
            }
            explained
        }
        _ => response,
    }
}

fn problem_of(bare: &Status, path: &str) -> Problem {
    match bare.code() {
        Code::OutOfRange => Problem::field(
            "MESSAGE_TOO_LARGE",
            &message_of(path),
            format!("must have at most {MAX_MESSAGE_BYTES} bytes"),
        ),
        // Before a handler tonic says INTERNAL of one thing only: a request that
        // it cannot read. That is the caller's to mend.
        Code::Internal => Problem::field(
            "MALFORMED_MESSAGE",
            &malformed_field(bare.message()).unwrap_or_else(|| message_of(path)),
            format!("cannot be read: {}", bare.message().trim_start_matches(PROST_PREFIX)),
        ),
        Code::Unimplemented if bare.message().is_empty() => Problem::new(
            Code::Unimplemented,
            "UNKNOWN_METHOD",
            format!("there is no method {path}: reflection lists those that there are"),
        ),
        code => Problem::new(code, code_name(code), bare.message()),
    }
}

const PROST_PREFIX: &str = "failed to decode Protobuf message: ";

/// The field in prost's sentence about a message that it cannot decode, for
/// example `failed to decode Protobuf message: AcquireRequest.org: invalid …`:
/// the message types on the way to the field, innermost first.
fn malformed_field(sentence: &str) -> Option<String> {
    let places = sentence.strip_prefix(PROST_PREFIX)?;
    let is_name = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let mut fields: Vec<_> = places
        .split(": ")
        .map_while(|place| place.split_once('.'))
        .take_while(|(message, field)| is_name(message) && is_name(field))
        .map(|(_, field)| field)
        .collect();
    fields.reverse();
    (!fields.is_empty()).then(|| fields.join("."))
}

/// A method's request is named after it.
fn message_of(path: &str) -> String {
    format!("{}Request", path.rsplit('/').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tonic_types::StatusExt as _;
    use tower::{ServiceExt as _, service_fn};

    use super::*;
    use crate::quota::Wall;

    #[test]
    fn a_timeout_is_digits_and_a_unit_and_anything_else_is_absent() {
        let check = |text: &str, expected: Option<Duration>| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().expect("a header value"));
            assert_eq!(grpc_timeout(&headers), expected, "{text:?}");
        };
        check("1H", Some(Duration::from_secs(3_600)));
        check("2M", Some(Duration::from_secs(120)));
        check("3S", Some(Duration::from_secs(3)));
        check("99999999m", Some(Duration::from_millis(99_999_999)));
        check("5u", Some(Duration::from_micros(5)));
        check("6n", Some(Duration::from_nanos(6)));
        for none in ["", "S", "1", "1s", "1h", "+1S", "-1S", " 1S", "1 S", "123456789S", "1.5S"] {
            check(none, None);
        }
        assert_eq!(grpc_timeout(&HeaderMap::new()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_leaves_time_for_the_answer() {
        let second = Duration::from_secs(1);
        let deadline = Deadline(Instant::now() + second);
        assert_eq!(deadline.cap(Duration::ZERO), Duration::ZERO);
        assert_eq!(deadline.cap(second / 2), second / 2);
        assert_eq!(deadline.cap(second), Duration::from_millis(900));
        tokio::time::advance(Duration::from_millis(950)).await;
        assert_eq!(deadline.cap(second), Duration::ZERO);
    }

    #[test]
    fn prosts_sentence_tells_the_field() {
        let check = |sentence: &str, expected: Option<&str>| {
            assert_eq!(malformed_field(sentence).as_deref(), expected, "{sentence:?}");
        };
        check(&format!("{PROST_PREFIX}AcquireRequest.org: buffer underflow"), Some("org"));
        check(&format!("{PROST_PREFIX}B.d: A.b_c: invalid varint"), Some("b_c.d"));
        check(&format!("{PROST_PREFIX}buffer underflow"), None);
        check(&format!("{PROST_PREFIX}invalid string value: data is not UTF-8 encoded"), None);
        check("Unexpected EOF decoding stream.", None);
    }

    /// An edge that serves one request at a time.
    fn layer() -> EdgeLayer {
        let metrics = Arc::new(Metrics::new("test", Wall(0)));
        EdgeLayer::new(Places::new(1, 0), None, metrics, Traces::off())
    }

    type Answer = Result<http::Response<Body>, Infallible>;

    fn request(path: &str) -> http::Request<Body> {
        http::Request::builder().uri(path).body(Body::empty()).expect("a request")
    }

    fn status(answer: Answer) -> Status {
        let response = answer.expect("infallible");
        Status::from_header_map(response.headers()).unwrap_or_else(|| Status::ok(""))
    }

    async fn check_explained(path: &str, bare: Status, code: Code, reason: &str, field: &str) {
        let inner = service_fn(move |_| {
            let bare = bare.clone();
            async move { Answer::Ok(bare.into_http()) }
        });
        let status = status(layer().layer(inner).oneshot(request(path)).await);
        assert_eq!(status.code(), code, "{status:?}");
        let details = status.get_error_details();
        assert_eq!(details.error_info().map(|info| info.reason.as_str()), Some(reason));
        let named = details.bad_request().map_or("", |bad| &bad.field_violations[0].field);
        assert_eq!(named, field);
    }

    #[tokio::test]
    async fn what_tonic_refuses_by_itself_is_explained() {
        let acquire = "/quotagate.v1.QuotaService/Acquire";
        let invalid = Code::InvalidArgument;
        let large = Status::out_of_range("decoded message length too large");
        check_explained(acquire, large, invalid, "MESSAGE_TOO_LARGE", "AcquireRequest").await;
        let cut_off = Status::internal("Unexpected EOF decoding stream.");
        check_explained(acquire, cut_off, invalid, "MALFORMED_MESSAGE", "AcquireRequest").await;
        let garbled = Status::internal("failed to decode Protobuf message: AcquireRequest.org: x");
        check_explained(acquire, garbled, invalid, "MALFORMED_MESSAGE", "org").await;
        let unknown = Status::unimplemented("");
        check_explained("/x/Y", unknown, Code::Unimplemented, "UNKNOWN_METHOD", "").await;
        let health = Status::not_found("service not registered");
        let path = "/grpc.health.v1.Health/Check";
        check_explained(path, health, Code::NotFound, "NOT_FOUND", "").await;
        let ours = Problem::field("INVALID_REQUEST", "org", "must not be empty").into();
        check_explained(acquire, ours, invalid, "INVALID_REQUEST", "org").await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_ends_before_its_deadline_with_a_reason() {
        let never = service_fn(|_| std::future::pending::<Answer>());
        let mut request = request("/quotagate.v1.QuotaService/Acquire");
        request.headers_mut().insert("grpc-timeout", "250m".parse().expect("a header value"));
        let begin = Instant::now();
        let status = status(layer().layer(never).oneshot(request).await);
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert!(status.get_error_details().error_info().is_some());
        assert!(begin.elapsed() < Duration::from_millis(250));
    }

    #[tokio::test]
    async fn beyond_the_bound_requests_are_refused_and_health_is_not() {
        let never = service_fn(|_| std::future::pending::<Answer>());
        let edge = layer().layer(never);
        let acquire = "/quotagate.v1.QuotaService/Acquire";
        let mut first = edge.clone();
        let served = first.call(request(acquire));

        let refused = status(edge.clone().oneshot(request(acquire)).await);
        assert_eq!(refused.code(), Code::ResourceExhausted);
        let details = refused.get_error_details();
        assert!(details.error_info().is_some() && details.retry_info().is_some());
        assert!(refused.metadata().contains_key("grpc-retry-pushback-ms"), "{refused:?}");

        let mut health = edge.clone();
        let check = health.call(request("/grpc.health.v1.Health/Check"));
        assert!(tokio::time::timeout(Duration::ZERO, check).await.is_err(), "it is served");

        drop(served);
        assert_eq!(
            edge.places.work.available_permits(),
            1,
            "a request that goes away frees its place"
        );
    }
}
