//! kill -9 in mid-traffic, again and again, on the same store.

use std::{collections::BTreeMap, time::Duration};

use quotagate::{
    proto::v1::{LimitUsage, OrgUsage},
    standin::{
        Latency, Limit, Options, StandIn, UserLimit,
        options::{DELETE_CONVERSATION, DELETE_PARTICIPANT, GET_ENTRIES},
    },
};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use crate::{
    fleet::{Fleet, Job, Service},
    program::Home,
};

const CRASHES: usize = 50;

/// Lost blocks count for a while after a crash: so many crashes, then callers
/// go on as users who have not lost any.
const CRASHES_PER_USER: usize = 3;

/// What chance decides comes from here.
const SEED: u64 = 7;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The org's total: few enough to be used up while the test runs.
const TOTAL: u64 = 1_000;

const CONFIG: &str = "
template: {daily_calls: 1000, concurrent_calls: 5, reserve_percent: 0}
catalogue:
  conversation-entries.get: {charges: [{limit: entries, scope: execution_user, max: 40, window: 2s}]}
  conversation-participants.delete: {charges: [{limit: participant-deletes, scope: execution_user, max: 10, window: 3s}]}
  conversations.delete: {charges: [{limit: conversation-deletes, scope: execution_user, max: 4, window: 1s}]}
  rest.long: {charges: [{limit: calls, scope: org}, {limit: long, scope: org, kind: concurrency, max_duration: 1s}]}
";

fn salesforce() -> Options {
    let limit = |operation, max, seconds| UserLimit {
        operation,
        limit: Limit::sliding(max, Duration::from_secs(seconds)),
    };
    Options {
        user_limits: vec![
            limit(GET_ENTRIES, 40, 2),
            limit(DELETE_PARTICIPANT, 10, 3),
            limit(DELETE_CONVERSATION, 4, 1),
        ],
        org_limit: Limit::sliding(TOTAL, DAY),
        long_running_slots: 5,
        long_running_from: Duration::from_millis(20),
        latency: Latency { min: Duration::ZERO, max: Duration::from_millis(10) },
        ..Options::default()
    }
}

fn jobs() -> Vec<Job> {
    let entries = Job {
        org: "00Do",
        operation: GET_ENTRIES,
        user: "a",
        callers: 4,
        ttl: Some(Duration::from_millis(500)),
        runs: Duration::ZERO,
        reports: true,
    };
    vec![
        entries.clone(),
        Job { user: "b", reports: false, ..entries.clone() },
        Job { operation: DELETE_PARTICIPANT, callers: 2, ..entries.clone() },
        Job { operation: DELETE_CONVERSATION, callers: 2, ..entries.clone() },
        Job { operation: "rest", callers: 3, ..entries.clone() },
        Job { operation: "rest.long", runs: Duration::from_millis(30), callers: 8, ..entries },
    ]
}

/// The most that a crash may waste of a counter: a block, or what the callers
/// of the counter had asked for together.
fn most_wasted(limit: &str) -> u64 {
    let (block, asked) = match limit {
        "entries" => (40 / 20, 4),
        "participant-deletes" | "conversation-deletes" => (1, 2),
        "long" => (1, 8),
        _ => (TOTAL / 200, 3 + 8),
    };
    block.max(asked)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_kills_in_mid_traffic_let_no_call_through_that_is_too_many() {
    let mut random = fastrand::Rng::with_seed(SEED);
    let salesforce = StandIn::start(salesforce()).await.expect("a free port");
    let home = Home::new(CONFIG);
    let mut server = home.start().await;
    let (tell, service) = watch::channel(Service { quota: server.quota.clone(), generation: 0 });
    let _fleet = Fleet::start(&jobs(), &service, &salesforce.url());
    let mut held = BTreeMap::new();
    let mut wasted = BTreeMap::<String, u64>::new();
    for crash in 0..CRASHES {
        // Most in mid-traffic, a while after the first calls.
        if random.u8(0..8) > 0 {
            goes_on(&salesforce, 1).await;
        }
        sleep(Duration::from_millis(random.u64(0..300))).await;
        server.keeps_its_invariants().await;
        server.kill().await;
        if random.u8(0..8) == 0 {
            let mut starting = home.spawn();
            sleep(Duration::from_millis(random.u64(0..100))).await;
            starting.kill().await.expect("it is killed");
        }
        server = home.start().await;
        let usage = server.usage("00Do").await;
        knows_what_has_arrived(crash, &usage, &salesforce);
        let after = held_of(&usage);
        for (counter, units) in &after {
            let before = held.get(counter).copied().unwrap_or(0);
            let (_, limit) = counter;
            let most = most_wasted(limit);
            assert!(
                *units <= before + most,
                "crash {crash}: {counter:?} held {before} and now {units}; {most} may be wasted"
            );
            *wasted.entry(limit.clone()).or_default() += units.saturating_sub(before);
        }
        held = after;
        let generation = (crash + 1) / CRASHES_PER_USER;
        tell.send_replace(Service { quota: server.quota.clone(), generation });
    }
    goes_on(&salesforce, 50).await;
    server.keeps_its_invariants().await;
    server.stop().await;
    let counts = salesforce.handle.counts();
    let total = salesforce.handle.org_usage("00Do");
    println!(
        "{CRASHES} crashes, {} calls, {} of {} of the total, wasted at least {wasted:?}",
        counts.accepted, total.used, total.max
    );
    assert_eq!(salesforce.handle.overruns(), []);
    assert_eq!(counts.refused(), 0, "{counts:?}");
}

/// Returns when so many more calls have arrived.
async fn goes_on(salesforce: &StandIn, calls: u64) {
    let arrived = salesforce.handle.counts().arrived();
    let more = salesforce.handle.arrived(arrived + calls);
    timeout(Duration::from_secs(60), more).await.expect("calls go on");
}

/// Whatever Salesforce counts still was granted before the crash, so it is counted.
fn knows_what_has_arrived(crash: usize, usage: &OrgUsage, salesforce: &StandIn) {
    let known = |identity: &str, name: &str| -> u64 {
        let limits = limits_of(usage).filter(|limit| limit.identity == identity);
        let named = limits.filter(|limit| limit.name == name);
        named.map(|limit| limit.used_by_caller + limit.used_by_others + limit.held).sum()
    };
    let total = salesforce.handle.org_usage("00Do").used;
    assert!(known("00Do", "calls") >= total, "crash {crash}: {total} calls, {usage:#?}");
    let users = (0..=crash / CRASHES_PER_USER).flat_map(|n| [format!("a{n}"), format!("b{n}")]);
    for user in users {
        for (operation, name) in [
            (GET_ENTRIES, "entries"),
            (DELETE_PARTICIPANT, "participant-deletes"),
            (DELETE_CONVERSATION, "conversation-deletes"),
        ] {
            let arrived = salesforce.handle.user_usage("00Do", &user, operation);
            let arrived = arrived.expect("it has a limit").used;
            let known = known(&user, name);
            assert!(known >= arrived, "crash {crash}: {arrived} {name} of {user}, {usage:#?}");
        }
    }
}

/// What each counter holds: by identity and name.
fn held_of(usage: &OrgUsage) -> BTreeMap<(String, String), u64> {
    let of = |limit: &LimitUsage| (limit.identity.clone(), limit.name.clone());
    limits_of(usage).map(|limit| (of(limit), limit.held)).collect()
}

fn limits_of(usage: &OrgUsage) -> impl Iterator<Item = &LimitUsage> {
    let users = usage.execution_users.iter().flat_map(|user| &user.limits);
    usage.limits.iter().chain(users)
}
