//! The real service, the real client of etcd and the real protocols, between
//! hosts of a simulated network, in simulated time: nodes and members of etcd
//! are killed, cut off from each other, and held up. Whatever happens, no more
//! calls arrive in any window than the limit allows; and when nothing happens
//! any more, service is back.

#![cfg(feature = "server")]

#[path = "../common/fake_etcd/mod.rs"]
mod fake_etcd;
mod wire;
mod world;

use quotagate::standin::arrivals::worst_window;
use world::{CALM, END, LIMIT, WINDOW};

fn check(seed: u64) {
    let seen = world::run(seed);
    let units: Vec<_> = seen.arrivals.iter().map(|at_us| (*at_us, 1)).collect();
    let window_us = u64::try_from(WINDOW.as_micros()).expect("a window is short");
    let most = worst_window(&units, window_us);
    println!(
        "seed {seed}: {} faults, {} calls, {most} of {LIMIT} in the fullest window, {} calls \
         after the last fault, trace {:016x}",
        seen.faults,
        seen.arrivals.len(),
        seen.arrivals_after(CALM),
        seen.hash()
    );
    if std::env::var_os("QUOTAGATE_TRACE").is_some() {
        seen.trace.iter().for_each(|line| println!("{line}"));
    }
    assert!(most <= LIMIT, "seed {seed}: {most} calls in a window of {LIMIT}");
    // Without takeovers a window or so would be lost.
    let windows = (END - WINDOW - CALM).as_secs() / WINDOW.as_secs();
    let least = usize::try_from(windows * LIMIT / 4).expect("a limit is small");
    assert!(seen.arrivals_after(CALM) >= least, "seed {seed}: service does not come back");
}

#[test]
fn no_fault_of_the_network_overruns_the_limit_and_service_comes_back() {
    if let Ok(filter) = std::env::var("QUOTAGATE_LOG") {
        let filter = tracing_subscriber::EnvFilter::new(filter);
        tracing_subscriber::fmt().with_env_filter(filter).without_time().init();
    }
    let seeds = match std::env::var("QUOTAGATE_SEEDS") {
        Ok(text) => {
            let (from, to) = text.split_once("..").expect("QUOTAGATE_SEEDS=FROM..TO");
            from.parse().expect("a number")..to.parse().expect("a number")
        }
        Err(_) => 0..2,
    };
    for seed in seeds {
        check(seed);
    }
}

/// Whoever looks for a bug can repeat it: nothing but the seed decides what
/// happens, neither the machine's clock and load nor tokio's own dice.
#[test]
fn the_same_seed_gives_the_same_trace() {
    const SEED: u64 = 0;
    let runs = [(); 2].map(|()| std::thread::spawn(|| world::run(SEED)));
    let [one, other] = runs.map(|run| run.join().expect("the world runs to its end"));
    let differ = one.trace.iter().zip(&other.trace).position(|(one, other)| one != other);
    if let Some(at) = differ {
        panic!("line {at} differs: {:?}, {:?}", one.trace[at], other.trace[at]);
    }
    assert_eq!(one.trace.len(), other.trace.len(), "one of them goes on longer");
    assert_eq!(one.arrivals, other.arrivals);
    assert_eq!(one.store, other.store, "the store saw other changes");
}
