//! Every order of events in a small world; and every planted fault is found.

#[path = "mod.rs"]
#[allow(dead_code, unused_imports, reason = "the example uses the rest")]
mod model;

use model::{Fault, Settings, check};

/// (nodes, limit, transactions in flight, steps; 0: every world there is).
const WORLDS: [(usize, usize, usize, usize); 3] = [(2, 1, 1, 0), (2, 2, 2, 16), (3, 2, 2, 13)];

#[test]
fn no_order_of_events_overruns_the_limit() {
    for (nodes, limit, in_flight, depth) in WORLDS {
        let settings = Settings { nodes, limit, in_flight, ..Settings::default() };
        let verdict = check(&settings, depth, 2, |_| ());
        println!("{verdict}\n");
        assert!(verdict.is_good(), "{settings:?}:\n{verdict}");
    }
}

#[test]
fn every_planted_fault_is_found() {
    for (fault, name, _) in Fault::ALL {
        let settings = Settings { fault: Some(fault), ..Settings::default() };
        let verdict = check(&settings, 0, 2, |_| ());
        println!("=== {name}\n{verdict}");
        assert!(verdict.violation().is_some(), "{name} breaks nothing:\n{verdict}");
    }
}
