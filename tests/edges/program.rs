//! The real program against the fakes.

use std::process::Output;

use tokio::process::Command;

use super::fake;

/// Runs the program with nothing of this environment.
async fn run(server: &str, line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quotagate"))
        .args(line.split_whitespace())
        .env_clear()
        .env("QUOTAGATE_SERVER", server)
        .output()
        .await
        .expect("the program runs")
}

/// Runs the program and checks its exit code and parts of what it prints.
#[track_caller]
fn check(
    server: &str,
    line: &str,
    code: i32,
    out: &[&str],
    err: &[&str],
) -> impl Future<Output = ()> {
    let place = std::panic::Location::caller();
    async move {
        let output = run(server, line).await;
        let stdout = String::from_utf8_lossy(&output.stdout);
        let stderr = String::from_utf8_lossy(&output.stderr);
        let all = format!("{place}: {line}\n--- out\n{stdout}\n--- err\n{stderr}");
        assert_eq!(output.status.code(), Some(code), "{all}");
        for part in out {
            assert!(stdout.contains(part), "{part:?} is not printed: {all}");
        }
        for part in err {
            assert!(stderr.contains(part), "{part:?} is not told: {all}");
        }
    }
}

#[tokio::test]
async fn each_end_has_its_exit_code_and_says_why() {
    let s = &fake::grpc().await;
    let acquire = |org: &str| format!("acquire --operation rest --org {org}");
    check(s, &acquire("acme"), 0, &["granted: 1 call", "acme:TRAFFIC_CLASS_EVENT"], &[]).await;
    let told = ["denied: ORG_LIMIT", "all is used", "try again in 12 s 500 ms"];
    check(s, &acquire("full"), 3, &told, &[]).await;
    let told = ["error: max_wait is too long", "--max-wait: must be at most 10m", "BAD_FIELD"];
    check(s, &acquire("malformed"), 2, &[], &told).await;
    check(s, &acquire("unknown"), 1, &[], &["error: no org"]).await;
    let told = ["nobody can decide", "NO_OWNER", "try again in 1 s 500 ms"];
    check(s, &acquire("away"), 4, &[], &told).await;
    check(s, "acquire --org acme", 2, &[], &["--operation"]).await;
    check(s, "acquire --org acme --operation rest --max-wait 5", 2, &[], &["such as 90s"]).await;
    check("nowhere", &acquire("acme"), 2, &[], &["the port is missing"]).await;

    // A port that was free a moment ago.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let gone = listener.local_addr().expect("it is bound").to_string();
    drop(listener);
    check(&gone, &acquire("acme"), 4, &[], &["no quotagate answers at", "quotagate serve"]).await;
}

#[tokio::test]
async fn every_client_command_works() {
    let s = &fake::grpc().await;
    let line = "acquire --org a --operation rest --traffic-class bulk --calls 2 -o json";
    check(s, line, 0, &[r#""permitId": "a:TRAFFIC_CLASS_BULK""#, r#""calls": 2"#], &[]).await;
    let line = "acquire --org a --operation rest --caller inbox/eu";
    check(s, line, 0, &[r#"a:TRAFFIC_CLASS_EVENT@"inbox/eu""#], &[]).await;
    check(s, "top --org a", 0, &["org a", "counted since"], &[]).await;
    check(s, "top --org a --by caller -o json", 0, &["{}"], &[]).await;
    check(s, "top", 0, &["20 orgs, none in trouble"], &[]).await;
    let line = "top --rows 7 --search acme --order name -o json";
    check(s, line, 0, &[r#""totalSize": 7"#, r#""org": "acme""#], &[]).await;
    check(s, "demand --org a", 0, &["org a", "all event"], &[]).await;
    let line = "demand --org a --workspace w --since 2026-01-01T00:00:00Z -o json";
    let shown = [r#""workspace": "w""#, r#""countedSince": "2026-01-01T00:00:00Z""#];
    check(s, line, 0, &shown, &[]).await;
    check(s, "demand --org unknown", 1, &[], &["no org"]).await;
    check(s, "release --permit-id p --unused-calls 3", 0, &["returned: 3 calls"], &[]).await;
    check(s, "report --permit-id p --http-status 503", 0, &["settled", "wait for 2 s"], &[]).await;
    check(s, "report --org a --limit-info api-usage=1/2", 0, &["nothing new"], &[]).await;
    check(s, "usage --org a", 0, &["org a", "3,000", "20.0 %", "█"], &[]).await;
    check(s, "usage --org a -o json", 0, &[r#""max": "15000""#], &[]).await;
    // The fake ends its stream, as a server that stops does.
    check(s, "watch --org a", 4, &["a: calls 3,000/15,000"], &["ended the stream"]).await;
    check(s, "watch --org a -o json", 4, &["{\"usage\":", "\"snapshot\":true}\n{"], &[]).await;
    check(s, "orgs list --page-size 7", 0, &["first-of-7", "second"], &[]).await;
    check(s, "orgs get --org a", 0, &["org a", "etag 7"], &[]).await;
    check(s, "orgs put --org a --daily-calls 5000", 0, &["in force", "5,000 calls"], &[]).await;
    check(s, "orgs put --org a --from /nowhere.json", 1, &[], &["cannot read"]).await;
    check(s, "orgs delete --org a --etag 7", 0, &["withdrawn"], &[]).await;
    check(s, "orgs delete --org a --etag 8", 1, &[], &["the etag is 7 now"]).await;
    let line = "workspaces put --org a --workspace eu --daily-calls 50 --classes bulk=40/38";
    check(s, line, 0, &["eu", "40/38 %"], &[]).await;
    check(s, "workspaces list --org a", 0, &["no workspaces are declared"], &[]).await;
    check(s, "workspaces delete --org a --workspace eu", 0, &["a without eu"], &[]).await;
    check(s, "users put --org a --execution-user u", 0, &["users: u"], &[]).await;
    check(s, "users list --org a", 0, &[], &[]).await;
    check(s, "users delete --org a --execution-user u", 0, &["in force"], &[]).await;
    check(s, "cluster", 0, &["memory store, in 256 shards"], &[]).await;
    check(s, "completions bash", 0, &["quotagate"], &[]).await;
    check(s, "--version", 0, &[env!("CARGO_PKG_VERSION")], &[]).await;
}

#[tokio::test]
async fn bench_measures_and_tells_errors() {
    let s = &fake::grpc().await;
    let line = "bench --duration 50ms --concurrency 4 --connections 2 --release";
    check(s, line, 0, &["a second", "granted", "p99.9"], &["spends quota"]).await;
    let line = "bench --duration 50ms --concurrency 1 --org full -o json";
    check(s, line, 0, &[r#""granted": 0"#, r#""errors": 0"#], &[]).await;
    let line = "bench --duration 50ms --concurrency 1 --org away";
    check(s, line, 1, &["× nobody can decide"], &[]).await;
}
