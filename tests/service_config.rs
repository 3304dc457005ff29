//! What clients of gRPC are configured with names what there is.
#![cfg(feature = "server")]

use prost_reflect::DescriptorPool;
use quotagate::proto::PUBLIC_DESCRIPTORS;
use serde_json::Value;

fn config() -> Value {
    serde_json::from_str(include_str!("../clients/service_config.json")).expect("it is JSON")
}

fn texts(list: &Value) -> Vec<&str> {
    let list = list.as_array().expect("a list");
    list.iter().map(|text| text.as_str().expect("a text")).collect()
}

#[test]
fn every_method_exists_and_only_what_may_be_repeated_is_retried() {
    let pool = DescriptorPool::decode(PUBLIC_DESCRIPTORS).expect("the descriptors are good");
    let config = config();
    let mut retried = Vec::new();
    for part in config["methodConfig"].as_array().expect("a list") {
        let policy = &part["retryPolicy"];
        // What certainly was not decided. A repeated Acquire has its request_id, and
        // settling is idempotent.
        assert_eq!(texts(&policy["retryableStatusCodes"]), ["UNAVAILABLE"]);
        let attempts = policy["maxAttempts"].as_u64().expect("a number");
        assert!((2..=5).contains(&attempts), "clients make 5 of more: {attempts}");
        for name in part["name"].as_array().expect("a list") {
            let service = name["service"].as_str().expect("a name");
            let method = name["method"].as_str().expect("a name");
            let found = pool.get_service_by_name(service).expect("the service is public");
            let found = found.methods().find(|known| known.name() == method);
            let found = found.unwrap_or_else(|| panic!("{service} has no {method}"));
            assert!(!found.is_server_streaming(), "{method}: a stream is followed, not retried");
            retried.push(method.to_owned());
        }
    }
    assert_eq!(retried, ["Acquire", "Release", "Report", "GetUsage"]);
}

#[test]
fn calls_go_round_among_servers_whose_quota_service_is_healthy() {
    let config = config();
    assert_eq!(config["loadBalancingConfig"][0]["round_robin"], serde_json::json!({}));
    let health = config["healthCheckConfig"]["serviceName"].as_str().expect("a name");
    let pool = DescriptorPool::decode(PUBLIC_DESCRIPTORS).expect("the descriptors are good");
    assert!(pool.get_service_by_name(health).is_some(), "{health} is a service");
}
