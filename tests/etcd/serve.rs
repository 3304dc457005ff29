//! `quotagate serve` before its etcd is there.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use quotagate::{
    client::Client,
    proto::v1::{AcquireRequest, GetUsageRequest, Permit, acquire_response::Outcome},
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader as AsyncReader},
    process::Child,
    time::{sleep, timeout},
};
use tonic::Code;

use crate::{
    etcd::{Certificates, Etcd, Which},
    process::{program, signal},
};

/// Longer than anything may take here, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn serve_waits_for_its_store_says_so_and_can_be_stopped() {
    let mut serve = Command::new(env!("CARGO_BIN_EXE_quotagate"))
        .args(["serve", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"])
        .args(["--peer", "127.0.0.1:0"])
        .args(["--store", "etcd://127.0.0.1:1,127.0.0.1:2"])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let stderr = BufReader::new(serve.stderr.take().expect("it is piped"));
    let mut lines = stderr.lines().map_while(Result::ok);
    let waits = lines.find(|line| line.contains("waiting for the store"));
    let waits = waits.expect("it says that it waits");
    for member in ["127.0.0.1:1", "127.0.0.1:2"] {
        assert!(waits.contains(member), "{waits}");
    }
    let terminate = format!("kill -TERM {}", serve.id());
    let sent = Command::new("sh").args(["-c", &terminate]).status();
    assert!(sent.is_ok_and(|status| status.success()), "it runs");
    let told: Vec<_> = lines.collect();
    let status = serve.wait().expect("it ends");
    assert!(status.success(), "SIGTERM ends it in order: {told:#?}");
}

/// A node that has an etcd for itself, and shows it a certificate.
struct Node {
    child: Child,
    client: Client,
}

impl Node {
    async fn start(etcd: &Etcd, more: &[&str]) -> Self {
        let Certificates { ca, cert, key, .. } = etcd.certificates();
        let store = etcd.store_address("smoke").replace("etcd:", "etcds:");
        let any = "127.0.0.1:0";
        let mut child = program(&["serve", "--node", "one", "--store", &store])
            .args(["--grpc", any, "--http", any, "--peer", any])
            .args([Path::new("--store-ca"), ca, Path::new("--store-cert"), cert])
            .args([Path::new("--store-key"), key])
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program runs");
        let mut lines = AsyncReader::new(child.stdout.take().expect("it is piped")).lines();
        let server = loop {
            let line = timeout(PATIENCE, lines.next_line()).await.expect("it starts");
            let line = line.expect("it is text").expect("it says where it listens");
            if let Some(address) = line.strip_prefix("gRPC") {
                break address.trim().to_owned();
            }
        };
        let client = Client::builder(&server).timeout(PATIENCE).build().expect("an address");
        Self { child, client }
    }

    /// The permit of an Acquire, once the node has its place.
    async fn permit(&self, request_id: &str) -> Permit {
        let request = || AcquireRequest {
            org: "acme".into(),
            operation: "rest".into(),
            request_id: request_id.into(),
            ..AcquireRequest::default()
        };
        let decided = async {
            loop {
                match self.client.acquire(request()).await {
                    Ok(answer) => break answer,
                    Err(status) if status.code() == Code::Unavailable => {
                        sleep(Duration::from_millis(50)).await;
                    }
                    Err(status) => panic!("{status:?}"),
                }
            }
        };
        match timeout(PATIENCE, decided).await.expect("it is ready").outcome {
            Some(Outcome::Permit(permit)) => permit,
            other => panic!("{other:?}"),
        }
    }

    async fn used(&self) -> u64 {
        let request = GetUsageRequest { org: "acme".into() };
        let answer = self.client.get_usage(request).await.expect("it is shown");
        answer.usage.expect("the usage").limits[0].used_by_caller
    }

    async fn stop(mut self) {
        let pid = self.child.id().expect("it runs");
        signal(pid, "TERM");
        let status = timeout(PATIENCE, self.child.wait()).await.expect("it ends");
        assert!(status.expect("it is our child").success(), "in order");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_counts_on_in_an_etcd_that_wants_its_certificate() {
    let Some(mut etcd) = Etcd::start_tls(1, Which::Current) else { return };
    let node = Node::start(&etcd, &["--create-cluster"]).await;
    for request in ["a", "b", "c"] {
        node.permit(request).await;
    }
    assert_eq!(node.used().await, 3);
    // The connection to etcd breaks, and is made again over TLS.
    etcd.kill9(0);
    etcd.restart(0);
    node.permit("d").await;
    node.stop().await;

    // Another process goes on from what was written down: nothing is lost, and
    // nothing is given twice.
    let node = Node::start(&etcd, &[]).await;
    node.permit("e").await;
    assert_eq!(node.used().await, 5);
    node.stop().await;
}
