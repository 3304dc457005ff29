//! The stand-in for Salesforce over real HTTP on loopback.
#![cfg(all(feature = "standin", feature = "server"))]

use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::{HeaderMap, Method, Request, StatusCode, body::Bytes};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use quotagate::standin::{Cap, Limit, Options, StandIn, Usage, options::GET_ENTRIES};
use serde_json::{Value, json};

#[cfg(feature = "cli")]
#[path = "common/process.rs"]
mod process;

const ENTRIES: &str = "/services/data/v66.0/conversation-entries";
const QUERY: &str = "/services/data/v66.0/query?q=SELECT+Id+FROM+Account";

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn limit_info(&self) -> Option<&str> {
        self.headers.get("sforce-limit-info").and_then(|value| value.to_str().ok())
    }

    #[track_caller]
    fn is_refused_like(&self, sample: &str) {
        let samples: Value = serde_json::from_str(include_str!("data/salesforce_samples.json"))
            .expect("the samples are JSON");
        let rows = samples["error_responses"].as_array().expect("a table is an array");
        let row = rows.iter().find(|row| row["id"] == sample).expect("the sample exists");
        assert_eq!(row["http_status"], self.status.as_u16());
        let body: Value = serde_json::from_str(row["body"].as_str().expect("a body")).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&self.body).unwrap(), body);
    }
}

/// A caller with one session.
struct Caller {
    client: Client<HttpConnector, Full<Bytes>>,
    url: String,
    session: String,
}

impl Caller {
    fn new(salesforce: &StandIn, session: &str) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { client, url: salesforce.url(), session: session.to_owned() }
    }

    async fn call(&self, method: Method, path: &str, body: &'static str) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header("authorization", &self.session)
            .body(Full::from(body))
            .unwrap();
        let (parts, body) = self.client.request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, "").await
    }
}

async fn start(options: Options) -> (StandIn, Caller) {
    let salesforce = StandIn::start(options).await.unwrap();
    let caller = Caller::new(&salesforce, "Bearer 00Do!005u");
    (salesforce, caller)
}

#[tokio::test]
async fn ninety_entries_a_minute_pass_and_the_next_is_refused() {
    let (salesforce, caller) = start(Options::default()).await;
    for call in 0..90 {
        assert_eq!(caller.get(ENTRIES).await.status, StatusCode::OK, "call {call}");
    }
    let refused = caller.get(ENTRIES).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.body.contains("REQUEST_LIMIT_EXCEEDED"), "{}", refused.body);
    assert_eq!(refused.headers.get("retry-after"), None, "the core API does not say it");

    let other = Caller::new(&salesforce, "Bearer 00Do!005other");
    assert_eq!(other.get("/conversation-entries").await.status, StatusCode::OK);

    let handle = &salesforce.handle;
    let counts = handle.counts();
    assert_eq!((counts.accepted, counts.refused_by_user), (91, 1));
    assert_eq!(handle.user_usage("00Do", "005u", GET_ENTRIES), Some(Usage { used: 90, max: 90 }));
    let overruns = handle.overruns();
    assert_eq!(overruns.len(), 1, "an arrival cannot be called back: {overruns:?}");
    assert_eq!((overruns[0].units, overruns[0].max), (91, 90));
    let arrivals = handle.arrivals();
    assert_eq!(arrivals.len(), 92);
    assert!(arrivals.is_sorted_by_key(|arrival| arrival.at_us));
    assert_eq!(&*arrivals[91].user, "005other");
    assert!(arrivals[90].refusal.is_some());
}

#[tokio::test]
async fn deletions_have_limits_of_their_own() {
    let (salesforce, caller) = start(Options::default()).await;
    for path in ["/conversation-participants/1", "/services/data/v66.0/conversations/1"] {
        for _ in 0..10 {
            let answer = caller.call(Method::DELETE, path, "").await;
            assert_eq!(answer.status, StatusCode::NO_CONTENT);
        }
        let answer = caller.call(Method::DELETE, path, "").await;
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    }
    assert_eq!(salesforce.handle.org_usage("00Do").used, 0, "they do not count for the org");
}

#[tokio::test]
async fn every_answer_shows_the_orgs_total() {
    let options = Options { conversations_count_for_org: true, ..Options::default() };
    let (salesforce, caller) = start(options).await;
    assert_eq!(caller.get(QUERY).await.limit_info(), Some("api-usage=1/15000"));
    assert_eq!(caller.get(ENTRIES).await.limit_info(), Some("api-usage=2/15000"));
    let batch = r#"{"batchRequests":[{},{},{}]}"#;
    let answer = caller.call(Method::POST, "/services/data/v66.0/composite/batch", batch).await;
    assert_eq!(answer.limit_info(), Some("api-usage=5/15000"));
    assert!(answer.headers.contains_key("date"));
    salesforce.handle.add_foreign("00Do", 100);
    let limits = caller.get("/services/data/v66.0/limits").await;
    let body: Value = serde_json::from_str(&limits.body).unwrap();
    assert_eq!(body["DailyApiRequests"]["Max"], 15_000);
    assert_eq!(body["DailyApiRequests"]["Remaining"], 15_000 - 106);
    let versions = caller.get("/services/data/").await;
    assert_eq!((versions.status, versions.limit_info()), (StatusCode::OK, None));
    assert_eq!(salesforce.handle.counts().arrived(), 4, "the list of versions is no call");
}

#[tokio::test]
async fn a_hard_cap_refuses_and_a_soft_one_shows_the_excess() {
    let org_limit = Limit::sliding(2, Duration::from_secs(60));
    for (cap, status, shown) in [
        (Cap::Hard, StatusCode::FORBIDDEN, "api-usage=2/2"),
        (Cap::Soft, StatusCode::OK, "api-usage=3/2"),
    ] {
        let (_salesforce, caller) = start(Options { org_limit, cap, ..Options::default() }).await;
        for _ in 0..2 {
            assert_eq!(caller.get(QUERY).await.status, StatusCode::OK);
        }
        let third = caller.get(QUERY).await;
        assert_eq!((third.status, third.limit_info()), (status, Some(shown)), "{cap:?}");
        if cap == Cap::Hard {
            third.is_refused_like("e01");
        }
    }
}

#[tokio::test]
async fn too_many_long_running_requests_are_refused_and_stopping_ends_them() {
    let (salesforce, caller) = start(Options { long_running_slots: 2, ..Options::default() }).await;
    let long = format!("{QUERY}&duration_ms=20000");
    let (first, second, ()) = tokio::join!(caller.get(&long), caller.get(&long), async {
        salesforce.handle.arrived(2).await;
        caller.get(&long).await.is_refused_like("e02");
        assert_eq!(caller.get(QUERY).await.status, StatusCode::OK, "short ones pass");
        salesforce.stop().await;
    });
    for ended in [first, second] {
        assert_eq!(ended.status, StatusCode::SERVICE_UNAVAILABLE);
    }
}

#[tokio::test]
async fn without_a_session_nothing_is_answered_or_counted() {
    let (salesforce, _) = start(Options::default()).await;
    for session in ["", "Bearer", "Bearer 00Do", "Bearer 00Do!", "Basic 00Do!005u"] {
        let answer = Caller::new(&salesforce, session).get(QUERY).await;
        answer.is_refused_like("e16");
        assert_eq!(answer.limit_info(), None);
    }
    let caller = Caller::new(&salesforce, "Bearer 00Do!005u");
    assert_eq!(caller.get("/nowhere").await.status, StatusCode::NOT_FOUND);
    let garbled = caller.get(&format!("{QUERY}&duration_ms=-1")).await;
    assert_eq!(garbled.status, StatusCode::BAD_REQUEST);
    assert_eq!(salesforce.handle.counts().arrived(), 0);
}

#[tokio::test]
async fn a_scaled_world_recovers_as_much_faster_as_it_says() {
    // An hour passes in 360 ms, and the answer says when there is room.
    let options = Options { says_retry_after: true, ..Options::default() }.scaled(1e-4);
    let (salesforce, caller) = start(options).await;
    let delete = || caller.call(Method::DELETE, "/conversations/1", "");
    let mut refused = 0;
    for _ in 0..20 {
        let answer = delete().await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            assert_eq!(answer.headers["retry-after"], "1");
            refused += 1;
        }
    }
    assert_eq!(salesforce.handle.counts().refused_by_user, refused);
    // However long these twenty took, the checker agrees with the refusals.
    assert_eq!(salesforce.handle.overruns().is_empty(), refused == 0);
}

#[tokio::test]
async fn what_came_can_be_read_over_http() {
    let (salesforce, caller) = start(Options::default()).await;
    for _ in 0..91 {
        caller.get(ENTRIES).await;
    }
    caller.call(Method::POST, "/services/data/v66.0/sobjects/Account", "{}").await;
    let nobody = Caller::new(&salesforce, "");
    let summary = nobody.get("/standin").await;
    assert_eq!((summary.status, summary.limit_info()), (StatusCode::OK, None));
    let summary: Value = serde_json::from_str(&summary.body).unwrap();
    let counts = ["arrivals", "refused", "overruns", "forgotten"].map(|name| &summary[name]);
    assert_eq!(counts, [92, 1, 1, 0]);
    let total = json!({
        "org": "00Do", "user": null, "operation": null,
        "max": 15_000, "window_ms": 86_400_000, "worst": 1, "arrivals": 1, "refused": 0,
    });
    let user = json!({
        "org": "00Do", "user": "005u", "operation": GET_ENTRIES,
        "max": 90, "window_ms": 60_000, "worst": 91, "arrivals": 91, "refused": 1,
    });
    assert_eq!(summary["windows"], json!([total, user]));
    assert_eq!(salesforce.handle.counts().arrived(), 92, "to ask is no call");
}

#[cfg(feature = "cli")]
mod command {
    use std::process::Stdio;

    use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

    use super::*;
    use process::{program, signal};

    /// Runs `quotagate standin`, makes two calls, sends a signal, and gives back
    /// the exit code and what it said at the end.
    async fn run(options: &[&str], end_by: &str) -> (Option<i32>, String) {
        let mut command = program(&["standin", "--listen", "127.0.0.1:0"]);
        let mut child = command.args(options).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).await.unwrap();
        let url = line.strip_prefix("stand-in  ").expect("it says where it listens").trim();
        let client = Client::builder(TokioExecutor::new()).build_http();
        let caller =
            Caller { client, url: url.to_owned(), session: "Bearer acme!alice".to_owned() };
        assert_eq!(caller.get(ENTRIES).await.status, StatusCode::OK);
        assert_eq!(caller.get(QUERY).await.limit_info(), Some("api-usage=1/50"));
        signal(child.id().unwrap(), end_by);
        let mut said = String::new();
        out.read_to_string(&mut said).await.unwrap();
        (child.wait().await.unwrap().code(), said)
    }

    #[tokio::test]
    async fn it_runs_as_a_command_and_says_at_the_end_what_came() {
        for signal in ["TERM", "INT"] {
            let (code, said) = run(&["--scale", "0.0333", "--org-limit", "50"], signal).await;
            assert_eq!(code, Some(0), "{said}");
            let counted =
                said.starts_with("2 calls in ") && said.contains(", 0 refused, 0 overruns");
            assert!(counted, "{said}");
            for part in ["acme  alice  conversation-entries.get  1 s 998 ms", "47 min 58 s"] {
                assert!(said.contains(part), "{part} is not in\n{said}");
            }
        }
    }
}
