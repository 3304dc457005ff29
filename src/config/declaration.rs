//! The declaration of an org: the same grammar and the same rules in the file,
//! in the store and in the administration API.

use std::fmt::Write as _;

use super::{
    Fault, OrgDeclaration, PartialClasses, Template, WorkspaceDeclaration, bounds, document,
    faults::Faults,
    fields::{Item, Once},
};
use crate::{
    duration,
    quota::{BurnLimit, ClassPolicy, OrgId, Thresholds, UserId, WorkspaceId, figures::thousands},
};

impl OrgDeclaration {
    /// Everything that is wrong with a declaration from elsewhere than a file;
    /// fields are named from the org on: `workspaces[1].daily_calls`.
    #[must_use]
    pub fn check(&self) -> Vec<Fault> {
        // Written down and read again: one set of rules, and whatever passes
        // can be stored.
        let faults = Self::from_yaml(&self.to_yaml()).err().unwrap_or_default();
        faults.into_iter().map(|fault| Fault { line: None, ..fault }).collect()
    }

    /// Reads one declaration, as [`OrgDeclaration::to_yaml`] writes it.
    ///
    /// # Errors
    /// Everything that is wrong, in the order of the lines.
    pub fn from_yaml(text: &str) -> Result<Self, Vec<Fault>> {
        let faults = Faults::default();
        let document = document::read(text, &faults);
        let org = document.and_then(|node| read(Item::root(&node, &faults), None));
        faults.into_result(org)
    }

    /// The declaration as YAML: an entry of the file's `orgs`. What is absent
    /// is left out.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        let mut lines = vec![format!("id: {}", scalar(self.id.as_str()))];
        let mut line = |key: &str, value: Option<String>| {
            lines.extend(value.map(|value| format!("{key}: {value}")));
        };
        line("daily_calls", self.daily_calls.map(|number| number.to_string()));
        line("daily_calls_max", self.daily_calls_max.map(|number| number.to_string()));
        line("concurrent_calls", self.concurrent_calls.map(|number| number.to_string()));
        line("reserve_percent", self.reserve_percent.map(|percent| percent.to_string()));
        line("header_lag", self.header_lag.map(duration::format));
        line("preset", self.preset.as_deref().map(scalar));
        line("classes", classes_to_yaml(&self.classes));
        if !self.execution_users.is_empty() {
            let users: Vec<String> =
                self.execution_users.iter().map(|user| scalar(user.as_str())).collect();
            line("execution_users", Some(format!("[{}]", users.join(", "))));
        }
        if !self.workspaces.is_empty() {
            lines.push("workspaces:".to_owned());
            lines.extend(self.workspaces.iter().map(workspace_to_yaml));
        }
        lines.push(String::new());
        lines.join("\n")
    }

    /// What is allowed, but an operator should know: sentences.
    #[must_use]
    pub fn warnings(&self, template: &Template) -> Vec<String> {
        let total = self.daily_calls_or(template);
        let mut warnings = Vec::new();
        for workspace in &self.workspaces {
            if let Some(cap) = workspace.daily_calls.filter(|cap| *cap > total) {
                warnings.push(format!(
                    "The cap of workspace {} ({}) is above the org's total ({}): it is \
                     never reached.",
                    workspace.id,
                    thousands(cap),
                    thousands(total)
                ));
            }
        }
        let caps: u64 = self
            .workspaces
            .iter()
            .filter_map(|workspace| workspace.daily_calls)
            .fold(0, u64::saturating_add);
        if caps > total {
            warnings.push(format!(
                "The caps of the workspaces add up to {}, more than the org's total \
                 ({}): they cannot all be used up within a day.",
                thousands(caps),
                thousands(total)
            ));
        }
        let guaranteed: u64 = self
            .workspaces
            .iter()
            .filter_map(|workspace| workspace.guaranteed_calls)
            .fold(0, u64::saturating_add);
        let percent = self.reserve_percent.unwrap_or(template.reserve_percent);
        let reserve = u128::from(total) * u128::from(percent) / 100;
        if u128::from(guaranteed) + reserve > u128::from(total) {
            warnings.push(format!(
                "The guarantees of the workspaces add up to {}, more than the org's \
                 total ({}) less the reserve ({}): not all of them can be kept, and \
                 nothing is left for anybody else.",
                thousands(guaranteed),
                thousands(total),
                thousands(u64::try_from(reserve).unwrap_or(u64::MAX))
            ));
        }
        warnings
    }

    /// The org's total, until the first reading.
    pub(super) fn daily_calls_or(&self, template: &Template) -> u64 {
        let daily_calls = self.daily_calls.unwrap_or(template.daily_calls);
        daily_calls.min(self.daily_calls_max.unwrap_or(u64::MAX))
    }
}

/// Reads a declaration; `orgs` are the ids that others have taken. `None` where
/// it has no id of its own; other faults leave their values out.
pub fn read(item: Item<'_>, orgs: Option<&mut Once<OrgId>>) -> Option<OrgDeclaration> {
    let known = [
        "id",
        "daily_calls",
        "daily_calls_max",
        "concurrent_calls",
        "reserve_percent",
        "header_lag",
        "execution_users",
        "workspaces",
        "preset",
        "classes",
    ];
    let fields = item.fields(&known)?;
    let id = fields.required("id", "00D000000000001EAA").and_then(|item| {
        let id = item.parsed(OrgId::parse)?;
        orgs.is_none_or(|once| once.take(&id, &item)).then_some(id)
    });
    let number = |key, range| fields.get(key).and_then(|item: Item<'_>| item.number(range));
    let daily_calls = number("daily_calls", bounds::DAILY_CALLS);
    let daily_calls_max = number("daily_calls_max", bounds::DAILY_CALLS);
    if let (Some(most), Some(declared), Some(item)) =
        (daily_calls_max, daily_calls, fields.get("daily_calls"))
        && declared > most
    {
        item.fault(format!("must be at most `daily_calls_max` ({most}), is {declared}"));
    }
    let concurrent_calls = number("concurrent_calls", bounds::CONCURRENT_CALLS);
    let reserve_percent =
        fields.get("reserve_percent").and_then(|item| item.percent(bounds::KEPT_PERCENT));
    let header_lag = fields.get("header_lag").and_then(|item| item.duration(bounds::HEADER_LAG));
    let execution_users = fields.get("execution_users").map(|item| read_users(&item));
    let workspaces = fields.get("workspaces").map(|item| read_workspaces(&item));
    let preset = fields.get("preset").and_then(|item| read_preset(&item));
    let classes = fields.get("classes").map(read_classes);
    Some(OrgDeclaration {
        id: id?,
        daily_calls,
        daily_calls_max,
        concurrent_calls,
        reserve_percent,
        header_lag,
        execution_users: execution_users.unwrap_or_default(),
        workspaces: workspaces.unwrap_or_default(),
        preset,
        classes: classes.unwrap_or_default(),
    })
}

fn read_users(item: &Item<'_>) -> Vec<UserId> {
    let mut once = Once::new();
    let items = item.items(bounds::MAX_EXECUTION_USERS).unwrap_or_default();
    items
        .iter()
        .filter_map(|item| item.parsed(UserId::parse).filter(|user| once.take(user, item)))
        .collect()
}

fn read_workspaces(item: &Item<'_>) -> Vec<WorkspaceDeclaration> {
    let mut once = Once::new();
    let items = item.items(bounds::MAX_WORKSPACES).unwrap_or_default();
    items.into_iter().filter_map(|item| read_workspace(item, &mut once)).collect()
}

fn read_workspace(item: Item<'_>, once: &mut Once<WorkspaceId>) -> Option<WorkspaceDeclaration> {
    let known = [
        "id",
        "daily_calls",
        "preset",
        "classes",
        "weight",
        "guaranteed_calls",
        "burn_limit",
        "shadow",
    ];
    let fields = item.fields(&known)?;
    let id = fields.required("id", "acme-eu").and_then(|item| {
        item.parsed(WorkspaceId::parse).filter(|workspace| once.take(workspace, &item))
    });
    let daily_calls = fields.get("daily_calls").and_then(|item| item.number(bounds::DAILY_CALLS));
    let preset = fields.get("preset").and_then(|item| read_preset(&item));
    let classes = fields.get("classes").map(read_classes).unwrap_or_default();
    let weight = fields.get("weight").and_then(|item| item.number(bounds::WEIGHT));
    let guaranteed_calls =
        fields.get("guaranteed_calls").and_then(|item| item.number(bounds::DAILY_CALLS));
    if let (Some(cap), Some(guaranteed), Some(item)) =
        (daily_calls, guaranteed_calls, fields.get("guaranteed_calls"))
        && guaranteed > cap
    {
        item.fault(format!(
            "must be at most `daily_calls` ({cap}), is {guaranteed}: what is above the cap would \
             be kept for nobody"
        ));
    }
    let burn_limit = fields.get("burn_limit").and_then(read_burn_limit);
    let shadow = fields.get("shadow").and_then(|item| item.boolean());
    Some(WorkspaceDeclaration {
        id: id?,
        daily_calls,
        preset,
        classes,
        weight: weight.and_then(|weight| u32::try_from(weight).ok()),
        guaranteed_calls,
        burn_limit,
        shadow: shadow.unwrap_or(false),
    })
}

fn read_burn_limit(item: Item<'_>) -> Option<BurnLimit> {
    let fields = item.fields(&["calls", "window"])?;
    let calls = fields.required("calls", "10000").and_then(|item| item.number(bounds::DAILY_CALLS));
    let window =
        fields.required("window", "30m").and_then(|item| item.duration(bounds::BURN_WINDOW));
    Some(BurnLimit { calls: calls?, window: window? })
}

fn read_preset(item: &Item<'_>) -> Option<String> {
    item.choice(&ClassPolicy::PRESETS.map(|name| (name, name))).map(str::to_owned)
}

fn read_classes(item: Item<'_>) -> PartialClasses {
    let Some(fields) = item.fields(&["bulk", "event", "interactive"]) else {
        return PartialClasses::default();
    };
    let read = |class| fields.get(class).and_then(read_thresholds);
    PartialClasses { bulk: read("bulk"), event: read("event"), interactive: read("interactive") }
}

fn read_thresholds(item: Item<'_>) -> Option<Thresholds> {
    let fields = item.fields(&["pause", "resume"])?;
    let read = |key, example| {
        fields.required(key, example).and_then(|item| item.percent(bounds::THRESHOLD_PERCENT))
    };
    let (pause, resume) = (read("pause", "80"), read("resume", "60"));
    let thresholds = Thresholds { pause: pause?, resume: resume? };
    if thresholds.resume > thresholds.pause {
        let (pause, resume) = (thresholds.pause, thresholds.resume);
        fields.get("resume")?.fault(format!("must be at most `pause` ({pause}), is {resume}"));
        return None;
    }
    Some(thresholds)
}

fn workspace_to_yaml(workspace: &WorkspaceDeclaration) -> String {
    let burn_limit = workspace.burn_limit.map(|BurnLimit { calls, window }| {
        format!("burn_limit: {{calls: {calls}, window: {}}}", duration::format(window))
    });
    let parts = [
        Some(format!("id: {}", scalar(workspace.id.as_str()))),
        workspace.daily_calls.map(|number| format!("daily_calls: {number}")),
        workspace.preset.as_deref().map(|name| format!("preset: {}", scalar(name))),
        classes_to_yaml(&workspace.classes).map(|classes| format!("classes: {classes}")),
        workspace.weight.map(|number| format!("weight: {number}")),
        workspace.guaranteed_calls.map(|number| format!("guaranteed_calls: {number}")),
        burn_limit,
        workspace.shadow.then(|| "shadow: true".to_owned()),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    format!("  - {{{}}}", parts.join(", "))
}

fn classes_to_yaml(classes: &PartialClasses) -> Option<String> {
    let parts =
        [("bulk", classes.bulk), ("event", classes.event), ("interactive", classes.interactive)];
    let parts: Vec<String> = parts
        .into_iter()
        .filter_map(|(name, thresholds)| {
            let Thresholds { pause, resume } = thresholds?;
            Some(format!("{name}: {{pause: {pause}, resume: {resume}}}"))
        })
        .collect();
    (!parts.is_empty()).then(|| format!("{{{}}}", parts.join(", ")))
}

/// A text as a YAML scalar that every reader, of YAML 1.1 or 1.2, takes for the
/// same text: quoted unless it is plainly a name.
pub fn scalar(text: &str) -> String {
    const WORDS: [&str; 11] =
        ["null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf"];
    let is_name = text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        && text.bytes().any(|b| b.is_ascii_alphabetic())
        && text.parse::<f64>().is_err()
        && !["0x", "0o", "0b"].iter().any(|prefix| text.starts_with(prefix))
        && !WORDS.iter().any(|word| word.eq_ignore_ascii_case(text));
    if is_name {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            ' '..='~' => quoted.push(c),
            c if c.is_alphanumeric() => quoted.push(c),
            c => {
                let code = u32::from(c);
                // Writing to a String cannot fail.
                let _ = if code <= 0xffff {
                    write!(quoted, "\\u{code:04x}")
                } else {
                    write!(quoted, "\\U{code:08x}")
                };
            }
        }
    }
    quoted.push('"');
    quoted
}
