//! Which node decides for an org.

use std::{fmt, sync::Arc};

use tokio::sync::watch::{self, error::RecvError};

use crate::{
    cluster::View,
    quota::OrgId,
    store::{Shard, keys::SHARDS, shard_of},
};

/// Where an org's requests are decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// In this process.
    Here {
        /// The fencing number of its shard; 0 where one process has the store
        /// for itself.
        epoch: u64,
    },
    /// At another node.
    Peer(PeerTarget),
    /// Nowhere, for the moment.
    Nobody {
        /// What is going on, in a clause for people.
        why: &'static str,
    },
}

/// A node that owns an org's shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerTarget {
    /// Its name.
    pub node: String,
    /// Where clients reach it.
    pub address: String,
    /// Where other nodes reach it.
    pub peer_address: String,
    /// The fencing number of its ownership.
    pub epoch: u64,
}

/// The way to every shard's owner.
#[derive(Clone)]
pub struct Routes {
    view: watch::Receiver<Arc<View>>,
    cluster: Option<Membership>,
    /// Keeps the view of a node without a cluster open.
    _alone: Option<watch::Sender<Arc<View>>>,
}

#[derive(Clone)]
struct Membership {
    name: String,
    served: Served,
}

/// The epoch in which this process serves a shard, if it does.
pub type Served = Arc<dyn Fn(Shard) -> Option<u64> + Send + Sync>;

impl Routes {
    /// Every org is decided here: one process has the store for itself.
    #[must_use]
    pub fn alone() -> Self {
        let (sender, view) = watch::channel(Arc::default());
        Self { view, cluster: None, _alone: Some(sender) }
    }

    /// The routes of the node `name` in a cluster: what it serves itself, as
    /// `served` says, is here; the rest is where the view says.
    #[must_use]
    pub fn shared(name: String, view: watch::Receiver<Arc<View>>, served: Served) -> Self {
        Self { view, cluster: Some(Membership { name, served }), _alone: None }
    }

    /// Where an org is decided.
    #[must_use]
    pub fn route(&self, org: &OrgId) -> Route {
        let Some(Membership { name, served }) = &self.cluster else {
            return Route::Here { epoch: 0 };
        };
        let shard = shard_of(org);
        if let Some(epoch) = served(shard) {
            return Route::Here { epoch };
        }
        let view = self.view.borrow();
        let Some(owner) = view.owners.get(&shard) else {
            return Route::Nobody { why: "its last owner has gone, and none has taken over yet" };
        };
        if owner.node == *name {
            return Route::Nobody { why: "this node is taking it over, or giving it away" };
        }
        match view.nodes.get(&owner.node).map(|node| &node.record) {
            Some(node) if node.incarnation == owner.incarnation => Route::Peer(PeerTarget {
                node: owner.node.clone(),
                address: node.address.clone(),
                peer_address: node.peer_address.clone(),
                epoch: owner.epoch,
            }),
            _ => Route::Nobody { why: "its owner's session has ended, and its claim not yet" },
        }
    }

    /// True if an org is decided in this process.
    #[must_use]
    pub fn is_here(&self, org: &OrgId) -> bool {
        match &self.cluster {
            None => true,
            Some(Membership { served, .. }) => served(shard_of(org)).is_some(),
        }
    }

    /// The epoch in which this process serves a shard; `None` if it does not.
    #[must_use]
    pub fn served(&self, shard: Shard) -> Option<u64> {
        match &self.cluster {
            None => Some(0),
            Some(Membership { served, .. }) => served(shard),
        }
    }

    /// True where there are no other nodes.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.cluster.is_none()
    }

    /// The view from which routes are made.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.borrow())
    }

    /// How many shards this process serves.
    #[must_use]
    pub fn owned(&self) -> u32 {
        match &self.cluster {
            None => SHARDS.into(),
            Some(Membership { served, .. }) => {
                Shard::all().map(|shard| u32::from(served(shard).is_some())).sum()
            }
        }
    }

    /// Follows the view from which routes are made. What this process serves
    /// itself can change without it.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<Arc<View>> {
        let mut view = self.view.clone();
        view.mark_unchanged();
        view
    }
}

/// Tells of changes of routes: of what the cluster shows, and of what this process
/// decides itself, which can change without it.
#[derive(Clone, Debug)]
pub struct RouteChanges {
    pub(super) view: watch::Receiver<Arc<View>>,
    pub(super) owned: watch::Receiver<usize>,
}

impl RouteChanges {
    /// Returns when a route may have changed since the last time.
    ///
    /// # Errors
    /// Nobody follows the cluster any more: the process ends.
    pub async fn changed(&mut self) -> Result<(), RecvError> {
        tokio::select! {
            changed = self.view.changed() => changed,
            changed = self.owned.changed() => changed,
        }
    }
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.cluster.as_ref().map(|cluster| cluster.name.as_str());
        f.debug_struct("Routes").field("node", &name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cluster::{NodeInfo, OwnerInfo},
        store::records::NodeRecord,
    };

    fn view(owner: Option<&str>, incarnation: &str) -> View {
        let mut view = View::default();
        for name in ["a", "b"] {
            let record = NodeRecord {
                address: format!("{name}:7400"),
                peer_address: format!("{name}:7402"),
                incarnation: "1".to_owned(),
                version: "1.2.3".to_owned(),
                draining: false,
            };
            view.nodes.insert(name.to_owned(), NodeInfo { record, revision: 3 });
        }
        for shard in Shard::all() {
            if let Some(node) = owner {
                let (node, incarnation) = (node.to_owned(), incarnation.to_owned());
                view.owners.insert(shard, OwnerInfo { node, incarnation, epoch: 7 });
            }
        }
        view
    }

    fn route(view: View, serves: Option<u64>) -> Route {
        let (_sender, view) = watch::channel(Arc::new(view));
        let routes = Routes::shared("a".to_owned(), view, Arc::new(move |_| serves));
        let org = OrgId::parse("acme").expect("an org");
        let route = routes.route(&org);
        assert_eq!(routes.is_here(&org), matches!(route, Route::Here { .. }));
        route
    }

    #[test]
    fn a_route_leads_to_who_serves_the_shard_and_nowhere_else() {
        let nobody = |route| matches!(route, Route::Nobody { .. });
        let there = Route::Peer(PeerTarget {
            node: "b".to_owned(),
            address: "b:7400".to_owned(),
            peer_address: "b:7402".to_owned(),
            epoch: 7,
        });
        assert_eq!(route(view(Some("b"), "1"), None), there);
        assert_eq!(route(view(Some("a"), "1"), Some(7)), Route::Here { epoch: 7 });
        assert_eq!(route(view(None, "1"), Some(7)), Route::Here { epoch: 7 }, "the view is late");
        assert!(nobody(route(view(Some("a"), "1"), None)), "not served yet, or not any more");
        assert!(nobody(route(view(None, "1"), None)));
        assert!(nobody(route(view(Some("b"), "0"), None)), "a former session of b");
        assert!(nobody(route(view(Some("c"), "1"), None)), "a node that has gone");
        let org = OrgId::parse("acme").expect("an org");
        assert_eq!(Routes::alone().route(&org), Route::Here { epoch: 0 });
    }
}
