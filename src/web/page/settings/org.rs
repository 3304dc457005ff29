//! What is declared for one org, as a form.

use askama::Template;
use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use tonic::Code;

use super::{
    draft::{self, ClassRow, Draft, Notice, Refusal},
    edit::{Edit, decide},
    facts::{self, Fact},
    fields::{self, Faults, Field, Input, ORG, USER, Values},
    seen,
    standing::Standing,
};
use crate::{
    proto::{
        admin::v1::{Org, OrgSource, Workspace, admin_service_server::AdminService},
        v1::quota_service_server::QuotaService,
    },
    quota::{ClassPolicy, Thresholds},
    web::{
        page::{Form, Frame, Pages, Section, Shared, Visit, answer, words},
        status::refuse,
    },
};

#[derive(Template)]
#[template(path = "settings/org.html")]
struct OrgPage {
    frame: Frame,
    org: String,
    path: String,
    etag: String,
    seen: String,
    notice: Notice,
    source: (&'static str, &'static str),
    source_said: &'static str,
    warnings: Vec<String>,
    may_change_all: bool,
    facts: Vec<Fact>,
    inputs: Vec<Input>,
    preset: Option<Input>,
    classes: Vec<ClassRow>,
    was: Vec<(&'static str, String)>,
    users: Vec<String>,
    user: Option<Input>,
    workspaces: Vec<Row>,
    workspaces_said: String,
    find: String,
    earlier: String,
    later: String,
    can_withdraw: bool,
}

/// A workspace in the list.
struct Row {
    name: String,
    path: String,
    cap: String,
    classes: Vec<String>,
    guaranteed: String,
    burn_limit: String,
    shadow: bool,
}

/// Workspaces on one page.
const PAGE: usize = 100;

/// The field of the form that adds a user.
const USER_FORM: &[Field] = &[USER];

/// Names of the fields that the forms of this page carry on.
fn carried() -> Vec<&'static str> {
    ORG.iter().chain(USER_FORM).map(|field| field.name).collect()
}

/// The page.
pub async fn page<Q: QuotaService, A: AdminService>(
    State(pages): Shared<Q, A>,
    Path(org): Path<String>,
    visit: Visit,
) -> Response {
    match Standing::of(&pages, &visit, &org).await {
        Ok(standing) => {
            let notice = Notice::of_visit(&visit, &standing);
            let draft = Draft::begun(Values::of_org(&standing.entry));
            answer(StatusCode::OK, &made(&visit, &standing, &draft, &Draft::default(), notice))
        }
        Err(refused) if refused.code() == Code::PermissionDenied => {
            seen::page(&pages, &visit, org, &refused).await
        }
        Err(refused) => pages.refuse(&refused, &visit),
    }
}

/// Shows what a change would do, or makes it.
pub async fn change<Q: QuotaService, A: AdminService>(
    State(pages): Shared<Q, A>,
    Path(org): Path<String>,
    form: Form,
) -> Response {
    let standing = match Standing::of(&pages, &form.visit, &org).await {
        Ok(standing) => standing,
        Err(refused) => return pages.refuse(&refused, &form.visit),
    };
    match tried(&pages, &standing, &form).await {
        Ok(done) => done,
        Err(refusal) => again(&pages, &form, &org, *refusal).await,
    }
}

async fn tried<Q: QuotaService, A: AdminService>(
    pages: &Pages<Q, A>,
    standing: &Standing,
    form: &Form,
) -> Result<Response, Box<Refusal>> {
    if form.get("step") == "edit" {
        return Err(Box::new(Refusal::Edit));
    }
    let edit = read(standing, form)?;
    let status = |refused| Box::new(Refusal::Status(refused));
    decide(pages, form, standing, &edit, &carried()).await.map_err(status)
}

fn read(standing: &Standing, form: &Form) -> Result<Edit, Box<Refusal>> {
    let faults = |faults| Box::new(Refusal::Faults(faults));
    let user = || match form.get(USER.name) {
        "" => {
            let fault = (USER.name.to_owned(), "must be given".to_owned());
            Err(faults(Faults(vec![fault])))
        }
        user => Ok(user.to_owned()),
    };
    match form.get("what") {
        "org" => {
            let typed = Values::of_form(&ORG, form, "");
            typed.to_org(standing.declared()).map(Edit::Org).map_err(faults)
        }
        "add-user" => Ok(Edit::AddUser(user()?)),
        "remove-user" => Ok(Edit::RemoveUser(user()?)),
        "withdraw" => Ok(Edit::Withdraw),
        _ => {
            let refused = refuse(Code::InvalidArgument, "BAD_FORM", "This is not a form.");
            Err(Box::new(Refusal::Status(refused)))
        }
    }
}

/// The form as it was typed, with what is wrong with it.
async fn again<Q: QuotaService, A: AdminService>(
    pages: &Pages<Q, A>,
    form: &Form,
    org: &str,
    refusal: Refusal,
) -> Response {
    // What holds now may be newer than what the form was tried upon.
    let standing = match Standing::of(pages, &form.visit, org).await {
        Ok(standing) => standing,
        Err(refused) => return pages.refuse(&refused, &form.visit),
    };
    let (code, notice, faults) = refusal.told(form, &standing);
    let now = Values::of_org(&standing.entry);
    let sent = |fields| Draft { faults: faults.clone(), ..Draft::sent(fields, form) };
    let (of_org, of_user) = match form.get("what") {
        "org" => {
            let is_new = form.get("etag") != standing.entry.etag;
            let sent = sent(&ORG);
            (if is_new { sent.rebased(now) } else { sent }, Draft::default())
        }
        // A button in a row has sent it, not the input.
        "remove-user" => (Draft::begun(now), Draft::default()),
        _ => (Draft::begun(now), sent(USER_FORM)),
    };
    answer(code, &made(&form.visit, &standing, &of_org, &of_user, notice))
}

fn made(
    visit: &Visit,
    standing: &Standing,
    draft: &Draft,
    user: &Draft,
    notice: Notice,
) -> OrgPage {
    let org = standing.org();
    let mut inputs = fields::inputs(&ORG, draft, &placeholders(standing));
    let classes = draft::class_rows(&mut inputs);
    let preset = inputs.iter().position(|input| input.is_preset()).map(|at| inputs.remove(at));
    let find = visit.query("q").to_owned();
    let wanted = find.to_lowercase();
    let found: Vec<&Workspace> =
        org.workspaces.iter().filter(|it| it.id.to_lowercase().contains(&wanted)).collect();
    let from = visit.query("from").parse::<usize>().unwrap_or(0).min(found.len());
    let shown = &found[from..found.len().min(from + PAGE)];
    let path = format!("/orgs/{}/settings", org.id);
    let link = |from: usize| words::url(&path, &[("q", &find), ("from", &from.to_string())]);
    let title = format!("{}Settings of {}", notice.prefix(), org.id);
    OrgPage {
        frame: visit.frame(title, Section::Orgs),
        etag: standing.entry.etag.clone(),
        seen: standing.seen(),
        source: source_chip(standing.entry.source()),
        source_said: source_said(standing.entry.source()),
        warnings: standing.entry.warnings.clone(),
        may_change_all: standing.may_change_all,
        facts: facts::org(&standing.entry),
        inputs,
        preset,
        classes,
        was: draft.was.iter().map(|(name, value)| (name, value.to_owned())).collect(),
        users: org.execution_users.clone(),
        user: fields::inputs(USER_FORM, user, &[]).pop(),
        workspaces: shown.iter().map(|workspace| row(workspace, &org)).collect(),
        workspaces_said: workspaces_said(org.workspaces.len(), found.len(), from, shown.len()),
        earlier: if from > 0 { link(from.saturating_sub(PAGE)) } else { String::new() },
        later: if from + PAGE < found.len() { link(from + PAGE) } else { String::new() },
        can_withdraw: standing.entry.source() == OrgSource::Api,
        find,
        path,
        notice,
        org: org.id,
    }
}

/// What holds while a field of an org is empty.
fn placeholders(standing: &Standing) -> Vec<(&'static str, String)> {
    let template = &standing.template;
    let org = Org { classes: None, ..standing.org() };
    let mut all = fields::threshold_placeholders(&facts::org_policy(&org));
    let reserve = template.reserve_percent.unwrap_or_default().to_string();
    all.extend([
        ("daily_calls", words::count(template.daily_calls)),
        ("concurrent_calls", words::count(template.concurrent_calls.into())),
        ("reserve_percent", reserve),
        ("daily_calls_max", "no bound".to_owned()),
        ("header_lag", "0s".to_owned()),
        ("preset", "none: the default".to_owned()),
    ]);
    all
}

fn row(workspace: &Workspace, org: &Org) -> Row {
    let policy: ClassPolicy = facts::workspace_policy(workspace, org);
    let amount = |calls: u64| if calls == 0 { String::new() } else { words::count(calls) };
    Row {
        path: workspace_path(&org.id, &workspace.id),
        name: workspace.id.clone(),
        cap: if workspace.daily_calls == 0 {
            "no cap".to_owned()
        } else {
            amount(workspace.daily_calls)
        },
        classes: facts::pausing(&policy).map(|(_, thresholds)| percents(thresholds)).collect(),
        guaranteed: amount(workspace.guaranteed_calls),
        burn_limit: match &workspace.burn_limit {
            Some(_) => facts::burn_limit(workspace),
            None => String::new(),
        },
        shadow: workspace.shadow,
    }
}

/// Where a workspace is edited. Its name is in the query: a path has no room for every
/// name.
pub fn workspace_path(org: &str, workspace: &str) -> String {
    words::url(&format!("/orgs/{org}/settings/workspace"), &[("id", workspace)])
}

/// When a class pauses and resumes.
pub fn percents(Thresholds { pause, resume }: Thresholds) -> String {
    if pause == resume { format!("{pause} %") } else { format!("{pause} %, below {resume} %") }
}

fn workspaces_said(all: usize, found: usize, from: usize, shown: usize) -> String {
    let count = |number: usize| words::count(u64::try_from(number).unwrap_or(u64::MAX));
    match (all, found) {
        (0, _) => String::new(),
        (_, 0) => format!("None of {} has this in its name.", count(all)),
        (all, found) if shown < all => {
            let of = if found < all {
                format!("{} found of {}", count(found), count(all))
            } else {
                count(all)
            };
            format!("{} to {} of {of}.", count(from + 1), count(from + shown))
        }
        _ => String::new(),
    }
}

/// A chip for where settings come from.
pub fn source_chip(source: OrgSource) -> (&'static str, &'static str) {
    match source {
        OrgSource::Unspecified => ("plain", "unknown"),
        OrgSource::Template => ("plain", "template"),
        OrgSource::File => ("plain", "file"),
        OrgSource::Api => ("plain", "administrator"),
    }
}

fn source_said(source: OrgSource) -> &'static str {
    match source {
        OrgSource::Unspecified => "",
        OrgSource::Template => {
            "Nobody has declared this org: the template holds, and what is saved here declares it."
        }
        OrgSource::File => {
            "Declared by the configuration file. What is saved here overrides it, until it is withdrawn."
        }
        OrgSource::Api => "Declared by an administrator. This overrides the configuration file.",
    }
}
