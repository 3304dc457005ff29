//! What can happen next, and what then is. The numbers are those of the steps of
//! a reserve in the protocol: each is one transition here.

use std::fmt;

use super::{
    Fault, Settings,
    world::{Attempt, Grant, Late, Node, Owner, Record, Tick, Transaction, World},
};

/// Something that can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Time passes.
    Tick,
    /// The owner key goes, whatever its owner believes.
    LeaseEnds,
    /// A node puts the owner key, where there is none.
    Take(usize),
    /// It reads the record, seals what is open there, and serves.
    Recover(usize),
    /// A node forgets everything. What it has sent is still on its way.
    Crash(usize),
    /// An owner sends a reserve: steps 1 to 4. `idle`: it gives its block up.
    Send { node: usize, idle: bool },
    /// A transaction arrives at the store, and the answer is heard if somebody
    /// waits for it and it is not lost: steps 5 and 6.
    Arrive { txn: usize, answered: bool },
    /// An owner stops waiting for an answer: step 7.
    TimeOut(usize),
    /// It reads the record, to find out what became of its attempts.
    Read(usize),
    /// An owner grants a call.
    Grant(usize),
    /// A client gives an unused call back.
    Release { node: usize, grant: usize },
    /// A client reports that its call was answered.
    Report { node: usize, grant: usize },
}

impl World {
    /// Everything that can happen now.
    pub fn steps(&self, settings: &Settings, steps: &mut Vec<Step>) {
        steps.push(Step::Tick);
        if self.owner.is_some() {
            steps.push(Step::LeaseEnds);
        }
        for txn in 0..self.in_flight.len() {
            let asker = &self.in_flight[txn];
            steps.push(Step::Arrive { txn, answered: false });
            if self.owners().any(|owner| owner.hears(asker)) {
                steps.push(Step::Arrive { txn, answered: true });
            }
        }
        let reads_first = settings.fault == Some(Fault::ReadBeforeTake);
        for (node, state) in self.nodes.iter().enumerate() {
            match state {
                Node::Idle if reads_first => steps.push(Step::Recover(node)),
                Node::Idle | Node::HasRead { .. } => {
                    if self.owner.is_none() {
                        steps.push(Step::Take(node));
                    }
                }
                Node::Taken { .. } => steps.extend([Step::Recover(node), Step::Crash(node)]),
                Node::Owner(owner) => {
                    steps.push(Step::Crash(node));
                    self.steps_of_owner(settings, node, owner, steps);
                }
            }
        }
    }

    fn steps_of_owner(
        &self,
        settings: &Settings,
        node: usize,
        owner: &Owner,
        steps: &mut Vec<Step>,
    ) {
        let tries_left = owner.attempts.len() < settings.in_flight;
        if owner.waits {
            steps.push(Step::TimeOut(node));
        } else if tries_left && self.in_flight.len() < settings.in_flight {
            if add(settings, owner) > 0 || owner.open > 0 && owner.until < self.now {
                steps.push(Step::Send { node, idle: false });
            }
            if owner.is_worth_writing(self.now) {
                steps.push(Step::Send { node, idle: true });
            }
        }
        if !owner.waits && !owner.attempts.is_empty() {
            steps.push(Step::Read(node));
        }
        if owner.open > 0 && self.now <= owner.until {
            steps.push(Step::Grant(node));
        }
        let mut seen = Vec::new();
        for (index, grant) in owner.granted.iter().enumerate() {
            // Before its expiry, and once. Of equal ones, one will do.
            if grant.stamp > self.now && !seen.contains(grant) {
                seen.push(*grant);
                steps.push(Step::Release { node, grant: index });
                steps.push(Step::Report { node, grant: index });
            }
        }
    }

    /// The world after a step.
    pub fn after(&self, settings: &Settings, step: Step) -> Self {
        let mut world = self.clone();
        world.late = None;
        world.take_step(settings, step);
        world
    }

    fn take_step(&mut self, settings: &Settings, step: Step) {
        let now = self.now;
        match step {
            Step::Tick => {
                self.now += 1;
                self.forget_what_has_left(settings);
            }
            Step::LeaseEnds => self.owner = None,
            Step::Take(node) => {
                self.revision += 1;
                self.owner = Some(self.revision);
                let epoch = self.revision;
                self.nodes[node] = match std::mem::replace(&mut self.nodes[node], Node::Idle) {
                    Node::HasRead { record } => {
                        Node::Owner(Owner::sealing(settings, epoch, record.as_ref(), now))
                    }
                    _ => Node::Taken { epoch },
                };
            }
            Step::Recover(node) => {
                let record = self.record.clone();
                self.nodes[node] = match self.nodes[node] {
                    Node::Taken { epoch } => {
                        Node::Owner(Owner::sealing(settings, epoch, record.as_ref(), now))
                    }
                    _ => Node::HasRead { record },
                };
            }
            Step::Crash(node) => self.nodes[node] = Node::Idle,
            Step::Send { node, idle } => self.send(settings, node, idle),
            Step::Arrive { txn, answered } => self.arrive(settings, txn, answered),
            Step::TimeOut(node) => {
                let Node::Owner(owner) = &mut self.nodes[node] else { return };
                owner.waits = false;
                if settings.fault == Some(Fault::TimeoutIsSuccess)
                    && let Some(attempt) = owner.attempts.last().copied()
                {
                    owner.commit(settings, attempt, owner.known, now);
                }
            }
            Step::Read(node) => self.resolve(settings, node),
            Step::Grant(node) => {
                let Node::Owner(owner) = &mut self.nodes[node] else { return };
                owner.open -= 1;
                owner.attempts.iter_mut().for_each(|attempt| attempt.granted += 1);
                owner.granted.push(Grant { stamp: now + settings.ttl, sent: false });
                self.calls.push(now + settings.ttl);
            }
            Step::Release { node, grant } => {
                let Node::Owner(owner) = &mut self.nodes[node] else { return };
                let grant = owner.granted.remove(grant);
                remove_one(&mut self.calls, grant.stamp);
                // A unit that was sent is spent in the record that may stand:
                // it can be granted again only from the next reserve on.
                if !grant.sent || settings.fault == Some(Fault::ReleaseSentToOpen) {
                    owner.open += 1;
                    for attempt in owner.attempts.iter_mut().filter(|_| !grant.sent) {
                        attempt.granted -= 1;
                    }
                }
            }
            Step::Report { node, grant } => {
                let Node::Owner(owner) = &mut self.nodes[node] else { return };
                let grant = &mut owner.granted[grant];
                remove_one(&mut self.calls, grant.stamp);
                self.calls.push(now);
                grant.stamp = now;
            }
        }
    }

    /// 1: the clock is read before sending, and what has left was dropped as
    /// time passed. 2: sealed is what is known now. 3: what is added. 4: sent.
    fn send(&mut self, settings: &Settings, node: usize, idle: bool) {
        self.attempts += 1;
        let (now, seq) = (self.now, self.attempts);
        let Node::Owner(owner) = &mut self.nodes[node] else { return };
        if idle {
            owner.open = 0;
        }
        let open = if idle { 0 } else { owner.open + add(settings, owner) };
        let until = now + settings.horizon;
        let mut sealed = owner.former.clone();
        sealed.extend(owner.granted.iter().map(|grant| grant.stamp));
        let is_empty = sealed.is_empty() && open == 0;
        let record = Record { epoch: owner.epoch, seq, sealed, open, open_until: until };
        owner.granted.iter_mut().for_each(|grant| grant.sent = true);
        owner.attempts.push(Attempt { seq, deletes: is_empty, open, until, granted: 0 });
        owner.waits = true;
        self.in_flight.push(Transaction {
            epoch: owner.epoch,
            expected: owner.known,
            seq,
            put: (!is_empty).then_some(record),
        });
    }

    fn arrive(&mut self, settings: &Settings, txn: usize, answered: bool) {
        let txn = self.in_flight.remove(txn);
        let fault = settings.fault;
        let compares_owner = !matches!(fault, Some(Fault::BlindPut | Fault::NoOwnerCompare));
        let compares_record = !matches!(fault, Some(Fault::BlindPut | Fault::NoRecordCompare));
        let is_former = self.owner != Some(txn.epoch);
        let holds = (!compares_owner || !is_former)
            && (!compares_record || self.record_revision() == txn.expected);
        if holds {
            self.revision += 1;
            self.record = txn.put.clone().map(|record| (self.revision, record));
        }
        if is_former {
            self.late = Some(if holds { Late::Applied } else { Late::Refused });
        }
        if !answered {
            return;
        }
        let (now, revision) = (self.now, self.record_revision());
        let asker = self.nodes.iter_mut().position(|node| match node {
            Node::Owner(owner) => owner.hears(&txn),
            _ => false,
        });
        let Some(node) = asker else { return };
        let Node::Owner(owner) = &mut self.nodes[node] else { return };
        owner.waits = false;
        let Some(attempt) = owner.attempts.last().copied() else { return };
        if holds {
            // 5: success.
            owner.commit(settings, attempt, revision, now);
        } else {
            owner.attempts.pop();
            self.resolve(settings, node);
        }
    }

    /// 6 and 7: what stands is compared with what was tried.
    fn resolve(&mut self, settings: &Settings, node: usize) {
        let (now, revision) = (self.now, self.record_revision());
        let stands = self.record.as_ref().map(|(_, record)| (record.epoch, record.seq));
        let Node::Owner(owner) = &mut self.nodes[node] else { return };
        if self.owner != Some(owner.epoch) {
            self.nodes[node] = Node::Idle;
            return;
        }
        if revision == owner.known {
            return;
        }
        let applied = owner.attempts.iter().copied().find(|attempt| match stands {
            Some(record) => record == (owner.epoch, attempt.seq) && !attempt.deletes,
            None => attempt.deletes,
        });
        match applied {
            Some(attempt) => owner.commit(settings, attempt, revision, now),
            // Not its own: the shard is taken anew, with what stands.
            None => self.nodes[node] = Node::Idle,
        }
    }
}

impl Owner {
    /// The owner of an epoch: what was open in the record counts as if all of it
    /// had been granted at the last moment.
    fn sealing(settings: &Settings, epoch: u32, record: Option<&(u32, Record)>, now: Tick) -> Self {
        let mut former = Vec::new();
        if let Some((_, record)) = record {
            former.clone_from(&record.sealed);
            let ttl = match settings.fault {
                Some(Fault::SealWithoutTtl) => 0,
                _ => settings.ttl,
            };
            let open = match settings.fault {
                Some(Fault::TakeoverWithoutSealing) => 0,
                _ => usize::from(record.open),
            };
            let stamp = record.open_until + ttl;
            if stamp + settings.window > now {
                former.extend(std::iter::repeat_n(stamp, open));
            }
        }
        Self {
            epoch,
            known: record.map_or(0, |(revision, _)| *revision),
            former,
            granted: Vec::new(),
            open: 0,
            until: now - 1,
            attempts: Vec::new(),
            waits: false,
        }
    }

    /// An attempt was applied: what it committed, less what was granted since it
    /// was sent, is open.
    fn commit(&mut self, settings: &Settings, attempt: Attempt, revision: u32, now: Tick) {
        self.known = revision;
        self.open = attempt.open.saturating_sub(attempt.granted);
        self.until = match settings.fault {
            Some(Fault::DeadlineFromAnswer) => now + settings.horizon,
            Some(Fault::NoBlockDeadline) => Tick::MAX,
            _ => attempt.until,
        };
        self.attempts.clear();
    }

    fn hears(&self, txn: &Transaction) -> bool {
        self.waits
            && self.epoch == txn.epoch
            && self.attempts.last().is_some_and(|attempt| attempt.seq == txn.seq)
    }

    /// It has a block to give up, or a record to write for the last time.
    fn is_worth_writing(&self, now: Tick) -> bool {
        self.open > 0 && self.until < now || self.known != 0 && self.units() == 0
    }
}

/// What a reserve adds to what is still open.
fn add(settings: &Settings, owner: &Owner) -> u8 {
    let wanted = settings.block.saturating_sub(usize::from(owner.open));
    let room = settings.limit.saturating_sub(owner.units());
    u8::try_from(wanted.min(room)).expect("limits are small")
}

fn remove_one(calls: &mut Vec<Tick>, stamp: Tick) {
    if let Some(at) = calls.iter().position(|call| *call == stamp) {
        calls.swap_remove(at);
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tick => f.write_str("time passes"),
            Self::LeaseEnds => f.write_str("the owner's lease ends"),
            Self::Take(node) => write!(f, "node {node} puts the owner key"),
            Self::Recover(node) => write!(f, "node {node} reads the record"),
            Self::Crash(node) => write!(f, "node {node} crashes and starts again"),
            Self::Send { node, idle: false } => write!(f, "node {node} sends a reserve"),
            Self::Send { node, idle: true } => write!(f, "node {node} gives up its block"),
            Self::Arrive { txn, answered: true } => {
                write!(f, "transaction {txn} arrives and is answered")
            }
            Self::Arrive { txn, answered: false } => {
                write!(f, "transaction {txn} arrives and nobody hears the answer")
            }
            Self::TimeOut(node) => write!(f, "node {node} stops waiting for the answer"),
            Self::Read(node) => write!(f, "node {node} reads what became of its attempts"),
            Self::Grant(node) => write!(f, "node {node} grants a call"),
            Self::Release { node, .. } => write!(f, "node {node} gets an unused call back"),
            Self::Report { node, .. } => write!(f, "node {node} hears that a call was answered"),
        }
    }
}
