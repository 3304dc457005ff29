//! Where somebody signs in who is asked for a name.

use std::sync::Arc;

use askama::Template;
use axum::{
    Extension,
    extract::{Query, Request, State},
    http::{StatusCode, Uri},
    response::Response,
};
use std::collections::HashMap;
use tonic::Status;

use super::{Frame, answer, see, words};
use crate::{
    tls::Peer,
    web::{admit::Guard, session::is_own_path},
};

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignIn<'p> {
    frame: Frame,
    /// The page to go on to.
    next: &'p str,
    /// Why the last try was refused; empty before the first.
    refused: String,
}

/// Asks for a token; whoever is known already goes on.
pub async fn page(
    State(guard): State<Arc<Guard>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let query = Query::<HashMap<String, String>>::try_from_uri(&parts.uri);
    let next = query.ok().and_then(|Query(mut query)| query.remove("next"));
    let next = next.filter(|path| is_own_path(path)).unwrap_or_else(|| "/".to_owned());
    if guard.identify(&parts.headers, &parts.extensions, &peer).await.is_ok() {
        return see(&next);
    }
    let frame = Frame::bare("Sign in");
    answer(StatusCode::OK, &SignIn { frame, next: &next, refused: String::new() })
}

/// Asks again, and says why.
pub fn again(refused: &Status, next: &str) -> Response {
    let (frame, refused) = (Frame::bare("Sign in"), words::sentence(refused.message()));
    answer(StatusCode::UNAUTHORIZED, &SignIn { frame, next, refused })
}

/// The way there, and from there to what was asked for.
pub fn path(asked: &Uri) -> String {
    match asked.path_and_query().map(|asked| asked.as_str()) {
        None | Some("/") => "/sign-in".to_owned(),
        Some(asked) => format!("/sign-in?next={}", words::encoded(asked)),
    }
}
