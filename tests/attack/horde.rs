//! The attackers: a process of its own, which stands for machines elsewhere. It runs
//! while nobody else wants the machine, so that honest callers wait for what the
//! service does about the attack, and not for the attack itself.

use std::{
    env,
    net::SocketAddr,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines, stdin},
    net::{TcpSocket, TcpStream},
    process::{Child, ChildStdout, Command},
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    server::cpu_time,
    wire::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, WINDOW_UPDATE, Wire,
        frame, head, literal, message, opening, stream,
    },
};

/// Attackers that run.
pub struct Horde {
    child: Child,
    told: Lines<BufReader<ChildStdout>>,
}

/// What attackers of one kind have done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    pub name: String,
    /// Connections that they tried to open.
    pub connections: u64,
    /// Requests that they sent, whole ones and others.
    pub requests: u64,
    pub bytes: u64,
}

/// Where the attack goes.
#[derive(Clone, Copy)]
struct Targets {
    grpc: SocketAddr,
    http: SocketAddr,
}

/// What attackers of one kind do, over and over.
type Attack = fn(Targets, Arc<Tally>, &mut JoinSet<()>);

/// How many attackers there are of each kind, and how often each begins anew.
const ATTACKS: [(&str, Attack); 8] = [
    ("connections opened and dropped", |targets, tally, horde| {
        repeat(KNOCKERS, millis(10), horde, move || knock(targets.grpc, Arc::clone(&tally)));
    }),
    ("handshakes a byte at a time", |targets, tally, horde| {
        repeat(200, millis(1_000), horde, move || {
            dribble(targets.grpc, Arc::clone(&tally), opening(&[]))
        });
    }),
    ("HTTP requests a byte at a time", |targets, tally, horde| {
        let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: ";
        repeat(200, millis(1_000), horde, move || {
            dribble(targets.http, Arc::clone(&tally), request.to_vec())
        });
    }),
    ("answers read a byte at a time", |targets, tally, horde| {
        repeat(20, millis(1_000), horde, move || read_slowly(targets.grpc, Arc::clone(&tally)));
    }),
    ("giant metadata", |targets, tally, horde| {
        repeat(2, millis(500), horde, move || swell(targets.grpc, Arc::clone(&tally)));
    }),
    ("streams that are reset at once", |targets, tally, horde| {
        repeat(2, millis(500), horde, move || reset(targets.grpc, Arc::clone(&tally)));
    }),
    ("calls with bad tokens", |targets, tally, horde| {
        repeat(2, millis(250), horde, move || forge(targets.grpc, Arc::clone(&tally)));
    }),
    ("reflection and health checks", |targets, tally, horde| {
        repeat(2, millis(250), horde, move || inquire(targets.grpc, Arc::clone(&tally)));
    }),
];

/// Each opens a hundred connections a second.
const KNOCKERS: u32 = 12;

/// The variables that tell the process where to attack.
const GRPC: &str = "QUOTAGATE_ATTACK_GRPC";
const HTTP: &str = "QUOTAGATE_ATTACK_HTTP";

/// What it says when it begins, and before each of its figures.
const BEGUN: &str = "the attack has begun";
const FIGURES: &str = "figures ";

impl Horde {
    /// Attacks when this returns.
    pub async fn start(grpc: SocketAddr, http: SocketAddr) -> Self {
        let this = env::current_exe().expect("it has a path");
        // `nice` alone would leave each of them a slice of time whenever it runs.
        let mut command = Command::new("nice");
        command.args(["-n", "19", "chrt", "--idle", "0"]).arg(this);
        command.args(["horde::attackers", "--exact", "--ignored", "--nocapture"]);
        command.env(GRPC, grpc.to_string()).env(HTTP, http.to_string()).kill_on_drop(true);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("runs");
        let told = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut horde = Self { child, told };
        while horde.line().await.expect("it begins") != BEGUN {}
        horde
    }

    /// Ends it: what each kind of attackers has done, and how long they ran.
    pub async fn stop(mut self) -> (Vec<Done>, Duration) {
        let ran = cpu_time(self.child.id().expect("it runs"));
        drop(self.child.stdin.take());
        let mut done = Vec::new();
        while let Some(line) = self.line().await {
            done.extend(line.strip_prefix(FIGURES).map(Done::parse));
        }
        let status = self.child.wait().await.expect("it is our child");
        assert!(status.success(), "the attackers: {status}");
        (done, ran)
    }

    async fn line(&mut self) -> Option<String> {
        self.told.next_line().await.expect("it is text")
    }
}

impl Done {
    fn parse(line: &str) -> Self {
        let mut words = line.splitn(4, ' ');
        let mut next = || words.next().expect("four of them");
        let number = |word: &str| word.parse().expect("a number");
        Self {
            connections: number(next()),
            requests: number(next()),
            bytes: number(next()),
            name: next().to_owned(),
        }
    }

    pub fn add(&mut self, more: &Self) {
        self.name.clone_from(&more.name);
        self.connections += more.connections;
        self.requests += more.requests;
        self.bytes += more.bytes;
    }
}

/// The attackers' process: it attacks until its input ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process of the attack's run"]
async fn attackers() {
    let target = |name| env::var(name).expect("it is told").parse().expect("an address");
    let targets = Targets { grpc: target(GRPC), http: target(HTTP) };
    let tallies = ATTACKS.map(|_| Arc::<Tally>::default());
    let mut horde = JoinSet::new();
    for ((_, attack), tally) in ATTACKS.iter().zip(&tallies) {
        attack(targets, Arc::clone(tally), &mut horde);
    }
    // On a line of its own: the harness has begun one.
    println!("\n{BEGUN}");
    let _ = stdin().read(&mut [0]).await;
    horde.shutdown().await;
    for ((name, _), tally) in ATTACKS.iter().zip(&tallies) {
        let [connections, requests, bytes] =
            [&tally.connections, &tally.requests, &tally.bytes].map(|count| count.load(Relaxed));
        println!("{FIGURES}{connections} {requests} {bytes} {name}");
    }
}

/// Counts for [`Done`].
#[derive(Default)]
struct Tally {
    connections: AtomicU64,
    requests: AtomicU64,
    bytes: AtomicU64,
}

impl Tally {
    fn connects(&self) {
        self.connections.fetch_add(1, Relaxed);
    }

    fn sent(&self, requests: u64, bytes: &[u8]) {
        self.requests.fetch_add(requests, Relaxed);
        self.bytes.fetch_add(bytes.len() as u64, Relaxed);
    }
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// So many attackers, each doing it over and over, at most once in `every`. What the
/// server does about it is its right, so errors are none.
fn repeat<A, F>(count: u32, every: Duration, horde: &mut JoinSet<()>, attack: A)
where
    F: Future<Output = ()> + Send + 'static,
    A: Fn() -> F + Clone + Send + Sync + 'static,
{
    for number in 0..count {
        let attack = attack.clone();
        horde.spawn(async move {
            // Not all at the same moment.
            let mut next = Instant::now() + every * number / count;
            loop {
                sleep_until(next).await;
                next = (next + every).max(Instant::now());
                attack().await;
            }
        });
    }
}

/// A connection of an attacker, which counts what goes over it.
struct Raid {
    wire: Wire,
    tally: Arc<Tally>,
}

impl Raid {
    /// `None` if the server takes no more of it.
    async fn begin(address: SocketAddr, tally: Arc<Tally>, first: &[u8]) -> Option<Self> {
        tally.connects();
        let wire = Wire::over(TcpStream::connect(address).await.ok()?, true);
        let mut raid = Self { wire, tally };
        raid.send(0, first).await?;
        Some(raid)
    }

    async fn send(&mut self, requests: u64, bytes: &[u8]) -> Option<()> {
        self.tally.sent(requests, bytes);
        self.wire.send(bytes).await.is_none().then_some(())
    }
}

/// Opens a connection and drops it, with a reset: many thousands would use up the
/// machine's ports else.
async fn knock(address: SocketAddr, tally: Arc<Tally>) {
    let Ok(socket) = TcpSocket::new_v4() else { return };
    let _ = socket.set_zero_linger();
    tally.connects();
    let _ = socket.connect(address).await;
}

async fn dribble(address: SocketAddr, tally: Arc<Tally>, bytes: Vec<u8>) {
    tally.connects();
    let Ok(mut stream) = TcpStream::connect(address).await else { return };
    for byte in bytes {
        tally.sent(0, &[byte]);
        if stream.write_all(&[byte]).await.is_err() {
            return;
        }
        sleep(millis(200)).await;
    }
}

const ACQUIRE: &str = "/quotagate.v1.QuotaService/Acquire";
const REFLECT: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
const HEALTH: &str = "/grpc.health.v1.Health/Check";

fn call(number: u32, path: &str, more: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let names = frame(HEADERS, END_HEADERS, stream(number), &head(path, more));
    [names, frame(DATA, END_STREAM, stream(number), &message(body))].concat()
}

/// A list of all services.
fn listing(number: u32) -> Vec<u8> {
    call(number, REFLECT, &[], b"\x3a\x01*")
}

async fn read_slowly(address: SocketAddr, tally: Arc<Tally>) {
    const INITIAL_WINDOW_SIZE: u16 = 4;
    const STREAMS: u32 = 50;
    let settings = opening(&[(INITIAL_WINDOW_SIZE, 1)]);
    let Some(mut raid) = Raid::begin(address, tally, &settings).await else { return };
    let listings: Vec<u8> = (0..STREAMS).flat_map(listing).collect();
    let mut goes_on = raid.send(STREAMS.into(), &listings).await;
    for number in 0..STREAMS {
        if goes_on.is_none() {
            return;
        }
        sleep(millis(20)).await;
        let more = frame(WINDOW_UPDATE, 0, stream(number), &1_u32.to_be_bytes());
        goes_on = raid.send(0, &more).await;
    }
}

async fn swell(address: SocketAddr, tally: Arc<Tally>) {
    let value = "a".repeat(15_000);
    let Some(mut raid) = Raid::begin(address, tally, &opening(&[])).await else { return };
    for number in 0..50 {
        let first = frame(HEADERS, 0, stream(number), &head(ACQUIRE, &[("x-a", &value)]));
        let rest = literal("x-b", &value);
        let rest = frame(CONTINUATION, END_HEADERS | END_STREAM, stream(number), &rest);
        if raid.send(1, &[first, rest].concat()).await.is_none() {
            return;
        }
    }
}

async fn reset(address: SocketAddr, tally: Arc<Tally>) {
    const IN_A_PACKET: u32 = 20;
    let Some(mut raid) = Raid::begin(address, tally, &opening(&[])).await else { return };
    for packet in 0..50 {
        let pair = |number: u32| {
            let call = frame(HEADERS, END_HEADERS, stream(number), &head(ACQUIRE, &[]));
            [call, frame(RST_STREAM, 0, stream(number), &8_u32.to_be_bytes())].concat()
        };
        let numbers = packet * IN_A_PACKET..(packet + 1) * IN_A_PACKET;
        let pairs: Vec<u8> = numbers.flat_map(pair).collect();
        if raid.send(IN_A_PACKET.into(), &pairs).await.is_none() {
            return;
        }
    }
}

async fn inquire(address: SocketAddr, tally: Arc<Tally>) {
    let windows = frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes());
    let begin = [opening(&[(4, 1 << 30)]), windows].concat();
    let Some(mut raid) = Raid::begin(address, tally, &begin).await else { return };
    for number in 0..100 {
        let check = call(2 * number + 1, HEALTH, &[], &[]);
        if raid.send(2, &[listing(2 * number), check].concat()).await.is_none() {
            return;
        }
    }
    raid.wire.end().await;
}

/// A token that nobody has, and one that nobody can have signed.
async fn forge(address: SocketAddr, tally: Arc<Tally>) {
    const UNKNOWN: &str = "Bearer qg_made-up";
    const UNSIGNED: &str = "Bearer eyJhbGciOiJub25lIn0.eyJpc3MiOiJtZSIsInN1YiI6ImFkbWluIn0.";
    let Some(mut raid) = Raid::begin(address, tally, &opening(&[])).await else { return };
    for number in 0..100 {
        let bearer = if number % 2 == 0 { UNKNOWN } else { UNSIGNED };
        let call = call(number, ACQUIRE, &[("authorization", bearer)], &[]);
        if raid.send(1, &call).await.is_none() {
            return;
        }
    }
    raid.wire.end().await;
}
