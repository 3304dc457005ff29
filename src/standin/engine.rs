//! Who may pass: the limits of the stand-in. No clock, no IO: `now_us` is an
//! argument, in microseconds since the start, and never goes back.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use super::options::{Cap, Limit, Options, Shape, UserLimit, micros};

/// A call as it arrives.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The org of the session.
    pub org: &'a str,
    /// The user of the session.
    pub user: &'a str,
    /// Which user limit counts it.
    pub operation: &'a str,
    /// What it takes of the org's total; 0 is nothing.
    pub org_units: u64,
    /// How long it will run.
    pub duration: Duration,
}

/// Why a call does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The org's total is used up.
    Total,
    /// Too many long-running requests.
    Concurrency,
    /// A limit of the execution user.
    User {
        /// The limit.
        limit: Limit,
        /// When it would pass, if nothing else came, in microseconds.
        room_in_us: u64,
    },
}

/// A counter as it stands; `used` may exceed `max`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Units.
    pub used: u64,
    /// Units.
    pub max: u64,
}

/// All counters of all orgs.
#[derive(Debug)]
pub struct Engine {
    user_limits: Vec<UserLimit>,
    org_limit: Limit,
    cap: Cap,
    header_lag_us: u64,
    header_steps_us: u64,
    foreign_units_per_second: f64,
    slots: usize,
    long_running_from: Duration,
    orgs: BTreeMap<Arc<str>, Org>,
}

impl Engine {
    /// Nothing used yet.
    #[must_use]
    pub fn new(options: &Options) -> Self {
        Self {
            user_limits: options.user_limits.clone(),
            org_limit: options.org_limit,
            cap: options.cap,
            header_lag_us: micros(options.header_lag),
            header_steps_us: micros(options.header_steps),
            foreign_units_per_second: options.foreign_units_per_second,
            slots: options.long_running_slots,
            long_running_from: options.long_running_from,
            orgs: BTreeMap::new(),
        }
    }

    /// Lets a call pass and counts it, or refuses it and counts nothing.
    ///
    /// # Errors
    /// The first limit that has no room: the org's total, its slots, the user's.
    pub fn arrive(&mut self, now_us: u64, call: &Call<'_>) -> Result<(), Refusal> {
        let (cap, slots) = (self.cap, self.slots);
        let long = call.duration >= self.long_running_from;
        let user_limit = self.user_limits.iter().position(|user| user.operation == call.operation);
        let org = self.org(now_us, call.org);

        if call.org_units > 0 && cap == Cap::Hard && org.total.room_at(now_us) < call.org_units {
            return Err(Refusal::Total);
        }
        org.busy_until_us.retain(|until_us| *until_us > now_us);
        if long && org.busy_until_us.len() >= slots {
            return Err(Refusal::Concurrency);
        }
        if let Some(index) = user_limit {
            let counter = &mut org.user(call.user)[index];
            if counter.room_at(now_us) == 0 {
                let room_in_us = counter.room_in_us(now_us);
                return Err(Refusal::User { limit: counter.limit, room_in_us });
            }
            counter.add(now_us, 1, 0);
        }
        if long {
            org.busy_until_us.push(now_us.saturating_add(micros(call.duration)));
        }
        let shown_us = self.shown_us();
        self.org(now_us, call.org).total.add(now_us, call.org_units, shown_us);
        Ok(())
    }

    /// What `Sforce-Limit-Info` says: the figure of `header_lag` ago, from which
    /// units leave in steps where `header_steps` says so, and the limit of now.
    pub fn shown(&mut self, now_us: u64, org: &str) -> Usage {
        let (lag_us, steps_us) = (self.header_lag_us, self.header_steps_us);
        let total = &self.org(now_us, org).total;
        let used = now_us.checked_sub(lag_us).map_or(0, |then_us| {
            let from_us = step_before(total.window_start(then_us), steps_us);
            total.total_before(then_us.saturating_add(1)) - total.total_before(from_us)
        });
        Usage { used, max: total.limit.max }
    }

    /// How far back what is shown may reach beyond the window.
    const fn shown_us(&self) -> u64 {
        // A step is a third longer at most.
        self.header_lag_us.saturating_add(self.header_steps_us.saturating_mul(2))
    }

    /// What the org has really used.
    pub fn org_usage(&mut self, now_us: u64, org: &str) -> Usage {
        self.org(now_us, org).total.usage_at(now_us)
    }

    /// What a user has used of the limit of an operation, where it has one.
    pub fn user_usage(
        &mut self,
        now_us: u64,
        org: &str,
        user: &str,
        operation: &str,
    ) -> Option<Usage> {
        let index = self.user_limits.iter().position(|user| user.operation == operation)?;
        Some(self.org(now_us, org).user(user)[index].usage_at(now_us))
    }

    /// Other integrations use units at once; a hard cap stops them as well.
    pub fn add_foreign(&mut self, now_us: u64, org: &str, units: u64) {
        let (cap, lag_us) = (self.cap, self.shown_us());
        self.org(now_us, org).add_foreign(now_us, units, cap, lag_us);
    }

    /// Another limit for every org's total, from now on.
    pub fn set_org_max(&mut self, max: u64) {
        self.org_limit.max = max;
        for org in self.orgs.values_mut() {
            org.total.limit.max = max;
        }
    }

    /// The org, with all foreign traffic up to now.
    fn org(&mut self, now_us: u64, name: &str) -> &mut Org {
        if !self.orgs.contains_key(name) {
            let users = self.user_limits.iter().map(|user| Counter::new(user.limit)).collect();
            let org = Org {
                total: Counter::new(self.org_limit),
                unused_user: users,
                users: BTreeMap::new(),
                busy_until_us: Vec::new(),
                foreign_until_us: 0,
            };
            self.orgs.insert(name.into(), org);
        }
        let (rate, cap, lag_us) = (self.foreign_units_per_second, self.cap, self.shown_us());
        let org = self.orgs.get_mut(name).expect("the org was put in above");
        org.advance_foreign(now_us, rate, cap, lag_us);
        org
    }
}

/// The last step at or before a moment: every second one comes a third later.
const fn step_before(at_us: u64, steps_us: u64) -> u64 {
    if steps_us == 0 {
        return at_us;
    }
    let step = at_us / steps_us;
    let delay_us = if step % 2 == 1 { steps_us / 3 } else { 0 };
    let edge_us = step * steps_us + delay_us;
    if edge_us <= at_us { edge_us } else { (step - 1) * steps_us }
}

/// One org.
#[derive(Debug)]
struct Org {
    total: Counter,
    /// The counters of a user that has not called yet.
    unused_user: Vec<Counter>,
    /// In the order of the options' user limits.
    users: BTreeMap<Arc<str>, Vec<Counter>>,
    /// The end of each long-running request. One whose caller has gone away
    /// runs on.
    busy_until_us: Vec<u64>,
    foreign_until_us: u64,
}

impl Org {
    fn user(&mut self, name: &str) -> &mut Vec<Counter> {
        if !self.users.contains_key(name) {
            self.users.insert(name.into(), self.unused_user.clone());
        }
        self.users.get_mut(name).expect("the user was put in above")
    }

    fn add_foreign(&mut self, at_us: u64, units: u64, cap: Cap, lag_us: u64) {
        let units = match cap {
            Cap::Hard => units.min(self.total.room_at(at_us)),
            Cap::Soft => units,
        };
        self.total.add(at_us, units, lag_us);
    }

    /// Adds what came by itself since the last time, in steps that are small
    /// beside the window. What has left the window by now is not made up.
    fn advance_foreign(&mut self, now_us: u64, rate: f64, cap: Cap, lag_us: u64) {
        /// So many steps in a window.
        const STEPS: u64 = 1024;
        if rate <= 0.0 {
            return;
        }
        let units_by = |at_us: u64| (rate * at_us as f64 / 1e6) as u64;
        let window_us = self.total.limit.window_us();
        let oldest_us = now_us.saturating_sub(window_us.saturating_add(lag_us));
        let step_us = (window_us / STEPS).max(1);
        let mut from_us = self.foreign_until_us.max(oldest_us);
        while from_us < now_us {
            let to_us = from_us.saturating_add(step_us).min(now_us);
            let units = units_by(to_us).saturating_sub(units_by(from_us));
            self.add_foreign(to_us, units, cap, lag_us);
            from_us = to_us;
        }
        self.foreign_until_us = now_us;
    }
}

/// The units of one limit over time.
#[derive(Clone, Debug)]
struct Counter {
    limit: Limit,
    /// When units were used, and how many there were in all by then.
    uses: VecDeque<(u64, u64)>,
    /// Units in all before the first of `uses`.
    forgotten: u64,
}

impl Counter {
    const fn new(limit: Limit) -> Self {
        Self { limit, uses: VecDeque::new(), forgotten: 0 }
    }

    /// Units of the window that is open at `at_us`, those of that moment
    /// included.
    fn used_at(&self, at_us: u64) -> u64 {
        self.total_before(at_us.saturating_add(1)) - self.total_before(self.window_start(at_us))
    }

    fn usage_at(&self, at_us: u64) -> Usage {
        Usage { used: self.used_at(at_us), max: self.limit.max }
    }

    fn room_at(&self, at_us: u64) -> u64 {
        self.limit.max.saturating_sub(self.used_at(at_us))
    }

    /// Time until a unit has room, if nothing else comes.
    fn room_in_us(&self, now_us: u64) -> u64 {
        let window_us = self.limit.window_us();
        let room_at_us = match self.limit.shape {
            Shape::Fixed { .. } => self.window_start(now_us).saturating_add(window_us),
            Shape::Sliding => {
                // The unit whose leaving brings use below the maximum.
                let leaving = self.total_before(u64::MAX).saturating_sub(self.limit.max) + 1;
                let index = self.uses.partition_point(|(_, total)| *total < leaving);
                self.uses.get(index).map_or(now_us, |(at_us, _)| at_us.saturating_add(window_us))
            }
        };
        room_at_us.saturating_sub(now_us)
    }

    /// Counts units; figures of up to `lag_us` ago stay answerable.
    fn add(&mut self, now_us: u64, units: u64, lag_us: u64) {
        if units > 0 {
            let total = self.total_before(u64::MAX) + units;
            match self.uses.back_mut() {
                Some(last) if last.0 == now_us => last.1 = total,
                _ => self.uses.push_back((now_us, total)),
            }
        }
        let oldest_us = self.window_start(now_us.saturating_sub(lag_us));
        while let Some((at_us, total)) = self.uses.front().copied() {
            if at_us >= oldest_us {
                break;
            }
            self.forgotten = total;
            self.uses.pop_front();
        }
    }

    /// The first moment that still counts at `at_us`.
    fn window_start(&self, at_us: u64) -> u64 {
        let window_us = self.limit.window_us();
        match self.limit.shape {
            Shape::Sliding => at_us.saturating_add(1).saturating_sub(window_us),
            Shape::Fixed { phase } => {
                let phase_us = micros(phase) % window_us;
                ((at_us + phase_us) / window_us * window_us).saturating_sub(phase_us)
            }
        }
    }

    fn total_before(&self, at_us: u64) -> u64 {
        let index = self.uses.partition_point(|(used_us, _)| *used_us < at_us);
        match index.checked_sub(1) {
            Some(last) => self.uses[last].1,
            None => self.forgotten,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::standin::{
        arrivals::worst_window,
        options::{GET_ENTRIES, REST},
    };

    const S: u64 = 1_000_000;
    const MINUTE: Duration = Duration::from_secs(60);

    fn engine(change: impl FnOnce(&mut Options)) -> Engine {
        let mut options = Options {
            user_limits: vec![UserLimit {
                operation: GET_ENTRIES,
                limit: Limit::sliding(3, MINUTE),
            }],
            org_limit: Limit::sliding(5, MINUTE),
            long_running_slots: 2,
            ..Options::default()
        };
        change(&mut options);
        Engine::new(&options)
    }

    fn entries(user: &str) -> Call<'_> {
        Call { org: "o", user, operation: GET_ENTRIES, org_units: 0, duration: Duration::ZERO }
    }

    fn rest(org_units: u64) -> Call<'static> {
        Call { org: "o", user: "u", operation: REST, org_units, duration: Duration::ZERO }
    }

    /// Calls of one user at these moments pass (`true`) or not.
    fn check(shape: Shape, calls: &[(u64, bool)]) {
        let mut engine = engine(|options| *options = options.clone().shaped(shape));
        for (at_us, passes) in calls {
            let passed = engine.arrive(*at_us, &entries("u")).is_ok();
            assert_eq!(passed, *passes, "{shape:?}: the call at {at_us} µs");
        }
    }

    #[test]
    fn a_sliding_window_counts_every_interval_of_its_length() {
        check(
            Shape::Sliding,
            &[
                (59 * S, true),
                (59 * S, true),
                (59 * S, true),
                (61 * S, false),
                (119 * S - 1, false),
                (119 * S, true),
                (119 * S, true),
                (119 * S, true),
                (119 * S, false),
            ],
        );
    }

    #[test]
    fn a_fixed_window_starts_from_nothing_at_its_phase() {
        let at_the_full_minute = Shape::Fixed { phase: Duration::ZERO };
        let calls =
            [(59, true), (59, true), (59, true), (59, false), (60, true), (60, true), (60, true)];
        check(at_the_full_minute, &calls.map(|(at, passes)| (at * S, passes)));

        let twenty_seconds_in = Shape::Fixed { phase: Duration::from_secs(20) };
        let calls =
            [(0, true), (1, true), (39, true), (39, false), (40, true), (99, true), (100, true)];
        check(twenty_seconds_in, &calls.map(|(at, passes)| (at * S, passes)));
    }

    #[test]
    fn users_have_windows_of_their_own_and_a_refusal_says_when_there_is_room() {
        let mut engine = engine(|_| {});
        for at_us in [10, 20, 30] {
            assert_eq!(engine.arrive(at_us * S, &entries("u")), Ok(()));
        }
        let limit = Limit::sliding(3, MINUTE);
        let refusal = Refusal::User { limit, room_in_us: 30 * S };
        assert_eq!(engine.arrive(40 * S, &entries("u")), Err(refusal));
        assert_eq!(engine.arrive(40 * S, &entries("other")), Ok(()));
        let usage = engine.user_usage(40 * S, "o", "u", GET_ENTRIES);
        assert_eq!(usage, Some(Usage { used: 3, max: 3 }));
        assert_eq!(engine.user_usage(40 * S, "o", "u", REST), None);
    }

    #[test]
    fn a_hard_cap_refuses_whole_calls_and_a_refusal_counts_nothing() {
        let mut engine = engine(|_| {});
        assert_eq!(engine.arrive(0, &rest(4)), Ok(()));
        assert_eq!(engine.arrive(0, &rest(2)), Err(Refusal::Total));
        assert_eq!(engine.arrive(0, &rest(1)), Ok(()));
        assert_eq!(engine.arrive(0, &rest(1)), Err(Refusal::Total));
        assert_eq!(engine.arrive(0, &rest(0)), Ok(()), "what costs nothing passes");
        assert_eq!(engine.org_usage(0, "o"), Usage { used: 5, max: 5 });
        assert_eq!(engine.org_usage(0, "another"), Usage { used: 0, max: 5 });
        engine.set_org_max(6);
        assert_eq!(engine.arrive(0, &rest(1)), Ok(()));
    }

    #[test]
    fn a_refusal_by_the_user_leaves_the_total_alone() {
        let mut engine = engine(|_| {});
        let call = Call { org_units: 1, ..entries("u") };
        let passed = (0..5).filter(|_| engine.arrive(0, &call).is_ok()).count();
        assert_eq!(passed, 3);
        assert_eq!(engine.org_usage(0, "o").used, 3);
    }

    #[test]
    fn a_soft_cap_answers_and_shows_more_used_than_there_is() {
        let mut engine = engine(|options| options.cap = Cap::Soft);
        assert_eq!(engine.arrive(0, &rest(7)), Ok(()));
        assert_eq!(engine.shown(0, "o"), Usage { used: 7, max: 5 });
    }

    #[test]
    fn the_shown_figure_is_that_of_the_lag_ago() {
        let mut engine = engine(|options| options.header_lag = Duration::from_secs(10));
        for at in [0, 5, 30] {
            assert_eq!(engine.arrive(at * S, &rest(1)), Ok(()));
        }
        for (at, shown) in [(30, 2), (39, 2), (40, 3), (61, 3), (69, 3), (70, 2), (75, 1), (100, 0)]
        {
            assert_eq!(engine.shown(at * S, "o").used, shown, "at {at} s");
        }
        assert_eq!(engine.org_usage(61 * S, "o").used, 2);
    }

    #[test]
    fn the_shown_figure_falls_in_uneven_steps_and_the_true_one_does_not() {
        let mut engine = engine(|options| {
            options.org_limit.max = 100;
            options.header_steps = Duration::from_secs(30);
        });
        for at in 0..60 {
            assert_eq!(engine.arrive(at * S, &rest(1)), Ok(()));
        }
        // The steps are at 0, 40, 60 s of the calls; windows begin 60 s before.
        for (at, shown) in [(59, 60), (60, 60), (90, 60), (99, 60), (100, 20), (119, 20), (120, 0)]
        {
            assert_eq!(engine.shown(at * S, "o").used, shown, "at {at} s");
        }
        assert_eq!(engine.org_usage(99 * S, "o").used, 20);
    }

    #[test]
    fn foreign_traffic_comes_by_itself_and_at_once() {
        let mut engine = engine(|options| {
            options.org_limit.max = 1000;
            options.foreign_units_per_second = 2.0;
        });
        assert_eq!(engine.org_usage(10 * S, "o").used, 20);
        engine.add_foreign(10 * S, "o", 7);
        assert_eq!(engine.org_usage(10 * S, "o").used, 27);
        let steady = engine.org_usage(3600 * S, "o").used;
        assert!((118..=121).contains(&steady), "two a second fill a minute with {steady}");
    }

    #[test]
    fn a_hard_cap_stops_foreign_traffic_too() {
        for (cap, used) in [(Cap::Hard, 5), (Cap::Soft, 9)] {
            let mut engine = engine(|options| options.cap = cap);
            engine.add_foreign(0, "o", 9);
            assert_eq!(engine.org_usage(0, "o").used, used, "{cap:?}");
        }
    }

    #[test]
    fn long_running_requests_hold_a_slot_until_they_end() {
        let mut engine = engine(|options| options.org_limit.max = 100);
        let long = Call { duration: Duration::from_secs(20), ..rest(1) };
        let short = Call { duration: Duration::from_micros(20_000_000 - 1), ..rest(1) };
        let calls = [
            (0, long, Ok(())),
            (5, long, Ok(())),
            (5, long, Err(Refusal::Concurrency)),
            (5, short, Ok(())),
            (19, long, Err(Refusal::Concurrency)),
            (20, long, Ok(())),
            (20, long, Err(Refusal::Concurrency)),
            (25, long, Ok(())),
        ];
        for (at, call, verdict) in calls {
            assert_eq!(engine.arrive(at * S, &call), verdict, "at {at} s");
        }
    }

    proptest! {
        #[test]
        fn a_sliding_window_refuses_exactly_what_would_be_too_many(
            gaps in prop::collection::vec(0_u64..40 * S, 0..60),
        ) {
            let mut engine = engine(|_| {});
            let (mut now_us, mut passed) = (0, Vec::new());
            for gap in gaps {
                now_us += gap;
                let verdict = engine.arrive(now_us, &entries("u"));
                passed.push((now_us, 1));
                let worst = worst_window(&passed, 60 * S);
                prop_assert_eq!(verdict.is_ok(), worst <= 3);
                if let Err(refusal) = verdict {
                    passed.pop();
                    let Refusal::User { room_in_us, .. } = refusal else { panic!("{refusal:?}") };
                    passed.push((now_us + room_in_us, 1));
                    prop_assert!(worst_window(&passed, 60 * S) <= 3, "there is room when it says");
                    passed.pop();
                }
            }
        }
    }
}
