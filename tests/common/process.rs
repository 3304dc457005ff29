//! The real program as a child process.
#![allow(dead_code, reason = "each binary of tests uses a part")]

use std::process::Stdio;

use tokio::process::Command;

/// The program with nothing of this environment. It is killed when it is
/// dropped.
pub fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quotagate"));
    command.args(arguments).env_clear().stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Sends a signal such as `TERM` or `STOP` to a process that runs.
pub fn signal(pid: u32, name: &str) {
    let command = format!("kill -{name} {pid}");
    let sent = std::process::Command::new("sh").args(["-c", &command]).status();
    assert!(sent.is_ok_and(|status| status.success()), "process {pid} takes SIG{name}");
}
