//! The fields of the forms: what stands in them, what was typed, and what is wrong
//! with it.

use std::collections::BTreeMap;

use tonic::Status;
use tonic_types::StatusExt as _;

use super::{draft::Draft, facts};
use crate::{
    duration,
    proto::admin::v1::{BurnLimit, ClassThresholds, Classes, Org, OrgEntry, Workspace},
    quota::{ClassPolicy, Thresholds},
    web::page::{Form, words},
};

/// What a field takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A whole number, maybe with thousands marks.
    Number,
    /// A name, or a length of time.
    Text,
    /// One of [`ClassPolicy::PRESETS`], or none.
    Preset,
    /// Yes or no.
    Switch,
}

/// What a field is, whatever stands in it.
#[derive(Debug, PartialEq, Eq)]
pub struct Field {
    /// As the service calls it, from the org or the workspace on.
    pub name: &'static str,
    /// As people call it.
    pub label: &'static str,
    /// What stands behind the input, such as a unit.
    pub unit: &'static str,
    /// What it does, and what an empty field means.
    pub hint: &'static str,
    /// What it takes.
    pub kind: Kind,
}

/// A field as a page shows it.
#[derive(Clone, Debug)]
pub struct Input {
    /// What it is.
    pub field: &'static Field,
    /// What stands in it.
    pub value: String,
    /// What holds while it is empty.
    pub placeholder: String,
    /// What is in force by now, where it is something else than what was typed.
    pub instead: Option<String>,
    /// What is wrong with it; empty if nothing is.
    pub fault: String,
}

/// What stands in the fields of a form, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values(BTreeMap<&'static str, String>);

/// What is wrong, by field; a name that no form has stands for the whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(pub Vec<(String, String)>);

/// The fields of an org itself.
pub const ORG: [Field; 12] = [
    Field {
        name: "daily_calls",
        label: "Calls in any 24 hours",
        unit: "calls",
        hint: "The org's total, until Salesforce's answers tell it.",
        kind: Kind::Number,
    },
    Field {
        name: "daily_calls_max",
        label: "Never more than",
        unit: "calls",
        hint: "The most that is used, whatever Salesforce's answers say. Empty: no bound.",
        kind: Kind::Number,
    },
    Field {
        name: "concurrent_calls",
        label: "Long-running requests at a time",
        unit: "slots",
        hint: "25 for production orgs and sandboxes, 5 for Developer Edition and trials.",
        kind: Kind::Number,
    },
    Field {
        name: "reserve_percent",
        label: "Kept for other integrations",
        unit: "% of the total",
        hint: "What others may use between two answers that tell how much they used: 0 to 90.",
        kind: Kind::Number,
    },
    Field {
        name: "header_lag",
        label: "Salesforce's figure lags by",
        unit: "",
        hint: "Such as 5s or 1m. Empty: not at all.",
        kind: Kind::Text,
    },
    Field {
        name: "preset",
        label: "Preset",
        unit: "",
        hint: "For workspaces that name none. Strict pauses event-based sync at 60 % already; calm \
               resumes bulk sync 2 points lower.",
        kind: Kind::Preset,
    },
    pause("classes.bulk.pause"),
    resume("classes.bulk.resume"),
    pause("classes.event.pause"),
    resume("classes.event.resume"),
    pause("classes.interactive.pause"),
    resume("classes.interactive.resume"),
];

/// The fields of a workspace.
pub const WORKSPACE: [Field; 14] = [
    Field { name: "id", label: "Name", unit: "", hint: "As callers send it.", kind: Kind::Text },
    Field {
        name: "daily_calls",
        label: "Cap in any 24 hours",
        unit: "calls",
        hint: "What stops when it is used up stands below. Empty: no cap.",
        kind: Kind::Number,
    },
    Field {
        name: "preset",
        label: "Preset",
        unit: "",
        hint: "Strict pauses event-based sync at 60 % already; calm resumes bulk sync 2 points \
               lower.",
        kind: Kind::Preset,
    },
    pause("classes.bulk.pause"),
    resume("classes.bulk.resume"),
    pause("classes.event.pause"),
    resume("classes.event.resume"),
    pause("classes.interactive.pause"),
    resume("classes.interactive.resume"),
    Field {
        name: "weight",
        label: "Weight",
        unit: "",
        hint: "Its share where workspaces want the same room, against the others' weights: 1 to \
               1,000.",
        kind: Kind::Number,
    },
    Field {
        name: "guaranteed_calls",
        label: "Guaranteed",
        unit: "calls",
        hint: "A part of the org's total that no other workspace may take. Empty: nothing.",
        kind: Kind::Number,
    },
    Field {
        name: "burn_limit.calls",
        label: "At most",
        unit: "calls",
        hint: "",
        kind: Kind::Number,
    },
    Field {
        name: "burn_limit.window",
        label: "In how long",
        unit: "",
        hint: "Such as 30m, 1 second to 24 hours. Both empty: no brake.",
        kind: Kind::Text,
    },
    Field {
        name: "shadow",
        label: "Only watch",
        unit: "",
        hint: "Its cap and its burn limit are counted and reported, and refuse nothing.",
        kind: Kind::Switch,
    },
];

/// The one field of a form that adds a user to the pool.
pub const USER: Field = Field {
    name: "execution_user",
    label: "Salesforce user id",
    unit: "",
    hint: "15 or 18 characters that begin with 005, or a name of your own.",
    kind: Kind::Text,
};

const fn pause(name: &'static str) -> Field {
    Field { name, label: "Pauses at", unit: "%", hint: "", kind: Kind::Number }
}

const fn resume(name: &'static str) -> Field {
    Field { name, label: "Resumes below", unit: "%", hint: "", kind: Kind::Number }
}

impl Values {
    /// What a form was sent with, under names with a prefix.
    pub fn of_form(fields: &'static [Field], form: &Form, prefix: &str) -> Self {
        let value = |field: &Field| form.get(&format!("{prefix}{}", field.name)).to_owned();
        Self(fields.iter().map(|field| (field.name, value(field))).collect())
    }

    /// These where they are not what was there before, else what is there now.
    pub fn rebased(&self, was: &Self, now: &Self) -> Self {
        let value = |(name, typed): (&&'static str, &String)| {
            let value = if typed == was.get(name) { now.get(name) } else { typed };
            (*name, value.to_owned())
        };
        Self(self.0.iter().map(value).collect())
    }

    /// What is declared for an org itself: empty where the template's value holds.
    pub fn of_org(entry: &OrgEntry) -> Self {
        let Some(org) = &entry.org else { return Self::default() };
        let own = |field: &str, value: String| {
            if entry.from_template.iter().any(|taken| taken == field) {
                String::new()
            } else {
                value
            }
        };
        let mut values = Self(BTreeMap::from([
            ("daily_calls", own("daily_calls", number_text(org.daily_calls))),
            ("daily_calls_max", number_text(org.daily_calls_max)),
            ("concurrent_calls", own("concurrent_calls", number_text(org.concurrent_calls.into()))),
            (
                "reserve_percent",
                own(
                    "reserve_percent",
                    org.reserve_percent.map(|percent| percent.to_string()).unwrap_or_default(),
                ),
            ),
            ("header_lag", facts::duration_text(org.header_lag.as_ref())),
            ("preset", org.preset.clone()),
        ]));
        values.take_classes(org.classes.as_ref());
        values
    }

    /// What is declared for a workspace.
    pub fn of_workspace(workspace: &Workspace) -> Self {
        let burn = workspace.burn_limit.as_ref();
        let mut values = Self(BTreeMap::from([
            ("id", workspace.id.clone()),
            ("daily_calls", number_text(workspace.daily_calls)),
            ("preset", workspace.preset.clone()),
            ("weight", number_text(workspace.weight.into())),
            ("guaranteed_calls", number_text(workspace.guaranteed_calls)),
            ("burn_limit.calls", number_text(burn.map_or(0, |burn| burn.calls))),
            ("burn_limit.window", facts::duration_text(burn.and_then(|burn| burn.window.as_ref()))),
            ("shadow", if workspace.shadow { "yes".to_owned() } else { String::new() }),
        ]));
        values.take_classes(workspace.classes.as_ref());
        values
    }

    fn take_classes(&mut self, classes: Option<&Classes>) {
        let classes = classes.cloned().unwrap_or_default();
        for (pause, resume, thresholds) in [
            ("classes.bulk.pause", "classes.bulk.resume", classes.bulk),
            ("classes.event.pause", "classes.event.resume", classes.event),
            ("classes.interactive.pause", "classes.interactive.resume", classes.interactive),
        ] {
            let text = |of: fn(&ClassThresholds) -> u32| {
                thresholds.as_ref().map(|it| of(it).to_string()).unwrap_or_default()
            };
            self.0.insert(pause, text(|it| it.pause));
            self.0.insert(resume, text(|it| it.resume));
        }
    }

    /// What stands in a field.
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// All of them, for a form that only carries them on.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(name, value)| (*name, value.as_str()))
    }

    /// The declaration of an org: `base` with what stands in the fields. What no field
    /// shows stays; what `base` has from the template is left to the template.
    ///
    /// # Errors
    /// What is wrong with each field.
    pub fn to_org(&self, base: Org) -> Result<Org, Faults> {
        let mut faults = Faults::default();
        let org = Org {
            daily_calls: faults.number(self, "daily_calls", "leave it empty for the template's"),
            daily_calls_max: faults.number(self, "daily_calls_max", "leave it empty for no bound"),
            concurrent_calls: faults.small(
                self,
                "concurrent_calls",
                "leave it empty for the template's",
            ),
            reserve_percent: faults.percent(self, "reserve_percent"),
            header_lag: faults.duration(self, "header_lag"),
            preset: self.get("preset").to_owned(),
            classes: faults.classes(self),
            ..base
        };
        faults.or(org)
    }

    /// The declaration of a workspace: the form shows all of it.
    ///
    /// # Errors
    /// What is wrong with each field.
    pub fn to_workspace(&self) -> Result<Workspace, Faults> {
        let mut faults = Faults::default();
        if self.get("id").is_empty() {
            faults.add("id", "must be given: the name that callers send");
        }
        let calls = faults.number(self, "burn_limit.calls", "leave both empty for no brake");
        let window = faults.duration(self, "burn_limit.window");
        let burn_limit = match (self.get("burn_limit.calls"), self.get("burn_limit.window")) {
            ("", "") => None,
            ("", _) => {
                faults.add("burn_limit.calls", "must be given, too: how many calls in that time");
                None
            }
            (_, "") => {
                faults.add("burn_limit.window", "must be given, too, such as 30m");
                None
            }
            _ => Some(BurnLimit { calls, window }),
        };
        let workspace = Workspace {
            id: self.get("id").to_owned(),
            daily_calls: faults.number(self, "daily_calls", "leave it empty for no cap"),
            preset: self.get("preset").to_owned(),
            classes: faults.classes(self),
            weight: faults.small(self, "weight", "leave it empty for 1"),
            guaranteed_calls: faults.number(self, "guaranteed_calls", "leave it empty for nothing"),
            burn_limit,
            shadow: !self.get("shadow").is_empty(),
        };
        faults.or(workspace)
    }
}

impl Faults {
    /// What a service refused: each at its field. `None` if it names no field.
    pub fn of_status(refused: &Status) -> Option<Self> {
        let violations = refused.get_details_bad_request()?.field_violations;
        let fault = |it: tonic_types::FieldViolation| (leaf(&it.field), spoken(&it.description));
        let faults: Vec<_> = violations.into_iter().map(fault).collect();
        (!faults.is_empty()).then_some(Self(faults))
    }

    /// What is wrong with a field; empty if nothing is.
    pub fn of(&self, name: &str) -> String {
        let all = self.0.iter().filter(|(field, _)| field == name);
        all.map(|(_, fault)| words::sentence(fault)).collect::<Vec<_>>().join(" ")
    }

    fn add(&mut self, field: &str, fault: impl Into<String>) {
        self.0.push((field.to_owned(), fault.into()));
    }

    fn or<T>(self, value: T) -> Result<T, Self> {
        if self.0.is_empty() { Ok(value) } else { Err(self) }
    }

    /// Zero where nothing stands in the field: that is how messages say so.
    fn number(&mut self, values: &Values, field: &'static str, else_do: &str) -> u64 {
        match read_number(values.get(field)) {
            Ok(Some(0)) => {
                self.add(field, format!("must be at least 1: {else_do}"));
                0
            }
            Ok(number) => number.unwrap_or(0),
            Err(fault) => {
                self.add(field, fault);
                0
            }
        }
    }

    fn small(&mut self, values: &Values, field: &'static str, else_do: &str) -> u32 {
        let number = self.number(values, field, else_do);
        u32::try_from(number).unwrap_or_else(|_| {
            self.add(field, "is too large");
            0
        })
    }

    /// Here zero is a number.
    fn percent(&mut self, values: &Values, field: &'static str) -> Option<u32> {
        match read_number(values.get(field)) {
            Ok(None) => None,
            Ok(Some(percent)) if percent <= 100 => u32::try_from(percent).ok(),
            Ok(Some(percent)) => {
                self.add(field, format!("must be at most 90, is {}", words::count(percent)));
                None
            }
            Err(fault) => {
                self.add(field, fault);
                None
            }
        }
    }

    fn duration(&mut self, values: &Values, field: &'static str) -> Option<prost_types::Duration> {
        let text = values.get(field);
        if text.is_empty() {
            return None;
        }
        match duration::parse(&text.replace(' ', "")) {
            Ok(length) => Some(facts::duration_message(length)),
            Err(fault) => {
                self.add(field, fault);
                None
            }
        }
    }

    fn classes(&mut self, values: &Values) -> Option<Classes> {
        let bulk = self.thresholds(values, "classes.bulk.pause", "classes.bulk.resume");
        let event = self.thresholds(values, "classes.event.pause", "classes.event.resume");
        let interactive =
            self.thresholds(values, "classes.interactive.pause", "classes.interactive.resume");
        let given = bulk.is_some() || event.is_some() || interactive.is_some();
        given.then_some(Classes { bulk, event, interactive })
    }

    fn thresholds(
        &mut self,
        values: &Values,
        pause: &'static str,
        resume: &'static str,
    ) -> Option<ClassThresholds> {
        let given = |field| !values.get(field).is_empty();
        match (given(pause), given(resume)) {
            (false, false) => return None,
            (false, true) => self.add(pause, "must be given, too, or both left empty"),
            (true, false) => self.add(resume, "must be given, too, or both left empty"),
            (true, true) => {}
        }
        let both = "leave both empty for what holds else";
        let thresholds = ClassThresholds {
            pause: self.small(values, pause, both),
            resume: self.small(values, resume, both),
        };
        Some(thresholds)
    }
}

/// The inputs of a form, in the order of its fields.
pub fn inputs(
    fields: &'static [Field],
    draft: &Draft,
    placeholders: &[(&'static str, String)],
) -> Vec<Input> {
    let placeholder = |name| placeholders.iter().find(|(of, _)| *of == name);
    let input = |field: &'static Field| Input {
        field,
        value: draft.values.get(field.name).to_owned(),
        placeholder: placeholder(field.name).map(|(_, text)| text.clone()).unwrap_or_default(),
        instead: draft.instead(field.name),
        fault: draft.faults.of(field.name),
    };
    fields.iter().map(input).collect()
}

impl Input {
    /// It takes a whole number.
    pub fn is_number(&self) -> bool {
        self.field.kind == Kind::Number
    }

    /// It is one of a few.
    pub fn is_preset(&self) -> bool {
        self.field.kind == Kind::Preset
    }

    /// It is yes or no.
    pub fn is_switch(&self) -> bool {
        self.field.kind == Kind::Switch
    }

    /// The presets, and whether each is chosen.
    pub fn presets(&self) -> [(&'static str, bool); 3] {
        ClassPolicy::PRESETS.map(|name| (name, name == self.value))
    }

    /// What describes it, by id: the hint, and what is wrong.
    pub fn described_by(&self) -> String {
        let name = self.field.name;
        let parts = [
            (!self.field.hint.is_empty()).then(|| format!("h-{name}")),
            self.instead.is_some().then(|| format!("n-{name}")),
            (!self.fault.is_empty()).then(|| format!("e-{name}")),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

/// What holds of the thresholds while their fields are empty.
pub fn threshold_placeholders(policy: &ClassPolicy) -> Vec<(&'static str, String)> {
    let ClassPolicy { bulk, event, interactive } = *policy;
    let pair = |pause, resume, thresholds: Thresholds| {
        [(pause, thresholds.pause.to_string()), (resume, thresholds.resume.to_string())]
    };
    let pairs = [
        pair("classes.bulk.pause", "classes.bulk.resume", bulk),
        pair("classes.event.pause", "classes.event.resume", event),
        pair("classes.interactive.pause", "classes.interactive.resume", interactive),
    ];
    pairs.into_iter().flatten().collect()
}

/// A number as people type it: `15000`, `15,000`, `15 000`; `None` for nothing.
fn read_number(text: &str) -> Result<Option<u64>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let fault = || format!("must be a whole number such as 15,000, is {text:?}");
    let is_mark = |c: char| matches!(c, ',' | ' ' | '\u{a0}' | '\u{202f}' | '_' | '\'' | '’');
    let groups: Vec<&str> = text.split(is_mark).collect();
    // A mark stands for thousands only where three digits follow: 1,5 is no 15.
    let is_grouped = groups.iter().skip(1).all(|group| group.len() == 3);
    let digits = groups.concat();
    if !is_grouped || digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(fault());
    }
    digits.parse().map(Some).map_err(|_| "is too large".to_owned())
}

fn number_text(number: u64) -> String {
    if number == 0 { String::new() } else { words::count(number) }
}

/// A field as its form calls it: without the org, or the workspace, that it is of.
fn leaf(field: &str) -> String {
    let field = field.strip_prefix("org.").unwrap_or(field);
    let field = field.strip_prefix("workspace.").unwrap_or(field);
    match field.strip_prefix("workspaces[").and_then(|rest| rest.split_once("].")) {
        Some((_, leaf)) => leaf.to_owned(),
        None => field.to_owned(),
    }
}

/// A sentence in which fields are called as the form calls them.
fn spoken(message: &str) -> String {
    let parts: Vec<&str> = message.split('`').collect();
    let mut text = String::with_capacity(message.len());
    for (at, part) in parts.iter().enumerate() {
        let is_quoted = at % 2 == 1;
        let mut fields = ORG.iter().chain(&WORKSPACE);
        let ends_in =
            |field: &&Field| field.name == *part || field.name.ends_with(&format!(".{part}"));
        match fields.find(ends_in).filter(|_| is_quoted) {
            Some(field) => text.push_str(&format!("“{}”", field.label)),
            None => text.push_str(part),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(typed: &[(&'static str, &str)]) -> Values {
        Values(typed.iter().map(|(name, value)| (*name, (*value).to_owned())).collect())
    }

    #[test]
    fn numbers_are_read_as_people_type_them() {
        for (text, number) in [
            ("", None),
            ("0", Some(0)),
            ("15000", Some(15_000)),
            ("15,000", Some(15_000)),
            ("15 000", Some(15_000)),
            ("1'500'000", Some(1_500_000)),
            ("15\u{202f}000", Some(15_000)),
        ] {
            assert_eq!(read_number(text), Ok(number), "{text:?}");
        }
        for text in [
            "1,5",
            "1.5",
            "15.000",
            "x",
            "-1",
            "+1",
            ",",
            "1,,000",
            "15k",
            "٣",
            "99999999999999999999",
        ] {
            assert!(read_number(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_is_wrong_with_an_org_stands_at_its_field() {
        let check = |typed: &[(&'static str, &str)], expected: &[&str]| {
            let found = values(typed).to_org(Org::default());
            let found: Vec<String> = match found {
                Ok(_) => Vec::new(),
                Err(faults) => faults.0.into_iter().map(|(field, _)| field).collect(),
            };
            assert_eq!(found, expected, "{typed:?}");
        };
        check(&[], &[]);
        check(&[("daily_calls", "0")], &["daily_calls"]);
        check(&[("daily_calls", "many")], &["daily_calls"]);
        check(&[("daily_calls_max", "0")], &["daily_calls_max"]);
        check(&[("concurrent_calls", "5000000000")], &["concurrent_calls"]);
        check(&[("reserve_percent", "0")], &[]);
        check(&[("reserve_percent", "101")], &["reserve_percent"]);
        check(&[("reserve_percent", "5 %")], &["reserve_percent"]);
        check(&[("header_lag", "1m 30s")], &[]);
        check(&[("header_lag", "90")], &["header_lag"]);
        check(&[("classes.bulk.pause", "40")], &["classes.bulk.resume"]);
        check(&[("classes.event.resume", "40")], &["classes.event.pause"]);
        check(
            &[("classes.interactive.pause", "x"), ("classes.interactive.resume", "0")],
            &["classes.interactive.pause", "classes.interactive.resume"],
        );
        check(
            &[("daily_calls", "x"), ("header_lag", "x"), ("classes.bulk.pause", "1")],
            &["daily_calls", "header_lag", "classes.bulk.resume"],
        );
    }

    #[test]
    fn what_is_wrong_with_a_workspace_stands_at_its_field() {
        let check = |typed: &[(&'static str, &str)], expected: &[&str]| {
            let found = values(typed).to_workspace();
            let found: Vec<String> = match found {
                Ok(_) => Vec::new(),
                Err(faults) => faults.0.into_iter().map(|(field, _)| field).collect(),
            };
            assert_eq!(found, expected, "{typed:?}");
        };
        check(&[("id", "eu")], &[]);
        check(&[], &["id"]);
        check(&[("id", "eu"), ("daily_calls", "0")], &["daily_calls"]);
        check(&[("id", "eu"), ("weight", "a")], &["weight"]);
        check(&[("id", "eu"), ("guaranteed_calls", "1,5")], &["guaranteed_calls"]);
        check(&[("id", "eu"), ("burn_limit.calls", "5")], &["burn_limit.window"]);
        check(&[("id", "eu"), ("burn_limit.window", "5m")], &["burn_limit.calls"]);
        check(
            &[("id", "eu"), ("burn_limit.calls", "0"), ("burn_limit.window", "soon")],
            &["burn_limit.calls", "burn_limit.window"],
        );
        check(&[("id", "eu"), ("classes.bulk.resume", "5")], &["classes.bulk.pause"]);
    }

    #[test]
    fn a_declaration_comes_back_from_its_form_as_it_was() {
        let yaml = "id: x\ndaily_calls: 15000\ndaily_calls_max: 20000\nreserve_percent: 0\n\
                    header_lag: 1500ms\npreset: calm\nclasses: {bulk: {pause: 30, resume: 20}}\n\
                    execution_users: [alice]\nworkspaces:\n  - {id: \"a b\", daily_calls: 5000, \
                    preset: strict, classes: {event: {pause: 70, resume: 50}}, weight: 3, \
                    guaranteed_calls: 10, burn_limit: {calls: 9, window: 30m}, shadow: true}\n  - \
                    {id: c}\n";
        let entry = facts::of_yaml(yaml).expect("a declaration");
        let org = entry.org.clone().expect("the org");
        assert_eq!(Values::of_org(&entry).to_org(org.clone()), Ok(org.clone()));
        for workspace in org.workspaces {
            assert_eq!(Values::of_workspace(&workspace).to_workspace(), Ok(workspace));
        }
    }

    #[test]
    fn what_the_template_gives_stays_the_templates() {
        let org =
            Org { id: "x".into(), daily_calls: 15_000, concurrent_calls: 5, ..Org::default() };
        let from_template = vec!["daily_calls".to_owned()];
        let entry = OrgEntry { org: Some(org), from_template, ..OrgEntry::default() };
        let values = Values::of_org(&entry);
        assert_eq!((values.get("daily_calls"), values.get("concurrent_calls")), ("", "5"));
    }

    #[test]
    fn what_somebody_else_has_changed_stays_where_nothing_was_typed() {
        let was = values(&[("daily_calls", "1"), ("preset", ""), ("header_lag", "1s")]);
        let typed = values(&[("daily_calls", "2"), ("preset", ""), ("header_lag", "1s")]);
        let now = values(&[("daily_calls", "3"), ("preset", "calm"), ("header_lag", "")]);
        let expected = values(&[("daily_calls", "2"), ("preset", "calm"), ("header_lag", "")]);
        assert_eq!(typed.rebased(&was, &now), expected);
    }

    #[test]
    fn the_services_fields_are_the_forms() {
        for (field, expected) in [
            ("daily_calls", "daily_calls"),
            ("org.header_lag", "header_lag"),
            ("classes.bulk.resume", "classes.bulk.resume"),
            ("workspace.id", "id"),
            ("workspaces[12].burn_limit.window", "burn_limit.window"),
            ("workspaces[1]", "workspaces[1]"),
            ("execution_user", "execution_user"),
        ] {
            assert_eq!(leaf(field), expected);
        }
        assert_eq!(
            spoken("must be at most `daily_calls_max` (5), is 6, and `x`"),
            "must be at most “Never more than” (5), is 6, and x"
        );
        assert_eq!(spoken("must be at most `pause` (5)"), "must be at most “Pauses at” (5)");
    }
}
