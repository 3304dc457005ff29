//! What is declared for an org, in words, and how two declarations differ.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    config::OrgDeclaration,
    proto::{
        admin::v1::{ClassThresholds, Classes, Org, OrgEntry, OrgSource, Workspace},
        v1::TrafficClass,
    },
    quota::{ClassPolicy, Thresholds},
    rpc::convert,
    web::page::words,
};

/// One thing that is declared, or holds because it is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// The workspace that it is about; empty for the org itself.
    pub workspace: String,
    /// What it is.
    pub label: String,
    /// In words.
    pub value: String,
}

/// What a fact was, and what it becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The workspace that it is about; empty for the org itself.
    pub workspace: String,
    /// What differs.
    pub label: String,
    /// Before, in words.
    pub before: String,
    /// After, in words.
    pub after: String,
}

/// What is said where something is not there.
const NOTHING: &str = "–";

/// Where an org's settings come from, in words.
pub fn source(source: OrgSource) -> &'static str {
    match source {
        OrgSource::Unspecified => NOTHING,
        OrgSource::Template => "nobody: the template holds",
        OrgSource::File => "the configuration file",
        OrgSource::Api => "an administrator",
    }
}

/// How an org's settings differ, in the order in which they stand. `None` is an org
/// that nobody declares.
pub fn differences(before: Option<&OrgEntry>, after: Option<&OrgEntry>) -> Vec<Difference> {
    let nobody = undeclared();
    let was = before.unwrap_or(&nobody);
    let Some(is) = after else { return withdrawn(was) };
    let mut all = compared(&org(was), &org(is));
    let none = Org::default();
    let (was, is) = (was.org.as_ref().unwrap_or(&none), is.org.as_ref().unwrap_or(&none));
    all.extend(users(was, is));
    let (by_name_before, mut by_name_after) = (by_name(was), by_name(is));
    for workspace in &was.workspaces {
        match by_name_after.remove(workspace.id.as_str()) {
            Some(after) => {
                all.extend(compared(&of_workspace(workspace, was), &of_workspace(after, is)));
            }
            None => all.push(declaration(workspace, &summary(workspace, was), UNDECLARED)),
        }
    }
    let new = is.workspaces.iter().filter(|it| !by_name_before.contains_key(it.id.as_str()));
    all.extend(new.map(|it| declaration(it, UNDECLARED, &summary(it, is))));
    all
}

const UNDECLARED: &str = "not declared";

/// What an administrator's declaration said, and says no more. What holds instead is
/// known when it is gone.
fn withdrawn(was: &OrgEntry) -> Vec<Difference> {
    let (nobody, none) = (undeclared(), Org::default());
    let mut all = compared(&org(was), &org(&nobody));
    let declared = was.org.as_ref().unwrap_or(&none);
    all.extend(users(declared, &none));
    let gone = |it: &Workspace| declaration(it, &summary(it, declared), "");
    all.extend(declared.workspaces.iter().map(gone));
    for difference in &mut all {
        difference.after = "what the file says, else the template".to_owned();
    }
    all
}

fn declaration(workspace: &Workspace, before: &str, after: &str) -> Difference {
    Difference {
        workspace: workspace.id.clone(),
        label: "Declaration".to_owned(),
        before: before.to_owned(),
        after: after.to_owned(),
    }
}

/// An org of which nobody has declared anything.
fn undeclared() -> OrgEntry {
    OrgEntry {
        org: Some(Org::default()),
        source: OrgSource::Template.into(),
        ..OrgEntry::default()
    }
}

/// A declaration as the audit list has it, in YAML; `None` where there is none, or one
/// that cannot be read.
pub fn of_yaml(text: &str) -> Option<OrgEntry> {
    let org = OrgDeclaration::from_yaml(text).ok().map(convert::admin::wire_org);
    org.map(|org| OrgEntry { org: Some(org), source: OrgSource::Api.into(), ..OrgEntry::default() })
}

/// What is declared for an org itself.
pub fn org(entry: &OrgEntry) -> Vec<Fact> {
    let Some(org) = &entry.org else { return Vec::new() };
    let or_template = |field: &str, value: Option<String>| match value {
        Some(value) if entry.from_template.iter().any(|taken| taken == field) => {
            format!("{value}, from the template")
        }
        Some(value) => value,
        None => "from the template".to_owned(),
    };
    let number = |number: u64| (number > 0).then(|| words::count(number));
    let reserve = org.reserve_percent.map(|percent| format!("{percent} % of the total"));
    let slots = number(org.concurrent_calls.into());
    let lag = words::length(org.header_lag.as_ref()).unwrap_or_default();
    let mut facts = vec![
        fact("Declared by", source(entry.source())),
        fact("Calls in any 24 hours", or_template("daily_calls", number(org.daily_calls))),
        fact("Never more than", amount(org.daily_calls_max, "what Salesforce says")),
        fact("Long-running requests at a time", or_template("concurrent_calls", slots)),
        fact("Kept for other integrations", or_template("reserve_percent", reserve)),
        fact("Salesforce's figure lags by", words::span(lag)),
        fact("Preset", preset(&org.preset, "default")),
    ];
    facts.extend(
        pausing(&org_policy(org))
            .map(|(class, thresholds)| fact(words::class_name(class), pauses(thresholds, 0))),
    );
    facts
}

/// What is declared for a workspace, and what it has from its org.
pub fn of_workspace(workspace: &Workspace, org: &Org) -> Vec<Fact> {
    let cap = workspace.daily_calls;
    let mut facts = vec![
        fact("Cap in any 24 hours", cap_text(cap)),
        fact("Preset", preset(&workspace.preset, "the org's")),
    ];
    facts.extend(
        pausing(&workspace_policy(workspace, org))
            .map(|(class, thresholds)| fact(words::class_name(class), pauses(thresholds, cap))),
    );
    facts.extend([
        fact("Weight", words::count(workspace.weight.max(1).into())),
        fact("Guaranteed", amount(workspace.guaranteed_calls, "nothing")),
        fact("Burn limit", burn_limit(workspace)),
        fact("Its limits", enforcement(workspace.shadow)),
    ]);
    for fact in &mut facts {
        fact.workspace.clone_from(&workspace.id);
    }
    facts
}

fn fact(label: &str, value: impl Into<String>) -> Fact {
    Fact { workspace: String::new(), label: label.to_owned(), value: value.into() }
}

/// A cap: `5,000 calls`.
pub fn cap_text(cap: u64) -> String {
    amount(cap, "no cap")
}

/// A burn limit: `10,000 calls in any 30 minutes`.
pub fn burn_limit(workspace: &Workspace) -> String {
    let Some(limit) = &workspace.burn_limit else { return "none".to_owned() };
    let window = words::length(limit.window.as_ref()).unwrap_or_default();
    format!("{} in any {}", words::counted(limit.calls, "call"), words::window(window))
}

/// The thresholds of an org's workspaces that say nothing themselves.
pub fn org_policy(org: &Org) -> ClassPolicy {
    overlaid(ClassPolicy::default(), &org.preset, org.classes.as_ref())
}

/// The thresholds of a workspace, as they are in force.
pub fn workspace_policy(workspace: &Workspace, org: &Org) -> ClassPolicy {
    overlaid(org_policy(org), &workspace.preset, workspace.classes.as_ref())
}

/// The classes that pause, in the order in which they do.
pub fn pausing(policy: &ClassPolicy) -> impl Iterator<Item = (TrafficClass, Thresholds)> + use<> {
    let ClassPolicy { bulk, event, interactive } = *policy;
    [
        (TrafficClass::Bulk, bulk),
        (TrafficClass::Event, event),
        (TrafficClass::Interactive, interactive),
    ]
    .into_iter()
}

/// When a class pauses, in percent, and in calls where there is a cap.
fn pauses(thresholds: Thresholds, cap: u64) -> String {
    let Thresholds { pause, resume } = thresholds;
    if cap == 0 {
        return format!("pauses at {pause}\u{a0}%, resumes below {resume}\u{a0}%");
    }
    let (pause_at, resume_at) = (thresholds.pause_point(cap), thresholds.resume_point(cap));
    format!(
        "pauses at {pause}\u{a0}% ({}), resumes below {resume}\u{a0}% ({})",
        words::count(pause_at),
        words::count(resume_at)
    )
}

fn preset<'p>(name: &'p str, none: &'p str) -> &'p str {
    if name.is_empty() { none } else { name }
}

fn amount(calls: u64, none: &str) -> String {
    if calls == 0 { none.to_owned() } else { words::counted(calls, "call") }
}

const fn enforcement(shadow: bool) -> &'static str {
    if shadow { "only watched: they refuse nothing" } else { "enforced" }
}

/// From weakest to strongest: what was there, the preset, what is given by itself; as
/// the service resolves them.
fn overlaid(base: ClassPolicy, preset: &str, own: Option<&Classes>) -> ClassPolicy {
    let base = ClassPolicy::preset(preset).unwrap_or(base);
    let given = |own: Option<&ClassThresholds>, base| {
        own.map_or(base, |own| Thresholds { pause: own.pause, resume: own.resume })
    };
    let own = own.cloned().unwrap_or_default();
    ClassPolicy {
        bulk: given(own.bulk.as_ref(), base.bulk),
        event: given(own.event.as_ref(), base.event),
        interactive: given(own.interactive.as_ref(), base.interactive),
    }
}

/// A workspace's declaration in one line.
fn summary(workspace: &Workspace, org: &Org) -> String {
    let mut parts = vec![cap_text(workspace.daily_calls)];
    let inherited = org_policy(org);
    for ((class, own), (_, of_org)) in
        pausing(&workspace_policy(workspace, org)).zip(pausing(&inherited))
    {
        if own != of_org {
            parts.push(format!("{} {}", words::class_key(class), pauses(own, 0)));
        }
    }
    if workspace.weight > 1 {
        parts.push(format!("weight {}", workspace.weight));
    }
    if workspace.guaranteed_calls > 0 {
        parts.push(format!("{} guaranteed", words::count(workspace.guaranteed_calls)));
    }
    if workspace.burn_limit.is_some() {
        parts.push(format!("at most {}", burn_limit(workspace)));
    }
    if workspace.shadow {
        parts.push("only watched".to_owned());
    }
    parts.join(" · ")
}

fn by_name(org: &Org) -> BTreeMap<&str, &Workspace> {
    org.workspaces.iter().map(|workspace| (workspace.id.as_str(), workspace)).collect()
}

/// Who joins the pool, and who leaves it.
fn users(before: &Org, after: &Org) -> Vec<Difference> {
    let change = |user: &String, before: &str, after: &str| Difference {
        workspace: String::new(),
        label: format!("Execution user {user}"),
        before: before.to_owned(),
        after: after.to_owned(),
    };
    let (in_pool, out) = ("in the pool", "not in the pool");
    let were = &before.execution_users;
    let are = &after.execution_users;
    let left = were.iter().filter(|user| !are.contains(user));
    let joined = are.iter().filter(|user| !were.contains(user));
    let left = left.map(|user| change(user, in_pool, out));
    left.chain(joined.map(|user| change(user, out, in_pool))).collect()
}

/// The facts of the same labels that differ.
fn compared(before: &[Fact], after: &[Fact]) -> Vec<Difference> {
    let pairs = before.iter().zip(after).filter(|(before, after)| before != after);
    let difference = |(before, after): (&Fact, &Fact)| Difference {
        workspace: after.workspace.clone(),
        label: after.label.clone(),
        before: before.value.clone(),
        after: after.value.clone(),
    };
    pairs.map(difference).collect()
}

/// A length of time as forms take it: `90s`, `1h30m`; empty where there is none.
pub fn duration_text(length: Option<&prost_types::Duration>) -> String {
    words::length(length).map(crate::duration::format).unwrap_or_default()
}

/// The same as a message.
pub fn duration_message(length: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(length.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(length.subsec_nanos()).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(yaml: &str) -> OrgEntry {
        of_yaml(yaml).expect("a declaration")
    }

    fn shown(before: Option<&OrgEntry>, after: Option<&OrgEntry>) -> Vec<String> {
        let line = |it: &Difference| {
            let of =
                if it.workspace.is_empty() { String::new() } else { format!("{}: ", it.workspace) };
            format!("{of}{}: {} → {}", it.label, it.before, it.after)
        };
        // Numbers keep their sign on one line.
        let plain = |line: String| line.replace('\u{a0}', " ");
        differences(before, after).iter().map(line).map(plain).collect()
    }

    #[test]
    fn what_differs_is_said_in_words() {
        let check = |before: &str, after: &str, expected: &[&str]| {
            let found = shown(Some(&entry(before)), Some(&entry(after)));
            assert_eq!(found, expected, "{before} to {after}");
        };
        check("id: x", "id: x", &[]);
        check(
            "id: x\ndaily_calls: 15000",
            "id: x\ndaily_calls: 20000\nreserve_percent: 0",
            &[
                "Calls in any 24 hours: 15,000 → 20,000",
                "Kept for other integrations: from the template → 0 % of the total",
            ],
        );
        check(
            "id: x\nheader_lag: 90s\ndaily_calls_max: 100",
            "id: x\nconcurrent_calls: 25",
            &[
                "Never more than: 100 calls → what Salesforce says",
                "Long-running requests at a time: from the template → 25",
                "Salesforce's figure lags by: 1 min 30 s → 0 s",
            ],
        );
        check(
            "id: x\nexecution_users: [a, b]",
            "id: x\nexecution_users: [b, c]",
            &[
                "Execution user a: in the pool → not in the pool",
                "Execution user c: not in the pool → in the pool",
            ],
        );
        // The order in which users stand is no difference.
        check("id: x\nexecution_users: [a, b]", "id: x\nexecution_users: [b, a]", &[]);
    }

    #[test]
    fn a_workspace_shows_the_calls_at_which_it_pauses() {
        let check = |before: &str, after: &str, expected: &[&str]| {
            let found = shown(Some(&entry(before)), Some(&entry(after)));
            assert_eq!(found, expected, "{before} to {after}");
        };
        let workspaces = |text: &str| format!("id: x\nworkspaces: [{text}]");
        check(
            &workspaces("{id: eu, daily_calls: 5000, preset: strict}"),
            &workspaces("{id: eu, daily_calls: 7000, preset: strict}"),
            &[
                "eu: Cap in any 24 hours: 5,000 calls → 7,000 calls",
                "eu: Manual bulk sync: pauses at 40 % (2,000), resumes below 40 % (2,000) → \
                 pauses at 40 % (2,800), resumes below 40 % (2,800)",
                "eu: Event-based sync: pauses at 60 % (3,000), resumes below 60 % (3,000) → \
                 pauses at 60 % (4,200), resumes below 60 % (4,200)",
                "eu: People in the inbox: pauses at 100 % (5,000), resumes below 100 % (5,000) → \
                 pauses at 100 % (7,000), resumes below 100 % (7,000)",
            ],
        );
        // What an org says of its classes holds for the workspaces that say nothing.
        check(
            "id: x\nworkspaces: [{id: eu}, {id: us, preset: default}]",
            "id: x\npreset: strict\nworkspaces: [{id: eu}, {id: us, preset: default}]",
            &[
                "Preset: default → strict",
                "Event-based sync: pauses at 80 %, resumes below 60 % → pauses at 60 %, resumes \
                 below 60 %",
                "eu: Event-based sync: pauses at 80 %, resumes below 60 % → pauses at 60 %, \
                 resumes below 60 %",
            ],
        );
        check(
            &workspaces("{id: eu, daily_calls: 5000}"),
            &workspaces(
                "{id: us, weight: 3, guaranteed_calls: 10, burn_limit: {calls: 9, window: 30m}, \
                 shadow: true}",
            ),
            &[
                "eu: Declaration: 5,000 calls → not declared",
                "us: Declaration: not declared → no cap · weight 3 · 10 guaranteed · at most 9 \
                 calls in any 30 minutes · only watched",
            ],
        );
    }

    #[test]
    fn the_first_and_the_last_declaration_differ_from_none() {
        let declared = entry("id: x\ndaily_calls: 10\nworkspaces: [{id: eu}]");
        assert_eq!(
            shown(None, Some(&declared)),
            [
                "Declared by: nobody: the template holds → an administrator",
                "Calls in any 24 hours: from the template → 10",
                "eu: Declaration: not declared → no cap",
            ]
        );
        let end = "what the file says, else the template";
        assert_eq!(
            shown(Some(&declared), None),
            [
                format!("Declared by: an administrator → {end}"),
                format!("Calls in any 24 hours: 10 → {end}"),
                format!("eu: Declaration: no cap → {end}"),
            ]
        );
    }
}
