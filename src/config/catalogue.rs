//! The catalogue in YAML: which limits each operation charges.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    bounds,
    declaration::scalar,
    fields::{Fields, Item},
};
use crate::{
    duration,
    quota::{
        Catalogue, Charge, Kind, LimitName, Operation, OperationId, Scope,
        catalogue::{Cost, DEFAULT_MAX_DURATION, Max},
    },
};

const SCOPES: [(&str, Scope); 3] = [
    ("org", Scope::Org),
    ("workspace", Scope::Workspace),
    ("execution_user", Scope::ExecutionUser),
];
const KINDS: [(&str, Kind); 2] = [("window", Kind::Window), ("concurrency", Kind::Concurrency)];
const COSTS: [(&str, Cost); 2] = [("one", Cost::One), ("request", Cost::Request)];

/// The built-in catalogue as YAML, with the source of each number in comments;
/// what `quotagate check --print-catalogue` prints where no file is given.
pub const BUILT_IN_CATALOGUE: &str = include_str!("catalogue.yaml");

/// The catalogue as YAML that [`super::Config::parse`] reads again.
#[must_use]
pub fn print_catalogue(catalogue: &Catalogue) -> String {
    let mut lines = vec!["catalogue:".to_owned()];
    for (name, operation) in &catalogue.operations {
        lines.push(format!("  {}:", scalar(name.as_str())));
        lines.push("    charges:".to_owned());
        lines.extend(operation.charges.iter().map(|charge| format!("      - {}", print(charge))));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// Reads operations that add to and override those of `base`.
pub fn read(item: Item<'_>, base: &Catalogue) -> Catalogue {
    let mut overridden = BTreeSet::new();
    let mut added = Vec::new();
    for (name, item) in item.entries() {
        let charges = read_operation(item.clone());
        match OperationId::parse(name) {
            Ok(id) => {
                overridden.insert(id.clone());
                added.extend(charges.map(|charges| (id, charges)));
            }
            Err(error) => item.fault(format!("as an operation's name {error}")),
        }
    }
    let mut catalogue = base.clone();
    catalogue.operations.retain(|id, _| !overridden.contains(id));
    let mut definitions = Definitions::default();
    for (id, operation) in &catalogue.operations {
        for charge in &operation.charges {
            definitions.take(id, charge, None);
        }
    }
    for (id, charges) in added {
        for (charge, item) in &charges {
            definitions.take(&id, charge, Some(item));
        }
        let charges = charges.into_iter().map(|(charge, _)| charge).collect();
        catalogue.operations.insert(id, Operation { charges });
    }
    catalogue
}

/// A charge with the place to name in faults.
type Placed<'n> = (Charge, Item<'n>);

fn read_operation(item: Item<'_>) -> Option<Vec<Placed<'_>>> {
    let fields = item.fields(&["charges", "also_charge"])?;
    let mut charges: Vec<Placed<'_>> = Vec::new();
    let listed = fields
        .required("charges", "[{limit: calls, scope: org}]")
        .and_then(|item| Some((item.items(bounds::MAX_CHARGES)?, item)));
    if let Some((items, list)) = &listed {
        if items.is_empty() {
            list.fault("must name at least one limit, for example {limit: calls, scope: org}");
        }
        for item in items {
            let Some(charge) = read_charge(item.clone()) else { continue };
            let same = |other: &&Placed<'_>| {
                (&other.0.limit, other.0.scope) == (&charge.limit, charge.scope)
            };
            match charges.iter().find(same) {
                Some((_, first)) => item.fault(format!(
                    "charges the same limit as `{}`: remove one of the two",
                    first.path()
                )),
                None => charges.push((charge, item.clone())),
            }
        }
    }
    if let Some(item) = fields.get("also_charge")
        && item.boolean() == Some(true)
    {
        if charges.iter().any(|(charge, _)| charge.is_org_total()) {
            item.fault("must not be `true` where `calls` of the org is among the charges");
        }
        charges.push((Charge::org_total(), item));
    }
    listed.map(|_| charges)
}

fn read_charge(item: Item<'_>) -> Option<Charge> {
    let known = ["limit", "scope", "kind", "max", "window", "max_duration", "cost", "shadow"];
    let fields = item.fields(&known)?;
    let limit = fields.required("limit", "calls").and_then(|item| item.parsed(LimitName::parse));
    let scope = fields.required("scope", "org").and_then(|item| item.choice(&SCOPES));
    let kind = match fields.get("kind") {
        Some(item) => item.choice(&KINDS),
        None => Some(Kind::Window),
    };
    let cost = match fields.get("cost") {
        Some(item) => item.choice(&COSTS),
        None => Some(Cost::One),
    };
    let shadow = match fields.get("shadow") {
        Some(item) => item.boolean(),
        None => Some(false),
    };
    if limit == Some(LimitName::calls()) && scope == Some(Scope::Org) {
        let charge = read_org_total(&fields, kind?, cost?)?;
        return Some(Charge { shadow: shadow?, ..charge });
    }
    for (name, instead) in OWN_OF_WORKSPACES {
        if limit.as_ref().is_some_and(|limit| limit.as_str() == name)
            && scope == Some(Scope::Workspace)
        {
            fields.item().fault(format!("must not name the workspace's `{name}`: {instead}"));
            return None;
        }
    }
    let charge = match kind? {
        Kind::Window => read_window(&fields, limit, scope, cost),
        Kind::Concurrency => read_slots(&fields, limit, scope, cost),
    };
    Some(Charge { shadow: shadow?, ..charge? })
}

/// Limits that workspaces have by what is declared for them, with what to do
/// instead of charging them.
const OWN_OF_WORKSPACES: [(&str, &str); 2] = [
    ("calls", "a named workspace is charged by every operation"),
    ("burn", "declare it as the workspace's `burn_limit`, or use another name"),
];

/// `{limit: calls, scope: org}`: everything else about it follows from the org.
fn read_org_total(fields: &Fields<'_>, kind: Kind, cost: Cost) -> Option<Charge> {
    let mut good = refuse(
        fields,
        &["max", "window", "max_duration"],
        "must be left out: `calls` of the org is its `daily_calls` in any 24 hours",
    );
    if kind != Kind::Window {
        good &= refuse(fields, &["kind"], "must be `window`: `calls` of the org is its total");
    }
    if cost != Cost::Request {
        good &= refuse(fields, &["cost"], "must be `request`: the org's total takes the cost");
    }
    good.then(Charge::org_total)
}

fn read_window(
    fields: &Fields<'_>,
    limit: Option<LimitName>,
    scope: Option<Scope>,
    cost: Option<Cost>,
) -> Option<Charge> {
    let max = fields.required("max", "90").and_then(|item| item.number(bounds::LIMIT_MAX));
    let window = fields.required("window", "1m").and_then(|item| item.duration(bounds::WINDOW));
    let good = refuse(
        fields,
        &["max_duration"],
        "must be left out: it belongs to `kind: concurrency`; a window has `window`",
    );
    let charge = Charge {
        limit: limit?,
        scope: scope?,
        kind: Kind::Window,
        max: Max::Fixed(max?),
        window: window?,
        cost: cost?,
        shadow: false,
    };
    good.then_some(charge)
}

fn read_slots(
    fields: &Fields<'_>,
    limit: Option<LimitName>,
    scope: Option<Scope>,
    cost: Option<Cost>,
) -> Option<Charge> {
    let max = match (fields.get("max"), scope) {
        (Some(item), _) => item.number(bounds::CONCURRENT_CALLS).map(Max::Fixed),
        (None, Some(Scope::Org)) => Some(Max::OrgConcurrent),
        (None, Some(_)) => fields.required("max", "10").and(None),
        (None, None) => None,
    };
    let max_duration = match fields.get("max_duration") {
        Some(item) => item.duration(bounds::MAX_DURATION),
        None => Some(DEFAULT_MAX_DURATION),
    };
    let mut good = refuse(
        fields,
        &["window"],
        "must be left out: it belongs to `kind: window`; slots have `max_duration`",
    );
    if cost == Some(Cost::Request) {
        good &= refuse(fields, &["cost"], "must be `one`: a call takes one slot");
    }
    let charge = Charge {
        limit: limit?,
        scope: scope?,
        kind: Kind::Concurrency,
        max: max?,
        window: max_duration?,
        cost: cost?,
        shadow: false,
    };
    good.then_some(charge)
}

/// Adds a fault for each of the keys that is there; true if none is.
fn refuse(fields: &Fields<'_>, keys: &[&str], message: &str) -> bool {
    let present = keys.iter().filter_map(|key| fields.get(key));
    present.map(|item| item.fault(message)).count() == 0
}

/// One limit has one definition, whichever operation charges it.
#[derive(Default)]
struct Definitions {
    limits: BTreeMap<(LimitName, Scope), Definition>,
    /// The limit that stands for the org's slots, and an operation that says so.
    org_slots: Option<(LimitName, OperationId)>,
}

struct Definition {
    kind: Kind,
    max: Max,
    window: Duration,
    shadow: bool,
    operation: OperationId,
}

impl Definitions {
    /// Takes the definition in a charge; a contradiction is a fault at `item`,
    /// which is absent for the catalogue that was there before.
    fn take(&mut self, operation: &OperationId, charge: &Charge, item: Option<&Item<'_>>) {
        let definition =
            self.limits.entry((charge.limit.clone(), charge.scope)).or_insert_with(|| Definition {
                kind: charge.kind,
                max: charge.max,
                window: charge.window,
                shadow: charge.shadow,
                operation: operation.clone(),
            });
        let same = (definition.kind, definition.max, definition.window, definition.shadow)
            == (charge.kind, charge.max, charge.window, charge.shadow);
        if let (false, Some(item)) = (same, item) {
            item.fault(format!(
                "contradicts operation `{}`, which charges the same limit as {}: use the same \
                 numbers in both, or another name for the limit",
                definition.operation,
                print(&Charge {
                    kind: definition.kind,
                    max: definition.max,
                    window: definition.window,
                    shadow: definition.shadow,
                    ..charge.clone()
                }),
            ));
        }
        if charge.max != Max::OrgConcurrent {
            return;
        }
        let slots = self.org_slots.get_or_insert_with(|| (charge.limit.clone(), operation.clone()));
        if let (true, Some(item)) = (slots.0 != charge.limit, item) {
            let (name, operation) = slots;
            item.fault(format!(
                "the org's slots are named `{name}` already, by operation `{operation}`: use that \
                 name, or give this limit a `max` of its own"
            ));
        }
    }
}

fn print(charge: &Charge) -> String {
    let mut parts = vec![
        format!("limit: {}", scalar(charge.limit.as_str())),
        format!("scope: {}", name_of(&SCOPES, charge.scope)),
    ];
    if !charge.is_org_total() {
        if charge.kind != Kind::Window {
            parts.push(format!("kind: {}", name_of(&KINDS, charge.kind)));
        }
        if let Max::Fixed(max) = charge.max {
            parts.push(format!("max: {max}"));
        }
        let length = match charge.kind {
            Kind::Window => "window",
            Kind::Concurrency => "max_duration",
        };
        parts.push(format!("{length}: {}", duration::format(charge.window)));
        if charge.cost != Cost::One {
            parts.push(format!("cost: {}", name_of(&COSTS, charge.cost)));
        }
    }
    if charge.shadow {
        parts.push("shadow: true".to_owned());
    }
    format!("{{{}}}", parts.join(", "))
}

fn name_of<T: PartialEq>(names: &[(&'static str, T)], value: T) -> &'static str {
    names.iter().find(|(_, named)| *named == value).map_or("", |(name, _)| name)
}
