//! `quotagate poll-limits`: an org without calls of its own learns what others
//! use.

use std::{path::Path, process::Output};

use quotagate::{
    proto::v1::LimitScope,
    standin::{Options, StandIn},
};
use tokio::process::Command;

use crate::{common::TestServer, talk::limit};

const ACME: &str = "orgs: [{id: acme, daily_calls: 1000}]";

async fn poll(server: &TestServer, targets: &str, directory: &Path) -> Output {
    let file = directory.join("targets");
    std::fs::write(&file, targets).expect("it is written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_quotagate"));
    command.args(["poll-limits", "--once", "--server", &server.grpc_addr.to_string()]);
    command.arg("--targets").arg(file).env_clear().kill_on_drop(true);
    command.output().await.expect("it runs")
}

#[tokio::test]
async fn a_poll_tells_what_others_use_and_is_counted_itself() {
    let server = TestServer::start(ACME).await;
    let salesforce = StandIn::start(Options::default()).await.expect("it starts");
    salesforce.handle.add_foreign("00Dacme", 300);
    let directory = tempfile::tempdir().expect("a directory");
    let token = directory.path().join("token");
    std::fs::write(&token, "00Dacme!005secret\n").expect("it is written");
    let targets = format!("acme {} {}", salesforce.url(), token.display());

    let output = poll(&server, &targets, directory.path()).await;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(said, "acme: Salesforce says 301 of 15,000\n");
    let usage = server.usage().await;
    let total = limit(&usage.limits, LimitScope::Org, "calls");
    assert_eq!((total.max, total.used_by_caller, total.foreign), (15_000, 1, 300));
    assert_eq!(usage.readings[0].used, 301);

    std::fs::write(&token, "no-session-secret").expect("it is written");
    let output = poll(&server, &targets, directory.path()).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("401") && !said.contains("secret"), "{said}");

    // Nothing was sent: the permit came back.
    let used = server.usage().await.limits[0].used_by_caller;
    let url = salesforce.url();
    salesforce.stop().await;
    let output = poll(&server, &format!("acme {url} {}", token.display()), directory.path()).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(server.usage().await.limits[0].used_by_caller, used);
}
