//! What is shown of a ledger: usage by limit, and refusals as sentences.

use std::{fmt::Write as _, time::Duration};

use super::{
    Ledger,
    counter::Counter,
    groups::CounterRef,
    judge::{Plan, Refusal},
};
use crate::quota::{
    Ask, Class, DenialReason, Group, Kind, LimitUsage, Limits, Mono, OrgUsage, Scope, UserUsage,
    WorkspaceUsage,
    catalogue::Charge,
    figures::thousands,
    window::{NO_TAG, Tag},
};

impl Ledger {
    /// Everything that is counted for the org.
    pub fn usage(&mut self, now: Mono) -> OrgUsage {
        self.show_declared();
        self.expire(now);
        self.update_classes(now);
        let mut limits = Vec::new();
        let mut workspaces = Vec::new();
        let mut users = Vec::new();
        let total = self.total_ref();
        for (slot, group) in self.groups.iter() {
            // A name that nobody declared is shown while it has use; that
            // somebody has asked about it is no use.
            if !self.is_declared(&group.key) && group.counters.iter().all(Counter::is_empty) {
                continue;
            }
            let shown = (0..).zip(&group.counters);
            let shown = shown.filter(|(_, counter)| !self.is_withdrawn(&group.key, counter));
            let refs = shown.map(|(counter, _)| CounterRef { group: slot, counter });
            match &group.key {
                Group::Org => limits = self.forecasts(now, refs, NO_TAG),
                Group::User(user) => users.push(UserUsage {
                    user: user.clone(),
                    limits: self.forecasts(now, refs, NO_TAG),
                    in_pool: self.policy.pool.binary_search(user).is_ok(),
                    foreign_traffic: group.counters.iter().any(Counter::has_foreign_traffic),
                }),
                Group::Workspace(workspace) => workspaces.push(WorkspaceUsage {
                    workspace: workspace.clone(),
                    limits: self.forecasts(now, refs.chain(total), slot),
                    class_state: self.class_state_of(slot),
                    weight: self.policy.workspaces.get(workspace).map_or(1, |policy| policy.weight),
                    guaranteed_calls: (self.policy.workspaces.get(workspace))
                        .map_or(0, |policy| policy.guaranteed_calls),
                    pauses: self.pauses(now, slot),
                }),
            }
        }
        limits.sort_by_key(|limit| (limit.name.as_str() != "calls", limit.name.clone()));
        workspaces.sort_by(|a, b| a.workspace.cmp(&b.workspace));
        users.sort_by(|a, b| a.user.cmp(&b.user));
        OrgUsage {
            org: self.org.clone(),
            limits,
            workspaces,
            users,
            waiting: u32::try_from(self.queue.len()).unwrap_or(u32::MAX),
            permits_out: self.permits_out(now),
            last_reading: self.last_reading(),
            warnings: self.warnings(),
            cooling: self.cooling_usages(now),
            attribution: None,
            queue: Some(self.queue_usage(now)),
            readings: self.seen_readings(),
        }
    }

    /// One limit, as a workspace sees it.
    pub(super) fn usage_of(&self, now: Mono, at: CounterRef, tag: Tag) -> LimitUsage {
        let counter = self.groups.counter(at);
        let foreign = self.others(now, counter);
        let (own, lost) = (counter.own.total(), counter.inherited.lost());
        let sealed = counter.inherited.total() - lost;
        let by_all = own + sealed;
        let by_caller = if tag == NO_TAG || counter.scope == Scope::Workspace {
            by_all
        } else {
            // What former epochs spent is not known by workspace.
            counter.own.of(tag)
        };
        let bounds = !counter.is_gate_only();
        let open = if now < counter.block.deadline && bounds { counter.block.open } else { 0 };
        let held = open + lost;
        let used_by_others = by_all - by_caller + foreign;
        let taken = by_caller.saturating_add(used_by_others).saturating_add(held);
        LimitUsage {
            name: counter.limit.clone(),
            kind: counter.kind,
            scope: counter.scope,
            identity: counter.identity.clone(),
            max: counter.max,
            used_by_caller: by_caller,
            used_by_others,
            foreign,
            held,
            reserved: if counter.is_org_total() { self.reserve() } else { 0 },
            outage_share: counter.outage_share,
            remaining: counter.max.saturating_sub(taken),
            window: counter.window,
            stale: counter.is_org_total() && self.is_stale(now),
            shadow: counter.shadow.then_some(counter.shadow_refusals),
            cooling_until: counter.cooling_until(now),
            burn_per_hour: 0,
            exhausted_at: None,
            opens_at: None,
        }
    }

    pub(super) fn usages(&self, now: Mono, plan: &Plan) -> Limits {
        plan.needs.iter().map(|need| self.usage_of(now, need.at, plan.tag)).collect()
    }

    /// All limits of the org, of declared workspaces and of the pool are shown,
    /// used or not.
    fn show_declared(&mut self) {
        let policy = self.policy.clone();
        let catalogue = self.catalogue.clone();
        let (total, cap) = (self.org_total(), Charge::workspace_cap());
        let charges = catalogue.operations.values().flat_map(|operation| &operation.charges);
        for charge in [&total, &cap].into_iter().chain(charges) {
            match charge.scope {
                Scope::Org => {
                    self.counter_ref(&Group::Org, charge);
                }
                Scope::Workspace => {
                    for workspace in policy.workspaces.keys() {
                        let group = Group::Workspace(workspace.clone());
                        self.counter_ref(&group, charge);
                        if let Some(burn) = self.burn_charge(&group) {
                            self.counter_ref(&group, &burn);
                        }
                    }
                }
                Scope::ExecutionUser => {
                    for user in &policy.pool {
                        self.counter_ref(&Group::User(user.clone()), charge);
                    }
                }
            }
        }
    }

    fn is_declared(&self, key: &Group) -> bool {
        match key {
            Group::Org => true,
            Group::Workspace(workspace) => self.policy.workspaces.contains_key(workspace),
            Group::User(user) => self.policy.pool.binary_search(user).is_ok(),
        }
    }

    pub(super) fn total_ref(&self) -> Option<CounterRef> {
        self.groups.total()
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let declared = self.policy.daily_calls;
        if let Some(read) = self.foreign.and_then(|foreign| foreign.limit)
            && u128::from(read) * 10 < u128::from(declared) * 9
        {
            warnings.push(format!(
                "Salesforce says that org {} has {read} calls in 24 hours, more than 10 % below \
                     the {declared} that are declared",
                self.org
            ));
        }
        if let Some(before) = self.foreign.and_then(|foreign| foreign.fell_from()) {
            warnings.push(format!(
                "Salesforce's limit for org {} was {before} calls in 24 hours within the last day, \
                     and is {} now, more than 10 % below",
                self.org,
                self.daily_limit()
            ));
        }
        let caps: u64 =
            self.policy.workspaces.values().filter_map(|policy| policy.daily_calls).sum();
        if caps > self.daily_limit() {
            warnings.push(format!(
                "the caps of the workspaces add up to {}, more than the {} that org {} has",
                thousands(caps),
                thousands(self.daily_limit()),
                self.org
            ));
        }
        warnings
    }
}

/// A refusal as a sentence. `kept`: for whom a part of the limit is kept; empty
/// where it is for nobody.
pub(super) fn sentence(
    ask: &Ask,
    limit: &LimitUsage,
    refusal: &Refusal,
    retry_after: Option<Duration>,
    kept: &str,
    queue_position: u32,
) -> String {
    let whose = match limit.scope {
        Scope::Org => format!("org {}", limit.identity),
        Scope::Workspace => format!("workspace {}", limit.identity),
        Scope::ExecutionUser => format!("execution user {}", limit.identity),
    };
    let used = thousands(limit.used_by_caller + limit.used_by_others);
    let max = thousands(limit.max);
    let mut text = match limit.kind {
        Kind::Concurrency => {
            format!("{whose} has {used} of {max} slots of '{}' taken", limit.name)
        }
        Kind::Window => format!(
            "{whose} has used {used} of {max} in {} of '{}'",
            span(limit.window),
            limit.name
        ),
    };
    if limit.held > 0 {
        let _ = write!(text, ", {} more are set aside", thousands(limit.held));
    }
    if limit.reserved > 0 && ask.class != Class::Control {
        let _ = write!(text, ", {} are kept for other integrations", thousands(limit.reserved));
    }
    if limit.outage_share > 0 {
        let _ = write!(text, ", {} are kept for outages", thousands(limit.outage_share));
    }
    if !kept.is_empty() {
        let _ = write!(text, ", {kept}");
    }
    if refusal.reason == DenialReason::WorkspaceClassPaused {
        let _ = write!(
            text,
            "; {} calls are paused below the cap, and raising the cap resumes them",
            ask.class.name()
        );
    }
    if refusal.never {
        let _ = write!(
            text,
            "; {} calls of cost {} can never fit at once: ask for fewer",
            thousands(ask.min_calls.into()),
            thousands(ask.cost.into())
        );
    }
    match retry_after {
        _ if queue_position > 0 && !refusal.never => {
            let _ = write!(text, "; you are number {queue_position} in the queue");
            if let Some(wait) = retry_after {
                let _ = write!(text, ", your turn in {}", span(wait));
            }
        }
        Some(wait) if !refusal.never => {
            let _ = write!(text, "; there will be room in {}", span(wait));
        }
        _ => {}
    }
    text
}

/// A length of time for people: its two largest units.
pub(super) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3_600 % 24, "h"),
        (seconds / 60 % 60, "min"),
        (seconds % 60, "s"),
    ];
    let first = parts.iter().position(|(count, _)| *count > 0);
    match first {
        None => format!("{} ms", duration.as_millis()),
        Some(first) => {
            let shown = parts[first..].iter().take(2).filter(|(count, _)| *count > 0);
            shown.map(|(count, unit)| format!("{count} {unit}")).collect::<Vec<_>>().join(" ")
        }
    }
}
