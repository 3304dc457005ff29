//! What a decision costs as orgs, nodes and the rate grow: transactions of etcd for
//! 100 grants, and the nodes' processors for an Acquire.

use std::{env, sync::Arc, time::Duration};

use quotagate::proto::v1::acquire_response::Outcome;
use tokio::{
    task::{JoinSet, block_in_place},
    time::{Instant, MissedTickBehavior, interval, sleep},
};

use super::{Cluster, name};
use crate::{
    etcd::{Etcd, Which},
    node::PATIENCE,
    world::{MEMBERS, ONE_AT_A_TIME, probe, say},
};

/// What is gone through, and where `QUOTAGATE_CLUSTER_CURVES` is set.
struct Grid {
    nodes: &'static [usize],
    orgs: &'static [u64],
    /// Acquires a second, for all orgs together.
    rates: &'static [u32],
    /// How long each is measured, and before that only asked.
    time: Duration,
    warm_up: Duration,
    /// Acquires each way, where the processors are looked at.
    hops: usize,
}

const QUICK: Grid = Grid {
    nodes: &[1, 2],
    orgs: &[10],
    rates: &[50],
    time: Duration::from_secs(1),
    warm_up: Duration::from_millis(500),
    hops: 100,
};

const MEASURED: Grid = Grid {
    nodes: &[1, 3, 5],
    orgs: &[10, 100, 1_000],
    rates: &[50, 200, 1_000],
    time: Duration::from_secs(5),
    warm_up: Duration::from_secs(3),
    hops: 4_000,
};

/// Who ask: each one thing at a time.
const CALLERS: usize = 20;

/// For so long it is looked at what nodes take that nobody asks.
const IDLE: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cost_curves() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let is_measured = env::var_os("QUOTAGATE_CLUSTER_CURVES").is_some();
    let grid = if is_measured { MEASURED } else { QUICK };
    let Some(etcd) = block_in_place(|| Etcd::start(MEMBERS, Which::Any)) else { return };
    let mut cluster = Cluster::of_orgs(etcd, 15_000);
    say(
        "| nodes | orgs | Acquires a second | transactions a second | for 100 grants | waited for etcd |",
    );
    for nodes in grid.nodes {
        for number in cluster.nodes.len()..*nodes {
            cluster.start(number, number == 0).await;
        }
        cluster.is_balanced().await;
        for orgs in grid.orgs {
            let orgs: Arc<[String]> = (0..*orgs).map(name).collect();
            for rate in grid.rates {
                cluster.asked_at(&orgs, *rate, grid.warm_up).await;
                let before = cluster.counts().await;
                let took = cluster.asked_at(&orgs, *rate, grid.time).await.as_secs_f64();
                let after = cluster.counts().await;
                let [granted, reserves, waited] =
                    [0, 1, 2].map(|at| (after[at] - before[at]) as f64);
                assert!(granted > 0.0, "there is room");
                say(&format!(
                    "| {nodes} | {} | {:.0} | {:.1} | {:.2} | {:.1} % |",
                    orgs.len(),
                    granted / took,
                    reserves / took,
                    100.0 * reserves / granted,
                    100.0 * waited / granted,
                ));
            }
        }
        if *nodes > 1 {
            cluster.measures_processors(grid.hops).await;
        }
    }
    cluster.stop().await;
}

impl Cluster {
    /// Asks for all orgs in turn, at all nodes in turn, so often in a second: how
    /// long that took.
    async fn asked_at(&self, orgs: &Arc<[String]>, rate: u32, time: Duration) -> Duration {
        let start = Instant::now();
        let mut asking = JoinSet::new();
        for caller in 0..CALLERS {
            let orgs = Arc::clone(orgs);
            let doors: Vec<_> = self.nodes.values().map(|node| node.quota.clone()).collect();
            asking.spawn(async move {
                let mut ticks = interval(Duration::from_secs(CALLERS as u64) / rate);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
                for turn in (caller..).step_by(CALLERS) {
                    ticks.tick().await;
                    if start.elapsed() >= time {
                        return;
                    }
                    let (org, round) = (&orgs[turn % orgs.len()], turn / orgs.len());
                    let mut door = doors[(turn + round) % doors.len()].clone();
                    let answer = door.acquire(probe(org, PATIENCE)).await;
                    let outcome = answer.expect("there is an owner").into_inner().outcome;
                    assert!(matches!(outcome, Some(Outcome::Permit(_))), "{outcome:?}");
                }
            });
        }
        asking.join_all().await;
        start.elapsed()
    }

    /// What all nodes together take for an Acquire at its org's owner, and for one at
    /// another node.
    async fn measures_processors(&self, count: usize) {
        let orgs: Vec<_> = (0..10).map(name).collect();
        let owners = self.owners(&orgs).await;
        let (before, start) = (self.processors(), Instant::now());
        sleep(IDLE).await;
        let idle = (self.processors() - before).as_secs_f64() / start.elapsed().as_secs_f64();
        let mut took = Vec::new();
        for away in [0, 1] {
            let doors: Vec<_> = owners
                .iter()
                .map(|owner| (owner + away) % self.nodes.len())
                .map(|number| self.nodes[&number].quota.clone())
                .collect();
            let (before, start) = (self.processors(), Instant::now());
            let mut asking = JoinSet::new();
            for caller in 0..CALLERS {
                let (orgs, doors) = (orgs.clone(), doors.clone());
                asking.spawn(async move {
                    for turn in (caller..count).step_by(CALLERS) {
                        let at = turn / CALLERS % orgs.len();
                        let asked = doors[at].clone().acquire(probe(&orgs[at], PATIENCE)).await;
                        asked.expect("there is an owner");
                    }
                });
            }
            asking.join_all().await;
            let idle = idle * start.elapsed().as_secs_f64();
            let busy = (self.processors() - before).as_secs_f64() - idle;
            took.push(1e6 * busy.max(0.0) / count as f64);
        }
        say(&format!(
            "  {} nodes: {:.0} µs of processors for an Acquire at the owner, {:.0} µs through another \
             node (x {:.2}), {CALLERS} at a time",
            self.nodes.len(),
            took[0],
            took[1],
            took[1] / took[0]
        ));
    }

    /// What the processes of all nodes have taken.
    fn processors(&self) -> Duration {
        self.nodes.values().map(crate::node::Node::processors).sum()
    }
}
