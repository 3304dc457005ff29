//! The session: a lease that is kept alive, and the node key under it.
//!
//! A session lives until a moment that only the answers to its own keep-alives
//! move, and when it has died nothing revives it: a late answer speaks of a
//! lease whose shards others may own by now. Its lease is revoked before the
//! next is asked for. That is safe, since nothing is granted under it any more,
//! and it spares the node to wait for its own old keys.

use super::{Effect, Member, Registration};
use crate::{quota::Mono, store::LeaseId};

/// How the node stands with the store.
#[derive(Clone, Debug)]
pub(super) enum Standing {
    /// No lease; one is asked for at this moment.
    Without { next: Mono },
    /// A lease was asked for, then.
    Asked { at: Mono },
    /// A session.
    With(Session),
    /// The former session's lease is being revoked; not waited for any longer
    /// after this.
    Ending { lease: LeaseId, until: Mono },
}

impl Default for Standing {
    fn default() -> Self {
        Self::Without { next: Mono::default() }
    }
}

/// One life of the node in the store's eyes.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) lease: LeaseId,
    /// Tells this life from others of the node.
    pub(super) incarnation: String,
    pub(super) began: Mono,
    pub(super) until: Mono,
    keep_alive: Mono,
    node_key: NodeKey,
}

/// What is known of the node key.
#[derive(Clone, Debug, Default)]
struct NodeKey {
    /// The revision at which this session's stands; 0 if it does not.
    revision: u64,
    /// Whether it says that the node drains; `None` if that is not known.
    says_draining: Option<bool>,
    /// It is being put, since when, and saying what.
    asked: Option<(Mono, bool)>,
    /// Not put again before this.
    next: Mono,
}

impl Session {
    /// The node key stands.
    pub(super) fn is_registered(&self) -> bool {
        self.node_key.revision != 0
    }

    /// The node key stands and says that the node drains.
    pub(super) fn is_registered_as_draining(&self) -> bool {
        self.is_registered() && self.node_key.says_draining == Some(true)
    }
}

impl Member {
    pub(super) fn session(&self) -> Option<&Session> {
        match &self.standing {
            Standing::With(session) => Some(session),
            _ => None,
        }
    }

    fn session_mut(&mut self) -> Option<&mut Session> {
        match &mut self.standing {
            Standing::With(session) => Some(session),
            _ => None,
        }
    }

    /// The present session, if it is this lease's.
    fn session_of(&mut self, lease: LeaseId) -> Option<&mut Session> {
        self.session_mut().filter(|session| session.lease == lease)
    }

    /// Does what is due for the session.
    pub(super) fn advance_session(&mut self, now: Mono) {
        self.end_if_over(now);
        if let Standing::Ending { until, .. } = self.standing
            && self.is_due(now, until)
        {
            self.standing = Standing::Without { next: now };
        }
        if let Standing::Asked { at } = self.standing {
            let given_up = at + self.patience();
            if self.is_due(now, given_up) {
                self.ask_later(now);
            }
        }
        if self.leaving {
            return;
        }
        if let Standing::Without { next } = self.standing
            && self.is_due(now, next)
        {
            self.effects.push_back(Effect::Grant);
            self.standing = Standing::Asked { at: now };
        }
        self.advance_keep_alive(now);
        self.advance_registration(now);
    }

    /// A keep-alive is sent at its time, whether or not the former was
    /// answered: one that hangs must not cost the session.
    fn advance_keep_alive(&mut self, now: Mono) {
        let every = self.timing.ttl / 3;
        let Some(&Session { until, keep_alive, lease, .. }) = self.session() else { return };
        self.is_due(now, until);
        if self.is_due(now, keep_alive) {
            self.effects.push_back(Effect::KeepAlive(lease));
            if let Some(session) = self.session_mut() {
                session.keep_alive = now + every;
            }
        }
    }

    fn advance_registration(&mut self, now: Mono) {
        let draining = self.is_draining();
        let Some(session) = self.session() else { return };
        let NodeKey { asked, says_draining, next, revision } = session.node_key;
        let at = match asked {
            Some((since, _)) => since + self.patience(),
            None if says_draining == Some(draining) => return,
            None => next,
        };
        if !self.is_due(now, at) {
            return;
        }
        let Some(session) = self.session_mut() else { return };
        session.node_key.asked = Some((now, draining));
        let (lease, incarnation) = (session.lease, session.incarnation.clone());
        let record = super::NodeRecord { incarnation, draining, ..self.record.clone() };
        self.effects.push_back(Effect::Register { lease, record, replaces: revision });
    }

    pub(super) fn granted(&mut self, now: Mono, sent: Mono, lease: Option<LeaseId>) {
        // Sent before the present request was made, it answers one that was
        // given up.
        let is_awaited = matches!(self.standing, Standing::Asked { at } if sent >= at);
        let Some(lease) = lease else {
            if is_awaited {
                self.ask_later(now);
            }
            return;
        };
        let until = sent + self.timing.ttl - self.timing.margin;
        if is_awaited && until > now {
            self.effects.push_back(Effect::SessionUntil(until));
            self.standing = Standing::With(Session {
                lease,
                incarnation: format!("{:016x}", self.chance.draw()),
                began: now,
                until,
                keep_alive: sent + self.timing.ttl / 3,
                node_key: NodeKey::default(),
            });
        } else if self.session().is_none_or(|session| session.lease != lease) && !self.has_left() {
            // Nobody will use it.
            self.effects.push_back(Effect::Revoke(lease));
            if is_awaited {
                self.ask_later(now);
            }
        }
    }

    pub(super) fn kept_alive(
        &mut self,
        now: Mono,
        lease: LeaseId,
        sent: Mono,
        alive: Option<bool>,
    ) {
        // Counted from the sending: the lease's time begins somewhere between
        // that and the answer.
        let until = sent + self.timing.ttl - self.timing.margin;
        let Some(session) = self.session_of(lease) else { return };
        match alive {
            Some(true) if until > session.until => {
                session.until = until;
                self.effects.push_back(Effect::SessionUntil(until));
            }
            Some(false) => self.end_session(now),
            Some(true) | None => {}
        }
    }

    pub(super) fn revoked(&mut self, now: Mono, lease: LeaseId) {
        if matches!(self.standing, Standing::Ending { lease: ending, .. } if ending == lease) {
            self.standing = Standing::Without { next: now };
        }
    }

    pub(super) fn registered(&mut self, now: Mono, lease: LeaseId, outcome: Registration) {
        let next = now + self.timing.retry;
        let Some(session) = self.session_of(lease) else { return };
        let key = &mut session.node_key;
        let asked = key.asked.take();
        match outcome {
            Registration::Done(revision) if revision > key.revision => {
                key.revision = revision;
                // An answer that was not waited for any more does not say what
                // was put; then it is put again.
                key.says_draining = asked.map(|(_, draining)| draining);
            }
            Registration::Done(_) => {}
            Registration::Taken | Registration::Unknown => key.next = next,
        }
    }

    /// The watch told of the node key, as of a revision: the view has what
    /// stands there then, or later.
    pub(super) fn saw_own_node(&mut self, now: Mono, revision: u64) {
        let next = now + self.timing.retry;
        let own = self.view.nodes.get(&self.name);
        let own = own.filter(|info| info.record.incarnation == self.incarnation());
        let Some((stands, draining)) = own.map(|info| (info.revision, info.record.draining)) else {
            self.lost_own_node(revision, next);
            return;
        };
        let Some(session) = self.session_mut() else { return };
        let key = &mut session.node_key;
        if stands >= key.revision {
            key.revision = stands;
            key.says_draining = Some(draining);
            if key.asked.is_some_and(|(_, asked)| asked == draining) {
                key.asked = None;
            }
        }
    }

    /// The node key is not this session's, as of a revision. If that is older
    /// than what this session has put, it says nothing.
    fn lost_own_node(&mut self, revision: u64, next: Mono) {
        let Some(session) = self.session_mut() else { return };
        let key = &mut session.node_key;
        if key.revision != 0 && revision > key.revision {
            *key = NodeKey { next, asked: key.asked, ..NodeKey::default() };
        }
    }

    pub(super) fn end_if_over(&mut self, now: Mono) {
        if self.session().is_some_and(|session| session.until <= now) {
            self.end_session(now);
        }
    }

    /// The session is dead, for ever. First of all nothing is granted any more.
    pub(super) fn end_session(&mut self, now: Mono) {
        let Some(&Session { until, lease, .. }) = self.session() else { return };
        // What was decided and not done yet was decided for the dead session.
        self.effects.retain(|effect| matches!(effect, Effect::Drop { .. } | Effect::Revoke(_)));
        self.effects.push_front(Effect::SessionUntil(until.min(now)));
        self.drop_everything();
        self.effects.push_back(Effect::Revoke(lease));
        // At the very end there is nothing to hurry for: the answer is worth
        // more, since the process ends with it.
        let wait = if self.leaving { self.patience() } else { self.timing.retry };
        self.standing = Standing::Ending { lease, until: now + wait };
    }

    /// No answer to a request for a lease is waited for any more.
    pub(super) fn forget_grant(&mut self) {
        if matches!(self.standing, Standing::Asked { .. } | Standing::Without { .. }) {
            self.effects.retain(|effect| *effect != Effect::Grant);
            self.standing = Standing::default();
        }
    }

    fn ask_later(&mut self, now: Mono) {
        let wait = self.timing.retry * 2;
        self.standing = Standing::Without { next: now + self.chance.half_to_whole(wait) };
    }
}
