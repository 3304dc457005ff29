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
use world::{CALM, END, LIMIT, Seen, WINDOW};

fn check(seed: u64) -> Seen {
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
    seen
}

#[test]
fn no_fault_of_the_network_overruns_the_limit_and_service_comes_back() {
    let seeds = match std::env::var("QUOTAGATE_SEEDS") {
        Ok(text) => {
            let (from, to) = text.split_once("..").expect("QUOTAGATE_SEEDS=FROM..TO");
            from.parse().expect("a number")..to.parse().expect("a number")
        }
        Err(_) => 0..4,
    };
    for seed in seeds {
        check(seed);
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let (one, other) = (check(11), check(11));
    for (n, (one, other)) in one.trace.iter().zip(&other.trace).enumerate() {
        assert_eq!(one, other, "line {n} of the traces");
    }
    assert_eq!(one.hash(), other.hash());
    assert_ne!(one.hash(), check(12).hash());
}
