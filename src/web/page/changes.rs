//! The audit list: who changed what, of one org or of all.

mod lines;

use askama::Template;
use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};

use self::lines::Line;
use super::{Frame, Section, Shared, Visit, answer, settings::Told, words};
use crate::auth::Verb;
use crate::proto::{
    admin::v1::{
        Change, GetOrgRequest, ListChangesRequest, ListChangesResponse, OrgChange,
        admin_service_server::AdminService,
    },
    v1::quota_service_server::QuotaService,
};

#[derive(Template)]
#[template(path = "changes.html")]
struct ChangesPage {
    frame: Frame,
    /// The org; empty for all of them.
    org: String,
    path: String,
    entries: Vec<Entry>,
    /// Why there may be more than is shown, or nothing.
    bound: String,
    /// Why nothing is shown.
    empty: &'static str,
}

/// A change in the list.
struct Entry {
    org: String,
    what: &'static str,
    action: String,
    from: String,
    told: Told,
    lines: Vec<Line>,
    lines_said: String,
}

/// The changes of one org.
pub async fn of_org<Q: QuotaService, A: AdminService>(
    State(pages): Shared<Q, A>,
    Path(org): Path<String>,
    visit: Visit,
) -> Response {
    let asked = visit.request(GetOrgRequest { org: org.clone() });
    let answered = match pages.admin().get_org(asked).await {
        Ok(answered) => answered.into_inner(),
        Err(refused) => return pages.refuse(&refused, &visit),
    };
    let org = answered.entry.and_then(|entry| entry.org).map_or(org, |org| org.id);
    let sees_all = visit.caller().may_all(Verb::Admin, &org);
    let changes = answered.changes;
    let bound = if changes.len() < KEPT {
        String::new()
    } else {
        format!("The last {KEPT} changes are kept. All of them are in the log, as audit events.")
    };
    let page = ChangesPage {
        frame: visit.frame(format!("Changes of {org}"), Section::Orgs),
        path: visit.path().to_owned(),
        entries: entries(changes.iter().map(|change| (org.as_str(), change))),
        bound,
        empty: if sees_all {
            "Nobody has changed this org's settings yet."
        } else {
            "Each change shows all of the org: it is for those who administer all of it."
        },
        org,
    };
    answer(StatusCode::OK, &page)
}

/// The newest changes of all orgs.
pub async fn of_all<Q: QuotaService, A: AdminService>(
    State(pages): Shared<Q, A>,
    visit: Visit,
) -> Response {
    let asked = visit.request(ListChangesRequest { page_size: 0 });
    let ListChangesResponse { changes, more } = match pages.admin().list_changes(asked).await {
        Ok(answered) => answered.into_inner(),
        Err(refused) => return pages.refuse(&refused, &visit),
    };
    let shown = words::count(u64::try_from(changes.len()).unwrap_or(u64::MAX));
    let of = |it: OrgChange| (it.org, it.change.unwrap_or_default());
    let changes: Vec<(String, Change)> = changes.into_iter().map(of).collect();
    let page = ChangesPage {
        frame: visit.frame("Changes", Section::Settings),
        org: String::new(),
        path: visit.path().to_owned(),
        bound: if more {
            format!(
                "The {shown} newest changes of all orgs. Older ones are on the page of each org, \
                 up to {KEPT} of them."
            )
        } else {
            String::new()
        },
        entries: entries(changes.iter().map(|(org, change)| (org.as_str(), change))),
        empty: "Nobody has changed the settings of an org that you administer yet.",
    };
    answer(StatusCode::OK, &page)
}

/// So many changes of an org are kept.
const KEPT: usize = 100;

/// So many bytes of declarations are read for one page. An org with a thousand
/// workspaces declares about a tenth of that.
const READ: usize = 1 << 20;

fn entries<'c>(changes: impl Iterator<Item = (&'c str, &'c Change)>) -> Vec<Entry> {
    let mut left = READ;
    let entry = |(org, change): (&str, &Change)| {
        let long = change.before.len() + change.after.len();
        let told = if long <= left { Told::of(change) } else { Told::unread(change) };
        left = left.saturating_sub(long);
        entry(org, change, told)
    };
    changes.map(entry).collect()
}

fn entry(org: &str, change: &Change, told: Told) -> Entry {
    let lines = lines::difference(&change.before, &change.after);
    let count = |is: fn(&Line) -> bool| lines.iter().filter(|line| is(line)).count();
    let (gone, new) = (count(Line::is_gone), count(Line::is_new));
    Entry {
        org: org.to_owned(),
        what: what(&change.action),
        action: change.action.clone(),
        // Whoever did not say who they are is called by where they come from.
        from: if change.from == told.who { String::new() } else { change.from.clone() },
        told,
        lines_said: format!("The declaration, line by line: {gone} gone, {new} new"),
        lines,
    }
}

/// An RPC, as people say what it did.
fn what(action: &str) -> &'static str {
    match action {
        "PutOrg" => "declared the org",
        "DeleteOrg" => "withdrew the declaration",
        "PutWorkspace" => "declared a workspace",
        "DeleteWorkspace" => "removed a workspace",
        "PutExecutionUser" => "added an execution user",
        "DeleteExecutionUser" => "took an execution user out",
        _ => "changed the settings",
    }
}
