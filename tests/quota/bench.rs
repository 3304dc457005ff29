//! A ledger on a bench: a store that answers at once (or not at all), time that
//! is advanced by hand, and words for asks, so that tests read as prose.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use quotagate::quota::{
    Advice, Answer, Ask, AskError, Catalogue, Charge, Class, ClassPolicy, Denial, Group,
    GroupWrite, Kind, Ledger, LimitName, LimitUsage, Mono, Now, Operation, OperationId, OrgId,
    OrgPolicy, OrgUsage, Outcome, Permit, Reading, Released, Report, Reported, RequestId,
    RequestKey, ReserveOutcome, Rules, Scope, Standing, Stored, Teller, Unknown, UserId, WaiterId,
    Wall, WorkspaceId, WorkspacePolicy,
    catalogue::{Cost, Max},
    salesforce::{ApiUsage, errors::Trouble},
};

/// Records in one transaction.
const MOST_RECORDS: usize = 126;

/// A ledger, its store, and both clocks.
#[derive(Clone, Debug)]
pub struct Bench {
    pub ledger: Ledger,
    pub now: Now,
    pub store: BTreeMap<Group, Stored>,
    /// While true the store takes nothing: what is asked of it waits.
    pub withholds: bool,
    pub policy: OrgPolicy,
    pub catalogue: Catalogue,
    pub rules: Rules,
    revision: u64,
    epoch: u64,
    nonce: u64,
    answers: BTreeMap<WaiterId, Outcome>,
    waiting: BTreeSet<WaiterId>,
}

impl Bench {
    /// An org with the built-in operations.
    pub fn of(policy: OrgPolicy) -> Self {
        Self::with(policy, built_in(), Rules::default())
    }

    /// An org with these operations.
    pub fn with(policy: OrgPolicy, catalogue: Catalogue, rules: Rules) -> Self {
        let now = Now { mono: Mono(7_200_000_000), wall: Wall(1_700_000_000_000_000) };
        Self {
            ledger: ledger(now, 1, rules, &policy, &catalogue, &BTreeMap::new()),
            now,
            store: BTreeMap::new(),
            withholds: false,
            policy,
            catalogue,
            rules,
            revision: 1,
            epoch: 1,
            nonce: 0,
            answers: BTreeMap::new(),
            waiting: BTreeSet::new(),
        }
    }

    /// Asks, and waits for the store as long as the ledger does. Fails if the
    /// request waits for room then.
    pub fn decide(&mut self, ask: Ask) -> Outcome {
        let patience = self.now.mono + self.rules.store_wait;
        match self.begin(ask) {
            Answer::Done(outcome) => outcome,
            Answer::Parked(id) => loop {
                if let Some(outcome) = self.answer(id) {
                    return outcome;
                }
                let wake = self.ledger.next_wake(self.now.mono).expect("a waiter has an end");
                assert!(wake <= patience, "the request waits for room");
                self.advance_to(wake.max(self.now.mono + Duration::from_micros(1)));
            },
        }
    }

    /// Asks, and does not wait longer than the store takes.
    pub fn begin(&mut self, ask: Ask) -> Answer {
        self.nonce += 1;
        let answer = self.ledger.acquire(self.now.mono, &ask, self.nonce, true);
        if let Answer::Parked(id) = answer {
            self.waiting.insert(id);
        }
        self.quiet();
        answer
    }

    /// Asks for a permit that must be granted.
    #[track_caller]
    pub fn grant(&mut self, ask: Ask) -> Permit {
        match self.decide(ask) {
            Outcome::Granted(permit) => *permit,
            other => panic!("should be granted, is {other:#?}"),
        }
    }

    /// Asks, and must be refused.
    #[track_caller]
    pub fn deny(&mut self, ask: Ask) -> Denial {
        match self.decide(ask) {
            Outcome::Denied(denial) => *denial,
            other => panic!("should be denied, is {other:#?}"),
        }
    }

    /// Asks, and must hear that it cannot be decided.
    #[track_caller]
    pub fn fail(&mut self, ask: Ask) -> AskError {
        match self.decide(ask) {
            Outcome::Failed(error) => error,
            other => panic!("should fail, is {other:#?}"),
        }
    }

    /// Asks, and must be parked.
    #[track_caller]
    pub fn park(&mut self, ask: Ask) -> WaiterId {
        match self.begin(ask) {
            Answer::Parked(id) if !self.answers.contains_key(&id) => id,
            other => panic!("should wait, is {other:#?} ({:#?})", self.answers),
        }
    }

    /// The answer to a waiting request, once it has come.
    pub fn answer(&mut self, id: WaiterId) -> Option<Outcome> {
        self.answers.remove(&id)
    }

    /// The permit of a waiting request, which must have come.
    #[track_caller]
    pub fn woken(&mut self, id: WaiterId) -> Permit {
        match self.answer(id) {
            Some(Outcome::Granted(permit)) => *permit,
            other => panic!("should have been granted, is {other:#?}"),
        }
    }

    /// True while nobody has answered a waiting request.
    pub fn still_waits(&self, id: WaiterId) -> bool {
        !self.answers.contains_key(&id)
    }

    /// A request's caller has gone.
    pub fn cancel(&mut self, id: WaiterId) {
        self.ledger.cancel(id);
        self.waiting.remove(&id);
        self.quiet();
    }

    /// Reports an answer for calls of a permit.
    pub fn report(&mut self, permit: &Permit, report: Report) -> Reported {
        let key = permit.key.expect("a check has no permit");
        let reported = self.ledger.report(self.now, key, &report, &Teller::anybody());
        let reported = reported.expect("nobody is asked for a name");
        self.quiet();
        reported
    }

    /// Reports an answer that was seen without a permit.
    pub fn report_org(&mut self, report: &Report) -> Advice {
        let advice = self.ledger.report_without_permit(self.now, report, false, &Teller::anybody());
        self.quiet();
        advice
    }

    /// Reports an answer for a permit of a former owner.
    pub fn report_former(&mut self, report: &Report) -> Advice {
        let advice = self.ledger.report_without_permit(self.now, report, true, &Teller::anybody());
        self.quiet();
        advice
    }

    /// Returns calls of a permit.
    pub fn release(&mut self, permit: &Permit, unused: Option<u32>) -> Released {
        let key = permit.key.expect("a check has no permit");
        let released = self.ledger.release(self.now.mono, key, unused, &Teller::anybody());
        let released = released.expect("nobody is asked for a name");
        self.quiet();
        released
    }

    /// Takes a reading of the header that is as fresh as can be.
    pub fn read(&mut self, used: u64, limit: u64) {
        tell_reading(&mut self.ledger, self.now, reading(used, limit), Duration::ZERO);
        self.quiet();
    }

    /// Takes over changed settings.
    pub fn change(&mut self, change: impl FnOnce(&mut OrgPolicy)) {
        change(&mut self.policy);
        self.policy.revision += 1;
        self.policy.pool.sort();
        self.configure();
    }

    /// Takes over the settings and operations as they stand here.
    pub fn configure(&mut self) {
        let (policy, catalogue) = (self.policy.clone(), self.catalogue.clone());
        self.ledger.configure(self.now.mono, Arc::new(policy), Arc::new(catalogue));
        self.quiet();
    }

    /// Lets time pass, waking the ledger whenever it wants to be woken.
    pub fn advance(&mut self, time: Duration) {
        self.advance_to(self.now.mono + time);
    }

    fn advance_to(&mut self, end: Mono) {
        // Looking at the usage may have paused or resumed a class.
        self.quiet();
        while let Some(wake) = self.ledger.next_wake(self.now.mono) {
            // A wake that has passed is for a store that does not answer.
            let late = wake <= self.now.mono;
            assert!(!late || self.withholds, "the ledger wants to be woken, and does nothing");
            let wake = if late { self.now.mono + ms(10) } else { wake };
            if wake >= end {
                break;
            }
            self.set_time(wake);
            self.quiet();
        }
        self.set_time(end);
        self.quiet();
    }

    fn set_time(&mut self, mono: Mono) {
        let passed = mono.since(self.now.mono);
        self.now = Now { mono, wall: self.now.wall + passed };
    }

    /// The process dies and starts again on what the store holds, after some
    /// time, with a monotonic clock of its own.
    pub fn restart(&mut self, after: Duration) {
        self.epoch += 1;
        self.now.wall = self.now.wall + after;
        self.now.mono = Mono(self.now.mono.0 / 2 + 100_000_000_000);
        self.answers.clear();
        self.waiting.clear();
        self.ledger =
            ledger(self.now, self.epoch, self.rules, &self.policy, &self.catalogue, &self.store);
        self.quiet();
    }

    /// The same, where what was counted until a moment is not known.
    pub fn restart_closed(&mut self, after: Duration, since: Wall) {
        self.restart(after);
        let (policy, catalogue) = (self.policy.clone(), self.catalogue.clone());
        self.ledger = Ledger::closed_since(
            self.now,
            self.epoch,
            self.rules,
            Arc::new(policy),
            Arc::new(catalogue),
            self.store.clone().into_iter().collect(),
            Some(since),
        );
        self.quiet();
    }

    /// Grants nothing any more and writes all down.
    pub fn hand_over(&mut self) {
        self.ledger.stop();
        loop {
            let writes = self.ledger.begin_hand_over(self.now, MOST_RECORDS);
            if writes.is_empty() {
                return;
            }
            self.commit(&writes);
        }
    }

    /// Runs reserves and waiting requests until nothing moves.
    pub fn quiet(&mut self) {
        for _ in 0..1_000 {
            self.collect();
            if self.withholds {
                return;
            }
            if !self.ledger.wants_reserve(self.now.mono) {
                let violations = self.ledger.take_violations();
                assert!(violations.is_empty(), "violated: {violations:?}");
                return;
            }
            let writes = self.ledger.begin_reserve(self.now, MOST_RECORDS);
            assert!(!writes.is_empty(), "the ledger wants a reserve of nothing");
            self.commit(&writes);
        }
        panic!("the ledger reserves for ever");
    }

    /// What a sweeper does now and then. True if nothing is left of the org.
    pub fn sweep(&mut self) -> bool {
        self.ledger.sweep(self.now.mono);
        self.quiet();
        self.ledger.sweep(self.now.mono)
    }

    fn collect(&mut self) {
        for (id, outcome) in self.ledger.pump(self.now.mono) {
            assert!(self.waiting.remove(&id), "{id:?} was answered, and does not wait");
            self.answers.insert(id, outcome);
        }
    }

    fn commit(&mut self, writes: &[GroupWrite]) {
        self.revision += 1;
        for write in writes {
            let known = self.store.get(&write.group).map_or(0, |stored| stored.revision);
            assert_eq!(write.expected_revision, known, "{:?} is written blindly", write.group);
            match &write.record {
                Some(record) => {
                    let stored = Stored { revision: self.revision, record: record.clone() };
                    self.store.insert(write.group.clone(), stored);
                }
                None => {
                    self.store.remove(&write.group);
                }
            }
        }
        let committed = ReserveOutcome::Committed { revision: self.revision };
        let standing = self.ledger.finish_reserve(self.now.mono, writes, &committed);
        assert_eq!(standing, Standing::Owner);
    }

    /// Everything that is shown of the org.
    pub fn usage(&mut self) -> OrgUsage {
        self.ledger.usage(self.now.mono)
    }

    /// The org's total.
    #[track_caller]
    pub fn total(&mut self) -> LimitUsage {
        let usage = self.usage();
        find(&usage.limits, "calls")
    }

    /// The org's slots.
    #[track_caller]
    pub fn slots(&mut self) -> LimitUsage {
        let usage = self.usage();
        find(&usage.limits, "long")
    }

    /// A workspace's cap.
    #[track_caller]
    pub fn cap(&mut self, id: &str) -> LimitUsage {
        let usage = self.usage();
        let found = usage.workspaces.iter().find(|shown| shown.workspace.as_str() == id);
        let limits = &found.unwrap_or_else(|| panic!("no workspace {id}")).limits;
        limits.iter().find(|limit| limit.scope == Scope::Workspace).expect("a cap").clone()
    }

    /// A limit of a user.
    #[track_caller]
    pub fn of_user(&mut self, id: &str, limit: &str) -> LimitUsage {
        let usage = self.usage();
        let found = usage.users.iter().find(|shown| shown.user.as_str() == id);
        find(&found.unwrap_or_else(|| panic!("no user {id}")).limits, limit)
    }

    /// Whether a class of a workspace is paused, as the ledger shows it.
    #[track_caller]
    pub fn is_paused(&mut self, id: &str, class: Class) -> bool {
        let usage = self.usage();
        let found = usage.workspaces.iter().find(|shown| shown.workspace.as_str() == id);
        let state = found.and_then(|shown| shown.class_state.clone()).expect("a cap");
        state.classes.iter().find(|status| status.class == class).expect("can pause").paused
    }
}

fn ledger(
    now: Now,
    epoch: u64,
    rules: Rules,
    policy: &OrgPolicy,
    catalogue: &Catalogue,
    store: &BTreeMap<Group, Stored>,
) -> Ledger {
    let stored = store.iter().map(|(group, stored)| (group.clone(), stored.clone())).collect();
    let (policy, catalogue) = (Arc::new(policy.clone()), Arc::new(catalogue.clone()));
    Ledger::new(now, epoch, rules, policy, catalogue, stored)
}

#[track_caller]
fn find(limits: &[LimitUsage], name: &str) -> LimitUsage {
    let found = limits.iter().find(|limit| limit.name.as_str() == name);
    found.unwrap_or_else(|| panic!("no limit {name} in {limits:#?}")).clone()
}

/// Units that a limit counts as spent, by whomever, foreign use aside.
pub fn spent(limit: &LimitUsage) -> u64 {
    limit.used_by_caller + limit.used_by_others - limit.foreign
}

/// An org with 15,000 calls a day, nothing kept for others, one user in its
/// pool, and no workspaces.
pub fn org() -> OrgPolicy {
    OrgPolicy {
        org: OrgId::parse("acme").unwrap(),
        daily_calls: 15_000,
        daily_calls_max: None,
        concurrent_calls: 5,
        reserve_percent: 0,
        outage_share: 0,
        header_lag: Duration::ZERO,
        pool: vec![user("alice")],
        workspaces: BTreeMap::new(),
        classes: ClassPolicy::default(),
        unknown_workspaces: Unknown::Accept,
        unknown_users: Unknown::Accept,
        revision: 1,
    }
}

/// Words for the settings of an org.
pub trait OrgWords: Sized {
    fn daily(self, calls: u64) -> Self;
    fn keeping(self, reserve_percent: u32) -> Self;
    fn slots(self, slots: u64) -> Self;
    fn pool(self, users: &[&str]) -> Self;
    fn capped(self, workspace: &str, cap: u64) -> Self;
    fn capped_by(self, workspace: &str, cap: u64, classes: ClassPolicy) -> Self;
    fn workspace(self, workspace: &str, policy: WorkspacePolicy) -> Self;
}

impl OrgWords for OrgPolicy {
    fn daily(self, calls: u64) -> Self {
        Self { daily_calls: calls, ..self }
    }

    fn keeping(self, reserve_percent: u32) -> Self {
        Self { reserve_percent, ..self }
    }

    fn slots(self, slots: u64) -> Self {
        Self { concurrent_calls: slots, ..self }
    }

    fn pool(self, users: &[&str]) -> Self {
        let mut pool: Vec<UserId> = users.iter().map(|id| user(id)).collect();
        pool.sort();
        Self { pool, ..self }
    }

    fn capped(self, workspace: &str, cap: u64) -> Self {
        self.capped_by(workspace, cap, ClassPolicy::default())
    }

    fn capped_by(mut self, id: &str, cap: u64, classes: ClassPolicy) -> Self {
        let policy =
            WorkspacePolicy { daily_calls: Some(cap), classes, ..WorkspacePolicy::default() };
        self.workspaces.insert(workspace(id), policy);
        self
    }

    fn workspace(mut self, id: &str, policy: WorkspacePolicy) -> Self {
        self.workspaces.insert(workspace(id), policy);
        self
    }
}

/// One call for an operation: no workspace, no user, class EVENT, no waiting.
pub fn ask(operation: &str) -> Ask {
    Ask {
        caller: None,
        principal: None,
        workspace: None,
        operation: OperationId::parse(operation).unwrap(),
        user: None,
        class: Class::Event,
        calls: 1,
        min_calls: 1,
        cost: 1,
        ttl: None,
        request: None,
        max_wait: Duration::ZERO,
        check_only: false,
    }
}

/// Reads a conversation's entries: 90 a minute and user.
pub const READ: &str = "conversation-entries.get";
/// Deletes a conversation: 10 an hour and user.
pub const DELETE: &str = "conversations.delete";
/// Any call: the org's total.
pub const REST: &str = "rest";
/// A long call: the org's total, and a slot.
pub const LONG: &str = "rest.long";

/// Words for asks.
pub trait AskWords: Sized {
    fn of(self, workspace: &str) -> Self;
    fn by(self, user: &str) -> Self;
    fn class(self, class: Class) -> Self;
    /// All or nothing.
    fn calls(self, calls: u32) -> Self;
    /// The fewest that are of use.
    fn at_least(self, calls: u32) -> Self;
    fn costing(self, units: u32) -> Self;
    fn lasting(self, ttl: Duration) -> Self;
    fn waiting(self, max_wait: Duration) -> Self;
    fn named(self, request: &str) -> Self;
    fn named_by(self, caller: &str, request: &str, digest: u64) -> Self;
    fn check_only(self) -> Self;
}

impl AskWords for Ask {
    fn of(self, id: &str) -> Self {
        Self { workspace: Some(workspace(id)), ..self }
    }

    fn by(self, id: &str) -> Self {
        Self { user: Some(user(id)), ..self }
    }

    fn class(self, class: Class) -> Self {
        Self { class, ..self }
    }

    fn calls(self, calls: u32) -> Self {
        Self { calls, min_calls: calls, ..self }
    }

    fn at_least(self, calls: u32) -> Self {
        Self { min_calls: calls, ..self }
    }

    fn costing(self, units: u32) -> Self {
        Self { cost: units, ..self }
    }

    fn lasting(self, ttl: Duration) -> Self {
        Self { ttl: Some(ttl), ..self }
    }

    fn waiting(self, max_wait: Duration) -> Self {
        Self { max_wait, ..self }
    }

    fn named(self, request: &str) -> Self {
        self.named_by("", request, 1)
    }

    fn named_by(self, caller: &str, request: &str, digest: u64) -> Self {
        let id = RequestId::parse(request).unwrap();
        Self { request: Some(RequestKey { caller: caller.into(), id, digest }), ..self }
    }

    fn check_only(self) -> Self {
        Self { check_only: true, ..self }
    }
}

/// The first `calls` calls were answered with 200, just now.
/// Tells of a reading that came with a call without a permit.
pub fn tell_reading(ledger: &mut Ledger, now: Now, reading: Reading, completed_ago: Duration) {
    let reading = Some(reading);
    let report = Report { calls: 1, http_status: 200, completed_ago, reading, ..Report::default() };
    ledger.report_without_permit(now, &report, false, &Teller::anybody());
}

pub fn answered(calls: u32) -> Report {
    report(0, calls, 200)
}

/// Nobody knows what became of the first `calls` calls.
pub fn unanswered(calls: u32) -> Report {
    report(0, calls, 0)
}

/// A report of some calls, just now, without a reading.
pub fn report(first_call: u32, calls: u32, http_status: u16) -> Report {
    Report { first_call, calls, http_status, ..Report::default() }
}

/// The first call was refused with this status, code and text, just now.
pub fn refused(status: u16, code: &str, text: &str) -> Report {
    Report { trouble: Trouble::of(status, code, text, None), ..report(0, 1, status) }
}

/// The org's total is used up, Salesforce says.
pub fn total_exceeded() -> Report {
    refused(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
}

/// What the header says, without a Date: the arrival counts.
pub fn reading(used: u64, limit: u64) -> Reading {
    Reading { usage: ApiUsage { used, limit }, answer_time: None }
}

pub fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

pub fn workspace(id: &str) -> WorkspaceId {
    WorkspaceId::parse(id).unwrap()
}

pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub const MINUTE: Duration = secs(60);
pub const HOUR: Duration = secs(3_600);
pub const DAY: Duration = secs(24 * 3_600);

/// `granted + life` of a permit that nobody has reported: until then, and the
/// time to travel, its calls may be under way.
pub const TRAVEL: Duration = secs(5);

/// A user's window.
pub fn per_user(limit: &str, max: u64, window: Duration) -> Charge {
    Charge {
        limit: LimitName::parse(limit).unwrap(),
        scope: Scope::ExecutionUser,
        kind: Kind::Window,
        max: Max::Fixed(max),
        window,
        cost: Cost::One,
        shadow: false,
    }
}

/// An org's window.
pub fn per_org(limit: &str, max: u64, window: Duration) -> Charge {
    Charge { scope: Scope::Org, ..per_user(limit, max, window) }
}

/// The org's slots.
pub fn slots(max_duration: Duration) -> Charge {
    Charge { kind: Kind::Concurrency, max: Max::OrgConcurrent, ..per_org("long", 0, max_duration) }
}

/// Operations by name and charges.
pub fn catalogue(operations: Vec<(&str, Vec<Charge>)>) -> Catalogue {
    let named = |(name, charges)| (OperationId::parse(name).unwrap(), Operation { charges });
    Catalogue { operations: operations.into_iter().map(named).collect() }
}

/// The operations that work out of the box.
pub fn built_in() -> Catalogue {
    catalogue(vec![
        (READ, vec![per_user("entries", 90, MINUTE)]),
        ("conversation-participants.delete", vec![per_user("participant-deletions", 10, HOUR)]),
        (DELETE, vec![per_user("conversation-deletions", 10, HOUR)]),
        (REST, vec![Charge::org_total()]),
        (LONG, vec![Charge::org_total(), slots(secs(600))]),
    ])
}
