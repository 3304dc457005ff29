//! What every request passes before its handler, and its answer afterwards: a
//! bound on how many are served at once, the question who calls, the caller's
//! deadline, a span, and an explanation for errors that tonic makes by itself.
//! `carried` has what of it passes one that came in a message with others.

mod carried;
mod seen;

use std::{future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration};

use http_body_util::BodyExt as _;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};
use tonic::{
    Code, Request, Status,
    body::Body,
    codegen::http::{self, HeaderMap, HeaderName, uri::PathAndQuery},
};
use tracing::{Instrument as _, debug, debug_span, field::Empty, info_span};

pub use self::{
    carried::Carried,
    seen::{Known, Seen},
};
use super::{
    convert::quota::MAX_WAIT,
    gate::{self, Gate},
    status::Problem,
    unary::Sent,
};
use crate::{
    metrics::{Metrics, code_name},
    quota::OrgId,
    tls::Peer,
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

/// The longest wait and some time to answer: the longest that anything takes,
/// also a message that never comes.
const MAX_DURATION: Duration = Duration::from_secs(MAX_WAIT.as_secs() + 30);

/// An answer needs this long to be of use before the caller's deadline.
const ANSWER_MARGIN: Duration = Duration::from_millis(100);

/// Before the caller's deadline, so that it still hears why.
const DEADLINE_MARGIN: Duration = Duration::from_millis(10);

/// Where an answer without a message has its code.
static STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// How long the caller listens. A text would have to be made a name first, for each
/// request.
static TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// What proxies and callers name a request by, in their logs and ours.
static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A longer one is nobody's name for a request.
const MAX_REQUEST_ID: usize = 128;

/// A burst is over after about this time.
const SHED_RETRY: Duration = Duration::from_secs(1);

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
        if wait.is_zero() {
            return wait;
        }
        wait.min(self.0.saturating_duration_since(Instant::now()).saturating_sub(ANSWER_MARGIN))
    }

    fn from_headers(headers: &HeaderMap, seen: Seen) -> Self {
        let timeout = if seen.timeout { grpc_timeout(headers) } else { None };
        let timeout = timeout.map_or(MAX_DURATION, |timeout| timeout.min(MAX_DURATION));
        Self(Instant::now() + timeout)
    }
}

/// `grpc-timeout`: at most eight digits and a unit. A value that is none is
/// taken for absent, as tonic takes it.
fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(&TIMEOUT)?.to_str().ok()?;
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

/// What every request to a port passes. Clones share their places.
#[derive(Clone, Debug)]
pub struct Edge {
    places: Places,
    gate: Option<Arc<Gate>>,
    metrics: Arc<Metrics>,
    traces: Traces,
}

impl Edge {
    /// The edge to clients: the gate lets their requests in.
    pub fn for_clients(gate: Arc<Gate>, metrics: Arc<Metrics>, traces: Traces) -> Self {
        let places = Places::new(MAX_REQUESTS, OPERATORS_PLACES);
        Self { places, gate: Some(gate), metrics, traces }
    }

    /// The edge to other nodes. Who calls was asked at theirs.
    pub fn for_peers(metrics: Arc<Metrics>, traces: Traces) -> Self {
        Self { places: Places::new(MAX_REQUESTS, 0), gate: None, metrics, traces }
    }

    /// Has a request that `peer` sent answered by `serve`, if it may come in.
    pub async fn serve<'a, B, F>(
        &self,
        request: Box<http::Request<B>>,
        peer: &'a Peer,
        serve: impl FnOnce(Box<http::Request<B>>, Known<'a>) -> F,
    ) -> http::Response<Sent>
    where
        F: Future<Output = http::Response<Sent>>,
    {
        // The path, without a copy, for when the request is gone.
        let target = request.uri().path_and_query().cloned();
        let path = target.as_ref().map_or("", PathAndQuery::path);
        let kind = Kind::of(path);
        let trace = match kind {
            // A node that was asked by another one begins no trace of its own.
            Kind::Work => self.traces.serve(path, request.headers(), self.gate.is_some()),
            Kind::Check | Kind::HealthWatch | Kind::Reflection => trace::Span::default(),
        };
        let seen = Seen::among(request.headers());
        let span = log_span(path, request.headers(), seen, &trace);
        let Some(place) = self.places.take(kind) else {
            self.metrics.request(path, Code::ResourceExhausted);
            answered(&trace, &Status::from(overloaded()));
            return Status::from(overloaded()).into_http();
        };
        let mut deadline = Deadline::from_headers(request.headers(), seen);
        if kind == Kind::Check {
            deadline.0 = deadline.0.min(Instant::now() + CHECK_DURATION);
        }
        let known = Known { seen, deadline, peer, caller: None };
        let answer = pin!(self.answer(request, known, path, kind, place, serve));
        // Most have neither, and go without what either costs.
        match (trace.is_recorded(), span.is_disabled()) {
            (false, true) => answer.await,
            (false, false) => answer.instrument(span).await,
            (true, _) => trace.within(answer).instrument(span).await,
        }
    }

    async fn answer<'a, B, F>(
        &self,
        mut request: Box<http::Request<B>>,
        mut known: Known<'a>,
        path: &str,
        kind: Kind,
        place: Place,
        serve: impl FnOnce(Box<http::Request<B>>, Known<'a>) -> F,
    ) -> http::Response<Sent>
    where
        F: Future<Output = http::Response<Sent>>,
    {
        let deadline = known.deadline;
        let gate = self.gate.as_ref().filter(|_| kind == Kind::Work);
        let mut answer = pin!(async {
            let _turn = match gate {
                Some(gate) => match come_in(gate, &mut request, &mut known, &place).await {
                    Ok(turn) => Some(turn),
                    Err(problem) => return Status::from(problem).into_http(),
                },
                None => None,
            };
            let response = serve(request, known).await;
            match kind {
                // These go on for as long as their streams do.
                Kind::HealthWatch | Kind::Reflection => response.map(|body| place.held_by(body)),
                Kind::Check | Kind::Work => response,
            }
        });
        // What is answered at once needs no timer.
        let at_once = poll_fn(|context| Poll::Ready(answer.as_mut().poll(context))).await;
        let response = match at_once {
            Poll::Ready(response) => response,
            Poll::Pending => match Box::pin(timeout_at(deadline.0 - DEADLINE_MARGIN, answer)).await
            {
                Ok(response) => response,
                Err(_) => Status::from(deadline_exceeded()).into_http(),
            },
        };
        let (response, code) = match code(&response) {
            Code::Ok => (response, Code::Ok),
            _ => {
                let explained = explain(response, path);
                let code = code(&explained);
                (explained, code)
            }
        };
        self.metrics.request(path, code);
        debug!(outcome = ?code, "answered");
        let trace = trace::Span::current();
        if trace.is_recorded() {
            let status = Status::from_header_map(response.headers());
            answered(&trace, &status.unwrap_or_else(|| Status::ok("")));
        }
        response
    }
}

/// What the lines of the log say of a request. One that can be followed by an id
/// of its caller's has it in every line; the others need `debug`, and cost nothing
/// without.
pub fn log_span(
    method: &str,
    headers: &HeaderMap,
    seen: Seen,
    trace: &trace::Span,
) -> tracing::Span {
    let begun = trace.trace_id();
    let sent = || if seen.trace { trace::trace_id(headers) } else { None };
    let trace_id = begun.as_deref().or_else(sent);
    let request_id = if seen.request_id { headers.get(&REQUEST_ID) } else { None };
    let request_id = request_id.and_then(|id| id.to_str().ok());
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

/// Notes of a request who makes it, and takes their turn.
async fn come_in<B>(
    gate: &Arc<Gate>,
    request: &mut http::Request<B>,
    known: &mut Known<'_>,
    place: &Place,
) -> Result<gate::Turn, Problem> {
    let has_shown = known.seen.credentials;
    let bearer = if has_shown { gate::bearer(request.headers()) } else { None };
    let caller = gate.identify(bearer, Some(known.peer)).await?;
    if has_shown {
        // It has said what it had to say, and nobody else is to see it.
        request.headers_mut().remove(http::header::AUTHORIZATION);
    }
    if place.is_operators && !gate::is_operator(&caller) {
        return Err(overloaded());
    }
    let turn = gate.enter(&caller)?;
    known.caller = Some(caller);
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
#[derive(Clone, Debug)]
struct Places {
    work: Arc<Semaphore>,
    operators: Arc<Semaphore>,
    checks: Arc<Semaphore>,
    health_watches: Arc<Semaphore>,
    reflections: Arc<Semaphore>,
}

impl Places {
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
    fn held_by(self, body: Sent) -> Sent {
        Sent::Any(Body::new(body.map_frame(move |frame| {
            let _held = &self;
            frame
        })))
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

/// An answer that is an error says so in its headers: it has no message, after which
/// trailers would.
fn code(response: &http::Response<Sent>) -> Code {
    response.headers().get(&STATUS).map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()))
}

/// Gives details to an error that has none: tonic made it before a handler was
/// reached. Ours have theirs, and an error within a stream is always ours.
fn explain(response: http::Response<Sent>, path: &str) -> http::Response<Sent> {
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
    use std::{
        future::pending,
        net::Ipv4Addr,
        task::{Context, Waker},
    };

    use tonic_types::StatusExt as _;

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
    fn edge() -> Edge {
        let metrics = Arc::new(Metrics::new("test", Wall(0)));
        Edge { places: Places::new(1, 0), gate: None, metrics, traces: Traces::off() }
    }

    fn somebody() -> Peer {
        let address = (Ipv4Addr::LOCALHOST, 1).into();
        Peer { remote: address, local: address, is_encrypted: false, certificate: None }
    }

    fn request(path: &str) -> Box<http::Request<Body>> {
        Box::new(http::Request::builder().uri(path).body(Body::empty()).expect("a request"))
    }

    fn status(response: &http::Response<Sent>) -> Status {
        Status::from_header_map(response.headers()).unwrap_or_else(|| Status::ok(""))
    }

    async fn check_explained(path: &str, bare: Status, code: Code, reason: &str, field: &str) {
        let answer =
            edge().serve(request(path), &somebody(), |_, _| async { bare.into_http() }).await;
        let status = status(&answer);
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
        let mut request = request("/quotagate.v1.QuotaService/Acquire");
        request.headers_mut().insert("grpc-timeout", "250m".parse().expect("a header value"));
        let begin = Instant::now();
        let status = status(&edge().serve(request, &somebody(), |_, _| pending()).await);
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert!(status.get_error_details().error_info().is_some());
        assert!(begin.elapsed() < Duration::from_millis(250));
    }

    #[tokio::test]
    async fn beyond_the_bound_requests_are_refused_and_health_is_not() {
        let (edge, peer) = (edge(), somebody());
        let acquire = "/quotagate.v1.QuotaService/Acquire";
        let mut first = Box::pin(edge.serve(request(acquire), &peer, |_, _| pending()));
        let mut context = Context::from_waker(Waker::noop());
        assert!(first.as_mut().poll(&mut context).is_pending());

        let refused = status(&edge.serve(request(acquire), &peer, |_, _| pending()).await);
        assert_eq!(refused.code(), Code::ResourceExhausted);
        let details = refused.get_error_details();
        assert!(details.error_info().is_some() && details.retry_info().is_some());
        assert!(refused.metadata().contains_key("grpc-retry-pushback-ms"), "{refused:?}");

        let health = request("/grpc.health.v1.Health/Check");
        let check = pin!(edge.serve(health, &peer, |_, _| pending()));
        assert!(check.poll(&mut context).is_pending(), "it is served");

        drop(first);
        assert_eq!(
            edge.places.work.available_permits(),
            1,
            "a request that goes away frees its place"
        );
    }
}
