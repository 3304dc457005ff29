//! The processes of the demo, real ones: etcd and the nodes, with their files
//! in one directory.

use std::{
    env, fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::TcpListener,
    process::{Child, Command},
    time::{sleep, timeout},
};

use super::world::{self, LEASE};

/// Where the processes keep their files. It is removed when it is dropped,
/// unless it is to be kept.
#[derive(Debug)]
pub(super) struct Home {
    dir: PathBuf,
    is_kept: bool,
}

impl Home {
    /// A new directory among the temporary files, with the configuration of the
    /// nodes.
    pub(super) fn create() -> anyhow::Result<Self> {
        let dir = env::temp_dir().join(format!("quotagate-demo-{}", std::process::id()));
        fs::create_dir(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let home = Self { dir, is_kept: false };
        fs::write(home.config(), world::config())?;
        Ok(home)
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Leaves everything where it is, for people to read.
    pub(super) fn keep(&mut self) {
        self.is_kept = true;
    }

    fn config(&self) -> PathBuf {
        self.dir.join("quotagate.yaml")
    }

    /// The log of a process, which its next life goes on with.
    fn log(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.log"))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if !self.is_kept {
            // What cannot be removed is left to the system's own cleaning.
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// A child process. It is killed when it is dropped.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    pid: Pid,
}

impl Process {
    /// Starts a program whose words go to the end of `log`.
    fn spawn(mut command: Command, log: &Path) -> anyhow::Result<Self> {
        let program = command.as_std().get_program().to_owned();
        let log = fs::File::options().create(true).append(true).open(log)?;
        let child = command
            .stdin(Stdio::null())
            .stderr(log)
            // Ctrl-C is for the demo, which ends the others in its own way.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} cannot be started", program.display()))?;
        let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        let pid = pid.context("a process ended as soon as it was started")?;
        Ok(Self { child, pid })
    }

    /// Sends a signal. To a process that has ended already nothing happens.
    pub(super) fn signal(&mut self, signal: Signal) {
        // While the child is not reaped its number is nobody else's.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = kill_process(self.pid, signal);
        }
    }

    /// kill -9, which also ends who is stopped; returns when it is gone.
    pub(super) async fn kill(&mut self) {
        // It fails only where it has ended already.
        let _ = self.child.kill().await;
    }

    /// Returns when it has ended by itself; `None` if not within `patience`.
    pub(super) async fn ends_within(&mut self, patience: Duration) -> Option<ExitStatus> {
        timeout(patience, self.child.wait()).await.ok()?.ok()
    }

    /// How it has ended, if it has.
    pub(super) fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }
}

/// etcd, one member.
#[derive(Debug)]
pub(super) struct Etcd {
    program: PathBuf,
    client: SocketAddr,
    peer: SocketAddr,
    process: Option<Process>,
    http: Client<HttpConnector, Empty<Bytes>>,
}

/// Nothing that starts here takes longer, even on a busy machine.
const START: Duration = Duration::from_secs(30);

impl Etcd {
    /// Starts it on free ports; it serves when this returns.
    pub(super) async fn start(program: PathBuf, home: &Home) -> anyhow::Result<Self> {
        let (client, peer) = free_ports().await?;
        let http = Client::builder(TokioExecutor::new()).build_http();
        let mut etcd = Self { program, client, peer, process: None, http };
        etcd.start_again(home).await?;
        Ok(etcd)
    }

    /// Starts it again with all that it knew.
    pub(super) async fn start_again(&mut self, home: &Home) -> anyhow::Result<()> {
        let (client, peer) = (format!("http://{}", self.client), format!("http://{}", self.peer));
        let mut command = Command::new(&self.program);
        command.arg("--data-dir").arg(home.dir().join("etcd")).args([
            "--name=demo",
            &format!("--listen-client-urls={client}"),
            &format!("--advertise-client-urls={client}"),
            &format!("--listen-peer-urls={peer}"),
            &format!("--initial-advertise-peer-urls={peer}"),
            &format!("--initial-cluster=demo={peer}"),
            "--logger=zap",
        ]);
        // Settings of etcd's own in the environment are not for this one.
        command.env_clear();
        command.stdout(Stdio::null());
        let log = home.log("etcd");
        self.process = Some(Process::spawn(command, &log)?);
        let healthy = async {
            while !self.is_healthy().await {
                if self.has_ended() {
                    bail!("etcd ended at once: see {}", log.display());
                }
                sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        };
        timeout(START, healthy)
            .await
            .with_context(|| format!("etcd does not answer: see {}", log.display()))?
    }

    /// kill -9.
    pub(super) async fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().await;
        }
    }

    /// A value of `--store`.
    fn store(&self) -> String {
        format!("etcd://{}/demo", self.client)
    }

    fn has_ended(&mut self) -> bool {
        self.process.as_mut().is_none_or(|process| process.has_ended().is_some())
    }

    async fn is_healthy(&self) -> bool {
        let body = get(&self.http, self.client, "/health").await;
        body.is_some_and(|body| body.contains("true"))
    }
}

/// A running node.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) process: Process,
    pub(super) grpc: SocketAddr,
    pub(super) http: SocketAddr,
}

impl Node {
    /// Starts a node on free ports; it has said where it listens when this
    /// returns.
    pub(super) async fn start(
        name: &str,
        etcd: &Etcd,
        home: &Home,
        creates_cluster: bool,
    ) -> anyhow::Result<Self> {
        let program = env::current_exe().context("the program does not know its own file")?;
        let mut command = Command::new(program);
        command.arg("serve").arg("--config").arg(home.config());
        let (store, lease) = (etcd.store(), crate::duration::format(LEASE));
        for (option, value) in [
            ("--store", store.as_str()),
            ("--node", name),
            ("--grpc", "127.0.0.1:0"),
            ("--http", "127.0.0.1:0"),
            ("--peer", "127.0.0.1:0"),
            ("--lease", &lease),
            ("--log", "info"),
            ("--log-format", "json"),
        ] {
            command.args([option, value]);
        }
        if creates_cluster {
            command.arg("--create-cluster");
        }
        // What is set for the demo is not meant for its nodes.
        for (variable, _) in env::vars_os() {
            if variable.to_string_lossy().starts_with("QUOTAGATE_") {
                command.env_remove(variable);
            }
        }
        command.stdout(Stdio::piped());
        let log = home.log(&format!("node-{name}"));
        let mut process = Process::spawn(command, &log)?;
        let stdout = process.child.stdout.take().context("its standard output is piped")?;
        let mut lines = BufReader::new(stdout).lines();
        let announced = async {
            let (mut grpc, mut http) = (None, None);
            while let Some(line) = lines.next_line().await? {
                let mut words = line.split_whitespace();
                let (name, address) = (words.next(), words.next().unwrap_or_default());
                let address = address.trim_start_matches("http://").trim_end_matches('/');
                match name {
                    Some("gRPC") => grpc = address.parse().ok(),
                    Some("HTTP") => http = address.parse().ok(),
                    _ => {}
                }
                if let (Some(grpc), Some(http)) = (grpc, http) {
                    return Ok((grpc, http));
                }
            }
            bail!("it ended")
        };
        let (grpc, http) = timeout(START, announced)
            .await
            .unwrap_or_else(|_| bail!("it does not say where it listens"))
            .with_context(|| format!("node {name} does not start: see {}", log.display()))?;
        // What is printed later has somewhere to go.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { process, grpc, http })
    }
}

/// Finds etcd: where it was said to be, where the project's tools are, on the
/// PATH.
pub(super) fn find_etcd(told: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(program) = told {
        if program.is_file() {
            return Ok(program.to_owned());
        }
        bail!("there is no etcd at {}", program.display());
    }
    let tools = fs::read_dir(".tools").into_iter().flatten().flatten().map(|entry| entry.path());
    let is_etcd = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("etcd-"))
    };
    let newest = tools.filter(is_etcd).map(|dir| dir.join("etcd")).filter(|file| file.is_file());
    if let Some(program) = newest.max() {
        return Ok(program);
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let system =
        env::split_paths(&path).filter(|dir| dir.is_absolute()).map(|dir| dir.join("etcd"));
    let mut found = system.chain([PathBuf::from(".tools/packaged/etcd")]);
    found.find(|file| file.is_file()).context(
        "the cluster needs etcd, which is not installed: `./x demo --cluster` installs it and \
         starts the demo, or name one with --etcd PATH",
    )
}

/// The body of a page of this machine; `None` where there is no answer.
pub(super) async fn get(
    client: &Client<HttpConnector, Empty<Bytes>>,
    addr: SocketAddr,
    path: &str,
) -> Option<String> {
    const PATIENCE: Duration = Duration::from_millis(500);
    let answer = async {
        let uri = format!("http://{addr}{path}").parse().ok()?;
        let body = client.get(uri).await.ok()?.into_body().collect().await.ok()?;
        String::from_utf8(body.to_bytes().into()).ok()
    };
    timeout(PATIENCE, answer).await.ok()?
}

/// Two ports that nobody has: etcd must be told its own.
async fn free_ports() -> anyhow::Result<(SocketAddr, SocketAddr)> {
    let loopback = (Ipv4Addr::LOCALHOST, 0);
    let (one, other) = (TcpListener::bind(loopback).await?, TcpListener::bind(loopback).await?);
    Ok((one.local_addr()?, other.local_addr()?))
}
