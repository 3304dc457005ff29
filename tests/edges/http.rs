//! HTTP on loopback.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use quotagate::{
    auth::{Authority, session::Seal},
    config::PrincipalLimits,
    metrics::{self, Metrics},
    quota::Wall,
    rpc::Gate,
    tls::{Acceptor, Protocol},
    web::{self, Options, Services},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};

use tonic::transport::server::TcpIncoming;

use super::fake::{self, Fake};

/// The HTTP edge over the fakes.
struct Edge {
    address: SocketAddr,
    draining: Arc<AtomicBool>,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

/// An answer as it came.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Edge {
    async fn start(options: Options) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let draining = Arc::new(AtomicBool::new(false));
        let seen = draining.clone();
        let services = Services {
            quota: Fake,
            admin: Fake,
            metrics: Arc::new(Metrics::new("1.2.3", Wall(0))),
            gate: Gate::new(Authority::open(), PrincipalLimits::default()),
            seal: Seal::random(),
            readiness: Arc::new(move || {
                seen.load(Ordering::Relaxed).then(|| "the process is stopping".to_owned())
            }),
        };
        let metrics = Arc::clone(&services.metrics);
        let acceptor = Acceptor::plain(metrics::Listener::Http, Protocol::Http1, metrics);
        let incoming = acceptor.take(TcpIncoming::from(listener));
        let (stop, stopped) = oneshot::channel();
        let stopped = async move { _ = stopped.await };
        let served = tokio::spawn(web::serve(incoming, services, options, stopped));
        Self { address, draining, stop, served }
    }

    async fn send(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("it answers");
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    /// `line` is method and path.
    async fn ask(&self, line: &str, headers: &str, body: &str) -> Answer {
        let length = body.len();
        self.send(&format!(
            "{line} HTTP/1.1\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        ))
        .await
    }

    /// Sends a request and checks status, a part of the head, and members of
    /// the JSON answer by pointer.
    #[track_caller]
    fn check<'a>(
        &'a self,
        line: &'a str,
        body: &'a str,
        status: u16,
        members: &'a [(&'a str, Value)],
    ) -> impl Future<Output = Answer> + 'a {
        let place = std::panic::Location::caller();
        async move {
            let answer = self.ask(line, "host: localhost\r\n", body).await;
            assert_eq!(answer.status, status, "{place}: {line}: {answer:?}");
            if !members.is_empty() {
                let value: Value = serde_json::from_str(&answer.body).expect("JSON");
                for (pointer, expected) in members {
                    let found = value.pointer(pointer).unwrap_or(&Value::Null);
                    assert_eq!(found, expected, "{place}: {line}: {pointer} of {value}");
                }
            }
            answer
        }
    }

    async fn stop(self) {
        _ = self.stop.send(());
        self.served.await.expect("it ends in order");
    }
}

#[tokio::test]
async fn probes_metrics_and_the_page_are_served() {
    let edge = Edge::start(Options::default()).await;
    assert_eq!(edge.check("GET /livez", "", 200, &[]).await.body, "alive\n");
    assert_eq!(edge.check("GET /readyz", "", 200, &[]).await.body, "ready\n");
    edge.draining.store(true, Ordering::Relaxed);
    let answer = edge.check("GET /readyz", "", 503, &[]).await;
    assert_eq!(answer.body, "not ready: the process is stopping\n");
    let answer = edge.check("GET /metrics", "", 200, &[]).await;
    assert!(answer.head.contains("application/openmetrics-text; version=1.0.0"), "{answer:?}");
    assert!(answer.body.ends_with("# EOF\n"), "{answer:?}");
    let answer = edge.check("GET /", "", 200, &[]).await;
    assert!(answer.body.contains("/metrics") && !answer.body.contains("{version}"));
    assert!(answer.head.contains("content-security-policy"), "{answer:?}");
    edge.check("GET /nothing", "", 404, &[("/error/status", json!("NOT_FOUND"))]).await;
    edge.check("POST /livez", "", 405, &[("/error/code", json!(405))]).await;
    edge.stop().await;
}

#[tokio::test]
async fn decisions_are_status_and_json() {
    let edge = Edge::start(Options::default()).await;
    let answer = edge
        .check(
            "POST /api/v1/orgs/acme:acquire",
            r#"{"operation":"rest","trafficClass":"TRAFFIC_CLASS_BULK","calls":3,"newer":true}"#,
            200,
            &[
                ("/permit/permitId", json!("acme:TRAFFIC_CLASS_BULK")),
                ("/permit/calls", json!(3)),
                ("/permit/ttl", json!("5s")),
                ("/permit/executionUser", json!("127.0.0.1")),
            ],
        )
        .await;
    assert!(answer.head.contains(&format!("quotagate-owner: {}", fake::OWNER)), "{answer:?}");
    assert!(answer.head.contains("content-type: application/json"), "{answer:?}");
    assert!(answer.head.contains("cache-control: no-store"), "{answer:?}");

    let reason = ("/denial/reason", json!("DENIAL_REASON_ORG_LIMIT"));
    let answer = edge
        .check("POST /api/v1/orgs/full:acquire", "{}", 429, std::slice::from_ref(&reason))
        .await;
    assert!(answer.head.contains("retry-after: 13"), "rounded up: {answer:?}");
    let line = "POST /api/v1/orgs/full-for-an-unknown-time:acquire";
    let answer = edge.check(line, "", 429, &[reason]).await;
    assert!(!answer.head.contains("retry-after"), "{answer:?}");
    edge.stop().await;
}

#[tokio::test]
async fn every_route_reaches_its_method() {
    let edge = Edge::start(Options::default()).await;
    let e = &edge;
    // A permit id may contain what the method is split off by.
    e.check("POST /api/v1/permits/a:b:release", "", 200, &[("/returnedCalls", json!(99))]).await;
    let body = r#"{"permitId":"a:b","unusedCalls":2}"#;
    e.check("POST /api/v1/permits/a:b:release", body, 200, &[("/returnedCalls", json!(2))]).await;
    let body = r#"{"httpStatus":503}"#;
    e.check("POST /api/v1/permits/p:report", body, 200, &[("/advice", json!("ADVICE_BACK_OFF"))])
        .await;
    let path = "GET /api/v1/orgs/acme/usage";
    e.check(path, "", 200, &[("/usage/limits/0/max", json!("15000"))]).await;
    let path = "GET /api/v1/orgs?page_size=5";
    e.check(path, "", 200, &[("/orgs/0/org/id", json!("first-of-5"))]).await;
    let path = "GET /api/v1/orgs?page_size=5&page_token=x%2Fy";
    e.check(path, "", 200, &[("/orgs/0/org/id", json!("x/y"))]).await;
    e.check("GET /api/v1/orgs/acme", "", 200, &[("/entry/org/id", json!("acme"))]).await;
    let body = r#"{"org":{"dailyCalls":"5000"}}"#;
    let members = [("/entry/org/id", json!("acme")), ("/entry/org/dailyCalls", json!("5000"))];
    e.check("PUT /api/v1/orgs/acme", body, 200, &members).await;
    e.check("DELETE /api/v1/orgs/acme", "", 200, &[("", json!({}))]).await;
    let path = "DELETE /api/v1/orgs/acme?etag=8";
    e.check(path, "", 409, &[("/error/status", json!("ABORTED"))]).await;
    let path = "PUT /api/v1/orgs/acme/workspaces/caf%C3%A9%20eu";
    e.check(path, "", 200, &[("/entry/org/workspaces/0/id", json!("café eu"))]).await;
    let path = "DELETE /api/v1/orgs/acme/workspaces/eu";
    e.check(path, "", 200, &[("/entry/org/id", json!("acme without eu"))]).await;
    let path = "PUT /api/v1/orgs/acme/users/alice";
    e.check(path, "", 200, &[("/entry/org/executionUsers/0", json!("alice"))]).await;
    e.check("DELETE /api/v1/orgs/acme/users/alice?validate_only", "", 200, &[]).await;
    e.check("GET /api/v1/cluster", "", 200, &[("/shards", json!(256))]).await;
    edge.stop().await;
}

#[tokio::test]
async fn what_is_malformed_is_refused_with_its_place() {
    let edge = Edge::start(Options::default()).await;
    let bad = ("/error/status", json!("INVALID_ARGUMENT"));
    let reason = |reason: &str| ("/error/details/0/reason", json!(reason));
    let acquire = "POST /api/v1/orgs/acme:acquire";
    for body in ["{", "[]", r#"{"calls":-1}"#, r#"{"mode":"CHECK"}"#, r#"{"calls":1e99}"#] {
        edge.check(acquire, body, 400, &[bad.clone(), reason("BAD_JSON")]).await;
    }
    let field = ("/error/details/1/fieldViolations/0/field", json!("org"));
    edge.check(acquire, r#"{"org":"other"}"#, 400, &[bad.clone(), reason("BAD_FIELD"), field])
        .await;
    edge.check("GET /api/v1/orgs?page_size=-1", "", 400, std::slice::from_ref(&bad)).await;
    edge.check(
        "DELETE /api/v1/orgs/acme?validate_only=perhaps",
        "",
        400,
        std::slice::from_ref(&bad),
    )
    .await;
    edge.check("POST /api/v1/orgs/acme", "", 404, &[reason("NO_SUCH_PATH")]).await;
    edge.check("POST /api/v1/orgs/acme:steal", "", 404, &[reason("NO_SUCH_PATH")]).await;
    let large = format!(r#"{{"org":"{}"}}"#, "x".repeat(64 << 10));
    edge.check(acquire, &large, 413, &[reason("BODY_TOO_LARGE")]).await;
    edge.check("GET /api/v1/orgs/%FF/usage", "", 400, &[]).await;
    edge.check("GET /livez", "", 200, &[]).await;
    edge.stop().await;
}

#[tokio::test]
async fn errors_of_the_service_keep_their_details() {
    let edge = Edge::start(Options::default()).await;
    let violation = json!([{"field": "max_wait", "description": "must be at most 10m"}]);
    edge.check(
        "POST /api/v1/orgs/malformed:acquire",
        "",
        400,
        &[
            ("/error/code", json!(400)),
            ("/error/message", json!("max_wait is too long")),
            ("/error/details/0/domain", json!("quotagate")),
            ("/error/details/1/fieldViolations", violation),
        ],
    )
    .await;
    edge.check("GET /api/v1/orgs/unknown", "", 404, &[("/error/status", json!("NOT_FOUND"))]).await;
    let members = [("/error/details/1/retryDelay", json!("1.5s"))];
    let answer = edge.check("POST /api/v1/orgs/away:acquire", "", 503, &members).await;
    assert!(answer.head.contains("retry-after: 2"), "{answer:?}");
    edge.stop().await;
}

#[tokio::test]
async fn writes_come_from_the_services_own_pages_and_names() {
    let options = Options { hosts: vec!["quota.example".into()], ..Options::default() };
    let edge = Edge::start(options).await;
    let acquire = "POST /api/v1/orgs/acme:acquire";
    for (line, headers, status) in [
        (acquire, "host: localhost\r\n", 200),
        (acquire, "host: quota.example\r\norigin: https://quota.example\r\n", 200),
        (acquire, "host: evil.example\r\n", 403),
        (acquire, "", 403),
        (acquire, "host: localhost\r\norigin: https://evil.example\r\n", 403),
        ("DELETE /api/v1/orgs/acme", "host: evil.example\r\n", 403),
        ("PUT /api/v1/orgs/acme", "host: localhost\r\norigin: null\r\n", 403),
        ("GET /api/v1/orgs/acme", "host: metrics.internal\r\n", 200),
    ] {
        let answer = edge.ask(line, headers, "").await;
        assert_eq!(answer.status, status, "{line} {headers}: {answer:?}");
        assert_eq!(
            answer.body.contains("are refused") || answer.body.contains("needs a Host"),
            status == 403
        );
    }
    edge.stop().await;
}

#[tokio::test]
async fn more_requests_than_are_bounded_are_refused_and_probes_still_answered() {
    let edge = Edge::start(Options { max_requests: 1, ..Options::default() }).await;
    let mut slow = TcpStream::connect(edge.address).await.expect("it listens");
    slow.write_all(
        b"POST /api/v1/orgs/slow:acquire HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n",
    )
    .await
    .expect("it reads");
    // The slow one takes its place at some moment; until then others find it free.
    let refused = loop {
        let answer = edge.ask("GET /api/v1/cluster", "host: localhost\r\n", "").await;
        if answer.status != 200 {
            break answer;
        }
    };
    assert_eq!(refused.status, 429, "{refused:?}");
    assert!(refused.head.contains("retry-after: 1"), "{refused:?}");
    edge.check("GET /livez", "", 200, &[]).await;
    // A client that goes away gives its place back.
    drop(slow);
    while edge.ask("GET /api/v1/cluster", "host: localhost\r\n", "").await.status != 200 {}
    edge.stop().await;
}

#[tokio::test]
async fn what_is_not_http_is_answered_and_harms_nobody() {
    let edge = Edge::start(Options::default()).await;
    for (request, status) in [
        ("\u{0}\u{0}\r\n\r\n".to_owned(), 400),
        (format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(64 << 10)), 431),
        (
            "POST /api/v1/orgs/acme:acquire HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             transfer-encoding: chunked\r\n\r\nzz\r\n"
                .to_owned(),
            400,
        ),
    ] {
        assert_eq!(edge.send(&request).await.status, status);
    }
    edge.check("GET /livez", "", 200, &[]).await;
    edge.stop().await;
}
