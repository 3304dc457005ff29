//! The pages that people look at, at `/`.
//!
//! They have no rules of their own: each asks the services that gRPC serves, with the
//! caller that was let in, and shows what these answer. So rights hold by themselves.
//! What the caller may not do is not offered, and what is refused is said in words.
//!
//! # How to add a page
//!
//! 1. A file `src/web/page/x.rs` with its template `src/web/page/x.html` beside it, which
//!    begins with `{% extends "base.html" %}` and fills the blocks `title`, `main`, and
//!    `scripts` where it needs one.
//! 2. In it a struct with `#[derive(Template)]` that has the field `frame:` [`Frame`] and
//!    everything else in words: numbers, times and sentences are made by [`words`], bars
//!    by [`bar`](mod@bar), so that the template decides nothing but what stands where.
//! 3. A handler that gives [`Pages::show`] a function from a [`Visit`] to that struct:
//!
//!    ```text
//!    pub async fn page<Q: QuotaService, A: AdminService>(
//!        State(pages): Shared<Q, A>,
//!        Path(org): Path<String>,
//!        visit: Visit,
//!    ) -> Response {
//!        pages.show(visit, move |pages, visit| {
//!            let org = org.clone();
//!            async move {
//!                let asked = visit.request(GetUsageRequest { org });
//!                let answer = pages.quota().get_usage(asked).await?.into_inner();
//!                Ok(XPage { frame: visit.frame("X", Section::Orgs), … })
//!            }
//!        }).await
//!    }
//!    ```
//!
//!    and its route in [`router`]. What the URL asks for is in [`Visit::query`].
//! 4. What changes while one looks stands between `<!--live:ID-->` and `<!--/live-->`,
//!    one element with that `id`. The same URL, asked for events, is a stream of those of
//!    them that have changed ([`live`]), made once for all who look at it with the same
//!    rights. Nothing else is needed. A page that is not to be followed, such as an answer
//!    to a form, is [`answer`]ed.
//! 5. A form is a `POST` with a [`Form`], and ends with [`see`] at the page that shows what
//!    it did, or with [`Pages::refuse`].
//!
//! In templates, `assets::url("app.css")` is where an asset lies, `{% import "parts.html"
//! as parts %}` has what pages have in common. Colours and sizes are in `tokens.css`.
//! There are no `style` attributes and no inline scripts: the policy in [`web`](super)
//! forbids them. JSON for curves stands in a `<script type="application/json">`, made by
//! [`words::island`].

mod bar;
mod changes;
mod cluster;
mod explain;
mod frame;
mod home;
mod live;
mod org;
mod refusal;
mod settings;
mod sign_in;
mod visit;
mod what_if;
mod words;

use std::{future::Future, sync::Arc};

use askama::Template;
use axum::{
    Extension, Router,
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::{self, Next},
    response::{Html, IntoResponse as _, Response},
    routing::{get, post},
};
use tonic::{Code, Status};

pub use self::{
    frame::{Frame, Section},
    live::Live,
    sign_in::again as sign_in_again,
    visit::{Form, Visit},
};
use super::{
    Backend,
    admit::Guard,
    status::{self, refuse},
};
use crate::{
    proto::{
        admin::v1::admin_service_server::AdminService, v1::quota_service_server::QuotaService,
    },
    tls::Peer,
};

/// What handlers of pages share.
pub type Shared<Q, A> = State<Arc<Pages<Q, A>>>;

/// The services behind the pages, and who looks at them.
pub struct Pages<Q, A> {
    backend: Arc<Backend<Q, A>>,
    live: Live,
}

/// The pages' routes.
pub fn router<Q: QuotaService, A: AdminService>(
    backend: Arc<Backend<Q, A>>,
    guard: Arc<Guard>,
    live: Live,
) -> Router {
    Router::new()
        .route("/", get(home::page::<Q, A>))
        .route("/orgs/{org}", get(org::page::<Q, A>))
        .route("/orgs/{org}/explain", get(explain::page::<Q, A>))
        .route("/orgs/{org}/what-if", get(what_if::page::<Q, A>).post(what_if::replayed::<Q, A>))
        .route("/cluster", get(cluster::page::<Q, A>))
        .route("/orgs/{org}/limit", post(org::limit::<Q, A>))
        .route(
            "/orgs/{org}/settings",
            get(settings::org_page::<Q, A>).post(settings::change::<Q, A>),
        )
        .route(
            "/orgs/{org}/settings/workspace",
            get(settings::workspace_page::<Q, A>).post(settings::change_workspace::<Q, A>),
        )
        .route("/orgs/{org}/changes", get(changes::of_org::<Q, A>))
        .route("/settings", get(settings::page::<Q, A>).post(settings::add::<Q, A>))
        .route("/changes", get(changes::of_all::<Q, A>))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&guard), let_in))
        .with_state(Arc::new(Pages { backend, live }))
        .merge(Router::new().route("/sign-in", get(sign_in::page)).with_state(guard))
}

impl<Q: QuotaService, A: AdminService> Pages<Q, A> {
    /// Asked about quota.
    pub fn quota(&self) -> &Q {
        &self.backend.quota
    }

    /// Asked about what is declared.
    pub fn admin(&self) -> &A {
        &self.backend.admin
    }

    /// Answers with the page that `make` makes, or, where it is asked for events, with
    /// the stream of its changes. `make` is asked again for each change: it must do
    /// nothing but look.
    pub async fn show<T, F, M>(self: &Arc<Self>, visit: Visit, make: M) -> Response
    where
        T: Template + Send,
        F: Future<Output = Result<T, Status>> + Send + 'static,
        M: Fn(Arc<Self>, Visit) -> F + Send + Sync + 'static,
    {
        if !visit.wants_stream() {
            return match make(Arc::clone(self), visit.clone()).await {
                Ok(page) => answer(StatusCode::OK, &page),
                Err(refused) => self.refuse(&refused, &visit),
            };
        }
        let (pages, key) = (Arc::clone(self), visit.key());
        let make = Arc::new(make);
        self.live.stream(key, move || {
            let (make, pages, visit) = (Arc::clone(&make), Arc::clone(&pages), visit.clone());
            async move {
                let page = make(pages, visit).await?;
                page.render().map_err(|error| Status::internal(error.to_string()))
            }
        })
    }

    /// Says in words what was refused or could not be had, and what helps.
    pub fn refuse(&self, refused: &Status, visit: &Visit) -> Response {
        refusal::answer(refused, visit.frame(refusal::title(refused), Section::None))
    }
}

/// A page as it is.
pub fn answer(code: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => (code, Html(text)).into_response(),
        Err(error) => status::response(&Status::internal(error.to_string())),
    }
}

/// Leads on to another page of this service, after a form has done its work.
pub fn see(path: &str) -> Response {
    (StatusCode::SEE_OTHER, [(header::LOCATION, path)]).into_response()
}

/// There is no such page.
pub fn not_found() -> Response {
    let refused = refuse(Code::NotFound, "NO_SUCH_PAGE", "There is no page at this address.");
    refusal::answer(&refused, Frame::bare(refusal::title(&refused)))
}

/// True for a browser that navigates: programs are answered in JSON.
pub fn wants_page(headers: &HeaderMap) -> bool {
    accepts(headers, "text/html")
}

fn accepts(headers: &HeaderMap, kind: &str) -> bool {
    let mut accepted = headers.get_all(header::ACCEPT).iter();
    accepted.any(|value| value.to_str().is_ok_and(|value| value.contains(kind)))
}

/// Lets a visitor in, or leads them to where they can sign in.
async fn let_in(
    State(guard): State<Arc<Guard>>,
    Extension(peer): Extension<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    let refused = match guard.let_in(&peer, &mut request).await {
        Ok(_inside) => return next.run(request).await,
        Err(refused) => refused,
    };
    let navigates = request.method() == Method::GET && !accepts(request.headers(), visit::EVENTS);
    match refused.code() {
        Code::Unauthenticated if navigates => see(&sign_in::path(request.uri())),
        _ if accepts(request.headers(), visit::EVENTS) => status::response(&refused),
        _ => refusal::answer(&refused, Frame::bare(refusal::title(&refused))),
    }
}
