//! What the descriptors of a proxy's requests mean: the grammar of `envoy`.

use std::{collections::BTreeMap, fmt, time::Duration};

use super::{
    bounds,
    fields::{Fields, Item},
};
use crate::quota::{BadId, Catalogue, Class, OperationId, OrgId, UserId, WorkspaceId};

/// What the descriptors of Envoy's rate limit requests mean, by their domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvoyConfig {
    /// By the name that the proxy's filter sends.
    pub domains: BTreeMap<String, EnvoyDomain>,
}

/// What the descriptors of one domain mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvoyDomain {
    /// What becomes of a descriptor that no rule fits.
    pub unmatched: Unmatched,
    /// From a decision until the latest moment at which the request may go out.
    pub permit_ttl: Duration,
    /// How long a request may wait for room, within the proxy's own timeout.
    pub max_wait: Duration,
    /// What the hits of a descriptor count.
    pub hits: Hits,
    /// The first whose conditions hold decides.
    pub rules: Vec<EnvoyRule>,
}

/// What becomes of a descriptor that no rule fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmatched {
    /// Its request is refused: the default.
    Deny,
    /// It charges nothing.
    Allow,
    /// The proxy is answered with an error, and does what it does then.
    Error,
}

/// What the hits of a descriptor count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hits {
    /// Units that its one call takes: the default.
    Cost,
    /// Calls.
    Calls,
}

/// What a descriptor means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvoyRule {
    /// Entries that must be there with these values.
    pub when: Vec<(String, String)>,
    /// Whose limits are charged.
    pub org: Source<OrgId>,
    /// The workspace; `None`: none is charged.
    pub workspace: Option<Source<WorkspaceId>>,
    /// What the request is.
    pub operation: OperationSource,
    /// Who waits for it.
    pub traffic_class: Source<Class>,
    /// The user; `None`: one of the org's pool.
    pub execution_user: Option<Source<UserId>>,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source<T> {
    /// It is always this.
    Fixed(T),
    /// From a descriptor's entry.
    Entry(FromEntry<T>),
}

/// A value out of a descriptor's entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FromEntry<T> {
    /// The entry's key.
    pub key: String,
    /// What the entry's value means; `None`: it is the value itself.
    pub values: Option<BTreeMap<String, T>>,
    /// What an absent entry, or one that `values` does not have, means.
    pub otherwise: Otherwise<T>,
}

/// What an absent entry means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Otherwise<T> {
    /// The rule does not fit.
    Unmatched,
    /// It is empty.
    Empty,
    /// This.
    Value(T),
}

/// What tells the operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperationSource {
    /// Its name.
    Named(Source<OperationId>),
    /// Method and path of the request to Salesforce.
    Request {
        /// The key of the entry with the method.
        method: String,
        /// The key of the entry with the path.
        path: String,
    },
}

/// From the decision to the proxy's upstream request: 1 s for the answer on its
/// way, 1 s for a new connection, and 1 s to spare.
const PERMIT_TTL: Duration = Duration::from_secs(3);

/// As Envoy names them.
const METHOD: &str = ":method";
const PATH: &str = ":path";

const CLASSES: [(&str, Class); 4] = [
    ("bulk", Class::Bulk),
    ("event", Class::Event),
    ("interactive", Class::Interactive),
    ("control", Class::Control),
];

impl Source<Class> {
    /// The traffic class of a text.
    ///
    /// # Errors
    /// A sentence that says which there are.
    pub fn class(text: &str) -> Result<Class, BadId> {
        let named = CLASSES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
        let unknown = || BadId("must be bulk, event, interactive or control".to_owned());
        named.map(|(_, class)| *class).ok_or_else(unknown)
    }
}

pub(super) fn read(item: Item<'_>, catalogue: &Catalogue) -> EnvoyConfig {
    let mut domains = BTreeMap::new();
    let Some(fields) = item.fields(&["domains"]) else { return EnvoyConfig::default() };
    let listed = fields.required("domains", "{salesforce: {rules: [{org: {entry: org}}]}}");
    let listed = listed.map(Item::entries).unwrap_or_default();
    for (at, (name, item)) in listed.into_iter().enumerate() {
        if at == bounds::MAX_ENVOY_DOMAINS {
            item.fault(format!("is one more than {} domains", bounds::MAX_ENVOY_DOMAINS));
            break;
        }
        if let Some(domain) = read_domain(item, catalogue) {
            domains.insert(name.to_owned(), domain);
        }
    }
    EnvoyConfig { domains }
}

fn read_domain(item: Item<'_>, catalogue: &Catalogue) -> Option<EnvoyDomain> {
    let fields = item.fields(&["unmatched", "permit_ttl", "max_wait", "hits_addend", "rules"])?;
    let unmatched = match fields.get("unmatched") {
        Some(item) => item.choice(&[
            ("deny", Unmatched::Deny),
            ("allow", Unmatched::Allow),
            ("error", Unmatched::Error),
        ]),
        None => Some(Unmatched::Deny),
    };
    let hits = match fields.get("hits_addend") {
        Some(item) => item.choice(&[("cost", Hits::Cost), ("calls", Hits::Calls)]),
        None => Some(Hits::Cost),
    };
    let permit_ttl = match fields.get("permit_ttl") {
        Some(item) => item.duration(bounds::ENVOY_PERMIT_TTL),
        None => Some(PERMIT_TTL),
    };
    let max_wait = match fields.get("max_wait") {
        Some(item) => item.duration(bounds::ENVOY_MAX_WAIT),
        None => Some(Duration::ZERO),
    };
    let rules = fields.required("rules", "[{org: {entry: org}}]").and_then(|item| {
        let items = item.items(bounds::MAX_ENVOY_RULES)?;
        if items.is_empty() {
            item.fault("must have at least one rule, for example {org: {entry: org}}");
        }
        items.into_iter().map(|item| read_rule(item, catalogue)).collect::<Option<Vec<_>>>()
    });
    Some(EnvoyDomain {
        unmatched: unmatched?,
        permit_ttl: permit_ttl?,
        max_wait: max_wait?,
        hits: hits?,
        rules: rules?,
    })
}

fn read_rule(item: Item<'_>, catalogue: &Catalogue) -> Option<EnvoyRule> {
    let known = ["when", "org", "workspace", "operation", "traffic_class", "execution_user"];
    let fields = item.fields(&known)?;
    let when = match fields.get("when") {
        Some(item) => item
            .entries()
            .into_iter()
            .map(|(key, item)| Some((key.to_owned(), read_text(&item)?)))
            .collect(),
        None => Some(Vec::new()),
    };
    let org = fields.required("org", "{entry: org}");
    let org = org.and_then(|item| read_source(item, OrgId::parse, false));
    let workspace = read_optional(&fields, "workspace", WorkspaceId::parse);
    let user = read_optional(&fields, "execution_user", UserId::parse);
    let class = match fields.get("traffic_class") {
        Some(item) => read_source(item, Source::class, false),
        None => Some(Source::Fixed(Class::Event)),
    };
    let operation = match fields.get("operation") {
        Some(item) => read_operation(item, catalogue),
        None => Some(OperationSource::Request { method: METHOD.into(), path: PATH.into() }),
    };
    Some(EnvoyRule {
        when: when?,
        org: org?,
        workspace: workspace?,
        operation: operation?,
        traffic_class: class?,
        execution_user: user?,
    })
}

/// `{entry: KEY}` and `NAME` are names; `{method: KEY, path: KEY}` is a request.
fn read_operation(item: Item<'_>, catalogue: &Catalogue) -> Option<OperationSource> {
    // Which of the two it is must be known before its keys are checked.
    let is_request = item.has_any_key(&["method", "path"]);
    if !is_request {
        let parse = |text: &str| {
            let id = OperationId::parse(text)?;
            let unknown = || BadId("must be an operation of the catalogue".to_owned());
            catalogue.operations.contains_key(&id).then_some(id).ok_or_else(unknown)
        };
        return read_source(item, parse, false).map(OperationSource::Named);
    }
    let fields = item.fields(&["method", "path"])?;
    let key = |name, default: &str| match fields.get(name) {
        Some(item) => read_text(&item),
        None => Some(default.to_owned()),
    };
    let (method, path) = (key("method", METHOD), key("path", PATH));
    Some(OperationSource::Request { method: method?, path: path? })
}

/// The outer option is the check's, the inner one the field's.
fn read_optional<T: Clone>(
    fields: &Fields<'_>,
    key: &str,
    parse: fn(&str) -> Result<T, BadId>,
) -> Option<Option<Source<T>>> {
    match fields.get(key) {
        Some(item) => read_source(item, parse, true).map(Some),
        None => Some(None),
    }
}

fn read_source<T: Clone, E: fmt::Display>(
    item: Item<'_>,
    parse: impl Fn(&str) -> Result<T, E>,
    may_be_empty: bool,
) -> Option<Source<T>> {
    if !item.is_mapping() {
        return item.parsed(parse).map(Source::Fixed);
    }
    let known: &[&str] = if may_be_empty {
        &["entry", "values", "default", "optional"]
    } else {
        &["entry", "values", "default"]
    };
    let fields = item.fields(known)?;
    let key = fields.required("entry", "org").and_then(|item| read_text(&item));
    let values = match fields.get("values") {
        Some(item) => {
            let entries = item.entries().into_iter();
            let read = entries.map(|(name, item)| Some((name.to_owned(), item.parsed(&parse)?)));
            Some(read.collect::<Option<BTreeMap<_, _>>>()?)
        }
        None => None,
    };
    let default = match fields.get("default") {
        Some(item) => Some(item.parsed(&parse)?),
        None => None,
    };
    let optional = fields.get("optional").map_or(Some(false), |item| item.boolean())?;
    let otherwise = match (default, optional) {
        (Some(_), true) => {
            fields.item().fault("must not have both `default` and `optional`: remove one of them");
            return None;
        }
        (Some(value), false) => Otherwise::Value(value),
        (None, true) => Otherwise::Empty,
        (None, false) => Otherwise::Unmatched,
    };
    Some(Source::Entry(FromEntry { key: key?, values, otherwise }))
}

fn read_text(item: &Item<'_>) -> Option<String> {
    item.parsed(|text| match text {
        "" => Err("must not be empty"),
        text => Ok(text.to_owned()),
    })
}

#[cfg(test)]
mod tests;
