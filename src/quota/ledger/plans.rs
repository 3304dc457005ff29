//! Plans that were made lately: an ask like one before it finds its counters
//! without a look at any other table. A plan holds as long as the settings do,
//! and as long as no group goes.

use std::sync::Arc;

use super::judge::Plan;
use crate::quota::{Ask, OperationId, UserId, WorkspaceId};

/// The least and the most places, powers of two.
const LEAST: usize = 8;
const MOST: usize = 4_096;

/// Plans that are kept, those for each user of a pool counted one by one: a few
/// megabytes. An ask that names no user has one for every user of the pool.
const MOST_IN_ALL: usize = 16_384;

/// One place for each plan, by what the ask names. Two that want the same place
/// drive each other out: names that were chosen to collide make plans be made
/// anew, as all once were, and nothing worse. So the hash can be a cheap one.
#[derive(Clone, Debug, Default)]
pub struct Plans {
    places: Vec<Option<Box<Known>>>,
    /// Plans that are kept, by which [`MOST_IN_ALL`] goes.
    in_all: usize,
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
        if self.in_all + size(plan) > MOST_IN_ALL {
            // Those that are asked for again are made again.
            self.clear();
        }
        let taken = |plans: &Self| plans.places.get(plans.place(ask)).is_none_or(Option::is_some);
        while taken(self) && self.places.len() < MOST {
            self.grow();
        }
        let place = self.place(ask);
        let known = Known {
            operation: ask.operation.clone(),
            workspace: ask.workspace.clone(),
            user: ask.user.clone(),
            cost: ask.cost,
            plan: Arc::clone(plan),
        };
        let before = self.places[place].replace(Box::new(known));
        self.in_all += size(plan);
        self.in_all -= before.map_or(0, |before| size(&before.plan));
    }

    /// Forgets all: their counters may be gone, or others may be charged.
    pub fn clear(&mut self) {
        *self = Self::default();
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

/// The plans that one stands for.
fn size(plan: &Plan) -> usize {
    1 + plan.pool.len()
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::quota::{Class, window::NO_TAG};

    fn ask(cost: u32) -> Ask {
        Ask {
            caller: None,
            principal: None,
            workspace: None,
            operation: OperationId::parse("rest").expect("a good id"),
            user: None,
            class: Class::Event,
            calls: 1,
            min_calls: 1,
            cost,
            ttl: None,
            request: None,
            max_wait: Duration::ZERO,
            check_only: false,
        }
    }

    fn plan(pool: usize) -> Arc<Plan> {
        let of_user = Plan {
            user: None,
            tag: NO_TAG,
            needs: Vec::new(),
            default_ttl: Duration::ZERO,
            pool: Vec::new(),
        };
        let pool = (0..pool).map(|_| Arc::new(of_user.clone())).collect();
        Arc::new(Plan { pool, ..of_user })
    }

    #[test]
    fn a_plan_is_found_until_all_are_forgotten() {
        let mut plans = Plans::default();
        for cost in 1..100 {
            plans.keep(&ask(cost), &plan(0));
            assert!(plans.find(&ask(cost)).is_some());
        }
        plans.clear();
        assert!((1..100).all(|cost| plans.find(&ask(cost)).is_none()));
    }

    #[test]
    fn who_asks_by_every_cost_for_any_user_of_a_large_pool_takes_no_memory_without_end() {
        let mut plans = Plans::default();
        for cost in 1..20_000 {
            plans.keep(&ask(cost), &plan(100));
            assert!(plans.find(&ask(cost)).is_some());
            let kept = plans.places.iter().flatten().map(|known| size(&known.plan)).sum::<usize>();
            assert_eq!(kept, plans.in_all);
            assert!(kept <= MOST_IN_ALL, "{kept} at {cost}");
        }
    }
}
