//! What was asked for, granted and refused, by the minute, for a day: so that
//! other limits can be tried on it.

use std::collections::BTreeMap;

use super::{Asker, mark::Mark, recent::Figures, series::narrow};
use crate::quota::{Class, OperationId, Wall, WorkspaceId, tight};

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

/// One minute of one key. Figures are narrow: a minute in which more than 4 billion
/// units are asked for shows as many.
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

    /// What became of some requests, in a minute that is named later; units were
    /// `asked` and `granted`.
    pub(super) fn of(figures: &Figures, asked: u64, granted: u64) -> Self {
        Self {
            minute: 0,
            asked_calls: narrow(figures.asked),
            asked_units: narrow(asked),
            granted_calls: narrow(figures.granted),
            granted_units: narrow(granted),
            refused_calls: figures.refused.map(narrow),
        }
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
    /// In no order: there are few.
    keys: Vec<Known>,
    /// Minutes of all keys.
    cells: usize,
    /// What is not told apart any more.
    rest: BTreeMap<u32, DemandMinute>,
}

/// What is known of a key.
#[derive(Clone, Debug)]
struct Known {
    mark: Mark,
    key: DemandKey,
    /// Oldest first.
    cells: Vec<Cell>,
    /// Those of the cells in which something was refused.
    refused: Vec<Refused>,
    /// Calls asked for in all of them.
    asked: u64,
}

/// A minute, in half the size: in most of them nothing is refused.
#[derive(Clone, Copy, Debug)]
struct Cell {
    minute: u32,
    asked_calls: u32,
    asked_units: u32,
    granted_calls: u32,
    granted_units: u32,
}

/// What was refused in a minute.
#[derive(Clone, Copy, Debug)]
struct Refused {
    minute: u32,
    calls: [u32; 5],
}

impl Demand {
    /// Notes something about a key at a second, which is not earlier than the
    /// last one.
    pub fn note(&mut self, at: u64, by: Asker<'_>, more: &DemandMinute) {
        let minute = minute_of(at);
        let place = self.place(by).unwrap_or_else(|| {
            if self.keys.len() >= MAX_KEYS {
                self.fold(at, None);
            }
            tight::push(&mut self.keys, Known::new(by));
            self.keys.len() - 1
        });
        let known = &mut self.keys[place];
        let before = known.cells.len();
        known.expire(minute);
        known.add(&DemandMinute { minute, ..*more });
        self.cells = self.cells + known.cells.len() - before;
        if self.cells > MAX_CELLS {
            self.fold(at, Some(by));
        }
    }

    /// Takes back what was granted to a key at a second, where that is known
    /// still.
    pub fn take_back(&mut self, then: u64, by: Asker<'_>, calls: u64, units: u64) {
        let minute = minute_of(then);
        let told_apart = self.place(by).and_then(|place| self.keys[place].cell_mut(minute));
        let figures = match told_apart {
            Some(cell) => Some((&mut cell.granted_calls, &mut cell.granted_units)),
            None => {
                let cell = self.rest.get_mut(&minute);
                cell.map(|cell| (&mut cell.granted_calls, &mut cell.granted_units))
            }
        };
        if let Some((granted_calls, granted_units)) = figures {
            *granted_calls = granted_calls.saturating_sub(narrow(calls));
            *granted_units = granted_units.saturating_sub(narrow(units));
        }
    }

    /// Frees what is older than a day.
    pub fn sweep(&mut self, at: u64) {
        let present = minute_of(at);
        self.keys.retain_mut(|known| {
            known.expire(present);
            !known.cells.is_empty()
        });
        self.cells = self.keys.iter().map(|known| known.cells.len()).sum();
        while let Some(oldest) = self.rest.first_entry() {
            if is_kept(*oldest.key(), present) {
                break;
            }
            oldest.remove();
        }
    }

    /// True if nothing is known.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.rest.is_empty()
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
        let is_asked_for =
            |known: &&Known| workspace.is_none_or(|wanted| *wanted == known.key.workspace);
        let mut series: Vec<DemandSeries> = self
            .keys
            .iter()
            .filter(is_asked_for)
            .map(|known| DemandSeries {
                key: Some(known.key.clone()),
                minutes: known.minutes().filter(|minute| is_wanted(&minute)).collect(),
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

    fn place(&self, by: Asker<'_>) -> Option<usize> {
        let mark = by.mark_of_demand();
        self.keys.iter().position(|known| known.mark == mark && by.is_of(&known.key))
    }

    /// Puts the key that has asked least, other than this one, to the rest.
    fn fold(&mut self, at: u64, except: Option<Asker<'_>>) {
        self.sweep(at);
        let is_other = |known: &Known| except.is_none_or(|except| !except.is_of(&known.key));
        let others = self.keys.iter().enumerate().filter(|(_, known)| is_other(known));
        let lightest = others.min_by_key(|(_, known)| (known.asked, &known.key));
        let Some(lightest) = lightest.map(|(place, _)| place) else { return };
        let known = self.keys.swap_remove(lightest);
        self.cells -= known.cells.len();
        for cell in known.minutes() {
            let empty = DemandMinute { minute: cell.minute, ..DemandMinute::default() };
            self.rest.entry(cell.minute).or_insert(empty).add(&cell);
        }
    }

    /// Minutes of all keys.
    #[cfg(test)]
    pub fn cells(&self) -> usize {
        self.keys.iter().map(|known| known.cells.len()).sum()
    }

    /// Bytes that it has taken besides itself, without the names.
    #[cfg(test)]
    pub fn heap_bytes(&self) -> usize {
        let of_key = |known: &Known| {
            known.cells.capacity() * size_of::<Cell>()
                + known.refused.capacity() * size_of::<Refused>()
        };
        let cells: usize = self.keys.iter().map(of_key).sum();
        let keys = self.keys.capacity() * size_of::<Known>();
        // Nodes of a tree are half full at least.
        let rest = self.rest.len() * (size_of::<DemandMinute>() + size_of::<u32>()) * 2;
        cells + keys + rest
    }
}

impl Known {
    fn new(by: Asker<'_>) -> Self {
        let (mark, key) = (by.mark_of_demand(), by.demand_key());
        Self { mark, key, cells: Vec::new(), refused: Vec::new(), asked: 0 }
    }

    /// Adds to the last minute, or to a later one.
    fn add(&mut self, more: &DemandMinute) {
        let DemandMinute { minute, asked_calls, asked_units, granted_calls, granted_units, .. } =
            *more;
        match self.cells.last_mut() {
            Some(cell) if cell.minute == minute => {
                let before = cell.asked_calls;
                for (figure, more) in [
                    (&mut cell.asked_calls, asked_calls),
                    (&mut cell.asked_units, asked_units),
                    (&mut cell.granted_calls, granted_calls),
                    (&mut cell.granted_units, granted_units),
                ] {
                    *figure = figure.saturating_add(more);
                }
                self.asked += u64::from(cell.asked_calls - before);
            }
            _ => {
                let cell = Cell { minute, asked_calls, asked_units, granted_calls, granted_units };
                tight::push(&mut self.cells, cell);
                self.asked += u64::from(asked_calls);
            }
        }
        if more.refused_calls != [0; 5] {
            if self.refused.last().is_none_or(|last| last.minute != minute) {
                tight::push(&mut self.refused, Refused { minute, calls: [0; 5] });
            }
            let calls = self.refused.last_mut().into_iter().flat_map(|last| &mut last.calls);
            for (figure, more) in calls.zip(more.refused_calls) {
                *figure = figure.saturating_add(more);
            }
        }
    }

    fn cell_mut(&mut self, minute: u32) -> Option<&mut Cell> {
        let place = self.cells.binary_search_by_key(&minute, |cell| cell.minute).ok()?;
        self.cells.get_mut(place)
    }

    fn minutes(&self) -> impl Iterator<Item = DemandMinute> + '_ {
        let mut refused = self.refused.iter().peekable();
        self.cells.iter().map(move |cell| {
            let Cell { minute, asked_calls, asked_units, granted_calls, granted_units } = *cell;
            let calls = refused.next_if(|refused| refused.minute == minute);
            let refused_calls = calls.map_or([0; 5], |refused| refused.calls);
            DemandMinute {
                minute,
                asked_calls,
                asked_units,
                granted_calls,
                granted_units,
                refused_calls,
            }
        })
    }

    /// Drops what is older than a day.
    fn expire(&mut self, present: u32) {
        let gone = self.cells.iter().take_while(|cell| !is_kept(cell.minute, present)).count();
        if gone == 0 {
            return;
        }
        for cell in self.cells.drain(..gone) {
            self.asked -= u64::from(cell.asked_calls);
        }
        self.refused.retain(|refused| is_kept(refused.minute, present));
    }
}

fn is_kept(minute: u32, present: u32) -> bool {
    u64::from(minute) + KEPT_MINUTES >= u64::from(present)
}

fn minute_of(at: u64) -> u32 {
    u32::try_from(at / MINUTE_SECS).unwrap_or(u32::MAX)
}
