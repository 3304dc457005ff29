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
    Handle,
    arrivals::Arrival,
    engine::{Call, Refusal, Usage},
    options::{DELETE_CONVERSATION, DELETE_PARTICIPANT, GET_ENTRIES, Options, REST},
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
    let Some(resource) = Resource::of(&method, uri.path(), &body) else {
        return error(StatusCode::NOT_FOUND, "NOT_FOUND", "The requested resource does not exist");
    };
    if resource == Resource::Versions {
        return json_answer(
            StatusCode::OK,
            &json!([{ "label": "Stand-in", "url": "/services/data/v66.0", "version": "66.0" }]),
        );
    }
    let Some((org, user)) = session(&headers) else {
        return error(StatusCode::UNAUTHORIZED, "INVALID_SESSION_ID", "Session expired or invalid");
    };
    let Some(asked) = asked_duration(uri.query().unwrap_or_default()) else {
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
        let duration = asked + state.jitter.draw(shared.options.latency);
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
        Ok(()) => resource.result(shown),
        Err(refusal) => refused(refusal, &shared.options),
    };
    let limit_info = format!("api-usage={}/{}", shown.used, shown.max);
    if let Ok(limit_info) = HeaderValue::from_str(&limit_info) {
        response.headers_mut().insert("Sforce-Limit-Info", limit_info);
    }
    response
}

/// What a path means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resource {
    /// The list of versions: needs no session and costs nothing.
    Versions,
    /// `GET …/limits`.
    Limits,
    /// `GET …/conversation-entries`.
    Entries,
    /// `DELETE …/conversation-participants`.
    Participant,
    /// `DELETE …/conversations`.
    Conversation,
    /// `POST …/composite/batch`; each of its requests counts.
    Batch(u64),
    /// Any other.
    Other,
}

impl Resource {
    /// `None` where there is nothing.
    fn of(method: &Method, path: &str, body: &[u8]) -> Option<Self> {
        let versioned = match path.strip_prefix("/services/data") {
            Some("" | "/") => return Some(Self::Versions),
            Some(rest) => {
                let (version, resource) = rest.strip_prefix("/v")?.split_once('/')?;
                version.parse::<f32>().ok()?;
                Some(resource)
            }
            None => None,
        };
        let resource = versioned.unwrap_or_else(|| path.trim_start_matches('/'));
        let collection = resource.split('/').next().unwrap_or_default();
        match (method, collection) {
            (&Method::GET, "conversation-entries") => Some(Self::Entries),
            (&Method::DELETE, "conversation-participants") => Some(Self::Participant),
            (&Method::DELETE, "conversations") => Some(Self::Conversation),
            _ if versioned.is_none_or(str::is_empty) => None,
            (&Method::GET, "limits") => Some(Self::Limits),
            (&Method::POST, "composite") if resource == "composite/batch" => {
                Some(Self::Batch(subrequests(body)))
            }
            _ => Some(Self::Other),
        }
    }

    /// Which user limit counts it.
    const fn operation(self) -> &'static str {
        match self {
            Self::Entries => GET_ENTRIES,
            Self::Participant => DELETE_PARTICIPANT,
            Self::Conversation => DELETE_CONVERSATION,
            Self::Versions | Self::Limits | Self::Batch(_) | Self::Other => REST,
        }
    }

    const fn org_units(self, conversations_count: bool) -> u64 {
        match self {
            Self::Versions => 0,
            Self::Entries | Self::Participant | Self::Conversation => conversations_count as u64,
            Self::Limits | Self::Other => 1,
            Self::Batch(requests) => requests,
        }
    }

    fn result(self, shown: Usage) -> Response {
        let body = match self {
            Self::Participant | Self::Conversation => {
                return StatusCode::NO_CONTENT.into_response();
            }
            Self::Entries => json!({ "conversationEntries": [], "nextPageToken": null }),
            Self::Limits => json!({ "DailyApiRequests": {
                "Max": shown.max,
                "Remaining": shown.max.saturating_sub(shown.used),
            } }),
            Self::Batch(requests) => {
                let result = json!({ "statusCode": 200, "result": {} });
                let results: Vec<Value> = (0..requests).map(|_| result.clone()).collect();
                json!({ "hasErrors": false, "results": results })
            }
            Self::Versions | Self::Other => json!({ "totalSize": 0, "done": true, "records": [] }),
        };
        json_answer(StatusCode::OK, &body)
    }
}

/// The number of requests in the body of a batch; what is no batch is one
/// request.
fn subrequests(body: &[u8]) -> u64 {
    let batch: Value = serde_json::from_slice(body).unwrap_or_default();
    batch["batchRequests"].as_array().map_or(1, |requests| requests.len().max(1) as u64)
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

    fn check(method: Method, path: &str, resource: Option<Resource>) {
        assert_eq!(Resource::of(&method, path, b""), resource, "{method} {path}");
    }

    #[test]
    fn paths_mean_what_they_mean_at_salesforce() {
        use Resource::{Batch, Conversation, Entries, Limits, Other, Participant, Versions};
        check(Method::GET, "/services/data", Some(Versions));
        check(Method::GET, "/services/data/", Some(Versions));
        check(Method::GET, "/conversation-entries", Some(Entries));
        check(Method::GET, "/services/data/v66.0/conversation-entries/1", Some(Entries));
        check(Method::DELETE, "/conversation-participants/1", Some(Participant));
        check(Method::DELETE, "/services/data/v66.0/conversations", Some(Conversation));
        check(Method::GET, "/services/data/v66.0/conversations", Some(Other));
        check(Method::GET, "/services/data/v66.0/limits", Some(Limits));
        check(Method::GET, "/services/data/v66.0/sobjects/Account/describe", Some(Other));
        check(Method::POST, "/services/data/v66.0/composite", Some(Other));
        check(Method::POST, "/services/data/v66.0/composite/batch", Some(Batch(1)));
        check(Method::GET, "/services/data/v66.0/", None);
        check(Method::GET, "/services/data/v66.0", None);
        check(Method::GET, "/services/data/vx/limits", None);
        check(Method::GET, "/services/database/v66.0/limits", None);
        check(Method::GET, "/conversations", None);
        check(Method::GET, "/limits", None);
        check(Method::GET, "/", None);
    }

    #[test]
    fn a_batch_costs_what_is_in_it() {
        for (body, units) in [
            (r#"{"batchRequests":[{"method":"GET","url":"v66.0/limits"},{}]}"#, 2),
            (r#"{"batchRequests":[]}"#, 1),
            (r#"{"batchRequests":5}"#, 1),
            ("no JSON", 1),
        ] {
            assert_eq!(subrequests(body.as_bytes()), units, "{body}");
        }
    }

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
