//! Why a call would be granted or refused: an Acquire that charges nothing, limit by
//! limit.

use askama::Template;
use axum::{
    extract::{Path, State},
    response::Response,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{
    Frame, Section, Shared, Visit,
    bar::{self, Bar, Mark, Part, Tick},
    words,
};
use crate::proto::{
    admin::v1::admin_service_server::AdminService,
    v1::{
        AcquireMode, AcquireRequest, AttributionDimension, GetUsageRequest, LimitExplanation,
        LimitKind, LimitScope, LimitUsage, OrgUsage, TrafficClass, acquire_response::Outcome,
        quota_service_server::QuotaService,
    },
};

/// Offered where nothing else is known.
const OPERATIONS: [&str; 5] = [
    "rest",
    "rest.long",
    "conversation-entries.get",
    "conversation-participants.delete",
    "conversations.delete",
];

const CLASSES: [TrafficClass; 4] =
    [TrafficClass::Interactive, TrafficClass::Event, TrafficClass::Bulk, TrafficClass::Control];

#[derive(Template)]
#[template(path = "explain.html")]
struct Explain {
    frame: Frame,
    org: String,
    path: String,
    form: Form,
    /// What is wrong with the question, sentence by sentence.
    faults: Vec<String>,
    verdict: Option<Verdict>,
}

/// The question as it stands in the form.
struct Form {
    operation: String,
    workspace: String,
    user: String,
    calls: String,
    min_calls: String,
    cost: String,
    classes: Vec<Choice>,
    operations: Vec<String>,
    workspaces: Vec<String>,
    users: Vec<String>,
}

struct Choice {
    key: &'static str,
    name: &'static str,
    is_chosen: bool,
}

struct Verdict {
    /// `granted` or `refused`: a class of the style sheet.
    kind: &'static str,
    title: String,
    said: String,
    limits: Vec<LimitRow>,
}

struct LimitRow {
    /// A class of the style sheet: `binds`, `binds cuts` or nothing.
    class: &'static str,
    name: String,
    whose: String,
    chip: (&'static str, &'static str),
    bar: Option<Bar>,
    text: String,
    facts: Vec<(&'static str, String)>,
}

/// The page.
pub async fn page<Q: QuotaService, A: AdminService>(
    State(pages): Shared<Q, A>,
    Path(org): Path<String>,
    visit: Visit,
) -> Response {
    pages
        .show(visit, move |pages, visit| {
            let org = org.clone();
            async move {
                let asked = visit.request(GetUsageRequest { org: org.clone() });
                let usage = pages.quota().get_usage(asked).await?.into_inner().usage;
                let form = Form::of(&visit, &usage.unwrap_or_default());
                let (mut faults, mut verdict) = (Vec::new(), None);
                if !form.operation.is_empty() {
                    match request(&org, &form) {
                        Err(fault) => faults.push(fault),
                        Ok(request) => {
                            let wanted = request.calls.max(1);
                            match pages.quota().acquire(visit.request(request)).await {
                                Ok(answer) => {
                                    verdict = of_outcome(answer.into_inner().outcome, wanted)
                                }
                                Err(status) => faults = said_of(status)?,
                            }
                        }
                    }
                }
                let title = format!("Explain · {org}");
                let frame = visit.frame(title, Section::Orgs);
                let path = visit.path().to_owned();
                Ok(Explain { frame, org, path, form, faults, verdict })
            }
        })
        .await
}

impl Form {
    fn of(visit: &Visit, usage: &OrgUsage) -> Self {
        let asked = |name| visit.query(name).trim().to_owned();
        let chosen = match visit.query("class") {
            "" => "interactive",
            class => class,
        };
        let choice = |class: TrafficClass| Choice {
            key: words::class_key(class),
            name: words::class_name(class),
            is_chosen: words::class_key(class) == chosen,
        };
        let mut operations: Vec<String> = OPERATIONS.map(str::to_owned).into();
        let tables = usage.attribution.iter().flat_map(|attribution| &attribution.tables);
        let of_operations =
            tables.filter(|table| table.dimension() == AttributionDimension::Operation);
        let seen = of_operations.flat_map(|table| &table.consumers).map(|seen| seen.name.clone());
        operations.extend(seen);
        operations.sort();
        operations.dedup();
        Self {
            operation: asked("operation"),
            workspace: asked("workspace"),
            user: asked("user"),
            calls: asked("calls"),
            min_calls: asked("min_calls"),
            cost: asked("cost"),
            classes: CLASSES.map(choice).into(),
            operations,
            workspaces: usage.workspaces.iter().map(|it| it.workspace.clone()).collect(),
            users: usage.execution_users.iter().map(|it| it.execution_user.clone()).collect(),
        }
    }
}

/// The question as a message, or what is wrong with it.
fn request(org: &str, form: &Form) -> Result<AcquireRequest, String> {
    let number = |name: &str, text: &str| match text {
        "" => Ok(0),
        text => text.parse::<u32>().map_err(|_| format!("{name} must be a number from 1 on.")),
    };
    let key = form.classes.iter().find(|choice| choice.is_chosen).map_or("", |choice| choice.key);
    let class = CLASSES.into_iter().find(|class| words::class_key(*class) == key);
    Ok(AcquireRequest {
        org: org.to_owned(),
        workspace: form.workspace.clone(),
        operation: form.operation.clone(),
        execution_user: form.user.clone(),
        traffic_class: class.unwrap_or(TrafficClass::Event).into(),
        calls: number("Calls", &form.calls)?,
        min_calls: number("At least", &form.min_calls)?,
        cost: number("Cost", &form.cost)?,
        mode: AcquireMode::CheckOnly.into(),
        ..AcquireRequest::default()
    })
}

/// What is wrong with the question; anything else is for the whole page to say.
fn said_of(status: Status) -> Result<Vec<String>, Status> {
    if !matches!(status.code(), Code::InvalidArgument | Code::NotFound) {
        return Err(status);
    }
    let details = status.get_error_details();
    let fields = details.bad_request().map(|bad| bad.field_violations.as_slice());
    let fields = fields.unwrap_or_default().iter();
    let sentences: Vec<String> = fields
        .map(|fault| words::sentence(&format!("{}: {}", fault.field, fault.description)))
        .collect();
    Ok(if sentences.is_empty() { vec![words::sentence(status.message())] } else { sentences })
}

fn of_outcome(outcome: Option<Outcome>, wanted: u32) -> Option<Verdict> {
    let as_whom = |user: &str| match user {
        "" => String::new(),
        user => format!(", as {user}"),
    };
    Some(match outcome? {
        Outcome::Permit(permit) => {
            let is_part = permit.calls < wanted;
            let calls = words::counted(permit.calls.into(), "call");
            Verdict {
                kind: "granted",
                title: match is_part {
                    true => format!("{calls} of {} would be granted", words::count(wanted.into())),
                    false => format!("{calls} would be granted"),
                },
                said: format!(
                    "They would be granted now{}. Every limit below would be charged, or none.",
                    as_whom(&permit.execution_user)
                ),
                limits: permit.explanation.iter().map(|limit| row(limit, is_part)).collect(),
            }
        }
        Outcome::Denial(denial) => {
            Verdict {
                kind: "refused",
                title: "It would be refused".to_owned(),
                // It says when there will be room.
                said: words::sentence(&denial.message),
                limits: denial.explanation.iter().map(|limit| row(limit, false)).collect(),
            }
        }
    })
}

/// `is_part`: what binds cuts the request short, and does not refuse it.
fn row(limit: &LimitExplanation, is_part: bool) -> LimitRow {
    let usage = limit.usage.clone().unwrap_or_default();
    let opens_in = words::length(limit.opens_in.as_ref());
    let chip = match (limit.binding, opens_in) {
        (true, _) if is_part => ("soon", "cuts it short"),
        (true, _) => ("paused", "this one binds"),
        (false, Some(wait)) if wait.is_zero() => ("running", "has room"),
        (false, _) => ("soon", "has no room either"),
    };
    LimitRow {
        class: match (limit.binding, is_part) {
            (true, true) => "binds cuts",
            (true, false) => "binds",
            (false, _) => "",
        },
        name: name(&usage),
        whose: whose(&usage),
        chip,
        bar: (usage.max > 0).then(|| drawn(&usage, limit)),
        text: words::sentence(&limit.text),
        facts: facts(limit, &usage),
    }
}

fn name(usage: &LimitUsage) -> String {
    let of_window = words::length(usage.window.as_ref()).map(words::window);
    match (usage.kind(), usage.max) {
        (_, 0) => "No limit".to_owned(),
        (LimitKind::Concurrency, max) => {
            format!("{} at the same time", words::counted(max, "call"))
        }
        (_, max) => format!(
            "{} in any {}",
            words::counted(max, "call"),
            of_window.unwrap_or_else(|| "window".to_owned())
        ),
    }
}

fn whose(usage: &LimitUsage) -> String {
    let whose = match usage.scope() {
        LimitScope::Org => "of the org",
        LimitScope::Workspace => "of workspace",
        LimitScope::ExecutionUser => "of execution user",
        LimitScope::Unspecified => "",
    };
    match usage.scope() {
        LimitScope::Org => format!("{whose}: {}", usage.name),
        _ => format!("{whose} {}: {}", usage.identity, usage.name),
    }
}

fn drawn(usage: &LimitUsage, limit: &LimitExplanation) -> Bar {
    let mut ticks = Vec::new();
    if let Some(at) = limit.pauses_at {
        ticks.push(Tick { at, mark: Mark::Stop, label: words::percent(at, usage.max), word: "" });
    }
    if usage.reserved > 0 {
        let at = usage.max.saturating_sub(usage.reserved);
        ticks.push(Tick { at, mark: Mark::Stop, label: words::count(at), word: "" });
    }
    let said = bar::sentence(
        "The asker has",
        usage.used_by_caller,
        Some(usage.used_by_others),
        usage.held,
        usage.remaining,
    );
    Bar {
        max: usage.max,
        parts: vec![
            (Part::Ours, usage.used_by_caller),
            (Part::Others, usage.used_by_others),
            (Part::Held, usage.held),
        ],
        ticks,
        text: said,
    }
}

fn facts(limit: &LimitExplanation, usage: &LimitUsage) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("Room for this class", words::count(limit.room)),
        ("Needed", words::count(limit.needed)),
        ("Used", words::count(usage.used_by_caller.saturating_add(usage.used_by_others))),
    ];
    let more = [
        ("Set aside", usage.held),
        ("Kept for others", usage.reserved),
        ("Kept for outages", usage.outage_share),
        ("Kept for workspaces", limit.kept_for_workspaces),
        ("Waits ahead", limit.ahead),
    ];
    facts.extend(
        more.into_iter()
            .filter(|(_, units)| *units > 0)
            .map(|(name, units)| (name, words::count(units))),
    );
    if let Some(at) = limit.pauses_at {
        facts.push(("The class pauses at", words::count(at)));
    }
    match words::length(limit.opens_in.as_ref()) {
        Some(wait) if wait.is_zero() => {}
        Some(wait) => facts.push(("Opens in", words::span(wait))),
        None => facts.push(("Opens", "nobody knows when".to_owned())),
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1::{Denial, Permit};

    fn limit(binding: bool, opens_in: Option<i64>) -> LimitExplanation {
        let usage = LimitUsage {
            name: "calls".into(),
            kind: LimitKind::Window.into(),
            scope: LimitScope::Workspace.into(),
            identity: "eu".into(),
            max: 15_000,
            used_by_caller: 2_918,
            used_by_others: 3_072,
            remaining: 9_010,
            window: Some(prost_types::Duration { seconds: 86_400, nanos: 0 }),
            ..LimitUsage::default()
        };
        LimitExplanation {
            usage: Some(usage),
            room: 12,
            needed: 40,
            pauses_at: Some(6_000),
            binding,
            opens_in: opens_in.map(|seconds| prost_types::Duration { seconds, nanos: 0 }),
            text: "it is so".into(),
            ..LimitExplanation::default()
        }
    }

    #[test]
    fn each_limit_is_told_in_words_and_the_one_that_binds_is_marked() {
        for (is_part, limit, class, chip) in [
            (false, limit(true, Some(61)), "binds", "this one binds"),
            (true, limit(true, Some(0)), "binds cuts", "cuts it short"),
            (false, limit(false, Some(0)), "", "has room"),
            (false, limit(false, None), "", "has no room either"),
        ] {
            let row = row(&limit, is_part);
            assert_eq!((row.class, row.chip.1), (class, chip));
            assert_eq!(
                (&*row.name, &*row.whose),
                ("15,000 calls in any 24 hours", "of workspace eu: calls")
            );
            assert_eq!(row.text, "It is so.");
            assert!(row.facts.contains(&("The class pauses at", "6,000".into())));
        }
        let facts = row(&limit(true, Some(61)), false).facts;
        assert!(facts.contains(&("Opens in", "1 min 1 s".into())), "{facts:?}");
    }

    #[test]
    fn the_verdict_says_what_would_be() {
        let title = |outcome, wanted| of_outcome(Some(outcome), wanted).expect("a verdict").title;
        let permit = |calls| Outcome::Permit(Permit { calls, ..Permit::default() });
        assert_eq!(title(permit(1), 1), "1 call would be granted");
        assert_eq!(title(permit(5), 1_200), "5 calls of 1,200 would be granted");
        let denial = Denial { message: "no room".into(), ..Denial::default() };
        let verdict = of_outcome(Some(Outcome::Denial(denial)), 1).expect("a verdict");
        assert_eq!(verdict.said, "No room.");
        assert!(of_outcome(None, 1).is_none());
    }
}
