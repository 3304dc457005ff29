//! What was asked for, granted and refused, by the minute, for a day: so that
//! other limits can be tried on it.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::quota::{Class, OperationId, Wall, WorkspaceId};

/// Workspaces, classes and operations that are told apart, in combination.
pub const MAX_KEYS: usize = 100;

/// Minutes of all keys together: a minute in which nobody asked is none.
pub const MAX_CELLS: usize = 20_000;

const MINUTE_SECS: u64 = 60;

/// A day, and the minute that it began in.
const KEPT_MINUTES: u64 = 24 * 60;

/// Who asked, and what for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DemandKey {
    /// The workspace, if one was named.
    pub workspace: Option<WorkspaceId>,
    /// The traffic class.
    pub class: Class,
    /// The operation.
    pub operation: OperationId,
}

/// Why calls were refused, as far as a change of limits matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedFor {
    /// A window of the execution user.
    ExecutionUser,
    /// The workspace's cap, or the pause point of the class.
    Workspace,
    /// A window of the org.
    Org,
    /// The org's slots.
    Concurrency,
    /// No limit: Salesforce said stop, too many wait, or nothing could be
    /// decided.
    Other,
}

/// One minute of one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DemandMinute {
    /// When it begins, in minutes since the Unix epoch.
    pub minute: u32,
    /// Calls asked for. A request that waits is asked once, when it comes.
    pub asked_calls: u32,
    /// Calls asked for, times their cost.
    pub asked_units: u32,
    /// Calls granted, less those that came back unsent.
    pub granted_calls: u32,
    /// Calls granted, times their cost.
    pub granted_units: u32,
    /// Calls of requests that were refused, by [`RefusedFor`].
    refused_calls: [u32; 5],
}

/// The minutes of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemandSeries {
    /// The key; `None` for all that are not told apart.
    pub key: Option<DemandKey>,
    /// Oldest first; those in which something happened.
    pub minutes: Vec<DemandMinute>,
}

impl DemandMinute {
    /// When it begins.
    #[must_use]
    pub fn begins(&self) -> Wall {
        Wall(u64::from(self.minute) * MINUTE_SECS * 1_000_000)
    }

    /// Calls that were refused for a reason.
    #[must_use]
    pub fn refused(&self, why: RefusedFor) -> u32 {
        self.refused_calls[why as usize]
    }

    /// The same, to be changed.
    pub fn refused_mut(&mut self, why: RefusedFor) -> &mut u32 {
        &mut self.refused_calls[why as usize]
    }

    fn add(&mut self, other: &Self) {
        let figures = [
            (&mut self.asked_calls, other.asked_calls),
            (&mut self.asked_units, other.asked_units),
            (&mut self.granted_calls, other.granted_calls),
            (&mut self.granted_units, other.granted_units),
        ];
        for (figure, more) in figures {
            *figure = figure.saturating_add(more);
        }
        for (figure, more) in self.refused_calls.iter_mut().zip(other.refused_calls) {
            *figure = figure.saturating_add(more);
        }
    }
}

/// The demand for an org.
#[derive(Clone, Debug, Default)]
pub struct Demand {
    by_key: HashMap<DemandKey, Minutes>,
    /// Minutes of all keys.
    cells: usize,
    /// What is not told apart any more.
    rest: BTreeMap<u32, DemandMinute>,
}

#[derive(Clone, Debug, Default)]
struct Minutes {
    cells: VecDeque<DemandMinute>,
    /// Calls asked for in all of them.
    asked: u64,
}

impl Demand {
    /// Notes something about a key at a second, which is not earlier than the
    /// last one.
    pub fn note(&mut self, at: u64, key: &DemandKey, note: impl FnOnce(&mut DemandMinute)) {
        let minute = minute_of(at);
        let is_new = !self.by_key.contains_key(key);
        if is_new {
            if self.by_key.len() >= MAX_KEYS {
                self.fold(at, key);
            }
            self.by_key.insert(key.clone(), Minutes::default());
        }
        let Some(minutes) = self.by_key.get_mut(key) else { return };
        self.cells -= minutes.expire(minute);
        if minutes.cells.back().is_none_or(|cell| cell.minute != minute) {
            minutes.cells.push_back(DemandMinute { minute, ..DemandMinute::default() });
            self.cells += 1;
        }
        if let Some(cell) = minutes.cells.back_mut() {
            let before = cell.asked_calls;
            note(cell);
            minutes.asked += u64::from(cell.asked_calls - before);
        }
        if self.cells > MAX_CELLS {
            self.fold(at, key);
        }
    }

    /// Corrects what was noted about a key at a second, where that is known
    /// still.
    pub fn correct(&mut self, then: u64, key: &DemandKey, correct: impl FnOnce(&mut DemandMinute)) {
        let minute = minute_of(then);
        let told_apart = self.by_key.get_mut(key).and_then(|minutes| {
            let place = minutes.cells.binary_search_by_key(&minute, |cell| cell.minute).ok()?;
            minutes.cells.get_mut(place)
        });
        if let Some(cell) = told_apart.or_else(|| self.rest.get_mut(&minute)) {
            correct(cell);
        }
    }

    /// Frees what is older than a day.
    pub fn sweep(&mut self, at: u64) {
        let present = minute_of(at);
        let cells = &mut self.cells;
        self.by_key.retain(|_, minutes| {
            *cells -= minutes.expire(present);
            !minutes.cells.is_empty()
        });
        while let Some(oldest) = self.rest.first_entry() {
            if is_kept(*oldest.key(), present) {
                break;
            }
            oldest.remove();
        }
    }

    /// True if nothing is known.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty() && self.rest.is_empty()
    }

    /// What is known from a moment on, of all or of one workspace; the rest
    /// comes last, and only where all are asked for.
    pub fn view(
        &mut self,
        at: u64,
        workspace: Option<&Option<WorkspaceId>>,
        from: Option<Wall>,
    ) -> Vec<DemandSeries> {
        self.sweep(at);
        let from = from.map_or(0, |from| minute_of(from.0 / 1_000_000));
        let is_wanted = |cell: &&DemandMinute| cell.minute >= from;
        let by_key = self.by_key.iter();
        let of_workspace =
            by_key.filter(|(key, _)| workspace.is_none_or(|wanted| *wanted == key.workspace));
        let mut series: Vec<DemandSeries> = of_workspace
            .map(|(key, minutes)| DemandSeries {
                key: Some(key.clone()),
                minutes: minutes.cells.iter().filter(is_wanted).copied().collect(),
            })
            .collect();
        series.sort_by(|a, b| a.key.cmp(&b.key));
        if workspace.is_none() {
            let minutes = self.rest.values().filter(is_wanted).copied().collect();
            series.push(DemandSeries { key: None, minutes });
        }
        series.retain(|series| !series.minutes.is_empty());
        series
    }

    /// Puts the key that has asked least, other than this one, to the rest.
    fn fold(&mut self, at: u64, except: &DemandKey) {
        self.sweep(at);
        let others = self.by_key.iter().filter(|(key, _)| *key != except);
        let lightest = others.min_by_key(|(key, minutes)| (minutes.asked, *key));
        let Some(lightest) = lightest.map(|(key, _)| key.clone()) else { return };
        let Some(minutes) = self.by_key.remove(&lightest) else { return };
        self.cells -= minutes.cells.len();
        for cell in &minutes.cells {
            let empty = DemandMinute { minute: cell.minute, ..DemandMinute::default() };
            self.rest.entry(cell.minute).or_insert(empty).add(cell);
        }
    }

    /// Minutes of all keys.
    #[cfg(test)]
    pub fn cells(&self) -> usize {
        self.by_key.values().map(|minutes| minutes.cells.len()).sum()
    }

    /// Bytes that it has taken besides itself, without the names.
    #[cfg(test)]
    pub fn heap_bytes(&self) -> usize {
        let cells: usize = self.by_key.values().map(|minutes| minutes.cells.capacity()).sum();
        let keys = self.by_key.capacity() * (size_of::<DemandKey>() + size_of::<Minutes>() + 1);
        // Nodes of a tree are half full at least.
        let rest = self.rest.len() * (size_of::<DemandMinute>() + size_of::<u32>()) * 2;
        cells * size_of::<DemandMinute>() + keys * 8 / 7 + rest
    }
}

impl Minutes {
    /// Drops what is older than a day; says how much.
    fn expire(&mut self, present: u32) -> usize {
        let gone = self.cells.iter().take_while(|cell| !is_kept(cell.minute, present)).count();
        for cell in self.cells.drain(..gone) {
            self.asked -= u64::from(cell.asked_calls);
        }
        gone
    }
}

fn is_kept(minute: u32, present: u32) -> bool {
    u64::from(minute) + KEPT_MINUTES >= u64::from(present)
}

fn minute_of(at: u64) -> u32 {
    u32::try_from(at / MINUTE_SECS).unwrap_or(u32::MAX)
}
