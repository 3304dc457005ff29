//! Everything at once: what honest callers feel of it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use quotagate::{
    auth::token::{Hex, hash},
    duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{
    honest::{Fleet, percentile},
    server::Server,
    wire::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, WINDOW_UPDATE, Wire,
        frame, head, literal, message, opening, stream,
    },
};

/// How long the attack goes on where nobody says it.
const SHORT: Duration = Duration::from_secs(6);

/// The program may have this in memory at most, whatever comes.
const MOST_MEMORY_KIB: u64 = 512 * 1024;

/// How often the longest waits of honest callers may be what they are in peace.
const MOST_RATIO: f64 = 2.0;

/// Percent of the answers that are not among the longest waits.
const PERCENT: usize = 99;

/// What honest callers show, and no attacker has.
const TOKEN: &str = "qg_known-to-honest-callers-alone";

/// What an attacker does, over and over until it is told to stop.
type Attack = fn(Targets, Arc<Tally>) -> JoinSet<()>;

/// Where the attack goes.
#[derive(Clone, Copy)]
struct Targets {
    grpc: SocketAddr,
    http: SocketAddr,
}

/// What an attacker has done, and whether it goes on.
#[derive(Default)]
struct Tally {
    done: AtomicU64,
    over: AtomicBool,
}

impl Tally {
    fn goes_on(&self) -> bool {
        !self.over.load(Relaxed)
    }

    fn count(&self) {
        self.done.fetch_add(1, Relaxed);
    }
}

/// How many attackers there are of each kind, and how often each begins anew. All of
/// them together leave the machine some time for the rest: what is measured is
/// whether the service keeps to its work, not how the machine shares its cores.
const ATTACKS: [(&str, Attack); 8] = [
    ("connections opened and dropped", |targets, tally| {
        repeat(4, millis(10), tally, move || knock(targets.grpc))
    }),
    ("handshakes a byte at a time", |targets, tally| {
        repeat(200, millis(1_000), tally, move || dribble(targets.grpc, opening(&[])))
    }),
    ("HTTP requests a byte at a time", |targets, tally| {
        let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: ".to_vec();
        repeat(200, millis(1_000), tally, move || dribble(targets.http, request.clone()))
    }),
    ("answers read a byte at a time", |targets, tally| {
        repeat(20, millis(1_000), tally, move || read_slowly(targets.grpc))
    }),
    ("connections with giant metadata", |targets, tally| {
        repeat(2, millis(500), tally, move || swell(targets.grpc))
    }),
    ("connections whose streams are reset at once", |targets, tally| {
        repeat(2, millis(500), tally, move || reset(targets.grpc))
    }),
    ("bursts of calls with bad tokens", |targets, tally| {
        repeat(2, millis(250), tally, move || forge(targets.grpc))
    }),
    ("bursts of reflection and health checks", |targets, tally| {
        repeat(2, millis(250), tally, move || inquire(targets.grpc))
    }),
];

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn under_attack_honest_callers_go_on() {
    let long = std::env::var("QUOTAGATE_ATTACK").ok();
    let length = long.as_deref().map_or(SHORT, |text| duration::parse(text).expect("a duration"));
    let home = tempfile::tempdir().expect("a directory");
    let config = home.path().join("quotagate.yaml");
    let sha256 = hash(TOKEN);
    let yaml = format!(
        "orgs: [{{id: acme, daily_calls: 1000}}]\n\
         auth:\n\
        \x20 tokens: [{{name: honest, sha256: {}}}]\n\
        \x20 rules: [{{who: ['token:honest'], orgs: [acme], workspaces: [''], may: [acquire]}}]\n",
        Hex(&sha256)
    );
    std::fs::write(&config, yaml).expect("written");
    let mut server = Server::start(&config, "error").await;
    let targets = Targets { grpc: server.grpc, http: server.http };

    let peace = measured(server.grpc, length / 2).await;

    let tallies: Vec<_> = ATTACKS.iter().map(|_| Arc::<Tally>::default()).collect();
    let mut attackers: Vec<JoinSet<()>> = ATTACKS
        .iter()
        .zip(&tallies)
        .map(|((_, attack), tally)| attack(targets, Arc::clone(tally)))
        .collect();
    let probes = tokio::spawn(probe(server.http, Arc::clone(&tallies[0])));
    let war = measured(server.grpc, length).await;
    let memory = server.memory_kib();
    for tally in &tallies {
        tally.over.store(true, Relaxed);
    }
    for attackers in &mut attackers {
        attackers.shutdown().await;
    }
    let probes = probes.await.expect("every probe is answered");
    server.check_alive("the attack");

    for ((name, _), tally) in ATTACKS.iter().zip(&tallies) {
        println!("{:>9} {name}", tally.done.load(Relaxed));
    }
    let (calm, busy) = (percentile(&peace, PERCENT), percentile(&war, PERCENT));
    let ratio = busy.as_secs_f64() / calm.as_secs_f64();
    println!(
        "honest callers, p50 and p{PERCENT}: {:.2?} and {calm:.2?} of {} answers in peace, \
         {:.2?} and {busy:.2?} of {} under attack: {ratio:.1} times as long; {probes} probes; \
         {memory} KiB, at most {} KiB",
        percentile(&peace, 50),
        peace.len(),
        percentile(&war, 50),
        war.len(),
        server.peak_memory_kib(),
    );
    for ((name, _), tally) in ATTACKS.iter().zip(&tallies) {
        assert!(tally.done.load(Relaxed) > 0, "{name}: that was no attack");
    }
    assert!(server.peak_memory_kib() < MOST_MEMORY_KIB);
    if long.is_some() {
        assert!(ratio <= MOST_RATIO, "honest callers wait {ratio:.1} times as long");
    }
}

/// How long honest callers wait for their answers during this time.
async fn measured(address: SocketAddr, length: Duration) -> Vec<Duration> {
    let fleet = Fleet::start(address, TOKEN);
    sleep(length).await;
    tokio::task::spawn_blocking(move || fleet.stop())
        .await
        .expect("every honest caller is answered")
}

/// Asks as an orchestrator would, which restarts what does not answer.
async fn probe(address: SocketAddr, tally: Arc<Tally>) -> u32 {
    const PATIENCE: Duration = Duration::from_secs(10);
    let mut answered = 0;
    while tally.goes_on() {
        let ask = async {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(b"GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n").await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            std::io::Result::Ok(answer)
        };
        let answer = timeout(PATIENCE, ask).await.expect("in time").expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answered += 1;
        sleep(Duration::from_millis(100)).await;
    }
    answered
}

/// So many attackers, each doing it over and over, at most once in `every`. What the
/// server does about it is its right, so errors are none.
fn repeat<A, F>(count: u32, every: Duration, tally: Arc<Tally>, attack: A) -> JoinSet<()>
where
    F: Future<Output = ()> + Send + 'static,
    A: Fn() -> F + Clone + Send + Sync + 'static,
{
    let mut attackers = JoinSet::new();
    for number in 0..count {
        let (tally, attack) = (Arc::clone(&tally), attack.clone());
        attackers.spawn(async move {
            // Not all at the same moment.
            let mut next = Instant::now() + every * number / count;
            while tally.goes_on() {
                sleep_until(next).await;
                next = (next + every).max(Instant::now());
                tally.count();
                attack().await;
            }
        });
    }
    attackers
}

/// Opens a connection and drops it, with a reset: many thousands would use up the
/// machine's ports else.
async fn knock(address: SocketAddr) {
    let Ok(socket) = TcpSocket::new_v4() else { return };
    let _ = socket.set_zero_linger();
    let _ = socket.connect(address).await;
}

async fn dribble(address: SocketAddr, bytes: Vec<u8>) {
    let Ok(mut stream) = TcpStream::connect(address).await else { return };
    for byte in bytes {
        if stream.write_all(&[byte]).await.is_err() {
            return;
        }
        sleep(Duration::from_millis(200)).await;
    }
}

const ACQUIRE: &str = "/quotagate.v1.QuotaService/Acquire";
const REFLECT: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
const HEALTH: &str = "/grpc.health.v1.Health/Check";

fn listing(number: u32) -> Vec<u8> {
    let names = frame(HEADERS, END_HEADERS, stream(number), &head(REFLECT, &[]));
    [names, frame(DATA, END_STREAM, stream(number), &message(b"\x3a\x01*"))].concat()
}

async fn read_slowly(address: SocketAddr) {
    const INITIAL_WINDOW_SIZE: u16 = 4;
    const STREAMS: u32 = 50;
    let mut wire = Wire::open(address, true).await;
    let begin = [opening(&[(INITIAL_WINDOW_SIZE, 1)]), (0..STREAMS).flat_map(listing).collect()];
    if wire.send(&begin.concat()).await.is_some() {
        return;
    }
    for number in 0..STREAMS {
        let more = frame(WINDOW_UPDATE, 0, stream(number), &1_u32.to_be_bytes());
        if wire.send(&more).await.is_some() {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
}

async fn swell(address: SocketAddr) {
    let mut wire = Wire::open(address, true).await;
    let value = "a".repeat(15_000);
    let mut ended = wire.send(&opening(&[])).await;
    for number in 0..50 {
        if ended.is_some() {
            return;
        }
        let first = frame(HEADERS, 0, stream(number), &head(ACQUIRE, &[("x-a", &value)]));
        let rest = literal("x-b", &value);
        let rest = frame(CONTINUATION, END_HEADERS | END_STREAM, stream(number), &rest);
        ended = wire.send(&[first, rest].concat()).await;
    }
}

async fn reset(address: SocketAddr) {
    let mut wire = Wire::open(address, true).await;
    let mut ended = wire.send(&opening(&[])).await;
    for packet in 0..50 {
        if ended.is_some() {
            return;
        }
        let pair = |number: u32| {
            let call = frame(HEADERS, END_HEADERS, stream(number), &head(ACQUIRE, &[]));
            [call, frame(RST_STREAM, 0, stream(number), &8_u32.to_be_bytes())].concat()
        };
        let pairs: Vec<u8> = (packet * 20..(packet + 1) * 20).flat_map(pair).collect();
        ended = wire.send(&pairs).await;
    }
}

async fn inquire(address: SocketAddr) {
    let mut wire = Wire::open(address, true).await;
    let windows = frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes());
    let mut ended = wire.send(&[opening(&[(4, 1 << 30)]), windows].concat()).await;
    for number in 0..100 {
        if ended.is_some() {
            return;
        }
        let check = frame(HEADERS, END_HEADERS, stream(2 * number + 1), &head(HEALTH, &[]));
        let check =
            [check, frame(DATA, END_STREAM, stream(2 * number + 1), &message(&[]))].concat();
        ended = wire.send(&[listing(2 * number), check].concat()).await;
    }
    wire.end().await;
}

/// A token that nobody has, and one that nobody can have signed.
async fn forge(address: SocketAddr) {
    const UNKNOWN: &str = "Bearer qg_made-up";
    const UNSIGNED: &str = "Bearer eyJhbGciOiJub25lIn0.eyJpc3MiOiJtZSIsInN1YiI6ImFkbWluIn0.";
    let mut wire = Wire::open(address, true).await;
    let mut ended = wire.send(&opening(&[])).await;
    for number in 0..100 {
        if ended.is_some() {
            return;
        }
        let bearer = if number % 2 == 0 { UNKNOWN } else { UNSIGNED };
        let names = head(ACQUIRE, &[("authorization", bearer)]);
        let call = frame(HEADERS, END_HEADERS, stream(number), &names);
        let call = [call, frame(DATA, END_STREAM, stream(number), &message(&[]))].concat();
        ended = wire.send(&call).await;
    }
    wire.end().await;
}
