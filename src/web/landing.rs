//! The page at `/`: what there is here, and who is asked for a name how to sign in.

use std::sync::{Arc, LazyLock};

use axum::{
    Extension,
    extract::{Request, State},
    http::header,
    response::{Html, IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::digest;

use super::admit::{Guard, Identified};
use crate::tls::Peer;

const PAGE: &str = include_str!("landing.html");

/// Nothing is loaded, from here or from anywhere; of styles the page's own is
/// allowed by its hash, and forms go nowhere else.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let (_, rest) = PAGE.split_once("<style>").unwrap_or_default();
    let (style, _) = rest.split_once("</style>").unwrap_or_default();
    let hash = STANDARD.encode(digest::digest(&digest::SHA256, style.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; base-uri 'none'; \
         frame-ancestors 'none'"
    )
});

/// The page.
pub async fn page(
    State(guard): State<Arc<Guard>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let session = match guard.identify(&parts.headers, &parts.extensions, &peer).await {
        // Nobody is asked for a name, or a certificate tells it.
        Ok(Identified { by_session: false, .. }) => String::new(),
        Ok(Identified { caller, .. }) => {
            let who = caller.principal().map_or_else(String::new, |who| escaped(who.as_str()));
            format!(
                "<form method=\"post\" action=\"/session\"><p>You are <code>{who}</code>. \
                 <button name=\"sign_out\" value=\"1\">Sign out</button></p></form>"
            )
        }
        Err(_) => SIGN_IN.to_owned(),
    };
    let page = PAGE.replace("{version}", env!("CARGO_PKG_VERSION")).replace("{session}", &session);
    ([(header::CONTENT_SECURITY_POLICY, POLICY.as_str())], Html(page)).into_response()
}

const SIGN_IN: &str = "<form method=\"post\" action=\"/session\"><p>\
    <label>Token <input type=\"password\" name=\"token\" autocomplete=\"off\" required></label> \
    <button>Sign in</button></p></form>";

/// A principal's name has printable ASCII, of which these mean something here.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
