//! Three nodes, three members of etcd, a link between any two that can be made
//! bad, callers, and the stand-in that sees every call.

use std::{
    collections::BTreeMap,
    env,
    fmt::{self, Write as _},
    io::{self, Write as _},
    net::SocketAddr,
    path::PathBuf,
    time::Duration,
};

use quotagate::{
    proto::v1::{
        AcquireRequest, acquire_response::Outcome, quota_service_client::QuotaServiceClient,
    },
    quota::OrgId,
    standin::{StandIn, worst_window},
    store::shard_of,
};
use tempfile::TempDir;
use tokio::{
    sync::{Mutex, MutexGuard, watch},
    task::{JoinSet, block_in_place},
    time::{Instant, sleep, timeout},
};
use tonic::{Request, transport::Channel};
use tonic_types::StatusExt as _;

use crate::{
    audit::{Audit, Held, Rounds, Watchman, audit_command, every_permit_is_counted, held},
    etcd::{Etcd, Which},
    limits::{self, ROOMY, STRICT, Spec, total},
    load::{self, Load, Seen, is_unavailable, said},
    loopback,
    node::{Node, PATIENCE, Plan},
    proxy::{Conduct, Proxy},
};

/// Where the cluster's keys are in etcd.
pub const PREFIX: &str = "cluster";

pub const NODES: usize = 3;
pub const MEMBERS: usize = 3;

/// Orgs that callers saturate.
const LOADED: usize = 6;

/// Orgs besides, which are only asked whether somebody decides for them.
const PROBED: usize = 18;

/// A few windows pass in it, so that calls of before and after a fault meet in
/// some.
const A_WHILE: Duration = Duration::from_secs(4);

/// Clusters at the same time would measure each other.
pub static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// What is asked of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// More than the limits allow.
    Saturating,
    /// Less: every ask is to be granted.
    Roomy,
}

/// A cluster under load. Everything ends when it is dropped; the logs stay
/// where a test has failed, or where `QUOTAGATE_CLUSTER_KEEP` is set.
pub struct World {
    pub lease: Duration,
    pub etcd: Etcd,
    /// From each node to each member of etcd.
    pub links: Vec<Vec<Proxy>>,
    /// To each node, from the others.
    pub peer_links: Vec<Proxy>,
    nodes: Vec<Slot>,
    doors: watch::Sender<Vec<QuotaServiceClient<Channel>>>,
    salesforce: StandIn,
    load: Load,
    daily_calls: u64,
    pub random: fastrand::Rng,
    recoveries: BTreeMap<&'static str, Vec<Duration>>,
    audit: Audit,
    watchman: Watchman,
    start: Instant,
    home: Option<TempDir>,
    _alone: MutexGuard<'static, ()>,
}

#[derive(Debug)]
enum Slot {
    Up(Box<Node>),
    Down(Box<Plan>),
}

/// What probes were told in a while.
#[derive(Debug, Default)]
pub struct Told {
    pub granted: u64,
    pub denied: u64,
    /// UNAVAILABLE with the time after which to try again.
    pub unavailable: u64,
    /// Anything else, counted.
    pub other: BTreeMap<String, u64>,
    /// The longest time that a probe waited for its answer.
    pub slowest: Duration,
}

/// A number from the environment.
pub fn setting(name: &str, default: u64) -> u64 {
    let text = env::var(name).ok();
    text.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}: a number")))
}

/// How often each fault strikes.
pub fn rounds() -> u64 {
    setting("QUOTAGATE_CLUSTER_ROUNDS", 2)
}

/// A time from the environment.
pub fn duration_setting(name: &str, default: Duration) -> Duration {
    let text = env::var(name).ok();
    text.map_or(default, |text| {
        quotagate::duration::parse(&text).unwrap_or_else(|_| panic!("{name}={text}: such as 10s"))
    })
}

/// How long a node's lease lives.
pub fn lease() -> Duration {
    duration_setting("QUOTAGATE_CLUSTER_LEASE", Duration::from_secs(3))
}

/// Says a line at once, also where a test's output is captured: figures are for
/// reading, not only where something fails.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

impl World {
    /// A cluster that owns every shard, with callers at work; `None` where there
    /// is no etcd, which has been said then. Each org may make `daily_calls`.
    pub async fn start(demand: Demand, daily_calls: u64) -> Option<Self> {
        Self::start_as(demand, daily_calls, None).await
    }

    /// The same of nodes that are another program.
    pub async fn start_as(
        demand: Demand,
        daily_calls: u64,
        program: Option<PathBuf>,
    ) -> Option<Self> {
        let alone = ONE_AT_A_TIME.lock().await;
        let lease = lease();
        let etcd = block_in_place(|| Etcd::start(MEMBERS, Which::Any))?;
        let members: Vec<SocketAddr> =
            etcd.endpoints().iter().map(|text| text.parse().expect("an address")).collect();
        let home = TempDir::new().expect("a place for temporary files");
        let config = home.path().join("quotagate.yaml");
        std::fs::write(&config, limits::config(daily_calls)).expect("it is writable");
        let salesforce =
            StandIn::start(limits::salesforce(daily_calls)).await.expect("a free port");

        let (mut nodes, mut links, mut peer_links) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..NODES {
            let mut to_members = Vec::new();
            for member in &members {
                to_members.push(Proxy::start(*member).await);
            }
            let endpoints: Vec<_> = to_members.iter().map(|proxy| proxy.addr.to_string()).collect();
            // Where it leads to is known when the node listens.
            let peer_link = Proxy::start(members[0]).await;
            let name = format!("node-{number}");
            let clock_offset = home.path().join(format!("{name}.clock"));
            std::fs::write(&clock_offset, "0").expect("it is writable");
            let plan = Plan {
                store: format!("etcd://{}/{PREFIX}", endpoints.join(",")),
                config: config.clone(),
                address: loopback::own(),
                advertise: Some(peer_link.addr),
                lease,
                starts_closed: false,
                clock_offset,
                log: home.path().join(format!("{name}.log")),
                program: program.clone(),
                name,
            };
            let node = Node::start(plan, number == 0).await;
            peer_link.leads_to(node.peer);
            nodes.push(node);
            links.push(to_members);
            peer_links.push(peer_link);
        }
        let (doors, known) = watch::channel(nodes.iter().map(|node| node.quota.clone()).collect());
        let names: Vec<_> = nodes.iter().map(|node| node.plan.name.clone()).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        for node in &nodes {
            node.sees_every_shard_owned_by(&names).await;
        }
        let jobs = loaded().flat_map(|org| match demand {
            Demand::Saturating => load::saturating(&org),
            Demand::Roomy => load::roomy(&org),
        });
        let load = Load::start(jobs.collect(), &known, &salesforce.url());
        let etcd_address = etcd.store_address(PREFIX);
        let world = Self {
            lease,
            etcd,
            links,
            peer_links,
            nodes: nodes.into_iter().map(|node| Slot::Up(Box::new(node))).collect(),
            doors,
            salesforce,
            load,
            daily_calls,
            random: fastrand::Rng::with_seed(setting("QUOTAGATE_CLUSTER_SEED", 7)),
            recoveries: BTreeMap::new(),
            audit: Audit::default(),
            watchman: Watchman::start(etcd_address),
            start: Instant::now(),
            home: Some(home),
            _alone: alone,
        };
        let every_org: Vec<_> = orgs().collect();
        world.answered(&every_org, world.start).await;
        Some(world)
    }

    // ---- what is ------------------------------------------------------------

    /// A node that runs.
    pub fn node(&self, number: usize) -> &Node {
        match &self.nodes[number] {
            Slot::Up(node) => node,
            Slot::Down(plan) => panic!("{} does not run", plan.name),
        }
    }

    pub fn node_mut(&mut self, number: usize) -> &mut Node {
        match &mut self.nodes[number] {
            Slot::Up(node) => node,
            Slot::Down(plan) => panic!("{} does not run", plan.name),
        }
    }

    /// The nodes that run and are not paused.
    pub fn awake(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter_map(|slot| match slot {
            Slot::Up(node) if !node.paused => Some(&**node),
            _ => None,
        })
    }

    /// Any node that owns one of the orgs that callers saturate, and all orgs
    /// that it owns.
    pub async fn an_owner(&mut self) -> (usize, Vec<String>) {
        let loaded: Vec<_> = loaded().collect();
        let org = loaded[self.random.usize(0..loaded.len())].clone();
        let watcher = self.awake().next().expect("a node runs");
        let start = Instant::now();
        loop {
            let owners = watcher.owners().await;
            let owner_of = |org: &str| {
                let id = OrgId::parse(org).expect("a good id");
                owners.get(&u32::from(shard_of(&id).number()))
            };
            let number = owner_of(&org).and_then(|owner| {
                self.nodes.iter().position(|slot| {
                    matches!(slot, Slot::Up(node) if !node.paused && node.plan.name == *owner)
                })
            });
            if let Some(number) = number {
                let name = &self.node(number).plan.name;
                return (number, orgs().filter(|org| owner_of(org) == Some(name)).collect());
            }
            assert!(start.elapsed() < PATIENCE, "{org} has an owner");
            sleep(Duration::from_millis(50)).await;
        }
    }

    // ---- what happens -------------------------------------------------------

    /// kill -9.
    pub async fn kill(&mut self, number: usize) {
        let node = self.take(number);
        self.nodes[number] = Slot::Down(Box::new(node.kill().await));
    }

    /// SIGTERM, to the end of the process.
    pub async fn stop(&mut self, number: usize) {
        let node = self.take(number);
        self.nodes[number] = Slot::Down(Box::new(node.stop().await));
    }

    fn take(&mut self, number: usize) -> Node {
        let plan = self.node(number).plan.clone();
        match std::mem::replace(&mut self.nodes[number], Slot::Down(Box::new(plan))) {
            Slot::Up(node) => *node,
            Slot::Down(_) => unreachable!("it runs"),
        }
    }

    /// Starts a node again; it knows the cluster when this returns.
    pub async fn start_again(&mut self, number: usize) {
        let Slot::Down(plan) = &self.nodes[number] else { panic!("node {number} runs") };
        let node = Node::start((**plan).clone(), false).await;
        self.peer_links[number].leads_to(node.peer);
        self.doors.send_modify(|doors| doors[number] = node.quota.clone());
        self.nodes[number] = Slot::Up(Box::new(node));
        self.settles().await;
    }

    /// The same as another program; `None`: as the program that is tested.
    pub async fn start_again_as(&mut self, number: usize, program: Option<PathBuf>) {
        let Slot::Down(plan) = &mut self.nodes[number] else { panic!("node {number} runs") };
        plan.program = program;
        self.start_again(number).await;
    }

    /// Waits until every node sees every shard owned by one that is awake.
    pub async fn settles(&self) {
        let names: Vec<_> = self.awake().map(|node| node.plan.name.as_str()).collect();
        for node in self.awake() {
            node.sees_every_shard_owned_by(&names).await;
        }
    }

    /// A node takes its wall clock to be so far ahead, or behind.
    pub fn sets_clock(&self, number: usize, offset_ms: i64) {
        let path = &self.node(number).plan.clock_offset;
        let next = path.with_extension("next");
        std::fs::write(&next, offset_ms.to_string()).expect("it is writable");
        std::fs::rename(next, path).expect("it is writable");
    }

    /// A node's links to all members of etcd conduct themselves so.
    pub fn links_of(&self, number: usize, conduct: Conduct) {
        for link in &self.links[number] {
            link.conducts(conduct);
        }
    }

    /// All nodes' links to a member of etcd conduct themselves so.
    pub fn links_to_member(&self, member: usize, conduct: Conduct) {
        for links in &self.links {
            links[member].conducts(conduct);
        }
    }

    // ---- what must be -------------------------------------------------------

    /// Waits until somebody decides for each of the orgs, through the nodes that
    /// are awake: how long that took, from `since` on.
    pub async fn answered(&self, orgs: &[String], since: Instant) -> Vec<Duration> {
        let doors: Vec<_> = self.awake().map(|node| node.quota.clone()).collect();
        answered_at(&doors, orgs, since).await
    }

    /// The same, kept as the time of recovery from something.
    pub async fn recovers(&mut self, from: &'static str, orgs: &[String], since: Instant) {
        let took = self.answered(orgs, since).await;
        self.recoveries.entry(from).or_default().extend(took);
    }

    /// Keeps a time that something has taken to answer again.
    pub fn took(&mut self, from: &'static str, time: Duration) {
        self.recoveries.entry(from).or_default().push(time);
    }

    /// Asks for every org again and again for some time, with a deadline each.
    pub async fn probed_for(&self, time: Duration, deadline: Duration) -> Told {
        let until = Instant::now() + time;
        let doors: Vec<_> = self.awake().map(|node| node.quota.clone()).collect();
        let mut probes = JoinSet::new();
        for (number, org) in orgs().enumerate() {
            let doors = doors.clone();
            probes.spawn(async move {
                let mut told = Told::default();
                for turn in number.. {
                    if Instant::now() >= until {
                        break;
                    }
                    let mut door = doors[turn % doors.len()].clone();
                    let sent = Instant::now();
                    let answer = door.acquire(probe(&org, deadline)).await;
                    told.slowest = told.slowest.max(sent.elapsed());
                    match answer.map(|answer| answer.into_inner().outcome) {
                        Ok(Some(Outcome::Permit(_))) => told.granted += 1,
                        Ok(_) => told.denied += 1,
                        Err(status)
                            if is_unavailable(&status)
                                && status.get_details_retry_info().is_some() =>
                        {
                            told.unavailable += 1;
                        }
                        Err(status) => *told.other.entry(said(&status)).or_default() += 1,
                    }
                    sleep(Duration::from_millis(200)).await;
                }
                told
            });
        }
        let each = probes.join_all().await;
        each.into_iter().fold(Told::default(), Told::and)
    }

    /// Lets callers go on for a while, until those of every org were granted
    /// something more: somebody decides for them, and has blocks to grant from.
    /// Then nothing may be wrong.
    pub async fn goes_on(&mut self) {
        let before = self.load.ledger.grants();
        sleep(A_WHILE).await;
        let granted = timeout(PATIENCE, async {
            let mut waiting: Vec<_> = loaded().collect();
            while !waiting.is_empty() {
                sleep(Duration::from_millis(50)).await;
                let more = self.load.ledger.granted_since(before);
                waiting.retain(|org| !more.contains(org));
            }
        });
        let granted = granted.await.is_ok();
        assert!(granted, "every org is granted something again: {:#?}", self.load.ledger.brief());
        self.is_well().await;
    }

    /// Every call that came was allowed, every permit is counted, no node has
    /// seen an invariant fail, every caller works.
    pub async fn is_well(&mut self) {
        self.load.is_well();
        self.watchman.is_well();
        for node in self.awake() {
            node.keeps_its_invariants().await;
        }
        self.audit = every_permit_is_counted(&self.etcd.endpoints(), &self.load.ledger).await;
        assert_eq!(self.watchman.seen().bad, [""; 0], "quotagate audit finds nothing wrong");
        assert_eq!(self.salesforce.handle.overruns(), []);
        let counts = self.salesforce.handle.counts();
        assert_eq!(counts.refused(), 0, "{counts:?}");
    }

    /// Callers go home; every node ends in order and leaves nothing open.
    /// What was seen is told; what callers saw and what is left is returned.
    pub async fn finish(mut self, name: &str) -> (Seen, Held) {
        self.is_well().await;
        self.load.stop().await;
        for number in 0..NODES {
            self.stop(number).await;
        }
        let audited = audit_command(&self.etcd.store_address(PREFIX), Duration::ZERO).await;
        assert_eq!(audited, Ok(()), "quotagate audit finds nothing wrong");
        let held = held(&self.etcd.endpoints()).await;
        assert_eq!(self.salesforce.handle.overruns(), []);
        say(&format!("{}, {} open, {} lost", self.report(name), held.open, held.lost));
        (self.load.ledger.seen(), held)
    }

    /// What was seen, in a few lines.
    pub fn report(&self, name: &str) -> String {
        let seen = self.load.ledger.seen();
        let counts = self.salesforce.handle.counts();
        let mut text = format!("{name}: {} s\n", self.start.elapsed().as_secs());
        for (from, times) in &self.recoveries {
            let mut times = times.clone();
            times.sort_unstable();
            let [median, p99] = [50, 99].map(|of_hundred| times[times.len() * of_hundred / 100]);
            let _ = writeln!(
                text,
                "  answered again after {from}: median {median:.2?}, p99 {p99:.2?}, worst {:.2?} \
                 of {} (lease {:?})",
                times[times.len() - 1],
                times.len(),
                self.lease
            );
        }
        let _ = writeln!(
            text,
            "  callers    {} permits, {} denials, {} lost, repeated {:?}",
            seen.grants.len(),
            seen.denied,
            seen.lost.len(),
            seen.repeated
        );
        for lost in seen.lost.iter().take(5) {
            let _ = writeln!(text, "  lost       {lost}");
        }
        let _ = writeln!(
            text,
            "  stand-in   {} calls, {} refused; worst windows: {}",
            counts.arrived(),
            counts.refused(),
            self.worst_windows()
        );
        let Audit { counters, granted, counted } = self.audit;
        let Rounds { good, not_made, bad } = self.watchman.seen();
        let _ = write!(
            text,
            "  etcd       {counters} counters count {counted} units, callers were granted {granted}; \
             {good} audits good, {} bad, {not_made} not made",
            bad.len()
        );
        text
    }

    /// How far it has come, in a few words.
    pub fn progress(&self) -> String {
        let Seen { denied, .. } = self.load.ledger.brief();
        let (permits, counts) = (self.load.ledger.grants(), self.salesforce.handle.counts());
        let (calls, refused) = (counts.arrived(), counts.refused());
        format!("{permits} permits, {denied} denials, {calls} calls, {refused} refused")
    }

    /// For each limit the most that ever arrived in one of its windows, of what
    /// may.
    fn worst_windows(&self) -> String {
        let arrivals = self.salesforce.handle.arrivals();
        let worst = |spec: &Spec| {
            let of_org = spec.name == "calls";
            let mut by_counter = BTreeMap::<_, Vec<(u64, u64)>>::new();
            for arrival in arrivals.iter().filter(|arrival| arrival.operation == spec.operation) {
                let user = (!of_org).then_some(&arrival.user);
                by_counter.entry((&arrival.org, user)).or_default().push((arrival.at_us, 1));
            }
            let window_us = u64::try_from(spec.window.as_micros()).expect("a day at most");
            let worst = by_counter.values().map(|units| worst_window(units, window_us)).max();
            format!("{} {} of {}", spec.name, worst.unwrap_or(0), spec.max)
        };
        let limits = STRICT.into_iter().chain([total(self.daily_calls)]);
        limits.map(|spec| worst(&spec)).collect::<Vec<_>>().join(", ")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if (failed || env::var_os("QUOTAGATE_CLUSTER_KEEP").is_some())
            && let Some(home) = self.home.take()
        {
            if failed {
                say(&self.report("FAILED"));
            }
            say(&format!("  the nodes' logs are in {}", home.keep().display()));
        }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { granted, denied, unavailable, other, slowest } = self;
        write!(
            f,
            "{granted} granted, {denied} denied, {unavailable} told to try again, {other:?} \
             besides; answered within {slowest:.2?}"
        )
    }
}

impl Told {
    fn and(mut self, other: Self) -> Self {
        self.granted += other.granted;
        self.denied += other.denied;
        self.unavailable += other.unavailable;
        self.slowest = self.slowest.max(other.slowest);
        for (said, count) in other.other {
            *self.other.entry(said).or_default() += count;
        }
        self
    }
}

/// Waits until somebody decides for each of the orgs, asked at all doors in turn:
/// how long that took, from `since` on.
pub async fn answered_at(
    doors: &[QuotaServiceClient<Channel>],
    orgs: &[String],
    since: Instant,
) -> Vec<Duration> {
    let mut probes = JoinSet::new();
    for (number, org) in orgs.iter().enumerate() {
        let (org, doors) = (org.clone(), doors.to_vec());
        probes.spawn(async move {
            for turn in number.. {
                let mut door = doors[turn % doors.len()].clone();
                match door.acquire(probe(&org, Duration::from_secs(1))).await {
                    Ok(_) => break,
                    Err(status) if since.elapsed() > PATIENCE => {
                        panic!("nobody decides for {org}: {status:?}")
                    }
                    Err(_) => sleep(Duration::from_millis(20)).await,
                }
            }
            since.elapsed()
        });
    }
    probes.join_all().await
}

/// The orgs that callers saturate.
pub fn loaded() -> impl Iterator<Item = String> {
    (0..LOADED).map(|number| format!("loaded-{number}"))
}

/// Every org.
pub fn orgs() -> impl Iterator<Item = String> {
    loaded().chain((0..PROBED).map(|number| format!("probed-{number}")))
}

/// Asks for a call that there is room for: an answer, whatever it is, shows that
/// somebody decides.
pub fn probe(org: &str, deadline: Duration) -> Request<AcquireRequest> {
    let mut request = Request::new(AcquireRequest {
        org: org.to_owned(),
        operation: ROOMY.into(),
        execution_user: "probe".into(),
        ..Default::default()
    });
    request.set_timeout(deadline);
    request
}
