//! What is sent now, and what a moment later: of one subject an event of one
//! kind is sent once in a cool-down. What comes too soon is not lost: the latest
//! state is sent when the cool-down is over, unless it is what was sent last.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::message::{Subject, Told};
use crate::quota::EventKind;

/// Subjects that are remembered. Beyond that events go out without a cool-down:
/// the queue bounds them.
const MOST_SUBJECTS: usize = 10_000;

/// What was sent of each subject, and what is held back.
#[derive(Debug, Default)]
pub struct Schedule {
    subjects: BTreeMap<Subject, Sent>,
}

#[derive(Debug, Default)]
struct Sent {
    last: Option<EventKind>,
    /// When each kind may be sent again.
    again: BTreeMap<EventKind, Instant>,
    held: Option<Told>,
}

impl Sent {
    fn due(&self) -> Option<Instant> {
        self.again.get(&self.held.as_ref()?.kind()).copied()
    }
}

impl Schedule {
    /// Takes an event: back if it is to be sent now.
    pub fn take(&mut self, told: Told, now: Instant, cool_down: Duration) -> Option<Told> {
        self.forget(now);
        let subject = told.subject();
        if self.subjects.len() >= MOST_SUBJECTS && !self.subjects.contains_key(&subject) {
            return Some(told);
        }
        let sent = self.subjects.entry(subject).or_default();
        let kind = told.kind();
        if sent.again.get(&kind).is_some_and(|again| now < *again) {
            sent.held = Some(told);
            return None;
        }
        sent.held = None;
        sent.last = Some(kind);
        sent.again.insert(kind, now + cool_down);
        Some(told)
    }

    /// When something that was held back is to be looked at.
    pub fn next_due(&self) -> Option<Instant> {
        self.subjects.values().filter_map(Sent::due).min()
    }

    /// An event that was held back and still says something new.
    pub fn take_due(&mut self, now: Instant) -> Option<Told> {
        for sent in self.subjects.values_mut() {
            if sent.due().is_none_or(|due| now < due) {
                continue;
            }
            let told = sent.held.take()?;
            if sent.last == Some(told.kind()) {
                continue;
            }
            sent.last = Some(told.kind());
            return Some(told);
        }
        None
    }

    /// Drops what no event can meet any more.
    fn forget(&mut self, now: Instant) {
        self.subjects
            .retain(|_, sent| sent.held.is_some() || sent.again.values().any(|again| now < *again));
    }
}
