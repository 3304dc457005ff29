//! What has been counted for one limit: units by the moment up to which the
//! call that used them may have started (their *stamp*).
//!
//! A unit leaves at `stamp + window + Δ`; Δ is already in the stamp for calls
//! that nobody answered for, and is added here for what another epoch left
//! behind. This is the one definition.

mod entries;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use self::entries::{Entries, Entry};
use super::{
    tight,
    time::{Mono, Now, Wall, micros},
};

/// Windows of up to this many units keep an exact log; others keep buckets.
pub const EXACT_MAX: u64 = 4096;

/// Buckets of entries that can still move, or that a reading may ask about, are
/// this fine.
const FRESH_WIDTH_US: u64 = 10_000;

/// Entries older than this are put together into wider buckets. It is longer
/// than the age at which readings usually arrive, so that the answer to "how
/// much of this was ours at that moment" is fine-grained.
const FRESH: Duration = Duration::from_secs(120);

/// The width of buckets that are no longer fresh, while a reading may yet ask
/// about them.
const SECOND_US: u64 = 1_000_000;

/// Who used a unit: the slot of a workspace in its ledger.
pub type Tag = u32;

/// Used by nobody in particular: no workspace was named.
pub const NO_TAG: Tag = u32::MAX;

/// The units of this epoch, by stamp and tag.
#[derive(Clone, Debug)]
pub struct Tally {
    /// By stamp in microseconds, rounded up to the width, and tag.
    entries: Entries,
    /// In the order of the tags.
    by_tag: Vec<(Tag, u64)>,
    total: u64,
    /// `None` keeps every stamp exactly.
    coarse_us: Option<u64>,
    /// Up to here entries are in coarse buckets.
    compacted_to: u64,
    /// A reading may speak of a moment that lies back by this much; zero where
    /// there are no readings.
    look_back: Duration,
    /// Up to here entries are in buckets of a second at least.
    seconds_to: u64,
    /// What has left within `look_back`.
    departed: VecDeque<Entry>,
    /// Before this moment nothing leaves, as long as the window is `expired_by`.
    expires_at: Mono,
    expired_by: Duration,
}

impl Tally {
    /// A tally for a limit of `max` units; `keep_exact` for limits whose
    /// entries are taken out one by one, whenever.
    #[must_use]
    pub fn new(max: u64, window: Duration, keep_exact: bool) -> Self {
        let coarse_us = (max > EXACT_MAX && !keep_exact).then(|| coarse_width_us(window));
        Self {
            entries: Entries::default(),
            by_tag: Vec::new(),
            total: 0,
            coarse_us,
            compacted_to: 0,
            look_back: Duration::ZERO,
            seconds_to: 0,
            departed: VecDeque::new(),
            expires_at: Mono(0),
            expired_by: window,
        }
    }

    /// Keeps what [`Tally::between`] needs to speak of a moment that lies back by
    /// so much.
    pub fn look_back(&mut self, look_back: Duration) {
        self.look_back = look_back;
        self.expires_at = Mono(0);
    }

    /// All units that have not left.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The units of one tag.
    #[must_use]
    pub fn of(&self, tag: Tag) -> u64 {
        self.place_of(tag).map_or(0, |at| self.by_tag[at].1)
    }

    /// Counts units.
    pub fn add(&mut self, stamp: Mono, tag: Tag, units: u64) {
        if units == 0 {
            return;
        }
        let rounded = self.rounded(stamp);
        self.expires_at = self.expires_at.min(Mono(rounded) + self.expired_by);
        self.entries.add(Entry { stamp: rounded, tag, units, latest: stamp.0 });
        match self.place_of(tag) {
            Ok(at) => self.by_tag[at].1 += units,
            Err(at) => {
                tight::reserve(&mut self.by_tag);
                self.by_tag.insert(at, (tag, units));
            }
        }
        self.total += units;
    }

    /// Takes back units that were added with this stamp and tag, at most as
    /// many as there are. Returns how many.
    pub fn remove(&mut self, stamp: Mono, tag: Tag, units: u64) -> u64 {
        let taken = self.entries.take(self.rounded(stamp), tag, units);
        self.forget(tag, taken);
        taken
    }

    /// Drops what has left: everything with `stamp + window <= now`.
    pub fn expire(&mut self, now: Mono, window: Duration) {
        if now < self.expires_at && window == self.expired_by {
            return;
        }
        let Self { entries, by_tag, total, departed, look_back, .. } = self;
        entries.leave(
            |entry| Mono(entry.stamp) + window <= now,
            |entry| {
                *total -= entry.units;
                forget_of(by_tag, entry.tag, entry.units);
                if !look_back.is_zero() {
                    departed.push_back(entry);
                }
            },
        );
        let forgotten_at = |entry: &Entry| Mono(entry.stamp) + window + *look_back;
        while departed.front().is_some_and(|entry| forgotten_at(entry) <= now) {
            departed.pop_front();
        }
        let leaves = entries.iter().next().map(|entry| Mono(entry.stamp) + window);
        let forgotten = departed.front().map(forgotten_at);
        let next = leaves.into_iter().chain(forgotten).min();
        (self.expires_at, self.expired_by) = (next.unwrap_or(Mono(u64::MAX)), window);
        let compacted = self.compact(now);
        self.expires_at = self.expires_at.min(compacted);
    }

    /// Units that were counted for certain in the time after `from`, up to and
    /// with `until`: a bucket that the time covers in part only is left out.
    #[must_use]
    pub fn between(&self, from: Mono, until: Mono) -> u64 {
        let width = self.coarse_us.unwrap_or(0);
        let covered =
            |entry: &&Entry| entry.stamp > from.0 && entry.stamp.saturating_sub(width) >= from.0;
        let by_then = |entry: &&Entry| entry.latest <= until.0;
        let later = self.entries.since(until.0 + 1).filter(|entry| !by_then(entry));
        let live = self.total - units_of(later);
        let partly = self.entries.iter().take_while(|entry| !covered(entry)).filter(by_then);
        let left = self.departed.iter().rev().take_while(covered).filter(by_then);
        live - units_of(partly) + units_of(left)
    }

    /// Units with a stamp after `moment`.
    #[must_use]
    pub fn after(&self, moment: Mono) -> u64 {
        units_of(self.entries.since(moment.0 + 1))
    }

    /// Stamps and units, oldest first; one item per tag.
    pub fn iter(&self) -> impl Iterator<Item = (Mono, u64)> + '_ {
        self.iter_tagged().map(|(stamp, _, units)| (stamp, units))
    }

    /// The same with the tag.
    pub fn iter_tagged(&self) -> impl Iterator<Item = (Mono, Tag, u64)> + '_ {
        self.entries.iter().map(|entry| (Mono(entry.stamp), entry.tag, entry.units))
    }

    /// Where a tag's units stand, or would.
    fn place_of(&self, tag: Tag) -> Result<usize, usize> {
        self.by_tag.binary_search_by_key(&tag, |(tag, _)| *tag)
    }

    fn forget(&mut self, tag: Tag, units: u64) {
        self.total -= units;
        forget_of(&mut self.by_tag, tag, units);
    }

    fn rounded(&self, stamp: Mono) -> u64 {
        let Some(coarse) = self.coarse_us else { return stamp.0 };
        let width = if stamp.0 < self.compacted_to {
            coarse
        } else if stamp.0 < self.seconds_to {
            coarse.min(SECOND_US)
        } else {
            coarse.min(FRESH_WIDTH_US)
        };
        round_up(stamp.0, width)
    }

    /// Puts entries that can no longer move into wider buckets, later ends. Returns
    /// when that is to be done again.
    fn compact(&mut self, now: Mono) -> Mono {
        let mut again = Mono(u64::MAX);
        let Some(coarse) = self.coarse_us else { return again };
        if coarse > SECOND_US && self.look_back > FRESH {
            self.seconds_to = self.widen(self.seconds_to, now - FRESH, SECOND_US);
            again = again.min(Mono(self.seconds_to + SECOND_US) + FRESH);
        }
        if coarse > FRESH_WIDTH_US {
            let age = FRESH.max(self.look_back);
            self.compacted_to = self.widen(self.compacted_to, now - age, coarse);
            again = again.min(Mono(self.compacted_to + coarse) + age);
        }
        again
    }

    /// Puts the entries with stamps from `from` to `until` into buckets of a
    /// width, where that is worth while. Returns up to where this is done.
    fn widen(&mut self, from: u64, until: Mono, width: u64) -> u64 {
        if until.0 < from + width {
            return from;
        }
        let within = self.entries.since(from).take_while(|entry| entry.stamp < until.0);
        let moving: Vec<Entry> =
            within.filter(|entry| !entry.stamp.is_multiple_of(width)).copied().collect();
        for entry in moving {
            self.entries.take(entry.stamp, entry.tag, entry.units);
            self.entries.add(Entry { stamp: round_up(entry.stamp, width), ..entry });
        }
        until.0
    }
}

fn units_of<'a>(entries: impl Iterator<Item = &'a Entry>) -> u64 {
    entries.map(|entry| entry.units).sum()
}

fn forget_of(by_tag: &mut Vec<(Tag, u64)>, tag: Tag, units: u64) {
    if let Ok(at) = by_tag.binary_search_by_key(&tag, |(tag, _)| *tag) {
        by_tag[at].1 -= units;
        if by_tag[at].1 == 0 {
            by_tag.remove(at);
        }
    }
}

/// Units that another epoch left behind.
#[derive(Clone, Debug, Default)]
pub struct Inherited {
    /// By stamp.
    entries: Vec<InheritedEntry>,
    sealed: u64,
    lost: u64,
}

#[derive(Clone, Copy, Debug)]
struct InheritedEntry {
    /// As recorded: copied unchanged into the next record.
    wall: Wall,
    /// The same moment on this process's clock.
    mono: Mono,
    units: u64,
    lost: bool,
}

impl Inherited {
    /// Takes over recorded entries: `sealed` were spent, `lost` were set aside
    /// by a block that nobody can say was unspent.
    #[must_use]
    pub fn new(now: Now, sealed: &[(Wall, u64)], lost: &[(Wall, u64)]) -> Self {
        let entry = |lost| {
            move |(wall, units): &(Wall, u64)| InheritedEntry {
                wall: *wall,
                mono: now.mono_at(*wall),
                units: *units,
                lost,
            }
        };
        let mut entries: Vec<_> =
            sealed.iter().map(entry(false)).chain(lost.iter().map(entry(true))).collect();
        entries.sort_by_key(|entry| entry.wall);
        let sum = |entries: &[(Wall, u64)]| entries.iter().map(|(_, units)| units).sum();
        Self { entries, sealed: sum(sealed), lost: sum(lost) }
    }

    /// Everything, spent or lost.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.sealed + self.lost
    }

    /// What was set aside and may not have been spent.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Counts units as lost at a moment, by both clocks.
    pub fn lose(&mut self, wall: Wall, mono: Mono, units: u64) {
        if units > 0 {
            let place = self.entries.partition_point(|entry| entry.wall <= wall);
            self.entries.insert(place, InheritedEntry { wall, mono, units, lost: true });
            self.lost += units;
        }
    }

    /// Forgets the lost units with a stamp up to `moment`: what became of them is
    /// known. True if there were any.
    pub fn forgive(&mut self, moment: Mono) -> bool {
        let before = self.lost;
        self.entries.retain(|entry| !entry.lost || entry.mono > moment);
        self.lost = self.entries.iter().filter(|entry| entry.lost).map(|entry| entry.units).sum();
        self.lost < before
    }

    /// Drops what has left: everything with `stamp + life <= now`.
    pub fn expire(&mut self, now: Mono, life: Duration) {
        if self.entries.is_empty() {
            return;
        }
        let gone = self.entries.iter().take_while(|entry| entry.mono + life <= now).count();
        for entry in self.entries.drain(..gone) {
            if entry.lost {
                self.lost -= entry.units;
            } else {
                self.sealed -= entry.units;
            }
        }
    }

    /// Units that were spent for certain in the time after `from`, up to and with
    /// `until`. A stamp in a record may stand for a bucket that ends there: such a
    /// one counts where the time covers it wholly.
    #[must_use]
    pub fn sealed_between(&self, from: Mono, until: Mono, window: Duration) -> u64 {
        let width = recorded_width_us(window);
        let covered = |entry: &&InheritedEntry| {
            let width = if entry.wall.0.is_multiple_of(width) { width } else { 0 };
            entry.mono > from && entry.mono.0.saturating_sub(width) >= from.0
        };
        self.entries
            .iter()
            .take_while(|entry| entry.mono <= until)
            .filter(|entry| !entry.lost)
            .filter(covered)
            .map(|entry| entry.units)
            .sum()
    }

    /// Stamps and units, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (Mono, u64)> + '_ {
        self.entries.iter().map(|entry| (entry.mono, entry.units))
    }

    /// The recorded entries of one sort.
    pub fn recorded(&self, lost: bool) -> impl Iterator<Item = (Wall, u64)> + '_ {
        self.entries
            .iter()
            .filter(move |entry| entry.lost == lost)
            .map(|entry| (entry.wall, entry.units))
    }
}

/// At most this many exact entries stand in a record.
const RECORD_EXACT_MAX: usize = 256;

/// Makes recorded entries few: sorted, equal milliseconds put together, and
/// where there are still more than 256, in buckets of a 256th of the window
/// (at most a minute), rounded to later. Doing it twice changes nothing more.
#[must_use]
pub fn pack(entries: impl Iterator<Item = (Wall, u64)>, window: Duration) -> Vec<(Wall, u64)> {
    let by_ms = merge(entries, 1_000);
    if by_ms.len() <= RECORD_EXACT_MAX {
        return by_ms;
    }
    merge(by_ms.into_iter(), recorded_width_us(window))
}

/// The width of the buckets of a record that has too many entries: of whole
/// milliseconds.
fn recorded_width_us(window: Duration) -> u64 {
    round_up(coarse_width_us(window), 1_000)
}

fn merge(entries: impl Iterator<Item = (Wall, u64)>, width_us: u64) -> Vec<(Wall, u64)> {
    let mut merged = BTreeMap::<Wall, u64>::new();
    for (stamp, units) in entries {
        *merged.entry(Wall(round_up(stamp.0, width_us))).or_default() += units;
    }
    merged.into_iter().collect()
}

fn coarse_width_us(window: Duration) -> u64 {
    // Of a window longer than a day 1,440 buckets are kept, as of a day.
    (micros(window) / 256).clamp(1, 60_000_000).max(micros(window) / 1_440)
}

fn round_up(value: u64, width: u64) -> u64 {
    value.div_ceil(width).saturating_mul(width)
}
