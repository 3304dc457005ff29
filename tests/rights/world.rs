//! A service with five callers, and what they may do, said twice: as rules, and
//! as a naive model.

use quotagate::{
    auth::token::{Hex, hash},
    proto::v1::{self, TrafficClass},
};
use tonic::{Request, Status};
use tonic_types::StatusExt as _;

use crate::common::TestServer;

/// Principals are `token:` and one of these.
pub const WHO: [&str; 7] = ["ops", "sync", "other", "inbox", "viewer", "landlord", "nobody"];

/// Declared, declared, and not declared, which this service refuses.
pub const ORGS: [&str; 3] = ["acme", "beta", "nowhere"];

/// None, and two.
pub const WORKSPACES: [&str; 3] = ["", "eu", "us"];

pub const OPERATIONS: [&str; 2] = ["rest", "rest.long"];

pub const CLASSES: [TrafficClass; 4] =
    [TrafficClass::Control, TrafficClass::Interactive, TrafficClass::Event, TrafficClass::Bulk];

/// The token of somebody.
pub fn token(who: &str) -> String {
    format!("qg_{who}_0123456789abcdefghijklmnopqrstuvwxyz")
}

/// The configuration.
pub fn config() -> String {
    let tokens: String = WHO
        .iter()
        .map(|who| format!("    - {{name: {who}, sha256: \"{}\"}}\n", Hex(&hash(&token(who)))))
        .collect();
    format!(
        r#"
unknown: {{orgs: refuse, workspaces: count, users: count}}
orgs:
  - id: acme
    daily_calls: 100000
    concurrent_calls: 10000
    reserve_percent: 0
    execution_users: [alice]
    workspaces: [{{id: eu, daily_calls: 50000}}, {{id: us, daily_calls: 50000}}]
  - id: beta
    daily_calls: 100000
    concurrent_calls: 10000
    workspaces: [{{id: eu, daily_calls: 50000}}, {{id: us, daily_calls: 50000}}]
auth:
  tokens:
{tokens}
  rules:
    - {{who: ["token:nobody"], orgs: ["*"], workspaces: ["*", ""], highest_class: control, may: [acquire, report, read, admin], deny: true}}
    - {{who: ["token:ops"], orgs: ["*"], workspaces: ["*", ""], highest_class: control, may: [acquire, report, read, admin]}}
    - {{who: ["token:sync", "token:nobody"], orgs: ["ac*"], workspaces: ["eu", ""], may: [acquire, report]}}
    - {{who: ["token:other"], orgs: ["acme"], workspaces: ["*", ""], highest_class: control, may: [acquire]}}
    - {{who: ["token:inbox"], orgs: ["acme"], workspaces: ["us"], operations: ["rest"], highest_class: interactive, may: [acquire]}}
    - {{who: ["token:viewer"], orgs: ["acme"], workspaces: ["eu"], may: [read]}}
    - {{who: ["token:landlord"], orgs: ["acme"], workspaces: ["eu"], may: [admin]}}
"#
    )
}

/// What somebody may do, by the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum May {
    Acquire(&'static str, TrafficClass),
    Report,
    Read,
    Admin,
}

/// The model: nothing is left to a pattern.
pub fn may(who: &str, what: May, org: &str, workspace: &str) -> bool {
    use TrafficClass::{Bulk, Event, Interactive};
    match (who, what) {
        ("ops", _) => true,
        ("sync", May::Acquire(_, class)) => {
            org == "acme" && matches!(workspace, "eu" | "") && matches!(class, Event | Bulk)
        }
        ("sync", May::Report) | ("other", May::Acquire(..)) => org == "acme",
        ("inbox", May::Acquire(operation, class)) => {
            org == "acme"
                && workspace == "us"
                && operation == "rest"
                && matches!(class, Interactive | Event | Bulk)
        }
        ("viewer", May::Read) | ("landlord", May::Admin) => org == "acme" && workspace == "eu",
        _ => false,
    }
}

/// A service of which nothing is known yet.
pub async fn start() -> TestServer {
    TestServer::start(&config()).await
}

/// A request of somebody.
pub fn by<M>(who: &str, message: M) -> Request<M> {
    let mut request = Request::new(message);
    let bearer = format!("Bearer {}", token(who)).parse().expect("ASCII");
    request.metadata_mut().insert("authorization", bearer);
    request
}

pub fn ask(org: &str, workspace: &str) -> v1::AcquireRequest {
    v1::AcquireRequest {
        org: org.into(),
        workspace: workspace.into(),
        operation: "rest".into(),
        ..Default::default()
    }
}

/// The permit of somebody's Acquire.
pub async fn granted(server: &TestServer, who: &str, ask: v1::AcquireRequest) -> v1::Permit {
    let answer = server.quota.clone().acquire(by(who, ask)).await.expect("it is decided");
    match answer.into_inner().outcome {
        Some(v1::acquire_response::Outcome::Permit(permit)) => permit,
        other => panic!("should be granted, is {other:?}"),
    }
}

/// What is stable about an error, for machines.
pub fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}
