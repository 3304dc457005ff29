//! The limit of a workspace as a form: first what it would change, then the change.

use askama::Template;
use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::workspace;
use crate::{
    proto::{
        admin::v1::{
            GetOrgRequest, PutWorkspaceRequest, Workspace, admin_service_server::AdminService,
        },
        v1::{
            ClassRunState, ClassState, ClassStatus, GetUsageRequest, WorkspaceUsage,
            quota_service_server::QuotaService,
        },
    },
    web::page::{Form, Frame, Pages, Section, Shared, Visit, answer, bar::Bar, see, words},
};

#[derive(Template)]
#[template(path = "org/limit.html")]
struct Preview {
    frame: Frame,
    org: String,
    workspace: String,
    title: String,
    /// Why it cannot be done so; else empty.
    fault: String,
    /// What the service says about it.
    warnings: Vec<String>,
    changes: Vec<ChangeRow>,
    before: Option<Bar>,
    before_said: String,
    after: Option<Bar>,
    after_said: String,
    consequence: String,
    /// The settings that the preview is of.
    etag: String,
    daily_calls: String,
}

/// One thing that changes, or does not.
struct ChangeRow {
    what: String,
    before: String,
    after: String,
    state_before: &'static str,
    kind_before: &'static str,
    state_after: &'static str,
    kind_after: &'static str,
}

/// Shows what another limit would change, or, asked to save it, changes it.
pub async fn change<Q: QuotaService, A: AdminService>(
    State(pages): Shared<Q, A>,
    Path(org): Path<String>,
    form: Form,
) -> Response {
    let id = form.get("workspace").to_owned();
    let wanted = form.get("daily_calls").to_owned();
    let daily_calls = match wanted.replace([',', ' '], "").as_str() {
        "" => Ok(0),
        digits => digits.parse::<u64>().map_err(|_| {
            format!(
                "{} is not a number of calls: write digits only, or 0 for no limit.",
                quoted(&wanted)
            )
        }),
    };
    let saves = !form.get("save").is_empty();
    let outcome = match daily_calls {
        Err(fault) => Err(Refused::Fault(fault)),
        Ok(daily_calls) if saves => {
            let etag = form.get("etag").to_owned();
            save(&pages, &form.visit, &org, &id, daily_calls, etag).await
        }
        Ok(daily_calls) => preview(&pages, &form.visit, &org, &id, daily_calls).await,
    };
    match outcome {
        Ok(page) => page,
        Err(Refused::Status(refused)) => pages.refuse(&refused, &form.visit),
        Err(Refused::Fault(fault)) => {
            let frame = form.visit.frame(format!("Limit of {id}"), Section::Orgs);
            answer(StatusCode::BAD_REQUEST, &Preview::of_fault(frame, org, id, fault, wanted))
        }
    }
}

/// Why there is no preview, or no change.
enum Refused {
    /// The service refuses.
    Status(Status),
    /// The number is wrong: the form is shown again.
    Fault(String),
}

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        if status.code() != Code::InvalidArgument {
            return Self::Status(status);
        }
        let violations = status.get_details_bad_request().map(|request| request.field_violations);
        let told = violations.unwrap_or_default().into_iter().next();
        Self::Fault(words::sentence(&told.map_or_else(
            || status.message().to_owned(),
            |fault| format!("the limit {}", fault.description),
        )))
    }
}

async fn preview<Q: QuotaService, A: AdminService>(
    pages: &Pages<Q, A>,
    visit: &Visit,
    org: &str,
    id: &str,
    daily_calls: u64,
) -> Result<Response, Refused> {
    let (declared, etag) = declared(pages, visit, org, id).await?;
    let asked = visit.request(GetUsageRequest { org: org.to_owned() });
    let usage = pages.quota().get_usage(asked).await?.into_inner().usage.unwrap_or_default();
    let usage = usage.workspaces.into_iter().find(|it| it.workspace == id).unwrap_or_default();
    let request = PutWorkspaceRequest {
        org: org.to_owned(),
        workspace: Some(Workspace { daily_calls, ..declared }),
        etag: etag.clone(),
        validate_only: true,
    };
    let checked = pages.admin().put_workspace(visit.request(request)).await?.into_inner();
    let warnings = checked.entry.map(|entry| entry.warnings).unwrap_or_default();
    let frame = visit.frame(format!("Limit of {id}"), Section::Orgs);
    let preview = Preview {
        warnings: warnings.iter().map(|warning| words::sentence(warning)).collect(),
        etag,
        ..Preview::new(frame, org, id, &usage, daily_calls)
    };
    Ok(answer(StatusCode::OK, &preview))
}

async fn save<Q: QuotaService, A: AdminService>(
    pages: &Pages<Q, A>,
    visit: &Visit,
    org: &str,
    id: &str,
    daily_calls: u64,
    etag: String,
) -> Result<Response, Refused> {
    let (declared, _) = declared(pages, visit, org, id).await?;
    let request = PutWorkspaceRequest {
        org: org.to_owned(),
        workspace: Some(Workspace { daily_calls, ..declared }),
        etag,
        validate_only: false,
    };
    pages.admin().put_workspace(visit.request(request)).await?;
    let path = words::url(&format!("/orgs/{}", words::encoded(org)), &[("saved", id)]);
    Ok(see(&format!("{path}#workspace-{}", words::encoded(&words::encoded(id)))))
}

/// The workspace as it is declared, or would be without a declaration, and the etag
/// of the org's settings.
async fn declared<Q: QuotaService, A: AdminService>(
    pages: &Pages<Q, A>,
    visit: &Visit,
    org: &str,
    id: &str,
) -> Result<(Workspace, String), Status> {
    let asked = visit.request(GetOrgRequest { org: org.to_owned() });
    let entry = pages.admin().get_org(asked).await?.into_inner().entry.unwrap_or_default();
    let workspaces = entry.org.unwrap_or_default().workspaces;
    let found = workspaces.into_iter().find(|workspace| workspace.id == id);
    let new = || Workspace { id: id.to_owned(), ..Workspace::default() };
    Ok((found.unwrap_or_else(new), entry.etag))
}

fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(40).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("“{shown}”")
}

impl Preview {
    fn new(frame: Frame, org: &str, id: &str, usage: &WorkspaceUsage, wanted: u64) -> Self {
        let cap = workspace::cap(usage);
        let (max, used) = cap.map_or((0, 0), |cap| (cap.max, cap.used_by_caller));
        let ClassState { classes, .. } = usage.class_state.clone().unwrap_or_default();
        let mut changes = vec![ChangeRow {
            what: "Limit, calls in any 24 hours".to_owned(),
            before: limit(max),
            after: limit(wanted),
            state_before: "",
            kind_before: "",
            state_after: "",
            kind_after: "",
        }];
        changes.extend(workspace::in_order(&classes).map(|class| {
            let before = max > 0 && class.state() == ClassRunState::Paused;
            let (kind_before, state_before) = chip(before);
            let (kind_after, state_after) = chip(would_pause(class, wanted, used));
            ChangeRow {
                what: words::class_name(class.traffic_class()).to_owned(),
                before: point(max, class.pauses_at_percent),
                after: point(wanted, class.pauses_at_percent),
                state_before,
                kind_before,
                state_after,
                kind_after,
            }
        }));
        Self {
            frame,
            org: org.to_owned(),
            workspace: id.to_owned(),
            title: format!("{} instead of {}", limit(wanted), limit(max)),
            fault: String::new(),
            warnings: Vec::new(),
            before: workspace::cap_bar(max, used, &classes),
            before_said: workspace::said(max, used),
            after: workspace::cap_bar(wanted, used, &classes),
            after_said: workspace::said(wanted, used),
            consequence: consequence(&classes, max, wanted, used),
            changes,
            etag: String::new(),
            daily_calls: wanted.to_string(),
        }
    }

    fn of_fault(frame: Frame, org: String, id: String, fault: String, wanted: String) -> Self {
        Self {
            frame,
            org,
            workspace: id,
            title: "This limit cannot be".to_owned(),
            fault,
            warnings: Vec::new(),
            changes: Vec::new(),
            before: None,
            before_said: String::new(),
            after: None,
            after_said: String::new(),
            consequence: String::new(),
            etag: String::new(),
            daily_calls: wanted,
        }
    }
}

fn limit(max: u64) -> String {
    if max == 0 { "no limit".to_owned() } else { words::count(max) }
}

/// When a class pauses, of a limit.
fn point(max: u64, percent: u32) -> String {
    if max == 0 {
        return "never".to_owned();
    }
    format!("pauses at {}", words::count(workspace::pause_point(max, percent)))
}

const fn chip(is_paused: bool) -> (&'static str, &'static str) {
    if is_paused { ("paused", "paused") } else { ("running", "runs") }
}

/// A new limit has the classes' states computed afresh: paused only at or above the
/// pause point.
fn would_pause(class: &ClassStatus, max: u64, used: u64) -> bool {
    max > 0 && used >= workspace::pause_point(max, class.pauses_at_percent)
}

/// What happens at once, as a sentence.
fn consequence(classes: &[ClassStatus], max: u64, wanted: u64, used: u64) -> String {
    let named = |changes: fn(bool, bool) -> bool| -> Vec<String> {
        let was = |class: &ClassStatus| max > 0 && class.state() == ClassRunState::Paused;
        workspace::in_order(classes)
            .filter(|class| changes(was(class), would_pause(class, wanted, used)))
            .map(|class| words::class_name(class.traffic_class()).to_lowercase())
            .collect()
    };
    let (pausing, resuming) = (named(|was, will| !was && will), named(|was, will| was && !will));
    let mut parts = Vec::new();
    if !pausing.is_empty() {
        parts.push(format!("{} pauses", pausing.join(" and ")));
    }
    if !resuming.is_empty() {
        parts.push(format!("{} resumes", resuming.join(" and ")));
    }
    if parts.is_empty() {
        return "Nothing pauses or resumes at once. Permits that are out stay valid.".to_owned();
    }
    format!("As soon as it is saved {}. Permits that are out stay valid.", parts.join(", and "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1::TrafficClass;

    fn classes(paused: &[TrafficClass]) -> Vec<ClassStatus> {
        let class = |class: TrafficClass, pause, resume| ClassStatus {
            traffic_class: class.into(),
            state: if paused.contains(&class) {
                ClassRunState::Paused.into()
            } else {
                ClassRunState::Running.into()
            },
            since: None,
            pauses_at_percent: pause,
            resumes_below_percent: resume,
        };
        vec![
            class(TrafficClass::Interactive, 100, 100),
            class(TrafficClass::Event, 80, 60),
            class(TrafficClass::Bulk, 40, 40),
        ]
    }

    #[test]
    fn what_pauses_and_what_resumes_is_said_before_it_is_saved() {
        let check = |paused: &[TrafficClass], max, wanted, used, expected: &str| {
            let said = consequence(&classes(paused), max, wanted, used);
            assert!(said.contains(expected), "{max} to {wanted}, {used} used: {said}");
        };
        use TrafficClass::{Bulk, Event};
        check(&[], 15_000, 20_000, 2_918, "Nothing pauses or resumes");
        check(&[], 15_000, 7_295, 2_918, "saved manual bulk sync pauses.");
        check(&[], 15_000, 7_296, 2_918, "Nothing pauses");
        check(&[], 15_000, 3_000, 2_918, "manual bulk sync and event-based sync pauses");
        check(&[Bulk, Event], 5_000, 6_000, 4_000, "saved event-based sync resumes.");
        check(&[Bulk, Event], 5_000, 0, 4_000, "manual bulk sync and event-based sync resumes");
        check(&[Bulk], 0, 0, 4_000, "Nothing pauses");
    }
}
