//! What is said where there is no page to show: what happened, and what helps.

use std::time::Duration;

use askama::Template;
use axum::{http::header, response::Response};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{Frame, answer as page, words};
use crate::web::status;

/// A page that cannot be asked for now asks again after this.
const AGAIN_AFTER: Duration = Duration::from_secs(3);

#[derive(Template)]
#[template(path = "refusal.html")]
struct Refusal {
    frame: Frame,
    title: &'static str,
    message: String,
    remedy: &'static str,
    /// Of each wrong field: its name, and what is wrong.
    fields: Vec<(String, String)>,
}

/// A few words for a heading.
pub fn title(refused: &Status) -> &'static str {
    match refused.code() {
        Code::Unauthenticated => "Sign in first",
        Code::PermissionDenied => "Not allowed",
        Code::NotFound => "Not found",
        Code::InvalidArgument | Code::OutOfRange => "That is not valid",
        Code::Aborted | Code::FailedPrecondition | Code::AlreadyExists => "Changed meanwhile",
        Code::ResourceExhausted => "Too much at once",
        Code::Unavailable | Code::DeadlineExceeded => "Not available just now",
        _ => "Something went wrong",
    }
}

/// The page that says it.
pub fn answer(refused: &Status, frame: Frame) -> Response {
    let passes = matches!(
        refused.code(),
        Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted
    );
    let wait = refused.get_details_retry_info().and_then(|info| info.retry_delay);
    let wait = wait.unwrap_or(AGAIN_AFTER).clamp(AGAIN_AFTER, Duration::from_secs(60));
    let violations = refused
        .get_details_bad_request()
        .map(|request| request.field_violations)
        .unwrap_or_default();
    let fields: Vec<_> =
        violations.into_iter().map(|fault| (fault.field, fault.description)).collect();
    // Where fields are named the message only repeats them.
    let message =
        if fields.is_empty() { words::sentence(refused.message()) } else { String::new() };
    let refusal = Refusal {
        title: title(refused),
        message,
        remedy: remedy(refused.code()),
        fields,
        frame: Frame { again_after: passes.then_some(wait.as_secs()), ..frame },
    };
    let mut answer = page(status::http_code(refused.code()), &refusal);
    if passes && let Some(seconds) = status::seconds_up(wait) {
        answer.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    answer
}

fn remedy(code: Code) -> &'static str {
    match code {
        Code::Unauthenticated => "Your session may have ended: sign in again.",
        Code::PermissionDenied => "",
        Code::NotFound => {
            "It may be misspelt, or gone. Everything that you may see is on the \
                           page of all orgs."
        }
        Code::InvalidArgument | Code::OutOfRange => "Go back and mend it: nothing was changed.",
        Code::Aborted | Code::FailedPrecondition | Code::AlreadyExists => {
            "Somebody else has changed the same: look at it again, and then decide. Nothing of \
             yours was saved."
        }
        Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted => {
            "This passes. The page tries again by itself."
        }
        _ => "This is a fault of the service: its log says more.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::StatusCode;

    #[tokio::test]
    async fn a_refusal_says_what_happened_and_what_helps() {
        let check = async |code: Code, http: u16, parts: &[&str]| {
            let refused = Status::new(code, "org: is <odd>");
            let answer = answer(&refused, Frame::bare("x"));
            assert_eq!(answer.status(), StatusCode::from_u16(http).expect("a status"));
            let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.expect("a page");
            let body = String::from_utf8(body.to_vec()).expect("text");
            for part in parts.iter().chain(&["&#60;odd&#62;"]) {
                assert!(body.contains(part), "{code:?}: {part}: {body}");
            }
            assert_eq!(body.contains("data-again=\"3\""), http >= 429 && http != 500);
        };
        check(Code::PermissionDenied, 403, &["Not allowed"]).await;
        check(Code::NotFound, 404, &["Not found", "href=\"/\""]).await;
        check(Code::Aborted, 409, &["Changed meanwhile", "Nothing of yours was saved"]).await;
        check(Code::Unavailable, 503, &["tries again by itself"]).await;
        check(Code::ResourceExhausted, 429, &["Too much at once"]).await;
        check(Code::Internal, 500, &["fault of the service"]).await;
    }
}
