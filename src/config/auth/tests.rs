//! The section `auth`: what it says, and every way in which it can be wrong.

use super::*;
use crate::config::Config;

const HASH: &str = "0123456789abcdef0123456789ABCDEF0123456789abcdef0123456789abcdef";

fn parse(text: &str) -> AuthConfig {
    Config::parse(text).expect("it is good").auth
}

#[test]
fn all_of_it_is_read_and_the_rest_has_defaults() {
    let auth = parse(&format!(
        "auth:
  tokens: [{{name: ci, sha256: {HASH}}}]
  certificates: true
  oidc:
    - {{name: k8s, issuer: 'https://kubernetes.default.svc', audiences: [quotagate]}}
    - name: idp
      issuer: http://127.0.0.1:8080/realm
      audiences: [a, b]
      jwks_uri: https://idp.example.com/keys
      ca_file: /etc/ca.pem
      token_file: /run/token
      claim: email
    - {{name: own, issuer: 'https://own', audiences: [a], jwks_file: /etc/keys.json}}
  rules:
    - {{who: ['spiffe://prod/**'], orgs: [00D000000000001], may: [acquire, report]}}
    - who: ['**']
      orgs: ['*']
      workspaces: ['acme-*', '']
      operations: [rest]
      highest_class: interactive
      may: [admin, read]
      deny: true
"
    ));
    assert_eq!(auth.tokens[0].name, "ci");
    assert_eq!((auth.tokens[0].sha256[0], auth.tokens[0].sha256[15]), (0x01, 0xef));
    assert!(auth.certificates && auth.requires_identity());
    let [k8s, idp, own] = &auth.oidc[..] else { panic!("{auth:?}") };
    assert_eq!((k8s.claim.as_str(), &k8s.keys), ("sub", &KeySource::Discovery));
    assert_eq!((&k8s.ca_file, &k8s.token_file), (&None, &None));
    assert_eq!(idp.keys, KeySource::Uri("https://idp.example.com/keys".to_owned()));
    assert_eq!(idp.ca_file.as_deref(), Some("/etc/ca.pem".as_ref()));
    assert_eq!((idp.claim.as_str(), idp.audiences.len()), ("email", 2));
    assert_eq!(own.keys, KeySource::File("/etc/keys.json".into()));
    let [first, second] = &auth.rules[..] else { panic!("{auth:?}") };
    // The id is in the form in which requests are judged.
    assert_eq!((first.line, &first.orgs[..]), (15, &["00D000000000001EAA".to_owned()][..]));
    assert_eq!(
        (&first.workspaces[..], &first.operations[..]),
        (&["*".into()][..], &["*".into()][..])
    );
    assert_eq!((first.highest_class, first.deny), (Class::Event, false));
    assert_eq!(first.may, [Right::Acquire, Right::Report]);
    assert_eq!((second.line, second.deny, second.highest_class), (16, true, Class::Interactive));
    assert_eq!(second.workspaces, ["acme-*", ""]);
    assert!(auth.warnings().is_empty(), "{:?}", auth.warnings());
}

#[test]
fn nothing_is_nobody_and_everybody() {
    assert_eq!(parse(""), AuthConfig::default());
    assert!(!parse("auth: {tokens: []}").requires_identity());
    assert!(parse("auth: {certificates: true}").requires_identity());
}

#[track_caller]
fn check(text: &str, expected: &[(usize, &str, &str)]) {
    let faults = Config::parse(text).expect_err(text);
    let matches = faults.len() == expected.len()
        && faults.iter().zip(expected).all(|(fault, (line, field, part))| {
            fault.line == Some(*line) && fault.field == *field && fault.message.contains(part)
        });
    assert!(matches, "{text}\nexpected {expected:#?}\nsaid {faults:#?}");
}

#[test]
fn every_fault_is_found_with_its_line() {
    check(
        "auth:
  tokens:
    - {name: 'c i', sha256: qg_the-token-itself}
    - {sha256: 00}
  oidc:
    - {name: k, issuer: 'http://idp.example.com', audiences: []}
    - {name: k, issuer: 'https://a/?x=1', audiences: ['a b'], jwks_uri: 'ftp://x', claim: ''}
    - {name: l, issuer: 'https://u:p@a', audiences: [a], jwks_uri: 'https://a', jwks_file: f}
  certificates: maybe
  rules:
    - {who: [ci], orgs: ['acme/x'], may: [fly]}
    - {orgs: [], may: []}
    - {who: ['*'], orgs: ['*'], may: [read], workspaces: ['a/b'], operations: ['a b*'], highest_class: high}
    - {who: ['*'], orgs: ['*'], may: [read], denny: true}
",
        &[
            (3, "auth.tokens[0].name", "1 to 64 letters"),
            (3, "auth.tokens[0].sha256", "64 hexadecimal digits"),
            (4, "auth.tokens[1].name", "is missing"),
            (4, "auth.tokens[1].sha256", "64 hexadecimal digits"),
            (6, "auth.oidc[0].issuer", "begin with `https://`"),
            (6, "auth.oidc[0].audiences", "at least one"),
            (7, "auth.oidc[1].name", "declared already"),
            (7, "auth.oidc[1].issuer", "query"),
            (7, "auth.oidc[1].audiences[0]", "printable"),
            (7, "auth.oidc[1].claim", "printable"),
            (7, "auth.oidc[1].jwks_uri", "begin with `https://`"),
            (8, "auth.oidc[2].issuer", "password"),
            (8, "auth.oidc[2].jwks_file", "must be left out"),
            (9, "auth.certificates", "`true` or `false`"),
            (11, "auth.rules[0].who[0]", "must begin with one of"),
            (11, "auth.rules[0].orgs[0]", "must consist of"),
            (11, "auth.rules[0].may[0]", "must be one of"),
            (12, "auth.rules[1].who", "is missing"),
            (12, "auth.rules[1].orgs", "at least one"),
            (12, "auth.rules[1].may", "at least one"),
            (13, "auth.rules[2].workspaces[0]", "'/'"),
            (13, "auth.rules[2].operations[0]", "no pattern that fits"),
            (13, "auth.rules[2].highest_class", "must be one of"),
            (14, "auth.rules[3].denny", "did you mean `deny`?"),
        ],
    );
    check(
        "auth: {rules: [{who: ['*'], orgs: ['*'], may: [read]}]}",
        &[(1, "auth.rules", "are about nobody")],
    );
    let twice =
        format!("auth: {{tokens: [{{name: a, sha256: {HASH}}}, {{name: b, sha256: {HASH}}}]}}");
    check(&twice, &[(1, "auth.tokens[1].sha256", "declared already")]);
    let long = format!(
        "auth: {{certificates: true, rules: [{{who: ['*{}'], orgs: ['*'], may: [read]}}]}}",
        "a".repeat(255)
    );
    check(&long, &[(1, "auth.rules[0].who[0]", "255 bytes")]);
}

#[test]
fn what_a_principal_may_take_is_read_and_has_defaults() {
    for (text, in_flight, requests_per_second) in [
        ("", 4_000, None),
        ("auth: {limits: {}}", 4_000, None),
        ("auth: {limits: {in_flight: 1}}", 1, None),
        ("auth: {limits: {requests_per_second: 1000000}}", 4_000, Some(1_000_000)),
        ("auth: {limits: {in_flight: 1000000, requests_per_second: 1}}", 1_000_000, Some(1)),
    ] {
        let expected = PrincipalLimits { in_flight, requests_per_second };
        assert_eq!(parse(text).limits, expected, "{text}");
    }
    for (limits, field, part) in [
        ("{in_flight: 0}", ".in_flight", "from 1 to 1000000, is `0`"),
        ("{in_flight: 1000001}", ".in_flight", "from 1 to 1000000"),
        ("{in_flight: -1}", ".in_flight", "a whole number"),
        ("{in_flight: 1.5}", ".in_flight", "a whole number"),
        ("{in_flight: many}", ".in_flight", "a whole number"),
        ("{in_flight: '5'}", ".in_flight", "leave out the quotes"),
        ("{in_flight: [5]}", ".in_flight", "a whole number"),
        ("{requests_per_second: 0}", ".requests_per_second", "from 1 to 1000000"),
        ("{requests_per_second: 1000001}", ".requests_per_second", "from 1 to 1000000"),
        ("{requests_per_second: 10/s}", ".requests_per_second", "a whole number"),
        ("{in_fligth: 5}", ".in_fligth", "did you mean `in_flight`?"),
        ("5", "", "must be"),
        ("[in_flight]", "", "must be"),
    ] {
        let field = format!("auth.limits{field}");
        check(&format!("auth: {{limits: {limits}}}"), &[(1, &field, part)]);
    }
}

#[test]
fn the_file_of_the_key_of_sessions_is_a_path() {
    let read = |value: &str| parse(&format!("auth: {{session_key_file: {value}}}"));
    assert_eq!(parse("auth: {certificates: true}").session_key_file, None);
    for path in ["/etc/quotagate/session.key", "session.key", &"a".repeat(4_095)] {
        assert_eq!(read(path).session_key_file.as_deref(), Some(path.as_ref()), "{path}");
    }
    for (value, part) in [
        ("''", "1 to 4095 bytes"),
        (&*"a".repeat(4_096), "1 to 4095 bytes"),
        ("[a]", "must be"),
        ("{file: a}", "must be"),
    ] {
        let text = format!("auth: {{session_key_file: {value}}}");
        check(&text, &[(1, "auth.session_key_file", part)]);
    }
}

#[test]
fn no_fault_shows_a_token() {
    let faults = Config::parse("auth: {tokens: [{name: ci, sha256: qg_SECRET}]}");
    let faults = format!("{:?}", faults.expect_err("no hash"));
    assert!(!faults.contains("SECRET"), "{faults}");
}

#[test]
fn what_is_probably_not_meant_is_said() {
    let warnings = |rest: &str| {
        parse(&format!("auth: {{tokens: [{{name: ci, sha256: {HASH}}}]{rest}}}")).warnings()
    };
    assert!(warnings("")[0].contains("nobody may do anything"));
    let rule =
        |who: &str| warnings(&format!(", rules: [{{who: ['{who}'], orgs: ['*'], may: [read]}}]"));
    for (who, part) in [
        ("token:ci", ""),
        ("token:*", ""),
        ("**", ""),
        ("token:ops", "`tokens` has no `ops`"),
        ("oidc:k8s:a", "`oidc` has no `k8s`"),
        ("spiffe://a/**", "without `certificates: true`"),
    ] {
        let said = rule(who);
        assert_eq!(said.is_empty(), part.is_empty(), "{who}: {said:?}");
        assert!(said.iter().all(|sentence| sentence.contains(part)), "{who}: {said:?}");
    }
}

#[test]
fn a_pattern_that_can_fit_nobody_is_a_fault() {
    for (who, good) in [
        ("*", true),
        ("**", true),
        ("*:a", true),
        ("t*", true),
        ("spiffe:*", true),
        ("token:*", true),
        ("dns:a.example.com", true),
        ("oidc:k8s:system:serviceaccount:*:app", true),
        ("spiffe:/x", false),
        ("ci", false),
        ("tokens:*", false),
        ("Token:ci", false),
        ("", false),
    ] {
        assert_eq!(parse_who(who).is_ok(), good, "{who}");
    }
    for (org, expected) in [
        ("acme", Some("acme")),
        ("00D000000000001", Some("00D000000000001EAA")),
        ("00D000000000001EAB", None),
        ("00D*", Some("00D*")),
        ("*", Some("*")),
        ("a b*", None),
        ("", None),
    ] {
        assert_eq!(parse_org(org).ok().as_deref(), expected, "{org}");
    }
}
