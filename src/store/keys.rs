//! Every key of the store, in one file.
//!
//! ```text
//! meta/store                             what the store is
//! meta/generation                        the birth of a cluster
//! meta/closed                            what was counted until then is not known
//! nodes/{node}                           a node that is alive
//! config/orgs/{org}                      what was declared for an org
//! owners/{s}                             who grants for a shard
//! shards/{s}/counters/{org}/{group}      the counters of one group of an org
//!                                        group = org | user:{id} | workspace:{id}
//! ```
//!
//! A key is built with [`Key`]'s `Display` and read back with its `FromStr`;
//! there is exactly one text for each key, and a text that is not exactly it is
//! no key. No identifier contains `/`, so the parts never run into each other.

use std::{fmt, str::FromStr};

use crate::quota::{Group, OrgId, UserId, WorkspaceId};

/// The number of shards: fixed when a store is made, for its whole life, since
/// it is part of where everything lies.
pub const SHARDS: u16 = 256;

/// Begins the key of every [`Key::Node`].
pub const NODES: &str = "nodes/";

/// Begins the key of every [`Key::ShardOwner`]. Not below the shard's own keys,
/// so that the owners can be watched without the counters.
pub const OWNERS: &str = "owners/";

/// Begins the keys about the store as a whole.
pub const META: &str = "meta/";

/// Begins the key of every [`Key::OrgConfig`].
pub const ORG_CONFIGS: &str = "config/orgs/";

/// The name of a value in the store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// `meta/store`: what the store is.
    ///
    /// - Value: [`MetaRecord`](super::records::MetaRecord).
    /// - Writer: whoever finds the store empty.
    /// - Lifetime: the store's.
    MetaStore,

    /// `meta/generation`: the birth of a cluster. A store of several processes
    /// is served only where it stands.
    ///
    /// - Value: [`GenerationRecord`](super::records::GenerationRecord).
    /// - Writer: a node with `--create-cluster`, where it is missing.
    /// - Lifetime: the cluster's.
    Generation,

    /// `meta/closed`: what was counted until a moment is not known.
    ///
    /// - Value: [`ClosedRecord`](super::records::ClosedRecord).
    /// - Writer: the node that finds the store gone back, or one with
    ///   `--cold-start closed`.
    /// - Lifetime: from then on; it means less as windows pass.
    Closed,

    /// `nodes/{node}`: a node that is alive.
    ///
    /// - Value: [`NodeRecord`](super::records::NodeRecord).
    /// - Writer: the node.
    /// - Lifetime: the node's lease.
    Node(String),

    /// `config/orgs/{org}`: what was declared for an org through the
    /// administration API, with the last changes.
    ///
    /// - Value: [`OrgConfigRecord`](super::records::OrgConfigRecord).
    /// - Writer: the owner of the org's shard, for an administrator.
    /// - Lifetime: from the org's first declaration on; a deleted org keeps its
    ///   list of changes.
    OrgConfig(OrgId),

    /// `owners/{s}`: who grants for a shard. Its mod revision is the
    /// epoch: the number that fences every other writer off.
    ///
    /// - Value: [`OwnerRecord`](super::records::OwnerRecord).
    /// - Writer: the node that takes the shard.
    /// - Lifetime: the owner's session; an embedded store's is written anew at
    ///   each opening.
    ShardOwner(Shard),

    /// `shards/{s}/counters/{org}/{group}`: the counters of an org, of one of
    /// its execution users, or of one of its workspaces. The shard follows from
    /// the org ([`shard_of`]).
    ///
    /// - Value: [`GroupRecord`](crate::quota::GroupRecord).
    /// - Writer: the owner of the shard, in transactions that compare the owner
    ///   key.
    /// - Lifetime: as long as something in it counts; its owner deletes it when
    ///   it is empty.
    Counters {
        /// The org.
        org: OrgId,
        /// Whose counters.
        group: Group,
    },
}

/// One of the [`SHARDS`] parts into which the orgs are divided; each has one
/// owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard(u16);

/// A text that is not the key of anything.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a key of this store")]
pub struct BadKey(pub String);

/// The shard of an org: the 64-bit FNV-1a hash of its id, folded to eight bits.
///
/// Part of the stored format: were it to change, no org would be found again.
#[must_use]
pub fn shard_of(org: &OrgId) -> Shard {
    let hash = fnv1a_64(org.as_str().as_bytes());
    // Folding lets every bit of the hash count; its lowest byte alone depends
    // on the lowest bits of the text only.
    let folded = hash.to_be_bytes().into_iter().fold(0, |folded, byte| folded ^ byte);
    Shard(u16::from(folded))
}

impl Shard {
    /// Every shard.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..SHARDS).map(Self)
    }

    /// The shard with a number; `None` unless it is below [`SHARDS`].
    #[must_use]
    pub fn new(number: u16) -> Option<Self> {
        (number < SHARDS).then_some(Self(number))
    }

    /// Its number, below [`SHARDS`].
    #[must_use]
    pub fn number(self) -> u16 {
        self.0
    }

    /// Begins the key of all [`Key::Counters`] of this shard.
    #[must_use]
    pub fn counters(self) -> String {
        format!("shards/{self}/counters/")
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Key {
    /// Begins the key of all [`Key::Counters`] of an org.
    #[must_use]
    pub fn counters_of(org: &OrgId) -> String {
        format!("{}{org}/", shard_of(org).counters())
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.to_string()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MetaStore => f.write_str("meta/store"),
            Self::Generation => f.write_str("meta/generation"),
            Self::Closed => f.write_str("meta/closed"),
            Self::Node(node) => write!(f, "{NODES}{node}"),
            Self::OrgConfig(org) => write!(f, "{ORG_CONFIGS}{org}"),
            Self::ShardOwner(shard) => write!(f, "{OWNERS}{shard}"),
            Self::Counters { org, group } => {
                f.write_str(&Self::counters_of(org))?;
                match group {
                    Group::Org => f.write_str("org"),
                    Group::User(user) => write!(f, "user:{user}"),
                    Group::Workspace(workspace) => write!(f, "workspace:{workspace}"),
                }
            }
        }
    }
}

impl FromStr for Key {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Self, BadKey> {
        // Printing the key again catches what the parts let through: a number
        // with a leading zero, an id in a form that is normalised, an org in a
        // shard that is not its own.
        read(text).filter(|key| key.to_string() == text).ok_or_else(|| BadKey(text.to_owned()))
    }
}

fn read(text: &str) -> Option<Key> {
    let parts: Vec<&str> = text.split('/').collect();
    match parts[..] {
        ["meta", "store"] => Some(Key::MetaStore),
        ["meta", "generation"] => Some(Key::Generation),
        ["meta", "closed"] => Some(Key::Closed),
        ["nodes", node] if !node.is_empty() => Some(Key::Node(node.to_owned())),
        ["config", "orgs", org] => Some(Key::OrgConfig(OrgId::parse(org).ok()?)),
        ["owners", shard] => Some(Key::ShardOwner(Shard::new(shard.parse().ok()?)?)),
        ["shards", _, "counters", org, group] => {
            Some(Key::Counters { org: OrgId::parse(org).ok()?, group: read_group(group)? })
        }
        _ => None,
    }
}

fn read_group(text: &str) -> Option<Group> {
    if text == "org" {
        return Some(Group::Org);
    }
    match text.split_once(':')? {
        ("user", id) => UserId::parse(id).ok().map(Group::User),
        ("workspace", id) => WorkspaceId::parse(id).ok().map(Group::Workspace),
        _ => None,
    }
}

/// FNV-1a with 64 bits: the same on every machine and in every version.
pub(crate) fn fnv1a_64(bytes: &[u8]) -> u64 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    bytes.iter().fold(OFFSET_BASIS, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_hash_is_the_published_one() {
        for (text, hash) in [
            ("", 0xcbf2_9ce4_8422_2325),
            ("a", 0xaf63_dc4c_8601_ec8c),
            ("foobar", 0x8594_4171_f739_67e8),
        ] {
            assert_eq!(fnv1a_64(text.as_bytes()), hash, "{text:?}");
        }
    }

    #[test]
    fn an_org_never_changes_its_shard() {
        for (org, shard) in [
            ("a", 187),
            ("acme", 160),
            ("acme-eu.prod_1", 129),
            ("00D000000000001EAA", 196),
            ("00D000000000002EAA", 23),
        ] {
            assert_eq!(shard_of(&OrgId::parse(org).unwrap()).number(), shard, "{org}");
        }
    }

    #[test]
    fn orgs_spread_over_all_shards() {
        let mut orgs = [0_u32; SHARDS as usize];
        for n in 0..256 * 100 {
            let org = OrgId::parse(&format!("org-{n}")).unwrap();
            orgs[usize::from(shard_of(&org).number())] += 1;
        }
        // A fair hash leaves each within six standard deviations of 100.
        assert!(orgs.iter().all(|orgs| (40..160).contains(orgs)), "{orgs:?}");
    }

    #[test]
    fn keys_are_the_documented_texts() {
        let org = OrgId::parse("acme").unwrap();
        let counters = |group| Key::Counters { org: org.clone(), group };
        let user = Group::User(UserId::parse("u1").unwrap());
        let workspace = Group::Workspace(WorkspaceId::parse("my shop: north").unwrap());
        let s = shard_of(&org);
        for (key, text) in [
            (Key::MetaStore, "meta/store".to_owned()),
            (Key::Generation, "meta/generation".to_owned()),
            (Key::Closed, "meta/closed".to_owned()),
            (Key::Node("quotagate-0".to_owned()), "nodes/quotagate-0".to_owned()),
            (Key::OrgConfig(org.clone()), "config/orgs/acme".to_owned()),
            (Key::ShardOwner(s), format!("owners/{s}")),
            (counters(Group::Org), format!("shards/{s}/counters/acme/org")),
            (counters(user), format!("shards/{s}/counters/acme/user:u1")),
            (counters(workspace), format!("shards/{s}/counters/acme/workspace:my shop: north")),
        ] {
            assert_eq!(key.to_string(), text);
            assert_eq!(text.parse(), Ok(key));
        }
    }

    #[test]
    fn what_is_not_exactly_a_key_is_refused() {
        let org = OrgId::parse("acme").unwrap();
        let own = shard_of(&org).number();
        let other = (own + 1) % SHARDS;
        for text in [
            "",
            "meta",
            "meta/store/",
            "/meta/store",
            "config/orgs/",
            "config/orgs/a b",
            "config/orgs/00D000000000001",
            "owners/256",
            "owners/01",
            "owners/+1",
            "owners/-1",
            &format!("shards/{other}/counters/acme/org"),
            &format!("shards/{own}/counters/acme/orgs"),
            &format!("shards/{own}/counters/acme/user:"),
            &format!("shards/{own}/counters/acme/user:a b"),
            &format!("shards/{own}/counters/acme/workspace:a/b"),
            &format!("shards/{own}/counters/acme/label:x"),
        ] {
            assert_eq!(text.parse::<Key>(), Err(BadKey(text.to_owned())), "{text:?}");
        }
    }

    pub(crate) fn keys() -> impl Strategy<Value = Key> {
        let org = || "[A-Za-z0-9._-]{1,64}".prop_filter_map("an org", |id| OrgId::parse(&id).ok());
        let user = "[A-Za-z0-9._-]{1,64}".prop_filter_map("a user", |id| UserId::parse(&id).ok());
        let workspace =
            "[^/]{1,32}".prop_filter_map("a workspace", |id| WorkspaceId::parse(&id).ok());
        let group = prop_oneof![
            Just(Group::Org),
            user.prop_map(Group::User),
            workspace.prop_map(Group::Workspace),
        ];
        prop_oneof![
            Just(Key::MetaStore),
            Just(Key::Generation),
            Just(Key::Closed),
            "[A-Za-z0-9._-]{1,64}".prop_map(Key::Node),
            org().prop_map(Key::OrgConfig),
            (0..SHARDS).prop_map(|number| Key::ShardOwner(Shard(number))),
            (org(), group).prop_map(|(org, group)| Key::Counters { org, group }),
        ]
    }

    proptest! {
        #[test]
        fn every_key_comes_back_from_its_text(key in keys()) {
            prop_assert_eq!(key.to_string().parse(), Ok(key));
        }

        #[test]
        fn every_text_is_refused_or_comes_back(text in "(owners/[0-9]{1,3}|shards/[0-9]{1,3}/counters/a/(org|user:.{0,3}|workspace:.{0,3})|.{0,20})") {
            if let Ok(key) = text.parse::<Key>() {
                prop_assert_eq!(key.to_string(), text);
            }
        }

        #[test]
        fn counters_lie_under_the_prefixes_of_their_shard_and_org(key in keys()) {
            if let Key::Counters { org, .. } = &key {
                let text = key.to_string();
                prop_assert!(text.starts_with(&Key::counters_of(org)));
                prop_assert!(text.starts_with(&shard_of(org).counters()));
            }
        }
    }
}
