//! When all places are taken, those get through who can see what is wrong and mend it.

use std::{fmt::Write as _, net::SocketAddr, time::Duration};

use quotagate::{
    auth::token::{Hex, hash},
    proto::{
        admin::v1::{
            GetOrgRequest, PutWorkspaceRequest, Workspace, admin_service_client::AdminServiceClient,
        },
        v1::{AcquireRequest, GetUsageRequest, quota_service_client::QuotaServiceClient},
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::sleep,
};
use tonic::{Code, Request, transport::Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt as _;

use crate::{
    honest::PATIENCE,
    server::Server,
    wire::{END_HEADERS, End, HEADERS, Wire, frame, head, opening, stream},
};

/// All that are served at once, but for operators.
const PLACES: u32 = 12_000;

/// A connection has so many streams.
const STREAMS: u32 = 2_000;

/// Each has a third of the places.
const GREEDY: [&str; 3] = ["greedy-1", "greedy-2", "greedy-3"];

fn config() -> String {
    let mut tokens = String::new();
    for who in GREEDY.iter().chain(&["honest", "ops"]) {
        let _ = write!(tokens, "{{name: {who}, sha256: {}}}, ", Hex(&hash(who)));
    }
    format!(
        "orgs: [{{id: acme, daily_calls: 1000, workspaces: [{{id: eu}}]}}]
auth:
  tokens: [{tokens}]
  rules:
    - {{who: ['token:ops'], orgs: ['*'], workspaces: ['*', ''], highest_class: control, may: [acquire, read, admin]}}
    - {{who: ['*'], orgs: [acme], workspaces: ['*', ''], may: [acquire, read]}}
"
    )
}

fn by<M>(who: &str, message: M) -> Request<M> {
    let mut request = Request::new(message);
    let bearer = format!("Bearer {who}").parse().expect("a header's value");
    request.metadata_mut().insert("authorization", bearer);
    request
}

/// Begins requests and never says what they ask for.
async fn begin(address: SocketAddr, who: &str, count: u32) -> Wire {
    let mut wire = Wire::open(address, true).await;
    let bearer = format!("Bearer {who}");
    let head = head("/quotagate.v1.QuotaService/Acquire", &[("authorization", &bearer)]);
    let mut begun = opening(&[]);
    for number in 0..count {
        begun.extend(frame(HEADERS, END_HEADERS, stream(number), &head));
    }
    assert_eq!(wire.send(&begun).await, None, "{who}: it is taken");
    assert_eq!(wire.end().await, End::Open, "{who}: it stays");
    wire
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_and_operators_are_answered_when_all_places_are_taken() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("quotagate.yaml");
    std::fs::write(&path, config()).expect("written");
    let mut server = Server::start(&path, "warn").await;
    let before = server.memory_kib();
    let endpoint = Endpoint::from_shared(format!("http://{}", server.grpc)).expect("an address");
    let channel = endpoint.timeout(PATIENCE).connect().await.expect("it listens");
    let mut quota = QuotaServiceClient::new(channel.clone());
    let ask = || AcquireRequest {
        org: "acme".into(),
        operation: "rest".into(),
        ..AcquireRequest::default()
    };
    quota.acquire(by("honest", ask())).await.expect("there is room");

    let mut held = Vec::new();
    for connection in 0..PLACES / STREAMS {
        let who = GREEDY[connection as usize % GREEDY.len()];
        held.push(begin(server.grpc, who, STREAMS).await);
    }
    // Those that are refused give their stream back: the rest of the places is taken
    // when the first honest caller is refused.
    let refused = loop {
        match quota.acquire(by("honest", ask())).await {
            Ok(_) => sleep(Duration::from_millis(20)).await,
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    let details = refused.get_error_details();
    let reason = details.error_info().map(|info| info.reason.as_str());
    assert_eq!(reason, Some("TOO_MANY_REQUESTS"), "{refused:?}");
    assert!(details.retry_info().is_some_and(|info| info.retry_delay.is_some()), "{refused:?}");

    // Who can mend it sees it, and gets calls, too.
    let mut admin = AdminServiceClient::new(channel.clone());
    let org = || "acme".to_owned();
    let workspace = Some(Workspace { id: "eu".into(), daily_calls: 7, ..Workspace::default() });
    let put = PutWorkspaceRequest { org: org(), workspace, ..PutWorkspaceRequest::default() };
    for _ in 0..3 {
        admin.get_org(by("ops", GetOrgRequest { org: org() })).await.expect("operators see it");
        admin.put_workspace(by("ops", put.clone())).await.expect("and change it");
        quota.get_usage(by("ops", GetUsageRequest { org: org() })).await.expect("and usage");
        quota.acquire(by("ops", ask())).await.expect("and get calls");
        // The places for operators are no way in for others.
        let refused = quota.acquire(by("honest", ask())).await.expect_err("it is not one");
        assert_eq!(refused.code(), Code::ResourceExhausted);
        let stranger = quota.acquire(by("stranger", ask())).await.expect_err("nobody knows it");
        assert_eq!(stranger.code(), Code::Unauthenticated);
        let check = HealthCheckRequest::default();
        HealthClient::new(channel.clone()).check(check).await.expect("it is alive");
        for path in ["/livez", "/readyz", "/metrics"] {
            let answer = get(server.http, path).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        }
    }
    server.check_alive("a flood of requests that never end");
    println!("{PLACES} requests held: {} KiB, before {before} KiB", server.memory_kib());
    assert!(server.memory_kib() < before + 256 * 1024, "from {before} KiB");

    // Who gives up makes room.
    drop(held);
    while quota.acquire(by("honest", ask())).await.is_err() {
        sleep(Duration::from_millis(20)).await;
    }
}

async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it answers");
    answer
}
