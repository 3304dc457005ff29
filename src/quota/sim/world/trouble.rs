//! What goes wrong, and what is changed, while the world runs.

use super::*;

impl World {
    pub(super) fn trouble(&mut self) {
        if self.is_rough() {
            let next = self.around(self.scenario.trouble);
            self.after(next, Event::Trouble);
        } else {
            return;
        }
        let owner = self.owner();
        match self.rng.u32(0..12) {
            0..2 => self.crash(owner),
            2..4 => {
                self.coverage.hit("takeover from a living owner");
                self.take_over(1 - owner);
            }
            4..7 => {
                let longest = self.longest_window.min(6_000_000);
                let pause = [longest / 20, longest / 3, longest * 2][self.rng.usize(0..3)];
                let pause = self.around(pause);
                let takes_over = self.rng.bool();
                self.pause(owner, pause);
                if takes_over {
                    self.take_over(1 - owner);
                }
            }
            7..9 => {
                self.coverage.hit("wall step");
                let node = self.rng.usize(0..self.nodes.len());
                self.nodes[node].clocks.offset = self.offset();
            }
            9 => {
                self.coverage.hit("wild wall step");
                let node = self.rng.usize(0..self.nodes.len());
                let far = i64::try_from(self.longest_window * 3).unwrap_or(i64::MAX / 4);
                self.nodes[node].clocks.wild = self.rng.i64(-far..=far);
                let until = self.around(micros(self.scenario.rules.horizon_short));
                self.after(until, Event::Tame { node });
            }
            _ => {
                let node = &mut self.nodes[owner];
                if let Some(ledger) = &mut node.ledger
                    && !node.leaving
                    && node.clocks.frozen_until <= self.at
                {
                    ledger.stop();
                    node.leaving = true;
                    self.poll(owner);
                }
            }
        }
    }

    /// The process ends; another takes over at once.
    pub(super) fn crash(&mut self, node: usize) {
        self.coverage.hit("crash");
        self.say(|| format!("node {node} crashes"));
        let was_owner = self.nodes[node].epoch == self.store.owner;
        self.end_of(node);
        self.reset_clocks(node);
        if was_owner {
            let next = self.rng.usize(0..self.nodes.len());
            self.take_over(next);
        }
    }

    /// The worst moment for a takeover is while a block is fresh.
    pub(super) fn take_over_soon(&mut self, node: usize, life: u64) {
        if self.ruled {
            self.signals.push(Signal::Committed { node });
            return;
        }
        if self.scenario.trouble > 0 && self.is_rough() && self.percent(2) {
            let delay = self.rng.u64(0..=self.scenario.store_latency * 2);
            self.after(delay, Event::TakeOver { from: node, life });
        }
    }

    pub(super) fn pause(&mut self, node: usize, pause: u64) {
        self.coverage.hit("pause");
        self.say(|| format!("node {node} pauses for {pause}"));
        self.nodes[node].clocks.frozen_until = self.at + pause;
        if self.has(Plant::FrozenClocks) {
            let signed = i64::try_from(pause).unwrap_or(i64::MAX);
            self.nodes[node].clocks.boot = self.nodes[node].clocks.boot.saturating_sub(pause);
            self.nodes[node].clocks.offset -= signed;
        }
    }

    /// The clocks of a process that starts.
    pub(super) fn reset_clocks(&mut self, node: usize) {
        self.nodes[node].clocks.boot = self.rng.u64(1..1 << 44);
        self.nodes[node].clocks.offset = self.offset();
        self.nodes[node].clocks.frozen_until = 0;
        self.nodes[node].clocks.wild = 0;
        self.nodes[node].clocks.wall_ages = self.has(Plant::Core(Fault::WallAges));
    }

    /// An error of a wall clock, at the extremes as often as not.
    pub fn offset(&mut self) -> i64 {
        let error = micros(self.scenario.rules.clock_error);
        let most = if self.has(Plant::ClocksBeyondError) { error + self.beyond() } else { error };
        let most = i64::try_from(most).unwrap_or(i64::MAX / 4);
        match self.rng.u32(0..4) {
            0 => -most,
            1 => most,
            _ => self.rng.i64(-most..=most),
        }
    }

    /// An error that no assumption allows.
    pub(super) fn beyond(&self) -> u64 {
        4 * micros(self.scenario.rules.clock_error) + self.longest_window / 2
    }

    pub(super) fn change(&mut self) {
        if self.at >= self.scenario.until {
            return;
        }
        let next = self.around(self.scenario.changes);
        self.after(next, Event::Change);
        let (mut policy, mut catalogue) = (self.policy.clone(), self.catalogue.clone());
        if self.percent(30) {
            // The operator thinks better of it at once.
            let soon = self.rng.u64(0..=micros(self.scenario.rules.horizon_short));
            let settings = Settings { policy: policy.clone(), catalogue: catalogue.clone() };
            self.after(soon, Event::Configure { settings });
        }
        scenario::change(&mut self.rng, &mut policy, &mut catalogue);
        self.configure(Settings { policy, catalogue });
    }

    /// Every process has the settings at once; in a cluster each hears of them
    /// by itself.
    pub(super) fn configure(&mut self, settings: Settings) {
        self.coverage.hit("change of the settings");
        self.order += 1;
        let order = self.order;
        let before = Settings {
            policy: std::mem::replace(&mut self.policy, settings.policy.clone()),
            catalogue: std::mem::replace(&mut self.catalogue, settings.catalogue.clone()),
        };
        if !self.ruled {
            self.note_windows(&settings.catalogue);
        }
        for node in 0..self.nodes.len() {
            if self.ruled {
                self.nodes[node].settings.get_or_insert((0, before.clone()));
                let late = [self.scenario.store_latency, 3_000_000][self.rng.usize(0..2)];
                let delay = self.rng.u64(0..=late);
                self.after(delay, Event::Settle { node, order, settings: settings.clone() });
            } else {
                self.apply_settings(node, settings.clone());
            }
        }
    }

    /// A node hears of settings, in the order in which they were made.
    pub(super) fn settle(&mut self, node: usize, order: u64, settings: Settings) {
        if self.nodes[node].settings.as_ref().is_some_and(|(known, _)| *known < order) {
            self.coverage.hit("settings heard of");
            self.nodes[node].settings = Some((order, settings.clone()));
            if self.nodes[node].ledger.is_some() {
                self.note_windows(&settings.catalogue);
            }
            self.apply_settings(node, settings);
        }
    }

    fn apply_settings(&mut self, node: usize, settings: Settings) {
        let now = self.nodes[node].now(self.at);
        if let Some(ledger) = &mut self.nodes[node].ledger {
            ledger.configure(now.mono, settings.policy, settings.catalogue);
            if self.nodes[node].clocks.frozen_until <= self.at {
                self.poll(node);
            }
        }
    }

    /// The settings as a node knows them.
    pub fn settings_of(&self, node: usize) -> Settings {
        match &self.nodes[node].settings {
            Some((_, settings)) => settings.clone(),
            None => Settings { policy: self.policy.clone(), catalogue: self.catalogue.clone() },
        }
    }

    /// Callers who keep one limit saturated.
    pub(super) fn begin_saturated(&mut self) {
        let most = Self::charges(&self.catalogue).into_iter().map(|charge| match charge.max {
            Max::Fixed(max) => max,
            _ => 0,
        });
        let callers = most.max().unwrap_or(0).max(16);
        for _ in 0..callers {
            self.after(1_000, Event::Demand { left: 1 });
        }
    }

    pub(super) fn use_foreign(&mut self) {
        if self.at < self.scenario.until {
            let next = self.around(self.scenario.foreign);
            self.after(next, Event::Foreign);
            let calls = self.rng.u64(0..=self.policy.daily_calls / 12 + 1);
            self.coverage.hit("foreign use");
            for _ in 0..calls {
                self.foreign.push(self.at);
            }
        }
    }
}
