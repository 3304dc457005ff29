//! Everything that reads bytes of others, each as a function that takes any bytes:
//! it panics where the reader is wrong, and only there.
//!
//! The same functions are libFuzzer's (`fuzz/fuzz_targets` has a program for each)
//! and the replay's, which gives them every file of `fuzz/corpus`.
#![allow(dead_code, missing_docs, reason = "each program uses one of them; their names say all")]

pub mod edge;
pub mod parsers;

/// A reader of bytes.
pub struct Target {
    /// Its name: that of its program, and of the folder of its corpus.
    pub name: &'static str,
    /// Gives it bytes.
    pub run: fn(&[u8]),
}

const fn target(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run }
}

/// All of them.
pub const ALL: &[Target] = &[
    // What Salesforce says.
    target("limit_info", parsers::limit_info),
    target("soap_limit_info", parsers::soap_limit_info),
    target("limits_resource", parsers::limits_resource),
    target("error_body", parsers::error_body),
    target("answer_headers", parsers::answer_headers),
    // What operators write.
    target("config", parsers::config),
    target("duration", parsers::duration),
    target("rule_pattern", parsers::rule_pattern),
    // What callers show, and what proves it.
    target("jwt", parsers::jwt),
    target("jwks", parsers::jwks),
    target("certificate", parsers::certificate),
    // What callers send.
    target("names", parsers::names),
    target("permit_id", parsers::permit_id),
    target("api_call", parsers::api_call),
    target("json_body", parsers::json_body),
    target("grpc_message", parsers::grpc_message),
    target("grpc_call", edge::grpc_call),
    target("envoy_descriptors", edge::envoy_descriptors),
    target("envoy_access_log", edge::envoy_access_log),
    target("http2", edge::http2),
    // What the store holds.
    target("store_record", parsers::store_record),
    target("store_key", parsers::store_key),
];
