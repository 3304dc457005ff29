//! Rights are given and taken while the program runs, by its configuration file.

use std::{net::SocketAddr, path::Path};

use quotagate::{
    auth::token::{Hex, hash},
    proto::v1::{AcquireRequest, quota_service_client::QuotaServiceClient},
};
use tokio::time::{Duration, sleep};
use tonic::{Code, Status, transport::Channel};

use crate::{
    process::{metrics, signal},
    server::Server,
    world::{ask, by, token},
};

/// Tokens of these, and rules.
fn config(who: &[&str], rules: &str) -> String {
    let token = |who: &&str| format!("{{name: {who}, sha256: \"{}\"}}", Hex(&hash(&token(who))));
    let tokens: Vec<String> = who.iter().map(token).collect();
    format!("auth:\n  tokens: [{}]\n  rules:\n{rules}", tokens.join(", "))
}

fn may(who: &str, operation: &str) -> String {
    format!(
        "    - {{who: ['token:{who}'], orgs: [acme], workspaces: ['*', ''], \
         operations: ['{operation}'], may: [acquire]}}\n"
    )
}

/// A running program and a connection that stays.
struct World {
    server: Server,
    quota: QuotaServiceClient<Channel>,
    /// Reloads that were put in force, and that were refused.
    reloads: [u32; 2],
}

impl World {
    async fn start(path: &Path) -> Self {
        let server = Server::start(path, "info").await;
        let address = format!("http://{}", server.grpc);
        let quota = QuotaServiceClient::connect(address).await.expect("it listens");
        Self { server, quota, reloads: [0, 0] }
    }

    /// What becomes of somebody's Acquire.
    async fn outcome(&mut self, who: &str) -> Code {
        let request: AcquireRequest = ask("acme", "");
        let answer = self.quota.acquire(by(who, request)).await;
        answer.as_ref().map_or_else(Status::code, |_| Code::Ok)
    }

    /// Replaces the file and waits until it was read. What was good is in force at
    /// the next call.
    async fn put(&mut self, path: &Path, text: &str, is_good: bool) {
        write(path, text);
        self.until_read(is_good).await;
    }

    async fn until_read(&mut self, is_good: bool) {
        self.reloads[usize::from(!is_good)] += 1;
        let [applied, rejected] = self.reloads;
        let line = |outcome: &str, count: u32| {
            format!("quotagate_config_reloads_total{{outcome=\"{outcome}\"}} {count}\n")
        };
        let lines = [line("applied", applied), line("rejected", rejected)];
        let http: SocketAddr = self.server.http;
        loop {
            let told = metrics(http).await;
            if lines.iter().all(|line| told.contains(line)) {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// As editors do it: whole at once.
fn write(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).expect("written");
    std::fs::rename(&new, path).expect("renamed");
}

#[tokio::test]
async fn a_right_or_a_token_that_is_taken_away_is_refused_at_the_next_call() {
    use Code::{Ok, PermissionDenied, Unauthenticated};
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("quotagate.yaml");
    let both = ["sync", "other"];
    let all = format!("{}{}", may("sync", "*"), may("other", "*"));
    write(&path, &config(&both, &all));
    let mut world = World::start(&path).await;
    for (what, text, sync, other) in [
        ("a rule is gone", config(&both, &may("other", "*")), PermissionDenied, Ok),
        ("it is back", config(&both, &all), Ok, Ok),
        (
            "it is about something else",
            config(&both, &format!("{}{}", may("sync", "rest.long"), may("other", "*"))),
            PermissionDenied,
            Ok,
        ),
        ("a token is gone", config(&["other"], &all), Unauthenticated, Ok),
        ("both are back", config(&both, &all), Ok, Ok),
        (
            "a rule before it forbids",
            config(
                &both,
                &format!(
                    "    - {{who: ['token:o*'], orgs: ['*'], workspaces: ['*', ''], may: [acquire], deny: true}}\n{all}"
                ),
            ),
            Ok,
            PermissionDenied,
        ),
    ] {
        world.put(&path, &text, true).await;
        assert_eq!(
            (world.outcome("sync").await, world.outcome("other").await),
            (sync, other),
            "{what}"
        );
    }
}

#[tokio::test]
async fn a_bad_file_keeps_the_rules_that_were_and_says_so() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("quotagate.yaml");
    let good = config(&["sync"], &may("sync", "*"));
    write(&path, &good);
    let mut world = World::start(&path).await;
    let more = config(&["sync", "other"], &format!("{}{}", may("sync", "*"), may("other", "*")));
    for (text, told) in [
        // Who it would let in is not let in.
        (more.replace("may: [acquire]", "may: [acquire, fly]"), "auth.rules[0].may[1]"),
        (more.replace("sha256: \"", "sha256: \"0"), "64 hexadecimal digits"),
        (format!("{more}    - {{who"), "the configuration has a fault"),
        // Nobody would have to say who they are any more.
        (String::new(), "names no identity any more"),
    ] {
        world.put(&path, &text, false).await;
        assert_eq!(world.outcome("sync").await, Code::Ok, "{told}");
        assert_eq!(world.outcome("other").await, Code::Unauthenticated, "{told}");
        let log = world.server.log();
        assert!(log.contains(told), "no {told:?}: {log}");
        assert!(log.contains("the last good one"), "{log}");
    }
    // At SIGHUP it is read also where nothing has changed.
    signal(world.server.pid(), "HUP");
    world.until_read(false).await;
    world.put(&path, &more, true).await;
    assert_eq!(world.outcome("other").await, Code::Ok);
    signal(world.server.pid(), "HUP");
    world.until_read(true).await;
}

/// What one principal may take is followed, too.
#[tokio::test]
async fn limits_of_principals_hold_as_the_file_says_now() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("quotagate.yaml");
    let with = |limits: &str| {
        let config = config(&["sync"], &may("sync", "*"));
        format!("{config}  limits: {{{limits}}}\n")
    };
    write(&path, &with(""));
    let mut world = World::start(&path).await;
    world.put(&path, &with("requests_per_second: 1"), true).await;
    let mut outcomes = Vec::new();
    for _ in 0..3 {
        outcomes.push(world.outcome("sync").await);
    }
    assert!(outcomes.contains(&Code::ResourceExhausted), "{outcomes:?}");
    world.put(&path, &with("requests_per_second: 1000000"), true).await;
    assert_eq!(world.outcome("sync").await, Code::Ok);
}
