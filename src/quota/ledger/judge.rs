//! Whether an ask can be granted now; if not, what binds and when it frees.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{Ledger, UNBOUNDED, counter::Counter, groups::CounterRef};
use crate::quota::{
    Ask, AskError, Class, Denial, DenialReason, Group, Kind, Mono, Outcome, Permit, Scope, Unknown,
    UserId,
    catalogue::{Charge, Cost},
    rules::Fault,
    window::{NO_TAG, Tag},
};

/// Which counters an ask needs.
#[derive(Clone, Debug)]
pub struct Plan {
    pub needs: Vec<Need>,
    pub user: Option<UserId>,
    pub tag: Tag,
    pub default_ttl: Duration,
    /// Plans for each user of the pool, where the ask names none.
    pub pool: Vec<Arc<Plan>>,
}

/// One counter that an ask charges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    pub at: CounterRef,
    pub units_per_call: u64,
    /// Who asks.
    pub tag: Tag,
}

/// Units of counters that requests ahead in the queue wait for.
pub type Ahead = BTreeMap<CounterRef, u64>;

/// What can be done for an ask now.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Every limit has room, in its open block too.
    Grant { calls: u32 },
    /// There is room, but the open block must be fetched first.
    AwaitBlock {
        /// The calls that there is room for.
        calls: u32,
        /// The counters whose blocks lack units.
        lacking: Vec<CounterRef>,
        /// The counters may be reserved again from this moment on.
        retry_at: Mono,
    },
    /// A limit has no room.
    Refuse {
        refusal: Refusal,
        /// All counters that lack room.
        lacking: Vec<CounterRef>,
    },
}

/// The limit that binds.
#[derive(Clone, Copy, Debug)]
pub struct Refusal {
    pub at: CounterRef,
    pub reason: DenialReason,
    /// When it frees; `None` where nobody can know.
    pub frees_at: Option<Mono>,
    /// It can never be granted as asked.
    pub never: bool,
}

/// What a limit has left for a class.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Units that may be granted now.
    pub units: u64,
    /// The most that one request could ever get.
    pub ceiling: u64,
}

impl Ledger {
    /// The counters of an ask. Makes those that are missing.
    pub(super) fn plan(&mut self, now: Mono, ask: &Ask) -> Result<Arc<Plan>, AskError> {
        if let Some(plan) = self.plans.find(ask) {
            return Ok(plan);
        }
        let plan = Arc::new(self.make_plan(now, ask)?);
        self.plans.keep(ask, &plan);
        Ok(plan)
    }

    fn make_plan(&mut self, now: Mono, ask: &Ask) -> Result<Plan, AskError> {
        let catalogue = self.catalogue.clone();
        let operation = catalogue.get(&ask.operation).ok_or(AskError::UnknownOperation)?;
        let of_users: Vec<&Charge> =
            operation.charges.iter().filter(|c| c.scope == Scope::ExecutionUser).collect();
        // Before any counter is made: room for a new name is made by forgetting
        // names that nothing points to, and nothing points to this ask's yet.
        self.check_names(now, ask, !of_users.is_empty())?;
        let mut tag = NO_TAG;
        let mut needs = Vec::with_capacity(operation.charges.len() + 1);
        if let Some(workspace) = &ask.workspace {
            let charge = Charge::workspace_cap();
            let at = self.counter_ref(&Group::Workspace(workspace.clone()), &charge);
            tag = at.group;
            needs.push(Need { at, units_per_call: units_per_call(&charge, ask), tag });
            let group = Group::Workspace(workspace.clone());
            if let Some(charge) = self.burn_charge(&group) {
                let at = self.counter_ref(&group, &charge);
                needs.push(Need { at, units_per_call: units_per_call(&charge, ask), tag });
            }
        }
        for charge in &operation.charges {
            let key = match (charge.scope, &ask.workspace) {
                (Scope::Org, _) => Group::Org,
                (Scope::Workspace, Some(workspace)) => Group::Workspace(workspace.clone()),
                (Scope::Workspace, None) | (Scope::ExecutionUser, _) => continue,
            };
            let at = self.counter_ref(&key, charge);
            if !needs.iter().any(|need| need.at == at) {
                needs.push(Need { at, units_per_call: units_per_call(charge, ask), tag });
            }
        }
        let base = Plan {
            needs,
            user: ask.user.clone(),
            tag,
            default_ttl: operation.default_ttl(),
            pool: Vec::new(),
        };
        if of_users.is_empty() {
            return Ok(base);
        }
        match &ask.user {
            Some(user) => Ok(self.plan_for_user(ask, base, user, &of_users)),
            None if self.policy.pool.is_empty() => Err(AskError::NoUser),
            None => {
                let policy = self.policy.clone();
                let plan_of =
                    |user| Arc::new(self.plan_for_user(ask, base.clone(), user, &of_users));
                let pool = policy.pool.iter().map(plan_of).collect();
                Ok(Plan { pool, ..base })
            }
        }
    }

    fn plan_for_user(
        &mut self,
        ask: &Ask,
        mut plan: Plan,
        user: &UserId,
        charges: &[&Charge],
    ) -> Plan {
        let key = Group::User(user.clone());
        for charge in charges {
            let at = self.counter_ref(&key, charge);
            let tag = plan.tag;
            plan.needs.push(Need { at, units_per_call: units_per_call(charge, ask), tag });
        }
        plan.user = Some(user.clone());
        plan
    }

    /// Refuses a name that is not declared, where such names are refused or
    /// there are too many of them.
    fn check_names(&mut self, now: Mono, ask: &Ask, charges_user: bool) -> Result<(), AskError> {
        let policy = self.policy.clone();
        if let Some(workspace) = &ask.workspace
            && !policy.workspaces.contains_key(workspace)
        {
            if policy.unknown_workspaces == Unknown::Refuse {
                return Err(AskError::UnknownWorkspace);
            }
            self.bound_names(
                now,
                &Group::Workspace(workspace.clone()),
                self.rules.max_workspaces,
                |key| matches!(key, Group::Workspace(id) if !policy.workspaces.contains_key(id)),
            )?;
        }
        if let Some(user) = &ask.user
            && policy.pool.binary_search(user).is_err()
        {
            if policy.unknown_users == Unknown::Refuse {
                return Err(AskError::UnknownUser);
            }
            if charges_user {
                self.bound_names(
                    now,
                    &Group::User(user.clone()),
                    self.rules.max_users,
                    |key| matches!(key, Group::User(id) if policy.pool.binary_search(id).is_err()),
                )?;
            }
        }
        Ok(())
    }

    /// Refuses one more name of a sort, unless old ones can be forgotten.
    fn bound_names(
        &mut self,
        now: Mono,
        name: &Group,
        most: usize,
        sort: impl Fn(&Group) -> bool,
    ) -> Result<(), AskError> {
        if self.groups.slot(name).is_some() || self.groups.count(&sort) < most {
            return Ok(());
        }
        self.sweep(now);
        if self.groups.count(&sort) < most { Ok(()) } else { Err(AskError::TooManyNames) }
    }

    /// Chooses the user where the ask leaves it open: of those with room in all
    /// their windows the workspace's last one while it has half of its max
    /// left, else the one with most room, ties by id; where none has room, the
    /// one with the shortest wait.
    pub(super) fn choose(&self, now: Mono, ask: &Ask, plan: &Plan, ahead: &Ahead) -> Option<usize> {
        let last = match self.groups.tag(plan.tag) {
            Some(Group::Workspace(_)) => self.groups.get(plan.tag).last_user.as_ref(),
            _ => None,
        };
        let min_calls = u64::from(ask.min_calls);
        let mut most: Option<(u64, usize)> = None;
        let mut soonest: Option<(Option<Mono>, usize)> = None;
        for (index, candidate) in plan.pool.iter().enumerate() {
            let windows = &candidate.needs[plan.needs.len()..];
            let closed =
                windows.iter().filter_map(|need| self.groups.counter(need.at).cooling_until(now));
            let closed = closed.max();
            let rooms = windows.iter().map(|need| self.room(now, need, ask, ahead).units);
            let room = rooms.min().unwrap_or(0);
            let fits = closed.is_none()
                && windows.iter().all(|need| {
                    self.room(now, need, ask, ahead).units >= need.units_per_call * min_calls
                });
            if fits {
                let half_left = windows.iter().all(|need| {
                    let counter = self.groups.counter(need.at);
                    self.room(now, need, ask, ahead).units * 2 >= counter.bound
                });
                if half_left && last.is_some() && candidate.user.as_ref() == last {
                    return Some(index);
                }
                if most.is_none_or(|(best, _)| room > best) {
                    most = Some((room, index));
                }
            } else {
                let mut waits = windows.iter().map(|need| self.frees_at(now, need, ask, ahead));
                let wait = waits.try_fold(Mono(0), |latest, at| Some(latest.max(at?)));
                let wait = wait.map(|at| at.max(closed.unwrap_or(Mono(0))));
                let sooner = |best: Option<Mono>| match (wait, best) {
                    (Some(wait), Some(best)) => wait < best,
                    (Some(_), None) => true,
                    (None, _) => false,
                };
                if soonest.is_none_or(|(best, _)| sooner(best)) {
                    soonest = Some((wait, index));
                }
            }
        }
        most.map(|(_, index)| index).or(soonest.map(|(_, index)| index))
    }

    /// Decides by everything that is known now. Changes nothing.
    pub(super) fn judge(&self, now: Mono, ask: &Ask, plan: &Plan, ahead: &Ahead) -> Verdict {
        let min_calls = u64::from(ask.min_calls);
        let mut calls = u64::from(ask.calls);
        let mut short = Vec::new();
        let mut cools = false;
        for need in &plan.needs {
            cools |= self.groups.counter(need.at).cooling.is_some();
            let room = self.room(now, need, ask, ahead);
            let fit = room.units / need.units_per_call;
            calls = calls.min(fit);
            if fit < min_calls {
                short.push((*need, room));
            }
        }
        let is_never = |(need, room): &(Need, Room)| room.ceiling < min_calls * need.units_per_call;
        if cools && !short.iter().any(is_never) {
            let short = short.iter().map(|(need, _)| need.at);
            if let Some(refused) = self.refused_by_cooling(now, ask, plan, ahead, short) {
                return refused;
            }
        }
        if !short.is_empty() {
            return self.refuse(now, ask, &short, ahead);
        }
        if cools && self.is_probe(now, plan) {
            // One call finds out as much as many.
            calls = min_calls;
        }
        let mut in_block = calls;
        let mut lacking = Vec::new();
        let mut retry_at = Mono(0);
        for need in &plan.needs {
            let counter = self.groups.counter(need.at);
            let waiting = ahead.get(&need.at).copied().unwrap_or(0);
            let block = counter.grantable(now, &self.rules);
            let block = block.saturating_sub(waiting).max(block.min(self.kept(need).own));
            if block < calls * need.units_per_call {
                lacking.push(need.at);
                retry_at = retry_at.max(counter.paused_until(&self.rules));
                in_block = in_block.min(block / need.units_per_call);
            }
        }
        // A part that is to be had now beats all of it after a pause.
        if lacking.is_empty() || (in_block >= min_calls && retry_at > now) {
            let calls = u32::try_from(in_block).unwrap_or(u32::MAX);
            return Verdict::Grant { calls };
        }
        if retry_at > now + self.rules.store_wait {
            // The counter is at its limit: what has left since is for the next
            // reserve, and that is further away than anybody should hang on.
            let refused =
                lacking.iter().max_by_key(|at| self.groups.counter(**at).paused_until(&self.rules));
            if let Some(at) = refused {
                let reason = self.reason(*at, ask.class);
                let refusal = Refusal { at: *at, reason, frees_at: Some(retry_at), never: false };
                let pausing =
                    |at: &CounterRef| self.groups.counter(*at).paused_until(&self.rules) > now;
                let lacking = lacking.iter().copied().filter(pausing).collect();
                return Verdict::Refuse { refusal, lacking };
            }
        }
        let calls = u32::try_from(calls).unwrap_or(u32::MAX);
        Verdict::AwaitBlock { calls, lacking, retry_at }
    }

    /// The answer to a check: as if every block could be fetched.
    pub(super) fn check(&self, now: Mono, ask: &Ask, plan: &Arc<Plan>) -> Outcome {
        let ahead = self.queue.ahead_of(ask.class, plan);
        let chosen = self.chosen(now, ask, plan, &ahead);
        let calls = match self.judge(now, ask, chosen, &ahead) {
            Verdict::Grant { calls } | Verdict::AwaitBlock { calls, .. } => calls,
            Verdict::Refuse { refusal, .. } => {
                let explanation = self.explain(now, ask, chosen, &ahead, Some(refusal.at));
                let mut denial = self.denial(now, ask, chosen, &refusal, 0);
                denial.explanation = explanation;
                return Outcome::Denied(denial);
            }
        };
        Outcome::Granted(Box::new(Permit {
            key: None,
            epoch: self.epoch,
            calls,
            user: chosen.user.clone(),
            decided: now,
            life_left: Duration::ZERO,
            class_state: self.class_state_of(chosen.tag),
            limits: self.usages(now, chosen),
            explanation: self.explain(now, ask, chosen, &ahead, None),
        }))
    }

    /// The plan with a user, where it leaves the user open.
    pub(super) fn chosen<'a>(
        &self,
        now: Mono,
        ask: &Ask,
        plan: &'a Arc<Plan>,
        ahead: &Ahead,
    ) -> &'a Arc<Plan> {
        match self.choose(now, ask, plan, ahead) {
            Some(index) => &plan.pool[index],
            None => plan,
        }
    }

    /// A refusal for the caller.
    pub(super) fn denial(
        &self,
        now: Mono,
        ask: &Ask,
        plan: &Plan,
        refusal: &Refusal,
        queue_position: u32,
    ) -> Box<Denial> {
        let counter = self.groups.counter(refusal.at);
        let retry_after = match counter.kind {
            _ if refusal.reason == DenialReason::CoolingDown => {
                refusal.frees_at.map(|at| at.since(now))
            }
            // A slot is free when its call is over, and nobody knows when.
            Kind::Concurrency => None,
            Kind::Window if refusal.never => None,
            Kind::Window => refusal.frees_at.map(|at| at.since(now)),
        };
        let limit = self.usage_of(now, refusal.at, plan.tag);
        Box::new(Denial {
            reason: refusal.reason,
            message: self.cooling_sentence(now, refusal).unwrap_or_else(|| {
                let kept = self.refusal_kept_for(&plan.needs, refusal);
                super::view::sentence(ask, &limit, refusal, retry_after, &kept, queue_position)
            }),
            limit: Some(limit),
            limits: self.usages(now, plan),
            retry_after,
            queue_position,
            class_state: self.class_state_of(plan.tag),
            explanation: Vec::new(),
        })
    }

    /// The limit that frees last binds; of two at the same time the org's
    /// before the workspace's before the user's before slots.
    fn refuse(&self, now: Mono, ask: &Ask, short: &[(Need, Room)], ahead: &Ahead) -> Verdict {
        let min_calls = u64::from(ask.min_calls);
        let mut binding: Option<(Option<Mono>, u8, Refusal)> = None;
        for (need, room) in short {
            let counter = self.groups.counter(need.at);
            let never = room.ceiling < min_calls * need.units_per_call;
            let frees_at = self.frees_at(now, need, ask, ahead).filter(|_| !never);
            let precedence = match (counter.kind, counter.scope) {
                (Kind::Concurrency, _) => 0,
                (Kind::Window, Scope::ExecutionUser) => 1,
                (Kind::Window, Scope::Workspace) => 2,
                (Kind::Window, Scope::Org) => 3,
            };
            let reason = self.reason(need.at, ask.class);
            let refusal = Refusal { at: need.at, reason, frees_at, never };
            let later = |best: &(Option<Mono>, u8, Refusal)| match (frees_at, best.0) {
                (None, None) => precedence > best.1,
                (None, Some(_)) => true,
                (Some(_), None) => false,
                (Some(at), Some(best_at)) => (at, precedence) > (best_at, best.1),
            };
            if binding.as_ref().is_none_or(later) {
                binding = Some((frees_at, precedence, refusal));
            }
        }
        let never = short.iter().any(|(need, room)| room.ceiling < min_calls * need.units_per_call);
        let (_, _, refusal) = binding.expect("something is short");
        let lacking = short.iter().map(|(need, _)| need.at).collect();
        Verdict::Refuse { refusal: Refusal { never, ..refusal }, lacking }
    }

    pub(super) fn reason(&self, at: CounterRef, class: Class) -> DenialReason {
        let counter = self.groups.counter(at);
        match (counter.kind, counter.scope) {
            (Kind::Concurrency, _) => DenialReason::ConcurrencyLimit,
            (Kind::Window, Scope::Org) => DenialReason::OrgLimit,
            // CONTROL is never told of the workspace.
            (Kind::Window, Scope::Workspace) if class == Class::Control => DenialReason::OrgLimit,
            (Kind::Window, Scope::ExecutionUser) => DenialReason::ExecutionUserLimit,
            (Kind::Window, Scope::Workspace) => {
                let served = counter.served();
                let pauses_below = self
                    .thresholds(at.group, class)
                    .is_some_and(|thresholds| thresholds.pause_point(counter.max) < served);
                if counter.is_workspace_cap() && pauses_below && counter.used() < served {
                    DenialReason::WorkspaceClassPaused
                } else {
                    DenialReason::WorkspaceLimit
                }
            }
        }
    }

    /// What a limit has left for a class, by what is counted; the open block
    /// aside, and less what requests ahead wait for.
    fn room(&self, now: Mono, need: &Need, ask: &Ask, ahead: &Ahead) -> Room {
        if self.groups.counter(need.at).shadow {
            return Room { units: UNBOUNDED, ceiling: UNBOUNDED };
        }
        self.enforced_room(now, need, ask, ahead)
    }

    /// The same as if no limit were in shadow.
    pub(super) fn enforced_room(&self, now: Mono, need: &Need, ask: &Ask, ahead: &Ahead) -> Room {
        let counter = self.groups.counter(need.at);
        let (level, ceiling) = self.gate(now, counter, need, ask);
        let waiting = ahead.get(&need.at).copied().unwrap_or(0);
        let counted = counter.used().saturating_add(self.others(now, counter));
        let free = level.saturating_sub(counted);
        // What is guaranteed to a workspace waits for nobody.
        let units = free.saturating_sub(waiting).max(free.min(self.kept(need).own));
        Room { units, ceiling }
    }

    /// True if a limit has room for so many units, whoever is ahead.
    pub(super) fn has_room_for(&self, now: Mono, need: &Need, ask: &Ask, units: u64) -> bool {
        self.room(now, need, ask, &Ahead::new()).units >= units
    }

    /// Up to where this class may fill a counter now, and ever.
    fn gate(&self, now: Mono, counter: &Counter, need: &Need, ask: &Ask) -> (u64, u64) {
        let class = ask.class;
        let bound = counter.enforced_bound();
        if counter.is_org_total() {
            let counted = counter.used().saturating_add(self.others(now, counter));
            let (level, ceiling) = self.kept(need).gate(bound, self.reserve(), class, counted);
            let probes = self.probe_is_due(now) || self.may_probe(now, need.at);
            // The fewest that are of use: less could not be granted, and an org whose
            // callers all ask for several would look never.
            let looks = need.units_per_call * u64::from(ask.min_calls);
            if probes && self.total_is_blocked(now, looks) {
                // Foreign use alone blocks, and nobody has looked for a while.
                return (level.max(counted.saturating_add(looks)), ceiling);
            }
            return (level, ceiling);
        }
        if counter.is_burn_limit() && class != Class::Control {
            return (counter.served(), counter.served());
        }
        if counter.is_workspace_cap()
            && let Some(thresholds) = self.thresholds(need.at.group, class)
        {
            // Its classes pause by the cap itself: what nobody is granted is a bound
            // of its own.
            let point = thresholds.pause_point(counter.max).min(counter.served());
            let paused = self.groups.get(need.at.group).classes.get(class).paused;
            let ceiling = if self.rules.has(Fault::GateBeforeGrant) { bound } else { point };
            return (if paused { 0 } else { ceiling }, ceiling);
        }
        if counter.kind == Kind::Concurrency && !counter.shadow {
            return (counter.lowered_bound(now, &self.rules), bound);
        }
        (bound, bound)
    }

    /// What others use of a counter.
    pub(super) fn others(&self, now: Mono, counter: &Counter) -> u64 {
        if counter.is_org_total() { self.foreign_units(now) } else { 0 }
    }

    /// When a counter will have room for the fewest calls that are of use,
    /// after those ahead; `None` where nobody can know.
    pub(super) fn frees_at(
        &self,
        now: Mono,
        need: &Need,
        ask: &Ask,
        ahead: &Ahead,
    ) -> Option<Mono> {
        let counter = self.groups.counter(need.at);
        let (mut level, ceiling) = self.gate(now, counter, need, ask);
        let mut wanted = need.units_per_call * u64::from(ask.min_calls)
            + ahead.get(&need.at).copied().unwrap_or(0);
        if counter.is_workspace_cap()
            && self.groups.get(need.at.group).classes.get(ask.class).paused
            && let Some(thresholds) = self.thresholds(need.at.group, ask.class)
        {
            // It resumes when use is below the resume point; then there must be
            // room below the pause point.
            let resume = thresholds.resume_point(counter.max);
            level = ceiling;
            wanted = wanted.max((ceiling + 1).saturating_sub(resume));
        }
        // A long queue waits for several windows.
        let cycles = wanted.saturating_sub(1).checked_div(level).unwrap_or(0);
        let wanted = wanted - cycles * level;
        let others = self.others(now, counter);
        let needed = (counter.used() + others + wanted).saturating_sub(level);
        let cycles = u32::try_from(cycles).unwrap_or(u32::MAX);
        let at = self.leaves_at(need, needed)?;
        // What is free already waits for the counter's next reserve at most.
        let at = at.max(counter.paused_until(&self.rules)).max(now);
        Some(at + counter.window.saturating_mul(cycles))
    }
}

fn units_per_call(charge: &Charge, ask: &Ask) -> u64 {
    match charge.cost {
        Cost::One => 1,
        Cost::Request => u64::from(ask.cost),
    }
}
