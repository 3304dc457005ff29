//! The wire: paths, sessions, headers and error bodies, as Salesforce has them.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    Handle, Summary,
    arrivals::{Arrival, WindowSummary},
    engine::{Call, Refusal},
    options::Options,
    resource::{Asked, Resource, VERSION},
};

/// Everything that the stand-in answers.
pub(super) fn router(handle: Handle, stopping: watch::Receiver<bool>) -> Router {
    Router::new().fallback(answer).with_state(Shell { handle, stopping })
}

/// Returns when the stand-in is to stop.
pub(super) async fn stopped(mut stopping: watch::Receiver<bool>) {
    // A sender that is gone means the same.
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// What came so far, for whoever tries an integration here. It is no path of
/// Salesforce's, needs no session, and counts nowhere.
const SUMMARY_PATH: &str = "/standin";

#[derive(Clone)]
struct Shell {
    handle: Handle,
    stopping: watch::Receiver<bool>,
}

async fn answer(
    State(shell): State<Shell>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if method == Method::GET && uri.path() == SUMMARY_PATH {
        return json_answer(StatusCode::OK, &summary(&shell.handle.summary()));
    }
    let asked = Asked { method: &method, path: uri.path(), query: uri.query(), body: &body };
    let Some(resource) = Resource::of(&asked) else {
        return error(StatusCode::NOT_FOUND, "NOT_FOUND", "The requested resource does not exist");
    };
    if resource == Resource::Versions {
        let url = format!("/services/data/v{VERSION}");
        return json_answer(
            StatusCode::OK,
            &json!([{ "label": "Stand-in", "url": url, "version": VERSION }]),
        );
    }
    let Some((org, user)) = session(&headers) else {
        return error(StatusCode::UNAUTHORIZED, "INVALID_SESSION_ID", "Session expired or invalid");
    };
    let Some(asked_duration) = asked_duration(uri.query().unwrap_or_default()) else {
        return error(
            StatusCode::BAD_REQUEST,
            "INVALID_FIELD",
            "duration_ms must be a whole number of at most 3600000",
        );
    };
    let shared = &shell.handle.shared;
    let (verdict, duration) = {
        let mut state = shell.handle.lock();
        let state = &mut *state;
        let at_us = state.now_us(shared);
        let duration = asked_duration + state.jitter.draw(shared.options.latency);
        let operation = resource.operation();
        let org_units = resource.org_units(shared.options.conversations_count_for_org);
        let verdict =
            state.engine.arrive(at_us, &Call { org, user, operation, org_units, duration });
        state.log.push(Arrival {
            at_us,
            org: Arc::from(org),
            user: Arc::from(user),
            operation,
            org_units,
            refusal: verdict.err(),
        });
        (verdict, duration)
    };
    shared.arrived.send_modify(|seen| *seen += 1);

    if verdict.is_ok() && !duration.is_zero() {
        tokio::select! {
            () = tokio::time::sleep(duration) => {}
            () = stopped(shell.stopping.clone()) => {
                return error(StatusCode::SERVICE_UNAVAILABLE, "SERVER_UNAVAILABLE", "The server is going down");
            }
        }
    }
    let shown = {
        let mut state = shell.handle.lock();
        let now_us = state.now_us(shared);
        state.engine.shown(now_us, org)
    };
    let mut response = match verdict {
        Ok(()) => {
            let (status, body) = resource.result(&asked, shown);
            body.map_or_else(|| status.into_response(), |body| json_answer(status, &body))
        }
        Err(refusal) => refused(refusal, &shared.options),
    };
    let limit_info = format!("api-usage={}/{}", shown.used, shown.max);
    if let Ok(limit_info) = HeaderValue::from_str(&limit_info) {
        response.headers_mut().insert("Sforce-Limit-Info", limit_info);
    }
    response
}

fn summary(summary: &Summary) -> Value {
    let window = |window: &WindowSummary| {
        json!({
            "org": &*window.org,
            "user": window.user.as_deref(),
            "operation": window.operation,
            "max": window.limit.max,
            "window_ms": window.limit.window_us().div_ceil(1_000),
            "worst": window.worst,
            "arrivals": window.arrivals,
            "refused": window.refused,
        })
    };
    json!({
        "elapsed_ms": summary.elapsed_us / 1_000,
        "arrivals": summary.counts.arrived(),
        "refused": summary.counts.refused(),
        "forgotten": summary.counts.forgotten,
        "overruns": summary.overruns,
        "windows": summary.windows.iter().map(window).collect::<Vec<_>>(),
    })
}

/// Org and user of `Authorization: Bearer ORG!USER`, the form of a real session
/// id (what follows its `!` is no user, but nobody else can read it).
fn session(headers: &HeaderMap) -> Option<(&str, &str)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let (org, user) = token.trim().split_once('!')?;
    let sound = scheme.eq_ignore_ascii_case("Bearer") && !org.is_empty() && !user.is_empty();
    sound.then_some((org, user))
}

/// How long the request asks to run: `duration_ms` of the query, at most an
/// hour; `None` if it is garbled.
fn asked_duration(query: &str) -> Option<Duration> {
    let Some(asked) = query.split('&').find_map(|pair| pair.strip_prefix("duration_ms=")) else {
        return Some(Duration::ZERO);
    };
    asked.parse().ok().filter(|ms| *ms <= 3_600_000).map(Duration::from_millis)
}

fn refused(refusal: Refusal, options: &Options) -> Response {
    const CODE: &str = "REQUEST_LIMIT_EXCEEDED";
    match refusal {
        Refusal::Total => error(StatusCode::FORBIDDEN, CODE, options.total_text),
        Refusal::Concurrency => error(
            StatusCode::FORBIDDEN,
            CODE,
            "ConcurrentRequests (Concurrent API Requests) Limit exceeded.",
        ),
        Refusal::User { limit, room_in_us } => {
            let message = format!(
                "The limit of {} calls in {:?} per user is exceeded.",
                limit.max, limit.window
            );
            let mut response = error(StatusCode::TOO_MANY_REQUESTS, CODE, &message);
            if options.says_retry_after {
                let seconds = HeaderValue::from(room_in_us.div_ceil(1_000_000));
                response.headers_mut().insert(header::RETRY_AFTER, seconds);
            }
            response
        }
    }
}

/// Salesforce's error body: a list of one.
fn error(status: StatusCode, code: &str, message: &str) -> Response {
    json_answer(status, &json!([{ "message": message, "errorCode": code }]))
}

fn json_answer(status: StatusCode, body: &Value) -> Response {
    let json = HeaderValue::from_static("application/json;charset=UTF-8");
    (status, [(header::CONTENT_TYPE, json)], body.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_names_org_and_user() {
        for (value, expected) in [
            (
                "Bearer 00D000000000001EAA!005000000000001AAA",
                Some(("00D000000000001EAA", "005000000000001AAA")),
            ),
            ("bearer o!u!v", Some(("o", "u!v"))),
            ("Bearer o!", None),
            ("Bearer !u", None),
            ("Bearer ou", None),
            ("Basic o!u", None),
            ("", None),
        ] {
            let headers =
                HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(value))]);
            assert_eq!(session(&headers), expected, "{value:?}");
        }
        assert_eq!(session(&HeaderMap::new()), None);
    }
}
