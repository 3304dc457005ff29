//! What is granted, what is refused, and what a refusal says.

use quotagate::quota::{AskError, Class, DenialReason};

use crate::bench::*;

#[test]
fn ninety_reads_a_minute_and_not_one_more() {
    let mut bench = Bench::of(org());
    for _ in 0..90 {
        bench.grant(ask(READ));
    }
    let denial = bench.deny(ask(READ));
    assert_eq!(denial.reason, DenialReason::ExecutionUserLimit);
    assert_eq!(bench.of_user("alice", "entries").remaining, 0);
}
