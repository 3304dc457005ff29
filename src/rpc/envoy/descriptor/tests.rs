//! Rows of descriptors and what they mean.

use super::*;
use crate::config::Config;

const RULES: &str = "
envoy:
  domains:
    salesforce:
      permit_ttl: 2s
      max_wait: 100ms
      rules:
        - when: {generic_key: jobs}
          org: jobs
          operation: {entry: operation, default: rest}
          workspace: {entry: workspace, optional: true}
          traffic_class: bulk
        - when: {generic_key: hosts}
          org: {entry: host, values: {acme.my.salesforce.com: 00D000000000001, old.example: acme}}
          workspace: {entry: workspace}
          traffic_class: {entry: class, default: interactive}
          execution_user: {entry: user, values: {sync: 005000000000001}, default: robot}
";

fn domain(yaml: &str) -> EnvoyDomain {
    let config = Config::parse(yaml).expect("a good configuration");
    config.envoy.domains["salesforce"].clone()
}

fn descriptor(entries: &[(&str, &str)]) -> RateLimitDescriptor {
    let entry = |&(key, value): &(&str, &str)| Entry { key: key.into(), value: value.into() };
    RateLimitDescriptor { entries: entries.iter().map(entry).collect(), ..Default::default() }
}

/// `ORG/WORKSPACE USER OPERATION CLASS CALLSxCOST`, or what else it means.
fn told(meaning: Meaning) -> String {
    match meaning {
        Meaning::Ask(ask) => {
            let class = ask.traffic_class().as_str_name();
            let class = class.trim_start_matches("TRAFFIC_CLASS_").to_lowercase();
            let AcquireRequest { org, workspace, execution_user, operation, calls, cost, .. } =
                *ask;
            format!("{org}/{workspace} {execution_user} {operation} {class} {calls}x{cost}")
        }
        Meaning::Free => "free".to_owned(),
        Meaning::Unmatched(why) => format!("unmatched: {why}"),
        Meaning::Faulty(why) => format!("faulty: {why}"),
    }
}

fn check(entries: &[(&str, &str)], expected: &str) {
    let told = told(meaning(&domain(RULES), &descriptor(entries), 0));
    assert!(told.starts_with(expected), "{entries:?}: {told:?}, expected {expected:?}");
}

#[test]
fn the_first_rule_whose_conditions_hold_decides() {
    let jobs = ("generic_key", "jobs");
    check(&[jobs], "jobs/  rest bulk 1x1");
    check(&[("x", "y"), ("workspace", "eu"), jobs], "jobs/eu  rest bulk 1x1");
    check(&[jobs, ("operation", "rest.long")], "jobs/  rest.long bulk 1x1");
    check(&[jobs, ("operation", "a b")], "faulty: operation: ");
    check(&[jobs, ("workspace", "a/b")], "faulty: workspace: ");
    check(&[], "unmatched: no rule");
    check(&[("generic_key", "job")], "unmatched: no rule");
    check(&[("generic_key", "")], "unmatched: no rule");
}

#[test]
fn values_come_from_entries_and_what_is_absent_has_its_default_or_fits_nothing() {
    let base = [
        ("generic_key", "hosts"),
        (":method", "GET"),
        (":path", "/services/data/v66.0/limits"),
        ("workspace", "eu"),
    ];
    let with = |more: &[(&'static str, &'static str)]| [&base, more].concat();
    check(&base, "unmatched: org: the descriptor has no entry \"host\"");
    check(&with(&[("host", "evil.example")]), "unmatched: org: ");
    let host = ("host", "acme.my.salesforce.com");
    check(&with(&[host]), "00D000000000001EAA/eu robot rest interactive 1x1");
    check(&with(&[("host", "old.example")]), "acme/eu robot rest interactive 1x1");
    let user = ("user", "sync");
    check(
        &with(&[host, user, ("class", "Bulk")]),
        "00D000000000001EAA/eu 005000000000001AAA rest bulk 1x1",
    );
    check(&with(&[host, ("class", "vip")]), "faulty: traffic_class: must be bulk");
    check(&[base[0], base[1], base[2], host], "unmatched: workspace: ");
    check(&[base[0], base[2], base[3], host], "unmatched: operation: ");
    // The first of several entries with one key counts.
    check(&with(&[host, ("host", "old.example")]), "00D000000000001EAA/eu");
    let free = [base[0], base[1], (":path", "/services/oauth2/token"), base[3], host];
    check(&free, "free");
    let batch = [
        base[0],
        (":method", "POST"),
        (":path", "/services/data/v66.0/composite/batch"),
        base[3],
        host,
    ];
    check(&batch, "00D000000000001EAA/eu robot rest interactive 1x25");
}

#[test]
fn hits_are_units_or_calls_and_a_descriptors_own_go_before_its_requests() {
    let check = |domain: &EnvoyDomain, of_request, own, negative, expected: &str| {
        let descriptor = RateLimitDescriptor {
            hits_addend: own,
            is_negative_hits: negative,
            ..descriptor(&[("generic_key", "jobs")])
        };
        let told = told(meaning(domain, &descriptor, of_request));
        assert!(told.contains(expected), "{own:?}, else {of_request}: {told:?}");
    };
    let cost = domain(RULES);
    check(&cost, 0, None, false, "1x1");
    check(&cost, 7, None, false, "1x7");
    check(&cost, 7, Some(3), false, "1x3");
    check(&cost, 0, Some(10_000), false, "1x10000");
    check(&cost, 0, Some(0), false, "faulty: hits_addend: must be 1 to 10000, is 0");
    check(&cost, 10_001, None, false, "faulty: hits_addend");
    check(&cost, 0, Some(u64::MAX), false, "faulty: hits_addend");
    check(&cost, 0, Some(1), true, "faulty: is_negative_hits");
    let calls = domain(&RULES.replace("permit_ttl: 2s", "hits_addend: calls"));
    check(&calls, 7, None, false, "7x1");
}

#[test]
fn a_domain_says_how_long_permits_live_and_requests_wait() {
    let descriptor = descriptor(&[("generic_key", "jobs")]);
    let Meaning::Ask(ask) = meaning(&domain(RULES), &descriptor, 0) else { panic!("it asks") };
    let duration = |nanos, seconds| Some(prost_types::Duration { seconds, nanos });
    assert_eq!(ask.permit_ttl, duration(0, 2));
    assert_eq!(ask.max_wait, duration(100_000_000, 0));
}
