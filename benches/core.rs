//! What a decision costs in the core alone: an Acquire over the org's total, a
//! workspace's cap and two windows of a user, one kept exactly and one in buckets.
//! Time is an argument of the core, so a day of use is made in a moment.
//!
//! ```sh
//! cargo bench --no-default-features --features server --bench core
//! ```
//!
//! Times are noisy, instructions are not. `count SCENARIO TIMES` runs a scenario
//! so often and no more: the instructions of `measured` alone are those of the
//! operation.
//!
//! ```sh
//! valgrind --tool=callgrind --toggle-collect='*core::measured*' \
//!     target/release/deps/core-* count acquire 10000
//! ```

use std::{
    collections::BTreeMap,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput};
use quotagate::quota::{
    Answer, Ask, Catalogue, Charge, Class, ClassPolicy, Kind, Ledger, LimitName, Mono, Now,
    Operation, OperationId, OrgId, OrgPolicy, Outcome, PermitKey, Report, ReserveOutcome, Rules,
    Scope, Teller, Unknown, UserId, Wall, WorkspaceId, WorkspacePolicy,
    catalogue::{Cost, Max},
};

/// The operation that is asked for.
const OPERATION: &str = "hot";

/// Users that take turns: each has used some of its window, and none all of it.
const USERS: usize = 32;

/// Asks follow each other in this time: a thousand a second.
const STEP: Duration = Duration::from_millis(1);

/// The life of a permit at rest: it is gone when the next one is asked for.
const AT_REST: Duration = Duration::from_millis(1);

/// The life of a permit of which there are 10,000 at any time.
const LIVE: Duration = Duration::from_secs(10);

/// Operations between two looks at the store, which are not measured.
const BATCH: u64 = 64;

/// Records of one reserve.
const MOST_RECORDS: usize = 126;

/// One thing to be measured.
#[derive(Clone, Copy)]
struct Scenario {
    name: &'static str,
    what: What,
    ttl: Duration,
    /// The day's windows hold use of all of its minutes, not of the last ones.
    full_day: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Acquire,
    AcquireAndReport,
    AcquireAndRelease,
    Deny,
    Check,
    /// What is asked after each operation: whether a reserve is due, and when to
    /// look again.
    Look,
}

const SCENARIOS: [Scenario; 11] = [
    Scenario::new("acquire", What::Acquire, AT_REST, false),
    Scenario::new("acquire_live", What::Acquire, LIVE, false),
    Scenario::new("acquire_day", What::Acquire, AT_REST, true),
    Scenario::new("acquire_live_day", What::Acquire, LIVE, true),
    Scenario::new("report", What::AcquireAndReport, AT_REST, false),
    Scenario::new("report_live", What::AcquireAndReport, LIVE, true),
    Scenario::new("release", What::AcquireAndRelease, AT_REST, false),
    Scenario::new("release_live", What::AcquireAndRelease, LIVE, true),
    Scenario::new("deny", What::Deny, AT_REST, true),
    Scenario::new("check", What::Check, AT_REST, true),
    Scenario::new("look", What::Look, LIVE, true),
];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, command, name, times, ..] = &arguments[..]
        && command == "count"
    {
        let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name.as_str());
        let mut core = Core::new(*scenario.expect("one of SCENARIOS"));
        core.run(times.parse().expect("a number"));
        return;
    }
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .sample_size(20)
        .configure_from_args();
    let mut group = criterion.benchmark_group("core");
    group.throughput(Throughput::Elements(1));
    for scenario in SCENARIOS {
        let mut core = None;
        group.bench_function(scenario.name, |bencher| {
            let core = core.get_or_insert_with(|| Core::new(scenario));
            bencher.iter_custom(|times| core.run(times));
        });
    }
    group.finish();
    criterion.final_summary();
}

/// A ledger, whose reserves are committed between the measurements.
struct Core {
    scenario: Scenario,
    ledger: Ledger,
    now: Now,
    asks: Vec<Ask>,
    report: Report,
    revision: u64,
    nonce: u64,
}

impl Scenario {
    const fn new(name: &'static str, what: What, ttl: Duration, full_day: bool) -> Self {
        Self { name, what, ttl, full_day }
    }
}

impl Core {
    fn new(scenario: Scenario) -> Self {
        let now = Now { mono: Mono(1_000_000), wall: Wall(1_700_000_000_000_000) };
        let (policy, catalogue) = (Arc::new(policy()), Arc::new(catalogue()));
        let ledger = Ledger::new(now, 1, Rules::default(), policy, catalogue, Vec::new());
        let asks = (0..USERS).map(|user| ask(user, &scenario)).collect();
        let report = Report { calls: 1, http_status: 200, ..Report::default() };
        let mut core = Self { scenario, ledger, now, asks, report, revision: 1, nonce: 0 };
        if scenario.full_day {
            for _ in 0..24 * 60 {
                core.pass(Duration::from_secs(60));
                core.grant();
            }
        }
        // Two minutes of use, and as many permits as there will be.
        for _ in 0..12_000 {
            core.pass(STEP * 10);
            core.grant();
        }
        for _ in 0..12_000 {
            core.pass(STEP);
            core.grant();
        }
        core
    }

    /// Runs the scenario and returns the time that its operations took.
    fn run(&mut self, times: u64) -> Duration {
        let mut taken = Duration::ZERO;
        let mut left = times;
        while left > 0 {
            let batch = left.min(BATCH);
            taken += measured(self, batch);
            left -= batch;
            if self.ledger.wants_reserve(self.now.mono) {
                self.reserve();
            }
        }
        taken
    }

    fn once(&mut self) {
        self.pass(STEP);
        match self.scenario.what {
            What::Acquire => {
                black_box(self.acquire());
            }
            What::AcquireAndReport => {
                let key = self.acquire();
                let told = self.ledger.report(self.now, key, &self.report, &Teller::anybody());
                black_box(told).expect("nobody is asked for a name");
            }
            What::AcquireAndRelease => {
                let key = self.acquire();
                let back = self.ledger.release(self.now.mono, key, None, &Teller::anybody());
                black_box(back).expect("nobody is asked for a name");
            }
            What::Deny | What::Check => {
                black_box(self.ask());
            }
            What::Look => {
                let now = self.now.mono;
                black_box((self.ledger.wants_reserve(now), self.ledger.next_wake(now)));
            }
        }
    }

    fn acquire(&mut self) -> PermitKey {
        let outcome = match self.ask() {
            Answer::Done(outcome) => outcome,
            // Where all is given back no block is asked for ahead.
            Answer::Parked(_) => {
                self.reserve();
                let (_, outcome) = self.ledger.pump(self.now.mono).pop().expect("it waits");
                outcome
            }
        };
        match outcome {
            Outcome::Granted(permit) => permit.key.expect("it is no check"),
            other => panic!("there is room: {other:?}"),
        }
    }

    fn ask(&mut self) -> Answer {
        self.nonce += 1;
        let user = usize::try_from(self.nonce).expect("64 bits") % USERS;
        let nonce = self.nonce.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.ledger.acquire(self.now.mono, &self.asks[user], nonce, true)
    }

    /// An ask that is granted, whatever has to be fetched for it.
    fn grant(&mut self) {
        self.nonce += 1;
        let user = usize::try_from(self.nonce).expect("64 bits") % USERS;
        let ask = Ask { calls: 1, min_calls: 1, check_only: false, ..self.asks[user].clone() };
        if let Answer::Parked(_) = self.ledger.acquire(self.now.mono, &ask, self.nonce, true) {
            self.reserve();
            let answers = self.ledger.pump(self.now.mono);
            assert!(matches!(answers[..], [(_, Outcome::Granted(_))]), "{answers:?}");
        }
        if self.nonce.is_multiple_of(BATCH) && self.ledger.wants_reserve(self.now.mono) {
            self.reserve();
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now = Now { mono: self.now.mono + time, wall: self.now.wall + time };
    }

    fn reserve(&mut self) {
        let writes = self.ledger.begin_reserve(self.now, MOST_RECORDS);
        self.revision += 1;
        let committed = ReserveOutcome::Committed { revision: self.revision };
        self.ledger.finish_reserve(self.now.mono, &writes, &committed);
    }
}

/// The operations of a batch, and nothing else.
#[inline(never)]
#[expect(clippy::disallowed_methods, reason = "nothing is decided by this clock")]
fn measured(core: &mut Core, batch: u64) -> Duration {
    let start = Instant::now();
    for _ in 0..batch {
        core.once();
    }
    start.elapsed()
}

fn policy() -> OrgPolicy {
    let workspaces = (0..20).map(|number| {
        let cap = WorkspacePolicy { daily_calls: Some(500_000_000), ..Default::default() };
        (WorkspaceId::parse(&format!("workspace-{number}")).expect("a good id"), cap)
    });
    let mut pool: Vec<UserId> = (0..USERS).map(user).collect();
    pool.sort();
    OrgPolicy {
        org: OrgId::parse("acme").expect("a good id"),
        daily_calls: 1_000_000_000,
        daily_calls_max: None,
        concurrent_calls: 25,
        reserve_percent: 5,
        outage_share: 0,
        header_lag: Duration::from_secs(2),
        pool,
        workspaces: workspaces.collect(),
        classes: ClassPolicy::default(),
        unknown_workspaces: Unknown::Accept,
        unknown_users: Unknown::Accept,
        revision: 1,
    }
}

/// The org's total, and two windows of a user: one that is kept exactly, and one
/// in buckets.
fn catalogue() -> Catalogue {
    let of_user = |name: &str, max, window| Charge {
        limit: LimitName::parse(name).expect("a good name"),
        scope: Scope::ExecutionUser,
        kind: Kind::Window,
        max: Max::Fixed(max),
        window,
        cost: Cost::One,
        shadow: false,
    };
    let minute = of_user("minute", 4_000, Duration::from_secs(60));
    let hour = of_user("hour", 1_000_000, Duration::from_secs(3_600));
    let charges = vec![Charge::org_total(), minute, hour];
    let operation = OperationId::parse(OPERATION).expect("a good name");
    Catalogue { operations: BTreeMap::from([(operation, Operation { charges })]) }
}

fn user(number: usize) -> UserId {
    UserId::parse(&format!("user-{number:02}")).expect("a good id")
}

fn ask(number: usize, scenario: &Scenario) -> Ask {
    // Of a window of 4,000 so many are never to be had at once.
    let calls = if scenario.what == What::Deny { 4_001 } else { 1 };
    Ask {
        caller: None,
        principal: None,
        workspace: Some(WorkspaceId::parse("workspace-7").expect("a good id")),
        operation: OperationId::parse(OPERATION).expect("a good name"),
        user: Some(user(number)),
        class: Class::Event,
        calls,
        min_calls: calls,
        cost: 1,
        ttl: Some(scenario.ttl),
        request: None,
        max_wait: Duration::ZERO,
        check_only: scenario.what == What::Check,
    }
}
