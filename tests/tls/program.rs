//! The real program: `serve` with TLS, and the commands that ask it.

use std::{
    net::SocketAddr,
    process::{Output, Stdio},
};

use quotagate::tls::ClientAuth;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    process::Child,
    time::timeout,
};

use crate::{
    pki::{Authority, Files, Issued, Valid},
    process::{program, signal},
    world::{PATIENCE, get, handshake},
};

/// `serve` as it was told to, and where it listens.
struct Served {
    child: Child,
    grpc: SocketAddr,
    http: SocketAddr,
}

impl Served {
    async fn start(files: &Files, more: &[&str]) -> Self {
        let path = |name: &str| files.path(name).to_string_lossy().into_owned();
        let (cert, key, ca) = (path("cert.pem"), path("key.pem"), path("ca.pem"));
        let mut arguments = vec!["serve", "--store", "memory:", "--log-format", "json"];
        arguments.extend(["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
        arguments.extend(["--tls-cert", &cert, "--tls-key", &key, "--tls-client-ca", &ca]);
        arguments.extend(more);
        let mut child = program(&arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let mut lines = BufReader::new(child.stdout.take().expect("it is a pipe")).lines();
        let mut next = async || {
            let line = timeout(PATIENCE, lines.next_line()).await.expect("it starts");
            line.expect("it is text").expect("it goes on")
        };
        let grpc = next().await;
        let grpc = grpc.strip_prefix("gRPC   ").and_then(|a| a.parse().ok()).expect("an address");
        let http = next().await;
        let http = http.strip_prefix("HTTP   https://").and_then(|a| a.strip_suffix('/'));
        let http = http.and_then(|a| a.parse().ok()).expect("an address");
        Self { child, grpc, http }
    }

    /// Ends it: what it has logged.
    async fn stop(mut self) -> String {
        signal(self.child.id().expect("it runs"), "TERM");
        let mut log = String::new();
        let mut stderr = self.child.stderr.take().expect("it is a pipe");
        timeout(PATIENCE, stderr.read_to_string(&mut log)).await.expect("it ends").expect("text");
        self.child.wait().await.expect("it ends");
        log
    }
}

/// Runs a command that is secured by these files.
async fn run(server: &str, files: &Files, line: &str) -> Output {
    run_showing(server, files, true, line).await
}

/// The same, and it shows a certificate or none.
async fn run_showing(server: &str, files: &Files, shows: bool, line: &str) -> Output {
    let mut command = program(&line.split_whitespace().collect::<Vec<_>>());
    command.env("QUOTAGATE_SERVER", server).env("QUOTAGATE_TLS_CA", files.path("ca.pem"));
    if shows {
        command
            .env("QUOTAGATE_TLS_CERT", files.path("cert.pem"))
            .env("QUOTAGATE_TLS_KEY", files.path("key.pem"));
    }
    timeout(PATIENCE, command.output()).await.expect("it ends").expect("it runs")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_serves_grpc_and_http_over_tls_and_its_commands_ask_so() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let files = Files::new(&ours.issue(&["localhost"], Valid::Now), &ours.pem());
    let served = Served::start(&files, &["--tls-client-auth", "require"]).await;
    let caller: Issued = ours.issue(&["inbox.example"], Valid::Now);
    let good = Files::new(&caller, &ours.pem());
    let server = format!("https://localhost:{}", served.grpc.port());
    let acquire = "acquire --org acme --operation conversation-entries.get --execution-user alice";
    for (files, line, code, told) in [
        (&good, acquire.to_owned(), 0, "granted: 1 call"),
        (&good, "usage --org acme".to_owned(), 0, "acme"),
        (&good, format!("{acquire} --server localhost:{}", served.grpc.port()), 0, "granted"),
        (&good, format!("{acquire} --tls-name elsewhere"), 4, "not valid for name"),
        (&good, format!("{acquire} --server http://localhost:{}", served.grpc.port()), 4, ""),
        (
            &good,
            "exec --org acme --operation rest --execution-user alice -- env".to_owned(),
            0,
            "QUOTAGATE_TLS_CERT=",
        ),
        (&Files::new(&caller, &theirs.pem()), acquire.to_owned(), 4, "UnknownIssuer"),
    ] {
        let output = run(&server, files, &line).await;
        let (out, err) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{line}\n{out}\n{err}");
        assert!(out.contains(told) || err.contains(told), "{line}: no {told:?}\n{out}\n{err}");
    }
    let web = handshake(served.http, "http/1.1", &ours.pem(), Some(&caller), "localhost").await;
    let answer = get(web.expect("it is let in"), "/livez").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("alive\n"), "{answer}");
    let log = served.stop().await;
    assert!(log.contains("a connection was refused"), "{log}");
    for secret in [caller.key.lines().nth(1), Some("PRIVATE KEY")] {
        assert!(!log.contains(secret.expect("a line of the key")), "{log}");
    }
}

/// Over TLS 1.3 the refusal comes when the client has made its handshake, and what
/// it does then may break in several ways: so each is tried some times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_whose_certificate_is_refused_says_why_and_what_to_do() {
    const TIMES: usize = 5;
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let files = Files::new(&ours.issue(&["localhost"], Valid::Now), &ours.pem());
    let served = Served::start(&files, &["--tls-client-auth", "require"]).await;
    let server = format!("https://localhost:{}", served.grpc.port());
    let of = |authority: &Authority, valid| {
        Files::new(&authority.issue(&["inbox.example"], valid), &ours.pem())
    };
    for (files, shows, told, remedy) in [
        (of(&ours, Valid::Now), false, "it wants a client certificate", "--tls-cert FILE"),
        (of(&theirs, Valid::Now), true, "does not trust the authority", "--tls-client-ca"),
        (of(&ours, Valid::Once), true, "has expired", "renew it"),
        (of(&ours, Valid::Later), true, "not valid yet", "clocks"),
    ] {
        for _ in 0..TIMES {
            let output = run_showing(&server, &files, shows, "usage --org acme").await;
            let err = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(4), "{told}: {err}");
            let first = format!("error: {server} does not let this client in\n");
            assert!(err.starts_with(&first), "{told}: {err}");
            assert!(err.contains(told) && err.contains(remedy), "{told}: {err}");
            assert!(!err.contains("is it running"), "it is: {err}");
        }
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serve_says_what_is_wrong_with_its_files_and_with_where_it_listens() {
    let ours = Authority::new("ours");
    let one = ours.issue(&["localhost"], Valid::Now);
    let other = ours.issue(&["localhost"], Valid::Now);
    let mixed = Issued { cert: one.cert.clone(), key: other.key };
    let empty = Issued { cert: String::new(), key: one.key.clone() };
    let there = ["--http", "0.0.0.0:0"];
    for (issued, client_auth, more, told) in [
        (&mixed, ClientAuth::Require, &[][..], "cert.pem"),
        (&empty, ClientAuth::Require, &[], "there is no certificate in it"),
        (&one, ClientAuth::Optional, &there, "callers are not identified"),
        (&one, ClientAuth::Require, &["--http-tls", "off", there[0], there[1]], "encrypted"),
    ] {
        let files = Files::new(issued, &ours.pem());
        let path = |name: &str| files.path(name).to_string_lossy().into_owned();
        let (cert, key, ca) = (path("cert.pem"), path("key.pem"), path("ca.pem"));
        let auth = if client_auth == ClientAuth::Require { "require" } else { "optional" };
        let mut arguments = vec!["serve", "--store", "memory:", "--grpc", "127.0.0.1:0"];
        arguments.extend(["--tls-cert", &cert, "--tls-key", &key, "--tls-client-ca", &ca]);
        arguments.extend(["--tls-client-auth", auth]);
        if more.is_empty() {
            arguments.extend(["--http", "127.0.0.1:0"]);
        }
        arguments.extend(more);
        let output = timeout(PATIENCE, program(&arguments).output()).await.expect("it ends");
        let output = output.expect("it runs");
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && err.contains(told), "no {told:?}: {err}");
    }
}
