//! What goes wrong, and what operators do, while the cluster runs.

use super::{
    host::Host,
    world::{Cluster, Event},
};
use crate::{
    cluster::{Member, member::Event as Told},
    quota::{
        rules::Fault,
        sim::{node::Clocks, scenario::Plant as OrgPlant},
    },
    store::records::NodeRecord,
};

impl Cluster {
    /// A process starts.
    pub(super) fn start(&mut self, node: usize) {
        if self.hosts[node].member.is_some() || self.hosts[node].is_dead {
            return;
        }
        self.say(|| format!("node {node} starts"));
        self.coverage.hit("start");
        let clocks = Clocks {
            boot: self.rng.u64(1..1 << 44),
            offset: self.orgs[0].world.offset(),
            wild: 0,
            frozen_until: 0,
            wall_ages: self.has_of_org(OrgPlant::Core(Fault::WallAges)),
        };
        self.hosts[node].clocks = clocks;
        self.clocks_changed(node);
        self.hosts[node].hears_late = self.rng.bool();
        let name = self.hosts[node].name.clone();
        let record = NodeRecord {
            address: format!("{name}:1"),
            peer_address: format!("{name}:2"),
            incarnation: String::new(),
            version: "simulated".into(),
            draining: false,
        };
        let seed = self.rng.u64(..);
        self.hosts[node].member = Some(Member::new(name, record, self.scenario.timing, seed));
        for org in 0..self.orgs.len() {
            self.orgs[org].world.start(node);
        }
        self.resume_soon(node);
        self.drive(node);
        if let Some(next) = self.rolling.filter(|rolled| *rolled == node) {
            self.rolling = (next + 1 < self.hosts.len()).then_some(next + 1);
            if let Some(next) = self.rolling {
                self.roll(next);
            }
        }
    }

    /// A process ends, and another one may start in its place.
    fn end(&mut self, node: usize) {
        for org in 0..self.orgs.len() {
            self.with_org(org, |world| world.go_down(node));
        }
        self.hosts[node].end();
        let back = match self.rng.u32(0..3) {
            _ if !self.is_rough() => 0,
            0 => self.rng.u64(0..=self.scenario.store_latency),
            1 => self.rng.u64(0..=self.ttl()),
            _ => self.rng.u64(0..=3 * self.ttl()),
        };
        self.after(back, Event::Start { node });
    }

    pub(super) fn crash(&mut self, node: usize) {
        if self.hosts[node].member.is_none() {
            return;
        }
        self.say(|| format!("node {node} crashes"));
        self.coverage.hit("crash");
        self.end(node);
    }

    /// A process ends that has handed everything over.
    pub(super) fn exit(&mut self, node: usize) {
        self.say(|| format!("node {node} ends"));
        self.end(node);
    }

    /// The worst moment for a crash is between a grant and its record.
    pub(super) fn crash_soon(&mut self, node: usize) {
        if self.is_rough() && self.percent(self.scenario.crashes) {
            let life = self.hosts[node].life;
            let delay = self.rng.u64(0..=self.scenario.store_latency);
            self.after(delay, Event::Crash { node, life });
        }
    }

    /// The worst moment to lose a shard is while a block is fresh. A lease that
    /// is overdue ends now; another is revoked, which none should be.
    pub(super) fn lose_block_soon(&mut self, node: usize) {
        if !self.is_rough() || !self.percent(self.scenario.lost_blocks) {
            return;
        }
        self.coverage.hit("lease lost over a fresh block");
        let delay = self.rng.u64(0..=self.scenario.store_latency * 2);
        for lease in self.store.leases_of(node) {
            self.after(delay, Event::LeaseRevoked { lease });
        }
        // Its owner does not hear of it, for a while.
        let ttl = self.ttl();
        match self.rng.u32(0..8) {
            0..3 => {
                let pause = self.around(ttl / 4);
                self.pause(node, pause);
            }
            3..6 => self.lose_watches(node, ttl),
            6 => {
                let length = self.around(ttl / 2);
                self.cut_off(node, length);
            }
            _ => {}
        }
    }

    // ---- Troubles ----

    pub(super) fn trouble(&mut self) {
        if !self.is_rough() {
            return;
        }
        let next = self.around(self.scenario.trouble);
        self.after(next, Event::Trouble);
        let node = self.victim();
        let ttl = self.ttl();
        match self.rng.u32(0..26) {
            0..4 => self.crash(node),
            4..8 => {
                let lengths = [ttl / 20, ttl / 2, ttl + ttl / 2, 3 * ttl];
                let length = lengths[self.rng.usize(0..4)];
                let pause = self.around(length);
                self.pause(node, pause);
            }
            8..11 => {
                let lengths = [ttl / 10, ttl, 2 * ttl];
                let length = lengths[self.rng.usize(0..3)];
                let length = self.around(length);
                self.cut_off(node, length);
            }
            11..13 => self.part(),
            13..15 => {
                self.coverage.hit("wall step");
                self.hosts[node].clocks.offset = self.orgs[0].world.offset();
                self.clocks_changed(node);
            }
            15 => {
                self.coverage.hit("wild wall step");
                let far = i64::try_from(3 * ttl).unwrap_or(i64::MAX / 4);
                self.hosts[node].clocks.wild = self.rng.i64(-far..=far);
                self.clocks_changed(node);
                let until = self.around(ttl / 4);
                self.after(until, Event::Tame { node });
            }
            16 => self.lose_quorum(),
            17 => self.change_leader(),
            18 => {
                let delay = self.rng.u64(0..=self.scenario.store_latency);
                for lease in self.store.leases_of(node) {
                    self.after(delay, Event::LeaseRevoked { lease });
                }
            }
            19..21 => self.lose_watches(node, ttl / 2),
            21..23 => {
                self.coverage.hit("drain taken back");
                let life = self.hosts[node].life;
                self.drain(node, true);
                let after = self.around(ttl);
                self.after(after, Event::Undrain { node, life });
            }
            23..25 => self.roll(node),
            _ => {
                if self.rolling.is_none() {
                    self.coverage.hit("rolling restart");
                    self.rolling = Some(0);
                    self.roll(0);
                }
            }
        }
    }

    /// Whom it happens to: mostly to an owner.
    fn victim(&mut self) -> usize {
        let owners: Vec<usize> = (0..self.hosts.len())
            .filter(|node| {
                let host = &self.hosts[*node];
                self.orgs.iter().any(|org| host.tenures.contains_key(&org.shard))
            })
            .collect();
        if owners.is_empty() || self.percent(25) {
            self.rng.usize(0..self.hosts.len())
        } else {
            owners[self.rng.usize(0..owners.len())]
        }
    }

    pub(super) fn pause(&mut self, node: usize, pause: u64) {
        if self.hosts[node].member.is_none() || self.hosts[node].is_frozen(self.at) {
            return;
        }
        self.coverage.hit("pause");
        self.say(|| format!("node {node} pauses for {pause}"));
        let clocks = &mut self.hosts[node].clocks;
        clocks.frozen_until = self.at + pause;
        if self.scenario.plant == Some(super::scenario::Plant::Org(OrgPlant::FrozenClocks)) {
            let clocks = &mut self.hosts[node].clocks;
            clocks.boot = clocks.boot.saturating_sub(pause);
            clocks.offset -= i64::try_from(pause).unwrap_or(i64::MAX);
        }
        self.clocks_changed(node);
        let life = self.hosts[node].life;
        self.after(pause, Event::Thaw { node, life });
    }

    /// A node goes on: in which order is up to chance, as everything that waited
    /// is due now.
    pub(super) fn thaw(&mut self, node: usize) {
        self.drive(node);
        self.wake_ledgers(node);
    }

    fn cut_off(&mut self, node: usize, length: u64) {
        self.coverage.hit("partition between a node and the store");
        self.say(|| format!("node {node} does not reach the store for {length}"));
        self.hosts[node].cut_off = true;
        self.links_changed();
        self.after(length, Event::Rejoin { node });
    }

    pub(super) fn rejoin(&mut self, node: usize) {
        if self.hosts[node].cut_off {
            self.hosts[node].cut_off = false;
            self.links_changed();
            self.resume_soon(node);
        }
    }

    /// Two nodes do not hear each other.
    fn part(&mut self) {
        let nodes = self.hosts.len();
        let (one, other) = (self.rng.usize(0..nodes), self.rng.usize(0..nodes));
        if one != other {
            self.coverage.hit("partition between two nodes");
            let pair = (one.min(other), one.max(other));
            self.apart.insert(pair);
            self.links_changed();
            let length = self.around(self.ttl() * 2);
            self.after(length, Event::Mend { pair });
        }
    }

    /// Nobody reaches the store. When it is back its leases have ended, or start
    /// anew.
    fn lose_quorum(&mut self) {
        self.coverage.hit("quorum lost");
        let length = self.around(self.ttl());
        for node in 0..self.hosts.len() {
            self.cut_off(node, length);
        }
        if self.rng.bool() {
            self.store.rearm(self.at + length + self.ttl());
        }
    }

    fn change_leader(&mut self) {
        self.coverage.hit("leader of the store changes");
        let until = self.at + self.ttl();
        self.store.rearm(until);
        for node in 0..self.hosts.len() {
            if self.rng.bool() {
                self.lose_watches(node, self.ttl() / 2);
            }
        }
    }

    fn lose_watches(&mut self, node: usize, length: u64) {
        self.coverage.hit("watches lost");
        for watch in &mut self.hosts[node].watches {
            watch.is_lost = self.rng.u32(0..4) > 0;
        }
        let life = self.hosts[node].life;
        for watch in 0..self.hosts[node].watches.len() {
            let delay = self.around(length);
            self.after(delay, Event::Resume { node, life, watch });
        }
    }

    pub(super) fn drain(&mut self, node: usize, drains: bool) {
        if !self.hosts[node].ends && !self.hosts[node].is_frozen(self.at) {
            self.tell(node, Told::Drain(drains));
        }
    }

    /// A node is restarted by the book: it drains, ends, and starts again.
    fn roll(&mut self, node: usize) {
        if self.hosts[node].member.is_none() || self.hosts[node].is_frozen(self.at) {
            return;
        }
        self.coverage.hit("restart by the book");
        self.say(|| format!("node {node} is to end"));
        self.tell(node, Told::Drain(true));
        if self.hosts[node].member.is_none() {
            return;
        }
        self.hosts[node].ends = true;
        let life = self.hosts[node].life;
        self.after(4 * self.ttl(), Event::DrainEnds { node, life });
        self.drive(node);
    }

    // ---- Calm ----

    /// No more faults; at most one node stays dead.
    pub(super) fn calm(&mut self) {
        self.say(|| "no more faults".into());
        self.apart.clear();
        self.rolling = None;
        if self.rng.u32(0..3) == 0 {
            let node = self.victim();
            self.coverage.hit("node that never comes back");
            self.crash(node);
            self.hosts[node].is_dead = true;
        }
        for node in 0..self.hosts.len() {
            let Host { clocks, .. } = &mut self.hosts[node];
            clocks.wild = 0;
            let was_frozen = clocks.frozen_until > self.at;
            clocks.frozen_until = clocks.frozen_until.min(self.at);
            self.clocks_changed(node);
            self.hosts[node].cut_off = false;
            self.links_changed();
            self.resume_soon(node);
            if !self.hosts[node].leaves {
                self.hosts[node].ends = false;
                self.tell(node, Told::Drain(false));
            }
            self.start(node);
            if was_frozen {
                self.thaw(node);
            }
        }
    }

    // ---- What the orgs' worlds have to know ----

    pub(super) fn clocks_changed(&mut self, node: usize) {
        let clocks = self.hosts[node].clocks;
        for org in &mut self.orgs {
            org.world.set_clocks(node, clocks);
        }
    }

    pub(super) fn links_changed(&mut self) {
        for node in 0..self.hosts.len() {
            let others = 0..self.hosts.len();
            let apart: Vec<usize> = others.filter(|other| self.are_apart(node, *other)).collect();
            let cut_off = self.hosts[node].cut_off;
            for org in &mut self.orgs {
                org.world.set_links(node, cut_off, apart.clone());
            }
        }
    }

    /// The ledgers of a node can go on.
    pub(super) fn wake_ledgers(&mut self, node: usize) {
        if self.hosts[node].is_frozen(self.at) {
            return;
        }
        for org in 0..self.orgs.len() {
            self.with_org(org, |world| world.wake(node));
        }
    }
}
