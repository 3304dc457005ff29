//! What the cluster says of itself: `GetCluster`, each node's metrics, and the
//! usage of the orgs, read several times a second.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    task::{AbortHandle, JoinSet},
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use super::{
    board::{Board, NodeState},
    fleet::{Door, Doors, within},
    process::get,
    world::{LIMIT_NAME, NODES, ORGS},
};
use crate::proto::{
    admin::v1::{GetClusterRequest, GetClusterResponse},
    v1::{GetUsageRequest, OrgUsage},
};

/// The cluster as it was read.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// When the reading of who owns what began.
    pub(super) read_at: Instant,
    /// The owner of each shard, as the node knows it whose session lasts
    /// longest.
    pub(super) owners: Vec<Option<usize>>,
    pub(super) nodes: [NodeFacts; NODES.len()],
    /// `None` while nobody can say.
    pub(super) orgs: [Option<OrgFacts>; ORGS.len()],
}

/// What one node says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NodeFacts {
    /// It answered, a moment ago.
    pub(super) answers: bool,
    /// How long its session lasts unless it is renewed.
    pub(super) session_left: Option<Duration>,
    /// Shards that it decides for.
    pub(super) serves: u64,
    /// Acquires decided here, a second.
    pub(super) decided_rate: f64,
    /// Requests forwarded, a second.
    pub(super) forwarded_rate: f64,
    /// Promises of the protocol that it saw broken.
    pub(super) violations: u64,
}

/// One org's limit, in units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct OrgFacts {
    pub(super) used: u64,
    pub(super) held: u64,
    pub(super) max: u64,
}

impl NodeFacts {
    /// It grants: it has a session, and shards that it took in this session.
    pub(super) fn is_serving(&self) -> bool {
        self.serves > 0 && self.session_left.is_some_and(|left| !left.is_zero())
    }
}

impl Facts {
    /// Every shard is owned, by a node that is one of these.
    pub(super) fn all_owned_by(&self, may_own: impl Fn(usize) -> bool) -> bool {
        !self.owners.is_empty() && self.owners.iter().all(|owner| owner.is_some_and(&may_own))
    }

    /// How many shards a node owns.
    pub(super) fn owned(&self, node: usize) -> usize {
        self.owners.iter().filter(|owner| **owner == Some(node)).count()
    }
}

/// Reads the cluster until it is dropped.
#[derive(Debug)]
pub(super) struct Observer {
    facts: Arc<Mutex<Facts>>,
    task: AbortHandle,
}

/// How often it reads.
const TICK: Duration = Duration::from_millis(200);

/// Every so many readings the metrics and the orgs are read as well.
const SLOWER: u32 = 3;

/// An answer that takes longer is none.
const PATIENCE: Duration = Duration::from_millis(500);

impl Observer {
    pub(super) fn start(doors: &Arc<Doors>, board: &Arc<Board>) -> Self {
        let facts = Facts {
            read_at: Instant::now(),
            owners: Vec::new(),
            nodes: Default::default(),
            orgs: Default::default(),
        };
        let facts = Arc::new(Mutex::new(facts));
        let reader = Reader {
            doors: Arc::clone(doors),
            board: Arc::clone(board),
            facts: Arc::clone(&facts),
            http: Client::builder(TokioExecutor::new()).build_http(),
            counters: Default::default(),
        };
        let task = tokio::spawn(reader.run()).abort_handle();
        Self { facts, task }
    }

    /// The last reading.
    pub(super) fn facts(&self) -> Facts {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Facts> {
        lock(&self.facts)
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The units that an org has set aside and unspent, as any of the nodes says
/// that is not left out.
pub(super) async fn held(doors: &Doors, org: &str) -> Option<u64> {
    Some(facts_of(&usage(doors.next()?.1, org).await?)?.held)
}

struct Reader {
    doors: Arc<Doors>,
    board: Arc<Board>,
    facts: Arc<Mutex<Facts>>,
    http: Client<HttpConnector, Empty<Bytes>>,
    counters: [Counters; NODES.len()],
}

/// A node's counters, when they were read last.
#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    at: Option<Instant>,
    decided: f64,
    forwarded: f64,
}

impl Reader {
    async fn run(mut self) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for turn in 0_u32.. {
            ticks.tick().await;
            let states = self.board.nodes();
            let running: Vec<(usize, Door)> = (0..NODES.len())
                .filter(|node| states[*node] == NodeState::Alive)
                .filter_map(|node| Some((node, self.doors.get(node)?)))
                .collect();
            for (node, state) in states.into_iter().enumerate() {
                if state != NodeState::Alive {
                    lock(&self.facts).nodes[node] = NodeFacts::default();
                    self.counters[node] = Counters::default();
                }
            }
            self.read_clusters(&running).await;
            if turn.is_multiple_of(SLOWER) {
                tokio::join!(
                    read_orgs(&self.doors, &self.facts),
                    read_metrics(&self.http, &running, &self.facts, &mut self.counters),
                );
            }
        }
    }

    async fn read_clusters(&self, running: &[(usize, Door)]) {
        let read_at = Instant::now();
        let mut answers = JoinSet::new();
        for (node, door) in running.iter().cloned() {
            answers.spawn(async move { (node, cluster(door).await) });
        }
        let mut best: Option<(Duration, GetClusterResponse)> = None;
        while let Some(answer) = answers.join_next().await {
            let Ok((node, answer)) = answer else { continue };
            let mut facts = lock(&self.facts);
            let facts = &mut facts.nodes[node];
            facts.answers = answer.is_some();
            let Some(answer) = answer else { continue };
            let own = answer.nodes.iter().find(|other| other.name == NODES[node]);
            let left = own.and_then(|own| own.session_left);
            facts.session_left = left.and_then(|left| Duration::try_from(left).ok());
            let left = facts.session_left.unwrap_or_default();
            if best.as_ref().is_none_or(|(most, _)| left > *most) {
                best = Some((left, answer));
            }
        }
        if let Some((_, answer)) = best {
            let mut owners = vec![None; answer.shards as usize];
            for owner in answer.owners {
                let node = NODES.iter().position(|name| *name == owner.node);
                if let Some(shard) = owners.get_mut(owner.shard as usize) {
                    *shard = node;
                }
            }
            let mut facts = lock(&self.facts);
            (facts.read_at, facts.owners) = (read_at, owners);
        }
    }
}

async fn cluster(mut door: Door) -> Option<GetClusterResponse> {
    let answer = door.admin.get_cluster(within(PATIENCE, GetClusterRequest {}));
    Some(timeout(PATIENCE, answer).await.ok()?.ok()?.into_inner())
}

async fn usage(mut door: Door, org: &str) -> Option<OrgUsage> {
    let request = GetUsageRequest { org: org.to_owned() };
    let answer = timeout(PATIENCE, door.quota.get_usage(within(PATIENCE, request))).await;
    answer.ok()?.ok()?.into_inner().usage
}

/// The demo's limit, of an org's one user.
fn facts_of(usage: &OrgUsage) -> Option<OrgFacts> {
    let limits = &usage.execution_users.first()?.limits;
    let limit = limits.iter().find(|limit| limit.name == LIMIT_NAME)?;
    let used = limit.used_by_caller + limit.used_by_others;
    Some(OrgFacts { used, held: limit.held, max: limit.max })
}

async fn read_orgs(doors: &Doors, facts: &Mutex<Facts>) {
    let mut answers = JoinSet::new();
    for (index, org) in ORGS.into_iter().enumerate() {
        let Some((_, door)) = doors.next() else { return };
        answers.spawn(async move { (index, usage(door, org.name).await) });
    }
    while let Some(answer) = answers.join_next().await {
        let Ok((org, usage)) = answer else { continue };
        lock(facts).orgs[org] = usage.as_ref().and_then(facts_of);
    }
}

async fn read_metrics(
    http: &Client<HttpConnector, Empty<Bytes>>,
    running: &[(usize, Door)],
    facts: &Mutex<Facts>,
    counters: &mut [Counters; NODES.len()],
) {
    for (node, door) in running {
        let now = Instant::now();
        let Some(page) = get(http, door.http, "/metrics").await else { continue };
        let sums = sums(&page);
        let sum = |name: &str| sums.get(name).copied().unwrap_or_default();
        let before = counters[*node];
        let after = Counters {
            at: Some(now),
            decided: sum("quotagate_decisions_total"),
            forwarded: sum("quotagate_forwarded_total{outcome=\"answered\"}"),
        };
        counters[*node] = after;
        let mut facts = lock(facts);
        let facts = &mut facts.nodes[*node];
        facts.serves = sum("quotagate_owned_shards") as u64;
        facts.violations = sum("quotagate_invariant_violations_total") as u64;
        if let Some(at) = before.at {
            let seconds = (now - at).as_secs_f64().max(0.001);
            let rate = |before: f64, after: f64| (after - before).max(0.0) / seconds;
            // Half of what was shown before: figures that can be read.
            let smooth = |shown: f64, rate: f64| (shown + rate) / 2.0;
            facts.decided_rate = smooth(facts.decided_rate, rate(before.decided, after.decided));
            facts.forwarded_rate =
                smooth(facts.forwarded_rate, rate(before.forwarded, after.forwarded));
        }
    }
}

/// The metrics of a page by name, summed over their labels, and each by itself.
fn sums(page: &str) -> BTreeMap<&str, f64> {
    let mut sums = BTreeMap::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, value)) = line.rsplit_once(' ') else { continue };
        let name = series.split_once('{').map_or(series, |(name, _)| name);
        if let Ok(value) = value.parse::<f64>() {
            *sums.entry(name).or_default() += value;
            if name != series {
                sums.insert(series, value);
            }
        }
    }
    sums
}

/// What panicked while it held this has changed a figure at most.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed_over_their_labels() {
        let page = "# HELP quotagate_x_total y\nquotagate_x_total{a=\"1 2\"} 3\n\
                    quotagate_x_total{a=\"2\"} 4\nquotagate_y 256\nno number\n# EOF\n";
        let sums = sums(page);
        assert_eq!(sums.get("quotagate_x_total"), Some(&7.0));
        assert_eq!(sums.get("quotagate_x_total{a=\"2\"}"), Some(&4.0));
        assert_eq!(sums.get("quotagate_y"), Some(&256.0));
        assert_eq!(sums.len(), 4);
    }
}
