//! Messages as canonical proto JSON, by their descriptors: one encoding for the
//! HTTP routes and for `-o json`.

use std::{fmt, slice, sync::LazyLock};

use prost::Name;
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, Kind, MessageDescriptor,
    ReflectMessage as _,
};
use serde_json::Value;

use crate::proto::PUBLIC_DESCRIPTORS;

/// Why a text is not the JSON of a message: a sentence with the position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadJson(String);

impl fmt::Display for BadJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadJson {}

/// A message as a JSON value: names in lowerCamelCase, 64-bit numbers as
/// strings, durations as `"1.5s"`, default values left out.
#[must_use]
pub fn to_value<M: Name>(message: &M) -> Value {
    serde_json::to_value(dynamic(message)).expect("a message of a known type has a JSON form")
}

/// A message as JSON on one line.
#[must_use]
pub fn to_line<M: Name>(message: &M) -> String {
    serde_json::to_string(&dynamic(message)).expect("a message of a known type has a JSON form")
}

/// A message as JSON for people.
#[must_use]
pub fn to_pretty<M: Name>(message: &M) -> String {
    serde_json::to_string_pretty(&dynamic(message))
        .expect("a message of a known type has a JSON form")
}

/// Reads a message. Nothing at all is the empty message; fields that the
/// message does not have are ignored.
///
/// # Errors
/// A sentence with line and column.
pub fn from_slice<M: Name + Default>(json: &[u8]) -> Result<M, BadJson> {
    if json.trim_ascii().is_empty() {
        return Ok(M::default());
    }
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let mut reader = serde_json::Deserializer::from_slice(json);
    let bad = |error: serde_json::Error| BadJson(format!("not a {} in JSON: {error}", M::NAME));
    let message =
        DynamicMessage::deserialize_with_options(descriptor::<M>(), &mut reader, &options)
            .map_err(bad)?;
    reader.end().map_err(bad)?;
    // What is lenient about unknown fields is lenient about unknown names of
    // enum values too: `"mode": "CHECK"` would silently enforce.
    let value = serde_json::from_slice(json).map_err(bad)?;
    if let Some(fault) = unknown_enum_value(&descriptor::<M>(), &value) {
        return Err(BadJson(format!("not a {} in JSON: {fault}", M::NAME)));
    }
    message.transcode_to().map_err(|error| BadJson(format!("not a {}: {error}", M::NAME)))
}

/// The first name of an enum value that the enum does not have, with its path.
fn unknown_enum_value(message: &MessageDescriptor, value: &Value) -> Option<String> {
    let Value::Object(members) = value else { return None };
    members.iter().find_map(|(name, value)| {
        let field =
            message.get_field_by_json_name(name).or_else(|| message.get_field_by_name(name))?;
        let items = match value {
            Value::Array(items) => items.as_slice(),
            value => slice::from_ref(value),
        };
        items.iter().find_map(|item| match (field.kind(), item) {
            (Kind::Enum(known), Value::String(given))
                if known.get_value_by_name(given).is_none() =>
            {
                let names: Vec<_> = known.values().map(|value| value.name().to_owned()).collect();
                Some(format!("{name}: {given:?} is none of {}", names.join(", ")))
            }
            (Kind::Message(inner), item) => {
                unknown_enum_value(&inner, item).map(|fault| format!("{name}.{fault}"))
            }
            _ => None,
        })
    })
}

fn dynamic<M: Name>(message: &M) -> DynamicMessage {
    let mut dynamic = DynamicMessage::new(descriptor::<M>());
    dynamic.transcode_from(message).expect("the descriptors are those of the generated code");
    debug_assert_eq!(dynamic.descriptor().full_name(), M::full_name());
    dynamic
}

fn descriptor<M: Name>() -> MessageDescriptor {
    static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
        DescriptorPool::decode(PUBLIC_DESCRIPTORS).expect("the build wrote the descriptors")
    });
    POOL.get_message_by_name(&M::full_name()).expect("every public message is in the descriptors")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{
        admin::v1::{PutOrgRequest, PutWorkspaceRequest},
        v1::{
            AcquireRequest, AcquireResponse, LimitUsage, ReleaseRequest, ReportRequest,
            TrafficClass,
        },
    };

    #[track_caller]
    fn reads<M: Name + Default + PartialEq + fmt::Debug>(json: &str, expected: M) {
        assert_eq!(from_slice::<M>(json.as_bytes()), Ok(expected), "{json}");
    }

    #[track_caller]
    fn refuses<M: Name + Default>(json: &str, part: &str) {
        let error = from_slice::<M>(json.as_bytes()).map(|_| ()).expect_err(json).to_string();
        assert!(error.contains(part), "{json}: {error}");
    }

    #[test]
    fn requests_are_read_from_canonical_json() {
        let bulk = AcquireRequest {
            org: "acme".into(),
            traffic_class: TrafficClass::Bulk.into(),
            min_calls: 2,
            max_wait: Some(prost_types::Duration { seconds: 1, nanos: 500_000_000 }),
            ..Default::default()
        };
        reads(
            r#"{"org":"acme","trafficClass":"TRAFFIC_CLASS_BULK","minCalls":2,"maxWait":"1.5s"}"#,
            bulk.clone(),
        );
        reads(
            r#"{"org":"acme","traffic_class":1,"min_calls":"2","max_wait":"1.500s","new_field":[{}]}"#,
            bulk,
        );
        reads("", AcquireRequest::default());
        reads(" {} ", AcquireRequest::default());
        reads(
            r#"{"unusedCalls":0}"#,
            ReleaseRequest { unused_calls: Some(0), ..Default::default() },
        );
        reads(r#"{"trafficClass":99}"#, AcquireRequest { traffic_class: 99, ..Default::default() });
    }

    #[test]
    fn what_is_not_a_request_is_refused_with_its_position() {
        refuses::<AcquireRequest>("{", "line 1 column 1");
        refuses::<AcquireRequest>("[]", "AcquireRequest");
        refuses::<AcquireRequest>("{} {}", "line 1 column 4");
        refuses::<AcquireRequest>("{\n\"calls\": -1}", "line 2");
        refuses::<AcquireRequest>(r#"{"calls":4294967296}"#, "line 1");
        refuses::<AcquireRequest>(r#"{"org":7}"#, "line 1 column 8");
        refuses::<AcquireRequest>(
            r#"{"trafficClass":"BULK"}"#,
            "trafficClass: \"BULK\" is none of",
        );
        refuses::<AcquireRequest>(r#"{"mode":"CHECK"}"#, "ACQUIRE_MODE_CHECK_ONLY");
        refuses::<AcquireResponse>(
            r#"{"permit":{"classState":{"classes":[{},{"state":"ON"}]}}}"#,
            "permit.classState.classes.state: \"ON\"",
        );
        refuses::<AcquireRequest>(r#"{"maxWait":"soon"}"#, "line 1");
        refuses::<ReportRequest>(r#"{"answerTime":"yesterday"}"#, "line 1");
        refuses::<PutOrgRequest>(r#"{"org":{"workspaces":{}}}"#, "line 1");
        refuses::<PutWorkspaceRequest>("\u{0}", "line 1");
    }

    #[test]
    fn answers_are_written_as_canonical_json() {
        let usage = LimitUsage {
            name: "calls".into(),
            max: 15_000,
            window: Some(prost_types::Duration { seconds: 86_400, nanos: 0 }),
            ..Default::default()
        };
        assert_eq!(to_line(&usage), r#"{"name":"calls","max":"15000","window":"86400s"}"#);
        assert_eq!(to_value(&usage)["max"], "15000");
    }
}
