//! Which node decides for an org, and the way to it: answers name it, and
//! requests that go there directly save a hop.
//!
//! It is a shortcut and nothing else. The owner's address may be one that cannot
//! be reached from here, so it is connected to beside the requests, never within
//! one; and what fails to connect is left alone for a while.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tonic::metadata::MetadataMap;

use super::security::{Connection, Dial};

/// Orgs whose owner is remembered; beyond, all are forgotten and learnt anew.
const MAX_ORGS: usize = 10_000;

/// Nodes that are connected to directly.
const MAX_NODES: usize = 64;

/// A node that could not be reached is not tried again for so long.
const LEFT_ALONE: Duration = Duration::from_secs(30);

/// The owners, as far as answers have named them. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Owners {
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    /// The owner's address, by org.
    of: HashMap<String, Arc<str>>,
    /// By address.
    nodes: HashMap<Arc<str>, Way>,
}

/// The way to a node.
#[derive(Clone, Debug)]
enum Way {
    Opening,
    Open(Connection),
    Closed { until: Instant },
}

impl Owners {
    /// The address of the node that decides for an org, if answers have named it.
    pub fn of(&self, org: &str) -> Option<Arc<str>> {
        self.known().of.get(org).cloned()
    }

    /// The connection to a node, if it is open.
    pub fn way_to(&self, address: &Arc<str>) -> Option<Connection> {
        match self.known().nodes.get(address)? {
            Way::Open(channel) => Some(channel.clone()),
            Way::Opening | Way::Closed { .. } => None,
        }
    }

    /// Takes in which node has answered for an org. `dial` makes the
    /// way to it, if it is an address at all, and none of the configured servers',
    /// which are connected to anyway.
    pub fn learn(&self, org: &str, answer: &MetadataMap, dial: impl FnOnce(&str) -> Option<Dial>) {
        let Some(owner) = answer.get("quotagate-owner").and_then(|owner| owner.to_str().ok())
        else {
            return;
        };
        let mut known = self.known();
        if known.of.get(org).is_none_or(|present| &**present != owner) {
            if known.of.len() >= MAX_ORGS {
                known.of.clear();
            }
            known.of.insert(org.to_owned(), owner.into());
        }
        if known.nodes.len() >= MAX_NODES {
            // Nodes that came and went leave their addresses behind.
            let Known { of, nodes } = &mut *known;
            nodes.retain(|address, _| of.values().any(|owner| owner == address));
        }
        let is_worth_it = match known.nodes.get(owner) {
            None => known.nodes.len() < MAX_NODES,
            Some(Way::Closed { until }) => Instant::now() >= *until,
            Some(Way::Opening | Way::Open(_)) => false,
        };
        if is_worth_it && let Some(dial) = dial(owner) {
            let owner: Arc<str> = owner.into();
            known.nodes.insert(Arc::clone(&owner), Way::Opening);
            drop(known);
            let owners = self.clone();
            tokio::spawn(async move {
                let way = match dial.connect().await.0 {
                    Ok(channel) => Way::Open(channel),
                    Err(_) => closed(),
                };
                owners.known().nodes.insert(owner, way);
            });
        }
    }

    /// A node cannot be reached any more.
    pub fn leave_alone(&self, address: &Arc<str>) {
        self.known().nodes.insert(Arc::clone(address), closed());
    }

    /// The node that was asked for an org did not decide: whoever is asked next
    /// knows better.
    pub fn forget(&self, org: &str) {
        self.known().of.remove(org);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn closed() -> Way {
    Way::Closed { until: Instant::now() + LEFT_ALONE }
}

#[cfg(test)]
mod tests {
    use super::{super::security::Security, *};

    #[tokio::test]
    async fn nodes_that_came_and_went_leave_room_for_new_ones() {
        let owners = Owners::default();
        for port in 1..=3 * MAX_NODES {
            let address = format!("127.0.0.1:{port}");
            let mut answer = MetadataMap::new();
            answer.insert("quotagate-owner", address.parse().expect("it is ASCII"));
            owners.learn("org", &answer, |owner| Security::default().dial(owner).ok());
            assert!(owners.known().nodes.contains_key(&*address), "{address} is connected to");
            assert!(owners.known().nodes.len() <= MAX_NODES);
        }
    }
}
