//! Reserve ahead, then grant: how blocks are asked for, committed, and resolved
//! when the store's answer is late or lost.

use std::time::Duration;

use super::{
    Ledger,
    counter::Counter,
    groups::{Attempt, AttemptPart, CounterRef, GroupState},
};
use crate::quota::{
    Class, CounterRecord, ForeignRecord, Group, GroupRecord, Mono, Now, Wall,
    catalogue::Scope,
    rules::{Fault, Rules},
    tight,
};

/// A transaction whose answer is unknown is hardly applied later than this. If
/// one is, it leaves a record of nothing, until the next takeover.
const LATEST: Duration = Duration::from_secs(600);

/// One record that a reserve writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupWrite {
    /// Whose.
    pub group: Group,
    /// The mod revision that the record must still have; 0: it must not exist.
    pub expected_revision: u64,
    /// The new record; `None` deletes it, because it is empty.
    pub record: Option<GroupRecord>,
}

/// What stands in the store for a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its mod revision.
    pub revision: u64,
    /// Its value.
    pub record: GroupRecord,
}

/// What became of the transaction with the writes of one reserve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReserveOutcome {
    /// Applied.
    Committed {
        /// The mod revision of the written records.
        revision: u64,
    },
    /// Certainly not applied, and never will be.
    NotExecuted,
    /// It may have been applied, or may be yet.
    Unknown,
    /// Not applied, because a comparison failed; what stands there instead, for
    /// each group of the reserve.
    Conflict(Vec<(Group, Option<Stored>)>),
}

/// What a reserve means for the owner of the shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Go on.
    Owner,
    /// A record was written by somebody else: read everything again.
    Overtaken,
}

impl Ledger {
    /// The writes of a reserve, at most `most` records, which the caller must
    /// send at once: both clocks of `now` were read before. Empty if nothing is
    /// wanted.
    pub fn begin_reserve(&mut self, now: Now, most: usize) -> Vec<GroupWrite> {
        // One at a time: the answer to the first decides what the next may be.
        if self.in_flight {
            return Vec::new();
        }
        self.expire(now.mono);
        self.update_classes(now.mono);
        let slots: Vec<u32> = self
            .groups
            .iter()
            .filter(|(slot, group)| self.wants(*slot, group, now.mono))
            .map(|(slot, _)| slot)
            .take(most)
            .collect();
        self.in_flight = !slots.is_empty();
        slots.into_iter().map(|slot| self.write_of(slot, now, true)).collect()
    }

    /// Ends all granting, for good. What is in flight must be resolved before
    /// [`Ledger::begin_hand_over`].
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// True once all granting has ended.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// The writes, at most `most` records, that leave nothing open: every record
    /// that has open units or lacks a grant. Empty when all is written.
    pub fn begin_hand_over(&mut self, now: Now, most: usize) -> Vec<GroupWrite> {
        let grants_on = self.rules.has(Fault::HandOverGrantsOn);
        if !grants_on {
            self.stop();
        }
        self.expire(now.mono);
        self.update_classes(now.mono);
        let slots: Vec<u32> = self
            .groups
            .iter()
            .filter(|(_, group)| {
                group.is_dirty() || (!grants_on && group.counters.iter().any(|c| c.block.open > 0))
            })
            .map(|(slot, _)| slot)
            .take(most)
            .collect();
        self.in_flight = !slots.is_empty();
        slots.into_iter().map(|slot| self.write_of(slot, now, false)).collect()
    }

    /// Takes the store's answer to the writes of the last reserve.
    pub fn finish_reserve(
        &mut self,
        now: Mono,
        writes: &[GroupWrite],
        outcome: &ReserveOutcome,
    ) -> Standing {
        self.in_flight = false;
        let mut standing = Standing::Owner;
        for write in writes {
            let Some(slot) = self.groups.slot(&write.group) else { continue };
            let rules = *self.rules;
            let group = self.groups.get_mut(slot);
            match outcome {
                ReserveOutcome::Committed { revision } => {
                    commit_last(group, *revision, write.record.is_none(), &rules, now);
                }
                ReserveOutcome::NotExecuted => drop_last(group),
                ReserveOutcome::Unknown if rules.has(Fault::TimeoutIsSuccess) => {
                    let revision = group.record.revision;
                    commit_last(group, revision, false, &rules, now);
                }
                ReserveOutcome::Unknown => {
                    // Whatever stands there now is resolved by the next attempt.
                    group.record.dirty = true;
                    for counter in &mut group.counters {
                        counter.block.limited = false;
                    }
                    if write.expected_revision == 0 {
                        group.record.may_appear_until = now + LATEST;
                    }
                }
                ReserveOutcome::Conflict(_) if rules.has(Fault::FencedIsSuccess) => {
                    let revision = group.record.revision;
                    commit_last(group, revision, false, &rules, now);
                }
                ReserveOutcome::Conflict(current) => {
                    drop_last(group);
                    let stored = current.iter().find(|(key, _)| key == &write.group);
                    let stored = stored.and_then(|(_, stored)| stored.as_ref());
                    if !resolve(group, stored, self.epoch, &rules) {
                        standing = Standing::Overtaken;
                    }
                }
            }
        }
        standing
    }

    pub(super) fn wants(&self, slot: u32, group: &GroupState, now: Mono) -> bool {
        if self.stopped {
            return false;
        }
        if group.record.urgent {
            return true;
        }
        let mut places = (0..).zip(&group.counters);
        if places.any(|(counter, state)| {
            self.counter_wants(CounterRef { group: slot, counter }, state, now)
        }) {
            return true;
        }
        // An idle group is written once more when its block is over: what it
        // has granted is then recorded exactly, nothing is held, and an empty
        // record is deleted.
        let idle = group.counters.iter().all(|counter| counter.quiet_at(&self.rules) <= now);
        idle && (group.is_dirty()
            || group.counters.iter().any(|counter| counter.block.open > 0)
            || self.is_deletable(group, now))
    }

    /// When time alone makes a reserve of this group due: half-way through a
    /// block that is in use, or at the end of all blocks, when the group is
    /// written once more. `None` if nothing is open and all is written.
    pub(super) fn block_wake(&self, group: &GroupState, now: Mono) -> Option<Mono> {
        let is_open = group.is_dirty() || group.counters.iter().any(|c| c.block.open > 0);
        if !is_open || self.stopped {
            return None;
        }
        let idle_at = group.counters.iter().map(|counter| counter.quiet_at(&self.rules)).max()?;
        let again = group.counters.iter().filter_map(|counter| {
            let block = &counter.block;
            let in_use = block.target > 0 && block.granted != block.granted_at_send;
            let half = block.deadline - counter.horizon(&self.rules) / 2;
            let half_gone = counter.grantable(now, &self.rules) * 2 <= block.target;
            let due = if half_gone { Mono(0) } else { half };
            in_use.then(|| due.max(counter.paused_until(&self.rules)))
        });
        again.chain([idle_at]).min()
    }

    /// A record stands in the store that says nothing any more.
    pub(super) fn is_deletable(&self, group: &GroupState, now: Mono) -> bool {
        group.record.revision != 0
            && now >= group.record.may_appear_until
            && group.counters.iter().all(Counter::is_empty)
            && group.classes.paused().next().is_none()
            && group.told.is_nothing()
            && (group.key != Group::Org || self.foreign.is_none())
    }

    fn counter_wants(&self, at: CounterRef, counter: &Counter, now: Mono) -> bool {
        let block = &counter.block;
        let grantable = counter.grantable(now, &self.rules);
        let half_gone = block.target > 0
            && block.granted != block.granted_at_send
            && (grantable * 2 <= block.target
                || now + counter.horizon(&self.rules) / 2 >= block.deadline);
        (self.demand_of(at) > grantable || half_gone) && now >= counter.paused_until(&self.rules)
    }

    /// Units of a counter that asks wait for.
    pub(super) fn demand_of(&self, at: CounterRef) -> u64 {
        self.demand.get(&at).copied().unwrap_or(0)
    }

    fn write_of(&mut self, slot: u32, now: Now, set_aside: bool) -> GroupWrite {
        let foreign = self.foreign_units(now.mono);
        let probe = self.probe_is_due(now.mono) || self.total_probe_is_due(now.mono);
        let needs: Vec<u64> = (0..)
            .zip(&self.groups.get(slot).counters)
            .map(|(counter, _)| self.demand_of(CounterRef { group: slot, counter }))
            .collect();
        let foreign_record = self.foreign_record(now);
        let rules = *self.rules;
        let policy_revision = self.policy.revision;
        let epoch = self.epoch;
        let mut violated = false;
        let group = self.groups.get_mut(slot);
        let is_org = group.key == Group::Org;
        // Unique in an epoch, also for a group that was forgotten and made anew:
        // an attempt must never be taken for another.
        group.record.seq = (group.record.seq + 1).max(now.mono.0);
        self.sends += 1;
        group.record.sends = self.sends;
        let mut parts = Vec::with_capacity(group.counters.len());
        let mut counters = Vec::with_capacity(group.counters.len());
        for (counter, needed) in group.counters.iter_mut().zip(needs) {
            let others = if is_org && counter.is_org_total() { foreign } else { 0 };
            let before = counter.used() + counter.block.open;
            // Lowering a limit, or foreign use, can leave more open than there
            // is room for: the gate at the grant sees to it.
            let still_open = if set_aside { counter.block.open } else { 0 };
            if !set_aside {
                counter.block.granted_at_snapshot = counter.block.granted;
                if !rules.has(Fault::HandOverGrantsOn) {
                    counter.block.open = 0;
                }
            }
            let target = counter.block_size(now.mono, needed, &rules);
            let idle = needed == 0 && counter.block.granted == counter.block.granted_at_send;
            let wanted = if set_aside && !idle { target.saturating_sub(still_open) } else { 0 };
            let room = counter.bound.saturating_sub(counter.used() + still_open + others);
            let mut add = wanted.min(room);
            if probe && others > 0 {
                // The call that looks whether foreign use is still what it was.
                let without = counter.bound.saturating_sub(counter.used() + still_open);
                add = add.max(needed.saturating_sub(still_open).min(without));
            }
            let open = if idle && set_aside {
                // Nobody has asked for a while: the block is given up.
                counter.block.open = 0;
                0
            } else {
                still_open + add
            };
            let still_open = open - add;
            if counter.scope != Scope::Workspace
                && counter.used() + open > counter.bound.max(before)
            {
                violated = true;
            }
            counter.block.limited = wanted > add;
            counter.block.last_sent = Some(now.mono);
            counter.block.granted_at_send = counter.block.granted;
            counter.block.target = if set_aside && !idle { target } else { 0 };
            counter.block.dirty = false;
            parts.push(AttemptPart {
                still_open,
                add,
                ttl_cap: counter.ttl_cap,
                horizon: counter.horizon(&rules),
                granted_at_snapshot: counter.block.granted,
            });
            let open_until = now.wall + counter.horizon(&rules);
            counters.push(counter.record(now, open, open_until));
        }
        group.record.dirty = false;
        let paused: Vec<Class> = group.classes.paused().collect();
        group.record.urgent = false;
        let record = GroupRecord {
            epoch,
            seq: group.record.seq,
            config_revision: policy_revision,
            counters: counters.into_iter().filter(is_worth_writing).collect(),
            foreign: if is_org { foreign_record } else { None },
            told: group.told.record(&paused),
            paused,
            written: now.wall,
        };
        let is_empty = record.counters.is_empty()
            && record.foreign.is_none()
            && record.paused.is_empty()
            && record.told.is_none()
            && now.mono >= group.record.may_appear_until;
        tight::reserve(&mut group.record.attempts);
        group.record.attempts.push(Attempt {
            seq: record.seq,
            sent: now.mono,
            parts,
            deletes: is_empty,
            sends: group.record.sends,
        });
        let write = GroupWrite {
            group: group.key.clone(),
            expected_revision: group.record.revision,
            record: (!is_empty).then_some(record),
        };
        if violated {
            self.violation("I1");
        }
        write
    }

    fn foreign_record(&self, now: Now) -> Option<ForeignRecord> {
        let foreign = self.foreign.as_ref()?;
        Some(ForeignRecord {
            estimate: foreign.estimate(),
            as_of: Wall(now.wall_at(foreign.as_of).0.div_ceil(1_000) * 1_000),
            limit: foreign.limit,
            used: foreign.used(),
        })
    }
}

fn is_worth_writing(counter: &CounterRecord) -> bool {
    counter.open > 0
        || !counter.sealed.is_empty()
        || !counter.lost.is_empty()
        || counter.cooling.is_some()
}

/// The last attempt was applied: grant from it.
fn commit_last(group: &mut GroupState, revision: u64, deleted: bool, rules: &Rules, now: Mono) {
    if let Some(attempt) = group.record.attempts.last().cloned() {
        commit(group, &attempt, if deleted { 0 } else { revision }, rules, Some(now));
    }
}

/// The last attempt was not applied and never will be. Earlier ones whose answer
/// is unknown may be yet.
fn drop_last(group: &mut GroupState) {
    group.record.attempts.pop();
    group.record.dirty = true;
    for counter in &mut group.counters {
        // Ask again at once when there is demand: what was not carried out says
        // nothing about how full the counter is.
        counter.block.granted_at_send = counter.block.granted_at_snapshot;
        counter.block.limited = false;
    }
}

fn commit(
    group: &mut GroupState,
    attempt: &Attempt,
    revision: u64,
    rules: &Rules,
    answered: Option<Mono>,
) {
    for (counter, part) in group.counters.iter_mut().zip(&attempt.parts) {
        let from = match answered {
            Some(now) if rules.has(Fault::DeadlineFromAnswer) => now,
            _ => attempt.sent,
        };
        counter.block.open += part.add;
        counter.block.deadline = from + part.horizon;
        counter.block.ttl_cap = part.ttl_cap;
        counter.block.committed = part.still_open + part.add;
        counter.block.granted_at_snapshot = part.granted_at_snapshot;
    }
    group.record.revision = revision;
    group.record.committed_sends = attempt.sends;
    group.record.attempts.clear();
}

/// Compares what stands in the store with what was tried. True if it is ours.
fn resolve(group: &mut GroupState, stored: Option<&Stored>, epoch: u64, rules: &Rules) -> bool {
    let known = group.record.revision;
    let attempts = &group.record.attempts;
    let applied = match stored {
        Some(stored) if stored.revision == known => return true,
        None if known == 0 => return true,
        Some(stored) if stored.record.epoch == epoch => {
            attempts.iter().find(|attempt| attempt.seq == stored.record.seq && !attempt.deletes)
        }
        Some(_) => None,
        None => attempts.iter().find(|attempt| attempt.deletes),
    };
    match applied.cloned() {
        Some(attempt) => {
            commit(group, &attempt, stored.map_or(0, |stored| stored.revision), rules, None);
            group.record.dirty = true;
            true
        }
        None => false,
    }
}
