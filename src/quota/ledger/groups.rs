//! The counters of an org, grouped as they are recorded.

use std::{collections::HashMap, time::Duration};

use super::{counter::Counter, news::Told};
use crate::quota::{Class, Group, LimitName, Mono, UserId, class::ClassPolicy, tight, window::Tag};

/// Finds a counter: its group's slot, and its place there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CounterRef {
    pub group: u32,
    pub counter: u16,
}

/// The counters of one identity, and what is known of their record.
#[derive(Clone, Debug)]
pub struct GroupState {
    pub key: Group,
    pub counters: Vec<Counter>,
    pub record: RecordState,
    /// Permits and waiters that point here.
    pub refs: u32,
    /// For a workspace: its classes.
    pub classes: Classes,
    /// For a workspace: the user of the pool that served it last.
    pub last_user: Option<UserId>,
    /// For a workspace: what was told of it.
    pub told: Told,
    /// The state of all groups in which this one was changed last.
    pub touched: u64,
    /// It stands among those that were changed.
    changed: bool,
    /// For a workspace: what its policy says.
    pub gates: Gates,
}

/// What the settings say of a workspace's classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gates {
    /// Its cap, and the thresholds of its classes; `None` where it has no cap.
    pub cap: Option<(u64, ClassPolicy)>,
    /// Its limits refuse nothing.
    pub shadow: bool,
    /// Below this use no class pauses, and nobody is warned.
    pub quiet_below: u64,
}

/// What is known of a group's record in the store.
#[derive(Clone, Debug, Default)]
pub struct RecordState {
    /// The record's mod revision; 0 if there is none.
    pub revision: u64,
    /// The last sequence number that was used.
    pub seq: u64,
    /// Attempts that may have been or may yet be applied, oldest first.
    pub attempts: Vec<Attempt>,
    /// The last reserve that was sent with this group, counted among those of all.
    pub sends: u64,
    /// The last one of this group that was committed, as the number of `sends` then.
    pub committed_sends: u64,
    /// Something besides the counters differs from what was last written.
    pub dirty: bool,
    /// A creation whose answer is unknown may be applied whenever there is no
    /// record: so there is one until then.
    pub may_appear_until: Mono,
    /// Something was learned that the next owner should know: it is written at
    /// once.
    pub urgent: bool,
}

/// One reserve as it was sent.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub seq: u64,
    /// When it was sent. A block's deadline counts from here, never from the
    /// answer: a record says `open_until` as of the send.
    pub sent: Mono,
    pub parts: Vec<AttemptPart>,
    pub deletes: bool,
    /// `sends` of the group, which is this one.
    pub sends: u64,
}

/// What an attempt sets aside for one counter.
#[derive(Clone, Copy, Debug)]
pub struct AttemptPart {
    pub still_open: u64,
    pub add: u64,
    pub ttl_cap: Duration,
    /// *H* as it was at the send: the record's `open_until` has it.
    pub horizon: Duration,
    pub granted_at_snapshot: u64,
}

/// Whether each class of a workspace is paused, and since when.
#[derive(Clone, Copy, Debug, Default)]
pub struct Classes {
    states: [ClassRun; 3],
}

/// One class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassRun {
    pub paused: bool,
    pub since: Option<Mono>,
}

impl Classes {
    pub fn get(&self, class: Class) -> ClassRun {
        index(class).map_or_else(ClassRun::default, |at| self.states[at])
    }

    pub fn set(&mut self, class: Class, run: ClassRun) {
        if let Some(at) = index(class) {
            self.states[at] = run;
        }
    }

    pub fn paused(&self) -> impl Iterator<Item = Class> + '_ {
        Class::PAUSABLE.into_iter().filter(|class| self.get(*class).paused)
    }
}

const fn index(class: Class) -> Option<usize> {
    match class {
        Class::Control => None,
        Class::Interactive => Some(0),
        Class::Event => Some(1),
        Class::Bulk => Some(2),
    }
}

impl GroupState {
    fn new(key: Group) -> Self {
        Self {
            key,
            counters: Vec::new(),
            record: RecordState::default(),
            refs: 0,
            classes: Classes::default(),
            last_user: None,
            told: Told::default(),
            touched: 0,
            changed: false,
            gates: Gates::default(),
        }
    }

    /// Nothing is counted here, written down, or pointed at.
    pub fn is_forgettable(&self) -> bool {
        self.refs == 0
            && self.record.revision == 0
            && self.record.attempts.is_empty()
            && self.counters.iter().all(Counter::is_empty)
    }

    /// Something differs from the record.
    pub fn is_dirty(&self) -> bool {
        self.record.dirty || self.counters.iter().any(|counter| counter.block.dirty)
    }

    pub fn find(&self, limit: &LimitName) -> Option<u16> {
        let at = self.counters.iter().position(|counter| &counter.limit == limit)?;
        u16::try_from(at).ok()
    }
}

/// All groups of an org. Slots are used again, but only when nothing points to
/// them any more.
#[derive(Clone, Debug, Default)]
pub struct Groups {
    slots: Vec<Option<GroupState>>,
    index: HashMap<Group, u32>,
    free: Vec<u32>,
    /// Groups that may want to be written since, or are gone.
    changed: Vec<u32>,
    /// The slot of [`Group::Org`].
    org: Option<u32>,
    /// Counts what may have been changes.
    version: u64,
}

impl Groups {
    pub fn slot(&self, key: &Group) -> Option<u32> {
        self.index.get(key).copied()
    }

    /// The group's slot; made if there is none.
    pub fn slot_or_new(&mut self, key: &Group) -> u32 {
        if let Some(slot) = self.slot(key) {
            return slot;
        }
        self.version += 1;
        let state = Some(GroupState { touched: self.version, ..GroupState::new(key.clone()) });
        let slot = if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = state;
            slot
        } else {
            tight::push(&mut self.slots, state);
            u32::try_from(self.slots.len() - 1).expect("groups of an org are bounded")
        };
        self.note_change(slot);
        self.index.insert(key.clone(), slot);
        if *key == Group::Org {
            self.org = Some(slot);
        }
        slot
    }

    /// The org's total, if it is counted.
    pub fn total(&self) -> Option<CounterRef> {
        let group = self.org?;
        let counter = self.get(group).counters.iter().position(Counter::is_org_total)?;
        Some(CounterRef { group, counter: u16::try_from(counter).ok()? })
    }

    pub fn get(&self, slot: u32) -> &GroupState {
        self.slots[slot as usize].as_ref().expect("slots in use are not freed")
    }

    pub fn get_mut(&mut self, slot: u32) -> &mut GroupState {
        self.version += 1;
        let state = self.slots[slot as usize].as_mut().expect("slots in use are not freed");
        state.touched = self.version;
        if !state.changed {
            state.changed = true;
            self.changed.push(slot);
        }
        state
    }

    /// A permit that is forgotten points here no more: that alone is nothing to
    /// those who wait, nor to what is written down.
    pub fn drop_ref(&mut self, slot: u32) {
        if let Some(Some(state)) = self.slots.get_mut(slot as usize) {
            state.refs -= 1;
        }
    }

    /// Something has changed for those who write the group down.
    pub fn note_change(&mut self, slot: u32) {
        if let Some(Some(state)) = self.slots.get_mut(slot as usize)
            && !state.changed
        {
            state.changed = true;
            self.changed.push(slot);
        }
    }

    /// A slot whose group was changed since it was last taken, or is gone.
    pub fn take_changed(&mut self) -> Option<u32> {
        let slot = self.changed.pop()?;
        if let Some(state) = &mut self.slots[slot as usize] {
            state.changed = false;
        }
        Some(slot)
    }

    /// The state of all groups, as a number that rises with every change.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The state in which a group was changed last.
    pub fn touched(&self, slot: u32) -> u64 {
        self.slots.get(slot as usize).and_then(Option::as_ref).map_or(0, |group| group.touched)
    }

    /// Something has changed for those who wait for a group's counters.
    pub fn touch(&mut self, slot: u32) {
        self.get_mut(slot);
    }

    /// True while the slot is in use.
    pub fn is_live(&self, slot: u32) -> bool {
        self.slots.get(slot as usize).is_some_and(Option::is_some)
    }

    pub fn counter(&self, at: CounterRef) -> &Counter {
        &self.get(at.group).counters[usize::from(at.counter)]
    }

    pub fn counter_mut(&mut self, at: CounterRef) -> &mut Counter {
        &mut self.get_mut(at.group).counters[usize::from(at.counter)]
    }

    /// The longest permit life that may be granted now: what the committed record
    /// has and every record that may replace it, and not more than the settings
    /// allow.
    pub fn ttl_allowed(&self, at: CounterRef) -> Duration {
        let counter = self.counter(at);
        let attempts = &self.get(at.group).record.attempts;
        let parts =
            attempts.iter().filter_map(|attempt| attempt.parts.get(usize::from(at.counter)));
        let recorded = parts.map(|part| part.ttl_cap).chain([counter.block.ttl_cap]);
        recorded.fold(counter.ttl_cap, Duration::min)
    }

    pub fn iter(&self) -> impl Iterator<Item = (u32, &GroupState)> {
        (0..).zip(&self.slots).filter_map(|(slot, state)| Some((slot, state.as_ref()?)))
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut GroupState)> {
        self.version += 1;
        let (version, changed) = (self.version, &mut self.changed);
        let states = (0..).zip(&mut self.slots);
        states.filter_map(|(slot, state)| Some((slot, state.as_mut()?))).map(
            move |(slot, state)| {
                state.touched = version;
                if !state.changed {
                    state.changed = true;
                    changed.push(slot);
                }
                (slot, state)
            },
        )
    }

    /// The same for what time alone does: whoever waits has said when that is.
    pub fn iter_mut_by_time(&mut self) -> impl Iterator<Item = (u32, &mut GroupState)> {
        (0..).zip(&mut self.slots).filter_map(|(slot, state)| Some((slot, state.as_mut()?)))
    }

    /// Frees the slots that nothing needs. True if there were any.
    pub fn sweep(&mut self) -> bool {
        let before = self.index.len();
        for (slot, state) in (0..).zip(&mut self.slots) {
            if state.as_ref().is_some_and(GroupState::is_forgettable)
                && let Some(state) = state.take()
            {
                self.index.remove(&state.key);
                self.free.push(slot);
                self.changed.push(slot);
                if self.org == Some(slot) {
                    self.org = None;
                }
            }
        }
        self.index.len() < before
    }

    /// Gives back the memory of attempts whose answers have come.
    pub fn release(&mut self) {
        for (_, state) in self.iter_mut_by_time() {
            if state.record.attempts.is_empty() {
                state.record.attempts = Vec::new();
            }
        }
    }

    /// How many groups of one sort there are.
    pub fn count(&self, sort: impl Fn(&Group) -> bool) -> usize {
        self.index.keys().filter(|key| sort(key)).count()
    }

    /// The workspace that a tag stands for.
    pub fn tag(&self, tag: Tag) -> Option<&Group> {
        self.slots.get(tag as usize)?.as_ref().map(|state| &state.key)
    }
}
