//! Callers that saturate one limit, in real time.
//!
//! By itself a minute passes in two seconds. With `QUOTAGATE_SOAK=10m` it is a
//! real minute, for as many whole cycles as fit into that time after the first:
//!
//! ```sh
//! QUOTAGATE_SOAK=10m cargo test --all-features --test process saturate -- --nocapture
//! ```

use std::time::Duration;

use quotagate::standin::{
    Handle, Latency, Limit, Options, StandIn, UserLimit, options::GET_ENTRIES,
};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use crate::{
    fleet::{Fleet, Job, Service},
    program::Home,
};

/// The limit.
const CALLS: usize = 90;

const MINUTE: Duration = Duration::from_secs(60);

/// A call takes this long, of a minute.
const CALL: Duration = Duration::from_millis(100);

/// A permit that nobody reports lives this long, of a minute.
const UNREPORTED_TTL: Duration = Duration::from_secs(2);

/// What a call that nobody reports pays, whatever a minute is.
const TRAVEL: Duration = Duration::from_secs(5);

/// A figure is printed; what is checked has nothing to do with speed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_saturate_a_limit_are_never_refused() {
    let soak = std::env::var("QUOTAGATE_SOAK").ok();
    let soak = soak.map(|text| quotagate::duration::parse(&text).expect("such as 10m"));
    let window = if soak.is_some() { MINUTE } else { Duration::from_secs(2) };
    let scale = window.as_secs_f64() / MINUTE.as_secs_f64();
    let cycles_in = |time: Duration, cycle: Duration| {
        usize::try_from((time.as_millis() / cycle.as_millis()).max(1)).expect("a few")
    };
    let reported = cycles_in(soak.unwrap_or(window * 5), window);
    let unreported = cycles_in(soak.unwrap_or(window * 5), window + TRAVEL);

    let options = Options {
        user_limits: vec![UserLimit {
            operation: GET_ENTRIES,
            limit: Limit::sliding(CALLS as u64, window),
        }],
        latency: Latency::fixed(CALL.mul_f64(scale)),
        ..Options::default()
    };
    let salesforce = StandIn::start(options).await.expect("a free port");
    let home = Home::new(&format!(
        "catalogue: {{{GET_ENTRIES}: {{charges: [{{limit: entries, scope: execution_user, \
         max: {CALLS}, window: {}s}}]}}}}",
        window.as_secs()
    ));
    let server = home.start().await;
    let (_move, service) = watch::channel(Service { quota: server.quota.clone(), generation: 0 });
    let job = Job {
        org: "00Do",
        operation: GET_ENTRIES,
        user: "reported",
        callers: 16,
        ttl: None,
        runs: Duration::ZERO,
        reports: true,
    };
    let silent = Job {
        user: "silent",
        ttl: Some(UNREPORTED_TTL.mul_f64(scale)),
        reports: false,
        ..job.clone()
    };
    let _fleet = Fleet::start(&[job, silent], &service, &salesforce.url());

    let patience = (window + TRAVEL) * (3 * u32::try_from(unreported).expect("a few") + 10);
    let done = timeout(patience, async {
        let silent = progress(&salesforce.handle, "silent0", unreported, window);
        tokio::join!(progress(&salesforce.handle, "reported0", reported, window), silent)
    });
    done.await.expect("calls go on");
    assert_eq!(salesforce.handle.counts().refused(), 0);
    assert_eq!(salesforce.handle.overruns(), []);
    server.keeps_its_invariants().await;
    server.stop().await;
}

/// Returns when a user has had one cycle and then so many more, and tells how
/// much of its limit it used: k × T divided by the time in which k × L calls
/// arrive.
async fn progress(handle: &Handle, user: &str, cycles: usize, window: Duration) {
    let start = Instant::now();
    let mut arrived = 0;
    for cycle in 0..=cycles {
        let moments = loop {
            handle.arrived(arrived + 1).await;
            let arrivals = handle.arrivals();
            arrived = arrivals.len() as u64;
            let mine = arrivals.iter().filter(|arrival| &*arrival.user == user);
            let moments: Vec<u64> = mine.map(|arrival| arrival.at_us).collect();
            if moments.len() > (cycle + 1) * CALLS {
                break moments;
            }
        };
        let time_us = (moments[(cycle + 1) * CALLS] - moments[CALLS]).max(1);
        let due_us = cycle as u128 * window.as_micros();
        println!(
            "{user}: {:3} s, {cycle} of {cycles} cycles of {window:?}, {:.2} % used",
            start.elapsed().as_secs(),
            due_us as f64 / time_us as f64 * 100.0
        );
    }
}
