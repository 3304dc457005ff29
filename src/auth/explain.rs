//! Why somebody may do something, or may not.

use super::rules::{Action, Pattern, Rule, Rules, Verb};
use crate::quota::Class;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub enum Question<'a> {
    /// May they do this?
    One(Action<'a>),
    /// May they do this with the whole org?
    Whole {
        /// What.
        verb: Verb,
        /// In which org.
        org: &'a str,
    },
}

/// The answer, and what led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// They may.
    pub allowed: bool,
    /// The place, from 0, of the rule that decides; `None`: no rule fits, and what
    /// no rule fits is not allowed.
    pub decided_by: Option<usize>,
    /// The rules before it that are about them and do not fit.
    pub passed_over: Vec<PassedOver>,
}

/// A rule that is about somebody and does not fit what they want to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedOver {
    /// The place of the rule, from 0.
    pub place: usize,
    /// Each part that does not fit, as a sentence.
    pub because: Vec<String>,
}

/// Why they may do it, or may not.
#[must_use]
pub fn explain(rules: &Rules, who: &str, question: &Question<'_>) -> Explanation {
    let decided_by = match question {
        Question::One(action) => rules.deciding(who, action),
        Question::Whole { verb, org } => rules.deciding_all(who, *verb, org),
    };
    let all = rules.as_slice();
    let before = all.iter().enumerate().take(decided_by.unwrap_or(all.len()));
    let about_them = before.filter(|(_, rule)| rule.who.iter().any(|pattern| pattern.fits(who)));
    let passed_over = about_them
        .map(|(place, rule)| PassedOver { place, because: misses(rule, question) })
        .collect();
    let allowed = decided_by.is_some_and(|place| !all[place].deny);
    Explanation { allowed, decided_by, passed_over }
}

/// The parts of the rule that do not fit, but for `who`: a rule about something else
/// need not say more.
fn misses(rule: &Rule, question: &Question<'_>) -> Vec<String> {
    let (verb, org) = match question {
        Question::One(action) => (action.verb, action.org),
        Question::Whole { verb, org } => (*verb, *org),
    };
    if !rule.verbs.contains(&verb) {
        let verbs: Vec<&str> = rule.verbs.iter().map(|verb| verb.name()).collect();
        return vec![format!("it is about {}", verbs.join(", "))];
    }
    if !fit(&rule.orgs, org) {
        return vec![format!("its orgs are {}", listed(&rule.orgs))];
    }
    let mut misses = Vec::new();
    let mut miss = |fits: bool, sentence: String| {
        if !fits {
            misses.push(sentence);
        }
    };
    let workspaces = listed(&rule.workspaces);
    match question {
        Question::Whole { .. } => {
            let any = |patterns: &[Pattern]| patterns.iter().any(Pattern::is_any);
            let every_call = any(&rule.operations) && rule.highest_class == Class::Control;
            miss(
                verb == Verb::Report || any(&rule.workspaces),
                format!("its workspaces are {workspaces}, not all of them"),
            );
            miss(verb != Verb::Acquire || every_call, "it is not about every call".to_owned());
        }
        Question::One(action) => {
            let hint = if action.workspace.is_empty() {
                ": calls in the name of none must be named, as \"\""
            } else {
                ""
            };
            miss(
                verb == Verb::Report || fit(&rule.workspaces, action.workspace),
                format!("its workspaces are {workspaces}{hint}"),
            );
            if let Some((operation, class)) = action.call {
                let operations = listed(&rule.operations);
                miss(fit(&rule.operations, operation), format!("its operations are {operations}"));
                miss(
                    class >= rule.highest_class,
                    format!("its highest class is {}", rule.highest_class.name()),
                );
            }
        }
    }
    misses
}

fn fit(patterns: &[Pattern], name: &str) -> bool {
    patterns.iter().any(|pattern| pattern.fits(name))
}

fn listed(patterns: &[Pattern]) -> String {
    let quoted: Vec<String> = patterns.iter().map(|pattern| format!("`{pattern}`")).collect();
    quoted.join(", ")
}
