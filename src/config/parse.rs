//! The grammar of the configuration file.

use std::{collections::BTreeMap, sync::LazyLock};

use super::{
    AuthConfig, Config, EnvoyConfig, Fault, OrgDeclaration, Template, UnknownNames, auth, bounds,
    catalogue, declaration, document, envoy,
    faults::Faults,
    fields::{Item, Once},
    webhook,
};
use crate::quota::{Catalogue, OrgId, Unknown};

/// The configuration of an empty file.
static BUILT_IN: LazyLock<Config> = LazyLock::new(|| {
    let nothing = Config {
        unknown: UnknownNames {
            orgs: Unknown::Accept,
            workspaces: Unknown::Accept,
            users: Unknown::Accept,
        },
        template: Template { daily_calls: 15_000, concurrent_calls: 5, reserve_percent: 5 },
        outage_share: 0,
        catalogue: Catalogue::default(),
        orgs: BTreeMap::new(),
        webhook: None,
        envoy: EnvoyConfig::default(),
        auth: AuthConfig::default(),
    };
    parse_over(&nothing, catalogue::BUILT_IN_CATALOGUE)
        .expect("the built-in catalogue is part of the program, and a test reads it")
});

impl Config {
    /// What an empty file says: any org is served with the template's limits
    /// (a Developer Edition's) and the built-in catalogue.
    #[must_use]
    pub fn built_in() -> Self {
        BUILT_IN.clone()
    }

    /// Reads a configuration; what it leaves out is as in
    /// [`Config::built_in`].
    ///
    /// # Errors
    /// Everything that is wrong, in the order of the lines. A text that is not
    /// YAML ends at its first fault, since nothing after it can be relied on.
    pub fn parse(text: &str) -> Result<Self, Vec<Fault>> {
        parse_over(&BUILT_IN, text)
    }
}

/// Reads a configuration whose defaults are `base`.
fn parse_over(base: &Config, text: &str) -> Result<Config, Vec<Fault>> {
    let faults = Faults::default();
    let document = document::read(text, &faults);
    let config = document.map(|node| read(&Item::root(&node, &faults), base));
    faults.into_result(config)
}

fn read(root: &Item<'_>, base: &Config) -> Config {
    let mut config = base.clone();
    if root.is_null() {
        return config;
    }
    let known =
        ["unknown", "template", "outage_share", "catalogue", "orgs", "webhook", "envoy", "auth"];
    let Some(fields) = root.clone().fields(&known) else { return config };
    if let Some(item) = fields.get("unknown") {
        read_unknown(item, &mut config.unknown);
    }
    if let Some(item) = fields.get("template") {
        read_template(item, &mut config.template);
    }
    if let Some(share) =
        fields.get("outage_share").and_then(|item| item.percent(bounds::KEPT_PERCENT))
    {
        config.outage_share = share;
    }
    if let Some(item) = fields.get("catalogue") {
        config.catalogue = catalogue::read(item, &base.catalogue);
    }
    if let Some(item) = fields.get("orgs") {
        config.orgs = read_orgs(&item);
    }
    if let Some(item) = fields.get("webhook") {
        config.webhook = webhook::read(item);
    }
    if let Some(item) = fields.get("envoy") {
        config.envoy = envoy::read(item, &config.catalogue);
    }
    if let Some(auth) = fields.get("auth").and_then(auth::read) {
        config.auth = auth;
    }
    config
}

fn read_unknown(item: Item<'_>, unknown: &mut UnknownNames) {
    let Some(fields) = item.fields(&["orgs", "workspaces", "users"]) else { return };
    let read = |key, accept, place: &mut Unknown| {
        let choices = [(accept, Unknown::Accept), ("refuse", Unknown::Refuse)];
        if let Some(choice) = fields.get(key).and_then(|item| item.choice(&choices)) {
            *place = choice;
        }
    };
    read("orgs", "template", &mut unknown.orgs);
    read("workspaces", "count", &mut unknown.workspaces);
    read("users", "count", &mut unknown.users);
}

fn read_template(item: Item<'_>, template: &mut Template) {
    let known = ["daily_calls", "concurrent_calls", "reserve_percent"];
    let Some(fields) = item.fields(&known) else { return };
    if let Some(number) =
        fields.get("daily_calls").and_then(|item| item.number(bounds::DAILY_CALLS))
    {
        template.daily_calls = number;
    }
    if let Some(number) =
        fields.get("concurrent_calls").and_then(|item| item.number(bounds::CONCURRENT_CALLS))
    {
        template.concurrent_calls = number;
    }
    if let Some(percent) =
        fields.get("reserve_percent").and_then(|item| item.percent(bounds::KEPT_PERCENT))
    {
        template.reserve_percent = percent;
    }
}

fn read_orgs(item: &Item<'_>) -> BTreeMap<OrgId, OrgDeclaration> {
    let mut once = Once::new();
    let mut orgs = BTreeMap::new();
    for item in item.items(bounds::MAX_ORGS).unwrap_or_default() {
        if let Some(org) = declaration::read(item, Some(&mut once)) {
            orgs.insert(org.id.clone(), org);
        }
    }
    orgs
}
