//! The ledger of one org: everything that is counted for it, and every decision
//! about it. No clock, no network, no randomness: time, settings, the store's
//! answers and the random part of a permit's name are arguments.
//!
//! Reading order: [`Ledger::acquire`] here; `judge` decides, by plans that `plans`
//! keeps; `queue` parks and wakes; `permits` settles; `reserve` asks the store for
//! blocks, `due` knows which are to be asked for; `reconcile`
//! takes Salesforce's own figures; `cooling` heeds its refusals; `classes` pauses
//! and resumes, `news` tells of it; `guarantees` keep a part of the total for
//! workspaces, `burn` brakes one, `shadow` counts what is not enforced; `closed`
//! begins without knowing what was counted; `view` shows, `explain` tells why,
//! `attribute` notes who used it, and `forecast` says until when it lasts.

mod attribute;
mod burn;
mod classes;
mod closed;
mod cooling;
mod counter;
mod due;
mod explain;
mod forecast;
mod glance;
mod groups;
mod guarantees;
mod judge;
mod news;
mod permits;
mod plans;
mod queue;
mod readings;
mod reconcile;
mod requests;
mod reserve;
mod shadow;
mod view;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use smol_str::SmolStr;

use self::{
    closed::Closed,
    cooling::BackOff,
    counter::{Counter, Numbers},
    due::Due,
    groups::{CounterRef, Groups},
    guarantees::Guarantees,
    judge::{Plan, Verdict},
    news::News,
    permits::{PermitState, Permits},
    plans::Plans,
    queue::Queue,
    readings::Readings,
    reconcile::Foreign,
    requests::{Remembered, Requests},
    shadow::ShadowDenials,
};
pub use self::{
    queue::WaiterId,
    reserve::{GroupWrite, ReserveOutcome, Standing, Stored},
};
use super::{
    Ask, AskError, Catalogue, Group, Mono, Now, OrgId, OrgPolicy, Outcome, Permit, PermitKey,
    Scope, Wall,
    attribution::Attribution,
    catalogue::{Charge, Kind, Max},
    record::GroupRecord,
    rules::{Fault, Rules},
    tight,
};

/// The ledger of one org.
#[derive(Clone, Debug)]
pub struct Ledger {
    org: OrgId,
    /// Of all orgs: 336 bytes.
    rules: Arc<Rules>,
    epoch: u64,
    policy: Arc<OrgPolicy>,
    catalogue: Arc<Catalogue>,
    groups: Groups,
    plans: Plans,
    permits: Permits,
    requests: Requests,
    queue: Queue,
    /// Units that waiting asks need of each counter: what the next reserve aims
    /// at.
    demand: BTreeMap<CounterRef, u64>,
    /// When groups want to be written.
    due: Due,
    in_flight: bool,
    /// Reserves that have been sent, of any group.
    sends: u64,
    stopped: bool,
    foreign: Option<Foreign>,
    closed: Option<Closed>,
    /// When the first grant was made that no reading has followed.
    unread_since: Option<Mono>,
    last_probe: Option<Mono>,
    violations: Vec<&'static str>,
    /// Counts changes that a watcher may want to see.
    changes: u64,
    guarantees: Guarantees,
    news: News,
    shadow_denials: ShadowDenials,
    /// How long callers wait while Salesforce does not serve.
    back_off: BackOff,
    attribution: Attribution,
    readings: Readings,
}

/// The answer to an ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Decided.
    Done(Outcome),
    /// It waits; [`Ledger::pump`] will answer.
    Parked(WaiterId),
}

impl Ledger {
    /// The ledger of an org in an epoch, with what the store holds for it: what
    /// former epochs left is sealed at once.
    #[must_use]
    pub fn new(
        now: Now,
        epoch: u64,
        rules: impl Into<Arc<Rules>>,
        policy: Arc<OrgPolicy>,
        catalogue: Arc<Catalogue>,
        stored: Vec<(Group, Stored)>,
    ) -> Self {
        Self::closed_since(now, epoch, rules, policy, catalogue, stored, None)
    }

    /// The same where what was counted until a moment is not known: of every
    /// counter that has no record of after it, all that is left counts as lost
    /// then. The org's total of the day, and its workspaces' caps, open with a
    /// reading of the total.
    #[must_use]
    pub fn closed_since(
        now: Now,
        epoch: u64,
        rules: impl Into<Arc<Rules>>,
        policy: Arc<OrgPolicy>,
        catalogue: Arc<Catalogue>,
        stored: Vec<(Group, Stored)>,
        closed_since: Option<Wall>,
    ) -> Self {
        let mut ledger = Self {
            org: policy.org.clone(),
            rules: rules.into(),
            epoch,
            policy,
            catalogue,
            groups: Groups::default(),
            plans: Plans::default(),
            permits: Permits::default(),
            requests: Requests::default(),
            queue: Queue::default(),
            demand: BTreeMap::new(),
            due: Due::default(),
            in_flight: false,
            sends: 0,
            stopped: false,
            foreign: None,
            closed: closed_since.map(|since| Closed::since(now, since)),
            unread_since: None,
            last_probe: None,
            violations: Vec::new(),
            changes: 0,
            guarantees: Guarantees::default(),
            news: News::default(),
            shadow_denials: ShadowDenials::default(),
            back_off: BackOff::default(),
            attribution: Attribution::new(now),
            readings: Readings::default(),
        };
        for (key, stored) in &stored {
            ledger.restore(now, key, stored);
        }
        ledger.configure_counters();
        ledger.close_unknown(&stored);
        ledger.expire(now.mono);
        ledger
    }

    /// The org.
    #[must_use]
    pub fn org(&self) -> &OrgId {
        &self.org
    }

    /// The epoch.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The settings in force.
    #[must_use]
    pub fn policy(&self) -> &Arc<OrgPolicy> {
        &self.policy
    }

    /// Takes over new settings. Raising acts at once; lowering only refuses
    /// until use has fallen. Call [`Ledger::pump`] afterwards.
    pub fn configure(&mut self, now: Mono, policy: Arc<OrgPolicy>, catalogue: Arc<Catalogue>) {
        self.expire(now);
        let before = std::mem::replace(&mut self.policy, policy);
        self.catalogue = catalogue;
        self.plans.clear();
        self.configure_counters();
        self.reset_classes(now, &before);
        self.replan(now);
        self.changes += 1;
    }

    /// Decides an ask, or parks it. `nonce` is the random part of the permit's
    /// name; `may_park` is false where the node has too many waiting already.
    pub fn acquire(&mut self, now: Mono, ask: &Ask, nonce: u64, may_park: bool) -> Answer {
        self.forget(now);
        if self.stopped {
            return Answer::Done(Outcome::Failed(AskError::NotOwner));
        }
        if !ask.check_only
            && let Some(answer) = self.repeated(now, ask)
        {
            return answer;
        }
        let plan = match self.plan(now, ask) {
            Ok(plan) => plan,
            Err(error) => return Answer::Done(Outcome::Failed(error)),
        };
        let of_pool = plan.pool.iter().flat_map(|plan| &plan.needs);
        self.expire_counters(now, plan.needs.iter().chain(of_pool).map(|need| need.at));
        self.update_classes_of(now, plan.tag);
        if ask.check_only {
            return Answer::Done(self.check(now, ask, &plan));
        }
        self.note_asked(now, ask);
        if self.permits.len() >= self.rules.max_permits {
            self.note_refused(now, ask, None);
            return Answer::Done(Outcome::Failed(AskError::TooManyPermits));
        }
        let ahead = self.queue.ahead_of(ask.class, &plan);
        let chosen = self.chosen(now, ask, &plan, &ahead);
        let verdict = self.judge(now, ask, chosen, &ahead);
        match verdict {
            Verdict::Grant { calls } => {
                Answer::Done(Outcome::Granted(self.grant(now, ask, chosen, calls, nonce)))
            }
            Verdict::Refuse { ref refusal, .. } if ask.max_wait.is_zero() || refusal.never => {
                self.note_refused(now, ask, Some(refusal.reason));
                Answer::Done(Outcome::Denied(self.denial(now, ask, chosen, refusal, 0)))
            }
            Verdict::Refuse { .. } | Verdict::AwaitBlock { .. } => {
                self.park(now, ask.clone(), plan, verdict, nonce, may_park)
            }
        }
    }

    /// Drops what has left of every counter, and what need not be known any
    /// more. Requests drop only what has left of the counters that they touch:
    /// an org has thousands.
    pub fn expire(&mut self, now: Mono) {
        self.note_level(now);
        let rules = *self.rules;
        let (mut opened, mut emptied) = (Vec::new(), Vec::new());
        for (slot, group) in self.groups.iter_mut_by_time() {
            for counter in &mut group.counters {
                let (cooled, was_empty) = (counter.cooling.is_some(), counter.is_empty());
                counter.expire(now, &rules);
                if cooled && counter.cooling.is_none() {
                    opened.push(slot);
                }
                if !was_empty && counter.is_empty() {
                    emptied.push(slot);
                }
            }
        }
        // A record of nothing can be deleted.
        for slot in emptied {
            self.groups.note_change(slot);
        }
        // Nobody who waits has reckoned with what a forgotten cooling-down had
        // taken away.
        for slot in opened {
            self.groups.touch(slot);
        }
        self.forget(now);
    }

    /// Drops what has left of some counters.
    fn expire_counters(&mut self, now: Mono, counters: impl Iterator<Item = CounterRef>) {
        self.note_turn(now);
        for at in counters {
            self.groups.counter_mut(at).expire(now, &self.rules);
        }
    }

    /// Drops permits that need not be known any more, and an old estimate of
    /// foreign use.
    fn forget(&mut self, now: Mono) {
        let Self { permits, groups, requests, .. } = self;
        permits.forget(now, |key, permit| {
            for need in &permit.plan.needs {
                groups.drop_ref(need.at.group);
            }
            if let Some(request) = &permit.request {
                requests.forget(request, Remembered::Granted(key));
            }
        });
        self.expire_foreign(now);
        self.forget_places(now);
    }

    /// Frees the memory of identities that nothing is known of any more.
    /// True if nothing is left at all.
    pub fn sweep(&mut self, now: Mono) -> bool {
        self.expire(now);
        // A class that nobody asks for would stay paused, and its record with it.
        self.update_classes(now);
        self.tell_cooling(now);
        if self.groups.sweep() {
            self.plans.clear();
        }
        self.forget_lines(now);
        self.attribution.sweep(now);
        self.permits.release();
        self.groups.release();
        self.groups.iter().next().is_none()
            && self.permits.len() == 0
            && self.queue.is_empty()
            && self.foreign.is_none()
    }

    /// Violations of invariants that were seen since the last call, by number.
    pub fn take_violations(&mut self) -> Vec<&'static str> {
        std::mem::take(&mut self.violations)
    }

    /// Rises with every change that a watcher may want to see.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Permits that can still be used.
    #[must_use]
    pub fn permits_out(&self, now: Mono) -> u32 {
        u32::try_from(self.permits.out(now)).unwrap_or(u32::MAX)
    }

    /// Requests that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Requests that wait, by class, in the order of service.
    #[must_use]
    pub fn waiting_by_class(&self) -> [u32; 4] {
        self.queue.by_class()
    }

    /// How often a waiting request was judged since the ledger was made: the
    /// work that the queue has made.
    #[must_use]
    pub fn queue_work(&self) -> u64 {
        self.queue.judged
    }

    fn violation(&mut self, id: &'static str) {
        self.violations.push(id);
    }

    /// A request id that is known already.
    fn repeated(&mut self, now: Mono, ask: &Ask) -> Option<Answer> {
        let request = ask.request.as_ref()?;
        let (remembered, same_body) = self.requests.find(request)?;
        let answer = match remembered {
            Remembered::Waiting(id) => Answer::Parked(id),
            Remembered::Granted(key) => Answer::Done(Outcome::Granted(self.repeat(now, key)?)),
            // Decided anew; if it waits again, then where it was.
            Remembered::Kept(_) if same_body => return None,
            Remembered::Kept(_) => Answer::Done(Outcome::Failed(AskError::RequestIdReused)),
        };
        let reused = Answer::Done(Outcome::Failed(AskError::RequestIdReused));
        Some(if same_body { answer } else { reused })
    }

    /// A permit again, with the life that it has left; `None` if it has ended
    /// for its caller (it may be known for longer, for the slots that it holds).
    fn repeat(&mut self, now: Mono, key: PermitKey) -> Option<Box<Permit>> {
        let plan = self.touch_permit(now, key)?;
        let permit = self.permits.get(key).filter(|permit| now < permit.expires)?;
        if permit.usable_calls() == 0 {
            // All of it was given back, and may have been granted again.
            return None;
        }
        let full = self.rules.has(Fault::RepeatWithFullTtl);
        Some(Box::new(Permit {
            key: Some(key),
            epoch: self.epoch,
            calls: permit.usable_calls(),
            user: plan.user.clone(),
            decided: now,
            life_left: permit.expires.since(if full { permit.granted } else { now }),
            class_state: self.class_state_of(plan.tag),
            limits: self.usages(now, &plan),
            explanation: Vec::new(),
        }))
    }

    /// Brings the counters and the workspace of a permit up to date, and names
    /// them.
    fn touch_permit(&mut self, now: Mono, key: PermitKey) -> Option<Arc<Plan>> {
        let plan = Arc::clone(&self.permits.get(key)?.plan);
        self.expire_counters(now, plan.needs.iter().map(|need| need.at));
        self.update_classes_of(now, plan.tag);
        Some(plan)
    }

    /// Charges every limit of the plan: the caller has seen room in all.
    fn grant(
        &mut self,
        now: Mono,
        ask: &Ask,
        plan: &Arc<Plan>,
        calls: u32,
        nonce: u64,
    ) -> Box<Permit> {
        let wanted = ask.ttl.unwrap_or(plan.default_ttl);
        let allowed = plan.needs.iter().map(|need| self.groups.ttl_allowed(need.at)).min();
        let allowed = allowed.unwrap_or(wanted);
        let cools = plan.needs.iter().any(|need| self.groups.counter(need.at).cooling.is_some());
        let most = if cools { self.probe_life(now, plan) } else { Duration::MAX };
        let life = wanted.min(allowed).min(most);
        let expires = now + life;
        let stamp = self.unsettled_stamp(expires);
        let mut forget_at = expires;
        let mut violated = false;
        self.count_shadow_denials(now, ask, plan);
        for need in &plan.needs {
            let group = self.groups.get_mut(need.at.group);
            group.refs += 1;
            let counter = &mut group.counters[usize::from(need.at.counter)];
            let units = need.units_per_call * u64::from(calls);
            counter.grant(now, stamp, plan.tag, units, &self.rules);
            violated |= counter.overdraws();
            if counter.kind == Kind::Concurrency {
                forget_at = forget_at.max(stamp + counter.window);
            }
        }
        if violated {
            self.violation("I2");
        }
        if let (Some(user), Some(Group::Workspace(_))) = (&plan.user, self.groups.tag(plan.tag)) {
            let group = self.groups.get_mut(plan.tag);
            if group.last_user.as_ref() != Some(user) {
                group.last_user = Some(user.clone());
            }
        }
        if plan.needs.iter().any(|need| self.groups.counter(need.at).is_org_total()) {
            self.unread_since.get_or_insert(now);
            if self.probe_is_due(now) && self.total_is_blocked(now, 0) {
                self.last_probe = Some(now);
            }
        }
        self.changes += 1;
        self.note_level(now);
        let origin = self.note_granted(now, ask, plan, calls);
        let key = PermitKey(nonce);
        if cools {
            self.note_probe(now, key, plan, stamp);
        }
        if let Some(request) = &ask.request {
            self.requests.remember(request, Remembered::Granted(key));
        }
        let state = PermitState::new(
            calls,
            Arc::clone(plan),
            now,
            expires,
            forget_at,
            self.sends,
            ask.request.clone().map(Box::new),
            origin,
            ask.principal.clone(),
        );
        self.permits.insert(key, state);
        self.update_classes_of(now, plan.tag);
        Box::new(Permit {
            key: Some(key),
            epoch: self.epoch,
            calls,
            user: plan.user.clone(),
            decided: now,
            life_left: life,
            class_state: self.class_state_of(plan.tag),
            limits: self.usages(now, plan),
            explanation: Vec::new(),
        })
    }

    fn restore(&mut self, now: Now, key: &Group, stored: &Stored) {
        let rules = *self.rules;
        let slot = self.groups.slot_or_new(key);
        let (scope, identity) = self.identity(key);
        let group = self.groups.get_mut(slot);
        group.record.revision = stored.revision;
        let GroupRecord { counters, paused, foreign, told, .. } = &stored.record;
        group.told = news::Told::restored(paused, told.as_ref());
        if !rules.has(Fault::TakeoverWithoutSealing) {
            group.counters.reserve_exact(counters.len());
            for record in counters {
                group.counters.push(Counter::restored(
                    now,
                    record,
                    scope,
                    identity.clone(),
                    &rules,
                ));
            }
        }
        for class in paused {
            group.classes.set(*class, groups::ClassRun { paused: true, since: None });
        }
        if let Some(foreign) = foreign {
            self.foreign = Some(Foreign::restored(now, *foreign));
        }
    }

    /// Gives every counter the numbers that hold now.
    fn configure_counters(&mut self) {
        self.guarantees = Guarantees::of(&self.policy);
        let slots: Vec<u32> = self.groups.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            let gates = self.gates_of(&self.groups.get(slot).key);
            self.groups.get_mut(slot).gates = gates;
            let group = self.groups.get(slot);
            let (scope, _) = self.identity(&group.key);
            let charges: Vec<Option<Charge>> =
                group.counters.iter().map(|c| self.charge_of(scope, &group.key, c)).collect();
            let key = group.key.clone();
            for (at, charge) in charges.into_iter().enumerate() {
                // A limit that the catalogue has no more keeps its last numbers
                // until its units have left.
                let Some(charge) = charge else { continue };
                let numbers = self.numbers(&charge, &key);
                self.groups.get_mut(slot).counters[at].configure(&charge, numbers);
            }
        }
    }

    fn charge_of(&self, scope: Scope, key: &Group, counter: &Counter) -> Option<Charge> {
        if scope == Scope::Org && counter.is_org_total() {
            return Some(self.org_total());
        }
        if counter.is_burn_limit() {
            return self.burn_charge(key);
        }
        if scope == Scope::Workspace && counter.is_workspace_cap() {
            return Some(Charge::workspace_cap());
        }
        let mut charges = self.catalogue.operations.values().flat_map(|op| &op.charges);
        charges.find(|charge| charge.scope == scope && charge.limit == counter.limit).cloned()
    }

    /// A limit's numbers for one identity.
    fn numbers(&self, charge: &Charge, group: &Group) -> Numbers {
        let share_of = |limit: u64| {
            let share = (u128::from(limit) * u128::from(self.policy.outage_share)).div_ceil(100);
            u64::try_from(share).unwrap_or(limit).min(limit)
        };
        let served = |limit: u64| limit - share_of(limit);
        if let Group::Workspace(workspace) = group
            && charge.is_own_of_workspace()
        {
            let policy = self.policy.workspaces.get(workspace);
            let cap = policy.and_then(|policy| policy.daily_calls);
            let max = match charge.max {
                Max::Fixed(max) => max,
                Max::OrgDaily | Max::OrgConcurrent => cap.unwrap_or(0),
            };
            return Numbers {
                max,
                outage_share: share_of(max),
                bound: UNBOUNDED,
                block_base: served(self.daily_limit()),
                shadow: policy.is_some_and(|policy| policy.shadow),
                look_back: Duration::ZERO,
            };
        }
        let max = match charge.max {
            Max::Fixed(max) => max,
            Max::OrgDaily => self.daily_limit(),
            Max::OrgConcurrent => self.policy.concurrent_calls,
        };
        let bound = if charge.shadow { UNBOUNDED } else { served(max) };
        let is_read = charge.max == Max::OrgDaily;
        let look_back = if is_read { self.look_back() } else { Duration::ZERO };
        Numbers {
            max,
            outage_share: share_of(max),
            bound,
            block_base: served(max),
            shadow: charge.shadow,
            look_back,
        }
    }

    fn identity(&self, group: &Group) -> (Scope, SmolStr) {
        match group {
            Group::Org => (Scope::Org, self.org.as_str().into()),
            Group::User(user) => (Scope::ExecutionUser, user.as_str().into()),
            Group::Workspace(workspace) => (Scope::Workspace, workspace.as_str().into()),
        }
    }

    /// The place of a charge's counter; made if there is none.
    fn counter_ref(&mut self, key: &Group, charge: &Charge) -> CounterRef {
        let slot = self.groups.slot(key).unwrap_or_else(|| {
            let slot = self.groups.slot_or_new(key);
            self.groups.get_mut(slot).gates = self.gates_of(key);
            slot
        });
        let counter = self.groups.get(slot).find(&charge.limit).unwrap_or_else(|| {
            let numbers = self.numbers(charge, key);
            let (_, identity) = self.identity(key);
            let mut counter = Counter::new(charge, identity, numbers);
            if let Some(closed) = self.closed {
                let ttl_cap = counter.ttl_cap;
                closed.close(&mut counter, ttl_cap, &self.rules);
            }
            let counters = &mut self.groups.get_mut(slot).counters;
            tight::push(counters, counter);
            u16::try_from(counters.len() - 1).expect("the limits of a catalogue are bounded")
        });
        CounterRef { group: slot, counter }
    }
}

/// A workspace's counter has no bound of its own: operations that the org's
/// total is not charged for count there too, so even the org's limit may be
/// passed. Nor has a limit in shadow.
const UNBOUNDED: u64 = u64::MAX / 4;
