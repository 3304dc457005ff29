//! `quotagate serve` before its etcd is there.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

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
