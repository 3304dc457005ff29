//! One node of the cluster: a real process, and what may happen to it.

use std::{
    collections::BTreeMap,
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use quotagate::{
    proto::{
        admin::v1::{
            GetClusterRequest, GetClusterResponse, admin_service_client::AdminServiceClient,
        },
        v1::quota_service_client::QuotaServiceClient,
    },
    store::keys::SHARDS,
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Child,
    time::{Instant, sleep, timeout},
};
use tonic::{
    Request, Status,
    transport::{Channel, Endpoint},
};

use crate::process::{keeps_its_invariants, metrics, program, program_at, signal};

/// All that starts a node, again and again.
#[derive(Clone, Debug)]
pub struct Plan {
    pub name: String,
    /// What is run, if not the program as it is.
    pub program: Option<PathBuf>,
    /// A value of `--store`.
    pub store: String,
    pub config: PathBuf,
    /// Where it listens, on any port: nobody else does.
    pub address: SocketAddr,
    /// Where the others reach it, if that is a proxy in front of its peer port.
    pub advertise: Option<SocketAddr>,
    pub lease: Duration,
    /// `--cold-start closed`: the store may have gone back while no node ran.
    pub starts_closed: bool,
    /// Milliseconds that it takes its wall clock to be ahead.
    pub clock_offset: PathBuf,
    pub log: PathBuf,
}

/// A running `quotagate serve`. It is killed when it is dropped, also while it
/// is paused.
#[derive(Debug)]
pub struct Node {
    pub plan: Plan,
    child: Child,
    grpc: SocketAddr,
    /// Where other nodes reach it, behind its proxy.
    pub peer: SocketAddr,
    http: SocketAddr,
    pub quota: QuotaServiceClient<Channel>,
    admin: AdminServiceClient<Channel>,
    pub paused: bool,
}

/// Starting takes a moment; what takes longer than this is stuck.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How often we look whether something has come about.
const LOOK: Duration = Duration::from_millis(50);

impl Node {
    /// Starts a node. It listens when this returns; it need not own anything.
    pub async fn start(plan: Plan, creates_cluster: bool) -> Self {
        let free = &*plan.address.to_string();
        let arguments = ["serve", "--grpc", free, "--http", free, "--peer", free];
        let mut command = match &plan.program {
            Some(path) => program_at(path, &arguments),
            None => program(&arguments),
        };
        command
            .args(["--node", &plan.name, "--store", &plan.store])
            .args(["--lease", &format!("{}s", plan.lease.as_secs())])
            .args(["--log-format", "json"])
            .arg("--config")
            .arg(&plan.config)
            .arg("--test-clock-offset")
            .arg(&plan.clock_offset)
            .args(creates_cluster.then_some("--create-cluster"))
            .args(plan.starts_closed.then_some("--cold-start=closed"));
        if let Some(address) = plan.advertise {
            command.args(["--advertise-peer", &address.to_string()]);
        }
        let log = File::options().create(true).append(true).open(&plan.log).expect("a log");
        let mut child =
            command.stdout(Stdio::piped()).stderr(log).spawn().expect("the program runs");
        let addresses = timeout(PATIENCE, announced(&mut child)).await;
        let addresses = addresses.ok().flatten();
        let addresses = addresses
            .unwrap_or_else(|| panic!("{} does not start: {}", plan.name, tail(&plan.log)));
        let channel = channel(addresses["gRPC"]);
        Self {
            plan,
            child,
            grpc: addresses["gRPC"],
            peer: addresses["peer"],
            http: addresses["HTTP"],
            quota: QuotaServiceClient::new(channel.clone()),
            admin: AdminServiceClient::new(channel),
            paused: false,
        }
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// A connection besides the one of `quota`.
    pub fn another_door(&self) -> QuotaServiceClient<Channel> {
        QuotaServiceClient::new(channel(self.grpc))
    }

    /// kill -9.
    pub async fn kill(mut self) -> Plan {
        self.child.kill().await.expect("it runs");
        self.plan
    }

    /// SIGTERM; the program must end in order.
    pub async fn stop(mut self) -> Plan {
        signal(self.pid(), "TERM");
        let status = timeout(PATIENCE, self.child.wait()).await.expect("SIGTERM ends it");
        let code = status.expect("it is our child").code();
        assert_eq!(code, Some(0), "SIGTERM ends it in order: {}", tail(&self.plan.log));
        self.plan
    }

    /// SIGSTOP.
    pub fn pause(&mut self) {
        signal(self.pid(), "STOP");
        self.paused = true;
    }

    /// SIGCONT.
    pub fn resume(&mut self) {
        signal(self.pid(), "CONT");
        self.paused = false;
    }

    /// Every invariant that it watches has held since its start.
    pub async fn keeps_its_invariants(&self) {
        keeps_its_invariants(self.http).await;
    }

    /// The sum of the metrics whose names, with their labels, begin like this.
    pub async fn counted(&self, name: &str) -> u64 {
        let metrics = metrics(self.http).await;
        let lines = metrics.lines().filter(|line| line.starts_with(name));
        let value = |line: &str| line.rsplit_once(' ')?.1.parse::<u64>().ok();
        lines.map(|line| value(line).unwrap_or_else(|| panic!("no count: {line}"))).sum()
    }

    /// What its process has taken of the processors, in user and kernel mode.
    pub fn processors(&self) -> Duration {
        let process = self.child.id().expect("it runs");
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("it runs");
        // Its name, in brackets, may have anything in it: see proc(5).
        let (_, fields) = stat.rsplit_once(')').expect("a name");
        let ticks = |at: usize| fields.split_whitespace().nth(at)?.parse::<u64>().ok();
        let ticks = ticks(11).zip(ticks(12)).map(|(user, kernel)| user + kernel);
        // Linux tells hundredths of a second, on every architecture that we build for.
        Duration::from_millis(10 * ticks.expect("two numbers"))
    }

    /// What Prometheus reads of it: bytes, and how long that takes.
    pub async fn scrape(&self) -> (usize, Duration) {
        let start = Instant::now();
        let text = metrics(self.http).await;
        (text.len(), start.elapsed())
    }

    /// The cluster as it sees it.
    pub async fn cluster(&self) -> Result<GetClusterResponse, Status> {
        let mut request = Request::new(GetClusterRequest {});
        request.set_timeout(Duration::from_secs(2));
        self.admin.clone().get_cluster(request).await.map(tonic::Response::into_inner)
    }

    /// The owner of every shard, as it sees it; shards without one are missing.
    pub async fn owners(&self) -> BTreeMap<u32, String> {
        let cluster = self.cluster().await.unwrap_or_default();
        let owned = cluster.owners.into_iter().filter(|owner| !owner.node.is_empty());
        owned.map(|owner| (owner.shard, owner.node)).collect()
    }

    /// Waits until it sees a node take part: it does not drain, and owns shards.
    pub async fn sees_taking_part(&self, name: &str) {
        let start = Instant::now();
        loop {
            let cluster = self.cluster().await.unwrap_or_default();
            let mut nodes = cluster.nodes.iter().filter(|node| node.name == name);
            if nodes.any(|node| !node.draining && node.owned_shards > 0) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{name} does not take part: {cluster:#?}");
            sleep(LOOK).await;
        }
    }

    /// Waits until it sees an owner of every shard, all of them among `nodes`.
    pub async fn sees_every_shard_owned_by(&self, nodes: &[&str]) {
        let start = Instant::now();
        loop {
            let owners = self.owners().await;
            let owned = owners.values().filter(|owner| nodes.contains(&owner.as_str())).count();
            if owned == usize::from(SHARDS) {
                return;
            }
            let name = &self.plan.name;
            assert!(
                start.elapsed() < PATIENCE,
                "{name} sees {owned} shards owned by {nodes:?}: {}",
                tail(&self.plan.log)
            );
            sleep(LOOK).await;
        }
    }
}

fn channel(address: SocketAddr) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}"));
    endpoint.expect("an address").tcp_nodelay(true).connect_lazy()
}

/// The addresses that a program prints, by name; `None` if it ends instead.
async fn announced(child: &mut Child) -> Option<BTreeMap<String, SocketAddr>> {
    let stdout = child.stdout.take().expect("it is piped");
    let mut lines = BufReader::new(stdout).lines();
    let mut addresses = BTreeMap::new();
    while !["gRPC", "HTTP", "peer"].iter().all(|name| addresses.contains_key(*name)) {
        let line = lines.next_line().await.ok()??;
        let Some((name, value)) = line.split_once(char::is_whitespace) else { continue };
        let value = value.trim().trim_start_matches("http://").trim_end_matches('/');
        if let Ok(address) = value.parse() {
            addresses.insert(name.to_owned(), address);
        }
    }
    // What is printed later has somewhere to go.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Some(addresses)
}

/// The end of a log, for a failed test.
pub fn tail(log: &Path) -> String {
    const LINES: usize = 30;
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    format!("{}:\n{}", log.display(), lines[lines.len().saturating_sub(LINES)..].join("\n"))
}
