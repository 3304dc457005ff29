//! Who makes a request, as far as it was proved.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use super::rules::{Action, Rules, Verb};

/// Who somebody is, in the form in which rules name them:
///
/// | proved by | name |
/// |---|---|
/// | a client certificate with a SPIFFE ID | the ID: `spiffe://prod/ns/inbox/sa/sender` |
/// | a client certificate with a DNS name | `dns:inbox.example.com` |
/// | a JWT of the issuer configured as `k8s` | `oidc:k8s:` and the subject |
/// | a static token called `ci` | `token:ci` |
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Principal(Arc<str>);

impl Principal {
    /// Longer names are nobody's: they stand in records and logs.
    pub const MAX_BYTES: usize = 255;

    /// A name, if it is one: 1 to 255 bytes of printable ASCII without blanks.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let good = (1..=Self::MAX_BYTES).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_graphic());
        good.then(|| Self(name.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same text, shared.
    #[must_use]
    pub fn to_shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who makes a request, and the rules that held when it came.
#[derive(Clone, Debug)]
pub struct Caller(Kind);

#[derive(Clone, Debug)]
enum Kind {
    /// No identity is configured.
    Anybody,
    Known {
        principal: Principal,
        rules: Arc<Rules>,
    },
}

/// What somebody may do, to be compared: who has the same is shown the same.
#[derive(Clone, Debug, Default)]
pub struct Rights {
    rules: Option<Arc<Rules>>,
    /// The places of the rules that are about them.
    places: Vec<usize>,
}

impl PartialEq for Rights {
    fn eq(&self, other: &Self) -> bool {
        let same_rules = match (&self.rules, &other.rules) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        };
        same_rules && self.places == other.places
    }
}

impl Eq for Rights {}

impl Hash for Rights {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.places.hash(state);
    }
}

impl Caller {
    /// All that they may do.
    #[must_use]
    pub fn rights(&self) -> Rights {
        match &self.0 {
            Kind::Anybody => Rights::default(),
            Kind::Known { principal, rules } => {
                Rights { places: rules.about(principal.as_str()), rules: Some(Arc::clone(rules)) }
            }
        }
    }

    /// True if there is an org in which they may do anything with this verb.
    #[must_use]
    pub fn may_somewhere(&self, verb: Verb) -> bool {
        match &self.0 {
            Kind::Anybody => true,
            Kind::Known { principal, rules } => rules.allow_somewhere(principal.as_str(), verb),
        }
    }

    /// Where no identity is configured.
    #[must_use]
    pub const fn anybody() -> Self {
        Self(Kind::Anybody)
    }

    /// Somebody who may do nothing.
    #[must_use]
    pub fn nobody() -> Self {
        let principal = Principal("nobody".into());
        Self(Kind::Known { principal, rules: Arc::default() })
    }

    /// Somebody who has proved who they are.
    #[must_use]
    pub const fn known(principal: Principal, rules: Arc<Rules>) -> Self {
        Self(Kind::Known { principal, rules })
    }

    /// Who; `None` where no identity is configured.
    #[must_use]
    pub const fn principal(&self) -> Option<&Principal> {
        match &self.0 {
            Kind::Anybody => None,
            Kind::Known { principal, .. } => Some(principal),
        }
    }

    /// True if they may do this.
    #[must_use]
    pub fn may(&self, action: &Action<'_>) -> bool {
        match &self.0 {
            Kind::Anybody => true,
            Kind::Known { principal, rules } => rules.allow(principal.as_str(), action),
        }
    }

    /// True if there is anything in the org that they may do with this verb.
    #[must_use]
    pub fn may_some(&self, verb: Verb, org: &str) -> bool {
        match &self.0 {
            Kind::Anybody => true,
            Kind::Known { principal, rules } => rules.allow_some(principal.as_str(), verb, org),
        }
    }

    /// True if they may do this with the whole org: each of its workspaces, each
    /// operation, each class.
    #[must_use]
    pub fn may_all(&self, verb: Verb, org: &str) -> bool {
        match &self.0 {
            Kind::Anybody => true,
            Kind::Known { principal, rules } => rules.allow_all(principal.as_str(), verb, org),
        }
    }

    /// True if they may do this with every org.
    #[must_use]
    pub fn may_everywhere(&self, verb: Verb) -> bool {
        match &self.0 {
            Kind::Anybody => true,
            Kind::Known { principal, rules } => rules.allow_everywhere(principal.as_str(), verb),
        }
    }
}
