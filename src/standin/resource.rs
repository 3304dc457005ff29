//! What Salesforce's paths mean, and what they answer: enough of the REST API's
//! shapes that the usual clients (jsforce, simple-salesforce) find what they
//! expect. There is no data behind them: a query finds nothing, and a record
//! exists as soon as it is asked for.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    engine::Usage,
    options::{DELETE_CONVERSATION, DELETE_PARTICIPANT, GET_ENTRIES, REST},
};

/// The version of the API that the stand-in lists; it takes any.
pub(super) const VERSION: &str = "66.0";

/// The id of every record that is created.
const RECORD_ID: &str = "001000000000001AAA";

/// A request as far as it says what is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) method: &'a Method,
    pub(super) path: &'a str,
    pub(super) query: Option<&'a str>,
    pub(super) body: &'a [u8],
}

/// What a path means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resource {
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
    pub(super) fn of(asked: &Asked<'_>) -> Option<Self> {
        let path = asked.path;
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
        // The same resources are found below `connect/`, too.
        let resource = resource.strip_prefix("connect/").unwrap_or(resource);
        let collection = resource.split('/').next().unwrap_or_default();
        match (asked.method, collection) {
            (&Method::GET, "conversation-entries") => Some(Self::Entries),
            (&Method::DELETE, "conversation-participants") => Some(Self::Participant),
            (&Method::DELETE, "conversations") => Some(Self::Conversation),
            _ if ["/services/apexrest/", "/services/async/"]
                .iter()
                .any(|p| path.starts_with(p)) =>
            {
                Some(Self::Other)
            }
            _ if versioned.is_none_or(str::is_empty) => None,
            (&Method::GET, "limits") => Some(Self::Limits),
            (&Method::POST, "composite") if resource.trim_end_matches('/') == "composite/batch" => {
                Some(Self::Batch(subrequests(asked.body)))
            }
            _ => Some(Self::Other),
        }
    }

    /// Which user limit counts it.
    pub(super) const fn operation(self) -> &'static str {
        match self {
            Self::Entries => GET_ENTRIES,
            Self::Participant => DELETE_PARTICIPANT,
            Self::Conversation => DELETE_CONVERSATION,
            Self::Versions | Self::Limits | Self::Batch(_) | Self::Other => REST,
        }
    }

    /// What it takes of the org's total.
    pub(super) const fn org_units(self, conversations_count: bool) -> u64 {
        match self {
            Self::Versions => 0,
            Self::Entries | Self::Participant | Self::Conversation => conversations_count as u64,
            Self::Limits | Self::Other => 1,
            Self::Batch(requests) => requests,
        }
    }

    /// The answer to a call that passed; `None` is an empty body.
    pub(super) fn result(self, asked: &Asked<'_>, shown: Usage) -> (StatusCode, Option<Value>) {
        let body = match self {
            Self::Participant | Self::Conversation => return (StatusCode::NO_CONTENT, None),
            Self::Entries => json!({ "conversationEntries": [], "nextPageToken": null }),
            Self::Limits => json!({ "DailyApiRequests": {
                "Max": shown.max,
                "Remaining": shown.max.saturating_sub(shown.used),
            } }),
            Self::Batch(_) => return batch(asked.body),
            Self::Versions | Self::Other => {
                let segments = segments(asked.path);
                return match (asked.method, segments.as_slice()) {
                    (&Method::POST, ["composite"]) => composite(asked.body),
                    (method, ["composite", "sobjects", rest @ ..]) => {
                        collection(method, rest.first().copied(), asked)
                    }
                    (&Method::POST, ["composite", "tree", _]) => tree(asked.body),
                    (method, segments) => single(method, asked.path, segments),
                };
            }
        };
        (StatusCode::OK, Some(body))
    }
}

/// What follows the version, without empty parts; of another path, all of it.
fn segments(path: &str) -> Vec<&str> {
    let path = path.strip_prefix("/services/data").unwrap_or(path);
    let mut segments: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let is_version = |part: &str| part.strip_prefix('v').is_some_and(|v| v.parse::<f32>().is_ok());
    if segments.first().is_some_and(|part| is_version(part)) {
        segments.remove(0);
    }
    segments
}

/// What a request that is no composite answers.
fn single(method: &Method, path: &str, segments: &[&str]) -> (StatusCode, Option<Value>) {
    let body = match (method, segments) {
        (&Method::GET, ["sobjects"]) => json!({
            "encoding": "UTF-8",
            "maxBatchSize": 200,
            "sobjects": [described("Account", false)],
        }),
        (&Method::GET, ["sobjects", kind]) => {
            json!({ "objectDescribe": described(kind, false), "recentItems": [] })
        }
        (&Method::POST, ["sobjects", _]) => return (StatusCode::CREATED, Some(saved())),
        (&Method::GET, ["sobjects", kind, "describe"]) => described(kind, true),
        (&Method::GET, ["sobjects", kind, .., id]) => record(kind, id, path),
        (&Method::PATCH | &Method::DELETE, ["sobjects", _, ..]) => {
            return (StatusCode::NO_CONTENT, None);
        }
        (_, ["search" | "parameterizedSearch", ..]) => json!({ "searchRecords": [] }),
        _ => json!({ "totalSize": 0, "done": true, "records": [] }),
    };
    (StatusCode::OK, Some(body))
}

/// The answer to the making of one record.
fn saved() -> Value {
    json!({ "id": RECORD_ID, "success": true, "errors": [] })
}

fn record(kind: &str, id: &str, path: &str) -> Value {
    json!({ "attributes": { "type": kind, "url": path }, "Id": id, "Name": "Stand-in" })
}

/// What is known of a kind of records; with its fields where `whole`.
fn described(kind: &str, whole: bool) -> Value {
    let url = format!("/services/data/v{VERSION}/sobjects/{kind}");
    let mut description = json!({
        "name": kind, "label": kind, "labelPlural": kind, "keyPrefix": &RECORD_ID[..3], "custom": false,
        "createable": true, "deletable": true, "queryable": true, "retrieveable": true, "updateable": true,
        "urls": { "sobject": url, "describe": format!("{url}/describe"), "rowTemplate": format!("{url}/{{ID}}") },
    });
    if whole {
        let field = |name: &str, kind: &str, length: u32| {
            json!({ "name": name, "label": name, "type": kind, "length": length, "nillable": false,
                "createable": kind != "id", "updateable": kind != "id" })
        };
        description["fields"] = json!([field("Id", "id", 18), field("Name", "string", 255)]);
        description["childRelationships"] = json!([]);
        description["recordTypeInfos"] = json!([]);
    }
    description
}

/// `POST composite`: each of its requests by itself, in order.
fn composite(body: &[u8]) -> (StatusCode, Option<Value>) {
    let results = list(body, "compositeRequest").into_iter().map(|request| {
        let (status, body) = subrequest(&request);
        json!({
            "body": body,
            "httpHeaders": {},
            "httpStatusCode": status.as_u16(),
            "referenceId": request["referenceId"],
        })
    });
    (StatusCode::OK, Some(json!({ "compositeResponse": results.collect::<Vec<_>>() })))
}

/// `POST composite/batch`: the same in another shape.
fn batch(body: &[u8]) -> (StatusCode, Option<Value>) {
    let results = list(body, "batchRequests").into_iter().map(|request| {
        let (status, body) = subrequest(&request);
        json!({ "statusCode": status.as_u16(), "result": body })
    });
    let results: Vec<Value> = results.collect();
    (StatusCode::OK, Some(json!({ "hasErrors": false, "results": results })))
}

/// What one request within another answers. None of these may hold more.
fn subrequest(request: &Value) -> (StatusCode, Option<Value>) {
    let url = request["url"].as_str().unwrap_or_default();
    let path = url.split('?').next().unwrap_or_default();
    let method = request["method"].as_str().unwrap_or_default().to_ascii_uppercase();
    let method = Method::from_bytes(method.as_bytes()).unwrap_or(Method::GET);
    single(&method, path, &segments(path))
}

/// `composite/sobjects`: many records at once; an answer for each.
fn collection(
    method: &Method,
    kind: Option<&str>,
    asked: &Asked<'_>,
) -> (StatusCode, Option<Value>) {
    let in_query = || {
        let mut pairs = asked.query.unwrap_or_default().split('&');
        let ids = pairs.find_map(|pair| pair.strip_prefix("ids=")).unwrap_or_default();
        ids.replace("%2C", ",").split(',').map(str::to_owned).collect::<Vec<_>>()
    };
    let results: Vec<Value> = match (method, kind) {
        (&Method::DELETE, _) => {
            let deleted = |id| json!({ "id": id, "success": true, "errors": [] });
            in_query().into_iter().map(deleted).collect()
        }
        (&Method::GET, Some(kind)) => {
            in_query().iter().map(|id| record(kind, id, asked.path)).collect()
        }
        (&Method::POST, Some(kind)) => {
            let ids = list(asked.body, "ids");
            ids.iter().map(|id| record(kind, id.as_str().unwrap_or_default(), asked.path)).collect()
        }
        _ => list(asked.body, "records").iter().map(|_| saved()).collect(),
    };
    (StatusCode::OK, Some(Value::Array(results)))
}

/// `POST composite/tree/KIND`.
fn tree(body: &[u8]) -> (StatusCode, Option<Value>) {
    let results = list(body, "records").into_iter().map(
        |record| json!({ "referenceId": record["attributes"]["referenceId"], "id": RECORD_ID }),
    );
    let results: Vec<Value> = results.collect();
    (StatusCode::CREATED, Some(json!({ "hasErrors": false, "results": results })))
}

/// The list of this name in a JSON body; empty where there is none.
fn list(body: &[u8], name: &str) -> Vec<Value> {
    let mut body: Value = serde_json::from_slice(body).unwrap_or_default();
    match body.get_mut(name).map(Value::take) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    }
}

/// The number of requests in the body of a batch; what is no batch is one
/// request.
fn subrequests(body: &[u8]) -> u64 {
    list(body, "batchRequests").len().max(1) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked<'a>(method: &'a Method, path: &'a str, body: &'a str) -> Asked<'a> {
        let (path, query) = path.split_once('?').map_or((path, None), |(p, q)| (p, Some(q)));
        Asked { method, path, query, body: body.as_bytes() }
    }

    fn check(method: Method, path: &str, resource: Option<Resource>) {
        assert_eq!(Resource::of(&asked(&method, path, "")), resource, "{method} {path}");
    }

    #[test]
    fn paths_mean_what_they_mean_at_salesforce() {
        use Resource::{Batch, Conversation, Entries, Limits, Other, Participant, Versions};
        check(Method::GET, "/services/data", Some(Versions));
        check(Method::GET, "/services/data/", Some(Versions));
        check(Method::GET, "/conversation-entries", Some(Entries));
        check(Method::GET, "/services/data/v66.0/conversation-entries/1", Some(Entries));
        check(Method::GET, "/services/data/v66.0/connect/conversation-entries/1", Some(Entries));
        check(Method::DELETE, "/conversation-participants/1", Some(Participant));
        check(Method::DELETE, "/services/data/v66.0/conversations", Some(Conversation));
        check(Method::GET, "/services/data/v66.0/conversations", Some(Other));
        check(Method::GET, "/services/data/v66.0/limits", Some(Limits));
        check(Method::GET, "/services/data/v66.0/limits/", Some(Limits));
        check(Method::GET, "/services/data/v66.0/sobjects/Account/describe", Some(Other));
        check(Method::POST, "/services/data/v66.0/composite", Some(Other));
        check(Method::POST, "/services/data/v66.0/composite/batch", Some(Batch(1)));
        check(Method::POST, "/services/apexrest/mine", Some(Other));
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
    fn answers_have_the_shapes_that_clients_expect() {
        let check =
            |method: Method, path: &str, body: &str, status: u16, expected: Option<&str>| {
                let path = format!("/services/data/v66.0/{path}");
                let asked = asked(&method, &path, body);
                let resource = Resource::of(&asked).expect("there is something");
                let (said, answer) = resource.result(&asked, Usage { used: 1, max: 10 });
                assert_eq!(said.as_u16(), status, "{method} {path}");
                let answer = answer.map(|answer| answer.to_string());
                match (&answer, expected) {
                    (Some(answer), Some(part)) => {
                        assert!(answer.contains(part), "{method} {path}: {answer}");
                    }
                    (answer, expected) => {
                        assert_eq!(answer.as_deref(), expected, "{method} {path}")
                    }
                }
            };
        let empty = Some(r#""records":[],"totalSize":0"#);
        check(Method::GET, "query?q=SELECT+Id+FROM+Account", "", 200, empty);
        check(Method::GET, "query/", "", 200, empty);
        check(Method::GET, "search?q=x", "", 200, Some(r#""searchRecords":[]"#));
        check(Method::GET, "sobjects", "", 200, Some(r#""maxBatchSize":200"#));
        check(Method::GET, "sobjects/Account/", "", 200, Some(r#""recentItems":[]"#));
        check(Method::GET, "sobjects/Account/describe", "", 200, Some(r#""fields":[{"#));
        check(Method::GET, "sobjects/Account/001A", "", 200, Some(r#""Id":"001A""#));
        check(Method::GET, "sobjects/Account/Key__c/7", "", 200, Some(r#""Id":"7""#));
        check(Method::POST, "sobjects/Account/", "{}", 201, Some(r#""success":true"#));
        check(Method::PATCH, "sobjects/Account/001A", "{}", 204, None);
        check(Method::DELETE, "sobjects/Account/001A", "", 204, None);
        check(Method::GET, "limits/", "", 200, Some(r#""Remaining":9"#));
        check(
            Method::POST,
            "composite",
            r#"{"compositeRequest":[{"method":"POST","url":"/services/data/v66.0/sobjects/Account","referenceId":"a","body":{}}]}"#,
            200,
            Some(r#""httpStatusCode":201,"referenceId":"a""#),
        );
        check(
            Method::POST,
            "composite/batch",
            r#"{"batchRequests":[{"method":"PATCH","url":"v66.0/sobjects/Account/1"}]}"#,
            200,
            Some(r#"[{"result":null,"statusCode":204}]"#),
        );
        check(
            Method::POST,
            "composite/sobjects",
            r#"{"records":[{},{}]}"#,
            200,
            Some(r#""success":true},{"#),
        );
        check(Method::DELETE, "composite/sobjects?ids=a,b", "", 200, Some(r#""id":"b""#));
        check(
            Method::POST,
            "composite/sobjects/Account",
            r#"{"ids":["a"],"fields":["Name"]}"#,
            200,
            Some(r#""Id":"a""#),
        );
        check(
            Method::POST,
            "composite/tree/Account",
            r#"{"records":[{"attributes":{"referenceId":"r"}}]}"#,
            201,
            Some(r#""referenceId":"r""#),
        );
        check(Method::POST, "composite", "no JSON", 200, Some(r#""compositeResponse":[]"#));
    }
}
