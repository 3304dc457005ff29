//! The demo as a process: what it shows is what it promises.

#![cfg(feature = "server")]

use std::process::{Output, Stdio};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

/// A demo with nothing of this environment, and its lines.
fn demo(line: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_quotagate"))
        .arg("demo")
        .args(line.split_whitespace())
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the program runs")
}

async fn end(child: Child) -> (Output, String) {
    let output = child.wait_with_output().await.expect("it ends");
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let all = format!("--- out\n{out}\n--- err\n{err}");
    (output, all)
}

/// The first figure of a row of the summary: that of the fleet with quotagate.
fn with_quotagate<'a>(text: &'a str, row: &str) -> &'a str {
    let line = text.lines().find(|line| line.starts_with(row));
    line.and_then(|line| line[row.len()..].split_whitespace().next())
        .unwrap_or_else(|| panic!("the summary has no row {row:?}: {text}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn salesforce_refuses_no_call_that_was_made_through_quotagate() {
    // Slower than the default: nothing here may depend on a quick machine.
    let (output, all) = end(demo("--plain --duration 8s --speed 12 --pods 3")).await;
    assert!(output.status.success(), "{all}");
    assert_eq!(with_quotagate(&all, "calls refused by Salesforce"), "0", "{all}");
    assert_ne!(with_quotagate(&all, "calls answered"), "0", "{all}");
    assert_eq!(with_quotagate(&all, "worst minute of a user"), "90", "{all}");
    let told = ["with quotagate: ", "without quotagate, Salesforce refuses the first call"];
    for part in told {
        assert!(all.contains(part), "{part:?} is not told: {all}");
    }
    assert!(!all.contains('\x1b'), "plain lines have no escapes: {all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_it_early_with_its_summary() {
    for signal in ["INT", "TERM"] {
        let mut child = demo("--plain --duration 1h --speed 60");
        let out = child.stdout.as_mut().expect("it is piped");
        // The first line says that it runs.
        let mut first = String::new();
        BufReader::new(out).read_line(&mut first).await.expect("it speaks");
        let pid = child.id().expect("it runs").to_string();
        let sent = Command::new("kill").args([format!("-{signal}"), pid]).status().await;
        assert!(sent.expect("kill runs").success());
        let (output, all) = end(child).await;
        assert_eq!(output.status.code(), Some(0), "SIG{signal}: {all}");
        assert!(all.contains("calls refused by Salesforce"), "SIG{signal}: {all}");
    }
}
