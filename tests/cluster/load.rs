//! Callers at work through every node: they ask, call Salesforce within the
//! life of the permit, report or stay silent, and try again where nobody could
//! decide.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use quotagate::{
    proto::v1::{
        AcquireRequest, AcquireResponse, Permit, ReleaseRequest, ReportRequest,
        acquire_response::Outcome, quota_service_client::QuotaServiceClient,
    },
    standin::options::{DELETE_CONVERSATION, DELETE_PARTICIPANT, GET_ENTRIES, REST},
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use tonic::{Code, Request, Status, transport::Channel};
use tonic_types::StatusExt as _;

use crate::{
    limits::{LONG, ROOMY},
    salesforce::{Call, Salesforce},
};

/// The nodes that callers know, dead ones too.
pub type Doors = watch::Receiver<Vec<QuotaServiceClient<Channel>>>;

/// What a caller does, over and over.
#[derive(Clone, Debug)]
pub struct Job {
    pub org: String,
    pub user: &'static str,
    pub operation: &'static str,
    /// Calls that it asks for at a time.
    pub calls: u32,
    pub ttl: Option<Duration>,
    /// How long it waits for room.
    pub max_wait: Duration,
    /// How long each call runs at Salesforce, beside its latency.
    pub runs: Duration,
    /// How long it rests after each permit.
    pub rests: Duration,
    pub habit: Habit,
    /// It repeats a request until somebody decides, for whatever reason nobody
    /// did; others repeat once, where they are told that nobody could.
    pub patient: bool,
}

/// What becomes of a permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// It is used at once, and reported.
    Prompt,
    /// It is used at the last instant, and nobody reports.
    Late,
    /// One or the other; used at once and not reported; or given back.
    Mixed,
    /// It is given back.
    Returned,
    /// Nothing is done with it.
    Kept,
}

/// Callers at work. They end when it is dropped.
#[derive(Debug)]
pub struct Load {
    callers: JoinSet<()>,
    pub ledger: Arc<Ledger>,
}

/// What callers have seen.
#[derive(Debug, Default)]
pub struct Ledger {
    seen: Mutex<Seen>,
}

/// What callers have seen, counted.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Every permit that came.
    pub grants: Vec<Grant>,
    pub denied: u64,
    /// Requests that had to be sent again, by the reason.
    pub repeated: BTreeMap<String, u64>,
    /// Requests of callers that repeat once, and were not answered then either.
    pub lost: Vec<String>,
    /// Permits that came when their life was over.
    pub too_late: u64,
}

/// A permit as its caller knows it.
#[derive(Clone, Debug)]
pub struct Grant {
    pub job: Arc<Job>,
    /// Calls that were not given back.
    pub calls: u32,
    /// It was granted after this.
    pub asked: Instant,
}

/// How long an answer may take besides the wait that was asked for.
const ANSWERED_WITHIN: Duration = Duration::from_secs(4);

/// Before an ask is repeated of which nothing is said.
const RETRY: Duration = Duration::from_millis(50);

/// The longest that a caller waits because it is told to.
const LONGEST_RETRY: Duration = Duration::from_secs(1);

/// So long before the end of its permit a late caller calls.
const LAST_INSTANT: Duration = Duration::from_millis(20);

/// More than every limit allows, of all kinds.
pub fn saturating(org: &str) -> Vec<(Job, usize)> {
    let entries = Job {
        org: org.to_owned(),
        user: "prompt",
        operation: GET_ENTRIES,
        calls: 1,
        ttl: Some(Duration::from_millis(500)),
        max_wait: Duration::from_secs(2),
        runs: Duration::ZERO,
        rests: Duration::ZERO,
        habit: Habit::Prompt,
        patient: true,
    };
    let rest = Job { operation: REST, rests: Duration::from_millis(500), ..entries.clone() };
    vec![
        (entries.clone(), 3),
        (Job { user: "late", habit: Habit::Late, ..entries.clone() }, 3),
        (
            Job { operation: DELETE_PARTICIPANT, calls: 3, habit: Habit::Mixed, ..entries.clone() },
            2,
        ),
        (Job { operation: DELETE_CONVERSATION, habit: Habit::Mixed, ..entries }, 2),
        (Job { ttl: None, habit: Habit::Mixed, ..rest.clone() }, 2),
        (Job { operation: LONG, runs: Duration::from_millis(50), ..rest }, 3),
    ]
}

/// Less than the limits allow: every ask is to be granted.
pub fn roomy(org: &str) -> Vec<(Job, usize)> {
    let job = Job {
        org: org.to_owned(),
        user: "roomy",
        operation: ROOMY,
        calls: 1,
        ttl: None,
        max_wait: Duration::ZERO,
        runs: Duration::ZERO,
        rests: Duration::from_millis(100),
        habit: Habit::Kept,
        patient: false,
    };
    vec![(job, 2)]
}

impl Load {
    /// Puts callers to work; each node is known to all of them.
    pub fn start(jobs: Vec<(Job, usize)>, doors: &Doors, salesforce_url: &str) -> Self {
        let mut callers = JoinSet::new();
        let ledger = Arc::new(Ledger::default());
        let salesforce = Salesforce::new(salesforce_url);
        for (job, count) in jobs {
            let job = Arc::new(job);
            for _ in 0..count {
                let caller = Caller {
                    job: Arc::clone(&job),
                    doors: doors.clone(),
                    salesforce: salesforce.clone(),
                    ledger: Arc::clone(&ledger),
                };
                callers.spawn(caller.works());
            }
        }
        Self { callers, ledger }
    }

    /// Sends everybody home. Calls that were under way may still arrive.
    pub async fn stop(&mut self) {
        self.callers.abort_all();
        while self.callers.join_next().await.is_some() {}
    }

    /// Every caller is still at work: none has failed.
    pub fn is_well(&mut self) {
        if let Some(ended) = self.callers.try_join_next() {
            panic!("a caller has ended: {ended:?}");
        }
    }
}

impl Ledger {
    /// How many permits came until now.
    pub fn grants(&self) -> usize {
        self.lock().grants.len()
    }

    /// The orgs of the permits that came after the first so many.
    pub fn granted_since(&self, grants: usize) -> BTreeSet<String> {
        self.lock().grants[grants..].iter().map(|grant| grant.job.org.clone()).collect()
    }

    /// All but the permits.
    pub fn brief(&self) -> Seen {
        let Seen { denied, repeated, lost, too_late, .. } = &*self.lock();
        let (denied, too_late) = (*denied, *too_late);
        Seen { denied, too_late, repeated: repeated.clone(), lost: lost.clone(), grants: vec![] }
    }

    /// What was seen until now.
    pub fn seen(&self) -> Seen {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Caller {
    job: Arc<Job>,
    doors: Doors,
    salesforce: Salesforce,
    ledger: Arc<Ledger>,
}

impl Caller {
    async fn works(self) {
        loop {
            self.asks_once().await;
            sleep(self.job.rests).await;
        }
    }

    async fn asks_once(&self) {
        let job = &self.job;
        let request = AcquireRequest {
            org: job.org.clone(),
            operation: job.operation.into(),
            execution_user: job.user.into(),
            calls: job.calls,
            min_calls: 1,
            max_wait: job.max_wait.try_into().ok(),
            permit_ttl: job.ttl.and_then(|ttl| ttl.try_into().ok()),
            request_id: format!("{:016x}", fastrand::u64(..)),
            ..Default::default()
        };
        let asked = Instant::now();
        let Some((sent, answer)) = self.acquire(request).await else { return };
        match answer.outcome.expect("it says what") {
            Outcome::Permit(permit) => {
                let grant = Grant { job: Arc::clone(job), calls: permit.calls, asked };
                let number = {
                    let mut seen = self.ledger.lock();
                    seen.grants.push(grant);
                    seen.grants.len() - 1
                };
                self.uses(permit, number, sent).await;
            }
            Outcome::Denial(_) => self.ledger.lock().denied += 1,
        }
    }

    /// Asks until somebody decides, and says when the answered request was sent:
    /// a permit lives from then on.
    async fn acquire(&self, request: AcquireRequest) -> Option<(Instant, AcquireResponse)> {
        let mut repeated = false;
        let doors = self.doors.borrow().len();
        let mut at = fastrand::usize(0..doors);
        loop {
            let mut ask = Request::new(request.clone());
            ask.set_timeout(self.job.max_wait + ANSWERED_WITHIN);
            let sent = Instant::now();
            let status = match self.door_at(at).acquire(ask).await {
                Ok(answer) => return Some((sent, answer.into_inner())),
                Err(status) => status,
            };
            let said = said(&status);
            if !self.job.patient && (repeated || !is_unavailable(&status)) {
                let org = &self.job.org;
                self.ledger.lock().lost.push(format!("{org}: {said}: {}", status.message()));
                return None;
            }
            *self.ledger.lock().repeated.entry(said).or_default() += 1;
            let told = status.get_details_retry_info().and_then(|info| info.retry_delay);
            sleep(told.unwrap_or(RETRY).min(LONGEST_RETRY)).await;
            repeated = true;
            // Another one, as whoever balances load would.
            at = (at + fastrand::usize(1..doors)) % doors;
        }
    }

    async fn uses(&self, permit: Permit, number: usize, sent: Instant) {
        let ttl = permit.ttl.and_then(|ttl| Duration::try_from(ttl).ok());
        let until = sent + ttl.unwrap_or_default();
        let dice = fastrand::u8(0..10);
        let habit = match self.job.habit {
            Habit::Mixed if dice == 0 => Habit::Returned,
            Habit::Mixed if dice <= 2 => Habit::Late,
            Habit::Mixed => Habit::Prompt,
            other => other,
        };
        match habit {
            Habit::Kept => return,
            Habit::Returned => return self.gives_back(&permit, number, permit.calls).await,
            Habit::Prompt | Habit::Late | Habit::Mixed => {}
        }
        if habit == Habit::Late {
            sleep_until(until - LAST_INSTANT).await;
        }
        for call in 0..permit.calls {
            if Instant::now() >= until {
                // What is not used is not given back either: it is too late.
                self.ledger.lock().too_late += 1;
                return;
            }
            let Job { org, user, operation, runs, .. } = &*self.job;
            let made = Call { org, user, operation, runs: *runs };
            let answer = self.salesforce.call(made).await;
            let silent = self.job.habit == Habit::Mixed && fastrand::u8(0..5) == 0;
            if habit == Habit::Late || silent {
                continue;
            }
            let report = ReportRequest {
                permit_id: permit.permit_id.clone(),
                first_call: call,
                calls: 1,
                http_status: answer.status,
                limit_info: answer.limit_info.into_iter().collect(),
                completed_ago: answer.completed.elapsed().try_into().ok(),
                ..Default::default()
            };
            // One that is lost is a call that counts for longer.
            let _ = self.door().report(timed(report)).await;
            // The last calls of a few are given back instead.
            if self.job.habit == Habit::Mixed && call + 2 == permit.calls {
                return self.gives_back(&permit, number, 1).await;
            }
        }
    }

    async fn gives_back(&self, permit: &Permit, number: usize, calls: u32) {
        // From the moment of sending on it may be another's.
        self.ledger.lock().grants[number].calls -= calls;
        let permit_id = permit.permit_id.clone();
        let release = ReleaseRequest { permit_id, unused_calls: Some(calls) };
        let _ = self.door().release(timed(release)).await;
    }

    /// Any node: callers do not know who owns what.
    fn door(&self) -> QuotaServiceClient<Channel> {
        let doors = self.doors.borrow().len();
        self.door_at(fastrand::usize(0..doors))
    }

    fn door_at(&self, number: usize) -> QuotaServiceClient<Channel> {
        self.doors.borrow()[number].clone()
    }
}

fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(ANSWERED_WITHIN);
    request
}

/// Nobody has decided, and somebody else may: told by the service, or seen by
/// the connection.
pub fn is_unavailable(status: &Status) -> bool {
    let timed_out = matches!(status.code(), Code::DeadlineExceeded)
        || status.message().contains("Timeout expired");
    status.code() == Code::Unavailable || (status.source().is_some() && !timed_out)
}

/// A status in few words, for counting.
pub fn said(status: &Status) -> String {
    let code = status.code();
    match status.source() {
        Some(_) => format!("no answer ({code:?})"),
        None => match status.get_details_error_info() {
            Some(info) => info.reason,
            None => format!("{code:?}"),
        },
    }
}
