//! The JSON routes, the probes and the metrics of the running service.

use serde_json::{Value, json};

use crate::{common::TestServer, talk::acquire};

const SMALL: &str = "
catalogue:
  one: {charges: [{limit: one, scope: execution_user, max: 1, window: 1h}]}
orgs:
  - {id: acme, daily_calls: 100, concurrent_calls: 1}
";

fn at(value: &Value, pointer: &str) -> Value {
    value.pointer(pointer).cloned().unwrap_or(Value::Null)
}

#[tokio::test]
async fn a_call_is_acquired_reported_and_released_by_json() {
    let server = TestServer::start(SMALL).await;
    let ask = r#"{"operation": "one", "executionUser": "alice", "workspace": "eu"}"#;
    let (status, granted) = server.json("POST /api/v1/orgs/acme:acquire", ask).await;
    assert_eq!((status, at(&granted, "/permit/calls")), (200, json!(1)), "{granted}");
    let id = at(&granted, "/permit/permitId").as_str().expect("a permit").to_owned();

    let answer = server.http("POST /api/v1/orgs/acme:acquire", "host: localhost\r\n", ask).await;
    assert_eq!(answer.status, 429, "{answer:?}");
    let denied: Value = serde_json::from_str(&answer.body).expect("JSON");
    assert_eq!(at(&denied, "/denial/reason"), json!("DENIAL_REASON_EXECUTION_USER_LIMIT"));
    assert!(answer.head.contains(&format!("quotagate-owner: {}", server.grpc_addr)), "{answer:?}");
    let retry_after = answer.head.lines().find_map(|line| line.strip_prefix("retry-after: "));
    let wait: u64 = retry_after.expect("it is known").parse().expect("whole seconds");
    assert!((3_600..4_000).contains(&wait), "{wait}");
    // The head is in small letters here, the key in base64 too: `alice`.
    let policy = r#"ratelimit-policy: "user.one";q=1;w=3600;pk=:ywxpy2u=:"#;
    let left = format!(r#"ratelimit: "user.one";r=0;t={wait};pk=:ywxpy2u=:"#);
    for line in [policy, &left] {
        assert!(answer.head.lines().any(|l| l == line), "{line} is not in {}", answer.head);
    }

    let release = format!("POST /api/v1/permits/{id}:release");
    let (status, released) = server.json(&release, "{}").await;
    assert_eq!((status, at(&released, "/returnedCalls")), (200, json!(1)), "{released}");
    let report = format!("POST /api/v1/permits/{id}:report");
    let (status, reported) = server.json(&report, r#"{"httpStatus": 200}"#).await;
    assert_eq!((status, at(&reported, "/alreadySettled")), (200, json!(true)), "{reported}");
    let (status, usage) = server.json("GET /api/v1/orgs/acme/usage", "").await;
    assert_eq!((status, at(&usage, "/usage/org")), (200, json!("acme")), "{usage}");
}

#[tokio::test]
async fn where_nobody_can_know_there_is_no_retry_after() {
    let server = TestServer::start(SMALL).await;
    server.permit(acquire("rest.long")).await;
    let ask = r#"{"operation": "rest.long"}"#;
    let answer = server.http("POST /api/v1/orgs/acme:acquire", "host: localhost\r\n", ask).await;
    assert_eq!(answer.status, 429, "{answer:?}");
    assert!(!answer.head.contains("retry-after"), "{answer:?}");
}

#[tokio::test]
async fn orgs_are_administered_by_json() {
    let server = TestServer::start(SMALL).await;
    let check = async |line: &str, body: &str, status: u16, pointer: &str, expected: Value| {
        let (found, answer) = server.json(line, body).await;
        assert_eq!((found, at(&answer, pointer)), (status, expected), "{line}: {answer}");
        answer
    };
    let org = "/api/v1/orgs/acme";
    let source = "/entry/source";
    check(&format!("GET {org}"), "", 200, source, json!("ORG_SOURCE_FILE")).await;
    let put = r#"{"org": {"dailyCalls": "7"}, "validateOnly": true}"#;
    check(&format!("PUT {org}"), put, 200, "/entry/org/dailyCalls", json!("7")).await;
    check(&format!("GET {org}"), "", 200, source, json!("ORG_SOURCE_FILE")).await;
    let put = r#"{"org": {"dailyCalls": "7"}}"#;
    let entry = check(&format!("PUT {org}"), put, 200, source, json!("ORG_SOURCE_API")).await;
    let etag = at(&entry, "/entry/etag").as_str().expect("an etag").to_owned();
    let workspace = format!("PUT {org}/workspaces/eu");
    let body = r#"{"workspace": {"dailyCalls": "3"}}"#;
    check(&workspace, body, 200, "/entry/org/workspaces/0/id", json!("eu")).await;
    let user = "/entry/org/executionUsers/0";
    check(&format!("PUT {org}/users/alice"), "{}", 200, user, json!("alice")).await;
    let stale = format!("DELETE {org}/users/alice?etag={etag}");
    check(&stale, "", 409, "/error/details/0/reason", json!("ETAG_MISMATCH")).await;
    check(&format!("DELETE {org}/users/alice"), "", 200, user, Value::Null).await;
    let workspaces = "/entry/org/workspaces/0";
    check(&format!("DELETE {org}/workspaces/eu"), "", 200, workspaces, Value::Null).await;
    check("GET /api/v1/orgs?page_size=5", "", 200, "/orgs/0/org/id", json!("acme")).await;
    let answer =
        check(&format!("GET {org}"), "", 200, "/changes/0/action", json!("DeleteWorkspace")).await;
    assert_eq!(at(&answer, "/changes").as_array().map(Vec::len), Some(5), "{answer}");
    check(&format!("DELETE {org}"), "", 200, "", json!({})).await;
    check(&format!("GET {org}"), "", 200, source, json!("ORG_SOURCE_FILE")).await;
    check("GET /api/v1/cluster", "", 200, "/nodes/0/name", json!("test")).await;
}

#[tokio::test]
async fn errors_are_json_with_the_details_of_grpc() {
    let server = TestServer::start(SMALL).await;
    let ask = r#"{"operation": "one", "calls": 10001, "cost": 10001}"#;
    let (status, answer) = server.json("POST /api/v1/orgs/acme:acquire", ask).await;
    assert_eq!(
        (status, at(&answer, "/error/status")),
        (400, json!("INVALID_ARGUMENT")),
        "{answer}"
    );
    let violations = at(&answer, "/error/details/1/fieldViolations");
    let fields: Vec<Value> = [0, 1].map(|n| at(&violations, &format!("/{n}/field"))).into();
    assert_eq!(fields, [json!("calls"), json!("cost")], "{answer}");
    let ask = r#"{"operation": "no.such"}"#;
    let (status, answer) = server.json("POST /api/v1/orgs/acme:acquire", ask).await;
    let reason = at(&answer, "/error/details/0/reason");
    assert_eq!((status, reason), (404, json!("UNKNOWN_OPERATION")), "{answer}");
}

#[tokio::test]
async fn writes_of_foreign_pages_and_names_are_refused() {
    let server = TestServer::start(SMALL).await;
    let writes = [
        "POST /api/v1/orgs/acme:acquire",
        "POST /api/v1/permits/x:release",
        "PUT /api/v1/orgs/acme",
        "DELETE /api/v1/orgs/acme/users/alice",
    ];
    for line in writes {
        for headers in
            ["host: evil.example\r\n", "host: localhost\r\norigin: https://evil.example\r\n"]
        {
            let answer = server.http(line, headers, "{}").await;
            assert_eq!(answer.status, 403, "{line} {headers}: {answer:?}");
            assert!(answer.body.contains("FOREIGN_ORIGIN"), "{answer:?}");
        }
    }
    assert_eq!(server.get_org().await.changes, []);
    // A name that the service was told is its own.
    let headers = "host: quota.example:7401\r\n";
    let own = server.http("POST /api/v1/orgs/acme:acquire", headers, r#"{"operation": "rest"}"#);
    assert_eq!(own.await.status, 200);
}

#[tokio::test]
async fn the_service_is_alive_and_ready() {
    let server = TestServer::start(SMALL).await;
    for (path, body) in [("/livez", "alive\n"), ("/readyz", "ready\n")] {
        let answer = server.http(&format!("GET {path}"), "", "").await;
        assert_eq!((answer.status, answer.body.as_str()), (200, body), "{path}");
    }
    let page = server.http("GET /", "", "").await;
    assert!(page.status == 200 && page.body.contains("quotagate"), "{page:?}");
}

#[tokio::test]
async fn the_metrics_count_what_happens() {
    let server = TestServer::start(SMALL).await;
    let ask =
        || quotagate::proto::v1::AcquireRequest { execution_user: "u".into(), ..acquire("one") };
    let permit = server.permit(ask()).await;
    server.denial(ask()).await;
    server.report(crate::talk::answered(&permit, 200)).await;
    let metrics = server.metrics().await;
    let decision = |decision: &str, reason: &str| {
        format!(
            r#"quotagate_decisions_total{{decision="{decision}",reason="{reason}",class="event"}} 1"#
        )
    };
    let acquired =
        r#"quotagate_grpc_requests_total{method="quotagate.v1.QuotaService/Acquire",code="OK"} 2"#;
    for line in [
        &decision("granted", "none"),
        &decision("denied", "execution_user_limit"),
        r#"quotagate_reports_total{answered="true"} 1"#,
        acquired,
        "quotagate_owned_shards 256",
        r#"quotagate_forwarded_total{outcome="answered"} 0"#,
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line} is not in {metrics}");
    }
    let reserves = metrics.lines().find_map(|l| l.strip_prefix("quotagate_reserve_seconds_count "));
    assert!(reserves.is_some_and(|count| count != "0"), "{metrics}");
    for id in 1..=9 {
        let line = format!(r#"quotagate_invariant_violations_total{{id="I{id}"}} 0"#);
        assert!(metrics.lines().any(|l| l == line), "{metrics}");
    }
}
