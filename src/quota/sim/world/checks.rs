//! What must hold after every event.

use super::*;

impl World {
    /// From now on somebody who grants, or may, counts in these windows.
    pub(super) fn note_windows(&mut self, catalogue: &Catalogue) {
        for charge in Self::charges(catalogue) {
            let used = self.scenario.style == Style::Day || charge.window < DAY;
            if used {
                self.longest_window = self.longest_window.max(micros(charge.window));
            }
            let mut keys = self.observer.keys();
            keys.retain(|key| key.limit == charge.limit && scope_of(&key.group) == charge.scope);
            for key in keys {
                let slots = charge.kind == Kind::Concurrency;
                self.observer.window(&key, self.order, micros(charge.window), slots);
            }
        }
    }

    /// What the records of a reserve may say.
    pub(super) fn allowed(
        &self,
        node: usize,
        writes: &[GroupWrite],
    ) -> HashMap<CounterKey, Allowed> {
        let Settings { policy, catalogue } = self.settings_of(node);
        let mut daily = Self::daily(&policy, None);
        let mut allowed = HashMap::new();
        for write in writes {
            if write.group == Group::Org
                && let Some(record) = &write.record
            {
                daily = Self::daily(&policy, record.foreign.and_then(|foreign| foreign.limit));
            }
        }
        let waiting = self.nodes[node].waiting.values().flatten();
        let waiting: Vec<_> = waiting.map(|(request, _)| &self.requests[*request].ask).collect();
        for write in writes {
            let scope = scope_of(&write.group);
            for charge in Self::charges(&catalogue).iter().filter(|charge| charge.scope == scope) {
                let key = CounterKey { group: write.group.clone(), limit: charge.limit.clone() };
                let limit = Self::limit_of(&policy, charge, daily);
                let units = |ask: &&crate::quota::Ask| {
                    u64::from(ask.calls) * crate::quota::sim::client::units_per_call(charge, ask)
                };
                let needed: u64 = waiting.iter().map(units).sum();
                let share = if charge.window < Duration::from_secs(3_600) { 20 } else { 200 };
                let base = if charge.scope == Scope::Workspace && charge.max == Max::OrgDaily {
                    // The org's figure may be known from another record.
                    Self::limit_of(&policy, &Charge::org_total(), u64::MAX / 1_000)
                } else {
                    limit
                };
                let cap = scope == Scope::Workspace && charge.max == Max::OrgDaily;
                let block = needed.max(base / share).max(1);
                allowed.insert(key, Allowed { limit: (!cap).then_some(limit), block });
            }
        }
        allowed
    }

    /// I7: a hand-over leaves nothing open that its epoch has set aside.
    pub fn check_handed_over(&mut self, epoch: u64) {
        let records = self.store.read().into_iter();
        let open = records.filter(|(_, stored)| stored.record.epoch == epoch).find_map(|record| {
            let (group, stored) = record;
            let counter = stored.record.counters.iter().find(|counter| counter.open > 0)?;
            Some(format!("{group:?}: {} units of {} are left open", counter.open, counter.limit))
        });
        if let Some(text) = open {
            self.fail("I7", text);
        }
    }

    /// I4 and I9, from outside, at the end.
    pub(super) fn check_arrivals(&mut self) {
        if let Err(overrun) = self.observer.check() {
            self.fail("I4", overrun.to_string());
        }
        self.check_gates();
    }

    /// I9, from outside: what arrived in the day before a grant, and the grant
    /// itself, stay within the class's pause point.
    fn check_gates(&mut self) {
        for (key, at, units, point) in std::mem::take(&mut self.gates) {
            let arrived = self.observer.units(&key, at.saturating_sub(micros(DAY)), at);
            if arrived + units > point {
                let text = format!("{key:?}: {arrived} + {units} pass the pause point {point}");
                self.at = at;
                self.fail("I9", text);
                return;
            }
        }
    }

    /// Nothing waits for ever, and an idle org costs nothing.
    pub(super) fn check_rest(&mut self) {
        let owner = self.owner();
        let now = self.nodes[owner].now(self.at);
        let Some(ledger) = &mut self.nodes[owner].ledger else {
            self.fail("I6", "nobody is up in the end".into());
            return;
        };
        let waiting = ledger.waiting();
        let left = self.store.read();
        let usage = ledger.usage(now.mono);
        let used: u64 = usage.limits.iter().map(|limit| limit.used_by_caller + limit.held).sum();
        if waiting > 0 || used > 0 {
            self.fail("I6", format!("{waiting} wait and {used} units are counted in the end"));
        } else if !usage.cooling.is_empty() {
            self.fail("I6", format!("cooling down in the end: {:?}", usage.cooling));
        } else if !left.is_empty() && self.scenario.style != Style::Saturated {
            self.fail("I6", format!("records of nothing are left: {left:?}"));
        }
    }

    /// Totals of the ledger by counter, now and then: it costs.
    pub(super) fn sampled_totals(&mut self, ledger: &Ledger, now: Mono) -> Option<Totals> {
        (self.rng.u32(0..24) == 0).then(|| totals(ledger, now))
    }

    /// I8: what is charged is what was granted, every limit of it and no other.
    pub(super) fn check_totals(
        &mut self,
        ledger: &Ledger,
        now: Mono,
        before: Totals,
        grants: Vec<usize>,
    ) {
        self.coverage.hit("totals compared");
        let mut expected = before;
        for grant in grants {
            for charge in &self.grants[grant].charges {
                let units = charge.units_per_call * u64::from(self.grants[grant].calls);
                *expected.entry(charge.key.clone()).or_default() += units;
            }
        }
        let after = totals(ledger, now);
        let keys: Vec<CounterKey> = expected.keys().chain(after.keys()).cloned().collect();
        for key in keys {
            let of = |totals: &Totals| totals.get(&key).copied().unwrap_or(0);
            if of(&expected) != of(&after) {
                let text = format!("{key:?}: {} units, not {}", of(&after), of(&expected));
                self.fail("I8", text);
                return;
            }
        }
    }
}

fn totals(ledger: &Ledger, now: Mono) -> Totals {
    let mut ledger = ledger.clone();
    let usage = ledger.usage(now);
    let org = usage.limits.iter().map(|limit| (Group::Org, limit));
    let users = usage
        .users
        .iter()
        .flat_map(|user| user.limits.iter().map(|limit| (Group::User(user.user.clone()), limit)));
    let workspaces = usage.workspaces.iter().flat_map(|workspace| {
        let own = workspace.limits.iter().filter(|limit| limit.scope == Scope::Workspace);
        own.map(|limit| (Group::Workspace(workspace.workspace.clone()), limit))
    });
    org.chain(users)
        .chain(workspaces)
        .map(|(group, limit)| {
            let used = limit.used_by_caller + limit.used_by_others - limit.foreign;
            (CounterKey { group, limit: limit.name.clone() }, used)
        })
        .collect()
}
