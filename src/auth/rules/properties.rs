//! Rules against a naive model: the whole table of principals × verbs × orgs ×
//! workspaces × operations × classes, for generated rules.

use proptest::{prelude::*, sample::select};

use super::*;
use crate::auth::explain::{Question, explain};

const WHO: [&str; 5] =
    ["token:ci", "token:ops", "spiffe://prod/ns/a", "spiffe://prod/ns/b/sa/x", "oidc:k8s:a"];
const ORGS: [&str; 3] = ["acme", "acme-test", "other"];
const WORKSPACES: [&str; 4] = ["", "eu", "eu-1", "us"];
const OPERATIONS: [&str; 3] = ["rest", "rest.long", "conversations.delete"];

const WHO_PATTERNS: [&str; 8] = [
    "*",
    "**",
    "token:*",
    "token:ci",
    "spiffe://prod/**",
    "spiffe://prod/ns/*",
    "oidc:k8s:a",
    "*:a",
];
const ORG_PATTERNS: [&str; 5] = ["*", "acme", "acme-*", "*e*", "other"];
const WORKSPACE_PATTERNS: [&str; 6] = ["*", "", "eu", "eu*", "*-1", "us"];
const OPERATION_PATTERNS: [&str; 4] = ["*", "rest", "rest*", "*.delete"];

/// Tries every way to divide the name.
fn fits_naively(pattern: &[u8], name: &[u8]) -> bool {
    match pattern {
        [] => name.is_empty(),
        [b'*', ..] => {
            let stars = pattern.iter().take_while(|byte| **byte == b'*').count();
            let can_take = |taken: &[u8]| stars > 1 || !taken.contains(&b'/');
            (0..=name.len()).any(|length| {
                can_take(&name[..length]) && fits_naively(&pattern[stars..], &name[length..])
            })
        }
        [literal, rest @ ..] => name.first() == Some(literal) && fits_naively(rest, &name[1..]),
    }
}

fn model_fits(pattern: &Pattern, name: &str) -> bool {
    match (pattern.to_string().as_str(), name) {
        (pattern, "") => pattern.is_empty(),
        ("", _) => false,
        ("*", _) => true,
        (pattern, name) => fits_naively(pattern.as_bytes(), name.as_bytes()),
    }
}

/// The last rule first: each that fits overrules those after it.
fn model_allows(rules: &[Rule], who: &str, action: &Action<'_>) -> bool {
    let any = |patterns: &[Pattern], name: &str| patterns.iter().any(|p| model_fits(p, name));
    let mut allowed = false;
    for rule in rules.iter().rev() {
        let mut fits =
            any(&rule.who, who) && any(&rule.orgs, action.org) && rule.verbs.contains(&action.verb);
        if action.verb != Verb::Report {
            fits = fits && any(&rule.workspaces, action.workspace);
        }
        if let Some((operation, class)) = action.call {
            // Control is served before bulk: a rule for interactive is not for it.
            let rank = |class| Class::ALL.iter().position(|c| *c == class);
            fits =
                fits && any(&rule.operations, operation) && rank(class) >= rank(rule.highest_class);
        }
        if fits {
            allowed = !rule.deny;
        }
    }
    allowed
}

fn patterns(from: &'static [&'static str]) -> impl Strategy<Value = Vec<Pattern>> {
    let texts = prop::collection::vec(select(from), 1..3);
    texts.prop_map(|texts| texts.into_iter().map(Pattern::new).collect())
}

fn rule() -> impl Strategy<Value = Rule> {
    let parts = (
        patterns(&WHO_PATTERNS),
        patterns(&ORG_PATTERNS),
        patterns(&WORKSPACE_PATTERNS),
        patterns(&OPERATION_PATTERNS),
        select(&Class::ALL[..]),
        prop::collection::vec(select(&Verb::ALL[..]), 1..4),
        prop::bool::weighted(0.3),
    );
    parts.prop_map(|(who, orgs, workspaces, operations, highest_class, verbs, deny)| Rule {
        who,
        orgs,
        workspaces,
        operations,
        highest_class,
        verbs,
        deny,
    })
}

/// All that one can want to do in an org.
fn actions(verb: Verb, org: &str) -> Vec<Action<'_>> {
    let mut actions = Vec::new();
    for workspace in WORKSPACES {
        if verb != Verb::Acquire {
            actions.push(Action { verb, org, workspace, call: None });
            continue;
        }
        for operation in OPERATIONS {
            for class in Class::ALL {
                actions.push(Action { verb, org, workspace, call: Some((operation, class)) });
            }
        }
    }
    actions
}

proptest! {
    // Each case is a table of some thousand questions.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn not_one_forbidden_call_passes_and_not_one_allowed_fails(
        list in prop::collection::vec(rule(), 0..6)
    ) {
        let rules = Rules::new(list.clone());
        for who in WHO {
            for verb in Verb::ALL {
                let mut all_orgs = true;
                for org in ORGS {
                    let (mut some, mut all) = (false, true);
                    for action in actions(verb, org) {
                        let expected = model_allows(&list, who, &action);
                        prop_assert_eq!(rules.allow(who, &action), expected, "{} {:?}", who, action);
                        explains(&rules, who, &action)?;
                        if verb == Verb::Report || !action.workspace.is_empty() {
                            some |= expected;
                            all &= expected;
                        }
                    }
                    // The whole is allowed only if each part is, and not forbidden
                    // if any is.
                    prop_assert!(!rules.allow_all(who, verb, org) || all, "{} {} {}", who, verb, org);
                    prop_assert!(rules.allow_some(who, verb, org) || !some, "{} {} {}", who, verb, org);
                    all_orgs &= rules.allow_all(who, verb, org);
                }
                prop_assert!(!rules.allow_everywhere(who, verb) || all_orgs, "{} {}", who, verb);
            }
        }
    }

}

proptest! {
    #[test]
    fn the_matcher_is_the_one_that_tries_everything(
        pattern in "[ab/*]{0,8}", name in "[ab/]{0,8}"
    ) {
        let pattern = Pattern::new(pattern);
        prop_assert_eq!(pattern.fits(&name), model_fits(&pattern, &name), "{} {}", pattern, name);
    }

    #[test]
    fn no_pattern_and_no_name_make_the_matcher_slow_or_fail(pattern in ".{0,255}", name in ".{0,255}") {
        let _ = Pattern::new(pattern).fits(&name);
        prop_assert!(!Pattern::new("*a".repeat(100)).fits(&"a/".repeat(127)));
    }
}

/// The explanation says the same, and passes over only what does not fit.
fn explains(rules: &Rules, who: &str, action: &Action<'_>) -> Result<(), TestCaseError> {
    let explanation = explain(rules, who, &Question::One(*action));
    prop_assert_eq!(explanation.allowed, rules.allow(who, action));
    prop_assert_eq!(explanation.decided_by, rules.deciding(who, action));
    for passed in &explanation.passed_over {
        prop_assert!(!passed.because.is_empty(), "{:?}", passed);
        let rule = Rules::new(vec![rules.as_slice()[passed.place].clone()]);
        prop_assert_eq!(rule.deciding(who, action), None);
    }
    Ok(())
}
