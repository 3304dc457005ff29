//! Traces, as a collector sees them: of a real service, of two nodes, and of the
//! program.
#![cfg(all(feature = "client", feature = "server"))]

mod collector;
#[path = "../common/fake_etcd/mod.rs"]
mod fake_etcd;
#[path = "../common/process.rs"]
mod process;

use std::{net::SocketAddr, path::PathBuf, process::Stdio, sync::Arc, time::Duration};

use collector::{Collector, Kept};
use fake_etcd::FakeEtcd;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use process::{metrics, program, signal};
use quotagate::{
    config::Config,
    proto::{
        admin::v1::{Org, PutOrgRequest, admin_service_client::AdminServiceClient},
        v1::{AcquireRequest, AcquireResponse, quota_service_client::QuotaServiceClient},
    },
    server::{Options, Service, cluster},
    trace,
};
use rcgen::generate_simple_self_signed;
use tokio::{
    io::{
        AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, copy_bidirectional,
    },
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};
use tonic::{Request, Response, transport::Channel};

/// Longer than anything may take here, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// The span of the caller in its trace.
const CALLER: &str = "b7ad6b7169203331";

const ACQUIRE: &str = "quotagate.v1.QuotaService/Acquire";
const PEER_ACQUIRE: &str = "quotagate.peer.v1.PeerService/Acquire";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_trace_goes_from_the_caller_by_the_edge_and_the_owner_to_the_store() {
    let (collector, address) = Collector::start().await;
    let etcd = FakeEtcd::new();
    let etcd = etcd.listen(1).await.expect("a free port");
    let [a, b] = [node("a", etcd, address, true).await, node("b", etcd, address, false).await];
    let start = Instant::now();
    let mut asked = 0_u128;
    // Until an org is found that the other node owns.
    let (id, owner) = loop {
        assert!(start.elapsed() < PATIENCE, "nothing is forwarded");
        asked += 1;
        let id = format!("{asked:032x}");
        let answer = acquire(a.grpc_addr(), &format!("org-{asked}"), &id, "01").await;
        let owner = answer.ok().and_then(|answer| owner(&answer));
        if let Some(owner) = owner.filter(|owner| *owner == b.grpc_addr().to_string()) {
            break (id, owner);
        }
        sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(owner, b.grpc_addr().to_string());

    let names = [ACQUIRE, "forward", PEER_ACQUIRE, "wait for the store", "reserve"];
    // A node that was asked a moment too early has said so, which is told of, too.
    let is_there = |spans: &[Kept], name: &str| {
        spans.iter().any(|kept| kept.span.name == name && !kept.has_failed())
    };
    let spans = collector.until(&id, |spans| names.iter().all(|name| is_there(spans, name))).await;
    let find = |name: &str, parent: Option<&Kept>| {
        let is_child = |kept: &Kept| parent.is_none_or(|parent| kept.parent() == parent.id());
        let is_found =
            |kept: &&Kept| kept.span.name == name && !kept.has_failed() && is_child(kept);
        spans.iter().find(is_found).unwrap_or_else(|| panic!("there is no {name} in {spans:#?}"))
    };
    let (edge, forward) = (find(ACQUIRE, None), find("forward", None));
    let owner = find(PEER_ACQUIRE, Some(forward));
    let (wait, reserve) = (find("wait for the store", None), find("reserve", None));
    // (span, kind, the node that tells of it, its parent)
    let rows: [(&Kept, SpanKind, &str, String); 5] = [
        (edge, SpanKind::Server, "a", CALLER.to_owned()),
        (forward, SpanKind::Client, "a", edge.id()),
        (owner, SpanKind::Server, "b", forward.id()),
        (wait, SpanKind::Internal, "b", owner.id()),
        (reserve, SpanKind::Internal, "b", owner.id()),
    ];
    for (kept, kind, node, parent) in rows {
        let name = &kept.span.name;
        assert_eq!((kept.kind(), kept.parent()), (kind, parent), "{name}");
        assert_eq!((&*kept.service, &*kept.node), ("quotagate", node), "{name}");
        assert!(kept.span.start_time_unix_nano <= kept.span.end_time_unix_nano, "{name}");
        assert!(!kept.has_failed(), "{kept:#?}");
    }
    let org = Some(format!("org-{asked}"));
    for (kept, key, value) in [
        (edge, "quotagate.org", org.clone()),
        (edge, "rpc.system.name", Some("grpc".to_owned())),
        (edge, "rpc.method", Some(ACQUIRE.to_owned())),
        (edge, "rpc.response.status_code", Some("OK".to_owned())),
        (forward, "quotagate.owner", Some("b".to_owned())),
        (forward, "server.address", b.peer_addr().map(|address| address.to_string())),
        (owner, "quotagate.from", Some("a".to_owned())),
        (owner, "quotagate.org", org.clone()),
        (owner, "quotagate.decision", Some("granted".to_owned())),
        (reserve, "quotagate.org", org),
        (reserve, "quotagate.store.writes", Some("1".to_owned())),
    ] {
        assert_eq!(kept.attribute(key), value, "{} {key}", kept.span.name);
    }
    a.stop().await;
    b.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_caller_does_not_record_is_not_recorded_and_the_end_sends_the_rest() {
    let (collector, address) = Collector::start().await;
    // (the share that begins a trace, the flags that come, whether it is recorded)
    for (share, flags, is_recorded) in [
        ("0", Some("01"), true),
        ("0", Some("00"), false),
        ("1", Some("00"), false),
        ("0", None, false),
        ("1", None, true),
    ] {
        let before = collector.spans(None).len();
        let service = alone(address, share).await;
        let id = format!("{:032x}", 7);
        let answer = match flags {
            Some(flags) => acquire(service.grpc_addr(), "acme", &id, flags).await,
            None => client(service.grpc_addr()).acquire(request("acme")).await,
        };
        answer.expect("it is decided");
        // What has been recorded until then is sent before it ends.
        service.stop().await;
        let count = collector.spans(None).len() - before;
        assert_eq!(count > 0, is_recorded, "{share} {flags:?}: {count}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_by_http_is_recorded_by_its_route() {
    let (collector, address) = Collector::start().await;
    let service = alone(address, "0").await;
    let id = format!("{:032x}", 9);
    let mut stream = TcpStream::connect(service.http_addr()).await.expect("it listens");
    let get = format!(
        "GET /api/v1/orgs/acme/usage HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         traceparent: 00-{id}-{CALLER}-01\r\n\r\n"
    );
    stream.write_all(get.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it is text");
    service.stop().await;
    let spans = collector.spans(Some(&id));
    let [span] = &*spans else { panic!("{spans:#?}") };
    assert_eq!(span.span.name, "GET /api/v1/orgs/{org}/usage");
    assert_eq!((span.kind(), span.parent()), (SpanKind::Server, CALLER.to_owned()));
    for (key, value) in [
        ("http.request.method", "GET"),
        ("http.route", "/api/v1/orgs/{org}/usage"),
        ("http.response.status_code", "200"),
        ("quotagate.org", "acme"),
    ] {
        assert_eq!(span.attribute(key).as_deref(), Some(value), "{key}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_down_harms_no_request_and_is_counted() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = nobody.local_addr().expect("it is bound");
    drop(nobody);
    let service = alone(address, "1").await;
    for org in 0..20 {
        let answer = client(service.grpc_addr()).acquire(request(&format!("org-{org}"))).await;
        answer.expect("it is decided");
    }
    let start = Instant::now();
    while !is_counted(&metrics(service.http_addr()).await, "failed") {
        assert!(start.elapsed() < PATIENCE, "nothing is counted");
        sleep(Duration::from_millis(50)).await;
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_with_tls_is_known_by_its_authority() {
    let (collector, address) = Collector::start().await;
    let issued = generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a certificate");
    let (cert, key) = (issued.cert.pem(), issued.signing_key.serialize_pem());
    let other = generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a certificate");
    let secured = in_front_of(address, &cert, &key).await;
    let home = tempfile::tempdir().expect("a place for temporary files");
    for (name, ca, is_sent) in [("own.pem", cert, true), ("other.pem", other.cert.pem(), false)] {
        let path = home.path().join(name);
        std::fs::write(&path, ca).expect("it is writable");
        let before = collector.spans(None).len();
        let service = serve(Options {
            traces: Some(to(&format!("https://{secured}"), Some(path), "1")),
            ..Options::in_memory(Config::built_in())
        });
        let service = service.await;
        client(service.grpc_addr()).acquire(request("acme")).await.expect("it is decided");
        service.stop().await;
        assert_eq!(collector.spans(None).len() > before, is_sent, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_follows_opentelemetrys_variables_and_its_log_names_the_trace() {
    let (collector, address) = Collector::start().await;
    let mut command = program(&["serve", "--grpc=127.0.0.1:0", "--http=127.0.0.1:0"]);
    command.args(["--store=memory:", "--log-format=json"]);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{address}"));
    command.env("OTEL_SERVICE_NAME", "limits");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program runs");
    let mut told = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let line = told.next_line().await.expect("it is text").expect("it starts");
    let grpc = line.trim_start_matches("gRPC").trim().parse().expect("an address");

    let id = format!("{:032x}", 11);
    let org = Org { id: "acme".to_owned(), daily_calls: 100, ..Org::default() };
    let mut put = traced(PutOrgRequest { org: Some(org), ..PutOrgRequest::default() }, &id, "01");
    put.metadata_mut().insert("x-request-id", "my-own-id".parse().expect("a value"));
    AdminServiceClient::new(channel(grpc)).put_org(put).await.expect("it is put");
    signal(child.id().expect("it runs"), "TERM");
    let mut log = String::new();
    let mut stderr = child.stderr.take().expect("it is piped");
    stderr.read_to_string(&mut log).await.expect("it is text");
    assert!(child.wait().await.expect("it ends").success(), "{log}");

    let spans = collector.spans(Some(&id));
    assert!(spans.iter().any(|kept| kept.parent() == CALLER), "{spans:#?}");
    assert!(spans.iter().all(|kept| kept.service == "limits"), "{spans:#?}");
    let line = log.lines().find(|line| line.contains("\"target\":\"audit\""));
    let line: serde_json::Value =
        serde_json::from_str(line.expect(&log)).expect("a line of the log is JSON");
    let span = &line["span"];
    assert_eq!(span["trace_id"], id, "{line}");
    assert_eq!(span["request_id"], "my-own-id", "{line}");
    assert_eq!(span["org"], "acme", "{line}");
}

/// A node that records nothing of its own accord.
async fn node(name: &str, etcd: SocketAddr, collector: SocketAddr, create: bool) -> Service {
    let options = Options {
        store: format!("etcd://{etcd}/traces").parse().expect("an address"),
        node: name.to_owned(),
        cluster: Some(cluster::Options {
            peer: "127.0.0.1:0".parse().expect("an address"),
            advertise: None,
            advertise_peer: None,
            token: None,
            tls: None,
            create,
            cold_start_closed: false,
            lease: Duration::from_secs(10),
        }),
        traces: Some(to(&format!("http://{collector}"), None, "0")),
        ..Options::in_memory(Config::built_in())
    };
    serve(options).await
}

/// A service alone, of whose requests a share begins a trace.
async fn alone(collector: SocketAddr, share: &str) -> Service {
    let traces = Some(to(&format!("http://{collector}"), None, share));
    serve(Options { traces, ..Options::in_memory(Config::built_in()) }).await
}

async fn serve(options: Options) -> Service {
    Service::start(options).await.expect("it starts")
}

fn to(endpoint: &str, ca: Option<PathBuf>, share: &str) -> trace::Collector {
    let (endpoint, share) = (endpoint.parse().expect("a URL"), share.parse().expect("a share"));
    trace::Collector { endpoint, ca, share }
}

fn channel(address: SocketAddr) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{address}")).expect("an address");
    endpoint.connect_lazy()
}

fn client(address: SocketAddr) -> QuotaServiceClient<Channel> {
    QuotaServiceClient::new(channel(address))
}

fn request(org: &str) -> AcquireRequest {
    AcquireRequest {
        org: org.to_owned(),
        operation: "conversation-entries.get".to_owned(),
        execution_user: "alice".to_owned(),
        ..AcquireRequest::default()
    }
}

/// A message within the caller's trace.
fn traced<M>(message: M, trace_id: &str, flags: &str) -> Request<M> {
    let mut request = Request::new(message);
    let parent = format!("00-{trace_id}-{CALLER}-{flags}");
    request.metadata_mut().insert("traceparent", parent.parse().expect("a value"));
    request
}

async fn acquire(
    address: SocketAddr,
    org: &str,
    trace_id: &str,
    flags: &str,
) -> Result<Response<AcquireResponse>, tonic::Status> {
    client(address).acquire(traced(request(org), trace_id, flags)).await
}

/// The node that has decided.
fn owner(answer: &Response<AcquireResponse>) -> Option<String> {
    Some(answer.metadata().get("quotagate-owner")?.to_str().ok()?.to_owned())
}

fn is_counted(metrics: &str, outcome: &str) -> bool {
    let begin = format!("quotagate_trace_spans_total{{outcome=\"{outcome}\"}} ");
    let value = metrics.lines().find_map(|line| line.strip_prefix(&begin));
    value.expect("it is there") != "0"
}

/// Takes TLS off, before a listener that knows none.
async fn in_front_of(address: SocketAddr, cert: &str, key: &str) -> SocketAddr {
    let chain = vec![CertificateDer::from_pem_slice(cert.as_bytes()).expect("PEM")];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("they fit");
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let secured = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut inside = TcpStream::connect(address).await?;
                let mut outside = acceptor.accept(stream).await?;
                copy_bidirectional(&mut outside, &mut inside).await
            });
        }
    });
    secured
}
