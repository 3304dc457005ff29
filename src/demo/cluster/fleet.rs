//! The callers: they ask through any node, try again at another one, call
//! Salesforce, and report. What became of it is all that anybody learns from
//! outside.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tonic::{
    Code, Request, Status,
    transport::{Channel, Endpoint},
};

use super::world::{CALLERS, NODES, ORGS, USER};
use crate::{
    demo::fleet::Salesforce,
    proto::{
        admin::v1::admin_service_client::AdminServiceClient,
        v1::{
            AcquireRequest, Permit, acquire_response::Outcome,
            quota_service_client::QuotaServiceClient,
        },
    },
    standin::options::{GET_ENTRIES, Jitter},
};

/// Where a running node is reached.
#[derive(Clone, Debug)]
pub(super) struct Door {
    pub(super) grpc: SocketAddr,
    pub(super) http: SocketAddr,
    pub(super) quota: QuotaServiceClient<Channel>,
    pub(super) admin: AdminServiceClient<Channel>,
}

impl Door {
    /// The connection is made when it is first used, and made again when it is
    /// lost.
    pub(super) fn to(grpc: SocketAddr, http: SocketAddr) -> anyhow::Result<Self> {
        let channel = Endpoint::from_shared(format!("http://{grpc}"))?
            .tcp_nodelay(true)
            .connect_timeout(TRY)
            .connect_lazy();
        let quota = QuotaServiceClient::new(channel.clone());
        Ok(Self { grpc, http, quota, admin: AdminServiceClient::new(channel) })
    }
}

/// The nodes as callers know them: the one address behind which a load balancer
/// takes them in turn, and leaves out for a moment who did not answer.
#[derive(Debug, Default)]
pub(super) struct Doors {
    doors: RwLock<[Option<Door>; NODES.len()]>,
    shunned_until: Mutex<[Option<Instant>; NODES.len()]>,
    turn: AtomicUsize,
}

/// So long a node is left out.
const SHUNNED: Duration = Duration::from_millis(500);

impl Doors {
    /// A node is there now.
    pub(super) fn open(&self, node: usize, door: Door) {
        self.doors.write().unwrap_or_else(PoisonError::into_inner)[node] = Some(door);
        lock(&self.shunned_until)[node] = None;
    }

    /// Nobody is to ask this node any more.
    pub(super) fn close(&self, node: usize) {
        self.doors.write().unwrap_or_else(PoisonError::into_inner)[node] = None;
    }

    /// Where a node is reached. It may have gone.
    pub(super) fn get(&self, node: usize) -> Option<Door> {
        self.doors.read().unwrap_or_else(PoisonError::into_inner)[node].clone()
    }

    /// The next one that is not shunned; if all are, the next.
    pub(super) fn next(&self) -> Option<(usize, Door)> {
        let turn = self.turn.fetch_add(1, Relaxed);
        let shunned = *lock(&self.shunned_until);
        let now = Instant::now();
        let in_turn = || (0..NODES.len()).map(|step| (turn + step) % NODES.len());
        let welcome = in_turn().filter(|node| shunned[*node].is_none_or(|until| until <= now));
        welcome.chain(in_turn()).find_map(|node| Some((node, self.get(node)?)))
    }

    fn shun(&self, node: usize) {
        lock(&self.shunned_until)[node] = Some(Instant::now() + SHUNNED);
    }

    /// The node at this address.
    pub(super) fn at(&self, grpc: &str) -> Option<usize> {
        let doors = self.doors.read().unwrap_or_else(PoisonError::into_inner);
        doors.iter().position(|door| {
            door.as_ref().is_some_and(|door| grpc.parse().is_ok_and(|grpc| door.grpc == grpc))
        })
    }
}

/// The callers at work. They stop when it is dropped.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) tally: Arc<Tally>,
    callers: JoinSet<()>,
}

impl Fleet {
    pub(super) fn start(doors: &Arc<Doors>, salesforce_url: &str) -> Self {
        let tally = Arc::new(Tally::new());
        let mut callers = JoinSet::new();
        for org in 0..ORGS.len() {
            for number in 0..CALLERS {
                let caller = Caller {
                    doors: Arc::clone(doors),
                    tally: Arc::clone(&tally),
                    salesforce: Salesforce::at(salesforce_url),
                    org,
                    name: format!("{org}.{number}"),
                };
                callers.spawn(caller.run(Jitter::new(org as u64 * CALLERS + number)));
            }
        }
        Self { tally, callers }
    }

    pub(super) async fn stop(mut self) {
        self.callers.shutdown().await;
    }
}

/// What became of the fleet's calls.
#[derive(Debug)]
pub(super) struct Tally {
    /// Permits.
    pub(super) granted: AtomicU64,
    /// Denials: no room now.
    pub(super) denied: AtomicU64,
    /// Tries to which nobody could say yes or no.
    pub(super) unavailable: AtomicU64,
    /// Acquires that got no answer at any try.
    pub(super) unanswered: AtomicU64,
    /// Permits that came too late to be used.
    pub(super) late: AtomicU64,
    /// Errors that nobody expects.
    pub(super) faults: AtomicU64,
    first_fault: OnceLock<String>,
    orgs: Mutex<[OrgTrace; ORGS.len()]>,
}

/// How one org is served.
#[derive(Clone, Copy, Debug)]
struct OrgTrace {
    /// The node that answered last.
    owner: Option<usize>,
    /// When.
    answered: Instant,
    /// The longest time between two answers since the last mark.
    longest: Duration,
}

impl Tally {
    fn new() -> Self {
        let none = OrgTrace { owner: None, answered: Instant::now(), longest: Duration::ZERO };
        Self {
            granted: AtomicU64::new(0),
            denied: AtomicU64::new(0),
            unavailable: AtomicU64::new(0),
            unanswered: AtomicU64::new(0),
            late: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            first_fault: OnceLock::new(),
            orgs: Mutex::new([none; ORGS.len()]),
        }
    }

    /// From now on the longest time without an answer is looked for anew.
    pub(super) fn mark(&self) {
        for org in lock(&self.orgs).iter_mut() {
            org.longest = Duration::ZERO;
        }
    }

    /// The longest time since the last mark in which an org that was asked about
    /// got no answer from anybody, of any org.
    pub(super) fn longest_silence(&self) -> Duration {
        let longest = |org: &OrgTrace| org.longest.max(org.answered.elapsed());
        lock(&self.orgs).iter().map(longest).max().unwrap_or_default()
    }

    /// Each org has been answered for since then.
    pub(super) fn all_answered_since(&self, since: Instant) -> bool {
        lock(&self.orgs).iter().all(|org| org.answered > since)
    }

    /// The nodes that answered last, by org.
    pub(super) fn owners(&self) -> [Option<usize>; ORGS.len()] {
        lock(&self.orgs).map(|org| org.owner)
    }

    /// What nobody expected first, if anything.
    pub(super) fn first_fault(&self) -> Option<&str> {
        self.first_fault.get().map(String::as_str)
    }

    fn answered(&self, org: usize, owner: Option<usize>) {
        let trace = &mut lock(&self.orgs)[org];
        let now = Instant::now();
        trace.longest = trace.longest.max(now - trace.answered);
        trace.answered = now;
        trace.owner = owner.or(trace.owner);
    }

    fn fault(&self, doing: &str, error: &dyn std::fmt::Display) {
        self.faults.fetch_add(1, Relaxed);
        self.first_fault.get_or_init(|| format!("{doing}: {error}"));
    }
}

/// One caller of one org.
struct Caller {
    doors: Arc<Doors>,
    tally: Arc<Tally>,
    salesforce: Salesforce,
    org: usize,
    name: String,
}

/// So long a caller waits for one answer: then it asks another node.
const TRY: Duration = Duration::from_secs(1);

/// So long it tries.
const PATIENCE: Duration = Duration::from_secs(15);

/// The second try follows at once at another node; later ones after these,
/// sooner than the service asks for, so that the picture sees service return.
const PAUSES: [Duration; 3] =
    [Duration::ZERO, Duration::from_millis(100), Duration::from_millis(200)];

impl Caller {
    async fn run(self, mut jitter: Jitter) {
        let org = ORGS[self.org];
        sleep(org.pause(&mut jitter)).await;
        for call in 0_u64.. {
            let next = Instant::now() + org.pause(&mut jitter);
            self.call(&format!("{}.{call}", self.name)).await;
            tokio::time::sleep_until(next).await;
        }
    }

    /// Wants one call, and makes it if it may.
    async fn call(&self, request_id: &str) {
        let Some((permit, sent)) = self.ask(request_id).await else { return };
        let ttl = permit.ttl.and_then(|ttl| Duration::try_from(ttl).ok()).unwrap_or_default();
        if sent.elapsed() >= ttl {
            // It counts as used; a call after the permit's end could be too many.
            self.tally.late.fetch_add(1, Relaxed);
            return;
        }
        let org = ORGS[self.org].name;
        let answer = match self.salesforce.call(org, USER, GET_ENTRIES).await {
            Ok(answer) => answer,
            Err(error) => {
                return self.tally.fault("calling Salesforce", &format_args!("{error:#}"));
            }
        };
        let report = answer.report(permit.permit_id);
        // An answer that is not reported is counted a little longer: that is all.
        for _ in 0..2 {
            let Some((node, mut door)) = self.doors.next() else { return };
            match door.quota.report(within(TRY, report.clone())).await {
                Ok(_) => return,
                Err(status) => self.failed(node, &status, "Report"),
            }
        }
    }

    /// A permit, and when the request was sent that it answers.
    async fn ask(&self, request_id: &str) -> Option<(Permit, Instant)> {
        let begin = Instant::now();
        let mut pauses = PAUSES.into_iter();
        let mut pause = Duration::ZERO;
        while begin.elapsed() < PATIENCE {
            let (node, mut door) = self.doors.next()?;
            // The same id: if the first try was granted and only its answer
            // lost, it is not charged twice.
            let request = AcquireRequest {
                org: ORGS[self.org].name.to_owned(),
                operation: GET_ENTRIES.to_owned(),
                execution_user: USER.to_owned(),
                request_id: request_id.to_owned(),
                ..AcquireRequest::default()
            };
            let sent = Instant::now();
            let status = match door.quota.acquire(within(TRY, request)).await {
                Ok(response) => {
                    let owner = response.metadata().get("quotagate-owner");
                    let owner = owner.and_then(|owner| self.doors.at(owner.to_str().ok()?));
                    self.tally.answered(self.org, owner);
                    return match response.into_inner().outcome {
                        Some(Outcome::Permit(permit)) => {
                            self.tally.granted.fetch_add(1, Relaxed);
                            Some((permit, sent))
                        }
                        Some(Outcome::Denial(_)) | None => {
                            self.tally.denied.fetch_add(1, Relaxed);
                            None
                        }
                    };
                }
                Err(status) => status,
            };
            self.tally.unavailable.fetch_add(1, Relaxed);
            self.failed(node, &status, "Acquire");
            pause = pauses.next().unwrap_or(pause);
            sleep(pause).await;
        }
        self.tally.unanswered.fetch_add(1, Relaxed);
        None
    }

    /// Nodes that are away are expected here, and nodes that cannot decide now;
    /// anything else is a fault.
    fn failed(&self, node: usize, status: &Status, doing: &str) {
        match status.code() {
            // A node says why in details. Without them it is the connection
            // that says so, whatever the code: another node is better.
            _ if status.details().is_empty() => self.doors.shun(node),
            Code::Unavailable | Code::DeadlineExceeded => {}
            _ => self.tally.fault(doing, status),
        }
    }
}

/// A request with a deadline, which the node is told, too.
pub(super) fn within<T>(patience: Duration, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(patience);
    request
}

/// What panicked while it held this has changed a number at most.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door(port: u16) -> Door {
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        Door::to(addr, addr).expect("it is an address")
    }

    #[tokio::test(start_paused = true)]
    async fn nodes_are_taken_in_turn_and_one_that_failed_is_left_out_for_a_moment() {
        let doors = Doors::default();
        assert!(doors.next().is_none(), "there is nobody yet");
        for (node, port) in [(0, 1), (1, 2), (2, 3)] {
            doors.open(node, door(port));
        }
        let take = |count| (0..count).filter_map(|_| Some(doors.next()?.0)).collect::<Vec<_>>();
        let mut all = take(3);
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2]);
        doors.shun(1);
        assert!(!take(6).contains(&1));
        tokio::time::advance(SHUNNED).await;
        assert!(take(3).contains(&1));
        for node in 0..3 {
            doors.shun(node);
        }
        assert_eq!(take(1).len(), 1, "somebody must be asked");
        assert_eq!(doors.at("127.0.0.1:3"), Some(2));
        assert_eq!(doors.at("127.0.0.1:4"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_silence_of_any_org_is_found_also_while_it_lasts() {
        let tally = Tally::new();
        let second = Duration::from_secs(1);
        for org in 0..ORGS.len() {
            tally.answered(org, Some(0));
        }
        tally.mark();
        tokio::time::advance(second).await;
        for org in 1..ORGS.len() {
            tally.answered(org, None);
        }
        let since = Instant::now();
        tokio::time::advance(second).await;
        assert_eq!(tally.longest_silence(), second * 2, "of the first org, until now");
        assert!(!tally.all_answered_since(since));
        for org in 0..ORGS.len() {
            tally.answered(org, Some(2));
        }
        assert_eq!(tally.longest_silence(), second * 2, "it has passed");
        assert!(tally.all_answered_since(since));
        tally.mark();
        assert_eq!(tally.longest_silence(), Duration::ZERO);
        assert_eq!(tally.owners(), [Some(2); ORGS.len()]);
    }
}
