//! A world without clocks: callers, the ledger, a store, and a strict Salesforce,
//! moved from event to event on one thread. The same row gives the same run.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap},
    sync::Arc,
    time::Duration,
};

use quotagate::{
    config::{Config, OrgDeclaration},
    quota::{
        Answer, Ask, Class, Group, GroupWrite, Ledger, Mono, Now, OperationId, OrgId, Outcome,
        Permit, PermitKey, Reading, Report, ReserveOutcome, Rules, Standing, Teller, UserId,
        WaiterId, Wall, salesforce::ApiUsage,
    },
    standin::{
        Options, Refusal,
        engine::{Call, Engine},
    },
};

/// Callers that want one call after the other, of one operation as one user.
#[derive(Clone, Debug)]
pub struct Callers {
    pub operation: &'static str,
    pub user: &'static str,
    pub count: usize,
    /// What the permits are asked to live.
    pub ttl: Option<Duration>,
    /// From the start of a call to its answer.
    pub duration: Duration,
    pub manner: Manner,
}

/// What callers do with a permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// They call at once, and report each answer with its header.
    Reports,
    /// They call at once, and report nothing.
    Silent,
    /// They start at any moment of the permit's life, their calls travel as
    /// long as the rules allow, and nobody reports.
    SilentAndLate,
}

/// One world.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Salesforce.
    pub salesforce: Options,
    /// The service's configuration.
    pub config: String,
    /// From the send of a transaction to its answer.
    pub store_latency: Duration,
    pub callers: Vec<Callers>,
    pub seed: u64,
}

/// A call that reached Salesforce.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub at_us: u64,
    /// The index of its callers.
    pub of: usize,
    pub org_units: u64,
    pub refusal: Option<Refusal>,
}

pub struct World {
    now_us: u64,
    setting: Setting,
    ledger: Ledger,
    engine: Engine,
    store: Store,
    random: fastrand::Rng,
    nonce: u64,
    waiting: HashMap<WaiterId, usize>,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    scheduled: u64,
    wake_at: Option<u64>,
    arrivals: Vec<Arrival>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Ask { of: usize },
    Arrive { of: usize, key: PermitKey },
    Answer { of: usize, key: PermitKey },
    Report { key: PermitKey, answered_us: u64, used: u64, limit: u64, status: u16 },
    Committed,
    Wake,
}

/// The organisation of every world.
const ORG: &str = "00Do";

/// The monotonic clock at the start: entries may be older than the start.
const MONO_AT_START: u64 = 1 << 50;
/// The wall clock at the start: 2026-01-01.
const WALL_AT_START: u64 = 1_767_225_600_000_000;

/// A caller is this far from the service, and from Salesforce, at most.
const NEAR_US: u64 = 5_000;

/// What a caller waits for at most before it asks again.
const MAX_WAIT: Duration = Duration::from_secs(600);

impl World {
    pub fn new(setting: Setting) -> Self {
        let config = Config::parse(&setting.config).expect("a good configuration");
        let org = OrgId::parse(ORG).expect("a good name");
        let declaration =
            config.orgs.get(&org).cloned().unwrap_or_else(|| OrgDeclaration::new(org));
        let policy = Arc::new(config.policy(&declaration, 1));
        let catalogue = Arc::new(config.catalogue.clone());
        let mut world = Self {
            now_us: 0,
            ledger: Ledger::new(now(0), 1, Rules::default(), policy, catalogue, Vec::new()),
            engine: Engine::new(&setting.salesforce),
            store: Store::default(),
            random: fastrand::Rng::with_seed(setting.seed),
            nonce: 0,
            waiting: HashMap::new(),
            events: BinaryHeap::new(),
            scheduled: 0,
            wake_at: None,
            arrivals: Vec::new(),
            setting,
        };
        for of in 0..world.setting.callers.len() {
            for _ in 0..world.setting.callers[of].count {
                let start_us = world.random.u64(0..NEAR_US);
                world.schedule(start_us, Event::Ask { of });
            }
        }
        world
    }

    /// Lets time pass until as many calls of these callers have arrived, or all
    /// of the time is over.
    pub fn run_until(&mut self, of: usize, arrivals: usize, at_most: Duration) {
        let end_us = self.now_us + micros(at_most);
        let mut seen = self.arrivals.iter().filter(|arrival| arrival.of == of).count();
        while seen < arrivals {
            let Some(Reverse((at_us, _, event))) = self.events.pop() else { return };
            if at_us > end_us {
                return;
            }
            self.now_us = at_us;
            let before = self.arrivals.len();
            self.happen(event);
            self.follow_up();
            seen += self.arrivals[before..].iter().filter(|arrival| arrival.of == of).count();
        }
    }

    /// Everything that reached Salesforce, in the order of time.
    pub fn arrivals(&self) -> &[Arrival] {
        &self.arrivals
    }

    fn happen(&mut self, event: Event) {
        let now = now(self.now_us);
        match event {
            Event::Ask { of } => self.ask(of),
            Event::Arrive { of, key } => self.arrive(of, key),
            Event::Answer { of, key } => self.answer(of, key, 200),
            Event::Report { key, answered_us, used, limit, status } => {
                let report = Report {
                    first_call: 0,
                    calls: 1,
                    http_status: status,
                    completed_ago: Duration::from_micros(self.now_us - answered_us),
                    reading: Some(Reading { usage: ApiUsage { used, limit }, answer_time: None }),
                    ..Report::default()
                };
                let told = self.ledger.report(now, key, &report, &Teller::anybody());
                told.expect("nobody is asked for a name");
                self.pump();
            }
            Event::Committed => {
                let (writes, outcome) = self.store.finish();
                let standing = self.ledger.finish_reserve(now.mono, &writes, &outcome);
                assert_eq!(standing, Standing::Owner, "nobody else writes");
                self.pump();
            }
            Event::Wake => {
                self.wake_at = None;
                self.pump();
            }
        }
    }

    fn ask(&mut self, of: usize) {
        let callers = &self.setting.callers[of];
        let ask = Ask {
            caller: None,
            principal: None,
            workspace: None,
            operation: OperationId::parse(callers.operation).expect("a good name"),
            user: Some(UserId::parse(callers.user).expect("a good name")),
            class: Class::Event,
            calls: 1,
            min_calls: 1,
            cost: 1,
            ttl: callers.ttl,
            request: None,
            max_wait: MAX_WAIT,
            check_only: false,
        };
        self.nonce += 1;
        match self.ledger.acquire(now(self.now_us).mono, &ask, self.nonce, true) {
            Answer::Done(outcome) => self.told(of, &outcome),
            Answer::Parked(id) => {
                self.waiting.insert(id, of);
            }
        }
    }

    fn pump(&mut self) {
        for (id, outcome) in self.ledger.pump(now(self.now_us).mono) {
            let of = self.waiting.remove(&id).expect("it was parked");
            self.told(of, &outcome);
        }
    }

    fn told(&mut self, of: usize, outcome: &Outcome) {
        match outcome {
            Outcome::Granted(permit) => self.use_permit(of, permit),
            Outcome::Denied(denial) => {
                assert!(denial.queue_position > 0, "only the end of a wait: {denial:?}");
                self.schedule(1, Event::Ask { of });
            }
            Outcome::Failed(error) => panic!("the store is healthy: {error}"),
        }
    }

    fn use_permit(&mut self, of: usize, permit: &Permit) {
        let key = permit.key.expect("no check was asked for");
        let manner = self.setting.callers[of].manner;
        let starts_us = match manner {
            Manner::Reports | Manner::Silent => 0,
            // A caller knows of its permit a moment later, and starts before
            // its end; in a quarter of all cases, at the very end.
            Manner::SilentAndLate if self.random.u8(0..4) == 0 => micros(permit.life_left) - 1,
            Manner::SilentAndLate => self.random.u64(0..micros(permit.life_left)),
        };
        let longest_us = match manner {
            Manner::Reports | Manner::Silent => NEAR_US,
            Manner::SilentAndLate => micros(Rules::default().travel),
        };
        let travels_us = self.random.u64(0..=longest_us);
        self.schedule(starts_us + travels_us, Event::Arrive { of, key });
    }

    fn arrive(&mut self, of: usize, key: PermitKey) {
        let callers = &self.setting.callers[of];
        let (operation, duration, user) = (callers.operation, callers.duration, callers.user);
        let is_rest = operation.starts_with("rest");
        let counts = is_rest || self.setting.salesforce.conversations_count_for_org;
        let call = Call {
            org: ORG,
            user,
            operation: if is_rest { "rest" } else { operation },
            org_units: u64::from(counts),
            duration,
        };
        let verdict = self.engine.arrive(self.now_us, &call);
        let refusal = verdict.err();
        let org_units = call.org_units;
        self.arrivals.push(Arrival { at_us: self.now_us, of, org_units, refusal });
        match refusal {
            None => self.schedule(micros(duration), Event::Answer { of, key }),
            Some(Refusal::User { .. }) => self.answer(of, key, 429),
            Some(_) => self.answer(of, key, 403),
        }
    }

    /// The answer is complete at the caller, which asks again at once.
    fn answer(&mut self, of: usize, key: PermitKey, status: u16) {
        if self.setting.callers[of].manner == Manner::Reports {
            let shown = self.engine.shown(self.now_us, ORG);
            let (used, limit) = (shown.used, shown.max);
            let answered_us = self.now_us;
            let near_us = self.random.u64(0..=NEAR_US);
            self.schedule(near_us, Event::Report { key, answered_us, used, limit, status });
        }
        let near_us = self.random.u64(0..=NEAR_US);
        self.schedule(near_us, Event::Ask { of });
    }

    /// What the shell does after every use of a ledger.
    fn follow_up(&mut self) {
        let now = now(self.now_us);
        assert_eq!(self.ledger.take_violations(), Vec::<&str>::new());
        while self.ledger.wants_reserve(now.mono) {
            self.store.begin(self.ledger.begin_reserve(now, usize::MAX));
            if self.setting.store_latency.is_zero() {
                self.happen(Event::Committed);
            } else {
                self.schedule(micros(self.setting.store_latency), Event::Committed);
            }
        }
        if let Some(wake) = self.ledger.next_wake(now.mono) {
            let at_us = (wake.0 - MONO_AT_START).max(self.now_us + 1);
            if self.wake_at.is_none_or(|planned| at_us < planned) {
                self.wake_at = Some(at_us);
                self.schedule(at_us - self.now_us, Event::Wake);
            }
        }
    }

    fn schedule(&mut self, after_us: u64, event: Event) {
        self.scheduled += 1;
        self.events.push(Reverse((self.now_us + after_us, self.scheduled, event)));
    }
}

/// Carries out one transaction at a time, and never fails.
#[derive(Default)]
struct Store {
    revision: u64,
    records: BTreeMap<Group, u64>,
    in_flight: Vec<GroupWrite>,
}

impl Store {
    fn begin(&mut self, writes: Vec<GroupWrite>) {
        assert!(self.in_flight.is_empty() && !writes.is_empty());
        self.in_flight = writes;
    }

    fn finish(&mut self) -> (Vec<GroupWrite>, ReserveOutcome) {
        let writes = std::mem::take(&mut self.in_flight);
        self.revision += 1;
        for write in &writes {
            let present = self.records.get(&write.group).copied().unwrap_or(0);
            assert_eq!(present, write.expected_revision, "it knows what it wrote");
            match write.record {
                Some(_) => self.records.insert(write.group.clone(), self.revision),
                None => self.records.remove(&write.group),
            };
        }
        (writes, ReserveOutcome::Committed { revision: self.revision })
    }
}

fn now(now_us: u64) -> Now {
    Now { mono: Mono(MONO_AT_START + now_us), wall: Wall(WALL_AT_START + now_us) }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).expect("a short time")
}
