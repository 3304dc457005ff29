//! Who may do what: rules in order, of which the first that fits decides.
//!
//! A rule fits if each of its parts does. What no rule fits is not allowed.

use std::fmt;

use crate::{
    config::{Right, RuleConfig},
    quota::Class,
};

/// What can be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// To make calls: Acquire; Release and Report of one's own permits, which
    /// move nothing but these.
    Acquire,
    /// To be believed about Salesforce: readings and refusals that one reports
    /// move the org's numbers, with a permit and without.
    Report,
    /// To see the use of an org: GetUsage, WatchUsage, GetDemand, ListUsage,
    /// ReplayDemand.
    Read,
    /// To see and change what is declared: AdminService, and whatever is written
    /// over HTTP.
    Admin,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Acquire, Self::Report, Self::Read, Self::Admin];

    /// As rules name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Acquire => "acquire",
            Self::Report => "report",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }
}

impl From<Right> for Verb {
    fn from(right: Right) -> Self {
        match right {
            Right::Acquire => Self::Acquire,
            Right::Report => Self::Report,
            Right::Read => Self::Read,
            Right::Admin => Self::Admin,
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Something that a caller wants to do.
#[derive(Clone, Copy, Debug)]
pub struct Action<'a> {
    /// What.
    pub verb: Verb,
    /// In which org.
    pub org: &'a str,
    /// In which workspace; empty: in none. Reports are not asked for theirs.
    pub workspace: &'a str,
    /// To make such calls; only Acquire is asked for it.
    pub call: Option<(&'a str, Class)>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Principals that it is about.
    pub who: Vec<Pattern>,
    /// Orgs.
    pub orgs: Vec<Pattern>,
    /// Workspaces. `*` is each that has a name: calls in the name of none have to
    /// be allowed by the empty pattern.
    pub workspaces: Vec<Pattern>,
    /// Operations that may be asked for.
    pub operations: Vec<Pattern>,
    /// The highest class that may be asked for.
    pub highest_class: Class,
    /// What it is about.
    pub verbs: Vec<Verb>,
    /// It forbids what it fits, instead of allowing it.
    pub deny: bool,
}

/// All rules, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules(Vec<Rule>);

impl Rules {
    /// These rules.
    #[must_use]
    pub const fn new(rules: Vec<Rule>) -> Self {
        Self(rules)
    }

    /// What a configuration says.
    #[must_use]
    pub fn of_config(rules: &[RuleConfig]) -> Self {
        let patterns = |texts: &[String]| texts.iter().map(Pattern::new).collect();
        let rule = |rule: &RuleConfig| Rule {
            who: patterns(&rule.who),
            orgs: patterns(&rule.orgs),
            workspaces: patterns(&rule.workspaces),
            operations: patterns(&rule.operations),
            highest_class: rule.highest_class,
            verbs: rule.may.iter().copied().map(Verb::from).collect(),
            deny: rule.deny,
        };
        Self(rules.iter().map(rule).collect())
    }

    /// The rules, in order.
    #[must_use]
    pub fn as_slice(&self) -> &[Rule] {
        &self.0
    }

    /// True if the first rule that fits allows it.
    #[must_use]
    pub fn allow(&self, who: &str, action: &Action<'_>) -> bool {
        self.deciding(who, action).is_some_and(|place| !self.0[place].deny)
    }

    /// The place, from 0, of the rule that decides; `None`: no rule fits.
    #[must_use]
    pub fn deciding(&self, who: &str, action: &Action<'_>) -> Option<usize> {
        self.0.iter().position(|rule| rule.fits(who, action))
    }

    /// True if there is anything in the org that is allowed.
    #[must_use]
    pub fn allow_some(&self, who: &str, verb: Verb, org: &str) -> bool {
        let mut about = self.0.iter().filter(|rule| rule.is_about(who, verb, org));
        // A rule without any bound leaves nothing to those that follow.
        about.find(|rule| !rule.deny || rule.fits_all(verb)).is_some_and(|rule| !rule.deny)
    }

    /// True if everything in the org is allowed; calls in the name of no
    /// workspace are not asked about.
    #[must_use]
    pub fn allow_all(&self, who: &str, verb: Verb, org: &str) -> bool {
        self.deciding_all(who, verb, org).is_some_and(|place| !self.0[place].deny)
    }

    /// The place of the rule that decides whether everything in the org is allowed.
    #[must_use]
    pub fn deciding_all(&self, who: &str, verb: Verb, org: &str) -> Option<usize> {
        let decides = |rule: &Rule| rule.deny || rule.fits_all(verb);
        self.0.iter().position(|rule| rule.is_about(who, verb, org) && decides(rule))
    }

    /// The places of the rules that name this principal.
    #[must_use]
    pub fn about(&self, who: &str) -> Vec<usize> {
        let named = |rule: &Rule| rule.who.iter().any(|pattern| pattern.fits(who));
        (0..self.0.len()).filter(|&place| named(&self.0[place])).collect()
    }

    /// True if a rule allows something in some org, whatever others forbid of it.
    #[must_use]
    pub fn allow_somewhere(&self, who: &str, verb: Verb) -> bool {
        self.0.iter().any(|rule| !rule.deny && rule.is_for(who, verb))
    }

    /// True if everything in every org is allowed.
    #[must_use]
    pub fn allow_everywhere(&self, who: &str, verb: Verb) -> bool {
        let mut about = self.0.iter().filter(|rule| rule.is_for(who, verb));
        let decides = |rule: &&Rule| {
            rule.deny || rule.orgs.iter().any(Pattern::is_any) && rule.fits_all(verb)
        };
        about.find(decides).is_some_and(|rule| !rule.deny)
    }
}

impl Rule {
    fn is_for(&self, who: &str, verb: Verb) -> bool {
        self.verbs.contains(&verb) && self.who.iter().any(|pattern| pattern.fits(who))
    }

    fn is_about(&self, who: &str, verb: Verb, org: &str) -> bool {
        self.is_for(who, verb) && self.orgs.iter().any(|pattern| pattern.fits(org))
    }

    fn fits(&self, who: &str, action: &Action<'_>) -> bool {
        let workspace = |pattern: &Pattern| pattern.fits(action.workspace);
        self.is_about(who, action.verb, action.org)
            && (action.verb == Verb::Report || self.workspaces.iter().any(workspace))
            && action.call.is_none_or(|(operation, class)| {
                class >= self.highest_class
                    && self.operations.iter().any(|pattern| pattern.fits(operation))
            })
    }

    /// True if it fits whatever is done with the verb in its orgs.
    fn fits_all(&self, verb: Verb) -> bool {
        let any = |patterns: &[Pattern]| patterns.iter().any(Pattern::is_any);
        let calls = any(&self.operations) && self.highest_class == Class::Control;
        (verb == Verb::Report || any(&self.workspaces)) && (verb != Verb::Acquire || calls)
    }
}

/// A name in which `*` stands for any characters but `/`, and `**` for any at all.
/// `*` alone is every name; the empty pattern is the empty name.
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// A pattern.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// True if it fits every name.
    #[must_use]
    pub fn is_any(&self) -> bool {
        matches!(self.0.as_str(), "*" | "**")
    }

    /// True if the name is one of those that it stands for.
    #[must_use]
    pub fn fits(&self, name: &str) -> bool {
        if name.is_empty() || self.0.is_empty() {
            return name == self.0;
        }
        self.is_any() || fits(self.0.as_bytes(), name.as_bytes())
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Goes through the name with all places of the pattern at which it can be by
/// then, so the time is bounded by the product of the lengths, whatever the
/// pattern.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let mut places = vec![false; pattern.len() + 1];
    places[0] = true;
    skip_stars(pattern, &mut places);
    for &byte in name {
        let mut next = vec![false; pattern.len() + 1];
        for place in (0..pattern.len()).filter(|&place| places[place]) {
            let deep = is_deep(pattern, place);
            match pattern[place] {
                b'*' => next[place] |= byte != b'/' || deep,
                literal => next[place + 1] |= literal == byte,
            }
        }
        skip_stars(pattern, &mut next);
        places = next;
    }
    places[pattern.len()]
}

/// A star may stand for nothing.
fn skip_stars(pattern: &[u8], places: &mut [bool]) {
    for place in 0..pattern.len() {
        places[place + 1] |= places[place] && pattern[place] == b'*';
    }
}

/// True if the star here is one of two that stand together.
fn is_deep(pattern: &[u8], place: usize) -> bool {
    pattern[place] == b'*'
        && (pattern.get(place + 1) == Some(&b'*') || place > 0 && pattern[place - 1] == b'*')
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stays_within_a_segment_and_two_do_not() {
        let check = |pattern: &str, name: &str, expected: bool| {
            assert_eq!(Pattern::new(pattern).fits(name), expected, "{pattern:?} {name:?}");
        };
        check("*", "spiffe://prod/ns/a", true);
        check("*", "", false);
        check("", "", true);
        check("", "a", false);
        check("acme-*", "acme-eu", true);
        check("acme-*", "acme-", true);
        check("acme-*", "acme", false);
        check("*-eu", "acme-eu", true);
        check("*-eu", "acme-eu-2", false);
        check("a*b*c", "aXbYc", true);
        check("a*b*c", "abbbc", true);
        check("a*b*c", "acb", false);
        check("spiffe://prod/ns/*/sa/inbox", "spiffe://prod/ns/a/sa/inbox", true);
        check("spiffe://prod/ns/*/sa/inbox", "spiffe://prod/ns/a/sa/b/sa/inbox", false);
        check("spiffe://prod/**", "spiffe://prod/ns/a/sa/b", true);
        check("spiffe://prod/**", "spiffe://production/ns", false);
        check("spiffe://prod/*", "spiffe://prod/ns/a", false);
        check("token:ci", "token:ci2", false);
    }

    type Row<'a> = (&'a str, &'a str, &'a [&'a str], Class, Verb, bool);

    fn rules(rows: &[Row<'_>]) -> Rules {
        let patterns = |texts: &[&str]| texts.iter().map(|text| Pattern::new(*text)).collect();
        let rule = |&(who, org, workspaces, highest_class, verb, deny): &Row<'_>| Rule {
            who: patterns(&[who]),
            orgs: patterns(&[org]),
            workspaces: patterns(workspaces),
            operations: patterns(&["*"]),
            highest_class,
            verbs: vec![verb],
            deny,
        };
        Rules::new(rows.iter().map(rule).collect())
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let rules = rules(&[
            ("a", "o1", &["secret"], Class::Control, Verb::Acquire, true),
            ("*", "o1", &["*"], Class::Event, Verb::Acquire, false),
            ("a", "*", &["*", ""], Class::Control, Verb::Acquire, false),
        ]);
        let check = |who: &str, org: &str, workspace: &str, class: Class, expected: bool| {
            let call = Some(("rest", class));
            let action = Action { verb: Verb::Acquire, org, workspace, call };
            assert_eq!(rules.allow(who, &action), expected, "{who} {action:?}");
        };
        check("a", "o1", "secret", Class::Bulk, false);
        check("b", "o1", "secret", Class::Bulk, true);
        check("b", "o1", "w", Class::Event, true);
        check("b", "o1", "w", Class::Interactive, false);
        check("b", "o1", "", Class::Bulk, false);
        check("b", "o2", "w", Class::Bulk, false);
        check("a", "o1", "", Class::Bulk, true);
        check("a", "o2", "w", Class::Control, true);
        check("c", "o3", "w", Class::Bulk, false);
    }

    fn check_whole(rows: &[Row<'_>], some: bool, all: bool, everywhere: bool) {
        let rules = rules(rows);
        assert_eq!(rules.allow_some("a", Verb::Admin, "o"), some, "some: {rules:?}");
        assert_eq!(rules.allow_all("a", Verb::Admin, "o"), all, "all: {rules:?}");
        assert_eq!(rules.allow_everywhere("a", Verb::Admin), everywhere, "everywhere: {rules:?}");
    }

    #[test]
    fn some_and_all_follow_the_order_too() {
        let rule = |org, workspace, verb, deny| -> Row<'static> {
            ("a", org, workspace, Class::Event, verb, deny)
        };
        let (every, one): (&[&str], &[&str]) = (&["*"], &["w"]);
        check_whole(&[], false, false, false);
        check_whole(&[rule("*", every, Verb::Admin, false)], true, true, true);
        check_whole(&[rule("o", every, Verb::Admin, false)], true, true, false);
        check_whole(&[rule("o", one, Verb::Admin, false)], true, false, false);
        check_whole(&[rule("p", every, Verb::Admin, false)], false, false, false);
        check_whole(&[rule("*", every, Verb::Read, false)], false, false, false);
        let allowed = rule("*", every, Verb::Admin, false);
        check_whole(&[rule("o", one, Verb::Admin, true), allowed], true, false, false);
        check_whole(&[rule("o", every, Verb::Admin, true), allowed], false, false, false);
        check_whole(&[rule("p", every, Verb::Admin, true), allowed], true, true, false);
    }
}
