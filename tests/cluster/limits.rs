//! The world's limits: short, so that many windows pass in a test. The service
//! is told of them, the stand-in enforces them, and the checks count by them.

use std::time::Duration;

use quotagate::standin::{
    Latency, Limit, Options, UserLimit,
    options::{DELETE_CONVERSATION, DELETE_PARTICIPANT, GET_ENTRIES, REST},
};

/// A limit of every execution user.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// The operation that it counts.
    pub operation: &'static str,
    /// Its name in the catalogue.
    pub name: &'static str,
    pub max: u64,
    pub window: Duration,
}

/// A call that runs for some time, of which an org may have few at once.
pub const LONG: &str = "rest.long";

/// An operation that has room: nobody calls Salesforce with it.
pub const ROOMY: &str = "roomy";

/// What Salesforce enforces for each user.
pub const STRICT: [Spec; 3] = [
    Spec { operation: GET_ENTRIES, name: "entries", max: 20, window: Duration::from_secs(2) },
    Spec {
        operation: DELETE_PARTICIPANT,
        name: "participant-deletes",
        max: 6,
        window: Duration::from_secs(3),
    },
    Spec {
        operation: DELETE_CONVERSATION,
        name: "conversation-deletes",
        max: 3,
        window: Duration::from_secs(1),
    },
];

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The org's total, as a limit: `rest` and [`LONG`] count.
pub const fn total(max: u64) -> Spec {
    Spec { operation: REST, name: "calls", max, window: DAY }
}

/// The limit of [`ROOMY`].
pub const PLENTY: Spec =
    Spec { operation: ROOMY, name: "plenty", max: 1_000_000, window: Duration::from_secs(60 * 60) };

/// How many long calls an org may have at once.
const SLOTS: usize = 2;

/// A call is long from this on.
const LONG_FROM: Duration = Duration::from_millis(20);

/// The service's configuration. An org has `daily_calls` in all.
pub fn config(daily_calls: u64) -> String {
    let user_limits = STRICT.iter().chain([&PLENTY]).map(|spec| {
        let Spec { operation, name, max, window } = spec;
        let window = window.as_secs();
        format!(
            "  {operation}: {{charges: [{{limit: {name}, scope: execution_user, max: {max}, \
             window: {window}s}}]}}\n"
        )
    });
    format!(
        "template: {{daily_calls: {daily_calls}, concurrent_calls: {SLOTS}, reserve_percent: 0}}\n\
         catalogue:\n{}  {LONG}: {{charges: [{{limit: calls, scope: org}}, {{limit: long, scope: \
         org, kind: concurrency, max_duration: 1s}}]}}\n",
        user_limits.collect::<String>()
    )
}

/// The stand-in that enforces the same.
pub fn salesforce(daily_calls: u64) -> Options {
    let user_limit = |spec: &Spec| UserLimit {
        operation: spec.operation,
        limit: Limit::sliding(spec.max, spec.window),
    };
    Options {
        user_limits: STRICT.iter().map(user_limit).collect(),
        org_limit: Limit::sliding(daily_calls, DAY),
        long_running_slots: SLOTS,
        long_running_from: LONG_FROM,
        latency: Latency { min: Duration::ZERO, max: Duration::from_millis(10) },
        ..Options::default()
    }
}

#[test]
fn the_configuration_is_good() {
    let faults = quotagate::config::Config::parse(&config(100)).err();
    assert!(faults.is_none(), "{faults:?}\n{}", config(100));
}
