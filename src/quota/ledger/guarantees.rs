//! What is guaranteed to workspaces of the org's total. As long as a workspace
//! has used less than that, the rest is kept for it: everybody else is granted
//! only what is left beside, and its own calls wait behind nobody for it. So the
//! guarantee can be had at any time, as far as foreign use leaves it.
//!
//! It is a gate at the grant: reservations know nothing of it, and an org
//! without guarantees pays nothing.

use super::{
    Ledger,
    groups::CounterRef,
    judge::{Need, Refusal},
};
use crate::quota::{Class, Group, Mono, OrgPolicy, window::Tag};

/// The workspaces that are guaranteed something, and how much.
#[derive(Clone, Debug, Default)]
pub struct Guarantees {
    /// By workspace, as the group whose slot is its tag.
    units: Vec<(Group, u64)>,
}

/// What the guarantees mean for one ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Units that are kept for other workspaces now.
    pub for_others: u64,
    /// The same when they have used nothing.
    pub for_others_at_most: u64,
    /// Units that are kept for the asking workspace itself.
    pub own: u64,
    /// The same when it has used nothing.
    pub own_at_most: u64,
}

/// One workspace that is guaranteed something.
#[derive(Clone, Copy, Debug)]
struct Guarantee<'a> {
    workspace: &'a Group,
    tag: Option<Tag>,
    units: u64,
    used: u64,
}

impl Guarantees {
    /// What the settings guarantee.
    pub fn of(policy: &OrgPolicy) -> Self {
        let workspaces = policy.workspaces.iter();
        let guaranteed = workspaces.filter(|(_, policy)| policy.guaranteed_calls > 0);
        let units =
            guaranteed.map(|(id, policy)| (Group::Workspace(id.clone()), policy.guaranteed_calls));
        Self { units: units.collect() }
    }
}

impl Guarantee<'_> {
    /// What is not used of it.
    fn left(&self) -> u64 {
        self.units.saturating_sub(self.used)
    }
}

impl Kept {
    /// Up to where a counter may be filled now and ever, where only this is to be
    /// considered besides the reserve. `counted`: all that fills it now.
    pub fn gate(self, bound: u64, reserve: u64, class: Class, counted: u64) -> (u64, u64) {
        // CONTROL may take the reserve, but not so that a guarantee could only be
        // had out of it.
        let below = if class == Class::Control { 0 } else { reserve };
        let beside = if self.for_others > 0 { reserve } else { below };
        let most = bound.saturating_sub(below);
        let level = bound.saturating_sub(beside).saturating_sub(self.for_others);
        let ceiling = most.saturating_sub(self.for_others_at_most).max(most.min(self.own_at_most));
        (level.max(most.min(counted.saturating_add(self.own))), ceiling)
    }
}

impl Ledger {
    /// What is kept of a counter, as an ask with this need sees it: nothing of any
    /// but the org's total.
    pub(super) fn kept(&self, need: &Need) -> Kept {
        let mut kept = Kept::default();
        if self.guarantees.units.is_empty() || !self.groups.counter(need.at).is_org_total() {
            return kept;
        }
        for guarantee in self.guarantees_at(need.at) {
            if guarantee.tag == Some(need.tag) {
                kept.own = guarantee.left();
                kept.own_at_most = guarantee.units;
            } else {
                kept.for_others = kept.for_others.saturating_add(guarantee.left());
                kept.for_others_at_most = kept.for_others_at_most.saturating_add(guarantee.units);
            }
        }
        kept
    }

    /// When so many more units of a counter can be granted, by what leaves it;
    /// `None` if all that leaves is not enough. What another workspace has used
    /// of its guarantee leaves for itself.
    pub(super) fn leaves_at(&self, need: &Need, needed: u64) -> Option<Mono> {
        let counter = self.groups.counter(need.at);
        if needed == 0 || self.guarantees.units.is_empty() || !counter.is_org_total() {
            return counter.frees_at(needed, &self.rules);
        }
        let others = self.guarantees_at(need.at).filter(|g| g.tag != Some(need.tag));
        let mut others: Vec<Guarantee<'_>> = others.collect();
        let mut freed = 0;
        let enough = counter.leaving(&self.rules).find(|(_, tag, units)| {
            let mut kept = 0;
            if let Some(guarantee) = others.iter_mut().find(|g| g.tag == Some(*tag)) {
                let before = guarantee.left();
                guarantee.used = guarantee.used.saturating_sub(*units);
                kept = guarantee.left() - before;
            }
            freed += units.saturating_sub(kept);
            freed >= needed
        });
        enough.map(|(leaves, _, _)| leaves)
    }

    /// For whom a refusal by the org's total keeps something back: " 500 are kept
    /// for workspace acme"; empty where it is nobody.
    pub(super) fn kept_for(&self, need: &Need) -> String {
        let kept = self.kept(need);
        if kept.for_others == 0 {
            return String::new();
        }
        let others = self.guarantees_at(need.at);
        let others = others.filter(|g| g.tag != Some(need.tag) && g.left() > 0);
        let mut names = others.map(|guarantee| match guarantee.workspace {
            Group::Workspace(id) => id.as_str(),
            Group::Org | Group::User(_) => "",
        });
        let first = names.next().unwrap_or_default();
        let of = match names.count() {
            0 => format!("workspace {first}"),
            1 => format!("workspace {first} and another"),
            more => format!("workspace {first} and {more} others"),
        };
        format!("{} are kept for {of}", kept.for_others)
    }

    /// The same for the limit that binds.
    pub(super) fn refusal_kept_for(&self, needs: &[Need], refusal: &Refusal) -> String {
        let need = needs.iter().find(|need| need.at == refusal.at);
        need.map(|need| self.kept_for(need)).unwrap_or_default()
    }

    /// The guarantees as they stand. What former epochs granted is known by
    /// workspace, but not by operation: it counts as used of the total.
    fn guarantees_at(&self, total: CounterRef) -> impl Iterator<Item = Guarantee<'_>> {
        let own = &self.groups.counter(total).own;
        self.guarantees.units.iter().map(move |(workspace, units)| {
            let tag = self.groups.slot(workspace);
            let used = tag.map_or(0, |tag| {
                let mut counters = self.groups.get(tag).counters.iter();
                let cap = counters.find(|counter| counter.is_workspace_cap());
                let before = cap.map_or(0, |cap| cap.inherited.total() - cap.inherited.lost());
                own.of(tag).saturating_add(before)
            });
            Guarantee { workspace, tag, units: *units, used }
        })
    }
}
