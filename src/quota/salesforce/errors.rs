//! What an answer of Salesforce's says about limits when it is no success: its
//! status, its error code and its text become one [`Trouble`], by two tables.
//!
//! Clients tell what they have: a code and a message, the whole body as the
//! message, or nothing but a status. A body may be the REST API's list of one
//! error, one object, the SOAP API's fault, a line of plain text, or a page of
//! HTML from whatever stands before Salesforce.

use std::time::Duration;

/// An answer that says stop, or wait, or that something must be mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What it says.
    pub kind: TroubleKind,
    /// When to come back, where the answer says it.
    pub retry_after: Option<Duration>,
}

/// What an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TroubleKind {
    /// The org's total of 24 hours is used up.
    TotalExceeded,
    /// Too many long-running requests of the org at the same time.
    ConcurrencyExceeded,
    /// Some limit of requests is exceeded, and the text does not say which.
    LimitExceeded,
    /// One counter of its own is used up.
    CounterExceeded(OwnCounter),
    /// The user has logged in too often within an hour.
    LoginsExceeded,
    /// 429: too many requests, of whomever the operation counts.
    Throttled,
    /// Salesforce, or what stands before it, does not serve now.
    Unavailable,
    /// Nothing that waiting cures: a session that has ended, an API that is
    /// switched off.
    NotAllowed,
    /// One request was too large. No limit of rates.
    TooLarge,
}

/// The counters that Salesforce names in its texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OwnCounter {
    /// Query jobs of Bulk API 2.0 in 24 hours.
    BulkQueryJobs,
    /// Batches of both Bulk APIs in 24 hours.
    BulkBatches,
    /// Another one of the Bulk API's.
    Bulk,
}

impl TroubleKind {
    /// All, with [`OwnCounter::Bulk`] for the counters.
    pub const ALL: [Self; 9] = [
        Self::TotalExceeded,
        Self::ConcurrencyExceeded,
        Self::LimitExceeded,
        Self::CounterExceeded(OwnCounter::Bulk),
        Self::LoginsExceeded,
        Self::Throttled,
        Self::Unavailable,
        Self::NotAllowed,
        Self::TooLarge,
    ];

    /// The name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TotalExceeded => "total_exceeded",
            Self::ConcurrencyExceeded => "concurrency_exceeded",
            Self::LimitExceeded => "limit_exceeded",
            Self::CounterExceeded(_) => "counter_exceeded",
            Self::LoginsExceeded => "logins_exceeded",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::NotAllowed => "not_allowed",
            Self::TooLarge => "too_large",
        }
    }
}

impl OwnCounter {
    /// True if a limit's name stands for this counter.
    #[must_use]
    pub fn is_named(self, limit: &str) -> bool {
        let words: &[&str] = match self {
            Self::BulkQueryJobs => &["query", "job"],
            Self::BulkBatches => &["batch"],
            Self::Bulk => &["bulk"],
        };
        words.iter().all(|word| find(limit, word).is_some())
    }
}

impl Trouble {
    /// What an answer says; `None` if it is a success or an error that has
    /// nothing to do with limits.
    ///
    /// `status`: the HTTP status, 0 if none is known. `code`: Salesforce's
    /// `errorCode`, or empty. `text`: its message, or the whole body, or empty.
    /// `retry_after`: the header's; else the body's `retryAfter` counts.
    #[must_use]
    pub fn of(status: u16, code: &str, text: &str, retry_after: Option<Duration>) -> Option<Self> {
        // Nearly every answer is one of these.
        if matches!(status, 100..=399) || (status == 0 && code.is_empty() && text.is_empty()) {
            return None;
        }
        let code = code_of(code, text);
        let by_code = CODES.iter().find(|row| row.says(status, code, text));
        let kind = by_code.map(|row| row.kind).or_else(|| by_status(status, text))?;
        let retry_after = retry_after.or_else(|| retry_after_of(text));
        Some(Self { kind, retry_after })
    }
}

/// One row: a code, a part of the text (empty is any), and what they mean.
struct Row {
    code: &'static str,
    text: &'static str,
    kind: TroubleKind,
}

/// The first row that fits counts. Codes are whole words, in any case.
const CODES: &[Row] = &{
    use TroubleKind::{
        ConcurrencyExceeded, CounterExceeded, LimitExceeded, LoginsExceeded, NotAllowed, TooLarge,
        TotalExceeded, Unavailable,
    };
    const fn row(code: &'static str, text: &'static str, kind: TroubleKind) -> Row {
        Row { code, text, kind }
    }
    [
        row("REQUEST_LIMIT_EXCEEDED", "TotalRequests", TotalExceeded),
        row("REQUEST_LIMIT_EXCEEDED", "Concurrent", ConcurrencyExceeded),
        row("REQUEST_LIMIT_EXCEEDED", "", LimitExceeded),
        // Apex that runs for 5 s and longer: another bound of the same sort.
        row("UNKNOWN_EXCEPTION", "ConcurrentPerOrgLongTxn", ConcurrencyExceeded),
        row("LIMIT_EXCEEDED", "query jobs", CounterExceeded(OwnCounter::BulkQueryJobs)),
        row("LIMIT_EXCEEDED", "batch", CounterExceeded(OwnCounter::BulkBatches)),
        row("LIMIT_EXCEEDED", "bulk", CounterExceeded(OwnCounter::Bulk)),
        row("LIMIT_EXCEEDED", "", TooLarge),
        row("ExceededQuota", "batch", CounterExceeded(OwnCounter::BulkBatches)),
        row("ExceededQuota", "", CounterExceeded(OwnCounter::Bulk)),
        row("LOGIN_RATE_EXCEEDED", "", LoginsExceeded),
        row("INVALID_SESSION_ID", "", NotAllowed),
        row("INVALID_AUTH_HEADER", "", NotAllowed),
        row("INVALID_LOGIN", "", NotAllowed),
        row("API_DISABLED_FOR_ORG", "", NotAllowed),
        row("API_CURRENTLY_DISABLED", "", NotAllowed),
        row("ORG_LOCKED", "", NotAllowed),
        row("ORGANIZATION_DELETED", "", NotAllowed),
        row("PASSWORD_LOCKOUT", "", NotAllowed),
        row("TXN_SECURITY_METERING_ERROR", "", NotAllowed),
        row("TXN_SECURITY_NO_ACCESS", "", NotAllowed),
        row("SERVER_UNAVAILABLE", "", Unavailable),
    ]
};

impl Row {
    fn says(&self, status: u16, code: &str, text: &str) -> bool {
        // 429 says whose limit it is: the one that the operation counts.
        let vague = self.kind == TroubleKind::LimitExceeded && status == 429;
        !vague
            && self.code.eq_ignore_ascii_case(code)
            && (self.text.is_empty() || find(text, self.text).is_some())
    }
}

/// What a status says where no code does.
fn by_status(status: u16, text: &str) -> Option<TroubleKind> {
    match status {
        429 => Some(TroubleKind::Throttled),
        401 => Some(TroubleKind::NotAllowed),
        // 420 and 406: an edge that sheds load. 502 and 504 are its other words
        // for 503.
        406 | 420 | 502..=504 => Some(TroubleKind::Unavailable),
        _ if is_page(text) => Some(TroubleKind::Unavailable),
        _ => None,
    }
}

/// A page for people is no answer of an API.
fn is_page(text: &str) -> bool {
    let start = text.trim_start();
    ["<!doctype html", "<html"]
        .iter()
        .any(|tag| start.get(..tag.len()).is_some_and(|opening| opening.eq_ignore_ascii_case(tag)))
}

/// The error code: the one that the client names, if the tables know it; else
/// the one in the body; else, of a body without structure, the first known word.
fn code_of<'a>(code: &'a str, text: &'a str) -> &'a str {
    // The SOAP API's codes have a prefix: `sf:REQUEST_LIMIT_EXCEEDED`.
    let code = code.rsplit(':').next().unwrap_or(code).trim();
    let known = |code: &str| CODES.iter().any(|row| row.code.eq_ignore_ascii_case(code));
    if known(code) {
        return code;
    }
    if let Some(inside) = ["errorCode", "exceptionCode"].iter().find_map(|key| field(text, key)) {
        return inside;
    }
    let has_structure = text.trim_start().starts_with(['{', '[']);
    if !code.is_empty() || has_structure {
        return code;
    }
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .find(|word| known(word))
        .unwrap_or_default()
}

/// The body's own `retryAfter`, in seconds.
fn retry_after_of(text: &str) -> Option<Duration> {
    let seconds: u32 = field(text, "retryAfter")?.parse().ok()?;
    Some(Duration::from_secs(seconds.into()))
}

/// The value of a field of a JSON text (or of what a client printed of one),
/// with or without quotes; escapes stay as they are. The first such field
/// counts, however deep it lies.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let mut rest = text;
    loop {
        let at = find(rest, key)?;
        let quote = rest[..at].chars().next_back();
        rest = &rest[at + key.len()..];
        let Some(quote @ ('"' | '\'')) = quote else { continue };
        let Some(value) = rest.strip_prefix(quote) else { continue };
        let Some(value) = value.trim_start().strip_prefix(':') else { continue };
        let value = value.trim_start();
        let is_end = |c: char| matches!(c, ',' | '}' | ']') || c.is_whitespace();
        return match value.chars().next() {
            Some(quote @ ('"' | '\'')) => value[1..].split(quote).next(),
            _ => value.split(is_end).next(),
        };
    }
}

/// Where an ASCII text is found in another one, in any case.
fn find(text: &str, part: &str) -> Option<usize> {
    let (text, part) = (text.as_bytes(), part.as_bytes());
    text.windows(part.len()).position(|window| window.eq_ignore_ascii_case(part))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{OwnCounter::*, TroubleKind::*, *};

    const TOTAL: &str = "TotalRequests Limit exceeded.";
    const SLOTS: &str = "ConcurrentRequests (Concurrent API Requests) Limit exceeded.";

    #[track_caller]
    fn check(status: u16, code: &str, text: &str, expected: Option<TroubleKind>) {
        let kind = Trouble::of(status, code, text, None).map(|trouble| trouble.kind);
        assert_eq!(kind, expected, "{status} {code:?} {text:?}");
    }

    #[test]
    fn the_code_decides_and_then_the_text_and_then_the_status() {
        let code = "REQUEST_LIMIT_EXCEEDED";
        check(403, code, TOTAL, Some(TotalExceeded));
        check(403, code, SLOTS, Some(ConcurrencyExceeded));
        check(403, code, "Something else", Some(LimitExceeded));
        check(403, code, "", Some(LimitExceeded));
        check(403, "request_limit_exceeded", "totalrequests limit", Some(TotalExceeded));
        check(500, "sf:REQUEST_LIMIT_EXCEEDED", TOTAL, Some(TotalExceeded));
        check(401, code, TOTAL, Some(TotalExceeded));
        check(0, code, TOTAL, Some(TotalExceeded));
        check(429, code, TOTAL, Some(TotalExceeded));
        check(429, code, "The limit of 90 calls is exceeded.", Some(Throttled));
        check(429, "", "", Some(Throttled));
        check(401, "", "", Some(NotAllowed));
        check(503, "", "", Some(Unavailable));
        check(403, "", "", None);
        check(403, "INSUFFICIENT_ACCESS", "", None);
        check(404, "NOT_FOUND", "", None);
        check(500, "UNKNOWN_EXCEPTION", "An unexpected error occurred", None);
        check(400, "LIMIT_EXCEEDED", "Too many records in the request", Some(TooLarge));
        check(400, "LIMIT_EXCEEDED", "Bulk API limit reached", Some(CounterExceeded(Bulk)));
        check(0, "", "", None);
        check(200, code, TOTAL, None);
        check(304, "", "", None);
    }

    #[test]
    fn a_body_is_read_in_every_form_that_clients_tell_it() {
        let bodies = [
            r#"[{"message": "TotalRequests Limit exceeded.", "errorCode": "REQUEST_LIMIT_EXCEEDED"}]"#,
            r#"{"errorCode":"REQUEST_LIMIT_EXCEEDED","message":"TotalRequests Limit exceeded."}"#,
            r"[{'message': 'TotalRequests Limit exceeded.', 'errorCode': 'REQUEST_LIMIT_EXCEEDED'}]",
            r#"{"error": {"ERRORCODE" : "REQUEST_LIMIT_EXCEEDED", "m": "TotalRequests Limit"}}"#,
            "REQUEST_LIMIT_EXCEEDED: TotalRequests Limit exceeded.",
            "<soapenv:Fault><faultcode>sf:REQUEST_LIMIT_EXCEEDED</faultcode>\
             <faultstring>REQUEST_LIMIT_EXCEEDED: TotalRequests Limit exceeded.</faultstring>",
            // Cut off in the middle.
            r#"[{"errorCode":"REQUEST_LIMIT_EXCEEDED","message":"TotalRequests Lim"#,
        ];
        for body in bodies {
            check(403, "", body, Some(TotalExceeded));
            // What a library calls it says nothing.
            check(403, "SalesforceError", bodies[0], Some(TotalExceeded));
        }
        for page in ["<html><body>Down</body>", "\n<!DOCTYPE HTML PUBLIC>", "<HTML>"] {
            for status in [403, 404, 500] {
                check(status, "", page, Some(Unavailable));
            }
            check(200, "", page, None);
        }
    }

    #[test]
    fn a_word_that_merely_looks_like_a_code_is_none() {
        check(400, "INVALID_FIELD", "No such column 'REQUEST_LIMIT_EXCEEDED'", None);
        check(400, "", r#"[{"errorCode":"X","message":"REQUEST_LIMIT_EXCEEDED"}]"#, None);
        check(400, "", "No such column REQUEST_LIMIT_EXCEEDED__c", None);
        check(400, "", r#"{"errorCode" "REQUEST_LIMIT_EXCEEDED"}"#, None);
        check(400, "", "errorCode: LIMIT", None);
    }

    #[test]
    fn the_header_says_when_to_come_back_before_the_body_does() {
        let body = r#"{"errorcode": 50100, "retryAfter": 5, "x": 1}"#;
        let at = |header, body| Trouble::of(429, "", body, header).and_then(|t| t.retry_after);
        let secs = Duration::from_secs;
        assert_eq!(at(None, body), Some(secs(5)));
        assert_eq!(at(Some(secs(9)), body), Some(secs(9)));
        assert_eq!(at(None, r#"{"retryAfter":"7"}"#), Some(secs(7)));
        for none in [r#"{"retryAfter":-1}"#, r#"{"retryAfter":"soon"}"#, r#"{"retryAfter"#, ""] {
            assert_eq!(at(None, none), None, "{none}");
        }
    }

    #[test]
    fn a_counter_is_known_by_its_name() {
        for (counter, named, other) in [
            (BulkQueryJobs, "bulk_v2_query_jobs", "bulk_batches"),
            (BulkBatches, "Bulk-Batches", "bulk_v2_query_jobs"),
            (Bulk, "bulk_v2_ingest_records", "batches"),
        ] {
            assert!(counter.is_named(named) && !counter.is_named(other), "{counter:?}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(
            status: u16, code in ".{0,40}", text in ".{0,200}",
            body in r#"([{}\[\]:,'" é<]|errorCode|retryAfter|REQUEST_LIMIT_EXCEEDED|[0-9]){0,40}"#,
        ) {
            for text in [&text, &body] {
                let _ = Trouble::of(status, &code, text, None);
                let _ = Trouble::of(status, "", text, None);
            }
        }
    }
}
