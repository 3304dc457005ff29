//! The cluster's demo as a process: nodes are rolled and killed before one's
//! eyes, and Salesforce refuses nothing.

#![cfg(feature = "server")]

#[path = "common/etcd.rs"]
mod etcd;

use std::{
    env,
    io::{self, Write as _},
    process::Stdio,
    time::Duration,
};

use etcd::Which;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    process::Command,
    time::timeout,
};

/// A node is rolled and another one killed by then, or never.
const PATIENCE: Duration = Duration::from_secs(180);

/// The figures of a row of the summary.
fn row<'a>(text: &'a str, start: &str) -> Vec<&'a str> {
    let line = text.lines().find_map(|line| line.strip_prefix(start));
    let line = line.unwrap_or_else(|| panic!("the summary has no row {start:?}:\n{text}"));
    line.split_whitespace().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_rolled_and_one_is_killed_and_salesforce_refuses_nothing() {
    let Some(program) = Which::Any.program() else {
        assert!(env::var("CI").as_deref() != Ok("true"), "there is no etcd");
        // Not by a macro: those are captured, and shown for failures only.
        let _ = writeln!(io::stderr(), "SKIPPED: the cluster's demo: there is no etcd");
        return;
    };
    let mut demo = Command::new(env!("CARGO_BIN_EXE_quotagate"))
        .args(["demo", "--cluster", "--plain", "--duration", "10m", "--etcd"])
        .arg(program)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the program runs");
    let mut lines = BufReader::new(demo.stdout.take().expect("it is piped")).lines();
    let mut told = String::new();
    // Each part of the story follows the one before.
    let story = [
        "every shard has an owner after",
        "is told to end (SIGTERM)",
        "has handed over",
        "was started again",
        "was killed (kill -9)",
        "its shards had new owners after",
        "was started again",
    ];
    let followed = timeout(PATIENCE, async {
        for part in story {
            while let Some(line) = lines.next_line().await.expect("it is text") {
                told += &format!("{line}\n");
                if line.contains(part) {
                    break;
                }
            }
        }
    });
    let followed = followed.await;
    let pid = demo.id().map(|pid| pid.to_string()).unwrap_or_default();
    let sent = Command::new("kill").args(["-TERM", &pid]).status().await;
    assert!(sent.is_ok_and(|status| status.success()), "it runs until it is told to end:\n{told}");
    while let Some(line) = lines.next_line().await.expect("it is text") {
        told += &format!("{line}\n");
    }
    let mut errors = String::new();
    let mut stderr = demo.stderr.take().expect("it is piped");
    stderr.read_to_string(&mut errors).await.expect("it is text");
    let status = demo.wait().await.expect("it ends");
    let all = format!("{told}--- err\n{errors}");
    assert!(followed.is_ok(), "the story is not told within {PATIENCE:?}:\n{all}");
    assert_eq!(status.code(), Some(0), "{all}");
    assert_eq!(row(&all, "calls refused by Salesforce"), ["0"], "{all}");
    assert_ne!(row(&all, "calls granted"), ["0"], "{all}");
    assert_eq!(row(&all, "a node rolled (SIGTERM)").last(), Some(&"0"), "nothing is held: {all}");
    assert_eq!(row(&all, "a node killed (kill -9)").first(), Some(&"1"), "{all}");
    assert!(!all.contains('\x1b'), "plain lines have no escapes: {all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_etcd_it_says_how_to_get_it() {
    let away = tempfile::tempdir().expect("a place for temporary files");
    for (arguments, part) in [
        (&["demo", "--cluster"][..], "./x demo --cluster"),
        (
            &["demo", "--cluster", "--etcd", "/nowhere/etcd"][..],
            "there is no etcd at /nowhere/etcd",
        ),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_quotagate"))
            .args(arguments)
            .current_dir(away.path())
            .env_clear()
            .stdin(Stdio::null())
            .output();
        let output = output.await.expect("the program runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains(part), "{part:?} is not told: {error}");
    }
}
