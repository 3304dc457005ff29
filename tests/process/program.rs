//! The real program as a child process.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use quotagate::proto::{
    admin::v1::admin_service_client::AdminServiceClient,
    v1::{
        AcquireRequest, GetUsageRequest, LimitUsage, OrgUsage, Permit, acquire_response::Outcome,
        quota_service_client::QuotaServiceClient,
    },
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};
use tonic::transport::{Channel, Endpoint};

use crate::{
    loopback,
    process::{keeps_its_invariants, program, signal},
};

/// A directory with a configuration and a place for the store. It is removed at
/// the end of the test.
pub struct Home {
    dir: TempDir,
    /// Where its programs listen, on any port: nobody else does.
    address: String,
}

/// A running `quotagate serve`. It is killed when it is dropped.
pub struct Program {
    child: Child,
    pub grpc_addr: SocketAddr,
    http_addr: SocketAddr,
    pub quota: QuotaServiceClient<Channel>,
    pub admin: AdminServiceClient<Channel>,
}

impl Home {
    /// A home with this configuration.
    pub fn new(config_yaml: &str) -> Self {
        let dir = TempDir::new().expect("a place for temporary files");
        let home = Self { dir, address: loopback::own().to_string() };
        home.configure(config_yaml);
        home
    }

    /// Another configuration from now on, at once as a whole.
    pub fn configure(&self, config_yaml: &str) {
        let next = self.dir.path().join("next.yaml");
        std::fs::write(&next, config_yaml).expect("it is writable");
        std::fs::rename(next, self.config()).expect("it is writable");
    }

    /// Where the store is.
    pub fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("quotagate.yaml")
    }

    /// `quotagate serve` on free ports of the home's address.
    pub fn command(&self) -> Command {
        self.command_on(&self.address, &self.address)
    }

    /// `quotagate serve` on these addresses.
    pub fn command_on(&self, grpc: &str, http: &str) -> Command {
        let mut command = program(&["serve", "--grpc", grpc, "--http", http]);
        command.arg("--config").arg(self.config());
        command.arg("--store").arg(store_address(&self.store()));
        command
    }

    /// Starts the program, which does not serve yet.
    pub fn spawn(&self) -> Child {
        let mut command = self.command();
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn().expect("the program runs")
    }

    /// Starts the program; it serves when this returns.
    pub async fn start(&self) -> Program {
        Program::serving(self.spawn()).await
    }
}

impl Program {
    /// Waits until the program has said where it listens.
    pub async fn serving(mut child: Child) -> Self {
        let stdout = child.stdout.take().expect("it is piped");
        let mut lines = BufReader::new(stdout).lines();
        let mut told = async |name: &str| loop {
            let line = lines.next_line().await.expect("it is text").expect("it starts");
            if let Some(addr) = line.strip_prefix(name) {
                let addr = addr.trim().trim_start_matches("http://").trim_end_matches('/');
                break addr.parse::<SocketAddr>().expect("an address");
            }
        };
        let (grpc_addr, http_addr) = (told("gRPC ").await, told("HTTP ").await);
        // What is printed later has somewhere to go.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let endpoint = Endpoint::from_shared(format!("http://{grpc_addr}")).expect("an address");
        let channel = endpoint.tcp_nodelay(true).connect_lazy();
        Self {
            child,
            grpc_addr,
            http_addr,
            quota: QuotaServiceClient::new(channel.clone()),
            admin: AdminServiceClient::new(channel),
        }
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// kill -9.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("it runs");
    }

    /// SIGTERM; the program must end in order.
    pub async fn stop(mut self) {
        signal(self.pid(), "TERM");
        let status = self.child.wait().await.expect("it ends");
        assert_eq!(status.code(), Some(0), "SIGTERM ends it in order");
    }

    /// Asks without waiting; a denial is an answer.
    pub async fn acquire(&self, request: AcquireRequest) -> Outcome {
        let answer = self.quota.clone().acquire(request).await.expect("it decides");
        answer.into_inner().outcome.expect("it says what")
    }

    /// Asks for calls that there is room for.
    pub async fn permit(&self, request: AcquireRequest) -> Permit {
        match self.acquire(request).await {
            Outcome::Permit(permit) => permit,
            Outcome::Denial(denial) => panic!("{denial:?}"),
        }
    }

    /// Every invariant that is watched has held since the start.
    pub async fn keeps_its_invariants(&self) {
        keeps_its_invariants(self.http_addr).await;
    }

    /// What is counted for an org.
    pub async fn usage(&self, org: &str) -> OrgUsage {
        let request = GetUsageRequest { org: org.into() };
        let answer = self.quota.clone().get_usage(request).await.expect("it answers");
        answer.into_inner().usage.expect("it has usage")
    }
}

/// Runs a command that must end by itself, as a failure that says these things.
#[track_caller]
pub fn fails(mut command: Command, says: &[String]) -> impl Future<Output = ()> {
    let place = std::panic::Location::caller();
    async move {
        let Output { status, stdout, stderr } = command.output().await.expect("it runs");
        let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        assert_eq!(status.code(), Some(1), "{place}:\n{stdout}{stderr}");
        for part in says {
            assert!(stderr.contains(part), "{place}: {part:?} is not told:\n{stderr}");
        }
    }
}

/// A value of `--store`.
pub fn store_address(dir: &Path) -> String {
    format!("file:{}", dir.display())
}

/// One limit of an org: its own, a workspace's or a user's by name.
pub fn limit<'a>(usage: &'a OrgUsage, identity: &str, name: &str) -> &'a LimitUsage {
    let users = usage.execution_users.iter().flat_map(|user| &user.limits);
    let all = usage.limits.iter().chain(users);
    let mut named = all.filter(|limit| limit.identity == identity && limit.name == name);
    named.next().unwrap_or_else(|| panic!("{identity} has no {name}: {usage:#?}"))
}
