//! Which calls of Salesforce's API a request makes.

use std::borrow::Cow;

use serde_json::Value;

/// What a request takes: calls of an operation count as so many units of the
/// org's total.
///
/// As an extension of a request it overrides the rules of the adapters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// The operation of the service's catalogue.
    pub operation: Cow<'static, str>,
    /// Units of the org's total and of the workspace's cap, 1 to 10,000.
    pub cost: u32,
}

/// No call may cost more.
const MAX_COST: u32 = 10_000;

impl Charge {
    /// One unit of an operation.
    #[must_use]
    pub fn of(operation: impl Into<Cow<'static, str>>) -> Self {
        Self { operation: operation.into(), cost: 1 }
    }
}

/// The charge of a request by its method, its path, and its body where that is at
/// hand; `None` where it is no call that Salesforce counts, such as a login.
///
/// A batch costs as many units as it has requests; if its body is not at hand,
/// one.
///
/// ```
/// use quotagate::client::rules::{Charge, classify};
///
/// let entries = classify("GET", "/services/data/v66.0/conversation-entries", None);
/// assert_eq!(entries, Some(Charge::of("conversation-entries.get")));
/// assert_eq!(classify("POST", "/services/oauth2/token", None), None);
/// ```
#[must_use]
pub fn classify(method: &str, path: &str, body: Option<&[u8]>) -> Option<Charge> {
    let path = path.trim_start_matches('/').trim_end_matches('/');
    let (first, service) = path.split_once('/').unwrap_or((path, ""));
    let is_service = first == "services" && !service.is_empty();
    let data = service.strip_prefix("data/").filter(|_| is_service);
    let resource = match data.and_then(|data| data.split_once('/')) {
        Some((version, resource)) if is_version(version) => Some(resource),
        _ if is_service => None,
        _ => Some(path),
    };
    if let Some(operation) = resource.and_then(|resource| conversation(method, resource)) {
        return Some(Charge::of(operation));
    }
    if !is_service || service == "data" || is_below(service, "oauth2") {
        return None;
    }
    if is_below(service, "Soap") && body.is_some_and(is_login) {
        return None;
    }
    let is_batch = method == "POST" && resource == Some("composite/batch");
    let cost = if is_batch { body.map_or(1, batch_requests) } else { 1 };
    Some(Charge { operation: "rest".into(), cost })
}

/// The operation of the Conversation Data API that a resource is of.
fn conversation(method: &str, resource: &str) -> Option<&'static str> {
    let resource = resource.strip_prefix("connect/").unwrap_or(resource);
    match (method, resource.split('/').next()?) {
        ("GET", "conversation-entries") => Some("conversation-entries.get"),
        ("DELETE", "conversation-participants") => Some("conversation-participants.delete"),
        ("DELETE", "conversations") => Some("conversations.delete"),
        _ => None,
    }
}

/// `v66.0`.
fn is_version(segment: &str) -> bool {
    let number = segment.strip_prefix('v').unwrap_or_default();
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a SOAP message has an element `login`, of whatever namespace.
fn is_login(body: &[u8]) -> bool {
    body.split(|byte| *byte == b'<').skip(1).any(|element| {
        let end = element.iter().position(|byte| b" \t\r\n/>".contains(byte));
        let name = &element[..end.unwrap_or(0)];
        let local = name.rsplit(|byte| *byte == b':').next();
        local == Some(b"login") && !name.starts_with(b"/")
    })
}

fn batch_requests(body: &[u8]) -> u32 {
    let body: Option<Value> = serde_json::from_slice(body).ok();
    let requests = body.as_ref().and_then(|body| body.get("batchRequests")?.as_array());
    let count = requests.map_or(1, Vec::len);
    u32::try_from(count).unwrap_or(MAX_COST).clamp(1, MAX_COST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_what_the_clients_vectors_say() {
        let scenarios = include_str!("../../clients/conformance/scenarios.json");
        let scenarios: Value = serde_json::from_str(scenarios).unwrap();
        let vectors = scenarios["classify"].as_array().unwrap();
        assert!(vectors.len() > 30);
        for vector in vectors {
            let url = vector["url"].as_str().unwrap();
            let path = url.split_once("://").unwrap().1;
            let path = path.find('/').map_or("/", |slash| &path[slash..]);
            let path = path.split('?').next().unwrap();
            let body = vector["body"].as_str().map(str::as_bytes);
            let charge = classify(vector["method"].as_str().unwrap(), path, body);
            let expected = vector["operation"].as_str().map(|operation| Charge {
                operation: operation.to_owned().into(),
                cost: u32::try_from(vector["cost"].as_u64().unwrap()).unwrap(),
            });
            assert_eq!(charge, expected, "{vector}");
        }
    }
}
