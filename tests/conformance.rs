//! The scenarios that every client runs, whatever its language: the Rust client
//! against the real server. `clients/conformance/README.md` says what a step is.
#![cfg(all(feature = "client", feature = "server"))]

#[cfg(all(feature = "tower", feature = "reqwest"))]
#[path = "common/adapters.rs"]
mod adapters;
#[path = "common/mod.rs"]
mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fs,
    path::Path,
    time::Duration,
};

#[cfg(all(feature = "tower", feature = "reqwest"))]
use quotagate::{
    client::http::HttpOptions,
    standin::{Options, StandIn},
};
use quotagate::{
    client::{AcquireError, Answer, Ask, Client, Denied, Moment, Permit, PermitExpired},
    proto::v1::{
        AcquireMode, AcquireRequest, ClassRunState, ClassState, GetUsageRequest, LimitScope,
        LimitUsage, OrgUsage, ReleaseRequest, ReportRequest, TrafficClass,
        acquire_response::Outcome,
    },
};
use serde_json::{Map, Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use common::TestServer;

/// Reports of a guard come a moment later.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(10);

/// Of every client: no scenario is about it.
const TIMEOUT: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rust_client_does_what_every_client_must() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/conformance");
    let read = |name| fs::read_to_string(folder.join(name)).expect("it is there");
    let file: Value = serde_json::from_str(&read("scenarios.json")).expect("it is JSON");
    let config = read("config.yaml");
    let server = TestServer::start(&config).await;
    let (mut passed, mut skipped, mut failed) = (0, 0, Vec::new());
    for scenario in file["scenarios"].as_array().expect("a list") {
        let steps = scenario["steps"].as_array().expect("a list");
        if steps.iter().any(|step| step.get("http").is_some()) {
            skipped += 1;
            continue;
        }
        match Run::new(&server, text(scenario, "org")).all(steps).await {
            Ok(()) => passed += 1,
            Err(why) => failed.push(format!("{}: {why}", scenario["name"])),
        }
    }
    println!("{passed} passed, {} failed, {skipped} are for the adapters", failed.len());
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(passed > 20, "the file has scenarios: {passed}");
}

#[cfg(all(feature = "tower", feature = "reqwest"))]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_adapters_do_what_those_of_every_client_must() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/conformance");
    let read = |name| fs::read_to_string(folder.join(name)).expect("it is there");
    let file: Value = serde_json::from_str(&read("scenarios.json")).expect("it is JSON");
    for adapter in [adapters::tower as Adapter, adapters::reqwest] {
        let server = TestServer::start(&read("config.yaml")).await;
        let salesforce = StandIn::start(Options::default()).await.expect("a free port");
        let mut passed = 0;
        for scenario in file["scenarios"].as_array().expect("a list") {
            let steps = scenario["steps"].as_array().expect("a list");
            if steps.iter().all(|step| step.get("http").is_none()) {
                continue;
            }
            let mut run = Run::new(&server, text(scenario, "org"));
            run.http = Some((adapter, &salesforce));
            let ran = run.all(steps).await;
            assert_eq!(ran, Ok(()), "{}", scenario["name"]);
            passed += 1;
        }
        assert!(passed > 5, "the file has scenarios: {passed}");
    }
}

/// Makes an HTTP client with an adapter.
#[cfg(all(feature = "tower", feature = "reqwest"))]
type Adapter = fn(Client, HttpOptions) -> adapters::Http;

/// One scenario.
struct Run<'a> {
    server: &'a TestServer,
    org: &'a str,
    client: Client,
    /// By the names that `as` gives.
    permits: BTreeMap<String, String>,
    #[cfg(all(feature = "tower", feature = "reqwest"))]
    http: Option<(Adapter, &'a StandIn)>,
}

impl<'a> Run<'a> {
    fn new(server: &'a TestServer, org: &'a str) -> Self {
        let client = client(server);
        Self {
            server,
            org,
            client,
            permits: BTreeMap::new(),
            #[cfg(all(feature = "tower", feature = "reqwest"))]
            http: None,
        }
    }

    async fn all(mut self, steps: &[Value]) -> Result<(), String> {
        for step in steps {
            let outcome = self.step(step).await;
            outcome.map_err(|got| format!("{step}\n  got {got}"))?;
        }
        Ok(())
    }

    /// Does one step; an error is what it came to instead of what is expected.
    async fn step(&mut self, step: &Value) -> Result<(), String> {
        let known = ["acquire", "check", "release", "report", "usage", "guard", "http"];
        let kind = known.into_iter().find(|kind| step.get(kind).is_some());
        let kind = kind.ok_or("a step of a kind that is not known")?;
        let (arguments, expected) = (&step[kind], &step["expect"]);
        if kind == "usage" {
            return self.usage(arguments, expected).await;
        }
        let got = match kind {
            "acquire" => self.acquire(arguments).await,
            "check" => self.check(arguments).await,
            "release" => self.release(arguments).await,
            "report" => self.report(arguments).await,
            #[cfg(all(feature = "tower", feature = "reqwest"))]
            "http" => self.http(arguments).await?,
            _ => self.guard(arguments).await?,
        };
        self.matches(expected, &got).then_some(()).ok_or_else(|| got.to_string())?;
        if let Some(name) = step.get("as").and_then(Value::as_str) {
            let id = got["permit"]["id"].as_str().unwrap_or_default();
            self.permits.insert(name.to_owned(), id.to_owned());
        }
        Ok(())
    }

    async fn acquire(&self, arguments: &Value) -> Value {
        match self.client.permit(&self.ask(arguments)).await {
            Ok(permit) => {
                let got = of_permit(&permit);
                // Nothing is given back when the step is over.
                std::mem::forget(permit);
                got
            }
            Err(error) => of_error(&error),
        }
    }

    async fn check(&self, arguments: &Value) -> Value {
        let request = AcquireRequest {
            org: self.org_of(arguments),
            workspace: text(arguments, "workspace").to_owned(),
            operation: text(arguments, "operation").to_owned(),
            execution_user: text(arguments, "execution_user").to_owned(),
            traffic_class: class(arguments).into(),
            calls: number(arguments, "calls"),
            min_calls: number(arguments, "min_calls"),
            cost: number(arguments, "cost"),
            mode: AcquireMode::CheckOnly.into(),
            ..AcquireRequest::default()
        };
        match self.client.acquire(request).await.map(|answer| answer.outcome) {
            Ok(Some(Outcome::Permit(permit))) => {
                let ttl = permit.ttl.and_then(|ttl| Duration::try_from(ttl).ok());
                let mut got = json!({"permit": {
                    "calls": permit.calls,
                    "execution_user": permit.execution_user,
                    "ttl_s": ttl.unwrap_or_default().as_secs_f64(),
                    "limits": permit.limits.iter().map(of_limit).collect::<Vec<_>>(),
                }});
                if !permit.permit_id.is_empty() {
                    got["permit"]["id"] = permit.permit_id.into();
                }
                got
            }
            Ok(Some(Outcome::Denial(denial))) => of_denied(&denial.into()),
            Ok(None) => json!("neither yes nor no"),
            Err(status) => of_status(&status),
        }
    }

    async fn release(&self, arguments: &Value) -> Value {
        let unused_calls = arguments.get("unused_calls").map(|_| number(arguments, "unused_calls"));
        let request = ReleaseRequest { permit_id: self.permit_of(arguments), unused_calls };
        match self.client.release(request).await {
            Ok(answer) => json!({
                "returned_calls": answer.returned_calls,
                "already_settled": answer.already_settled,
            }),
            Err(status) => of_status(&status),
        }
    }

    async fn report(&self, arguments: &Value) -> Value {
        let permit_id = self.permit_of(arguments);
        let org = if permit_id.is_empty() { self.org_of(arguments) } else { String::new() };
        let request = ReportRequest {
            permit_id,
            org,
            execution_user: text(arguments, "execution_user").to_owned(),
            operation: text(arguments, "operation").to_owned(),
            first_call: number(arguments, "first_call"),
            calls: number(arguments, "calls"),
            http_status: number(arguments, "http_status"),
            error_code: text(arguments, "error_code").to_owned(),
            error_message: text(arguments, "error_message").to_owned(),
            retry_after: seconds(arguments, "retry_after_s").and_then(|time| time.try_into().ok()),
            limit_info: texts(arguments, "limit_info"),
            completed_ago: Some(prost_types::Duration::default()),
            ..ReportRequest::default()
        };
        match self.client.report(request).await {
            Ok(answer) => {
                let back_off = answer.back_off.and_then(|time| Duration::try_from(time).ok());
                json!({
                    "already_settled": answer.already_settled,
                    "advice": answer.advice().as_str_name().trim_start_matches("ADVICE_"),
                    "back_off_s": back_off.map(|time| time.as_secs_f64()),
                })
            }
            Err(status) => of_status(&status),
        }
    }

    /// A guard of a client of its own.
    async fn guard(&self, arguments: &Value) -> Result<Value, String> {
        let client = client(self.server);
        let got = match client.permit(&self.ask(arguments)).await {
            Err(error) => of_error(&error),
            Ok(permit) => {
                let got = of_permit(&permit);
                let left = leave(permit, arguments).await;
                let was_thrown = left.as_ref().is_err_and(|error| error.is::<Thrown>());
                if was_thrown != (arguments["throw"] == true) {
                    return Err(format!("the guard was left with {left:?}"));
                }
                got
            }
        };
        if client.close().await { Ok(got) } else { Err("not all is settled".to_owned()) }
    }

    /// Requests through an adapter of their own.
    #[cfg(all(feature = "tower", feature = "reqwest"))]
    async fn http(&self, arguments: &Value) -> Result<Value, String> {
        let (adapter, salesforce) = self.http.ok_or("no adapter")?;
        let options = HttpOptions::new(self.org)
            .execution_user(text(arguments, "user"))
            .workspace(text(arguments, "workspace"))
            .traffic_class(class(arguments));
        let http = match arguments["direct"] == true {
            true => adapters::direct(),
            false => adapter(self.client.clone(), options),
        };
        let url = format!("{}{}", salesforce.url(), text(arguments, "path"));
        let before = salesforce.handle.counts().arrived();
        let mut got = Value::Null;
        for _ in 0..number(arguments, "times").max(1) {
            let answer = http.send(adapters::Call {
                method: text(arguments, "method"),
                url: &url,
                org: self.org,
                user: text(arguments, "user"),
                batch: number(arguments, "batch"),
            });
            got = match answer.await {
                Ok((status, body)) => {
                    let body: Value = serde_json::from_str(&body).unwrap_or_default();
                    json!({"status": status, "error_code": body[0]["errorCode"]})
                }
                Err(adapters::Fault::Refused(error)) => of_error(&error),
                Err(adapters::Fault::Failed(why)) => return Err(why),
            };
        }
        got["sent"] = (salesforce.handle.counts().arrived() - before).into();
        Ok(got)
    }

    /// Asks until it is as expected.
    async fn usage(&self, arguments: &Value, expected: &Value) -> Result<(), String> {
        let start = Moment::now();
        loop {
            let request = GetUsageRequest { org: self.org_of(arguments) };
            let got = match self.client.get_usage(request).await {
                Ok(answer) => of_usage(&answer.usage.unwrap_or_default(), arguments),
                Err(status) => of_status(&status),
            };
            if self.matches(expected, &got) {
                return Ok(());
            }
            if Moment::now().since(start) > PATIENCE {
                return Err(got.to_string());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn ask(&self, arguments: &Value) -> Ask {
        let mut ask = Ask::new(self.org_of(arguments), text(arguments, "operation"))
            .workspace(text(arguments, "workspace"))
            .execution_user(text(arguments, "execution_user"))
            .traffic_class(class(arguments))
            .calls(number(arguments, "calls"))
            .min_calls(number(arguments, "min_calls"))
            .cost(number(arguments, "cost"))
            .max_wait(seconds(arguments, "max_wait_s").unwrap_or_default());
        if let Some(ttl) = seconds(arguments, "permit_ttl_s") {
            ask = ask.permit_ttl(ttl);
        }
        match arguments.get("request_id").and_then(Value::as_str) {
            Some(id) => ask.request_id(id),
            None => ask,
        }
    }

    fn org_of(&self, arguments: &Value) -> String {
        arguments.get("org").and_then(Value::as_str).unwrap_or(self.org).to_owned()
    }

    fn permit_of(&self, arguments: &Value) -> String {
        match arguments.get("permit").and_then(Value::as_str) {
            Some(name) => self.permits[name].clone(),
            None => text(arguments, "permit_id").to_owned(),
        }
    }

    fn matches(&self, expected: &Value, got: &Value) -> bool {
        fields(expected).iter().all(|(key, expected)| match key.as_str() {
            "permit" | "denied" | "error" => {
                got.get(key).is_some_and(|got| self.matches(expected, got))
            }
            "id" => self.is_id(expected, &got["id"]),
            "limit" => {
                let one = got.get("limit").into_iter();
                let mut limits = one.chain(got["limits"].as_array().into_iter().flatten());
                limits.any(|limit| self.matches(expected, limit))
            }
            "paused" | "warnings" => set(expected) == set(&got[key]),
            "fields" => expected == &got[key],
            _ => value_matches(expected, &got[key]),
        })
    }

    fn is_id(&self, expected: &Value, got: &Value) -> bool {
        match expected {
            Value::Null => got.is_null(),
            Value::String(name) => got.as_str() == self.permits.get(name).map(String::as_str),
            _ => got.as_str().is_some_and(|id| !self.permits.values().any(|known| known == id)),
        }
    }
}

/// What the interpreter raises within a guard.
#[derive(Debug)]
struct Thrown;

impl std::fmt::Display for Thrown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("thrown")
    }
}

impl Error for Thrown {}

/// What happens within a guard, which is dropped at its end.
async fn leave(mut permit: Permit, arguments: &Value) -> Result<(), Box<dyn Error>> {
    let mut started = Vec::new();
    for _ in 0..number(arguments, "start") {
        started.push(permit.start()?);
    }
    if arguments["start_beyond"] == true {
        assert_eq!(permit.start().err(), Some(PermitExpired::NoneLeft));
    }
    let answers = arguments["answers"].as_array().map_or(&[][..], Vec::as_slice);
    for (call, answer) in started.drain(..answers.len()).zip(answers) {
        call.report(of_answer(answer)).await;
    }
    if arguments["throw"] == true { Err(Thrown.into()) } else { Ok(()) }
}

fn of_answer(answer: &Value) -> Answer {
    let mut told = Answer::new(u16::try_from(number(answer, "http_status")).expect("a status"))
        .error(text(answer, "error_code"), text(answer, "error_message"));
    for value in texts(answer, "limit_info") {
        told = told.limit_info(&value);
    }
    match answer.get("retry_after_s") {
        Some(after) => told.retry_after(&after.to_string()),
        None => told,
    }
}

fn client(server: &TestServer) -> Client {
    Client::builder(&server.grpc_addr.to_string()).timeout(TIMEOUT).build().expect("an address")
}

fn of_permit(permit: &Permit) -> Value {
    let mut got = json!({
        "calls": permit.calls(),
        "execution_user": permit.execution_user(),
        "ttl_s": permit.deadline().since(Moment::now()).as_secs_f64(),
        "limits": permit.limits().iter().map(of_limit).collect::<Vec<_>>(),
    });
    if !permit.id().is_empty() {
        got["id"] = permit.id().into();
    }
    add_classes(&mut got, permit.class_state());
    json!({ "permit": got })
}

fn of_error(error: &AcquireError) -> Value {
    match error {
        AcquireError::Denied(denied) => of_denied(denied),
        AcquireError::Invalid(invalid) => {
            let fields: Vec<_> = invalid.violations.iter().map(|wrong| &wrong.field).collect();
            json!({"error": {"code": "INVALID_ARGUMENT", "fields": fields}})
        }
        AcquireError::NotFound(status)
        | AcquireError::PermissionDenied(status)
        | AcquireError::Unauthenticated(status) => of_status(status),
        other => json!(other.to_string()),
    }
}

fn of_denied(denied: &Denied) -> Value {
    let mut got = json!({
        "reason": denied.reason_name(),
        "retry_after_s": denied.retry_after.map(|time| time.as_secs_f64()),
        "queue_position": denied.queue_position,
        "limit": denied.limit.as_ref().map(of_limit),
    });
    add_classes(&mut got, denied.class_state.as_ref());
    json!({ "denied": got })
}

fn of_status(status: &Status) -> Value {
    let code = match status.code() {
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::NotFound => "NOT_FOUND",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::Unauthenticated => "UNAUTHENTICATED",
        Code::Unavailable => "UNAVAILABLE",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        _ => status.code().description(),
    };
    let details = status.get_error_details();
    let fields = details.bad_request().map_or(&[][..], |bad| &bad.field_violations);
    let fields: Vec<_> = fields.iter().map(|wrong| &wrong.field).collect();
    json!({"error": {"code": code, "fields": fields}})
}

fn of_limit(limit: &LimitUsage) -> Value {
    let window = limit.window.and_then(|window| Duration::try_from(window).ok());
    json!({
        "name": limit.name,
        "scope": limit.scope().as_str_name().trim_start_matches("LIMIT_SCOPE_"),
        "kind": limit.kind().as_str_name().trim_start_matches("LIMIT_KIND_"),
        "identity": limit.identity,
        "max": limit.max,
        "used_by_caller": limit.used_by_caller,
        "used_by_others": limit.used_by_others,
        "foreign": limit.foreign,
        "reserved": limit.reserved,
        "window_s": window.unwrap_or_default().as_secs_f64(),
    })
}

/// The limit that a step names; zeros where nothing is counted.
fn of_usage(usage: &OrgUsage, arguments: &Value) -> Value {
    let identity = text(arguments, "identity");
    let of_scope = |limits: &[LimitUsage], scope: LimitScope| {
        let mut named = limits.iter().filter(|limit| limit.name == text(arguments, "limit"));
        named.find(|limit| limit.scope() == scope).map(of_limit)
    };
    let workspace = usage.workspaces.iter().find(|workspace| workspace.workspace == identity);
    let user = usage.execution_users.iter().find(|user| user.execution_user == identity);
    let limit = match text(arguments, "scope") {
        "ORG" => of_scope(&usage.limits, LimitScope::Org),
        "WORKSPACE" => workspace.and_then(|w| of_scope(&w.limits, LimitScope::Workspace)),
        _ => user.and_then(|user| of_scope(&user.limits, LimitScope::ExecutionUser)),
    };
    let mut got = limit.unwrap_or_else(|| of_limit(&LimitUsage::default()));
    add_classes(&mut got, workspace.and_then(|workspace| workspace.class_state.as_ref()));
    got
}

fn add_classes(got: &mut Value, state: Option<&ClassState>) {
    let Some(state) = state else { return };
    let paused = state.classes.iter().filter(|class| class.state() == ClassRunState::Paused);
    let short = |class: TrafficClass| {
        class.as_str_name().trim_start_matches("TRAFFIC_CLASS_").to_ascii_lowercase()
    };
    got["paused"] = paused.map(|class| short(class.traffic_class())).collect();
    let kinds = state.warnings.iter().map(|warning| warning.kind().as_str_name());
    got["warnings"] = kinds.map(|kind| kind.trim_start_matches("WARNING_KIND_")).collect();
}

/// A number or text exactly; two numbers are a range; `null` is absent; `true`
/// of a time is present.
fn value_matches(expected: &Value, got: &Value) -> bool {
    match expected {
        Value::Array(range) => {
            let [from, to] = &range[..] else { return false };
            let number = got.as_f64();
            number.is_some_and(|n| from.as_f64() <= Some(n) && Some(n) <= to.as_f64())
        }
        Value::Bool(true) if !got.is_boolean() => !got.is_null(),
        Value::Number(number) => number.as_f64() == got.as_f64(),
        _ => expected == got,
    }
}

fn fields(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

fn set(value: &Value) -> BTreeSet<&str> {
    strings(value).collect()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn texts(value: &Value, key: &str) -> Vec<String> {
    strings(&value[key]).map(str::to_owned).collect()
}

fn strings(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn number(value: &Value, key: &str) -> u32 {
    let number = value.get(key).and_then(Value::as_u64).unwrap_or_default();
    u32::try_from(number).expect("a small number")
}

fn seconds(value: &Value, key: &str) -> Option<Duration> {
    value.get(key).and_then(Value::as_f64).map(Duration::from_secs_f64)
}

fn class(value: &Value) -> TrafficClass {
    match text(value, "traffic_class") {
        "bulk" => TrafficClass::Bulk,
        "interactive" => TrafficClass::Interactive,
        "control" => TrafficClass::Control,
        _ => TrafficClass::Event,
    }
}
