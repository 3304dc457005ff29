//! The load: which requests, when, and what becomes of each.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep},
};
use tonic::Status;

use super::measured::{Measured, Paced, Tally};
use crate::{
    cli::exit::lines_of,
    client::Client,
    proto::v1::{AcquireRequest, ReleaseRequest, acquire_response::Outcome},
};

/// How long a worker waits after an error: a server that is away is not to be
/// stormed.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(10);

/// How often the pace looks whether the run is over, where requests are rarer.
const PACE_LOOKS: Duration = Duration::from_millis(10);

/// What is asked for: every combination in turn.
#[derive(Debug)]
pub struct Asks {
    pub orgs: Vec<String>,
    pub workspaces: Vec<String>,
    pub operations: Vec<String>,
    pub execution_users: Vec<String>,
    /// What all have in common.
    pub request: AcquireRequest,
}

/// How it is asked.
#[derive(Clone, Copy, Debug)]
pub struct How {
    /// Requests in flight, at most.
    pub concurrency: u32,
    /// Requests a second, whatever becomes of them; without, as many as are answered.
    pub rate: Option<u64>,
    /// Whether each permit is given back.
    pub release: bool,
}

/// What all workers see, and who watches them.
#[derive(Debug)]
pub struct Shared {
    asks: Asks,
    how: How,
    started: Instant,
    stop: AtomicBool,
    /// Requests that somebody has taken on.
    taken: AtomicU64,
    /// One for each request that is due and not taken on yet.
    due: Semaphore,
    pub granted: AtomicU64,
    pub denied: AtomicU64,
    pub errors: AtomicU64,
}

impl Asks {
    /// The request of this number, from 0.
    fn number(&self, number: u64) -> AcquireRequest {
        let mut rest = number;
        let mut choose = |from: &[String]| {
            let all = from.len().max(1) as u64;
            let index = usize::try_from(rest % all).expect("an index of a list");
            rest /= all;
            from.get(index).cloned().unwrap_or_default()
        };
        AcquireRequest {
            org: choose(&self.orgs),
            workspace: choose(&self.workspaces),
            operation: choose(&self.operations),
            execution_user: choose(&self.execution_users),
            ..self.request.clone()
        }
    }
}

impl Shared {
    pub fn new(asks: Asks, how: How) -> Self {
        Self {
            asks,
            how,
            started: Instant::now(),
            stop: AtomicBool::new(false),
            taken: AtomicU64::new(0),
            due: Semaphore::new(0),
            granted: AtomicU64::new(0),
            denied: AtomicU64::new(0),
            errors: AtomicU64::new(0),
        }
    }

    pub fn started(&self) -> Instant {
        self.started
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// The next request, and the moment from which its latency counts: with a rate
    /// the one at which it was due, so that requests which a slow answer held up
    /// show it. None when the run is over.
    async fn next(&self) -> Option<(AcquireRequest, Instant)> {
        let number = match self.how.rate {
            None => self.taken.fetch_add(1, Ordering::Relaxed),
            Some(_) => {
                self.due.acquire().await.ok()?.forget();
                self.taken.fetch_add(1, Ordering::Relaxed)
            }
        };
        if self.is_over() {
            return None;
        }
        let from = match self.how.rate {
            None => Instant::now(),
            Some(rate) => self.started + time_of(number, rate),
        };
        Some((self.asks.number(number), from))
    }

    /// Lets the requests of a rate come due, until the run is over. It is a thread's,
    /// not a task's: tasks are woken to the millisecond.
    #[allow(clippy::disallowed_methods, reason = "the thread is its own: no worker waits")]
    fn keep_pace(&self, rate: u64) {
        let mut given: u64 = 0;
        while !self.is_over() {
            let due = number_at(self.started.elapsed(), rate);
            self.due.add_permits(usize::try_from(due - given).expect("64 bits"));
            given = due;
            let next = self.started + time_of(given, rate);
            std::thread::sleep(next.saturating_duration_since(Instant::now()).min(PACE_LOOKS));
        }
    }
}

/// Puts load on servers until `over` is.
pub async fn load(
    shared: Arc<Shared>,
    clients: &[Client],
    over: impl Future<Output = ()>,
) -> Measured {
    let mut workers = JoinSet::new();
    for client in clients.iter().cycle().take(shared.how.concurrency as usize) {
        workers.spawn(work(client.clone(), Arc::clone(&shared)));
    }
    let pace = shared.how.rate.map(|rate| {
        let shared = Arc::clone(&shared);
        (rate, tokio::task::spawn_blocking(move || shared.keep_pace(rate)))
    });
    over.await;
    shared.stop.store(true, Ordering::Relaxed);
    // What is due still is what nobody was free to send.
    let unsent = shared.due.available_permits() as u64;
    shared.due.close();
    let mut tally = Tally::new();
    while let Some(worker) = workers.join_next().await {
        match worker {
            Ok(part) => tally.add(part),
            Err(error) => tally.error(format!("a worker ended: {error}")),
        }
    }
    let took = shared.started.elapsed();
    let pace = match pace {
        None => None,
        Some((rate, pace)) => {
            if let Err(error) = pace.await {
                tally.error(format!("the pace ended: {error}"));
            }
            Some(Paced { rate, unsent })
        }
    };
    Measured { tally, took, pace }
}

async fn work(client: Client, shared: Arc<Shared>) -> Tally {
    let mut tally = Tally::new();
    while let Some((request, from)) = shared.next().await {
        let answer = client.acquire(request).await;
        let took = from.elapsed();
        let failed = match answer.map(|answer| answer.outcome) {
            Ok(Some(Outcome::Permit(permit))) if permit.permit_id.is_empty() => {
                Some(Status::internal("the server answered a permit without an id"))
            }
            Ok(Some(Outcome::Permit(permit))) => {
                tally.granted(took, permit.calls);
                shared.granted.fetch_add(1, Ordering::Relaxed);
                if shared.how.release {
                    give_back(&client, permit.permit_id).await.err()
                } else {
                    None
                }
            }
            Ok(Some(Outcome::Denial(denial))) => {
                let reason = denial.reason().as_str_name();
                tally.denied(took, reason.strip_prefix(REASON).unwrap_or(reason));
                shared.denied.fetch_add(1, Ordering::Relaxed);
                None
            }
            Ok(None) => Some(Status::internal("the server answered nothing")),
            Err(status) => Some(status),
        };
        if let Some(status) = failed {
            shared.errors.fetch_add(1, Ordering::Relaxed);
            tally.error(lines_of(&status).join("; "));
            sleep(PAUSE_AFTER_ERROR).await;
        }
    }
    tally
}

/// What stands before the name of each [`DenialReason`].
const REASON: &str = "DENIAL_REASON_";

async fn give_back(client: &Client, permit_id: String) -> Result<(), Status> {
    client.release(ReleaseRequest { permit_id, unused_calls: None }).await.map(|_| ())
}

/// How many requests are due after so long: the first at once.
fn number_at(elapsed: Duration, rate: u64) -> u64 {
    let due = elapsed.as_nanos() * u128::from(rate) / 1_000_000_000;
    u64::try_from(due).unwrap_or(u64::MAX).saturating_add(1)
}

/// When the request of this number, from 0, is due after the start; rounded up.
fn time_of(number: u64, rate: u64) -> Duration {
    let nanos = (u128::from(number) * 1_000_000_000).div_ceil(u128::from(rate.max(1)));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1::DenialReason;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn every_combination_is_asked_for_in_turn() {
        let asks = Asks {
            orgs: names(&["o1", "o2", "o3"]),
            workspaces: names(&["w1", "w2"]),
            operations: names(&["a", "b"]),
            execution_users: names(&[""]),
            request: AcquireRequest { calls: 7, ..AcquireRequest::default() },
        };
        let mut seen = std::collections::BTreeMap::new();
        for number in 0..24 {
            let ask = asks.number(number);
            assert_eq!((ask.calls, ask.execution_user.as_str()), (7, ""));
            *seen.entry((ask.org, ask.workspace, ask.operation)).or_insert(0) += 1;
        }
        assert_eq!(seen.len(), 12);
        assert!(seen.values().all(|times| *times == 2), "{seen:?}");
    }

    #[test]
    fn a_request_is_due_neither_before_its_time_nor_after_it() {
        for rate in [1, 3, 7, 1_000, 999_983] {
            for number in [0, 1, 2, 1_000, 12_345_678] {
                let time = time_of(number, rate);
                assert_eq!(number_at(time, rate), number + 1, "{number} at {rate} a second");
                if let Some(before) = time.checked_sub(Duration::from_nanos(1)) {
                    assert_eq!(number_at(before, rate), number, "{number} at {rate} a second");
                }
            }
        }
    }

    #[tokio::test]
    async fn a_request_that_was_held_up_counts_from_when_it_was_due() {
        let asks = Asks {
            orgs: names(&["o"]),
            workspaces: Vec::new(),
            operations: names(&["rest"]),
            execution_users: Vec::new(),
            request: AcquireRequest::default(),
        };
        let how = How { concurrency: 1, rate: Some(10), release: false };
        let shared = Shared::new(asks, how);
        shared.due.add_permits(3);
        for number in 0..3 {
            let (_, from) = shared.next().await.expect("three are due");
            assert_eq!(from, shared.started + Duration::from_millis(100 * number));
        }
        shared.due.close();
        assert!(shared.next().await.is_none(), "no more are due");
    }

    #[test]
    fn reasons_are_named_without_their_prefix() {
        assert!(DenialReason::OrgLimit.as_str_name().starts_with(REASON));
    }
}
