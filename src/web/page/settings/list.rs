//! All orgs that its visitor may administer, and the catalogue.

use askama::Template;
use axum::{extract::State, http::StatusCode, response::Response};
use tonic::Status;

use super::{
    catalogue::{self, Operation},
    org::source_chip,
};
use crate::{
    proto::{
        admin::v1::{
            GetCatalogueRequest, GetCatalogueResponse, ListOrgsRequest, ListOrgsResponse, OrgEntry,
            admin_service_server::AdminService,
        },
        v1::quota_service_server::QuotaService,
    },
    quota::OrgId,
    web::page::{Form, Frame, Pages, Section, Shared, Visit, answer, see, words},
};

#[derive(Template)]
#[template(path = "settings/list.html")]
struct ListPage {
    frame: Frame,
    orgs: Vec<Row>,
    find: String,
    is_first: bool,
    next: String,
    /// What was typed into the form that adds an org, and what is wrong with it.
    typed: String,
    fault: String,
    operations: Vec<Operation>,
    unknown: Vec<String>,
}

/// An org in the list.
struct Row {
    name: String,
    path: String,
    source: (&'static str, &'static str),
    daily_calls: String,
    from_template: bool,
    users: String,
    workspaces: String,
    warnings: Vec<String>,
}

/// Orgs on one page.
const PAGE: u32 = 50;

/// The page.
pub async fn page<Q: QuotaService, A: AdminService>(
    State(pages): Shared<Q, A>,
    visit: Visit,
) -> Response {
    match made(&pages, &visit).await {
        Ok(page) => answer(StatusCode::OK, &page),
        Err(refused) => pages.refuse(&refused, &visit),
    }
}

/// Leads to the settings of an org that is to be declared; nothing is saved before it
/// is asked for there.
pub async fn add<Q: QuotaService, A: AdminService>(
    State(pages): Shared<Q, A>,
    form: Form,
) -> Response {
    let typed = form.get("org");
    let fault = match OrgId::parse(typed) {
        Ok(org) => return see(&format!("/orgs/{}/settings", org.as_str())),
        Err(_) if typed.is_empty() => "Give its Salesforce id, or a name.".to_owned(),
        Err(fault) => words::sentence(&fault.to_string()),
    };
    match made(&pages, &form.visit).await {
        Ok(mut page) => {
            page.frame.title = format!("Not added: {}", page.frame.title);
            typed.clone_into(&mut page.typed);
            page.fault = fault;
            answer(StatusCode::BAD_REQUEST, &page)
        }
        Err(refused) => pages.refuse(&refused, &form.visit),
    }
}

async fn made<Q: QuotaService, A: AdminService>(
    pages: &Pages<Q, A>,
    visit: &Visit,
) -> Result<ListPage, Status> {
    let catalogue = pages.admin().get_catalogue(visit.request(GetCatalogueRequest {})).await?;
    let catalogue: GetCatalogueResponse = catalogue.into_inner();
    let find = visit.query("q").to_owned();
    let after = visit.query("after").to_owned();
    let asked =
        ListOrgsRequest { page_size: PAGE, page_token: after.clone(), prefix: find.clone() };
    let listed = pages.admin().list_orgs(visit.request(asked)).await?;
    let ListOrgsResponse { orgs, next_page_token } = listed.into_inner();
    let next = if next_page_token.is_empty() {
        String::new()
    } else {
        words::url("/settings", &[("q", &find), ("after", &next_page_token)])
    };
    Ok(ListPage {
        frame: visit.frame("Settings", Section::Settings),
        orgs: orgs.into_iter().map(row).collect(),
        is_first: after.is_empty(),
        find,
        next,
        typed: String::new(),
        fault: String::new(),
        operations: catalogue::operations(&catalogue),
        unknown: catalogue::unknown(&catalogue),
    })
}

fn row(entry: OrgEntry) -> Row {
    let count = |number: usize| words::count(u64::try_from(number).unwrap_or(u64::MAX));
    let source = source_chip(entry.source());
    let org = entry.org.unwrap_or_default();
    Row {
        path: format!("/orgs/{}/settings", org.id),
        source,
        daily_calls: words::count(org.daily_calls),
        from_template: entry.from_template.iter().any(|field| field == "daily_calls"),
        users: count(org.execution_users.len()),
        workspaces: count(org.workspaces.len()),
        warnings: entry.warnings,
        name: org.id,
    }
}
