//! Every order of events in a small world; and every planted fault is found.

#[path = "mod.rs"]
#[allow(dead_code, unused_imports, reason = "the example uses the rest")]
mod model;

use model::{Fault, Settings, check};

#[test]
fn no_order_of_events_overruns_the_limit() {
    let verdict = check(&Settings::default(), 0, 2, |_| ());
    println!("{verdict}");
    assert!(verdict.is_good(), "{verdict}");
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
