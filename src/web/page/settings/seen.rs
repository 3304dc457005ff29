//! What is in force for an org, for those who may look at it and not administer it.

use askama::Template;
use axum::{http::StatusCode, response::Response};
use tonic::Status;

use super::org::percents;
use crate::{
    auth::Verb,
    proto::{
        admin::v1::admin_service_server::AdminService,
        v1::{
            GetUsageRequest, LimitKind, LimitUsage, OrgUsage, WorkspaceUsage,
            quota_service_server::QuotaService,
        },
    },
    quota::{LimitName, Thresholds},
    web::page::{Frame, Pages, Section, Visit, answer, words},
};

#[derive(Template)]
#[template(path = "settings/seen.html")]
struct SeenPage {
    frame: Frame,
    org: String,
    path: String,
    facts: Vec<(&'static str, String)>,
    workspaces: Vec<Row>,
}

/// A workspace.
struct Row {
    name: String,
    cap: String,
    classes: Vec<String>,
}

/// The page; `refused` is why they do not see more.
pub async fn page<Q: QuotaService, A: AdminService>(
    pages: &Pages<Q, A>,
    visit: &Visit,
    org: String,
    refused: &Status,
) -> Response {
    if !visit.caller().may_some(Verb::Read, &org) {
        return pages.refuse(refused, visit);
    }
    match pages.quota().get_usage(visit.request(GetUsageRequest { org })).await {
        Ok(usage) => {
            let usage = usage.into_inner().usage.unwrap_or_default();
            answer(StatusCode::OK, &made(visit, usage))
        }
        Err(refused) => pages.refuse(&refused, visit),
    }
}

fn made(visit: &Visit, usage: OrgUsage) -> SeenPage {
    let total = usage.limits.iter().find(|limit| is_calls(limit));
    let slots = usage.limits.iter().find(|limit| limit.kind() == LimitKind::Concurrency);
    let facts = [
        ("Calls in any 24 hours", total.map(|total| words::count(total.max))),
        ("Kept for other integrations", total.map(|total| words::counted(total.reserved, "call"))),
        ("Long-running requests at a time", slots.map(|slots| words::count(slots.max))),
    ];
    let fact = |(label, value): (_, Option<String>)| value.map(|value| (label, value));
    SeenPage {
        frame: visit.frame(format!("Settings of {}", usage.org), Section::Orgs),
        path: visit.path().to_owned(),
        facts: facts.into_iter().filter_map(fact).collect(),
        workspaces: usage.workspaces.into_iter().map(row).collect(),
        org: usage.org,
    }
}

fn row(usage: WorkspaceUsage) -> Row {
    let cap = usage.limits.iter().find(|limit| is_calls(limit)).map_or(0, |limit| limit.max);
    let mut classes = usage.class_state.unwrap_or_default().classes;
    // Bulk, which pauses first, stands first; what never pauses is left out.
    classes.retain(|class| class.pauses_at_percent > 0);
    classes.sort_by_key(|class| class.traffic_class);
    let thresholds = classes
        .iter()
        .map(|it| Thresholds { pause: it.pauses_at_percent, resume: it.resumes_below_percent });
    Row {
        name: usage.workspace,
        cap: if cap == 0 { "no cap".to_owned() } else { words::count(cap) },
        classes: thresholds.map(percents).collect(),
    }
}

/// The total of an org, or the cap of a workspace.
fn is_calls(limit: &LimitUsage) -> bool {
    limit.name == LimitName::calls().as_str()
}
