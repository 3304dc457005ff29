//! What would have been: the demand of a day by other settings.
//!
//! It is put to the real ledger, minute by minute, so nothing is reckoned here.
//! What is not recorded is taken as simply as can be:
//!
//! - The day is replayed twice on end, the first time to fill the windows: at its
//!   beginning there is as much counted as at its end. What is shown is the second.
//! - The calls of a minute are asked for at its beginning, higher classes first;
//!   within a class the keys take turns at being first. Each takes what part there
//!   is, and nobody waits.
//! - Blocks are there at once, and calls are answered at once: slots never bind,
//!   and are left out.
//! - As whom a call was made is not recorded by the minute: it is any user of the
//!   pool, or, where that is empty, of those who were seen.
//! - What others used, and the limit that Salesforce told, are as they were.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
    time::Duration,
};

use smol_str::SmolStr;

use super::{
    Answer, Ask, AskError, Catalogue, Class, DemandKey, DemandMinute, DemandView, HistoryPoint,
    Kind, Ledger, LimitName, LimitUsage, Mono, Now, OrgPolicy, Outcome, Permit, RefusedFor, Report,
    ReserveOutcome, Rules, Scope, Teller, UserId, WaiterId, Wall, WorkspaceId,
};

/// Minutes that are replayed: a day.
pub const MINUTES: u64 = 24 * 60;

/// What is known of the last day.
#[derive(Clone, Debug)]
pub struct Recording {
    /// What was asked for, and how far the total was used.
    pub demand: DemandView,
    /// The org's limit, if Salesforce's header has told it.
    pub limit_read: Option<u64>,
    /// The execution users that were seen.
    pub users: Vec<UserId>,
}

/// The day as some settings meet it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// All calls.
    pub total: ReplayedCalls,
    /// By workspace and class.
    pub classes: BTreeMap<(Option<WorkspaceId>, Class), ReplayedClass>,
    /// The limits that were charged.
    pub limits: BTreeMap<ReplayedLimit, Peak>,
    /// How far the org's total was used.
    pub curve: Vec<HistoryPoint>,
}

/// What became of calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplayedCalls {
    /// Asked for.
    pub asked: u64,
    /// Granted.
    pub granted: u64,
    /// Refused, by [`RefusedFor`].
    refused: [u64; 5],
}

/// One class of one workspace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplayedClass {
    /// Its calls.
    pub calls: ReplayedCalls,
    /// Minutes at whose end it was paused.
    pub paused_minutes: u32,
}

/// A limit of an identity, the org's first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReplayedLimit {
    /// Whose.
    pub scope: Scope,
    /// The org, workspace or user.
    pub identity: SmolStr,
    /// The limit's name.
    pub name: LimitName,
}

/// How far a limit was used, in units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peak {
    /// The limit; 0 where there is none.
    pub max: u64,
    /// The most that was used of it.
    pub used: u64,
}

impl ReplayedCalls {
    /// Calls that were refused for a reason.
    #[must_use]
    pub fn refused(&self, why: RefusedFor) -> u64 {
        self.refused[why as usize]
    }

    /// Calls that were refused.
    #[must_use]
    pub fn all_refused(&self) -> u64 {
        self.refused.iter().sum()
    }

    fn note(&mut self, what: Became, calls: u64) {
        match what {
            Became::Asked => self.asked += calls,
            Became::Granted => self.granted += calls,
            Became::Refused(why) => self.refused[why as usize] += calls,
        }
    }
}

/// The first minute that is shown of a day that ends now, since the Unix epoch.
#[must_use]
pub fn first_minute(until: Wall) -> u64 {
    minute_of(until).saturating_sub(MINUTES - 1)
}

/// Calls of a recording that cannot be replayed, because nobody knows whose they
/// are.
#[must_use]
pub fn left_out(recording: &Recording, until: Wall) -> u64 {
    let rest = recording.demand.series.iter().filter(|series| series.key.is_none());
    let minutes = rest.flat_map(|series| &series.minutes);
    let minutes = minutes.filter(|minute| u64::from(minute.minute) >= first_minute(until));
    minutes.map(|minute| u64::from(minute.asked_calls)).sum()
}

/// Replays the day that ends now by some settings.
#[must_use]
pub fn replay(
    recording: &Recording,
    until: Wall,
    policy: &OrgPolicy,
    catalogue: &Catalogue,
) -> Replayed {
    let first = first_minute(until);
    let mut by_minute = BTreeMap::<u64, Vec<(&DemandKey, &DemandMinute)>>::new();
    for series in &recording.demand.series {
        let Some(key) = &series.key else { continue };
        for minute in &series.minutes {
            by_minute.entry(minute.minute.into()).or_default().push((key, minute));
        }
    }
    let mut run = Run::begin(recording, policy, catalogue, first.saturating_sub(MINUTES));
    for (shift, shown) in [(MINUTES, false), (0, true)] {
        for minute in first..first + MINUTES {
            run.turn_to(minute - shift.min(minute), minute);
            let asks = by_minute.get_mut(&minute).map(Vec::as_mut_slice).unwrap_or_default();
            // Nobody is first in every minute.
            let turn = usize::try_from(minute).unwrap_or(0) % asks.len().max(1);
            asks.sort_unstable_by_key(|(key, _)| *key);
            asks.rotate_left(turn);
            asks.sort_by_key(|(key, _)| key.class);
            for (key, asked) in asks.iter() {
                run.minute_of(key, asked, shown);
            }
            run.end_minute(shown);
        }
    }
    run.end(first)
}

/// What becomes of calls.
#[derive(Clone, Copy, Debug)]
enum Became {
    Asked,
    Granted,
    Refused(RefusedFor),
}

/// A ledger with a store that answers at once, in a time of its own.
struct Run<'r> {
    recording: &'r Recording,
    ledger: Ledger,
    now: Now,
    /// The store's.
    revision: u64,
    /// Permits are told apart by it.
    nonce: u64,
    replayed: Replayed,
}

/// Asks of one key in one minute: each takes all that a user has left, and there
/// are not more of them.
const MOST_ASKS: u32 = 1_000;

/// As many as may be asked for at once.
const MOST_CALLS: u32 = 10_000;

/// Blocks last as long as the replay does: they are fetched when they are used up.
const HORIZON: Duration = Duration::from_secs(3 * 24 * 3_600);

impl<'r> Run<'r> {
    fn begin(
        recording: &'r Recording,
        policy: &OrgPolicy,
        catalogue: &Catalogue,
        minute: u64,
    ) -> Self {
        let now = start_of(minute);
        let rules = Rules { horizon_short: HORIZON, horizon_long: HORIZON, ..Rules::default() };
        let mut policy = policy.clone();
        if policy.pool.is_empty() {
            policy.pool.clone_from(&recording.users);
            policy.pool.sort();
            policy.pool.dedup();
        }
        let mut catalogue = catalogue.clone();
        for operation in catalogue.operations.values_mut() {
            operation.charges.retain(|charge| charge.kind == Kind::Window);
        }
        let (policy, catalogue) = (Arc::new(policy), Arc::new(catalogue));
        let ledger = Ledger::new(now, 1, rules, policy, catalogue, Vec::new());
        let replayed = Replayed::default();
        Self { recording, ledger, now, revision: 1, nonce: 0, replayed }
    }

    /// Time goes on to the beginning of a minute; `recorded`: the minute that it
    /// stands for.
    fn turn_to(&mut self, minute: u64, recorded: u64) {
        let begins = start_of(minute);
        if begins.mono > self.now.mono {
            self.now = begins;
        }
        let fives = 5;
        if recorded.is_multiple_of(fives)
            && let Some(foreign) = self.foreign_at(recorded)
        {
            let limit = self.recording.limit_read.unwrap_or(0);
            self.ledger.take_estimate(self.now, foreign, limit);
        }
    }

    /// What others used then; before the first that is known, as at that. `None` if
    /// nothing is known of others.
    fn foreign_at(&self, minute: u64) -> Option<u64> {
        let points = &self.recording.demand.history;
        let known = self.recording.limit_read.is_some()
            || points.iter().any(|point| point.level.foreign > 0);
        let moment = start_of(minute).wall;
        let at = points.partition_point(|point| point.begins() <= moment).saturating_sub(1);
        points.get(at).filter(|_| known).map(|point| point.level.foreign)
    }

    /// All that a key asked for in a minute.
    fn minute_of(&mut self, key: &DemandKey, asked: &DemandMinute, shown: bool) {
        let (calls, units) = (asked.asked_calls, asked.asked_units);
        let Some(cost) = units.checked_div(calls).map(|cost| cost.max(1)) else { return };
        // Some cost one more where it does not come out even.
        let dearer = (units % calls).min(calls);
        for (calls, cost) in [(dearer, cost.saturating_add(1)), (calls - dearer, cost)] {
            if shown {
                self.note(key, Became::Asked, calls);
            }
            let mut left = calls;
            for _ in 0..MOST_ASKS {
                if left == 0 {
                    break;
                }
                match self.ask(ask(key, left.min(MOST_CALLS), cost)) {
                    Outcome::Granted(permit) => {
                        self.answer(&permit);
                        left -= permit.calls.clamp(1, left);
                        if shown {
                            self.note(key, Became::Granted, permit.calls);
                            permit.limits.iter().for_each(|limit| self.note_peak(limit));
                        }
                    }
                    Outcome::Denied(denial) => {
                        let why = RefusedFor::reason(denial.reason);
                        self.refused(key, why, std::mem::take(&mut left), shown);
                    }
                    Outcome::Failed(_) => {
                        let why = RefusedFor::Other;
                        self.refused(key, why, std::mem::take(&mut left), shown);
                    }
                }
            }
            self.refused(key, RefusedFor::Other, left, shown);
        }
    }

    fn ask(&mut self, ask: Ask) -> Outcome {
        self.nonce += 1;
        match self.ledger.acquire(self.now.mono, &ask, self.nonce, true) {
            Answer::Done(outcome) => outcome,
            Answer::Parked(id) => self.served(id),
        }
    }

    /// The answer to an ask that waits for the store.
    fn served(&mut self, id: WaiterId) -> Outcome {
        let patience = self.now.mono + Rules::default().store_wait * 2;
        loop {
            self.reserve();
            let answered = self.ledger.pump(self.now.mono).into_iter();
            let mut answer = answered.filter(|(answered, _)| *answered == id);
            if let Some((_, outcome)) = answer.next() {
                return outcome;
            }
            // A counter near its limit is not reserved anew at once.
            match self.ledger.next_wake(self.now.mono) {
                Some(wake) if wake <= patience => {
                    let wake = wake.max(self.now.mono + Duration::from_micros(1));
                    self.now = Now { mono: wake, wall: self.now.wall_at(wake) };
                }
                _ => {
                    self.ledger.cancel(id);
                    return Outcome::Failed(AskError::StoreTimeout);
                }
            }
        }
    }

    fn reserve(&mut self) {
        let writes = self.ledger.begin_reserve(self.now, usize::MAX);
        if !writes.is_empty() {
            self.revision += 1;
            let committed = ReserveOutcome::Committed { revision: self.revision };
            self.ledger.finish_reserve(self.now.mono, &writes, &committed);
        }
    }

    /// Salesforce answers at once.
    fn answer(&mut self, permit: &Permit) {
        let Some(key) = permit.key else { return };
        let report = Report { calls: permit.calls, http_status: 200, ..Report::default() };
        // Nobody is asked for a name here.
        let _ = self.ledger.report(self.now, key, &report, &Teller::anybody());
    }

    fn refused(&mut self, key: &DemandKey, why: RefusedFor, calls: u32, shown: bool) {
        if shown && calls > 0 {
            self.note(key, Became::Refused(why), calls);
        }
    }

    fn note(&mut self, key: &DemandKey, what: Became, calls: u32) {
        let calls = u64::from(calls);
        let of = (key.workspace.clone(), key.class);
        self.replayed.total.note(what, calls);
        self.replayed.classes.entry(of).or_default().calls.note(what, calls);
    }

    fn note_peak(&mut self, limit: &LimitUsage) {
        let used = limit.used_by_caller.saturating_add(limit.used_by_others);
        let LimitUsage { scope, identity, name, max, .. } = limit;
        let key = ReplayedLimit { scope: *scope, identity: identity.clone(), name: name.clone() };
        match self.replayed.limits.entry(key) {
            Entry::Vacant(place) => {
                place.insert(Peak { max: *max, used });
            }
            Entry::Occupied(mut peak) => {
                let peak = peak.get_mut();
                (peak.max, peak.used) = (*max, peak.used.max(used));
            }
        }
    }

    fn end_minute(&mut self, shown: bool) {
        for (workspace, class) in self.ledger.paused(self.now.mono) {
            if shown {
                let of = (Some(workspace), class);
                self.replayed.classes.entry(of).or_default().paused_minutes += 1;
            }
        }
        // Nobody listens.
        self.ledger.take_events();
        self.ledger.take_shadow_denials();
    }

    fn end(mut self, first: u64) -> Replayed {
        let from = start_of(first).wall;
        self.replayed.curve = self.ledger.demand(self.now.mono, None, Some(from)).history;
        self.replayed
    }
}

fn ask(key: &DemandKey, calls: u32, cost: u32) -> Ask {
    Ask {
        caller: None,
        principal: None,
        workspace: key.workspace.clone(),
        operation: key.operation.clone(),
        user: None,
        class: key.class,
        calls,
        min_calls: 1,
        cost,
        ttl: None,
        request: None,
        max_wait: Duration::ZERO,
        check_only: false,
    }
}

fn minute_of(moment: Wall) -> u64 {
    moment.0 / 60_000_000
}

/// Both clocks of a replay show the same.
fn start_of(minute: u64) -> Now {
    let micros = minute * 60_000_000;
    Now { mono: Mono(micros), wall: Wall(micros) }
}
