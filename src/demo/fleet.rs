//! The callers: pods that want calls, ask at a gate, and make them.

use std::{
    collections::VecDeque,
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use http_body_util::{BodyExt as _, Empty};
use hyper::{Method, Request, body::Bytes};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout_at},
};
use tonic::transport::{Channel, Endpoint};

use super::world::{Demand, ENTRIES_PER_MINUTE, MINUTE, World};
use crate::{
    proto::v1::{
        AcquireRequest, ReportRequest, TrafficClass, acquire_response::Outcome,
        quota_service_client::QuotaServiceClient,
    },
    quota::{Class, ClassPolicy},
    standin::{
        Latency,
        options::{GET_ENTRIES, Jitter},
    },
};

/// A fleet at work. It stops when it is dropped.
#[derive(Debug)]
pub struct Fleet {
    /// What has become of its calls.
    pub tally: Arc<Tally>,
    pods: JoinSet<()>,
}

/// How a fleet keeps to the limits.
#[derive(Clone, Debug)]
pub enum Coordination {
    /// Every pod asks quotagate, at this address.
    Quotagate(SocketAddr),
    /// Every pod counts what it does itself, exactly, and knows of nobody else.
    EachAlone,
}

impl Fleet {
    /// Starts the pods.
    ///
    /// # Errors
    /// The service cannot be reached.
    pub async fn start(
        world: Arc<World>,
        coordination: Coordination,
        salesforce_url: &str,
    ) -> anyhow::Result<Self> {
        let tally = Arc::new(Tally::new(&world));
        let mut pods = JoinSet::new();
        for pod in 0..world.pods {
            let gate = match coordination {
                Coordination::Quotagate(addr) => {
                    let channel =
                        Endpoint::from_shared(format!("http://{addr}"))?.connect().await?;
                    Gate::Quotagate(QuotaServiceClient::new(channel))
                }
                Coordination::EachAlone => Gate::Alone(Arc::new(Mutex::new(OwnCount::new(&world)))),
            };
            let caller = Arc::new(Caller {
                world: world.clone(),
                tally: tally.clone(),
                gate,
                salesforce: Salesforce::at(salesforce_url),
            });
            for (index, demand) in world.demands.iter().enumerate() {
                // The same seeds in both fleets: they want the same calls at
                // the same moments.
                let seed = u64::from(pod) << 32 | index as u64;
                pods.spawn(want(caller.clone(), *demand, seed));
            }
        }
        Ok(Self { tally, pods })
    }

    /// Stops all callers.
    pub async fn stop(mut self) {
        self.pods.shutdown().await;
    }
}

/// What has become of a fleet's calls.
#[derive(Debug)]
pub struct Tally {
    classes: [ClassTally; Class::ALL.len()],
    answered_by_workspace: Vec<AtomicU64>,
    faults: AtomicU64,
    first_fault: OnceLock<String>,
}

/// The calls of one class.
#[derive(Debug, Default)]
pub struct ClassTally {
    /// Wanted.
    pub asked: AtomicU64,
    /// Answered by Salesforce.
    pub answered: AtomicU64,
    /// Not sent: the gate said no for as long as anybody waited.
    pub put_off: AtomicU64,
    /// Sent, refused by Salesforce, and given up.
    pub failed: AtomicU64,
}

impl Tally {
    fn new(world: &World) -> Self {
        Self {
            classes: Default::default(),
            answered_by_workspace: world.workspaces.iter().map(|_| AtomicU64::new(0)).collect(),
            faults: AtomicU64::new(0),
            first_fault: OnceLock::new(),
        }
    }

    /// The calls of a class.
    #[must_use]
    pub fn class(&self, class: Class) -> &ClassTally {
        // `Class::ALL` is in the order of the declaration.
        &self.classes[class as usize]
    }

    /// Calls that were answered for a workspace, by its index.
    #[must_use]
    pub fn answered_for(&self, workspace: usize) -> u64 {
        self.answered_by_workspace[workspace].load(Relaxed)
    }

    /// Requests to the service or to Salesforce that broke.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.faults.load(Relaxed)
    }

    /// What broke first, if anything did.
    #[must_use]
    pub fn first_fault(&self) -> Option<&str> {
        self.first_fault.get().map(String::as_str)
    }

    fn fault(&self, doing: &str, error: &dyn fmt::Display) {
        self.faults.fetch_add(1, Relaxed);
        self.first_fault.get_or_init(|| format!("{doing}: {error}"));
    }
}

/// Wants calls at a steady rate, for ever.
async fn want(caller: Arc<Caller>, demand: Demand, seed: u64) {
    let per_pod = demand.per_minute / f64::from(caller.world.pods);
    let mean = caller.world.real(MINUTE.div_f64(per_pod));
    let mut jitter = Jitter::new(seed);
    let mut next = Instant::now() + jitter.draw(Latency { min: Duration::ZERO, max: mean });
    let mut calls = JoinSet::new();
    loop {
        sleep_until(next).await;
        next += jitter.draw(Latency { min: mean / 2, max: mean * 3 / 2 });
        // Bounded: a call ends when its patience does.
        calls.spawn(call(caller.clone(), demand));
        while calls.try_join_next().is_some() {}
    }
}

/// Wants one call, and makes it if it can within its patience.
async fn call(caller: Arc<Caller>, demand: Demand) {
    let tally = caller.tally.class(demand.class);
    tally.asked.fetch_add(1, Relaxed);
    let deadline = Instant::now() + caller.world.real(demand.patience);
    let mut pause = caller.world.real(Duration::from_secs(2));
    let mut refused = false;
    while let Some(pass) = caller.gate.ask(&caller.world, &demand, deadline, &caller.tally).await {
        if pass.good_until.is_some_and(|end| Instant::now() >= end) {
            // It came too late to be used; the service counts it as used.
            continue;
        }
        let (org, operation) = (caller.world.org.as_str(), demand.operation());
        let answer = match caller.salesforce.call(org, &pass.user, operation).await {
            Ok(answer) => answer,
            Err(error) => {
                caller.tally.fault("calling Salesforce", &format_args!("{error:#}"));
                break;
            }
        };
        let answered = answer.status < 400;
        caller.gate.tell(&demand, pass, answer, &caller.tally).await;
        if answered {
            tally.answered.fetch_add(1, Relaxed);
            caller.tally.answered_by_workspace[demand.workspace].fetch_add(1, Relaxed);
            return;
        }
        // What everybody does without anybody to ask: try again, later and later.
        refused = true;
        if Instant::now() + pause >= deadline {
            break;
        }
        sleep(pause).await;
        pause *= 2;
    }
    let given_up = if refused { &tally.failed } else { &tally.put_off };
    given_up.fetch_add(1, Relaxed);
}

/// What a pod has.
struct Caller {
    world: Arc<World>,
    tally: Arc<Tally>,
    gate: Gate,
    salesforce: Salesforce,
}

/// Whom a pod asks before it calls.
enum Gate {
    Quotagate(QuotaServiceClient<Channel>),
    Alone(Arc<Mutex<OwnCount>>),
}

/// The right to make one call.
struct Pass {
    user: String,
    /// No call may start after it.
    good_until: Option<Instant>,
    permit_id: String,
}

impl Gate {
    /// Waits for the right to make one call, until `deadline` at most.
    async fn ask(
        &self,
        world: &World,
        demand: &Demand,
        deadline: Instant,
        tally: &Tally,
    ) -> Option<Pass> {
        match self {
            Self::Quotagate(client) => {
                let sent = Instant::now();
                let max_wait = deadline.saturating_duration_since(sent);
                let request = AcquireRequest {
                    org: world.org.to_string(),
                    workspace: world.workspaces[demand.workspace].id.to_string(),
                    operation: demand.operation().to_owned(),
                    traffic_class: traffic_class(demand.class).into(),
                    max_wait: prost_types::Duration::try_from(max_wait).ok(),
                    ..AcquireRequest::default()
                };
                // The service answers by then; a little more is for the way.
                let answered =
                    timeout_at(deadline + Duration::from_secs(5), client.clone().acquire(request))
                        .await;
                let response = match answered {
                    Ok(Ok(response)) => response.into_inner(),
                    Ok(Err(status)) => {
                        tally.fault("Acquire", &status);
                        return None;
                    }
                    Err(late) => {
                        tally.fault("Acquire", &late);
                        return None;
                    }
                };
                match response.outcome {
                    Some(Outcome::Permit(permit)) => {
                        let ttl = permit.ttl.and_then(|ttl| Duration::try_from(ttl).ok());
                        // Where the operation needs no user, any will do.
                        let user = match permit.execution_user {
                            user if user.is_empty() => world.users[0].to_string(),
                            user => user,
                        };
                        let good_until = Some(sent + ttl.unwrap_or_default());
                        Some(Pass { user, good_until, permit_id: permit.permit_id })
                    }
                    Some(Outcome::Denial(_)) | None => None,
                }
            }
            Self::Alone(count) => loop {
                let now = Instant::now();
                let taken =
                    count.lock().unwrap_or_else(PoisonError::into_inner).take(now, world, demand);
                match taken {
                    Ok(user) => {
                        let user = world.users[user].to_string();
                        return Some(Pass { user, good_until: None, permit_id: String::new() });
                    }
                    Err(Some(room_at)) if room_at < deadline => sleep_until(room_at).await,
                    Err(_) => return None,
                }
            },
        }
    }

    /// Tells what Salesforce answered.
    async fn tell(&self, demand: &Demand, pass: Pass, answer: Answer, tally: &Tally) {
        let client = match self {
            Self::Quotagate(client) => client,
            Self::Alone(count) => {
                if answer.status >= 400 {
                    count.lock().unwrap_or_else(PoisonError::into_inner).take_back(demand);
                }
                return;
            }
        };
        let report = answer.report(pass.permit_id);
        if let Err(status) = client.clone().report(report).await {
            tally.fault("Report", &status);
        }
    }
}

const fn traffic_class(class: Class) -> TrafficClass {
    match class {
        Class::Control => TrafficClass::Control,
        Class::Interactive => TrafficClass::Interactive,
        Class::Event => TrafficClass::Event,
        Class::Bulk => TrafficClass::Bulk,
    }
}

/// What a pod that asks nobody knows: its own calls. The count is exact, and
/// the caps are kept; it is only not the whole count.
struct OwnCount {
    calls_by_user: Vec<VecDeque<Instant>>,
    used_by_workspace: Vec<u64>,
}

impl OwnCount {
    fn new(world: &World) -> Self {
        Self {
            calls_by_user: world.users.iter().map(|_| VecDeque::new()).collect(),
            used_by_workspace: vec![0; world.workspaces.len()],
        }
    }

    /// The user to call as; or when to ask again, `None` if never.
    fn take(
        &mut self,
        now: Instant,
        world: &World,
        demand: &Demand,
    ) -> Result<usize, Option<Instant>> {
        let used = &mut self.used_by_workspace[demand.workspace];
        let pause_point = world.workspaces[demand.workspace]
            .cap()
            .zip(ClassPolicy::default().of(demand.class))
            .map(|(cap, thresholds)| thresholds.pause_point(cap));
        if pause_point.is_some_and(|pause_point| *used >= pause_point) {
            return Err(None);
        }
        if demand.operation() != GET_ENTRIES {
            *used += 1;
            return Ok(0);
        }
        let window = world.real(MINUTE);
        for calls in &mut self.calls_by_user {
            while calls.front().is_some_and(|call| *call + window <= now) {
                calls.pop_front();
            }
        }
        let least_used = (0..self.calls_by_user.len())
            .min_by_key(|user| self.calls_by_user[*user].len())
            .ok_or(None)?;
        let calls = &mut self.calls_by_user[least_used];
        if calls.len() as u64 >= ENTRIES_PER_MINUTE {
            return Err(calls.front().map(|first| *first + window));
        }
        calls.push_back(now);
        *used += 1;
        Ok(least_used)
    }

    /// A call that Salesforce refused is none of the workspace's.
    fn take_back(&mut self, demand: &Demand) {
        self.used_by_workspace[demand.workspace] -= 1;
    }
}

/// How a caller reaches Salesforce.
pub(super) struct Salesforce {
    client: Client<HttpConnector, Empty<Bytes>>,
    url: String,
}

/// What Salesforce said.
pub(super) struct Answer {
    at: Instant,
    /// When Salesforce says that it answered.
    date: Option<SystemTime>,
    pub(super) status: u16,
    limit_info: Vec<String>,
    error_code: String,
    error_message: String,
}

impl Salesforce {
    pub(super) fn at(url: &str) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { client, url: url.to_owned() }
    }

    /// Makes a call as this user of an org.
    pub(super) async fn call(
        &self,
        org: &str,
        user: &str,
        operation: &str,
    ) -> anyhow::Result<Answer> {
        let path = match operation {
            GET_ENTRIES => "/services/data/v66.0/conversation-entries",
            _ => "/services/data/v66.0/sobjects/Account/describe",
        };
        let request = Request::builder()
            .method(Method::GET)
            .uri(format!("{}{path}", self.url))
            .header("authorization", format!("Bearer {org}!{user}"))
            .body(Empty::new())?;
        let (parts, body) = self.client.request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        let date = parts.headers.get("date").and_then(|date| date.to_str().ok());
        let limit_info = parts.headers.get_all("sforce-limit-info").into_iter();
        let limit_info = limit_info.filter_map(|value| value.to_str().ok().map(str::to_owned));
        let error: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        let text = |field| error[0][field].as_str().unwrap_or_default().to_owned();
        Ok(Answer {
            at: Instant::now(),
            date: date.and_then(|date| httpdate::parse_http_date(date).ok()),
            status: parts.status.as_u16(),
            limit_info: limit_info.collect(),
            error_code: text("errorCode"),
            error_message: text("message"),
        })
    }
}

impl Answer {
    /// What is told of it to the service that gave this permit.
    pub(super) fn report(self, permit_id: String) -> ReportRequest {
        ReportRequest {
            permit_id,
            http_status: self.status.into(),
            error_code: self.error_code,
            error_message: self.error_message,
            limit_info: self.limit_info,
            answer_time: self.date.map(prost_types::Timestamp::from),
            completed_ago: prost_types::Duration::try_from(self.at.elapsed()).ok(),
            ..ReportRequest::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::world::Workspace, *};

    fn demand(class: Class) -> Demand {
        Demand { workspace: 0, class, per_minute: 1.0, patience: MINUTE }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_alone_keeps_every_limit_as_far_as_it_knows() {
        let mut world = World::new(1, 1.0, MINUTE).unwrap();
        world.workspaces[0] = Workspace::new(world.workspaces[0].id.clone(), None);
        let mut count = OwnCount::new(&world);
        let start = Instant::now();
        let mut take = |after_s| {
            let now = start + Duration::from_secs(after_s);
            count.take(now, &world, &demand(Class::Bulk))
        };
        let users: Vec<_> = (0..180).map(|_| take(0)).collect();
        assert_eq!(users.iter().filter(|user| **user == Ok(0)).count(), 90);
        assert_eq!(users.iter().filter(|user| **user == Ok(1)).count(), 90);
        assert_eq!(take(59), Err(Some(start + MINUTE)));
        assert_eq!(take(60), Ok(0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_alone_pauses_bulk_before_events_and_events_before_people() {
        let mut world = World::new(1, 1.0, MINUTE).unwrap();
        world.workspaces[0] = Workspace::new(world.workspaces[0].id.clone(), Some(10));
        let mut count = OwnCount::new(&world);
        let now = Instant::now();
        for (class, granted) in [
            (Class::Bulk, 4),
            (Class::Event, 4),
            (Class::Interactive, 2),
            (Class::Bulk, 0),
            (Class::Control, 12),
        ] {
            let tries = (0..12).filter(|_| count.take(now, &world, &demand(class)).is_ok());
            assert_eq!(tries.count(), granted, "{class:?}");
        }
    }
}
