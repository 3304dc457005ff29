//! Plans that were made lately: an ask like one before it finds its counters
//! without a look at any other table. A plan holds as long as the settings do,
//! and as long as no group goes.

use std::sync::Arc;

use super::judge::Plan;
use crate::quota::{Ask, OperationId, UserId, WorkspaceId};

/// The least and the most places, powers of two.
const LEAST: usize = 8;
const MOST: usize = 4_096;

/// One place for each plan, by what the ask names. Two that want the same place
/// drive each other out: names that were chosen to collide make plans be made
/// anew, as all once were, and nothing worse. So the hash can be a cheap one.
#[derive(Clone, Debug, Default)]
pub struct Plans {
    places: Vec<Option<Box<Known>>>,
}

#[derive(Clone, Debug)]
struct Known {
    operation: OperationId,
    workspace: Option<WorkspaceId>,
    user: Option<UserId>,
    cost: u32,
    plan: Arc<Plan>,
}

impl Plans {
    /// The plan of an ask, if it is known.
    pub fn find(&self, ask: &Ask) -> Option<Arc<Plan>> {
        let known = self.places.get(self.place(ask))?.as_ref()?;
        known.is_of(ask).then(|| Arc::clone(&known.plan))
    }

    /// Remembers the plan of an ask.
    pub fn keep(&mut self, ask: &Ask, plan: &Arc<Plan>) {
        let taken = |plans: &Self| plans.places.get(plans.place(ask)).is_none_or(Option::is_some);
        while taken(self) && self.places.len() < MOST {
            self.grow();
        }
        let place = self.place(ask);
        self.places[place] = Some(Box::new(Known {
            operation: ask.operation.clone(),
            workspace: ask.workspace.clone(),
            user: ask.user.clone(),
            cost: ask.cost,
            plan: Arc::clone(plan),
        }));
    }

    /// Forgets all: their counters may be gone, or others may be charged.
    pub fn clear(&mut self) {
        self.places = Vec::new();
    }

    fn grow(&mut self) {
        let places = (self.places.len() * 2).max(LEAST);
        let before = std::mem::take(&mut self.places);
        self.places.resize_with(places, || None);
        for known in before.into_iter().flatten() {
            let Known { operation, workspace, user, cost, .. } = &*known;
            let place = hash(operation, workspace.as_ref(), user.as_ref(), *cost) & (places - 1);
            self.places[place] = Some(known);
        }
    }

    fn place(&self, ask: &Ask) -> usize {
        let hash = hash(&ask.operation, ask.workspace.as_ref(), ask.user.as_ref(), ask.cost);
        hash & self.places.len().saturating_sub(1)
    }
}

impl Known {
    fn is_of(&self, ask: &Ask) -> bool {
        self.cost == ask.cost
            && self.user == ask.user
            && self.workspace == ask.workspace
            && self.operation == ask.operation
    }
}

fn hash(
    operation: &OperationId,
    workspace: Option<&WorkspaceId>,
    user: Option<&UserId>,
    cost: u32,
) -> usize {
    let workspace = workspace.map_or("", WorkspaceId::as_str);
    let user = user.map_or("", UserId::as_str);
    let mut hash = u64::from(cost);
    for text in [operation.as_str(), workspace, user] {
        let (words, rest) = text.as_bytes().as_chunks::<8>();
        for word in words {
            hash = mixed(hash, u64::from_le_bytes(*word));
        }
        let rest = rest.iter().fold(text.len() as u64, |word, byte| word << 8 | u64::from(*byte));
        hash = mixed(hash, rest);
    }
    // The high bits depend on all.
    (hash >> 32) as usize
}

/// One step of `FxHash`.
const fn mixed(hash: u64, word: u64) -> u64 {
    (hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95)
}
