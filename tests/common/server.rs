//! The program, whose log is kept.
#![allow(dead_code, reason = "each binary of tests uses a part")]

use std::{
    io,
    net::SocketAddr,
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    process::{Child, ChildStderr},
    task::JoinHandle,
};

use crate::process::program;

/// A running `quotagate serve`, which is killed with the test.
pub struct Server {
    child: Child,
    pub grpc: SocketAddr,
    pub http: SocketAddr,
    log: Arc<Mutex<Vec<u8>>>,
    keeper: JoinHandle<io::Result<()>>,
}

impl Server {
    /// Serves when this returns, and forgets; it logs at this level.
    pub async fn start(config: &Path, level: &str) -> Self {
        Self::start_on("memory:", config, level).await
    }

    /// The same on this store.
    pub async fn start_on(store: &str, config: &Path, level: &str) -> Self {
        let mut command = program(&["serve", "--store", store, "--log", level]);
        command.args(["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--log-format", "json"]);
        // Honest callers here do not try again: nobody asks them to connect anew.
        command.arg("--max-connection-age=0s");
        command.arg("--config").arg(config).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program runs");
        let log = Arc::default();
        let stderr = child.stderr.take().expect("it is piped");
        let keeper = tokio::spawn(keep(stderr, Arc::clone(&log)));
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut told = async |name: &str| loop {
            let line = lines.next_line().await.expect("it is text").expect("it starts");
            if let Some(address) = line.strip_prefix(name) {
                let address = address.trim().trim_start_matches("http://").trim_end_matches('/');
                break address.parse().expect("an address");
            }
        };
        let (grpc, http) = (told("gRPC ").await, told("HTTP ").await);
        Self { child, grpc, http, log, keeper }
    }

    /// What it has in memory, in KiB.
    pub fn memory_kib(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most that it ever had in memory, in KiB.
    pub fn peak_memory_kib(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// Fails if it has ended.
    pub fn check_alive(&mut self, after: &str) {
        let ended = self.child.try_wait().expect("it is our child");
        assert!(ended.is_none(), "{after}: the program has ended: {ended:?}\n{}", self.log());
        let log = self.log();
        assert!(!log.contains("panicked at"), "{after}: a task has panicked:\n{log}");
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&self.log.lock().expect("nobody panics with it")).into_owned()
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Waits until it has ended: all that it has logged.
    pub async fn ended(mut self) -> String {
        let status = self.child.wait().await.expect("it is our child");
        assert!(status.success(), "{status}");
        let kept = (&mut self.keeper).await.expect("the log is kept");
        kept.expect("the log can be read");
        self.log()
    }

    fn status(&self, field: &str) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let text = std::fs::read_to_string(path).expect("the system tells");
        let line =
            text.lines().find_map(|line| line.strip_prefix(field)).expect("it has the field");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }
}

/// How long a process has run, on all cores.
pub fn cpu_time(pid: u32) -> Duration {
    /// The system counts in this unit (`USER_HZ`) whatever its clock does.
    const TICK: Duration = Duration::from_millis(10);
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the system tells");
    // After the name, which may have spaces: the 14th and 15th field of all.
    let (_, rest) = text.rsplit_once(')').expect("a name");
    let fields = rest.split_whitespace().skip(11).take(2);
    let ticks: u32 = fields.map(|ticks| ticks.parse::<u32>().expect("a number")).sum();
    TICK * ticks
}

/// Most of a log that is kept: at `trace` a flood fills more.
const MOST_LOG_BYTES: usize = 64 << 20;

/// A log that nobody reads would stop the program.
async fn keep(mut stderr: ChildStderr, log: Arc<Mutex<Vec<u8>>>) -> io::Result<()> {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let count = stderr.read(&mut bytes).await?;
        if count == 0 {
            return Ok(());
        }
        let mut log = log.lock().expect("nobody panics with it");
        let room = MOST_LOG_BYTES - log.len();
        log.extend(&bytes[..count.min(room)]);
    }
}
