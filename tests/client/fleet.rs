//! Eight processes share a user's limit through guards: none is refused by
//! Salesforce, and next to nothing is left unused, also when one of them is killed.

use std::{env, process::Stdio, time::Duration};

use quotagate::{
    client::{AcquireError, Answer, Ask, Client},
    standin::{Latency, Limit, Options, StandIn, UserLimit, options::GET_ENTRIES},
};
use tokio::{
    io::{AsyncReadExt as _, stdin},
    process::{Child, Command},
    sync::Mutex,
    task::JoinSet,
    time::sleep,
};

use crate::{
    salesforce::{Call, Salesforce},
    world::{PATIENCE, Server},
};

const PROCESSES: usize = 8;
pub const CALLERS: usize = 8;
const MAX: u64 = 90;
pub const WINDOW: Duration = Duration::from_secs(2);
const WINDOWS: u64 = 10;

/// A call that is lost with its process counts in so many windows of two seconds:
/// until the permit's expiry, 1 s, then for the 5 s in which it may still arrive, and
/// then for the window. (Of a minute's windows it is two.)
const LOST_IN: u64 = 4;

/// The least part of the limit, in percent, that must be used: on a quiet machine 98
/// (`QUOTAGATE_FLEET_LEAST=98`). A minute passes in two seconds here, so where
/// processes wait for a processor, room stands empty meanwhile.
const LEAST: u32 = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_processes_use_a_limit_up_and_never_overrun_it() {
    // Each caller has one permit out.
    share("fleet::worker", CALLERS as u64).await;
}

/// Processes that run this test as a worker share a limit. One that is killed has
/// at most `held` calls that it was granted and did not report.
pub async fn share(worker: &str, held: u64) {
    // Two fleets at once would take the processors from each other.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
    let _turn = ONE_AT_A_TIME.lock().await;
    let server = Server::start().await;
    let options = Options {
        user_limits: vec![UserLimit { operation: GET_ENTRIES, limit: Limit::sliding(MAX, WINDOW) }],
        latency: Latency { min: Duration::ZERO, max: Duration::from_millis(5) },
        ..Options::default()
    };
    let salesforce = StandIn::start(options).await.expect("a free port");
    let start = || {
        let mut process = Command::new(env::current_exe().expect("it runs"));
        process.args(["--exact", worker, "--ignored", "--nocapture"]);
        process
            .env("FLEET_SERVER", server.addr.to_string())
            .env("FLEET_SALESFORCE", salesforce.url());
        process.stdin(Stdio::piped()).stdout(Stdio::null()).kill_on_drop(true);
        process.spawn().expect("it runs")
    };
    let mut workers: Vec<Child> = (0..PROCESSES).map(|_| start()).collect();
    // All of them are at work when the first window is over.
    salesforce.handle.arrived(MAX).await;
    sleep(WINDOW).await;
    let start_us = salesforce.handle.now_us();
    let length = WINDOW * u32::try_from(WINDOWS).expect("few");
    sleep(length / 2).await;
    let killed_us = salesforce.handle.now_us();
    workers.remove(0).kill().await.expect("it runs");
    sleep(length / 2).await;
    let end_us = salesforce.handle.now_us();
    for mut worker in workers {
        drop(worker.stdin.take());
        let status = tokio::time::timeout(PATIENCE, worker.wait()).await;
        assert!(status.expect("it ends").expect("it ran").success(), "a worker has failed");
    }

    let arrivals = salesforce.handle.arrivals();
    let refused = arrivals.iter().filter(|call| call.refusal.is_some()).count();
    assert_eq!((refused, salesforce.handle.overruns()), (0, vec![]));
    let least = env::var("QUOTAGATE_FLEET_LEAST").ok();
    let least = least.map_or(LEAST, |least| least.parse().expect("a percentage"));
    for (name, from, to, lost) in
        [("before", start_us, killed_us, 0), ("after", killed_us, end_us, held * LOST_IN)]
    {
        let times = arrivals.iter().map(|call| call.at_us).filter(|at| (from..to).contains(at));
        let share = share_of(times.collect());
        let lost = lost as f64 / (MAX * WINDOWS / 2) as f64;
        println!("{name} one is killed: {:.1} % of what the limit allows", share * 100.0);
        assert!(
            share >= f64::from(least) / 100.0 - lost,
            "{name} one was killed {:.1} % was used",
            share * 100.0
        );
    }
}

/// The part of the limit that these calls used. A limit that is used up at once is
/// used in bursts, of which a stretch of time has one more or less: so it is told from
/// how long so many calls take as a window allows.
fn share_of(mut times: Vec<u64>) -> f64 {
    times.sort_unstable();
    let later = times.iter().skip(usize::try_from(MAX).expect("few"));
    let mut cycles: Vec<u64> = times.iter().zip(later).map(|(from, to)| to - from).collect();
    cycles.sort_unstable();
    let median = cycles.get(cycles.len() / 2).expect("more calls than a window allows");
    WINDOW.as_micros() as f64 / *median as f64
}

/// One of the processes: it calls until its input ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "a process of the test above"]
async fn worker() {
    let variable = |name| env::var(name).expect("it is told");
    let client = Client::builder(&variable("FLEET_SERVER")).timeout(PATIENCE).build();
    let client = client.expect("an address");
    let salesforce = Salesforce::new(&variable("FLEET_SALESFORCE"));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        callers.spawn(call(client.clone(), salesforce.clone()));
    }
    let _ = stdin().read(&mut [0]).await;
    let fault = callers.try_join_next();
    assert!(fault.is_none(), "{fault:?}");
    callers.shutdown().await;
    client.close().await;
}

async fn call(client: Client, salesforce: Salesforce) {
    let ask = Ask::new("fleet", "entries.get").execution_user("ann").max_wait(WINDOW * 2);
    loop {
        let mut permit = match client.permit(&ask).await {
            Ok(permit) => permit,
            Err(AcquireError::Denied(_)) => continue,
            Err(error) => panic!("{error}"),
        };
        // A permit that came too late is of no use.
        let Ok(started) = permit.start() else { continue };
        let user = started.execution_user().to_owned();
        let request =
            Call { org: "fleet", user: &user, operation: GET_ENTRIES, runs: Duration::ZERO };
        let answer = salesforce.call(request).await;
        let mut told = Answer::new(u16::try_from(answer.status).expect("a status"));
        if let Some(info) = &answer.limit_info {
            told = told.limit_info(info);
        }
        started.report_later(told);
    }
}
