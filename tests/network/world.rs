//! Nodes, an etcd of three members, and callers, each on a host of its own, in a
//! network that loses, delays and breaks as a seed says.

use std::{
    cell::RefCell,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use fastrand::Rng;
use quotagate::{
    clock::Clock,
    config::Config,
    proto::v1::{
        AcquireRequest, ReleaseRequest, ReportRequest, acquire_response::Outcome,
        quota_service_client::QuotaServiceClient,
    },
    quota::Wall,
    server::{Listener, Options, Service, Surroundings, cluster},
    shard::random,
    store::{EtcdOptions, EtcdStore, SharedStore},
};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tonic::{Request, transport::Channel};
use turmoil::{Builder, Sim};

use crate::{fake_etcd::FakeEtcd, wire};

/// Calls of the only operation, in every [`WINDOW`].
pub const LIMIT: u64 = 10;

/// The window of that limit.
pub const WINDOW: Duration = Duration::from_secs(20);

/// How long the world goes on.
pub const END: Duration = Duration::from_secs(180);

/// From here on nothing breaks any more.
pub const CALM: Duration = Duration::from_secs(95);

const CONFIG: &str = "
catalogue:
  probe: {charges: [{limit: probe, scope: execution_user, max: 10, window: 20s}]}
orgs:
  - {id: acme, daily_calls: 100000, reserve_percent: 0, execution_users: [alice]}
";

const NODES: [&str; 3] = ["node-1", "node-2", "node-3"];
const MEMBERS: [&str; 3] = ["etcd-1", "etcd-2", "etcd-3"];
const CALLERS: usize = 3;

const CLIENT_PORT: u16 = 7080;
const PEER_PORT: u16 = 7081;
const ETCD_PORT: u16 = 2379;

/// How long a lease of a node lives.
const LEASE: Duration = Duration::from_secs(6);

/// The time that passes at once.
const TICK: Duration = Duration::from_millis(4);

/// A call reaches Salesforce within this.
const TRAVEL: Duration = Duration::from_secs(5);

/// A caller gives an answer up after this.
const PATIENCE: Duration = Duration::from_secs(3);

/// The wall clock at the start: 2026-01-01.
const START: Wall = Wall(1_767_225_600_000_000);

/// What has happened.
#[derive(Debug)]
pub struct Seen {
    /// The moments at which calls arrived at Salesforce, in microseconds, in order.
    pub arrivals: Vec<u64>,
    /// What happened, in order, one line each.
    pub trace: Vec<String>,
    /// Every change of the store that has no chance in it, as one number.
    pub store: u64,
    /// Faults that were injected.
    pub faults: usize,
}

impl Seen {
    /// The trace as one number.
    pub fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.trace, self.store).hash(&mut hasher);
        hasher.finish()
    }

    /// The calls that arrived from a moment on.
    pub fn arrivals_after(&self, moment: Duration) -> usize {
        self.arrivals.iter().filter(|at_us| u128::from(**at_us) >= moment.as_micros()).count()
    }
}

/// What callers and faults write down.
type Log = Rc<RefCell<Seen>>;

/// Lets a world run to its end. The same seed gives the same world.
pub fn run(seed: u64) -> Seen {
    random::simulate(seed);
    let mut random = Rng::with_seed(seed);
    let etcd = FakeEtcd::new();
    let log: Log = Rc::new(RefCell::new(Seen {
        arrivals: Vec::new(),
        trace: Vec::new(),
        store: 0,
        faults: 0,
    }));
    let mut sim = Builder::new()
        .rng_seed(seed)
        .tick_duration(TICK)
        .simulation_duration(END + PATIENCE)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(20))
        .tcp_capacity(4_096)
        // The listener for HTTP, which nobody uses here, is a real one.
        .enable_tokio_io()
        .build();
    for (id, name) in (1..).zip(MEMBERS) {
        let etcd = etcd.clone();
        sim.host(name, move || {
            let etcd = etcd.clone();
            async move {
                let connections = wire::listen(ETCD_PORT).await?;
                Ok(etcd.serve(id, connections).await?)
            }
        });
    }
    for name in NODES {
        sim.host(name, move || node(name));
    }
    for caller in 0..CALLERS {
        let (log, random) = (Rc::clone(&log), random.fork());
        sim.client(format!("caller-{caller}"), call(caller, random, log));
    }
    let mut faults = Faults { random, next: Duration::from_secs(12), broken: Vec::new() };
    while !sim.step().expect("no host fails") {
        faults.go_on(&mut sim, &log);
    }
    drop(sim);
    let mut seen = Rc::try_unwrap(log).expect("all hosts have ended").into_inner();
    seen.arrivals.sort_unstable();
    seen.store = etcd.history_hash(|_| false);
    seen
}

/// A node: the service itself, over this network.
async fn node(name: &'static str) -> turmoil::Result {
    let members = MEMBERS.iter().map(|member| format!("{member}:{ETCD_PORT}")).collect();
    let store = EtcdStore::new(EtcdOptions {
        members,
        prefix: "/quotagate/".to_owned(),
        dial: Some(wire::dial_etcd()),
        ..EtcdOptions::default()
    })?;
    let surroundings = Surroundings {
        clock: Clock::of_runtime(START + turmoil::sim_elapsed().unwrap_or_default()),
        grpc: Listener {
            address: wire::address(CLIENT_PORT),
            connections: wire::listen(CLIENT_PORT).await?,
        },
        peer: Some(Listener {
            address: wire::address(PEER_PORT),
            connections: wire::listen(PEER_PORT).await?,
        }),
        http: tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?,
        dial: wire::dial_peer(),
    };
    let unused = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let config = Config::parse(CONFIG).expect("a good configuration");
    let options = Options {
        node: name.to_owned(),
        cluster: Some(cluster::Options {
            peer: unused,
            advertise: Some(format!("{name}:{CLIENT_PORT}")),
            advertise_peer: Some(format!("{name}:{PEER_PORT}")),
            token: None,
            tls: None,
            create: true,
            cold_start_closed: false,
            lease: LEASE,
        }),
        ..Options::in_memory(config)
    };
    let store: SharedStore = Arc::new(store);
    let _service = Service::start_among(store, options, surroundings).await?;
    std::future::pending().await
}

/// A caller: it asks any node, and does with a permit what it may.
async fn call(caller: usize, mut random: Rng, log: Log) -> turmoil::Result {
    let channels: Vec<Channel> =
        NODES.iter().map(|node| wire::channel(&format!("{node}:{CLIENT_PORT}"))).collect();
    while now() < END - WINDOW {
        let node = random.usize(..channels.len());
        let mut client = QuotaServiceClient::new(channels[node].clone());
        let sent = Instant::now();
        let asked = timeout(
            PATIENCE,
            client.acquire(Request::new(AcquireRequest {
                org: "acme".to_owned(),
                operation: "probe".to_owned(),
                execution_user: "alice".to_owned(),
                ..AcquireRequest::default()
            })),
        );
        let answer = asked.await.map(|answer| answer.map(|answer| answer.into_inner().outcome));
        let permit = match answer {
            Ok(Ok(Some(Outcome::Permit(permit)))) => permit,
            Ok(Ok(outcome)) => {
                let reason = match outcome {
                    Some(Outcome::Denial(denial)) => denial.reason().as_str_name(),
                    _ => "nothing",
                };
                note(&log, format_args!("caller {caller} hears {reason} of node {node}"));
                sleep(Duration::from_millis(random.u64(50..500))).await;
                continue;
            }
            Ok(Err(status)) => {
                note(&log, format_args!("caller {caller} hears {:?}", status.code()));
                sleep(Duration::from_millis(random.u64(50..500))).await;
                continue;
            }
            Err(_) => {
                note(&log, format_args!("caller {caller} hears nothing of node {node}"));
                continue;
            }
        };
        note(&log, format_args!("caller {caller} gets a permit of node {node}"));
        let ttl: Duration = permit.ttl.unwrap_or_default().try_into().unwrap_or_default();
        match random.u8(..4) {
            // It gives it back.
            0 => {
                let unused = ReleaseRequest { permit_id: permit.permit_id, unused_calls: None };
                let _ = timeout(PATIENCE, client.release(unused)).await;
            }
            // It calls at the last moment, the call travels as long as it may,
            // and nobody reports.
            1 => {
                sleep_until(sent + ttl).await;
                arrive(&log, TRAVEL);
            }
            // It calls at once, and reports.
            _ => {
                if sent.elapsed() >= ttl {
                    continue;
                }
                arrive(&log, Duration::ZERO);
                let report = ReportRequest {
                    permit_id: permit.permit_id,
                    calls: 1,
                    http_status: 200,
                    ..ReportRequest::default()
                };
                let _ = timeout(PATIENCE, client.report(report)).await;
            }
        }
    }
    Ok(())
}

/// What breaks, and is mended again.
struct Faults {
    random: Rng,
    next: Duration,
    broken: Vec<(Duration, Fault)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// A host is killed, and starts again.
    Crash(&'static str),
    /// Two hosts do not reach each other.
    Partition(&'static str, &'static str),
    /// What they send each other arrives late.
    Hold(&'static str, &'static str),
}

impl Faults {
    fn go_on(&mut self, sim: &mut Sim<'_>, log: &Log) {
        let now = sim.elapsed();
        let over = |(until, _): &mut (Duration, Fault)| *until <= now;
        for (_, fault) in self.broken.extract_if(.., over) {
            mend(sim, fault);
            log.borrow_mut().trace.push(format!("{now:?} mended: {fault:?}"));
        }
        if now < self.next || now > CALM {
            return;
        }
        self.next = now + Duration::from_millis(self.random.u64(1_000..9_000));
        // Some are over soon, some last longer than a lease.
        let lasts = Duration::from_millis(self.random.u64(200..15_000));
        let fault = self.choose();
        let hosts = |fault: &Fault| match *fault {
            Fault::Crash(host) => (host, host),
            Fault::Partition(one, other) | Fault::Hold(one, other) => (one, other),
        };
        let (one, other) = hosts(&fault);
        let meets = |(_, fault): &(Duration, Fault)| {
            let (a, b) = hosts(fault);
            [a, b].iter().any(|host| [one, other].contains(host))
        };
        if self.broken.iter().any(meets) {
            return;
        }
        do_harm(sim, fault);
        self.broken.push(((now + lasts).min(CALM), fault));
        let mut seen = log.borrow_mut();
        seen.faults += 1;
        seen.trace.push(format!("{now:?} {fault:?} for {lasts:?}"));
    }

    fn choose(&mut self) -> Fault {
        let random = &mut self.random;
        let node = NODES[random.usize(..NODES.len())];
        let member = MEMBERS[random.usize(..MEMBERS.len())];
        let other = NODES[(random.usize(1..NODES.len())
            + NODES.iter().position(|name| *name == node).unwrap_or(0))
            % NODES.len()];
        match random.u8(..6) {
            0 => Fault::Crash(node),
            1 => Fault::Crash(member),
            2 => Fault::Partition(node, other),
            3 => Fault::Hold(node, other),
            4 => Fault::Partition(node, member),
            _ => Fault::Hold(node, member),
        }
    }
}

fn do_harm(sim: &mut Sim<'_>, fault: Fault) {
    match fault {
        Fault::Crash(host) => sim.crash(host),
        Fault::Partition(one, other) => sim.partition(one, other),
        Fault::Hold(one, other) => sim.hold(one, other),
    }
}

fn mend(sim: &mut Sim<'_>, fault: Fault) {
    match fault {
        Fault::Crash(host) => sim.bounce(host),
        Fault::Partition(one, other) => sim.repair(one, other),
        Fault::Hold(one, other) => sim.release(one, other),
    }
}

fn now() -> Duration {
    turmoil::sim_elapsed().unwrap_or_default()
}

fn note(log: &Log, line: fmt::Arguments<'_>) {
    log.borrow_mut().trace.push(format!("{:?} {line}", now()));
}

fn arrive(log: &Log, after: Duration) {
    let at_us = u64::try_from((now() + after).as_micros()).expect("a world does not last so long");
    log.borrow_mut().arrivals.push(at_us);
}
