//! What may be said about proxies, and what is said about mistakes.

use super::*;
use crate::config::Config;

fn rule(text: &str) -> String {
    format!("envoy:\n  domains:\n    d:\n      rules:\n        - {text}\n")
}

#[test]
fn what_is_left_out_has_its_default() {
    let config = Config::parse(&rule("{org: acme}")).expect("it is good");
    let domain = &config.envoy.domains["d"];
    assert_eq!((domain.unmatched, domain.hits), (Unmatched::Deny, Hits::Cost));
    assert_eq!((domain.permit_ttl, domain.max_wait), (Duration::from_secs(3), Duration::ZERO));
    let expected = EnvoyRule {
        when: Vec::new(),
        org: Source::Fixed(OrgId::parse("acme").expect("a name")),
        workspace: None,
        operation: OperationSource::Request { method: ":method".into(), path: ":path".into() },
        traffic_class: Source::Fixed(Class::Event),
        execution_user: None,
    };
    assert_eq!(domain.rules, [expected]);
    assert_eq!(Config::built_in().envoy, EnvoyConfig::default());
}

#[test]
fn a_value_is_fixed_or_comes_from_an_entry() {
    let text = "{org: {entry: o, values: {a: x, b: 00D000000000001}, default: z}, \
                workspace: {entry: w, optional: true}, operation: {path: p}}";
    let config = Config::parse(&rule(text)).expect("it is good");
    let rule = &config.envoy.domains["d"].rules[0];
    let org = |text| OrgId::parse(text).expect("a name");
    let values = [("a".to_owned(), org("x")), ("b".to_owned(), org("00D000000000001EAA"))];
    let from = FromEntry {
        key: "o".into(),
        values: Some(values.into()),
        otherwise: Otherwise::Value(org("z")),
    };
    assert_eq!(rule.org, Source::Entry(from));
    let from = FromEntry { key: "w".into(), values: None, otherwise: Otherwise::Empty };
    assert_eq!(rule.workspace, Some(Source::Entry(from)));
    let request = OperationSource::Request { method: ":method".into(), path: "p".into() };
    assert_eq!(rule.operation, request);
}

/// One row: the text has one fault, with this line, field, and part of a sentence.
fn check(text: &str, line: usize, field: &str, part: &str) {
    let faults = Config::parse(text).expect_err(text);
    let said: Vec<String> = faults.iter().map(ToString::to_string).collect();
    let [fault] = &faults[..] else { panic!("{text}\n{said:#?}") };
    assert_eq!((fault.line, fault.field.as_str()), (Some(line), field), "{text}\n{said:?}");
    assert!(fault.message.contains(part), "{text}\n{said:?}");
}

#[test]
fn every_mistake_is_named_with_its_line() {
    let at = |field: &str| format!("envoy.domains.d.rules[0]{field}");
    check("envoy: {}", 1, "envoy.domains", "is missing");
    check("envoy: {domains: {}, rule: x}", 1, "envoy.rule", "is not a key here");
    check("envoy: {domains: {d: {}}}", 1, "envoy.domains.d.rules", "is missing");
    check("envoy: {domains: {d: {rules: []}}}", 1, "envoy.domains.d.rules", "at least one rule");
    let with =
        |key: &str| format!("envoy:\n  domains:\n    d:\n      {key}\n      rules: [{{org: o}}]");
    check(&with("unmatched: pass"), 4, "envoy.domains.d.unmatched", "must be one of");
    check(&with("permit_ttl: 10ms"), 4, "envoy.domains.d.permit_ttl", "must be from 100ms");
    check(&with("max_wait: 1h"), 4, "envoy.domains.d.max_wait", "must be from");
    check(&with("hits_addend: units"), 4, "envoy.domains.d.hits_addend", "must be one of");
    check(&rule("{}"), 5, &at(".org"), "is missing");
    check(&rule("{org: a/b}"), 5, &at(".org"), "");
    check(&rule("{org: {entry: \"\"}}"), 5, &at(".org.entry"), "must not be empty");
    check(&rule("{org: {entry: o, optional: true}}"), 5, &at(".org.optional"), "is not a key");
    check(&rule("{org: {entry: o, values: {a: b c}}}"), 5, &at(".org.values.a"), "");
    check(&rule("{org: o, traffic_class: vip}"), 5, &at(".traffic_class"), "must be bulk");
    check(&rule("{org: o, operation: nothing.get}"), 5, &at(".operation"), "of the catalogue");
    check(&rule("{org: o, operation: {entry: e, x: y}}"), 5, &at(".operation.x"), "is not a key");
    check(&rule("{org: o, operation: {path: p, verb: x}}"), 5, &at(".operation.verb"), "");
    check(
        &rule("{org: o, workspace: {entry: w, default: x, optional: true}}"),
        5,
        &at(".workspace"),
        "must not have both",
    );
}

#[test]
fn an_operation_may_be_one_that_the_file_adds() {
    let catalogue = "catalogue:\n  report.run: {charges: [{limit: calls, scope: org}]}\n";
    let text = format!("{catalogue}{}", rule("{org: o, operation: report.run}"));
    assert!(Config::parse(&text).is_ok());
}
