//! What a descriptor asks for, by the rules of its domain.

use crate::{
    config::envoy::{EnvoyDomain, EnvoyRule, FromEntry, Hits, OperationSource, Otherwise, Source},
    proto::{
        envoy::extensions::common::ratelimit::v3::{
            RateLimitDescriptor, rate_limit_descriptor::Entry,
        },
        v1::AcquireRequest,
    },
    quota::{BadId, OperationId, OrgId, UserId, WorkspaceId, salesforce::requests::ApiCall},
    rpc::convert::{quota::wire_class, wire_duration},
};

/// What a descriptor means.
#[derive(Debug, PartialEq)]
pub enum Meaning {
    /// This is asked for.
    Ask(Box<AcquireRequest>),
    /// The request is no call that Salesforce counts.
    Free,
    /// No rule fits; why not.
    Unmatched(String),
    /// What a rule takes from it cannot be; why not. Callers may have put it
    /// there: it never lets a request pass.
    Faulty(String),
}

/// What `descriptor` means; `hits` are its request's, 0 if it has none.
pub fn meaning(domain: &EnvoyDomain, descriptor: &RateLimitDescriptor, hits: u32) -> Meaning {
    let entries = Entries(&descriptor.entries);
    let Some(rule) = domain.rules.iter().find(|rule| entries.fit(rule)) else {
        return Meaning::Unmatched("no rule has conditions that hold".to_owned());
    };
    let asked = hits_of(descriptor, hits).and_then(|hits| ask(domain, rule, entries, hits));
    match asked {
        Ok(Some(ask)) => Meaning::Ask(Box::new(ask)),
        Ok(None) => Meaning::Free,
        Err(Stray::Unmatched(why)) => Meaning::Unmatched(why),
        Err(Stray::Faulty(why)) => Meaning::Faulty(why),
    }
}

/// Why a rule makes nothing of a descriptor.
enum Stray {
    Unmatched(String),
    Faulty(String),
}

/// The number of hits where one is given.
fn hits_of(descriptor: &RateLimitDescriptor, of_request: u32) -> Result<Option<u32>, Stray> {
    const MOST: u64 = 10_000;
    if descriptor.is_negative_hits {
        let why = "is_negative_hits: a call that was made cannot be given back";
        return Err(Stray::Faulty(why.to_owned()));
    }
    let given = (of_request > 0).then(|| u64::from(of_request));
    match descriptor.hits_addend.or(given) {
        None => Ok(None),
        Some(hits @ 1..=MOST) => Ok(u32::try_from(hits).ok()),
        Some(hits) => Err(Stray::Faulty(format!("hits_addend: must be 1 to {MOST}, is {hits}"))),
    }
}

fn ask(
    domain: &EnvoyDomain,
    rule: &EnvoyRule,
    entries: Entries<'_>,
    hits: Option<u32>,
) -> Result<Option<AcquireRequest>, Stray> {
    let Some((operation, most_units)) = operation(&rule.operation, entries)? else {
        return Ok(None);
    };
    let org = required("org", &rule.org, entries, OrgId::parse)?;
    let workspace = optional("workspace", rule.workspace.as_ref(), entries, WorkspaceId::parse)?;
    let user = optional("execution_user", rule.execution_user.as_ref(), entries, UserId::parse)?;
    let class = required("traffic_class", &rule.traffic_class, entries, Source::class)?;
    let (calls, cost) = match domain.hits {
        Hits::Cost => (1, hits.unwrap_or(most_units)),
        Hits::Calls => (hits.unwrap_or(1), most_units),
    };
    Ok(Some(AcquireRequest {
        org: org.as_str().to_owned(),
        workspace: workspace.map(|id| id.as_str().to_owned()).unwrap_or_default(),
        operation,
        execution_user: user.map(|id| id.as_str().to_owned()).unwrap_or_default(),
        traffic_class: wire_class(class).into(),
        calls,
        cost,
        max_wait: Some(wire_duration(domain.max_wait)),
        permit_ttl: Some(wire_duration(domain.permit_ttl)),
        ..AcquireRequest::default()
    }))
}

/// The operation, and the most units that one call of it takes; `None` for what
/// is not counted.
fn operation(
    source: &OperationSource,
    entries: Entries<'_>,
) -> Result<Option<(String, u32)>, Stray> {
    match source {
        OperationSource::Named(source) => {
            let id = required("operation", source, entries, OperationId::parse)?;
            Ok(Some((id.as_str().to_owned(), 1)))
        }
        OperationSource::Request { method, path } => {
            let text = |key| entries.get(key).ok_or_else(|| absent("operation", key));
            let call = ApiCall::of(text(method)?, text(path)?);
            Ok(call.map(|call| (call.operation.to_owned(), call.most_units)))
        }
    }
}

fn required<T: Clone>(
    what: &str,
    source: &Source<T>,
    entries: Entries<'_>,
    parse: fn(&str) -> Result<T, BadId>,
) -> Result<T, Stray> {
    let empty = || Stray::Unmatched(format!("{what}: is empty"));
    optional(what, Some(source), entries, parse)?.ok_or_else(empty)
}

fn optional<T: Clone>(
    what: &str,
    source: Option<&Source<T>>,
    entries: Entries<'_>,
    parse: fn(&str) -> Result<T, BadId>,
) -> Result<Option<T>, Stray> {
    let FromEntry { key, values, otherwise } = match source {
        None => return Ok(None),
        Some(Source::Fixed(value)) => return Ok(Some(value.clone())),
        Some(Source::Entry(from)) => from,
    };
    let known = match (entries.get(key), values) {
        (Some(text), None) => {
            let value = parse(text);
            Some(value.map_err(|bad| Stray::Faulty(format!("{what}: {bad}")))?)
        }
        (Some(text), Some(values)) => values.get(text).cloned(),
        (None, _) => None,
    };
    match (known, otherwise) {
        (Some(value), _) => Ok(Some(value)),
        (None, Otherwise::Value(value)) => Ok(Some(value.clone())),
        (None, Otherwise::Empty) => Ok(None),
        (None, Otherwise::Unmatched) => Err(absent(what, key)),
    }
}

fn absent(what: &str, key: &str) -> Stray {
    Stray::Unmatched(format!("{what}: the descriptor has no entry {key:?} that tells it"))
}

/// The entries of a descriptor. Of several with one key the first counts.
#[derive(Clone, Copy)]
struct Entries<'d>(&'d [Entry]);

impl<'d> Entries<'d> {
    /// The value of an entry; an empty one is none.
    fn get(self, key: &str) -> Option<&'d str> {
        let entry = self.0.iter().find(|entry| entry.key == key)?;
        Some(entry.value.as_str()).filter(|value| !value.is_empty())
    }

    fn fit(self, rule: &EnvoyRule) -> bool {
        rule.when.iter().all(|(key, value)| self.get(key) == Some(value))
    }
}

#[cfg(test)]
mod tests;
