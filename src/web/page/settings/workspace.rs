//! What is declared for one workspace, as a form; without a name, for a new one.

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
    facts,
    fields::{self, Faults, Input, Values, WORKSPACE},
    standing::Standing,
};
use crate::{
    proto::{
        admin::v1::{Workspace, admin_service_server::AdminService},
        v1::quota_service_server::QuotaService,
    },
    web::{
        page::{Form, Frame, Pages, Section, Shared, Visit, answer},
        status::refuse,
    },
};

#[derive(Template)]
#[template(path = "settings/workspace.html")]
struct WorkspacePage {
    frame: Frame,
    org: String,
    path: String,
    org_path: String,
    /// Its name; empty for a new one.
    workspace: String,
    etag: String,
    seen: String,
    notice: Notice,
    name: Option<Input>,
    cap: Option<Input>,
    preset: Option<Input>,
    classes: Vec<ClassRow>,
    burn: Vec<Input>,
    shadow: Option<Input>,
    rest: Vec<Input>,
    was: Vec<(&'static str, String)>,
}

fn carried() -> Vec<&'static str> {
    WORKSPACE.iter().map(|field| field.name).chain(["known"]).collect()
}

/// The page.
pub async fn page<Q: QuotaService, A: AdminService>(
    State(pages): Shared<Q, A>,
    Path(org): Path<String>,
    visit: Visit,
) -> Response {
    let standing = match Standing::of(&pages, &visit, &org).await {
        Ok(standing) => standing,
        Err(refused) => return pages.refuse(&refused, &visit),
    };
    let workspace = match visit.query("id") {
        "" => None,
        name => match declared(&standing, name) {
            Some(workspace) => Some(workspace),
            None => {
                let why = format!("No workspace {name:?} is declared here");
                let refused = refuse(Code::NotFound, "NOT_FOUND", why);
                return pages.refuse(&refused, &visit);
            }
        },
    };
    let values = Values::of_workspace(&workspace.clone().unwrap_or_default());
    let name = workspace.map(|workspace| workspace.id).unwrap_or_default();
    let draft = Draft::begun(values);
    answer(StatusCode::OK, &made(&visit, &standing, &name, &draft, Notice::default()))
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
    let refused = match tried(&pages, &standing, &form).await {
        Ok(done) => return done,
        Err(refused) => refused,
    };
    // What holds now may be newer than what the form was tried upon.
    let standing = match Standing::of(&pages, &form.visit, &org).await {
        Ok(standing) => standing,
        Err(refused) => return pages.refuse(&refused, &form.visit),
    };
    let (code, notice, faults) = refused.told(&form, &standing);
    let known = form.get("known");
    let sent = Draft { faults, ..Draft::sent(&WORKSPACE, &form) };
    let draft = match declared(&standing, known) {
        Some(now) if form.get("etag") != standing.entry.etag => {
            sent.rebased(Values::of_workspace(&now))
        }
        _ => sent,
    };
    answer(code, &made(&form.visit, &standing, known, &draft, notice))
}

async fn tried<Q: QuotaService, A: AdminService>(
    pages: &Pages<Q, A>,
    standing: &Standing,
    form: &Form,
) -> Result<Response, Box<Refusal>> {
    if form.get("step") == "edit" {
        return Err(Box::new(Refusal::Edit));
    }
    let known = form.get("known");
    let edit = match form.get("what") {
        "remove" => Edit::RemoveWorkspace(known.to_owned()),
        _ => {
            let typed = Values::of_form(&WORKSPACE, form, "");
            let workspace = typed.to_workspace();
            let mut workspace = workspace.map_err(|faults| Box::new(Refusal::Faults(faults)))?;
            if known.is_empty() && declared(standing, &workspace.id).is_some() {
                let fault = "is declared already: open it in the list of workspaces";
                let faults = Faults(vec![("id".to_owned(), fault.to_owned())]);
                return Err(Box::new(Refusal::Faults(faults)));
            }
            if !known.is_empty() {
                // Another name would be another workspace.
                workspace.id = known.to_owned();
            }
            Edit::Workspace(workspace)
        }
    };
    let status = |refused| Box::new(Refusal::Status(refused));
    decide(pages, form, standing, &edit, &carried()).await.map_err(status)
}

fn declared(standing: &Standing, name: &str) -> Option<Workspace> {
    standing.org().workspaces.into_iter().find(|workspace| workspace.id == name)
}

fn made(
    visit: &Visit,
    standing: &Standing,
    name: &str,
    draft: &Draft,
    notice: Notice,
) -> WorkspacePage {
    let org = standing.org();
    // What holds while nothing is given here: the preset that is, else the org's.
    let preset = draft.values.get("preset").to_owned();
    let alone = Workspace { preset, ..Workspace::default() };
    let mut placeholders = fields::threshold_placeholders(&facts::workspace_policy(&alone, &org));
    placeholders.extend([
        ("daily_calls", "no cap".to_owned()),
        ("preset", "the org's".to_owned()),
        ("weight", "1".to_owned()),
        ("guaranteed_calls", "nothing".to_owned()),
        ("burn_limit.calls", "no brake".to_owned()),
    ]);
    let mut inputs = fields::inputs(&WORKSPACE, draft, &placeholders);
    let classes = draft::class_rows(&mut inputs);
    let mut take = |name: &str| {
        let at = inputs.iter().position(|input| input.field.name == name)?;
        Some(inputs.remove(at))
    };
    let name_input = take("id").filter(|_| name.is_empty());
    let (cap, preset, shadow) = (take("daily_calls"), take("preset"), take("shadow"));
    let burn = [take("burn_limit.calls"), take("burn_limit.window")];
    let org_path = format!("/orgs/{}/settings", org.id);
    let title = if name.is_empty() { "New workspace".to_owned() } else { name.to_owned() };
    WorkspacePage {
        frame: visit.frame(format!("{}{title} · {}", notice.prefix(), org.id), Section::Orgs),
        path: format!("{org_path}/workspace"),
        workspace: name.to_owned(),
        etag: standing.entry.etag.clone(),
        seen: standing.seen(),
        name: name_input,
        cap,
        preset,
        classes,
        burn: burn.into_iter().flatten().collect(),
        shadow,
        rest: inputs,
        was: draft.was.iter().map(|(name, value)| (name, value.to_owned())).collect(),
        org_path,
        notice,
        org: org.id,
    }
}
