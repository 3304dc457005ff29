//! Very many orgs, of which few are active: how long a start, a rebalancing and a
//! takeover last, and how much is written meanwhile; what a hop costs; and how
//! seldom orgs that are below their limits need etcd. `curves` shows how that grows.

mod curves;

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use quotagate::{
    cluster::placement::ranked,
    proto::v1::acquire_response::Outcome,
    quota::OrgId,
    store::{
        EtcdOptions, EtcdStore, Key, Record as _, Shard, Store as _, Txn, Write,
        records::OrgConfigRecord, shard_of,
    },
};
use tempfile::TempDir;
use tokio::{
    task::{JoinSet, block_in_place},
    time::{Instant, MissedTickBehavior, interval, sleep},
};

use crate::{
    etcd::{Etcd, Which},
    limits, loopback,
    node::{Node, PATIENCE, Plan, tail},
    world::{MEMBERS, NODES, ONE_AT_A_TIME, PREFIX, answered_at, lease, probe, say, setting},
};

/// Orgs, unless `QUOTAGATE_CLUSTER_ORGS` says otherwise.
const ORGS: u64 = 300;

/// One org of so many is active, and not more than [`MOST_ACTIVE`].
const ONE_ACTIVE_OF: u64 = 10;
const MOST_ACTIVE: u64 = 1_000;

/// Operations of one transaction: etcd takes 128.
const WRITES_AT_ONCE: usize = 120;

/// Transactions that write declarations at the same time.
const WRITERS: usize = 8;

/// How often a hop is timed: the second where that is the aim.
const HOPS: [usize; 2] = [200, 3_000];

/// Hops before those, which are not timed.
const FIRST_HOPS: usize = 200;

/// Orgs that are asked steadily, how often each, and for how long: the second
/// where that is the aim.
const STEADY: usize = 3;
const PER_SECOND: u32 = 120;
const STEADY_FOR: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(30)];

/// Before that they are asked for as long.
const WARM_UP: Duration = Duration::from_secs(1);

/// An hour's limit is set aside for 10 s. When nothing was written for longer than
/// that, nothing will be.
const QUIET: Duration = Duration::from_secs(12);

/// Nobody measures closer than this.
const LOOK: Duration = Duration::from_millis(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_orgs_of_which_few_are_active() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let configured = setting("QUOTAGATE_CLUSTER_ORGS", ORGS);
    // Balance comes after a quiet time, which is only waited for where it is the
    // aim to measure.
    let is_measured = env::var_os("QUOTAGATE_CLUSTER_ORGS").is_some();
    let active: Vec<_> = (0..(configured / ONE_ACTIVE_OF).min(MOST_ACTIVE)).map(name).collect();
    let Some(etcd) = block_in_place(|| Etcd::start(MEMBERS, Which::Any)) else { return };
    let begin = Instant::now();
    declare(&etcd, configured).await;
    say(&format!(
        "{configured} orgs are declared in etcd after {:.1?}; {} of them will be active",
        begin.elapsed(),
        active.len()
    ));
    let declared = revision(&etcd).await;

    let mut cluster = Cluster::new(etcd);
    let since = Instant::now();
    cluster.start(0, true).await;
    cluster.is_balanced().await;
    say(&format!("  the first node owns every shard after {:.2?}", since.elapsed()));
    let since = Instant::now();
    cluster.start(1, false).await;
    cluster.start(2, false).await;
    say(&format!("  two more listen after {:.2?}", since.elapsed()));
    if is_measured {
        cluster.is_balanced().await;
        say(&format!("  and have their share after {:.2?}", since.elapsed()));
    }

    let (since, before) = (Instant::now(), revision(&cluster.etcd).await);
    cluster.answered(&active, since).await;
    let written = revision(&cluster.etcd).await - before;
    say(&format!(
        "  every active org is decided after {:.2?}, with {written} writes",
        since.elapsed()
    ));

    let victim = cluster.owner_of_most(&active).await;
    let orphans: Vec<_> = cluster.orgs_of(victim, &active).await;
    let since = Instant::now();
    cluster.kill(victim).await;
    let mut took = cluster.answered(&orphans, since).await;
    took.sort_unstable();
    say(&format!(
        "  kill -9 of the owner of {} active orgs: answered again, median {:.2?}, worst {:.2?} \
         (lease {:?})",
        orphans.len(),
        took[took.len() / 2],
        took[took.len() - 1],
        lease()
    ));
    cluster.is_balanced().await;
    say(&format!("  every shard has an owner after {:.2?}", since.elapsed()));
    if is_measured {
        let since = Instant::now();
        cluster.start(victim, false).await;
        say(&format!("  it listens again after {:.2?}", since.elapsed()));
        cluster.is_balanced().await;
        say(&format!("  and has its share after {:.2?}", since.elapsed()));
    }
    cluster.answered(&active, Instant::now()).await;

    let survivor = cluster.nodes.values().next().expect("two of three run");
    let (bytes, took) = survivor.scrape().await;
    say(&format!("  a scrape of a node: {} KiB in {took:.2?}", bytes >> 10));
    cluster.measures_a_hop(&active, HOPS[usize::from(is_measured)]).await;
    let steady = &active[..STEADY.min(active.len())];
    if is_measured {
        // The blocks of the others end, each with a transaction.
        cluster.is_quiet().await;
    }
    let [granted, reserves] =
        cluster.measures_steady_orgs(steady, STEADY_FOR[usize::from(is_measured)]).await;
    if is_measured {
        assert!(reserves * 100 < granted, "less than one transaction for 100 grants");
    }
    cluster.stop().await;
    let written = revision(&cluster.etcd).await - declared;
    say(&format!("  {written} writes in all after the declarations"));
    let counted = counted(&cluster.etcd).await;
    assert!(!counted.is_empty(), "those who were asked have records");
    let idle: Vec<_> = counted.iter().filter(|org| !active.contains(org)).collect();
    assert!(idle.is_empty(), "orgs that nobody asked for have records: {idle:?}");
}

/// Nodes over an etcd.
pub struct Cluster {
    pub etcd: Etcd,
    /// Nodes are started with `--cold-start closed`.
    pub starts_closed: bool,
    nodes: BTreeMap<usize, Node>,
    home: TempDir,
}

impl Cluster {
    pub fn new(etcd: Etcd) -> Self {
        // The template's total does not matter: the orgs are declared.
        Self::of_orgs(etcd, 15_000)
    }

    /// The same, where orgs that nobody declares have so many calls in 24 hours.
    pub fn of_orgs(etcd: Etcd, daily_calls: u64) -> Self {
        let home = TempDir::new().expect("a place for temporary files");
        std::fs::write(config(home.path()), limits::config(daily_calls)).expect("it is writable");
        Self { etcd, starts_closed: false, nodes: BTreeMap::new(), home }
    }

    pub async fn start(&mut self, number: usize, creates_cluster: bool) {
        let name = format!("node-{number}");
        let home = self.home.path();
        let plan = Plan {
            program: None,
            store: self.etcd.store_address(PREFIX),
            config: config(home),
            address: loopback::own(),
            advertise: None,
            lease: lease(),
            starts_closed: self.starts_closed,
            clock_offset: home.join(format!("{name}.clock")),
            log: home.join(format!("{name}.log")),
            name,
        };
        self.nodes.insert(number, Node::start(plan, creates_cluster).await);
    }

    /// A node that runs.
    pub fn node(&self, number: usize) -> &Node {
        &self.nodes[&number]
    }

    async fn kill(&mut self, number: usize) {
        self.nodes.remove(&number).expect("it runs").kill().await;
    }

    /// Every node ends in order.
    pub async fn stop(&mut self) {
        for (_, node) in std::mem::take(&mut self.nodes) {
            node.stop().await;
        }
    }

    /// Waits until all nodes see every shard owned by the one that ought to.
    pub async fn is_balanced(&self) {
        let names: Vec<_> = self.nodes.values().map(|node| node.plan.name.as_str()).collect();
        for node in self.nodes.values() {
            let start = Instant::now();
            loop {
                let owners = node.owners().await;
                let is_placed = |shard: &Shard| {
                    let owner = owners.get(&u32::from(shard.number()));
                    owner.map(String::as_str)
                        == ranked(*shard, names.iter().copied()).first().copied()
                };
                if Shard::all().all(|shard| is_placed(&shard)) {
                    break;
                }
                assert!(start.elapsed() < PATIENCE, "{}", tail(&node.plan.log));
                sleep(LOOK).await;
            }
        }
    }

    /// Waits until somebody decides for each of the orgs: how long that took.
    async fn answered(&self, orgs: &[String], since: Instant) -> Vec<Duration> {
        let doors: Vec<_> = self.nodes.values().map(|node| node.quota.clone()).collect();
        answered_at(&doors, orgs, since).await
    }

    /// Who owns each of the orgs.
    async fn owners(&self, orgs: &[String]) -> Vec<usize> {
        let owners = self.nodes.values().next().expect("one runs").owners().await;
        let owner = |org: &String| {
            let name = &owners[&u32::from(shard(org).number())];
            let mut nodes = self.nodes.iter();
            nodes.find(|(_, node)| node.plan.name == *name).map(|(number, _)| *number)
        };
        orgs.iter().map(|org| owner(org).expect("a node that runs")).collect()
    }

    async fn orgs_of(&self, number: usize, orgs: &[String]) -> Vec<String> {
        let owners = self.owners(orgs).await;
        let owned = orgs.iter().zip(owners).filter(|(_, owner)| *owner == number);
        owned.map(|(org, _)| org.clone()).collect()
    }

    async fn owner_of_most(&self, orgs: &[String]) -> usize {
        let owners = self.owners(orgs).await;
        let owned = |number: &usize| owners.iter().filter(|owner| *owner == number).count();
        (0..NODES).max_by_key(owned).expect("there are nodes")
    }

    /// Asks at each org's owner and at another node in turn, one at a time.
    async fn measures_a_hop(&self, orgs: &[String], hops: usize) {
        let owners = self.owners(orgs).await;
        let forwarded_before = self.counted("quotagate_forwarded_total").await;
        let (mut direct, mut forwarded) = (Vec::new(), Vec::new());
        for (turn, (org, owner)) in
            orgs.iter().zip(owners).cycle().take(FIRST_HOPS + hops).enumerate()
        {
            let others = self.nodes.keys().copied().filter(|number| *number != owner);
            let other = others.cycle().nth(turn % NODES).expect("there is another");
            // Neither comes first each time: the second finds caches warm.
            let doors = if turn % 2 == 0 { [owner, other] } else { [other, owner] };
            for door in doors {
                let mut quota = self.nodes[&door].quota.clone();
                let sent = Instant::now();
                quota.acquire(probe(org, PATIENCE)).await.expect("there is an owner");
                let took = sent.elapsed();
                if turn >= FIRST_HOPS {
                    let times = if door == owner { &mut direct } else { &mut forwarded };
                    times.push(took);
                }
            }
        }
        let sent_on = self.counted("quotagate_forwarded_total").await - forwarded_before;
        say(&format!(
            "  {} Acquires at a node that is not the owner: {sent_on} sent on",
            FIRST_HOPS + hops
        ));
        let mut text = format!("  {hops} Acquires each way, one at a time:");
        for (name, of_hundred) in [("p50", 50), ("p90", 90), ("p99", 99)] {
            let [direct, forwarded] = [&mut direct, &mut forwarded].map(|times| {
                times.sort_unstable();
                times[times.len() * of_hundred / 100]
            });
            let ratio = forwarded.as_secs_f64() / direct.as_secs_f64();
            let _ = write!(
                text,
                " {name} {direct:.2?} at the owner, {forwarded:.2?} through another node (x \
                 {ratio:.2});"
            );
        }
        say(text.trim_end_matches(';'));
    }

    /// Asks for a few orgs steadily, far below their limits: how seldom etcd is
    /// needed, and whether anybody waits for it. Returns grants and transactions.
    async fn measures_steady_orgs(&self, orgs: &[String], time: Duration) -> [u64; 2] {
        // The very first has to wait until something is set aside.
        self.asks_steadily(orgs, WARM_UP).await;
        let (start, begun) = (Instant::now(), self.counts().await);
        self.asks_steadily(orgs, time).await;
        let (took, ended) = (start.elapsed(), self.counts().await);
        let [granted, reserves, waited] = [0, 1, 2].map(|at: usize| ended[at] - begun[at]);
        let rate = granted as f64 / took.as_secs_f64() / orgs.len() as f64;
        say(&format!(
            "  {} orgs at {rate:.0} grants a second each: {granted} grants, {reserves} transactions \
             ({:.2} for 100 grants), {waited} Acquires waited for etcd",
            orgs.len(),
            100.0 * reserves as f64 / granted as f64
        ));
        [granted, reserves]
    }

    /// Asks for each org so often in a second, at all nodes in turn.
    async fn asks_steadily(&self, orgs: &[String], time: Duration) {
        let mut asking = JoinSet::new();
        for org in orgs {
            let org = org.clone();
            let doors: Vec<_> = self.nodes.values().map(|node| node.quota.clone()).collect();
            asking.spawn(async move {
                let mut ticks = interval(Duration::from_secs(1) / PER_SECOND);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
                let start = Instant::now();
                let mut turn = 0;
                while start.elapsed() < time {
                    ticks.tick().await;
                    turn += 1;
                    let mut door = doors[turn % doors.len()].clone();
                    let answer = door.acquire(probe(&org, PATIENCE)).await;
                    let outcome = answer.expect("there is an owner").into_inner().outcome;
                    assert!(matches!(outcome, Some(Outcome::Permit(_))), "{outcome:?}");
                }
            });
        }
        asking.join_all().await;
    }

    /// Waits until nothing is written any more.
    async fn is_quiet(&self) {
        let (store, start) = (store(&self.etcd), Instant::now());
        let (mut written, mut since) = (0, start);
        while since.elapsed() < QUIET {
            assert!(start.elapsed() < PATIENCE, "it never comes to rest");
            sleep(LOOK).await;
            let now = store.list("meta/").await.expect("etcd answers").revision;
            if now != written {
                (written, since) = (now, Instant::now());
            }
        }
    }

    /// Grants, transactions of reserves, and Acquires that waited for one.
    async fn counts(&self) -> [u64; 3] {
        [
            self.counted("quotagate_decisions_total{decision=\"granted\"").await,
            self.counted("quotagate_reserves_total").await,
            self.counted("quotagate_store_wait_seconds_count").await,
        ]
    }

    /// The sum of the metrics of all nodes whose names begin like this.
    async fn counted(&self, name: &str) -> u64 {
        let mut sum = 0;
        for node in self.nodes.values() {
            sum += node.counted(name).await;
        }
        sum
    }
}

fn config(home: &Path) -> PathBuf {
    home.join("quotagate.yaml")
}

fn name(number: u64) -> String {
    format!("org-{number}")
}

fn shard(org: &str) -> Shard {
    shard_of(&OrgId::parse(org).expect("a good id"))
}

fn store(etcd: &Etcd) -> EtcdStore {
    let options = EtcdOptions {
        members: etcd.endpoints(),
        prefix: format!("/{PREFIX}/"),
        ..EtcdOptions::default()
    };
    EtcdStore::new(options).expect("good names")
}

/// How often etcd was written to.
async fn revision(etcd: &Etcd) -> u64 {
    store(etcd).list("meta/").await.expect("etcd answers").revision
}

/// The orgs that have records of counters.
async fn counted(etcd: &Etcd) -> BTreeSet<String> {
    let listing = store(etcd).list("shards/").await.expect("etcd answers");
    let org = |key: &str| match key.parse() {
        Ok(Key::Counters { org, .. }) => Some(org.to_string()),
        _ => None,
    };
    listing.entries.iter().filter_map(|entry| org(&entry.key)).collect()
}

/// Declares orgs, as an administrator would one after the other.
async fn declare(etcd: &Etcd, orgs: u64) {
    let store = Arc::new(store(etcd));
    let numbers: Vec<_> = (0..orgs).collect();
    let mut writers = JoinSet::new();
    for some in numbers.chunks(WRITES_AT_ONCE.max(numbers.len().div_ceil(WRITERS))) {
        let (some, store) = (some.to_vec(), Arc::clone(&store));
        writers.spawn(async move {
            for few in some.chunks(WRITES_AT_ONCE) {
                let then = few.iter().map(|number| declaration(&name(*number))).collect();
                let txn = Txn { then, ..Txn::default() };
                while let Err(error) = store.txn(txn.clone()).await {
                    say(&format!("  a declaration is written again: {error}"));
                }
            }
        });
    }
    writers.join_all().await;
}

fn declaration(org: &str) -> Write {
    let record = OrgConfigRecord {
        org_yaml: Some(format!("id: {org}\ndaily_calls: 15000\nreserve_percent: 0\n")),
        version: 1,
        changes: Vec::new(),
    };
    Write::Put(Key::OrgConfig(OrgId::parse(org).expect("a good id")).into(), record.encode())
}
