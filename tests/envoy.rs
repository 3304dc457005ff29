//! Envoy's rate limit service: asked by hand, and by a real Envoy that stands as
//! an egress gateway before the strict stand-in for Salesforce.
#![cfg(all(feature = "client", feature = "server"))]

#[path = "common/mod.rs"]
mod common;
#[path = "common/envoy.rs"]
mod envoy;

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
    time::Duration,
};

use common::TestServer;
use envoy::{Envoy, Gateway, Reply};
use quotagate::{
    auth::token::{Hex, hash},
    config::Config,
    proto::{
        envoy::{
            config::core::v3::Metadata,
            data::accesslog::v3::{AccessLogCommon, HttpAccessLogEntry},
            extensions::common::ratelimit::v3::{
                RateLimitDescriptor, rate_limit_descriptor::Entry,
            },
            service::accesslog::v3::{
                StreamAccessLogsMessage, access_log_service_client::AccessLogServiceClient,
                stream_access_logs_message::HttpAccessLogEntries,
            },
            service::ratelimit::v3::{
                RateLimitRequest, RateLimitResponse,
                rate_limit_response::{Code, DescriptorStatus},
                rate_limit_service_client::RateLimitServiceClient,
            },
        },
        v1::{GetUsageRequest, LimitScope},
    },
    quota::salesforce::requests::ApiCall,
    standin::{
        Limit, Options, StandIn, UserLimit,
        options::{GET_ENTRIES, REST},
    },
};
use tokio::time::{Instant, sleep, timeout};
use tonic::{Code as GrpcCode, Request, Status};
use tonic_types::StatusExt as _;

/// Rules in which entries are named after what they tell.
const PLAIN: &str = "
unknown: {orgs: refuse, workspaces: count, users: count}
orgs:
  - {id: acme, daily_calls: 1000, execution_users: [ann, bob]}
envoy:
  domains:
    plain:
      rules:
        - org: {entry: org}
          operation: {entry: operation}
          execution_user: {entry: user, optional: true}
    lax: {unmatched: allow, rules: [{org: {entry: org}}]}
    loud: {unmatched: error, rules: [{org: {entry: org}}]}
";

/// One descriptor for each list of entries.
fn request(domain: &str, descriptors: &[&[(&str, &str)]]) -> RateLimitRequest {
    let descriptor = |entries: &&[(&str, &str)]| {
        let entry = |&(key, value): &(&str, &str)| Entry { key: key.into(), value: value.into() };
        RateLimitDescriptor { entries: entries.iter().map(entry).collect(), ..Default::default() }
    };
    RateLimitRequest {
        domain: domain.into(),
        descriptors: descriptors.iter().map(descriptor).collect(),
        hits_addend: 0,
    }
}

/// Asks by hand.
async fn ask(
    server: &TestServer,
    domain: &str,
    descriptors: &[&[(&str, &str)]],
) -> Result<RateLimitResponse, Status> {
    let request = request(domain, descriptors);
    let mut client = RateLimitServiceClient::new(server.channel.clone());
    client.should_rate_limit(request).await.map(tonic::Response::into_inner)
}

/// Units that a user of `acme` has used of a limit.
async fn used(server: &TestServer, user: &str, limit: &str) -> u64 {
    let request = GetUsageRequest { org: "acme".into() };
    let usage = server.quota.clone().get_usage(request).await.expect("it answers");
    let users = usage.into_inner().usage.expect("usage").execution_users;
    let limits = users.into_iter().filter(|one| one.execution_user == user).flat_map(|u| u.limits);
    let of_user = |l: &quotagate::proto::v1::LimitUsage| {
        l.name == limit && l.scope() == LimitScope::ExecutionUser
    };
    limits.filter(of_user).map(|limit| limit.used_by_caller).sum()
}

const ORG: (&str, &str) = ("org", "acme");
const DELETE: (&str, &str) = ("operation", "conversations.delete");

#[tokio::test]
async fn several_descriptors_are_charged_together_or_not_at_all() {
    let server = TestServer::start(PLAIN).await;
    let (ann, bob) = (("user", "ann"), ("user", "bob"));
    for _ in 0..10 {
        let answer = ask(&server, "plain", &[&[ORG, DELETE, bob]]).await.expect("decided");
        assert_eq!(answer.overall_code(), Code::Ok);
    }
    let both: [&[_]; 3] = [&[ORG, DELETE, ann], &[ORG, DELETE, bob], &[ORG, DELETE, ann]];
    let answer = ask(&server, "plain", &both).await.expect("decided");
    assert_eq!(answer.overall_code(), Code::OverLimit);
    let codes: Vec<Code> = answer.statuses.iter().map(DescriptorStatus::code).collect();
    assert_eq!(codes, [Code::Ok, Code::OverLimit, Code::Unknown]);
    assert!(answer.request_headers_to_add.is_empty());
    let limit = |user| used(&server, user, "conversation-deletes");
    assert_eq!((limit("ann").await, limit("bob").await), (0, 10));
    server.service.stop().await;
}

#[tokio::test]
async fn a_request_goes_out_as_one_user_of_the_pool() {
    let server = TestServer::start(PLAIN).await;
    let participants = ("operation", "conversation-participants.delete");
    // The pool would choose another user, once one has less room.
    for round in 0..10 {
        let both: [&[_]; 2] = [&[ORG, DELETE], &[ORG, participants]];
        let answer = ask(&server, "plain", &both).await.expect("decided");
        assert_eq!(answer.overall_code(), Code::Ok, "{round}");
        let headers = &answer.request_headers_to_add;
        let named = |key: &str| headers.iter().filter(|header| header.key == key).count();
        assert_eq!((named("quotagate-permit"), named("quotagate-execution-user")), (2, 1));
    }
    for user in ["ann", "bob"] {
        let deleted = used(&server, user, "conversation-deletes").await;
        assert_eq!(used(&server, user, "participant-deletes").await, deleted, "{user}");
    }
    server.service.stop().await;
}

#[tokio::test]
async fn what_no_rule_fits_does_what_its_domain_says_and_rubbish_never_passes() {
    let server = TestServer::start(PLAIN).await;
    let code = |answer: Result<RateLimitResponse, Status>| answer.map(|a| a.overall_code());
    let check = |answer, expected: Result<Code, GrpcCode>| {
        assert_eq!(code(answer).map_err(|status| status.code()), expected);
    };
    let get = [(":method", "GET"), (":path", "/services/data/v66.0/limits")];
    let of = |org: &'static str| [("org", org), get[0], get[1]];
    check(ask(&server, "plain", &[&[DELETE]]).await, Ok(Code::OverLimit));
    check(ask(&server, "lax", &[&get]).await, Ok(Code::Ok));
    check(ask(&server, "loud", &[&get]).await, Err(GrpcCode::InvalidArgument));
    for domain in ["lax", "loud"] {
        check(ask(&server, domain, &[&of("acme")]).await, Ok(Code::Ok));
        check(ask(&server, domain, &[&of("no/org")]).await, Ok(Code::OverLimit));
        check(ask(&server, domain, &[&of("undeclared")]).await, Ok(Code::OverLimit));
    }
    let login = [(":method", "POST"), (":path", "/services/oauth2/token")];
    check(ask(&server, "loud", &[&[ORG, login[0], login[1]]]).await, Ok(Code::Ok));
    check(ask(&server, "plain", &[]).await, Err(GrpcCode::InvalidArgument));
    let unknown = ask(&server, "nowhere", &[&[ORG]]).await.expect_err("nothing is configured");
    let reason = unknown.get_error_details().error_info().map(|info| info.reason.clone());
    assert_eq!(reason.as_deref(), Some("UNKNOWN_DOMAIN"));
    server.service.stop().await;
}

#[tokio::test]
async fn other_rules_are_in_force_without_a_restart() {
    let server = TestServer::start("").await;
    assert!(ask(&server, "plain", &[&[ORG, DELETE]]).await.is_err());
    let config = Config::parse(PLAIN).expect("a good configuration");
    server.service.node().reconfigure(config).await;
    let answer = ask(&server, "plain", &[&[ORG, DELETE]]).await.expect("decided");
    assert_eq!(answer.overall_code(), Code::Ok);
    server.service.stop().await;
}

/// The same with callers who have to say who they are: a proxy that may ask for one
/// org, one that may also be believed, one that may nothing, and an operator.
fn known() -> String {
    let token = |who: &str| format!("{{name: {who}, sha256: \"{}\"}}", Hex(&hash(who)));
    format!(
        "{PLAIN}
auth:
  tokens: [{}]
  rules:
    - {{who: ['token:proxy', 'token:other'], orgs: [acme], workspaces: [''], may: [acquire]}}
    - {{who: ['token:ops'], orgs: ['*'], workspaces: ['*', ''], may: [read]}}
",
        ["proxy", "other", "stranger", "ops"].map(token).join(", ")
    )
}

fn by<M>(who: &str, message: M) -> Request<M> {
    let mut request = Request::new(message);
    let bearer = format!("Bearer {who}").parse().expect("ASCII");
    request.metadata_mut().insert("authorization", bearer);
    request
}

/// What a proxy's log says of a request that it never sent; `said` is what it was
/// told when it asked.
fn unsent(said: &RateLimitResponse) -> StreamAccessLogsMessage {
    let metadata = said.dynamic_metadata.clone().expect("it names permits");
    let noted = HashMap::from([("envoy.filters.http.ratelimit".to_owned(), metadata)]);
    let metadata = Some(Metadata { filter_metadata: noted });
    let common = AccessLogCommon { metadata, ..AccessLogCommon::default() };
    let log_entry =
        vec![HttpAccessLogEntry { common_properties: Some(common), ..Default::default() }];
    StreamAccessLogsMessage { http_logs: Some(HttpAccessLogEntries { log_entry }) }
}

#[tokio::test]
async fn a_proxy_does_what_its_principal_may_and_settles_its_own_permits_only() {
    let server = TestServer::start(&known()).await;
    let ask = async |who: &str, entries: &[(&str, &str)]| {
        let mut client = RateLimitServiceClient::new(server.channel.clone());
        let answer = client.should_rate_limit(by(who, request("plain", &[entries]))).await;
        answer.map(tonic::Response::into_inner)
    };
    let granted = async |who: &str| {
        let answer = ask(who, &[ORG, DELETE]).await.expect("decided");
        assert_eq!(answer.overall_code(), Code::Ok, "{who}");
        answer
    };
    // What is never allowed is a refusal like any other, and tells of no org.
    let mut refusals = Vec::new();
    for (who, org) in [("stranger", "acme"), ("stranger", "nowhere"), ("proxy", "nowhere")] {
        let answer = ask(who, &[("org", org), DELETE]).await.expect("it is an answer");
        assert_eq!(answer.overall_code(), Code::OverLimit, "{who} {org}");
        assert!(!format!("{answer:?}").contains("quotagate_permits"), "{who} {org}");
        refusals.push(String::from_utf8_lossy(&answer.raw_body).into_owned());
    }
    assert!(refusals[0].contains("NOT_ALLOWED"), "{refusals:?}");
    assert_eq!(refusals[0], refusals[1], "there is such an org, and there is none");
    assert!(refusals[2].contains("NOT_ALLOWED"), "{refusals:?}");
    let unknown = ask("nobody", &[ORG, DELETE]).await.expect_err("nobody knows it");
    assert_eq!(unknown.code(), GrpcCode::Unauthenticated);
    let bare = request("plain", &[&[ORG, DELETE]]);
    let bare = RateLimitServiceClient::new(server.channel.clone()).should_rate_limit(bare).await;
    assert_eq!(bare.expect_err("it shows nothing").code(), GrpcCode::Unauthenticated);

    // What another proxy's log says of a permit changes nothing; it comes before
    // the words about its own.
    let (mine, theirs) = (granted("proxy").await, granted("other").await);
    let used = async || {
        let usage = GetUsageRequest { org: "acme".into() };
        let usage = server.quota.clone().get_usage(by("ops", usage)).await.expect("they may");
        let users = usage.into_inner().usage.expect("usage").execution_users;
        let limits = users.into_iter().flat_map(|user| user.limits);
        let deletes = limits.filter(|limit| limit.name == "conversation-deletes");
        deletes.map(|limit| limit.used_by_caller).sum::<u64>()
    };
    assert_eq!(used().await, 2);
    let mut logs = AccessLogServiceClient::new(server.channel.clone());
    let stream = |said: &[&RateLimitResponse]| {
        tokio_stream::iter(said.iter().map(|said| unsent(said)).collect::<Vec<_>>())
    };
    logs.stream_access_logs(by("other", stream(&[&mine, &theirs]))).await.expect("it is read");
    while used().await == 2 {}
    assert_eq!(used().await, 1, "the other one is not theirs");
    let unknown = logs.stream_access_logs(by("nobody", stream(&[&mine]))).await;
    assert_eq!(unknown.expect_err("nobody knows it").code(), GrpcCode::Unauthenticated);
    logs.stream_access_logs(by("proxy", stream(&[&mine]))).await.expect("it is read");
    while used().await != 0 {}
    server.service.stop().await;
}

#[test]
fn the_examples_are_good() {
    let yaml = fs::read_to_string("examples/envoy/quotagate.yaml").expect("it is there");
    let config = Config::parse(&yaml).expect("a good configuration");
    assert!(config.envoy.domains.contains_key("salesforce"));
    let Some(envoy) = Envoy::find() else { return };
    let home = tempfile::tempdir().expect("a place for temporary files");
    let gateway = Gateway::new(home.path());
    let example = fs::read_to_string("examples/envoy/envoy.yaml").expect("it is there");
    envoy.validate(&gateway.with_keys(&example), home.path());
    // A fault is found, too: the check checks.
    let faulty = gateway.with_keys(&example).replace("failure_mode_deny", "failure_mode_dny");
    assert!(!envoy.is_valid(&faulty, home.path()));
}

/// A filter is an item of a list for Envoy, and a value of a patch for Istio.
fn unlisted(line: &str) -> String {
    line.strip_prefix("- ").unwrap_or(line).to_owned()
}

/// What an `EnvoyFilter` of Istio puts in is what Envoy's own example has, which
/// Envoy itself has read.
#[test]
fn the_example_for_istio_says_the_same_as_the_one_for_envoy() {
    let lines = |path: &str| -> Vec<String> {
        let text = fs::read_to_string(path).expect("it is there");
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        lines.filter(|line| !line.starts_with('#')).map(unlisted).collect()
    };
    let envoy = lines("examples/envoy/envoy.yaml");
    let istio = fs::read_to_string("examples/istio/quotagate.yaml").expect("it is there");
    let cluster = "outbound|7400||quotagate.quotagate.svc.cluster.local";
    assert!(istio.contains(cluster));
    let mut blocks = 0;
    for block in istio.split("# The same as in examples/envoy/envoy.yaml:").skip(1) {
        let (block, _) = block.split_once("# Until here.").expect("it ends somewhere");
        let block: Vec<String> = block
            .lines()
            .map(|line| unlisted(line.trim()).replace(&format!("\"{cluster}\""), "quotagate"))
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .collect();
        assert!(envoy.windows(block.len()).any(|window| window == block), "{block:#?}");
        blocks += 1;
    }
    assert_eq!(blocks, 4);
}

/// The clients' adapters see bodies, too: only those tell a login by SOAP and the
/// size of a batch.
#[test]
fn a_request_is_the_call_that_it_is_to_the_clients() {
    let text = fs::read_to_string("clients/conformance/scenarios.json").expect("it is there");
    let scenarios: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let rows = scenarios["classify"].as_array().expect("a list of requests");
    for row in rows {
        let (method, url) = (row["method"].as_str(), row["url"].as_str());
        let (method, url) = (method.expect("a method"), url.expect("an address"));
        let found = ApiCall::of(method, url);
        let is_soap_login = row["operation"].is_null() && url.contains("/services/Soap/");
        let expected = if is_soap_login { Some("rest") } else { row["operation"].as_str() };
        assert_eq!(found.map(|call| call.operation), expected, "{row}");
        let units = found.map_or(1, |call| u64::from(call.most_units));
        assert!(Some(units) >= row["cost"].as_u64(), "{row}: {units}");
    }
    assert!(rows.len() > 20);
}

/// At most so many in any such time, for the tests' patience.
const ENTRIES: (u64, Duration) = (20, Duration::from_secs(1));

/// The example with a short window and the stand-in's names.
fn short_windows() -> String {
    let yaml = fs::read_to_string("examples/envoy/quotagate.yaml").expect("it is there");
    let (max, window) = (ENTRIES.0, ENTRIES.1.as_secs());
    let charge =
        format!("{{limit: entries, scope: execution_user, max: {max}, window: {window}s}}");
    format!("{yaml}\ncatalogue:\n  {GET_ENTRIES}: {{charges: [{charge}]}}\n")
}

async fn stand_in() -> StandIn {
    let limit = Limit::sliding(ENTRIES.0, ENTRIES.1);
    let user_limits = vec![UserLimit { operation: GET_ENTRIES, limit }];
    StandIn::start(Options { user_limits, ..Options::default() }).await.expect("it listens")
}

const CONVERSATIONS: &str = "/services/data/v66.0/conversation-entries?conversationId=1";

#[tokio::test(flavor = "multi_thread")]
async fn a_real_envoy_enforces_quotas_without_a_line_of_code() {
    let Some(program) = Envoy::find() else { return };
    let home = tempfile::tempdir().expect("a place for temporary files");
    let (server, salesforce) = (TestServer::start(&short_windows()).await, stand_in().await);
    let mut gateway = Gateway::new(home.path());
    gateway.start(&program, server.grpc_addr, salesforce.addr).await;

    // Saturated for some windows, by several callers at once.
    const CALLERS: usize = 8;
    const ENOUGH: u64 = 5 * ENTRIES.0;
    let saturated = (0..CALLERS).map(|_| {
        let (gateway, salesforce) = (gateway.caller(), salesforce.handle.clone());
        tokio::spawn(async move {
            let mut replies = Vec::new();
            while salesforce.counts().accepted < ENOUGH {
                replies.push(gateway.get(CONVERSATIONS).await);
                // A gateway is asked often, not as often as it can be.
                sleep(Duration::from_millis(2)).await;
            }
            replies
        })
    });
    let mut statuses: BTreeMap<u16, u64> = BTreeMap::new();
    for caller in saturated.collect::<Vec<_>>() {
        let replies = timeout(Duration::from_secs(120), caller).await.expect("in time");
        for reply in replies.expect("no caller fails") {
            *statuses.entry(reply.status).or_default() += 1;
            match reply.status {
                200 => assert!(reply.header("ratelimit").is_some(), "{reply:?}"),
                429 => check_denied(&reply, "QUOTAGATE_EXECUTION_USER_LIMIT"),
                _ => panic!("{reply:?}"),
            }
        }
    }
    let counts = salesforce.handle.counts();
    assert_eq!((counts.refused(), salesforce.handle.overruns()), (0, Vec::new()), "{counts:?}");
    assert_eq!(statuses[&200], counts.accepted, "{statuses:?}");
    assert!(statuses[&429] > 0, "{statuses:?}");

    // What is no call of the API passes, and what names no user does not.
    let seen = counts.arrived();
    assert_eq!(gateway.get("/services/data").await.status, 200);
    let nobody = gateway.caller().without_user().get(CONVERSATIONS).await;
    check_denied(&nobody, "QUOTAGATE_UNMATCHED_DESCRIPTOR");
    let vip = gateway.caller().of_class("vip").get(CONVERSATIONS).await;
    check_denied(&vip, "QUOTAGATE_FAULTY_DESCRIPTOR");
    assert_eq!(gateway.caller().without_token().get(CONVERSATIONS).await.status, 401);
    assert_eq!(salesforce.handle.counts().arrived(), seen);
    // Nobody turns on retries for himself: a call without an answer stays one call.
    let other = gateway.caller().asking_for_retries();
    assert_eq!(other.get("/services/data/v66.0/query?duration_ms=x").await.status, 400);
    assert_eq!(salesforce.handle.counts().arrived(), seen);
    assert_eq!(other.get("/services/data/v66.0/query").await.status, 200);
    assert_eq!(salesforce.handle.counts().arrived(), seen + 1);
    let rest = salesforce.handle.arrivals().iter().filter(|call| call.operation == REST).count();
    assert_eq!(rest, 1);

    // The access log told of every answer, and its readings were taken.
    let answered = counts.accepted + 2;
    let metric = r#"quotagate_envoy_log_entries_total{outcome="answered"}"#;
    gateway.until_metric(server.http_addr, metric, answered).await;

    // A call that never left is given back.
    salesforce.stop().await;
    assert_eq!(gateway.get("/services/data/v66.0/query").await.status, 503);
    let metric = r#"quotagate_envoy_log_entries_total{outcome="unsent"}"#;
    gateway.until_metric(server.http_addr, metric, 1).await;
    gateway.until_metric(server.http_addr, "quotagate_released_calls_total", 1).await;

    // Without the service nothing passes.
    server.service.stop().await;
    let begin = Instant::now();
    assert_eq!(gateway.get(CONVERSATIONS).await.status, 503);
    assert!(begin.elapsed() < Duration::from_secs(10));
}

fn check_denied(reply: &Reply, code: &str) {
    assert_eq!(reply.status, 429, "{reply:?}");
    assert!(reply.body.contains(code), "{reply:?}");
    assert_eq!(reply.header("content-type"), Some("application/json"), "{reply:?}");
}

#[test]
fn a_missing_envoy_is_looked_for_where_it_is_installed() {
    let script = fs::read_to_string("tests/tools/envoy/install.sh").expect("it is there");
    assert!(script.contains("target=.tools/envoy-$version"));
    assert!(Path::new("tests/tools/envoy/requirements.txt").is_file());
}
