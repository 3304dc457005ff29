//! `quotagate doctor` against a real service.

use std::process::Output;

use serde_json::Value;
use tokio::{net::TcpListener, process::Command};

use crate::common::TestServer;

/// Runs the doctor with nothing of this environment.
async fn doctor(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quotagate"));
    command.arg("doctor").args(arguments).env_clear();
    command.output().await.expect("the program runs")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_well_is_told_to_be_and_what_is_not_has_a_remedy() {
    let server = TestServer::start("orgs: [{id: acme, daily_calls: 100}]").await;
    let grpc = server.grpc_addr.to_string();
    let http = format!("http://{}", server.http_addr);
    let home = tempfile::tempdir().expect("a place for temporary files");
    let file = |name: &str, text: &str| {
        let path = home.path().join(name);
        std::fs::write(&path, text).expect("it is writable");
        path.display().to_string()
    };
    let good = file("good.yaml", "orgs: [{id: acme}]");
    let doubtful = file("doubtful.yaml", "orgs: [{id: acme, reserve_percent: 80}]");
    let bad = file("bad.yaml", "orgs: [{id: acme, daily_calls: many}]");
    let nobody = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let gone = nobody.local_addr().expect("it is bound").to_string();
    drop(nobody);
    let store = format!("etcd://{gone}");
    // (arguments, exit code, what is told)
    let rows: &[(&[&str], i32, &[&str])] = &[
        (
            &["--server", &grpc, "--http", &http],
            0,
            &[
                "OK    service      test answers, in ",
                "OK    nodes        1 of 1 are well",
                "OK    version      all nodes have ",
                "OK    shards       all 256 shards have an owner",
                "OK    limits       the limits of 1 orgs in force add up",
                "OK    ready ",
                "OK    clock        this machine and the node agree",
                "OK    invariants   9 promises have held",
                ", 0 WARN, 0 FAIL",
            ],
        ),
        (&["--offline", "--config", &good], 0, &["OK    config ", "2 OK, 0 WARN, 0 FAIL"]),
        (&["--offline", "--config", &doubtful], 0, &["WARN  limits ", "→ lower reserve_percent"]),
        (&["--offline", "--strict", "--config", &doubtful], 1, &["WARN  limits "]),
        (&["--offline", "--config", &bad], 1, &["FAIL  config ", "daily_calls", "→ mend the file"]),
        (&["--offline", "--certificate", &bad], 1, &["FAIL  certificate ", "no certificate"]),
        (
            &["--offline", "--store", &store],
            1,
            &[
                "does not answer: ",
                "none of 1 members answers",
                "→ without etcd nothing is decided",
            ],
        ),
        (&["--server", &gone, "--http", &http], 1, &["FAIL  service ", "OK    ready "]),
        (&["--offline", "--store", "nonsense"], 2, &[]),
    ];
    for (arguments, code, told) in rows {
        let output = doctor(arguments).await;
        let text = String::from_utf8_lossy(&output.stdout);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(*code), "{arguments:?}\n{text}\n{error}");
        for words in *told {
            assert!(text.contains(words), "{words:?} is not told: {arguments:?}\n{text}");
        }
    }

    let output = doctor(&["--server", &grpc, "--http", &http, "--json"]).await;
    let json: Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    assert_eq!((&json["fail"], &json["warn"]), (&Value::from(0), &Value::from(0)), "{json:#}");
    assert_eq!(json["findings"][0]["level"], "OK");
    assert_eq!(json["findings"][0]["check"], "service");
}
