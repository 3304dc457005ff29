//! Everything at once: what honest callers feel of it.

use std::{net::SocketAddr, time::Duration};

use quotagate::{
    auth::token::{Hex, hash},
    duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::oneshot,
    time::{sleep, timeout},
};

use crate::{
    honest::{Fleet, percentile},
    horde::{Done, Horde},
    server::{Server, cpu_time},
};

/// How long the attack goes on where nobody says it.
const SHORT: Duration = Duration::from_secs(6);

/// Peace and attack take turns so often. Each pair is compared by itself, and the one
/// in the middle counts: what else the machine does comes and goes.
const ROUNDS: u32 = 5;

/// The program may have this in memory at most, whatever comes.
const MOST_MEMORY_KIB: u64 = 512 * 1024;

/// How often the longest waits of honest callers may be what they are in peace.
const MOST_RATIO: f64 = 2.0;

/// Percent of the answers that are not among the longest waits.
const PERCENT: usize = 99;

/// What honest callers show, and no attacker has.
const TOKEN: &str = "qg_known-to-honest-callers-alone";

/// What some time was like for honest callers.
struct Time {
    /// How long each answer took, in order of length.
    waits: Vec<Duration>,
    /// The service ran for so much of each second.
    busy: f64,
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

    let mut done: Vec<Done> = Vec::new();
    let mut ratios = Vec::new();
    let mut probes = 0;
    for round in 1..=ROUNDS {
        let peace = measured(&server, length / ROUNDS / 2).await;
        let horde = Horde::start(server.grpc, server.http).await;
        let (over, is_over) = oneshot::channel();
        let probing = tokio::spawn(probe(server.http, is_over));
        let war = measured(&server, length / ROUNDS).await;
        drop(over);
        let (more, ran) = horde.stop().await;
        probes += probing.await.expect("every probe is answered");
        server.check_alive("the attack");

        done.resize(more.len(), Done::default());
        done.iter_mut().zip(&more).for_each(|(done, more)| done.add(more));
        let ratio = war.wait(PERCENT).as_secs_f64() / peace.wait(PERCENT).as_secs_f64();
        ratios.push(ratio);
        println!(
            "{round}. in peace {peace}; under attack {war}: p{PERCENT} {ratio:.2} times as long; \
             the attackers ran for {ran:.1?}"
        );
    }

    println!("connections  requests      bytes");
    for Done { name, connections, requests, bytes } in &done {
        println!("{connections:>11} {requests:>9} {bytes:>10} {name}");
    }
    ratios.sort_unstable_by(f64::total_cmp);
    let ratio = ratios[ratios.len() / 2];
    let connections: u64 = done.iter().map(|done| done.connections).sum();
    let requests: u64 = done.iter().map(|done| done.requests).sum();
    println!(
        "{connections} connections and {requests} requests of attackers; honest callers waited \
         {ratio:.2} times as long in the median of {ROUNDS}; {probes} probes answered; {} KiB, at \
         most {} KiB",
        server.memory_kib(),
        server.peak_memory_kib(),
    );
    assert!(done.iter().all(|done| done.connections > 0), "that was no attack: {done:?}");
    assert!(server.peak_memory_kib() < MOST_MEMORY_KIB);
    if long.is_some() {
        assert!(ratio <= MOST_RATIO, "honest callers wait {ratio:.2} times as long");
    }
}

/// What honest callers feel during this time.
async fn measured(server: &Server, length: Duration) -> Time {
    let before = cpu_time(server.pid());
    let fleet = Fleet::start(server.grpc, TOKEN);
    sleep(length).await;
    let busy = (cpu_time(server.pid()) - before).as_secs_f64() / length.as_secs_f64();
    let waits = tokio::task::spawn_blocking(move || fleet.stop()).await;
    Time { waits: waits.expect("every honest caller is answered"), busy }
}

impl Time {
    fn wait(&self, percent: usize) -> Duration {
        percentile(&self.waits, percent)
    }
}

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "p50 {:.2?}, p{PERCENT} {:.2?} of {} answers, the service {:.1} % of a core",
            self.wait(50),
            self.wait(PERCENT),
            self.waits.len(),
            self.busy * 100.0
        )
    }
}

/// Asks as an orchestrator would, which restarts what does not answer: how often it
/// was answered until it was over.
async fn probe(address: SocketAddr, mut is_over: oneshot::Receiver<()>) -> u32 {
    const PATIENCE: Duration = Duration::from_secs(10);
    let mut answered = 0;
    while is_over.try_recv() == Err(oneshot::error::TryRecvError::Empty) {
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
