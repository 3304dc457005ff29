//! All orgs.

use askama::Template;
use axum::{extract::State, response::Response};

use super::{Frame, Section, Shared, Visit};
use crate::proto::{
    admin::v1::admin_service_server::AdminService, v1::quota_service_server::QuotaService,
};

#[derive(Template)]
#[template(path = "home.html")]
struct Home {
    frame: Frame,
}

/// The page.
pub async fn page<Q: QuotaService, A: AdminService>(
    State(pages): Shared<Q, A>,
    visit: Visit,
) -> Response {
    pages
        .show(
            visit,
            |_, visit| async move { Ok(Home { frame: visit.frame("Orgs", Section::Orgs) }) },
        )
        .await
}
