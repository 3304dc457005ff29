//! The real program as a child process.
#![allow(dead_code, reason = "each binary of tests uses a part")]

use std::{net::SocketAddr, path::Path, process::Stdio};

use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::process::Command;

/// The program with nothing of this environment. It is killed when it is
/// dropped.
pub fn program(arguments: &[&str]) -> Command {
    program_at(Path::new(env!("CARGO_BIN_EXE_quotagate")), arguments)
}

/// The same of another program.
pub fn program_at(path: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(path);
    command.args(arguments).env_clear().stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Sends a signal such as `TERM` or `STOP` to a process that runs.
pub fn signal(pid: u32, name: &str) {
    let command = format!("kill -{name} {pid}");
    let sent = std::process::Command::new("sh").args(["-c", &command]).status();
    assert!(sent.is_ok_and(|status| status.success()), "process {pid} takes SIG{name}");
}

/// Every invariant that a program watches has held since its start.
pub async fn keeps_its_invariants(http_addr: SocketAddr) {
    let metrics = metrics(http_addr).await;
    let mut violations =
        metrics.lines().filter(|line| line.starts_with("quotagate_invariant_violations_total"));
    assert!(violations.clone().count() > 0, "they are counted: {metrics}");
    assert!(violations.all(|line| line.ends_with(" 0")), "{metrics}");
}

/// What a program says of itself, as Prometheus reads it.
pub async fn metrics(http_addr: SocketAddr) -> String {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let url = format!("http://{http_addr}/metrics").parse().expect("a good address");
    let answer = client.get(url).await.expect("it answers");
    let body = answer.into_body().collect().await.expect("all of it").to_bytes();
    String::from_utf8_lossy(&body).into_owned()
}
