//! What Salesforce answered, as it is reported.

use std::time::{Duration, UNIX_EPOCH};

use prost_types::Timestamp;
use serde_json::Value;

use super::ask::wire;
use crate::{clock::Moment, proto::v1::ReportRequest};

/// What Salesforce answered to a call, or that nothing came.
///
/// ```
/// use quotagate::client::Answer;
///
/// let answer = Answer::new(403)
///     .limit_info("api-usage=100000/100000")
///     .date("Tue, 15 Nov 1994 08:12:31 GMT")
///     .body(br#"[{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "TotalRequests Limit exceeded."}]"#);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use = "it says nothing until it is reported"]
pub struct Answer {
    /// When it came, or when nothing more was waited for.
    at: Moment,
    http_status: u16,
    error_code: String,
    error_message: String,
    retry_after: Option<RetryAfter>,
    limit_info: Vec<String>,
    date: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RetryAfter {
    In(Duration),
    /// Since 1970.
    At(Duration),
}

/// Of a body, no more than this is looked at, and need not be kept.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// The service takes no more of each.
const MAX_LIMIT_INFOS: usize = 8;
const MAX_TEXT_BYTES: usize = 1024;

impl Answer {
    /// An answer with this status, which has just come.
    pub fn new(http_status: u16) -> Self {
        Self {
            at: Moment::now(),
            http_status,
            error_code: String::new(),
            error_message: String::new(),
            retry_after: None,
            limit_info: Vec::new(),
            date: None,
        }
    }

    /// Nothing came. The call may have been served all the same: it counts as
    /// sent.
    pub fn none() -> Self {
        Self::new(0)
    }

    /// A value of the header `Sforce-Limit-Info`, as it came; once for each.
    pub fn limit_info(mut self, value: &str) -> Self {
        if self.limit_info.len() < MAX_LIMIT_INFOS {
            self.limit_info.push(cut(value).to_owned());
        }
        self
    }

    /// The header `Retry-After`: seconds, or an HTTP date. What is neither is
    /// ignored.
    pub fn retry_after(mut self, value: &str) -> Self {
        let seconds = value.trim().parse().ok().map(|s| RetryAfter::In(Duration::from_secs(s)));
        self.retry_after = seconds.or_else(|| http_date(value).map(RetryAfter::At));
        self
    }

    /// The header `Date`. What is none is ignored.
    pub fn date(mut self, value: &str) -> Self {
        self.date = http_date(value);
        self
    }

    /// The body, or its first [`MAX_BODY_BYTES`]. Only errors are looked into.
    pub fn body(mut self, body: &[u8]) -> Self {
        if self.http_status >= 400 {
            let body = &body[..body.len().min(MAX_BODY_BYTES)];
            (self.error_code, self.error_message) = error_of(body);
        }
        self
    }

    /// Salesforce's errorCode and message, where the body was read already.
    pub fn error(mut self, code: &str, message: &str) -> Self {
        self.error_code = cut(code).to_owned();
        self.error_message = cut(message).to_owned();
        self
    }

    /// When it came.
    #[must_use]
    pub fn at(&self) -> Moment {
        self.at
    }

    /// True if something came.
    #[must_use]
    pub fn came(&self) -> bool {
        self.http_status != 0
    }

    /// True for a refusal or a fault.
    pub(super) fn is_error(&self) -> bool {
        self.http_status >= 400
    }

    /// Takes in what came back of another call, if one report can tell both: the
    /// figures are the newer ones, and it is of the later moment.
    pub(super) fn merge_later(&mut self, other: Self) -> Option<Self> {
        let is_same = self.http_status == other.http_status
            && self.error_code == other.error_code
            && self.error_message == other.error_message
            && self.retry_after == other.retry_after;
        if !is_same {
            return Some(other);
        }
        if other.at >= self.at {
            let limit_info = if other.limit_info.is_empty() {
                std::mem::take(&mut self.limit_info)
            } else {
                other.limit_info
            };
            *self = Self { limit_info, date: other.date.or(self.date), ..other };
        }
        None
    }

    /// True if it proves that the call is over: without an answer, and after an
    /// error of a server, bytes may still be on their way.
    pub(super) fn shows_when_it_was_made(&self) -> bool {
        (100..500).contains(&self.http_status)
    }

    /// The message that reports it for calls of a permit, when it is sent now.
    pub(super) fn message(&self, permit_id: &str, first_call: u32, calls: u32) -> ReportRequest {
        let retry_after = self.retry_after.map(|after| match after {
            RetryAfter::In(time) => time,
            // Both dates are of one clock, Salesforce's.
            RetryAfter::At(at) => at.saturating_sub(self.date.unwrap_or(at)),
        });
        ReportRequest {
            permit_id: permit_id.to_owned(),
            first_call,
            calls,
            http_status: self.http_status.into(),
            error_code: self.error_code.clone(),
            error_message: self.error_message.clone(),
            retry_after: retry_after.map(wire),
            limit_info: self.limit_info.clone(),
            answer_time: self.date.and_then(timestamp),
            completed_ago: Some(wire(Moment::now().since(self.at))),
            ..ReportRequest::default()
        }
    }
}

/// Salesforce's errorCode and message, of the shapes that its APIs have.
fn error_of(body: &[u8]) -> (String, String) {
    let parsed: Option<Value> = serde_json::from_slice(body).ok();
    let error = parsed.as_ref().and_then(|value| match value {
        Value::Array(errors) => errors.first(),
        other => Some(other),
    });
    let text = |name| error.and_then(|error| error.get(name)).and_then(Value::as_str);
    let code = text("errorCode").or_else(|| text("error"));
    let message = text("message").or_else(|| text("error_description"));
    match (code, message) {
        (None, None) => (String::new(), cut(&String::from_utf8_lossy(body)).to_owned()),
        (code, message) => {
            (cut(code.unwrap_or_default()).to_owned(), cut(message.unwrap_or_default()).to_owned())
        }
    }
}

/// An HTTP date, since 1970.
fn http_date(value: &str) -> Option<Duration> {
    httpdate::parse_http_date(value.trim()).ok()?.duration_since(UNIX_EPOCH).ok()
}

fn timestamp(since_1970: Duration) -> Option<Timestamp> {
    Some(Timestamp { seconds: since_1970.as_secs().try_into().ok()?, nanos: 0 })
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT_BYTES)]
}
