//! One org.

use askama::Template;
use axum::{
    extract::{Path, State},
    response::Response,
};

use super::{Form, Frame, Section, Shared, Visit, see, words};
use crate::proto::{
    admin::v1::admin_service_server::AdminService,
    v1::{GetUsageRequest, quota_service_server::QuotaService},
};

#[derive(Template)]
#[template(path = "org.html")]
struct Org {
    frame: Frame,
    org: String,
    x: String,
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
                let usage = pages.quota().get_usage(asked).await?.into_inner();
                let x = format!("{:?}", usage.usage);
                Ok(Org { frame: visit.frame(&org, Section::Orgs), org, x })
            }
        })
        .await
}

/// Changes a limit.
pub async fn limit<Q: QuotaService, A: AdminService>(
    State(_pages): Shared<Q, A>,
    Path(org): Path<String>,
    form: Form,
) -> Response {
    let _ = form.get("x");
    see(&words::url(&format!("/orgs/{org}"), &[]))
}
