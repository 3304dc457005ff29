//! A change that somebody wants, from the form to the service: shown first, and saved
//! when it is asked for again.

use askama::Template;
use axum::{http::StatusCode, response::Response};
use tonic::{Code, Status};

use super::{
    facts::{self, Difference},
    standing::{self, Standing},
};
use crate::{
    proto::{
        admin::v1::{
            DeleteExecutionUserRequest, DeleteOrgRequest, DeleteWorkspaceRequest, Org, OrgEntry,
            PutExecutionUserRequest, PutOrgRequest, PutWorkspaceRequest, Workspace,
            admin_service_server::AdminService,
        },
        v1::quota_service_server::QuotaService,
    },
    web::{
        page::{Form, Frame, Pages, Section, Visit, answer, see, words},
        status::refuse,
    },
};

/// What is to be changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// What is declared for the org itself.
    Org(Org),
    /// A user joins the pool.
    AddUser(String),
    /// A user leaves the pool.
    RemoveUser(String),
    /// What is declared for a workspace.
    Workspace(Workspace),
    /// A workspace is not declared any more.
    RemoveWorkspace(String),
    /// The administrators' declaration does not hold any more.
    Withdraw,
}

/// What a change would do, before it does.
#[derive(Template)]
#[template(path = "settings/review.html")]
struct Review {
    frame: Frame,
    org: String,
    path: String,
    title: String,
    button: &'static str,
    is_serious: bool,
    differences: Vec<Difference>,
    more: usize,
    warnings: Vec<String>,
    /// What the form carries on.
    carried: Vec<(String, String)>,
}

/// Names of fields that are the form's own, not the declaration's.
const OWN: [&str; 3] = ["etag", "seen", "what"];

/// Does what a form asks for: shows what it would change, or saves it. `fields` are
/// those of the form that are to be carried on.
///
/// # Errors
/// The service refuses it, or somebody else was faster.
pub async fn decide<Q: QuotaService, A: AdminService>(
    pages: &Pages<Q, A>,
    form: &Form,
    standing: &Standing,
    edit: &Edit,
    fields: &[&'static str],
) -> Result<Response, Status> {
    let mut etag = form.get("etag");
    if etag.is_empty() {
        // The form knew of no declaration.
        if standing.is_declared() {
            let why = "the org has been declared meanwhile";
            return Err(refuse(Code::Aborted, "ETAG_MISMATCH", why));
        }
        etag = &standing.entry.etag;
    }
    let (visit, org) = (&form.visit, standing.id());
    if form.get("step") == "save" {
        let entry = edit.ask(pages, visit, org, etag, false).await?;
        let saved = entry.map_or_else(|| WITHDRAWN.to_owned(), |entry| entry.etag);
        return Ok(see(&words::url(&format!("/orgs/{org}/settings"), &[("saved", &saved)])));
    }
    let after = edit.ask(pages, visit, org, etag, true).await?;
    let mut differences = facts::differences(Some(&standing.entry), after.as_ref());
    let more = standing::limit(&mut differences);
    let carry = |name: &str| (name.to_owned(), form.get(name).to_owned());
    let was = fields.iter().map(|name| format!("was.{name}")).map(|name| carry(&name));
    let mut carried: Vec<_> = OWN.iter().chain(fields).map(|name| carry(name)).collect();
    carried.extend(was);
    carried.retain(|(_, value)| !value.is_empty());
    let review = Review {
        frame: visit.frame(format!("{} · {org}", edit.question()), Section::Orgs),
        org: org.to_owned(),
        path: visit.path().to_owned(),
        title: edit.question(),
        button: edit.button(),
        is_serious: edit.takes_away(),
        differences,
        more,
        warnings: after.map(|entry| entry.warnings).unwrap_or_default(),
        carried,
    };
    Ok(answer(StatusCode::OK, &review))
}

/// Stands for the etag where nothing is declared any more.
pub const WITHDRAWN: &str = "withdrawn";

impl Edit {
    /// Asks the service; the org as it is in force then, `None` where nothing is
    /// declared any more.
    async fn ask<Q: QuotaService, A: AdminService>(
        &self,
        pages: &Pages<Q, A>,
        visit: &Visit,
        org: &str,
        etag: &str,
        validate_only: bool,
    ) -> Result<Option<OrgEntry>, Status> {
        let (admin, org, etag) = (pages.admin(), org.to_owned(), etag.to_owned());
        Ok(match self.clone() {
            Self::Org(org) => {
                let message = PutOrgRequest { org: Some(org), etag, validate_only };
                admin.put_org(visit.request(message)).await?.into_inner().entry
            }
            Self::AddUser(execution_user) => {
                let message = PutExecutionUserRequest { org, execution_user, etag, validate_only };
                admin.put_execution_user(visit.request(message)).await?.into_inner().entry
            }
            Self::RemoveUser(execution_user) => {
                let message =
                    DeleteExecutionUserRequest { org, execution_user, etag, validate_only };
                admin.delete_execution_user(visit.request(message)).await?.into_inner().entry
            }
            Self::Workspace(workspace) => {
                let workspace = Some(workspace);
                let message = PutWorkspaceRequest { org, workspace, etag, validate_only };
                admin.put_workspace(visit.request(message)).await?.into_inner().entry
            }
            Self::RemoveWorkspace(workspace) => {
                let message = DeleteWorkspaceRequest { org, workspace, etag, validate_only };
                admin.delete_workspace(visit.request(message)).await?.into_inner().entry
            }
            Self::Withdraw => {
                let message = DeleteOrgRequest { org, etag, validate_only };
                admin.delete_org(visit.request(message)).await?;
                None
            }
        })
    }

    fn question(&self) -> String {
        match self {
            Self::Org(_) => "Save these settings?".to_owned(),
            Self::AddUser(user) => format!("Add {user} to the pool?"),
            Self::RemoveUser(user) => format!("Take {user} out of the pool?"),
            Self::Workspace(workspace) => format!("Save {}?", workspace.id),
            Self::RemoveWorkspace(workspace) => format!("Remove {workspace}?"),
            Self::Withdraw => "Withdraw the declaration?".to_owned(),
        }
    }

    const fn button(&self) -> &'static str {
        match self {
            Self::Org(_) | Self::Workspace(_) => "Save",
            Self::AddUser(_) => "Add the user",
            Self::RemoveUser(_) => "Take the user out",
            Self::RemoveWorkspace(_) => "Remove the workspace",
            Self::Withdraw => "Withdraw it",
        }
    }

    const fn takes_away(&self) -> bool {
        matches!(self, Self::RemoveUser(_) | Self::RemoveWorkspace(_) | Self::Withdraw)
    }
}
