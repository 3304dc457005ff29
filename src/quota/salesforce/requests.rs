//! What a request to Salesforce is, as far as its method and path tell.

use std::iter;

/// The most requests that Salesforce takes in one batch: what a batch is charged
/// where nobody can look inside.
pub const MOST_IN_A_BATCH: u32 = 25;

/// A call of Salesforce's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiCall {
    /// The operation of the built-in catalogue.
    pub operation: &'static str,
    /// The most units that it takes of the org's total.
    pub most_units: u32,
}

impl ApiCall {
    /// The call that a request is: `target` is its path, with or without a
    /// query. `None` for what Salesforce does not count: a login by `OAuth`, the
    /// list of versions, and pages that are no API.
    ///
    /// Between two readings of a path this takes the one that is charged: dots,
    /// escapes and letters' case do not hide a call. A call by SOAP is charged
    /// even if it is a login, which only its body tells.
    #[must_use]
    pub fn of(method: &str, target: &str) -> Option<Self> {
        let segments = segments(target);
        let path: Vec<&str> = segments.iter().map(String::as_str).collect();
        let (is_api, resource) = match path[..] {
            ["services", "oauth2", ..] | ["services", "data"] => return None,
            ["services", "data", _, ref resource @ ..] => (true, resource),
            ["services", ..] => (true, &[][..]),
            ref resource => (false, resource),
        };
        let call = |operation| Some(Self { operation, most_units: 1 });
        match (method, resource) {
            ("GET", ["connect", "conversation-entries", ..] | ["conversation-entries", ..]) => {
                call("conversation-entries.get")
            }
            (
                "DELETE",
                ["connect", "conversation-participants", ..] | ["conversation-participants", ..],
            ) => call("conversation-participants.delete"),
            ("DELETE", ["connect", "conversations", ..] | ["conversations", ..]) => {
                call("conversations.delete")
            }
            ("POST", ["composite", "batch"]) if is_api => {
                Some(Self { operation: "rest", most_units: MOST_IN_A_BATCH })
            }
            _ if is_api => call("rest"),
            _ => None,
        }
    }
}

/// The segments of a path as a server may understand it: without empty ones and
/// parameters, dots resolved, escapes read, in small letters.
fn segments(target: &str) -> Vec<String> {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    // The absolute form of a target begins with a scheme and a host.
    let path = match path.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => {
            rest.split_once('/').map_or("", |(_, path)| path)
        }
        _ => path,
    };
    let mut segments = Vec::new();
    for segment in unescaped(path).to_ascii_lowercase().split(['/', '\\']) {
        match segment.split(';').next().unwrap_or_default() {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            name => segments.push(name.to_owned()),
        }
    }
    segments
}

/// A text with its `%41` read; what is no escape stays.
fn unescaped(text: &str) -> String {
    let mut rest = text.as_bytes();
    let bytes: Vec<u8> = iter::from_fn(|| {
        let (&first, after) = rest.split_first()?;
        let digits = after.get(..2).filter(|_| first == b'%');
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let escaped = digits.and_then(|pair| Some((digit(pair[0])? << 4) | digit(pair[1])?));
        rest = if escaped.is_some() { &after[2..] } else { after };
        Some(escaped.and_then(|byte| u8::try_from(byte).ok()).unwrap_or(first))
    })
    .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One row: the request, and its operation; empty: it is not counted.
    fn check(method: &str, target: &str, operation: &str) {
        let found = ApiCall::of(method, target).map_or("", |call| call.operation);
        assert_eq!(found, operation, "{method} {target}");
    }

    #[test]
    fn method_and_path_tell_the_operation() {
        let entries = "conversation-entries.get";
        check("GET", "/services/data/v66.0/conversation-entries?conversationId=1", entries);
        check("GET", "/services/data/v66.0/connect/conversation-entries/1", entries);
        check("GET", "/conversation-entries", entries);
        check("GET", "/connect/conversation-entries/1", entries);
        check("POST", "/services/data/v66.0/conversation-entries", "rest");
        let participant = "conversation-participants.delete";
        check("DELETE", "/services/data/v66.0/conversation-participants/1", participant);
        check("DELETE", "/services/data/v66.0/connect/conversation-participants", participant);
        let conversation = "conversations.delete";
        check("DELETE", "/services/data/v66.0/conversations", conversation);
        check("DELETE", "/conversations/1/", conversation);
        check("GET", "/services/data/v66.0/conversations/1", "rest");
        check("DELETE", "/services/data/v66.0/conversationsx", "rest");
        check("DELETE", "/services/apexrest/conversations", "rest");
        check("GET", "/services/data/v66.0/query/?q=SELECT+Id+FROM+Account", "rest");
        check("PATCH", "/services/data/v66.0/sobjects/Account/001", "rest");
        check("POST", "/services/async/66.0/job", "rest");
        check("GET", "/services/data/v66.0", "rest");
        check("GET", "/services/database", "rest");
        check("POST", "/services/Soap/u/59.0", "rest");
        check("POST", "/services/data/v66.0/composite", "rest");
        for not_counted in [
            "/services/data",
            "/services/data/",
            "/services/oauth2/token",
            "/",
            "",
            "*",
            "/lightning/page/home",
            "/servicesx/data/v66.0/limits",
            "/conversations",
        ] {
            check("GET", not_counted, "");
        }
    }

    #[test]
    fn no_spelling_hides_a_call() {
        for target in [
            "//services/data/v66.0/limits",
            "/services/data/../data/v66.0/limits",
            "/services/oauth2/../data/v66.0/limits",
            "/services/oauth2/%2e%2e/data/v66.0/limits",
            "/services%2Fdata/v66.0/limits",
            "/%73ervices/data/v66.0/limits",
            "/SERVICES/Data/v66.0/limits",
            "/services;x=1/data/v66.0/limits",
            "/.\\services/data/v66.0/limits",
            "https://acme.my.salesforce.com/services/data/v66.0/limits",
            "/x/../services/data/v66.0/limits#/services/oauth2/",
        ] {
            check("GET", target, "rest");
        }
        check("GET", "/%zz/%", "");
    }

    #[test]
    fn a_batch_that_nobody_looks_into_is_charged_as_the_largest() {
        let units = |target| ApiCall::of("POST", target).map(|call| call.most_units);
        assert_eq!(units("/services/data/v66.0/composite/batch"), Some(25));
        assert_eq!(units("/services/data/v66.0/composite/batch/?x=1"), Some(25));
        assert_eq!(units("/services/data/v66.0/composite"), Some(1));
        assert_eq!(units("/services/data/v66.0/composite/tree/Account"), Some(1));
    }
}
