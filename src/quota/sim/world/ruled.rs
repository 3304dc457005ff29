//! A world that is a part of a cluster: who owns the org is decided outside, by
//! the nodes' state machines. The cluster moves the time on, one event at a
//! time, sets the clocks and the links of the nodes, and says which node serves
//! in which epoch; the world tells it what it has to know as [`Signal`]s.

use super::*;
use crate::quota::sim::node::Clocks;

/// How a message was forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Via {
    /// The node that forwarded it.
    pub edge: usize,
    /// When it came there.
    pub came: u64,
    /// The epoch that this node believes in.
    pub epoch: u64,
    /// It was forwarded before, to a node that was not the owner.
    pub again: bool,
}

/// What a world tells its cluster.
#[derive(Clone, Debug)]
pub enum Signal {
    /// A message came to a node that does not serve the org, or not in the
    /// epoch that the sender believes in.
    NotHere { node: usize, message: Message, came: u64, via: Option<Via> },
    /// A transaction was fenced off.
    Fenced { node: usize, epoch: u64 },
    /// A record was written by somebody else: the ledger is of no use.
    Broken { node: usize, epoch: u64 },
    /// A hand-over has written everything.
    Written { node: usize, epoch: u64 },
    /// A grant was made: the worst moment for a crash.
    Granted { node: usize },
    /// A block is fresh: the worst moment to lose the shard.
    Committed { node: usize },
}

impl World {
    /// A world whose owners are chosen by a cluster.
    pub fn ruled(rng: Rng, scenario: Scenario, nodes: usize, trace: Trace) -> Self {
        let mut world = Self { ruled: true, trace, ..Self::empty(rng, scenario, nodes) };
        world.begin();
        world
    }

    /// When the next event is due.
    pub fn next_at(&self) -> Option<u64> {
        self.events.peek().map(|next| next.at)
    }

    /// Lets the next event happen. `owner`: the mod revision of the shard's
    /// owner key; 0: there is none. `revision`: the store's.
    pub fn advance(&mut self, owner: u64, revision: &mut u64) {
        let Some(Scheduled { at, event, .. }) = self.events.pop() else { return };
        self.at = at;
        self.coverage.hit("event");
        self.store.see(owner, *revision);
        self.step(event);
        *revision = self.store.revision();
    }

    /// Lets something from outside happen at a moment.
    pub fn within<T>(
        &mut self,
        at: u64,
        owner: u64,
        revision: &mut u64,
        act: impl FnOnce(&mut Self) -> T,
    ) -> T {
        self.at = at;
        self.store.see(owner, *revision);
        let result = act(self);
        *revision = self.store.revision();
        result
    }

    /// What the cluster has to know.
    pub fn take_signals(&mut self) -> Vec<Signal> {
        std::mem::take(&mut self.signals)
    }

    /// The first invariant that did not hold.
    pub fn take_violation(&mut self) -> Option<Violation> {
        self.violation.take()
    }

    /// What holds at the end: nothing was overrun.
    pub fn finish(&mut self) -> Result<&Coverage, Violation> {
        self.check_arrivals();
        self.take_violation().map_or(Ok(&self.coverage), Err)
    }

    /// The hash of what was told so far.
    pub fn trace_hash(&self) -> u64 {
        self.trace.hash()
    }

    /// The clocks of a node.
    pub fn set_clocks(&mut self, node: usize, clocks: Clocks) {
        self.nodes[node].clocks = clocks;
    }

    /// Who hears a node.
    pub fn set_links(&mut self, node: usize, cut_off: bool, apart: Vec<usize>) {
        self.nodes[node].cut_off = cut_off;
        self.nodes[node].apart = apart;
    }

    /// Until when a node grants; `None`: whatever its session says.
    pub fn set_session(&mut self, node: usize, until: Option<Mono>) {
        self.nodes[node].session = until;
    }

    /// The epoch in which a node serves the org.
    pub fn serves(&self, node: usize) -> Option<u64> {
        let node = &self.nodes[node];
        node.ledger.is_some().then_some(node.epoch)
    }

    /// Records as they stand.
    pub fn records(&self) -> Vec<(Group, Stored)> {
        self.store.read()
    }

    /// A node serves the org in an epoch, with what it has read.
    pub fn serve(&mut self, node: usize, epoch: u64, records: Vec<(Group, Stored)>) {
        self.end_of(node);
        self.nodes[node].epoch = epoch;
        self.rise(node, records);
    }

    /// A node begins to hand the org over; [`Signal::Written`] says when all of
    /// it is written.
    pub fn leave(&mut self, node: usize) {
        if let Some(ledger) = &mut self.nodes[node].ledger {
            if !self.scenario.rules.has(Fault::HandOverGrantsOn) {
                ledger.stop();
            }
            self.nodes[node].leaving = true;
            self.poll(node);
        }
    }

    /// A node starts: it reads the settings that hold.
    pub fn start(&mut self, node: usize) {
        self.nodes[node].is_down = false;
        self.nodes[node].settings = None;
        self.nodes[node].session = None;
    }

    /// A node ends.
    pub fn go_down(&mut self, node: usize) {
        self.nodes[node].is_down = true;
        self.end_of(node);
    }

    /// A node forgets the org's ledger, writing nothing.
    pub fn forget(&mut self, node: usize) {
        self.end_of(node);
    }

    /// A node can go on.
    pub fn wake(&mut self, node: usize) {
        self.poll(node);
    }

    /// A forwarded message is on its way.
    pub fn forward(&mut self, node: usize, delay: u64, message: Message, via: Via) {
        if let Message::Acquire(request) = message {
            self.requests[request].edge = Some(via.edge);
            self.requests[request].carried = self.at - via.came;
        }
        let came = self.at + delay;
        let via = Some(via);
        self.after(delay, Event::Deliver { node, message, came, stamped: None, via });
    }

    /// Nobody answers a message.
    pub fn refuse(&mut self, message: &Message, delay: u64) {
        if let Message::Acquire(request) = *message {
            self.after(delay, Event::Reply { request, reply: Reply::Nothing });
        }
    }

    /// The node serves the org, as far as it knows, in the epoch that the sender
    /// believes in.
    pub(super) fn is_here(&self, node: usize, stamped: Option<u64>, via: Option<Via>) -> bool {
        let node = &self.nodes[node];
        let now = node.now(stamped.unwrap_or(self.at));
        node.ledger.is_some()
            && node.may_grant(now.mono)
            && via.is_none_or(|via| via.epoch == node.epoch)
    }

    /// Clients go to a stale owner if there is one, to the owner, or anywhere.
    pub(super) fn route_in_cluster(&mut self) -> usize {
        let owner = self.store.owner;
        let up = |node: &Node| node.ledger.is_some();
        let stale = self.nodes.iter().position(|node| up(node) && node.epoch != owner);
        let current = self.nodes.iter().position(|node| up(node) && node.epoch == owner);
        match (self.rng.u32(0..3), stale, current) {
            (0, Some(stale), _) => {
                self.coverage.hit("message to a stale owner");
                stale
            }
            (1, _, Some(owner)) => owner,
            _ => {
                let node = self.rng.usize(0..self.nodes.len());
                // Who measures use goes where somebody listens.
                let up = self.nodes.iter().position(|node| !node.is_down);
                let seeks = self.scenario.style == Style::Saturated && self.nodes[node].is_down;
                if seeks { up.unwrap_or(node) } else { node }
            }
        }
    }
}
