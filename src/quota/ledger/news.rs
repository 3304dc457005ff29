//! What is told of an org to those who listen: watchers hear of classes that
//! pause and resume, others of warnings too. Of one class something is told at
//! most once a minute, unless the settings change; what flaps meanwhile is told as
//! it stands then. What was told is recorded, so that a new owner neither repeats
//! nor forgets it.

use std::{collections::VecDeque, time::Duration};

use super::{
    Ledger,
    classes::status_of,
    groups::{ClassRun, Classes},
};
use crate::quota::{
    Class, Event, Group, Happening, Mono, Transition, Warning, WorkspaceId,
    event::Cooling,
    record::{ToldRecord, Warned},
};

/// Transitions that a watcher can still be told of, and events that nobody has
/// fetched.
const KEPT: usize = 1_024;

/// Of one class, or of the warnings of one workspace, nothing is told more often.
const EVERY: Duration = Duration::from_secs(60);

/// What is to be told.
#[derive(Clone, Debug, Default)]
pub struct News {
    transitions: VecDeque<Transition>,
    count: u64,
    events: VecDeque<Event>,
}

/// What those who listen believe of a workspace.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// As it was told, and when.
    classes: Classes,
    warned: Warned,
    warned_at: Option<Mono>,
}

impl Told {
    /// What a former owner told; where the record does not say, what held.
    pub fn restored(paused: &[Class], told: Option<&ToldRecord>) -> Self {
        let believed = told.map_or(paused, |told| &told.paused);
        let mut classes = Classes::default();
        for class in believed {
            classes.set(*class, ClassRun { paused: true, since: None });
        }
        let warned = told.map(|told| told.warned).unwrap_or_default();
        Self { classes, warned, warned_at: None }
    }

    /// What is worth a place in the record, where these classes are paused.
    pub fn record(&self, paused: &[Class]) -> Option<ToldRecord> {
        let believed: Vec<Class> = self.classes.paused().collect();
        let holds = believed == paused && self.warned == Warned::Nothing;
        (!holds).then_some(ToldRecord { paused: believed, warned: self.warned })
    }

    /// What comes next is told at once: it is no flapping, somebody has changed
    /// the settings.
    pub fn has_rested(&mut self) {
        self.warned_at = None;
        for class in Class::PAUSABLE {
            let run = self.classes.get(class);
            self.classes.set(class, ClassRun { since: None, ..run });
        }
    }

    /// Nothing is left to be taken back.
    pub fn is_nothing(&self) -> bool {
        self.warned == Warned::Nothing && self.classes.paused().next().is_none()
    }
}

impl Ledger {
    /// Class transitions after a number, oldest first.
    #[must_use]
    pub fn transitions_after(&self, number: u64) -> Vec<Transition> {
        let all = self.news.transitions.iter();
        all.filter(|transition| transition.number > number).cloned().collect()
    }

    /// The number of the last transition.
    #[must_use]
    pub fn last_transition(&self) -> u64 {
        self.news.count
    }

    /// What happened since the last call, oldest first.
    pub fn take_events(&mut self) -> Vec<Event> {
        self.news.events.drain(..).collect()
    }

    /// Tells those who fetch events.
    pub(super) fn announce(&mut self, at: Mono, workspace: Option<WorkspaceId>, what: Happening) {
        self.news.events.push_back(Event { at, workspace, what });
        if self.news.events.len() > KEPT {
            self.news.events.pop_front();
        }
    }

    /// Tells what has begun and what has ended to cool down. A new owner takes it
    /// that what it finds cooling was told.
    pub(super) fn tell_cooling(&mut self, now: Mono) {
        let mut changed = Vec::new();
        for (_, group) in self.groups.iter_mut() {
            for counter in &mut group.counters {
                let until = counter.cooling_until(now);
                if until.is_some() == counter.cooling_told {
                    continue;
                }
                counter.cooling_told = until.is_some();
                let cooling = Cooling {
                    scope: counter.scope,
                    identity: counter.identity.clone(),
                    limit: counter.limit.clone(),
                    until,
                };
                changed.push(match until {
                    Some(_) => Happening::CoolingBegan(cooling),
                    None => Happening::CoolingEnded(cooling),
                });
            }
        }
        for what in changed {
            self.announce(now, None, what);
        }
    }

    /// Tells what has changed of a workspace, unless something was told a moment
    /// ago.
    pub(super) fn tell(&mut self, now: Mono, slot: u32) {
        if self.stopped {
            // It is the next owner's to tell, by what the record says was told.
            return;
        }
        for class in Class::PAUSABLE {
            let group = self.groups.get(slot);
            let (run, told) = (group.classes.get(class), group.told.classes.get(class));
            if run.paused == told.paused || is_recent(told.since, now) {
                continue;
            }
            let Group::Workspace(workspace) = group.key.clone() else { return };
            let status = status_of(class, self.thresholds_of(&workspace), run);
            let group = self.groups.get_mut(slot);
            group.told.classes.set(class, ClassRun { paused: run.paused, since: Some(now) });
            group.record.dirty = true;
            let Some(status) = status else { continue };
            self.changes += 1;
            self.news.count += 1;
            self.news.transitions.push_back(Transition {
                number: self.news.count,
                workspace: workspace.clone(),
                status,
            });
            if self.news.transitions.len() > KEPT {
                self.news.transitions.pop_front();
            }
            let what = match status.paused {
                true => Happening::ClassPaused(status),
                false => Happening::ClassResumed(status),
            };
            self.announce(now, Some(workspace), what);
        }
        self.tell_warning(now, slot);
    }

    fn tell_warning(&mut self, now: Mono, slot: u32) {
        let warning = self.warning_of(slot);
        let holds = match warning {
            None => Warned::Nothing,
            Some(Level::Approaching) => Warned::Approaching,
            Some(Level::Reached) => Warned::Reached,
        };
        let told = &self.groups.get(slot).told;
        // Better news can wait for a moment, so that a use that goes up and down
        // is not told again and again.
        if holds == told.warned || holds < told.warned && is_recent(told.warned_at, now) {
            return;
        }
        let worse = holds > told.warned;
        let group = self.groups.get_mut(slot);
        group.told.warned = holds;
        group.record.dirty = true;
        if !worse {
            return;
        }
        group.told.warned_at = Some(now);
        let Group::Workspace(workspace) = group.key.clone() else { return };
        let state = self.class_state_of(slot);
        for warning in state.into_iter().flat_map(|state| state.warnings) {
            let what = match warning {
                Warning::ApproachingLimit(text) => Happening::LimitApproaching(text),
                Warning::LimitReached(text) => Happening::LimitReached(text),
            };
            self.announce(now, Some(workspace.clone()), what);
        }
    }
}

/// How near a workspace is to its cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// At 80 %.
    Approaching,
    /// There.
    Reached,
}

fn is_recent(at: Option<Mono>, now: Mono) -> bool {
    at.is_some_and(|at| now < at + EVERY)
}
