//! What becomes of each shard: taken, recovered, served, given away.
//!
//! An epoch is a mod revision of the owner key, so of two things that are told
//! about a key, in whatever order, the one with the higher revision is newer;
//! and what was once seen to be replaced never stands again. So:
//!
//! - An owner key with our session's incarnation, and an epoch that we have not
//!   yet been through, is ours to serve, whoever tells of it first: the answer
//!   to our [`Effect::Take`], the watch, or the watch alone after an answer that
//!   was lost.
//! - Whatever the watch tells *as of a revision above our epoch*, a deletion, a
//!   replacement or a listing without our key, is final: our key is gone
//!   although we did not hand it over. Then our lease has gone, or somebody
//!   meddles with the keys; either way the whole session is at its end. (It
//!   grants nothing wrongly until it knows: every write is fenced.) What is told
//!   as of a lower revision was so before our put, and says nothing.

use std::time::Duration;

use super::{Effect, Member, Recovery, Taking};
use crate::{
    cluster::Timing,
    quota::Mono,
    store::{Key, LeaseId, Shard, keys::SHARDS},
};

/// A shard that this node gave away, because it cannot use its records or
/// because another is to own it, is left to the others for so long.
const LEFT_TO_OTHERS: Duration = Duration::from_secs(60);

/// One shard, as this node's session stands to it.
#[derive(Clone, Debug, Default)]
pub(super) struct Slot {
    pub(super) phase: Phase,
    /// The highest epoch of this session, known by an answer or by the watch; 0
    /// before there is one.
    owned: u64,
    /// This session is through with the epochs up to this.
    past: u64,
    /// The epoch of this session's owner key in the view; 0 if there is none.
    shown: u64,
    /// Nobody owns it, by the view.
    vacancy: Option<Vacancy>,
    /// Not taken before this.
    not_before: Mono,
    /// The owner key is not given back again before this.
    give_back: Mono,
    /// When it was last moved for balance.
    moved: Option<Mono>,
    /// Its records were of no use to this version. Kept over sessions, like
    /// `refused_until`.
    pub(super) is_unusable: bool,
    refused_until: Mono,
}

/// Where a shard is on its way. Recovering and handing over are this process's
/// own work, which always ends: there an answer is waited for without a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing is done about it.
    #[default]
    Free,
    /// Its owner key is being put, since then.
    Taking {
        at: Mono,
        /// What it replaces; 0 for a shard that nobody owns.
        replaces: u64,
        /// An earlier attempt to replace it may have succeeded.
        is_unsure: bool,
    },
    /// Owned, and its records are being read, or will be again at `again`.
    Recovering { epoch: u64, again: Option<Mono> },
    /// Served.
    Serving { epoch: u64 },
    /// Owned, and to be taken in a new epoch, since its ledgers are of no use.
    Broken { epoch: u64, next: Mono, is_unsure: bool },
    /// Being given away.
    HandingOver { epoch: u64, why: Why },
}

/// Why a shard is given away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// Another node is to own it.
    Balance,
    /// It was given away before, and its owner key still stands.
    StillThere,
    /// The node drains, or cannot use the records.
    Other,
}

/// Nobody owns a shard.
#[derive(Clone, Copy, Debug)]
struct Vacancy {
    since: Mono,
    /// How long this node waits for each that comes before it.
    step: Duration,
}

impl Slot {
    /// Nothing of it is this node's, or will be without its doing.
    pub(super) fn is_given_away(&self) -> bool {
        match self.phase {
            Phase::Free => self.owned <= self.past,
            Phase::HandingOver { why, .. } => why == Why::StillThere,
            _ => false,
        }
    }

    /// The epoch in which this node has ledgers of it, or may have.
    fn held(&self) -> Option<u64> {
        match self.phase {
            Phase::Free | Phase::Taking { replaces: 0, .. } => None,
            Phase::Taking { replaces: epoch, .. }
            | Phase::Recovering { epoch, .. }
            | Phase::Serving { epoch }
            | Phase::Broken { epoch, .. }
            | Phase::HandingOver { epoch, .. } => Some(epoch),
        }
    }
}

/// How much is under way in a pass.
struct Load {
    /// Taken and recovered.
    taking: usize,
    handing_over: usize,
}

impl Load {
    fn has_room_to_take(&self, timing: &Timing) -> bool {
        self.taking < timing.takes_at_a_time.max(1)
    }

    fn has_room_to_move(&self, timing: &Timing) -> bool {
        self.handing_over < timing.moves_at_a_time.max(1)
    }

    fn has_room_to_drain(&self, timing: &Timing) -> bool {
        self.handing_over < timing.drains_at_a_time.max(timing.moves_at_a_time).max(1)
    }
}

impl Member {
    /// Does what is due for the shards.
    pub(super) fn advance_shards(&mut self, now: Mono) {
        if self.session().is_none() {
            return;
        }
        for shard in Shard::all() {
            self.give_up_waiting(now, shard);
        }
        let counts = self.state_counts();
        let mut load =
            Load { taking: counts.taking + counts.recovering, handing_over: counts.handing_over };
        // What is owned comes before what may be.
        for shard in Shard::all() {
            self.advance_owned(now, shard, &mut load);
        }
        if self.takes_part() {
            for shard in Shard::all() {
                self.advance_vacant(now, shard, &mut load);
            }
        }
        debug_assert!(load.taking <= self.timing.takes_at_a_time.max(1), "{}", load.taking);
    }

    /// This node is one of those among which the shards are divided, and knows
    /// how they are.
    fn takes_part(&self) -> bool {
        let Some(session) = self.session() else { return false };
        let is_whole = |shards| shards == u32::from(SHARDS);
        session.is_registered()
            && !self.is_draining()
            && self.view.is_known()
            && self.view.generation.as_ref().is_some_and(|of| is_whole(of.shards))
            && self.membership.nodes.get(&self.name) == Some(&session.incarnation)
    }

    fn advance_owned(&mut self, now: Mono, shard: Shard, load: &mut Load) {
        let slot = self.slot(shard);
        let (phase, refused_until) = (slot.phase, slot.refused_until);
        let (owned, shown, give_back) = (slot.owned, slot.shown, slot.give_back);
        let is_owned_anew = owned > slot.past;
        match phase {
            Phase::Free if is_owned_anew && (self.is_draining() || refused_until > now) => {
                if self.may_drain(now, load) {
                    self.hand_over(shard, owned, Why::Other, load);
                }
            }
            Phase::Free if is_owned_anew => self.recover(shard, owned, load),
            Phase::Free => {
                if shown != 0 && load.has_room_to_drain(&self.timing) && self.is_due(now, give_back)
                {
                    self.hand_over(shard, shown, Why::StillThere, load);
                }
            }
            Phase::Recovering { epoch, again: Some(again) } => {
                if self.is_draining() {
                    if self.may_drain(now, load) {
                        load.taking -= 1;
                        self.hand_over(shard, epoch, Why::Other, load);
                    }
                } else if self.is_due(now, again) {
                    load.taking -= 1;
                    self.recover(shard, epoch, load);
                }
            }
            Phase::Broken { epoch, next, is_unsure } => {
                if self.is_draining() {
                    if self.may_drain(now, load) {
                        // There is nothing to be written down: only the key goes.
                        self.effects.push_back(Effect::Drop { shard, epoch });
                        self.hand_over(shard, epoch, Why::Other, load);
                    }
                } else if load.has_room_to_take(&self.timing) && self.is_due(now, next) {
                    self.take(now, shard, epoch, is_unsure, load);
                }
            }
            Phase::Serving { epoch } if self.is_draining() => {
                if self.may_drain(now, load) {
                    self.hand_over(shard, epoch, Why::Other, load);
                }
            }
            Phase::Serving { epoch } => self.balance(now, shard, epoch, load),
            Phase::Taking { .. }
            | Phase::Recovering { again: None, .. }
            | Phase::HandingOver { .. } => {}
        }
    }

    /// Takes a shard that nobody owns, when those who come before this node have
    /// had their time.
    fn advance_vacant(&mut self, now: Mono, shard: Shard, load: &mut Load) {
        let Some(began) = self.session().map(|session| session.began) else { return };
        let Some(&rank) = self.membership.ranks.get(usize::from(shard.number())) else { return };
        let slot = self.slot(shard);
        let Some(Vacancy { since, step }) = slot.vacancy else { return };
        if slot.phase != Phase::Free || slot.owned > slot.past {
            return;
        }
        let wait = step.saturating_mul(u32::try_from(rank).unwrap_or(u32::MAX));
        let at = (since.max(began) + wait).max(slot.not_before).max(slot.refused_until);
        // Without room the end of another's way will be the occasion.
        if load.has_room_to_take(&self.timing) && self.is_due(now, at) {
            self.take(now, shard, 0, false, load);
        }
    }

    /// Hands a shard over that another node ought to own, once membership has
    /// been the same for a while.
    fn balance(&mut self, now: Mono, shard: Shard, epoch: u64, load: &mut Load) {
        let rank = self.membership.ranks.get(usize::from(shard.number()));
        let is_others = rank.is_some_and(|&rank| rank > 0);
        if !is_others || !load.has_room_to_move(&self.timing) || !self.takes_part() {
            return;
        }
        let since = self.membership.since;
        let mut at = since + self.timing.stable_for;
        // It came back from the same nodes: who was to own it did not take it.
        if let Some(moved) = self.slot(shard).moved.filter(|&moved| moved >= since) {
            at = at.max(moved + LEFT_TO_OTHERS);
        }
        if self.is_due(now, at) {
            self.hand_over(shard, epoch, Why::Balance, load);
        }
    }

    /// A draining node hands its shards over as soon as the others know that it
    /// drains: then the one that comes first takes each at once.
    fn may_drain(&mut self, now: Mono, load: &Load) -> bool {
        if !load.has_room_to_drain(&self.timing) {
            return false;
        }
        if let Some(since) = self.draining
            && !load.has_room_to_move(&self.timing)
            && !self.is_due(now, since + self.timing.unhurried)
        {
            return false;
        }
        let is_told = self
            .session()
            .is_none_or(|own| own.is_registered_as_draining() || !own.is_registered());
        match self.draining {
            Some(since) if !is_told => self.is_due(now, since + self.timing.retry * 2),
            _ => true,
        }
    }

    fn take(&mut self, now: Mono, shard: Shard, replaces: u64, is_unsure: bool, load: &mut Load) {
        let Some(session) = self.session() else { return };
        let (lease, incarnation) = (session.lease, session.incarnation.clone());
        self.slot_mut(shard).phase = Phase::Taking { at: now, replaces, is_unsure };
        self.effects.push_back(Effect::Take { shard, lease, incarnation, replaces });
        load.taking += 1;
    }

    fn recover(&mut self, shard: Shard, epoch: u64, load: &mut Load) {
        if load.has_room_to_take(&self.timing) {
            self.slot_mut(shard).phase = Phase::Recovering { epoch, again: None };
            self.effects.push_back(Effect::Recover { shard, epoch });
            load.taking += 1;
        }
    }

    fn hand_over(&mut self, shard: Shard, epoch: u64, why: Why, load: &mut Load) {
        self.slot_mut(shard).phase = Phase::HandingOver { epoch, why };
        self.effects.push_back(Effect::HandOver { shard, epoch });
        load.handing_over += 1;
    }

    /// A take without an answer may have succeeded: the watch will tell. Until
    /// then another cannot do harm, since it compares what it replaces.
    fn give_up_waiting(&mut self, now: Mono, shard: Shard) {
        if let Phase::Taking { at, replaces, .. } = self.slot(shard).phase {
            let given_up = at + self.patience();
            if self.is_due(now, given_up) {
                self.slot_mut(shard).stop_taking(now, replaces, true);
            }
        }
    }

    pub(super) fn taken(&mut self, now: Mono, shard: Shard, lease: LeaseId, outcome: Taking) {
        if self.session().is_none_or(|session| session.lease != lease) {
            return;
        }
        let next = now + self.timing.retry;
        let slot = self.slot_mut(shard);
        if let Taking::Done(epoch) = outcome {
            self.owns(shard, epoch);
            return;
        }
        let Phase::Taking { replaces, is_unsure, .. } = slot.phase else { return };
        match outcome {
            Taking::Conflict if replaces != 0 && !is_unsure => self.end_session(now),
            Taking::Done(_) | Taking::Conflict | Taking::NotExecuted => {
                slot.stop_taking(next, replaces, is_unsure);
            }
            Taking::Unknown => slot.stop_taking(next, replaces, true),
        }
    }

    /// An owner key of this session stands in an epoch, or has.
    fn owns(&mut self, shard: Shard, epoch: u64) {
        let slot = self.slot_mut(shard);
        if epoch <= slot.owned.max(slot.past) {
            return;
        }
        slot.owned = epoch;
        let replaced = match slot.phase {
            Phase::Taking { replaces, .. } => replaces,
            Phase::Broken { epoch, .. } => epoch,
            // Given away in an earlier epoch, and then a take of old came
            // through: it is looked after when the hand-over is done.
            _ => return,
        };
        slot.phase = Phase::Free;
        slot.past = slot.past.max(replaced);
        if replaced != 0 {
            self.effects.push_back(Effect::Drop { shard, epoch: replaced });
        }
    }

    pub(super) fn recovered(&mut self, now: Mono, shard: Shard, epoch: u64, outcome: Recovery) {
        let again = now + self.timing.retry;
        let slot = self.slot_mut(shard);
        if slot.phase != (Phase::Recovering { epoch, again: None }) {
            // Its session has died meanwhile: nobody rules over these ledgers.
            if outcome == Recovery::Done && slot.held() != Some(epoch) {
                self.effects.push_back(Effect::Drop { shard, epoch });
            }
            return;
        }
        match outcome {
            Recovery::Done => {
                slot.phase = Phase::Serving { epoch };
                slot.is_unusable = false;
            }
            Recovery::Unreachable => {
                slot.phase = Phase::Recovering { epoch, again: Some(again) };
            }
            Recovery::Unusable => {
                slot.phase = Phase::HandingOver { epoch, why: Why::Other };
                slot.is_unusable = true;
                slot.refused_until = now + LEFT_TO_OTHERS;
                self.effects.push_back(Effect::HandOver { shard, epoch });
            }
        }
    }

    pub(super) fn handed_over(&mut self, now: Mono, shard: Shard, epoch: u64) {
        let pause = self.timing.rank_delay * 2;
        let retry = self.timing.retry;
        let slot = self.slot_mut(shard);
        let Phase::HandingOver { epoch: of, why } = slot.phase else { return };
        if of != epoch {
            return;
        }
        slot.phase = Phase::Free;
        slot.past = slot.past.max(epoch);
        slot.give_back = now + retry;
        if why == Why::Balance {
            slot.moved = Some(now);
            slot.not_before = now + pause;
        }
        // The others' turn counts from here.
        if let Some(vacancy) = &mut slot.vacancy {
            vacancy.since = now;
        }
    }

    pub(super) fn fenced(&mut self, now: Mono, shard: Shard, epoch: u64) {
        // A hand-over deletes the key itself, and a take replaces it: what is
        // under way besides is fenced by that.
        let is_news = match self.slot(shard).phase {
            Phase::Recovering { epoch: of, .. } | Phase::Serving { epoch: of } => of == epoch,
            Phase::Broken { epoch: of, is_unsure, .. } => of == epoch && !is_unsure,
            Phase::Free | Phase::Taking { .. } | Phase::HandingOver { .. } => false,
        };
        if is_news {
            self.end_session(now);
        }
    }

    pub(super) fn broken(&mut self, now: Mono, shard: Shard, epoch: u64) {
        let slot = self.slot_mut(shard);
        // The word that it is served may come after the word that it broke.
        let is_recovering = slot.phase == Phase::Recovering { epoch, again: None };
        if slot.phase == (Phase::Serving { epoch }) || is_recovering {
            slot.phase = Phase::Broken { epoch, next: now, is_unsure: false };
        }
    }

    /// The watch told of a shard's owner key, as of a revision: the view has
    /// what stands there then, or later.
    pub(super) fn saw_owner(&mut self, now: Mono, shard: Shard, revision: u64) {
        let owner = self.view.owners.get(&shard);
        let shown = match (owner, self.session()) {
            (Some(owner), Some(session))
                if owner.node == self.name && owner.incarnation == session.incarnation =>
            {
                owner.epoch
            }
            _ => 0,
        };
        let is_vacant = owner.is_none() && !self.is_unreadable(shard);
        let step = self.chance.half_to_whole(self.timing.rank_delay);

        let slot = self.slot_mut(shard);
        slot.shown = shown;
        slot.vacancy = is_vacant.then(|| slot.vacancy.unwrap_or(Vacancy { since: now, step }));
        self.owns(shard, shown);

        let slot = self.slot_mut(shard);
        match slot.phase {
            Phase::Taking { replaces: epoch, .. }
            | Phase::Recovering { epoch, .. }
            | Phase::Serving { epoch }
            | Phase::Broken { epoch, .. } => {
                if epoch != 0 && shown != epoch && revision > epoch {
                    self.end_session(now);
                }
            }
            // Gone before it was served.
            Phase::Free if shown == 0 && revision > slot.owned => {
                slot.past = slot.past.max(slot.owned);
            }
            Phase::Free | Phase::HandingOver { .. } => {}
        }
    }

    fn is_unreadable(&self, shard: Shard) -> bool {
        !self.view.unreadable.is_empty()
            && self.view.unreadable.contains_key(&Key::ShardOwner(shard).to_string())
    }

    /// Forgets the session's shards, and what was meant to be done about them.
    pub(super) fn drop_everything(&mut self) {
        for shard in Shard::all() {
            let slot = self.slot_mut(shard);
            let held = slot.held();
            *slot = Slot {
                vacancy: slot.vacancy,
                moved: slot.moved,
                is_unusable: slot.is_unusable,
                refused_until: slot.refused_until,
                ..Slot::default()
            };
            if let Some(epoch) = held {
                self.effects.push_back(Effect::Drop { shard, epoch });
            }
        }
    }

    fn slot(&self, shard: Shard) -> &Slot {
        &self.slots[usize::from(shard.number())]
    }

    fn slot_mut(&mut self, shard: Shard) -> &mut Slot {
        &mut self.slots[usize::from(shard.number())]
    }
}

impl Slot {
    /// A take has failed, or may have: what follows, and not before `next`.
    fn stop_taking(&mut self, next: Mono, replaces: u64, is_unsure: bool) {
        if replaces == 0 {
            self.phase = Phase::Free;
            self.not_before = next;
        } else {
            self.phase = Phase::Broken { epoch: replaces, next, is_unsure };
        }
    }
}
