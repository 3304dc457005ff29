//! The org's total at a glance: what is shown of thousands of orgs at once.

use super::{Ledger, counter::Counter};
use crate::quota::{
    Class, CoolingLine, Group, Mono, OrgGlance, OrgLine, Scope, WorkspaceId, window::NO_TAG,
};

impl Ledger {
    /// The org's total; `None` where nothing has been counted or read of it.
    #[must_use]
    pub fn glance(&self, now: Mono) -> Option<OrgGlance> {
        let reading_age = self.last_reading().map(|read| now.since(read));
        let Some(total) = self.total_ref() else {
            // None of our calls counted in it, but others' may.
            return reading_age.is_some().then(|| OrgGlance {
                limit: self.daily_limit(),
                foreign: self.foreign_units(now),
                reading_age,
                drift: self.drift(),
                ..OrgGlance::default()
            });
        };
        let total = self.usage_of(now, total, NO_TAG);
        Some(OrgGlance {
            limit: total.max,
            used: total.used_by_caller + total.used_by_others.saturating_sub(total.foreign),
            foreign: total.foreign,
            held: total.held,
            reading_age,
            drift: self.drift(),
        })
    }

    /// The org in a line. Its total is as of now; what workspaces have used, and
    /// their classes, as of the last use of each or the last sweep, so that a look
    /// costs next to nothing also where there are thousands of them.
    pub fn line(&mut self, now: Mono) -> OrgLine {
        self.forget(now);
        let charge = self.org_total();
        let total = self.counter_ref(&Group::Org, &charge);
        self.expire_counters(now, [total].into_iter());
        let total = self.forecasts(now, [total].into_iter(), NO_TAG).pop();
        let declared = u32::try_from(self.policy.workspaces.len()).unwrap_or(u32::MAX);
        let mut line = OrgLine {
            org: self.org.clone(),
            total: total.expect("one limit was asked for"),
            workspaces: declared,
            paused: [0; 3],
            at_limit: 0,
            fullest: None,
            waiting: u32::try_from(self.queue.len()).unwrap_or(u32::MAX),
            cooling: self.cooling_line(now),
        };
        let mut fullest: Option<(&WorkspaceId, u64)> = None;
        for (slot, group) in self.groups.iter() {
            let Group::Workspace(workspace) = &group.key else { continue };
            let Some(policy) = self.policy.workspaces.get(workspace) else {
                line.workspaces += u32::from(!group.counters.iter().all(Counter::is_empty));
                continue;
            };
            let Some(cap) = policy.daily_calls.filter(|cap| *cap > 0) else { continue };
            for (count, class) in line.paused.iter_mut().zip(Class::PAUSABLE) {
                *count += u32::from(group.classes.get(class).paused);
            }
            let used = self.workspace_used(slot);
            line.at_limit += u32::from(used >= cap && !policy.shadow);
            let percent = used.saturating_mul(100) / cap;
            // Of equals the first by name.
            let is_fuller = |(name, most): (&WorkspaceId, u64)| (percent, name) > (most, workspace);
            if fullest.is_none_or(is_fuller) {
                fullest = Some((workspace, percent));
            }
        }
        line.fullest = fullest.map(|(workspace, percent)| {
            (workspace.clone(), u32::try_from(percent).unwrap_or(u32::MAX))
        });
        line
    }

    fn cooling_line(&self, now: Mono) -> Option<CoolingLine> {
        let cooling = self.cooling_usages(now);
        let is_total = |name: &str| name == self.org_total().limit.as_str();
        Some(CoolingLine {
            until: cooling.iter().map(|limit| limit.until).min()?,
            scope: cooling.iter().map(|limit| limit.scope).min()?,
            total: cooling
                .iter()
                .any(|limit| limit.scope == Scope::Org && is_total(limit.limit.as_str())),
            limits: u32::try_from(cooling.len()).unwrap_or(u32::MAX),
        })
    }

    /// What others use by the newest reading, less that by the one before.
    fn drift(&self) -> Option<i64> {
        let mut readings = self.readings.iter();
        let (newest, before) = (readings.next()?, readings.next()?);
        let units = |units: u64| i64::try_from(units).unwrap_or(i64::MAX);
        Some(units(newest.foreign()) - units(before.foreign()))
    }
}
