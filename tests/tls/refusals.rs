//! Who is not let in, and what is counted then.

use std::time::Duration;

use quotagate::{
    server::{Connections, Service},
    tls::{Bounds, ClientAuth, ClientFiles},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    pki::{Authority, Files, Issued, Valid},
    process::metrics,
    world::{PATIENCE, PREFACE, ask, client, handshake, is_let_in, serve, until},
};

/// A service that wants certificates by gRPC; what it counts is read in the clear.
async fn strict(files: &Files, bounds: Bounds) -> Service {
    let tls = Some(files.server(ClientAuth::Require));
    serve(Connections { tls, http_in_the_clear: true, bounds }, None).await
}

/// Waits until a refusal has been counted so often.
async fn counts(service: &Service, cause: &str, times: usize) {
    let http = service.http_addr();
    let line = format!(
        r#"quotagate_connections_refused_total{{listener="grpc",cause="{cause}"}} {times}"#
    );
    until(&line, || async { metrics(http).await.lines().any(|l| l == line) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_shows_no_good_certificate_is_refused_and_counted() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let files = Files::new(&ours.issue(&["localhost"], Valid::Now), &ours.pem());
    let service = strict(&files, Bounds::default()).await;
    let good = ours.issue(&["spiffe://prod/inbox"], Valid::Now);
    let rows: [(Option<Issued>, &str, &str, &str, &str); 7] = [
        (
            Some(theirs.issue(&["a"], Valid::Now)),
            "ours",
            "localhost",
            "certificate_unknown_authority",
            "wrong CA",
        ),
        (
            Some(ours.issue(&["a"], Valid::Once)),
            "ours",
            "localhost",
            "certificate_expired",
            "expired",
        ),
        (
            Some(ours.issue(&["a"], Valid::Later)),
            "ours",
            "localhost",
            "certificate_not_yet_valid",
            "not yet valid",
        ),
        (None, "ours", "localhost", "no_certificate", "none"),
        (
            Some(good.clone()),
            "theirs",
            "localhost",
            "refused_by_client",
            "the server's is not trusted",
        ),
        (
            Some(good.clone()),
            "ours",
            "elsewhere",
            "refused_by_client",
            "the server's has another name",
        ),
        (Some(good.clone()), "ours", "localhost", "", "good"),
    ];
    let mut refused_by_client = 0;
    for (issued, ca, name, cause, what) in rows {
        let ca = if ca == "ours" { ours.pem() } else { theirs.pem() };
        let stream = handshake(service.grpc_addr(), "h2", &ca, issued.as_ref(), name).await;
        assert_eq!(is_let_in(stream).await, cause.is_empty(), "{what}");
        if !cause.is_empty() {
            refused_by_client += usize::from(cause == "refused_by_client");
            let times = if cause == "refused_by_client" { refused_by_client } else { 1 };
            counts(&service, cause, times).await;
        }
    }
    let by_http1 =
        handshake(service.grpc_addr(), "http/1.1", &ours.pem(), Some(&good), "localhost").await;
    assert!(!is_let_in(by_http1).await, "it speaks another protocol");
    counts(&service, "incompatible", 1).await;
    service.stop().await;
}

/// A ClientHello of TLS 1.1, without extensions.
fn old_hello() -> Vec<u8> {
    let mut hello = vec![3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 4, 0xc0, 0x13, 0, 0x2f, 1, 0]);
    let length = u8::try_from(hello.len()).expect("it is short");
    let mut message = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
    message.extend(hello);
    message
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_tls_of_today_is_refused_and_counted() {
    let ours = Authority::new("ours");
    let files = Files::new(&ours.issue(&["localhost"], Valid::Now), &ours.pem());
    let service = strict(&files, Bounds::default()).await;
    for (bytes, cause) in [
        (PREFACE.to_vec(), "not_tls"),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "not_tls"),
        (old_hello(), "incompatible"),
        (Vec::new(), "gone"),
    ] {
        let before = service_count(&service, cause).await;
        let mut stream = TcpStream::connect(service.grpc_addr()).await.expect("it listens");
        stream.write_all(&bytes).await.expect("it is connected");
        stream.shutdown().await.expect("it is connected");
        let _ = stream.read_to_end(&mut Vec::new()).await;
        counts(&service, cause, before + 1).await;
    }
    service.stop().await;
}

async fn service_count(service: &Service, cause: &str) -> usize {
    let begin =
        format!(r#"quotagate_connections_refused_total{{listener="grpc",cause="{cause}"}} "#);
    let text = metrics(service.http_addr()).await;
    let mut counts = text.lines().filter_map(|line| line.strip_prefix(&begin));
    counts.next().and_then(|count| count.parse().ok()).expect("it is counted")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_stop_in_the_middle_hold_up_nobody_and_are_closed() {
    const SLOW: usize = 100;
    let ours = Authority::new("ours");
    let files = Files::new(&ours.issue(&["localhost"], Valid::Now), &ours.pem());
    let service = strict(&files, Bounds { total: 1_000, per_address: 1_000 }).await;
    let mut slow = Vec::new();
    for n in 0..SLOW {
        let mut stream = TcpStream::connect(service.grpc_addr()).await.expect("it listens");
        let hello = old_hello();
        // Some say nothing at all.
        stream.write_all(&hello[..hello.len() * (n % 3) / 3]).await.expect("it is connected");
        slow.push(stream);
    }
    let honest = Files::new(&ours.issue(&["a"], Valid::Now), &ours.pem());
    let client = client(service.grpc_addr(), honest.client());
    timeout(PATIENCE, ask(&client)).await.expect("nobody holds it up").expect("it is let in");
    assert_eq!(service_count(&service, "late").await, 0, "they are still there");
    counts(&service, "late", SLOW).await;
    for mut stream in slow {
        let end = timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await;
        end.expect("it is closed").ok();
    }
    ask(&client).await.expect("its connection stands");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_beyond_the_bounds_are_closed_at_once() {
    let ours = Authority::new("ours");
    let files = Files::new(&ours.issue(&["localhost"], Valid::Now), &ours.pem());
    for (bounds, cause) in [
        (Bounds { total: 100, per_address: 8 }, "too_many_from_address"),
        (Bounds { total: 8, per_address: 100 }, "too_many"),
    ] {
        let service = strict(&files, bounds).await;
        let good = ours.issue(&["a"], Valid::Now);
        let mut open = Vec::new();
        for n in 0..9 {
            let connected =
                handshake(service.grpc_addr(), "h2", &ours.pem(), Some(&good), "localhost").await;
            assert_eq!(connected.is_ok(), n < 8, "{cause}: {n}");
            if let Ok(mut stream) = connected {
                stream.write_all(PREFACE).await.expect("it reads");
                assert!(stream.read(&mut [0; 64]).await.is_ok_and(|read| read > 0), "{n}");
                open.push(stream);
            }
        }
        counts(&service, cause, 1).await;
        // Whoever leaves makes room.
        open.pop();
        until("there is room again", || async {
            let again =
                handshake(service.grpc_addr(), "h2", &ours.pem(), Some(&good), "localhost").await;
            is_let_in(again).await
        })
        .await;
        service.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_optional_where_that_is_said_and_checked_where_it_is_shown() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let files = Files::new(&ours.issue(&["localhost"], Valid::Now), &ours.pem());
    let tls = Some(files.server(ClientAuth::Optional));
    let service = serve(Connections { tls, ..Connections::default() }, None).await;
    let bare = ClientFiles { ca: Some(files.path("ca.pem")), ..ClientFiles::default() };
    ask(&client(service.grpc_addr(), bare)).await.expect("it needs none");
    let stranger = theirs.issue(&["a"], Valid::Now);
    let refused =
        handshake(service.grpc_addr(), "h2", &ours.pem(), Some(&stranger), "localhost").await;
    assert!(!is_let_in(refused).await);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_library_says_why_it_does_not_connect() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let files = Files::new(&ours.issue(&["localhost"], Valid::Now), &ours.pem());
    let service = strict(&files, Bounds::default()).await;
    let server = format!("localhost:{}", service.grpc_addr().port());
    let good = ours.issue(&["a"], Valid::Now);
    let trusting = |ca: &Authority, issued: &Issued| Files::new(issued, &ca.pem());
    for (files, name, why) in [
        (trusting(&theirs, &good), None, "UnknownIssuer"),
        (trusting(&ours, &good), Some("elsewhere"), "not valid for name"),
    ] {
        let tls = ClientFiles { name: name.map(str::to_owned), ..files.client() };
        let builder = quotagate::client::Client::builder(&server).tls(tls);
        let error = builder.timeout(Duration::from_secs(1)).connect().await.expect_err(why);
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        assert!(cause.contains(why), "{why}: {error}: {cause}");
    }
    service.stop().await;
}
