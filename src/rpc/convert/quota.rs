//! Acquire, Release, Report and usage; `attribution` has who used it, and demand, and
//! `written` is an Acquire's answer without the message.

mod attribution;
mod written;

use std::time::Duration;

use prost::Message as _;

use super::{Checks, optional, wall, wire_duration, wire_moment, wire_time};
use crate::{
    node::{Decided, Decision, UsageEvent},
    proto::v1,
    quota::{
        Advice, Ask, Class, ClassState, ClassStatus, CoolingCause, CoolingUsage, Denial,
        DenialReason, Kind, LimitExplanation, LimitUsage, Now, OperationId, OrgId, OrgLine,
        OrgUsage, Reading, Released, Report, Reported, RequestId, RequestKey, Scope, SeenReading,
        Transition, UserId, UserUsage, Warning, WorkspaceId, WorkspaceUsage,
        salesforce::{ApiUsage, errors::Trouble},
    },
    rpc::status::{Problem, cut},
};

pub use self::{
    attribution::{
        Asker, CALLER, DemandFilter, declared_caller, demand, demand_filter, forwarded_caller,
    },
    written::write as write_decided,
};

/// Calls of one permit, and units that one call takes.
const MAX_CALLS: u32 = 10_000;

/// No request is parked longer.
pub const MAX_WAIT: Duration = Duration::from_secs(10 * 60);

/// The ledger counts in microseconds: less would be no life at all.
const MIN_TTL: Duration = Duration::from_micros(1);

const MAX_PERMIT_ID_CHARS: usize = 128;
const MAX_LIMIT_INFOS: usize = 8;
const MAX_LIMIT_INFO_BYTES: usize = 1024;
const MAX_ERROR_TEXT_BYTES: usize = 1024;

/// Checks an Acquire.
///
/// # Errors
/// Every field that is wrong.
pub fn ask(request: &v1::AcquireRequest, asker: &Asker<'_>) -> Result<(OrgId, Ask), Problem> {
    let mut checks = Checks::default();
    let names = checks.keep(CALLER, asker.names());
    let org = checks.keep("org", OrgId::parse(&request.org));
    let workspace = checks.keep("workspace", optional(&request.workspace, WorkspaceId::parse));
    let operation = checks.keep("operation", OperationId::parse(&request.operation));
    let user = checks.keep("execution_user", optional(&request.execution_user, UserId::parse));
    let class = checks.keep("traffic_class", class(request.traffic_class));
    let calls = checks.number("calls", request.calls.max(1), 1..=MAX_CALLS);
    let min_calls = min_calls(&mut checks, request);
    let cost = checks.number("cost", request.cost.max(1), 1..=MAX_CALLS);
    let max_wait = max_wait(&mut checks, request);
    let ttl = permit_ttl(&mut checks, request);
    let id = checks.keep("request_id", optional(&request.request_id, RequestId::parse));
    let check_only = checks.keep("mode", is_check_only(request.mode));

    let ask = || {
        let (org, check_only) = (org?, check_only?);
        let [caller, principal] = names?;
        let mut ask = Ask {
            caller,
            principal,
            workspace: workspace?,
            operation: operation?,
            user: user?,
            class: class?,
            calls: calls?,
            min_calls: min_calls?,
            cost: cost?,
            ttl: ttl?,
            request: None,
            max_wait: if check_only { Duration::ZERO } else { max_wait? },
            check_only,
        };
        // A check charges nothing, so there is nothing that a repeat could harm.
        if let Some(id) = id?.filter(|_| !check_only) {
            // Callers of different names do not meet each other's requests.
            let caller = ask.caller.clone().unwrap_or_default();
            ask.request = Some(RequestKey { caller, id, digest: digest(&org, &ask) });
        }
        Some((org, ask))
    };
    let ask = ask();
    checks.finish(ask)
}

fn min_calls(checks: &mut Checks, request: &v1::AcquireRequest) -> Option<u32> {
    let calls = request.calls.max(1);
    match request.min_calls {
        0 => Some(calls),
        min if min <= calls => Some(min),
        min => {
            checks.refuse("min_calls", format!("must be at most calls ({calls}), is {min}"));
            None
        }
    }
}

fn max_wait(checks: &mut Checks, request: &v1::AcquireRequest) -> Option<Duration> {
    let wait = checks.duration("max_wait", request.max_wait)?;
    if wait > MAX_WAIT {
        let seconds = wait.as_secs();
        checks.refuse("max_wait", format!("must be at most 10 minutes (600 s), is {seconds} s"));
        return None;
    }
    Some(wait)
}

/// The outer option is the check's, the inner one the field's.
fn permit_ttl(checks: &mut Checks, request: &v1::AcquireRequest) -> Option<Option<Duration>> {
    if request.permit_ttl.is_none() {
        return Some(None);
    }
    let ttl = checks.duration("permit_ttl", request.permit_ttl)?;
    if ttl < MIN_TTL {
        checks.refuse("permit_ttl", "must be positive: leave it out for the default");
        return None;
    }
    Some(Some(ttl))
}

fn class(number: i32) -> Result<Class, String> {
    match v1::TrafficClass::try_from(number) {
        Ok(v1::TrafficClass::Bulk) => Ok(Class::Bulk),
        Ok(v1::TrafficClass::Unspecified | v1::TrafficClass::Event) => Ok(Class::Event),
        Ok(v1::TrafficClass::Interactive) => Ok(Class::Interactive),
        Ok(v1::TrafficClass::Control) => Ok(Class::Control),
        Err(_) => Err(format!("must be BULK, EVENT, INTERACTIVE or CONTROL, is number {number}")),
    }
}

fn is_check_only(number: i32) -> Result<bool, String> {
    match v1::AcquireMode::try_from(number) {
        Ok(v1::AcquireMode::Unspecified | v1::AcquireMode::Enforce) => Ok(false),
        Ok(v1::AcquireMode::CheckOnly) => Ok(true),
        Err(_) => Err(format!("must be ENFORCE or CHECK_ONLY, is number {number}")),
    }
}

/// Names the body of a request: its canonical form, so that defaults and both
/// forms of a Salesforce id make no difference, without `request_id`, and
/// without `max_wait`, because a repeat waits for what is left of the first
/// one's time and is the same request all the same.
fn digest(org: &OrgId, ask: &Ask) -> u64 {
    let text = |id: Option<&str>| id.unwrap_or_default().to_owned();
    let body = v1::AcquireRequest {
        org: org.as_str().to_owned(),
        workspace: text(ask.workspace.as_ref().map(WorkspaceId::as_str)),
        operation: ask.operation.as_str().to_owned(),
        execution_user: text(ask.user.as_ref().map(UserId::as_str)),
        traffic_class: wire_class(ask.class).into(),
        calls: ask.calls,
        min_calls: ask.min_calls,
        cost: ask.cost,
        permit_ttl: ask.ttl.map(wire_duration),
        ..Default::default()
    };
    fnv1a(&body.encode_to_vec())
}

/// FNV-1a with 64 bits: the same on every machine and in every version, unlike
/// the standard library's hasher.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Checks a Release.
///
/// # Errors
/// Every field that is wrong.
pub fn release(request: &v1::ReleaseRequest) -> Result<(&str, Option<u32>), Problem> {
    let mut checks = Checks::default();
    let id = checks.keep("permit_id", permit_id(&request.permit_id));
    if let Some(unused) = request.unused_calls {
        checks.number("unused_calls", unused, 0..=MAX_CALLS);
    }
    checks.finish(id.map(|id| (id, request.unused_calls)))
}

fn permit_id(id: &str) -> Result<&str, String> {
    match id.chars().count() {
        0 => Err("must be given: it is in the answer to Acquire".into()),
        1..=MAX_PERMIT_ID_CHARS => Ok(id),
        long => Err(format!("must have at most {MAX_PERMIT_ID_CHARS} characters, has {long}")),
    }
}

/// What a report is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject<'a> {
    /// Calls of a permit.
    Permit(&'a str),
    /// An org whose answer was seen without a permit.
    Org(OrgId),
}

/// Checks a Report.
///
/// # Errors
/// Every field that is wrong.
pub fn report(request: &v1::ReportRequest) -> Result<(Subject<'_>, Report), Problem> {
    let mut checks = Checks::default();
    let subject = subject(&mut checks, request);
    let user = checks.keep("execution_user", optional(&request.execution_user, UserId::parse));
    let operation = checks.keep("operation", optional(&request.operation, OperationId::parse));
    let first_call = checks.number("first_call", request.first_call, 0..=MAX_CALLS - 1);
    let calls = checks.number("calls", request.calls.max(1), 1..=MAX_CALLS);
    if let (Some(first), Some(calls)) = (first_call, calls)
        && first + calls > MAX_CALLS
    {
        checks.refuse(
            "calls",
            format!("must be at most {} after first_call {first}, is {calls}", MAX_CALLS - first),
        );
    }
    let http_status = checks.keep("http_status", http_status(request.http_status));
    let retry_after = checks.duration("retry_after", request.retry_after);
    limit_info(&mut checks, &request.limit_info);
    let answer_time = checks.keep("answer_time", request.answer_time.map(wall).transpose());
    let completed_ago = checks.duration("completed_ago", request.completed_ago);

    let report = || {
        let answer_time = answer_time?;
        let reading = ApiUsage::first_of(request.limit_info.iter().map(String::as_str))
            .map(|usage| Reading { usage, answer_time });
        let http_status = http_status?;
        let (code, text) = error_text(request);
        let retry_after = retry_after?;
        let retry_after = request.retry_after.is_some().then_some(retry_after);
        let report = Report {
            first_call: first_call?,
            calls: calls?,
            http_status,
            completed_ago: completed_ago?,
            reading,
            trouble: Trouble::of(http_status, code, text, retry_after),
            user: user?,
            operation: operation?,
        };
        Some((subject?, report))
    };
    let report = report();
    checks.finish(report)
}

fn subject<'a>(checks: &mut Checks, request: &'a v1::ReportRequest) -> Option<Subject<'a>> {
    match (request.permit_id.is_empty(), request.org.is_empty()) {
        (false, true) => {
            checks.keep("permit_id", permit_id(&request.permit_id)).map(Subject::Permit)
        }
        (true, false) => checks.keep("org", OrgId::parse(&request.org)).map(Subject::Org),
        (true, true) => {
            checks.refuse("permit_id", "must be given, or org to report a reading only");
            None
        }
        (false, false) => {
            checks.refuse("org", "must be empty where permit_id is given: the permit names it");
            None
        }
    }
}

fn http_status(number: u32) -> Result<u16, String> {
    match u16::try_from(number) {
        Ok(status @ (0 | 100..=599)) => Ok(status),
        _ => Err(format!("must be 100 to 599, or 0 where no answer came, is {number}")),
    }
}

fn limit_info(checks: &mut Checks, values: &[String]) {
    if values.len() > MAX_LIMIT_INFOS {
        let count = values.len();
        checks.refuse("limit_info", format!("must have at most 8 values, has {count}"));
        return;
    }
    for (index, value) in values.iter().enumerate() {
        if value.len() > MAX_LIMIT_INFO_BYTES {
            let length = value.len();
            checks.refuse(
                format!("limit_info[{index}]"),
                format!("must have at most {MAX_LIMIT_INFO_BYTES} bytes, has {length}"),
            );
        }
    }
}

/// Salesforce's code and message of a report, short enough to be logged.
#[must_use]
pub fn error_text(request: &v1::ReportRequest) -> (&str, &str) {
    (
        cut(&request.error_code, MAX_ERROR_TEXT_BYTES),
        cut(&request.error_message, MAX_ERROR_TEXT_BYTES),
    )
}

/// The answer to an Acquire.
#[must_use]
pub fn decided(Decided { decision, now }: Decided) -> v1::AcquireResponse {
    use v1::acquire_response::Outcome;
    let outcome = match decision {
        Decision::Permit { id, ttl, permit } => Outcome::Permit(v1::Permit {
            permit_id: id.map(|id| id.to_string()).unwrap_or_default(),
            calls: permit.calls,
            execution_user: permit.user.map_or_else(String::new, |user| user.as_str().to_owned()),
            ttl: Some(wire_duration(ttl)),
            class_state: permit.class_state.map(|state| class_state(state, now)),
            limits: permit.limits.into_iter().map(|limit| limit_usage(limit, now)).collect(),
            explanation: permit.explanation.into_iter().map(|e| explanation(e, now)).collect(),
        }),
        Decision::Denial(refusal) => Outcome::Denial(denial(*refusal, now)),
    };
    v1::AcquireResponse { outcome: Some(outcome) }
}

fn denial(denial: Denial, now: Now) -> v1::Denial {
    v1::Denial {
        reason: denial_reason(denial.reason).into(),
        limit: denial.limit.map(|limit| limit_usage(limit, now)),
        limits: denial.limits.into_iter().map(|limit| limit_usage(limit, now)).collect(),
        retry_after: denial.retry_after.map(wire_duration),
        queue_position: denial.queue_position,
        message: denial.message,
        class_state: denial.class_state.map(|state| class_state(state, now)),
        explanation: denial.explanation.into_iter().map(|e| explanation(e, now)).collect(),
    }
}

fn explanation(explanation: LimitExplanation, now: Now) -> v1::LimitExplanation {
    v1::LimitExplanation {
        usage: Some(limit_usage(explanation.usage, now)),
        room: explanation.room,
        needed: explanation.needed,
        ahead: explanation.ahead,
        kept_for_workspaces: explanation.kept,
        pauses_at: explanation.pauses_at,
        binding: explanation.binding,
        opens_in: explanation.opens_in.map(wire_duration),
        text: explanation.text,
    }
}

fn denial_reason(reason: DenialReason) -> v1::DenialReason {
    match reason {
        DenialReason::ExecutionUserLimit => v1::DenialReason::ExecutionUserLimit,
        DenialReason::WorkspaceClassPaused => v1::DenialReason::WorkspaceClassPaused,
        DenialReason::WorkspaceLimit => v1::DenialReason::WorkspaceLimit,
        DenialReason::OrgLimit => v1::DenialReason::OrgLimit,
        DenialReason::ConcurrencyLimit => v1::DenialReason::ConcurrencyLimit,
        DenialReason::CoolingDown => v1::DenialReason::CoolingDown,
        DenialReason::QueueFull => v1::DenialReason::QueueFull,
    }
}

fn limit_usage(usage: LimitUsage, now: Now) -> v1::LimitUsage {
    v1::LimitUsage {
        name: usage.name.as_str().to_owned(),
        kind: wire_kind(usage.kind).into(),
        scope: wire_scope(usage.scope).into(),
        identity: usage.identity.to_string(),
        max: usage.max,
        used_by_caller: usage.used_by_caller,
        used_by_others: usage.used_by_others,
        foreign: usage.foreign,
        held: usage.held,
        reserved: usage.reserved,
        remaining: usage.remaining,
        window: Some(wire_duration(usage.window)),
        stale: usage.stale,
        burn_per_hour: usage.burn_per_hour,
        exhausted_in: None,
        opens_in: None,
        shadow: usage.shadow.map(|would_have_refused| v1::Shadow { would_have_refused }),
        cooling_until: usage.cooling_until.map(|until| wire_moment(until, now)),
        outage_share: usage.outage_share,
    }
}

fn wire_kind(kind: Kind) -> v1::LimitKind {
    match kind {
        Kind::Window => v1::LimitKind::Window,
        Kind::Concurrency => v1::LimitKind::Concurrency,
    }
}

fn wire_scope(scope: Scope) -> v1::LimitScope {
    match scope {
        Scope::Org => v1::LimitScope::Org,
        Scope::Workspace => v1::LimitScope::Workspace,
        Scope::ExecutionUser => v1::LimitScope::ExecutionUser,
    }
}

fn cooling_usage(usage: CoolingUsage, now: Now) -> v1::CoolingUsage {
    v1::CoolingUsage {
        scope: wire_scope(usage.scope).into(),
        identity: usage.identity.to_string(),
        limit: usage.limit.as_str().to_owned(),
        cause: wire_cause(usage.cause).into(),
        since: Some(wire_moment(usage.since, now)),
        until: Some(wire_moment(usage.until, now)),
        attempts: usage.attempts,
        probe_out: usage.probe_out,
    }
}

fn wire_cause(cause: CoolingCause) -> v1::CoolingCause {
    match cause {
        CoolingCause::Throttled => v1::CoolingCause::Throttled,
        CoolingCause::LimitExceeded => v1::CoolingCause::LimitExceeded,
        CoolingCause::ConcurrencyExceeded => v1::CoolingCause::ConcurrencyExceeded,
        CoolingCause::LoginsExceeded => v1::CoolingCause::LoginsExceeded,
        CoolingCause::CounterExceeded => v1::CoolingCause::CounterExceeded,
        CoolingCause::TotalExceeded => v1::CoolingCause::TotalExceeded,
    }
}

/// One limit as it stands, and until when it lasts.
fn limit_forecast(usage: LimitUsage, now: Now) -> v1::LimitUsage {
    let exhausted_in = usage.exhausted_at.map(|at| wire_duration(at.since(now.mono)));
    let opens_in = usage.opens_at.map(|at| wire_duration(at.since(now.mono)));
    v1::LimitUsage { exhausted_in, opens_in, ..limit_usage(usage, now) }
}

fn class_state(state: ClassState, now: Now) -> v1::ClassState {
    v1::ClassState {
        classes: state.classes.into_iter().map(|status| class_status(status, now)).collect(),
        warnings: state.warnings.into_iter().map(warning).collect(),
    }
}

fn class_status(status: ClassStatus, now: Now) -> v1::ClassStatus {
    v1::ClassStatus {
        traffic_class: wire_class(status.class).into(),
        state: match status.paused {
            true => v1::ClassRunState::Paused,
            false => v1::ClassRunState::Running,
        }
        .into(),
        since: status.since.map(|since| wire_moment(since, now)),
        pauses_at_percent: status.pauses_at_percent,
        resumes_below_percent: status.resumes_below_percent,
    }
}

pub(in crate::rpc) fn wire_class(class: Class) -> v1::TrafficClass {
    match class {
        Class::Control => v1::TrafficClass::Control,
        Class::Interactive => v1::TrafficClass::Interactive,
        Class::Event => v1::TrafficClass::Event,
        Class::Bulk => v1::TrafficClass::Bulk,
    }
}

fn warning(warning: Warning) -> v1::Warning {
    let (kind, text) = match warning {
        Warning::ApproachingLimit(text) => (v1::WarningKind::ApproachingLimit, text),
        Warning::LimitReached(text) => (v1::WarningKind::LimitReached, text),
    };
    v1::Warning { kind: kind.into(), text }
}

/// The answer to a Release.
///
/// # Errors
/// `unused_calls`, where the number is needed.
pub fn released(released: Released) -> Result<v1::ReleaseResponse, Problem> {
    match released {
        Released::Returned { calls: returned_calls, already_settled } => {
            Ok(v1::ReleaseResponse { returned_calls, already_settled })
        }
        Released::NumberNeeded => Err(crate::node::NodeError::NumberNeeded.into()),
    }
}

/// The answer to a Report.
#[must_use]
pub fn reported(reported: Reported, now: Now) -> v1::ReportResponse {
    let (advice, back_off) = match reported.advice {
        Advice::Continue => (v1::Advice::Continue, None),
        Advice::BackOff(wait) => (v1::Advice::BackOff, Some(wire_duration(wait))),
        Advice::Stop => (v1::Advice::Stop, None),
    };
    v1::ReportResponse {
        already_settled: reported.already_settled,
        class_state: reported.class_state.map(|state| class_state(state, now)),
        advice: advice.into(),
        back_off,
    }
}

/// One org's usage.
#[must_use]
pub fn org_usage(usage: OrgUsage, now: Now) -> v1::OrgUsage {
    v1::OrgUsage {
        org: usage.org.as_str().to_owned(),
        as_of: Some(wire_time(now.wall)),
        limits: usage.limits.into_iter().map(|limit| limit_forecast(limit, now)).collect(),
        workspaces: usage.workspaces.into_iter().map(|w| workspace_usage(w, now)).collect(),
        execution_users: usage.users.into_iter().map(|user| user_usage(user, now)).collect(),
        waiting: usage.waiting,
        permits_out: usage.permits_out,
        last_reading: usage.last_reading.map(|read| wire_moment(read, now)),
        warnings: usage.warnings,
        cooling: usage.cooling.into_iter().map(|c| cooling_usage(c, now)).collect(),
        attribution: usage.attribution.map(attribution::attribution),
        queue: usage.queue.map(|queue| super::queue::usage(queue, now)),
        readings: usage.readings.into_iter().map(|seen| reading(seen, now)).collect(),
    }
}

/// One org in a line; what is the matter is not said here.
#[must_use]
pub fn line(line: OrgLine, now: Now) -> v1::OrgLine {
    let paused = Class::PAUSABLE.into_iter().zip(line.paused);
    let paused = paused.filter(|(_, workspaces)| *workspaces > 0);
    let paused = paused.map(|(class, workspaces)| v1::PausedClass {
        traffic_class: wire_class(class).into(),
        workspaces,
    });
    let (fullest_workspace, fullest_used_percent) =
        line.fullest.map(|(id, percent)| (id.as_str().to_owned(), percent)).unwrap_or_default();
    v1::OrgLine {
        org: line.org.as_str().to_owned(),
        total: Some(limit_forecast(line.total, now)),
        workspaces: line.workspaces,
        paused: paused.collect(),
        workspaces_at_limit: line.at_limit,
        fullest_workspace,
        fullest_used_percent,
        waiting: line.waiting,
        cooling: line.cooling.map(|cooling| v1::CoolingLine {
            until: Some(wire_moment(cooling.until, now)),
            scope: wire_scope(cooling.scope).into(),
            total: cooling.total,
            limits: cooling.limits,
        }),
        severity: v1::Severity::Unspecified.into(),
        trouble: String::new(),
    }
}

fn reading(seen: SeenReading, now: Now) -> v1::Reading {
    v1::Reading {
        answer_time: Some(wire_moment(seen.as_of, now)),
        used: seen.usage.used,
        limit: seen.usage.limit,
        own: seen.own,
        foreign: seen.foreign(),
        told_by: seen.told_by.as_deref().unwrap_or_default().to_owned(),
    }
}

fn workspace_usage(usage: WorkspaceUsage, now: Now) -> v1::WorkspaceUsage {
    v1::WorkspaceUsage {
        workspace: usage.workspace.as_str().to_owned(),
        limits: usage.limits.into_iter().map(|limit| limit_forecast(limit, now)).collect(),
        class_state: usage.class_state.map(|state| class_state(state, now)),
        attribution: attribution::of_workspace(&usage.pauses, now),
        weight: usage.weight,
        guaranteed_calls: usage.guaranteed_calls,
    }
}

fn user_usage(usage: UserUsage, now: Now) -> v1::ExecutionUserUsage {
    v1::ExecutionUserUsage {
        execution_user: usage.user.as_str().to_owned(),
        limits: usage.limits.into_iter().map(|limit| limit_forecast(limit, now)).collect(),
        in_pool: usage.in_pool,
        foreign_traffic: usage.foreign_traffic,
    }
}

/// One message of a watch.
#[must_use]
pub fn usage_event(event: UsageEvent) -> v1::WatchUsageResponse {
    let UsageEvent { usage, snapshot, transitions, now } = event;
    v1::WatchUsageResponse {
        usage: Some(org_usage(usage, now)),
        snapshot,
        transitions: transitions.into_iter().map(|change| transition(change, now)).collect(),
    }
}

fn transition(transition: Transition, now: Now) -> v1::ClassTransition {
    v1::ClassTransition {
        workspace: transition.workspace.as_str().to_owned(),
        status: Some(class_status(transition.status, now)),
    }
}

#[cfg(test)]
mod tests;
