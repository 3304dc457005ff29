//! Traffic classes of workspaces: when they pause and resume.

use super::{
    Ledger,
    groups::{ClassRun, Gates, GroupState},
    news::Level,
};
use crate::quota::{
    Class, ClassState, ClassStatus, Group, Mono, OrgPolicy, Thresholds, Warning, WorkspaceId,
    class::ClassPolicy,
    figures::thousands,
    window::{NO_TAG, Tag},
};

/// A workspace is warned when its use has reached this share of its cap.
const WARN: Thresholds = Thresholds { pause: 80, resume: 80 };

impl Ledger {
    /// Lets classes of every workspace pause and resume by what is used now.
    pub fn update_classes(&mut self, now: Mono) {
        let slots: Vec<u32> = self.groups.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            self.pause_or_resume(now, slot, by_use);
        }
    }

    /// The classes that are paused, by workspace: what has left has let others
    /// resume.
    pub fn paused(&mut self, now: Mono) -> Vec<(WorkspaceId, Class)> {
        self.expire(now);
        self.update_classes(now);
        let of_group = |group: &GroupState| match &group.key {
            Group::Workspace(workspace) => {
                let paused = group.classes.paused();
                paused.map(|class| (workspace.clone(), class)).collect()
            }
            Group::Org | Group::User(_) => Vec::new(),
        };
        self.groups.iter().flat_map(|(_, group)| of_group(group)).collect()
    }

    /// The same for the workspace that a tag stands for. Its use rises by its
    /// own grants only, and each looks here before and after: no class misses
    /// the moment at which it resumed.
    pub(super) fn update_classes_of(&mut self, now: Mono, tag: Tag) {
        if tag != NO_TAG {
            self.pause_or_resume(now, tag, by_use);
        }
    }

    /// After a change of a workspace's cap or thresholds: paused only at or above
    /// the pause point. The others stay as they were.
    pub(super) fn reset_classes(&mut self, now: Mono, before: &OrgPolicy) {
        let slots: Vec<u32> = self.groups.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            let Group::Workspace(workspace) = &self.groups.get(slot).key else { continue };
            let gates = |policy: &OrgPolicy| {
                let policy = policy.workspaces.get(workspace)?;
                Some((policy.daily_calls, policy.classes, policy.shadow))
            };
            if gates(before) == gates(&self.policy) {
                self.pause_or_resume(now, slot, by_use);
            } else {
                self.groups.get_mut(slot).told.has_rested();
                self.pause_or_resume(now, slot, |_, used, pause, _| used >= pause);
            }
        }
    }

    /// The thresholds of a class of the workspace in this slot; `None` where it
    /// has no cap, and for `Control`.
    pub(super) fn thresholds(&self, slot: u32, class: Class) -> Option<Thresholds> {
        self.class_policy(slot).and_then(|(_, classes)| classes.of(class))
    }

    /// The classes of the workspace that a tag stands for, if it has a cap.
    pub(super) fn class_state_of(&self, tag: Tag) -> Option<ClassState> {
        if tag == NO_TAG {
            return None;
        }
        let (cap, policy) = self.class_policy(tag)?;
        let group = self.groups.get(tag);
        let status = |class| status_of(class, policy, group.classes.get(class));
        let used = self.workspace_used(tag);
        let Group::Workspace(name) = &group.key else { return None };
        let warning = (used >= group.gates.quiet_below).then(|| level_of(used, cap)).flatten();
        let warning = warning.map(|level| {
            let used_of = format!(
                "workspace {name} has used {} of its {} calls in 24 hours",
                thousands(used),
                thousands(cap)
            );
            let paused: Vec<Class> = group.classes.paused().collect();
            let shadow = group.gates.shadow;
            let what = if shadow {
                "its cap is in shadow, and nothing pauses".to_owned()
            } else {
                said_of_paused(&paused)
            };
            match level {
                Level::Reached if shadow => Warning::LimitReached(format!("{used_of}: {what}")),
                Level::Approaching if shadow => {
                    Warning::ApproachingLimit(format!("{used_of}: {what}"))
                }
                Level::Reached => Warning::LimitReached(format!(
                    "{used_of}: {what}; raising its limit cures this at once"
                )),
                Level::Approaching => Warning::ApproachingLimit(format!(
                    "{used_of}: {what}, {} pauses at {}; raising its limit avoids this",
                    Class::Interactive.described(),
                    thousands(policy.interactive.pause_point(cap))
                )),
            }
        });
        Some(ClassState {
            classes: Class::PAUSABLE.into_iter().filter_map(status).collect(),
            warnings: warning.into_iter().collect(),
        })
    }

    fn pause_or_resume(
        &mut self,
        now: Mono,
        slot: u32,
        pauses: impl Fn(ClassRun, u64, u64, u64) -> bool,
    ) {
        let group = self.groups.get(slot);
        if !matches!(group.key, Group::Workspace(_)) {
            return;
        }
        let used = self.workspace_used(slot);
        // Nearly always: nothing is near its point, and nothing is to be taken back.
        let is_quiet = group.classes.paused().next().is_none() && group.told.is_nothing();
        if is_quiet && used < group.gates.quiet_below {
            return;
        }
        let policy = self.class_policy(slot).filter(|_| !self.is_in_shadow(slot));
        for class in Class::PAUSABLE {
            let run = self.groups.get(slot).classes.get(class);
            let paused = policy.is_some_and(|(cap, policy)| {
                policy.of(class).is_some_and(|thresholds| {
                    pauses(run, used, thresholds.pause_point(cap), thresholds.resume_point(cap))
                })
            });
            if paused != run.paused {
                let group = self.groups.get_mut(slot);
                group.classes.set(class, ClassRun { paused, since: Some(now) });
                group.record.dirty = true;
                self.changes += 1;
            }
        }
        self.tell(now, slot);
    }

    /// How near the workspace in this slot is to its cap, if that is to be said.
    pub(super) fn warning_of(&self, slot: u32) -> Option<Level> {
        let (cap, _) = self.class_policy(slot)?;
        level_of(self.workspace_used(slot), cap)
    }

    /// The thresholds of a workspace, with a cap or without.
    pub(super) fn thresholds_of(&self, workspace: &WorkspaceId) -> ClassPolicy {
        let declared = self.policy.workspaces.get(workspace);
        declared.map_or(self.policy.classes, |policy| policy.classes)
    }

    /// True where the limits of the workspace in this slot refuse nothing: then
    /// no class pauses, and what would have paused is only counted.
    pub(super) fn is_in_shadow(&self, slot: u32) -> bool {
        self.groups.get(slot).gates.shadow
    }

    /// The cap of the workspace in this slot, and its thresholds.
    fn class_policy(&self, slot: u32) -> Option<(u64, ClassPolicy)> {
        self.groups.get(slot).gates.cap
    }

    /// What the settings say of the classes of a group, where it is a workspace.
    pub(super) fn gates_of(&self, group: &Group) -> Gates {
        let none = Gates { quiet_below: u64::MAX, ..Gates::default() };
        let Group::Workspace(workspace) = group else { return none };
        let Some(policy) = self.policy.workspaces.get(workspace) else { return none };
        let Some(cap) = policy.daily_calls else {
            return Gates { shadow: policy.shadow, ..none };
        };
        let pauses = Class::PAUSABLE.into_iter().filter_map(|class| policy.classes.of(class));
        let pauses = pauses.filter(|_| !policy.shadow).map(|at| at.pause_point(cap));
        Gates {
            cap: Some((cap, policy.classes)),
            shadow: policy.shadow,
            quiet_below: pauses.chain([WARN.pause_point(cap)]).min().unwrap_or(0),
        }
    }

    /// Units of a workspace that have not left, inherited ones too.
    pub(super) fn workspace_used(&self, slot: u32) -> u64 {
        let mut counters = self.groups.get(slot).counters.iter();
        counters.find(|counter| counter.is_workspace_cap()).map_or(0, |counter| counter.used())
    }
}

/// How near `used` is to a cap, if that is to be said.
fn level_of(used: u64, cap: u64) -> Option<Level> {
    match used {
        used if used >= cap => Some(Level::Reached),
        used if used >= WARN.pause_point(cap) => Some(Level::Approaching),
        _ => None,
    }
}

/// Whether a class is paused, by its state, what is used, and both points.
fn by_use(run: ClassRun, used: u64, pause: u64, resume: u64) -> bool {
    if run.paused { used >= resume } else { used >= pause }
}

/// `manual bulk sync and event-based sync are paused`: in the reverse order of
/// service, in which they pause unless somebody has set it otherwise.
fn said_of_paused(paused: &[Class]) -> String {
    let names: Vec<&str> = paused.iter().rev().map(|class| class.described()).collect();
    match names.split_last() {
        None => "nothing is paused yet".to_owned(),
        Some((only, [])) => format!("{only} is paused"),
        Some((last, others)) => format!("{} and {last} are paused", others.join(", ")),
    }
}

pub(super) fn status_of(class: Class, policy: ClassPolicy, run: ClassRun) -> Option<ClassStatus> {
    let thresholds = policy.of(class)?;
    Some(ClassStatus {
        class,
        paused: run.paused,
        since: run.since,
        pauses_at_percent: thresholds.pause,
        resumes_below_percent: thresholds.resume,
    })
}
