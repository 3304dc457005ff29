//! `quotagate serve` as a process: its configuration file while it runs, its
//! end, and its start on what it has left.

use std::{net::SocketAddr, path::Path, process::Stdio};

use quotagate::proto::v1::{self, quota_service_client::QuotaServiceClient};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    process::{Child, Command},
};
use tonic::transport::Channel;

use crate::talk::acquire;

/// The running program; it is killed with the test.
pub struct Serve {
    child: Child,
    pub quota: QuotaServiceClient<Channel>,
    pub grpc: SocketAddr,
    http: SocketAddr,
}

impl Serve {
    pub async fn start(store: &str, config: Option<&Path>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quotagate"));
        command.args(["serve", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--store", store]);
        if let Some(config) = config {
            command.arg("--config").arg(config);
        }
        command.env_clear().stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("it starts");
        // Nobody reads its log any more, nor, soon, what it prints: no reason
        // for it to end.
        drop(child.stderr.take());
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut told = async |name: &str| loop {
            let line = lines.next_line().await.expect("text").expect("it says where it listens");
            if let Some(rest) = line.strip_prefix(name) {
                return rest.trim().to_owned();
            }
        };
        let grpc = told("gRPC").await;
        let http = told("HTTP").await;
        let http = http.trim_start_matches("http://").trim_end_matches('/');
        let quota = QuotaServiceClient::connect(format!("http://{grpc}")).await;
        Self {
            child,
            quota: quota.expect("it listens"),
            grpc: grpc.parse().expect("an address"),
            http: http.parse().expect("an address"),
        }
    }

    async fn total_max(&mut self) -> u64 {
        let request = v1::GetUsageRequest { org: "acme".into() };
        let usage = self.quota.get_usage(request).await.expect("it is shown").into_inner().usage;
        usage.expect("the usage").limits[0].max
    }

    /// Reads the metrics until they have this line, all on one connection.
    async fn until_metrics_have(&self, line: &str) {
        let mut stream = BufReader::new(TcpStream::connect(self.http).await.expect("it listens"));
        loop {
            stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").await.expect("it reads");
            let mut length = 0;
            let mut head = String::new();
            while head != "\r\n" {
                head.clear();
                stream.read_line(&mut head).await.expect("it answers");
                if let Some(value) = head.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().expect("a length");
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await.expect("the whole answer");
            let text = String::from_utf8(body).expect("text");
            if text.lines().any(|present| present == line) {
                return;
            }
        }
    }

    pub async fn waiting(&mut self) -> u32 {
        let request = v1::GetUsageRequest { org: "acme".into() };
        let usage = self.quota.get_usage(request).await.expect("it is shown").into_inner().usage;
        usage.expect("the usage").waiting
    }

    pub async fn signal(&self, name: &str) {
        let id = self.child.id().expect("it runs").to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &id]).status().await;
        assert!(sent.expect("kill runs").success());
    }

    /// Sends SIGTERM and gives back the exit code.
    async fn terminate(mut self) -> Option<i32> {
        self.signal("TERM").await;
        self.child.wait().await.expect("it ends").code()
    }
}

#[tokio::test]
async fn a_good_file_is_put_in_force_and_a_bad_one_changes_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("quotagate.yaml");
    let write = |text: &str| {
        // As editors do it: whole at once.
        let new = path.with_extension("new");
        std::fs::write(&new, text).expect("written");
        std::fs::rename(&new, &path).expect("renamed");
    };
    write("orgs: [{id: acme, daily_calls: 11}]");
    let mut serve = Serve::start("memory:", Some(&path)).await;
    assert_eq!(serve.total_max().await, 11);
    let reloads = |outcome: &str, count: u32| {
        format!(r#"quotagate_config_reloads_total{{outcome="{outcome}"}} {count}"#)
    };
    write("orgs: [{id: acme, daily_calls: 22}]");
    serve.until_metrics_have(&reloads("applied", 1)).await;
    assert_eq!(serve.total_max().await, 22);
    write("orgs: [{id: acme, daily_calls: many}]");
    serve.until_metrics_have(&reloads("rejected", 1)).await;
    assert_eq!(serve.total_max().await, 22, "the last good one");
    write("orgs: [{id: acme, daily_calls: 33}]");
    serve.until_metrics_have(&reloads("applied", 2)).await;
    assert_eq!(serve.total_max().await, 33);
}

#[tokio::test]
async fn a_restart_goes_on_with_the_same_counts() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = format!("file:{}", directory.path().join("data").display());
    let mut serve = Serve::start(&store, None).await;
    let request = v1::AcquireRequest {
        calls: 70,
        execution_user: "u".into(),
        ..acquire("conversation-entries.get")
    };
    serve.quota.acquire(request.clone()).await.expect("it is decided");
    assert_eq!(serve.terminate().await, Some(0), "SIGTERM is an orderly end");
    let mut serve = Serve::start(&store, None).await;
    let outcome = serve.quota.acquire(request).await.expect("it is decided").into_inner().outcome;
    let Some(v1::acquire_response::Outcome::Denial(denial)) = outcome else {
        panic!("{outcome:?}")
    };
    let limit = denial.limit.expect("the limit that bound");
    assert_eq!((limit.used_by_caller + limit.held, limit.max), (70, 90), "{limit:?}");
}

/// A service that had been paused read all the requests that a client had given
/// up meanwhile as an attack, and ended the connection with whatever else waited
/// on it.
#[tokio::test]
async fn requests_given_up_while_the_service_was_paused_do_not_end_their_connection() {
    let mut serve = Serve::start("memory:", None).await;
    let deletion = v1::AcquireRequest {
        execution_user: "u".into(),
        calls: 10,
        ..acquire("conversations.delete")
    };
    serve.quota.acquire(deletion.clone()).await.expect("it is decided");
    let (mut quota, max_wait) =
        (serve.quota.clone(), Some(prost_types::Duration { seconds: 300, nanos: 0 }));
    let waits =
        tokio::spawn(
            async move { quota.acquire(v1::AcquireRequest { max_wait, ..deletion }).await },
        );
    while serve.waiting().await == 0 {
        tokio::task::yield_now().await;
    }

    serve.signal("STOP").await;
    let given_up: Vec<_> = (0..100)
        .map(|_| {
            let mut quota = serve.quota.clone();
            tokio::spawn(async move { quota.acquire(acquire("rest")).await })
        })
        .collect();
    let sends_what_is_to_be_sent = async || {
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
    };
    sends_what_is_to_be_sent().await;
    given_up.iter().for_each(tokio::task::JoinHandle::abort);
    sends_what_is_to_be_sent().await;
    serve.signal("CONT").await;

    assert_eq!(serve.waiting().await, 1, "it waits on");
    assert!(!waits.is_finished(), "{:?}", waits.await);
}
