//! Local pools against the real service, and eight processes with one each.

use std::{env, time::Duration};

use quotagate::{
    client::{AcquireError, Answer, Ask, Client, DenialReason, Pool, PoolOptions},
    standin::options::GET_ENTRIES,
};
use tokio::{
    io::{AsyncReadExt as _, stdin},
    task::JoinSet,
};

use crate::{
    fleet::{CALLERS, WINDOW, share},
    salesforce::{Call, Salesforce},
    world::{PATIENCE, Server, eventually, nothing_is_left, tasks},
};

fn ask(operation: &str) -> Ask {
    Ask::new("pooled", operation).execution_user("ann")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn most_calls_are_local_and_all_of_them_are_counted() {
    const CALLS: u64 = 5_000;
    let server = Server::start().await;
    let client = server.client().build().expect("an address");
    let tasks_at_first = tasks();
    let pool = client
        .pool_with(&ask("rest"), PoolOptions { max_wait: PATIENCE, ..PoolOptions::default() });
    let mut local = 0;
    for _ in 0..CALLS {
        let call = match pool.try_acquire() {
            Some(call) => {
                local += 1;
                call
            }
            None => pool.acquire().await.expect("there is room"),
        };
        assert_eq!(call.execution_user(), "ann");
        call.start().expect("in time").report_later(Answer::new(200));
        tokio::task::yield_now().await;
    }
    assert!(local * 10 > CALLS * 9, "{local} of {CALLS}, growth included");
    assert!(pool.close().await);
    let used = async || server.limit(&client, "pooled", "calls").await.used_by_caller;
    eventually("what was not used has come back", async || used().await == CALLS).await;
    drop(pool);
    client.close().await;
    nothing_is_left(tasks_at_first).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_says_what_the_service_says() {
    let server = Server::start().await;
    let client = server.client().build().expect("an address");
    let pool = client.pool(&ask("deletes"));
    for _ in 0..10 {
        pool.start().await.expect("there is room").report_later(Answer::new(204));
    }
    let Err(AcquireError::Denied(denied)) = pool.start().await else { panic!("ten an hour") };
    assert_eq!(denied.reason, DenialReason::ExecutionUserLimit);
    assert!(denied.retry_after.expect("it is known") > Duration::from_secs(3_000));
    let unknown = client.pool(&ask("no-such-operation"));
    assert!(matches!(unknown.start().await, Err(AcquireError::NotFound(_))));
    // A 429 tells the service at once that somebody else uses this user.
    let entries = client.pool(&ask("entries.get"));
    entries.start().await.expect("there is room").report_later(Answer::new(429));
    eventually("the user cools down", async || {
        let refused = entries.start().await.err();
        matches!(refused, Some(AcquireError::Denied(denied)) if denied.reason == DenialReason::CoolingDown)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_processes_with_local_pools_use_a_limit_up_and_never_overrun_it() {
    // Its callers' calls, and as many fetched ahead.
    share("pooled::worker", 2 * CALLERS as u64).await;
}

/// One of the processes: it calls until its input ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "a process of the test above"]
async fn worker() {
    let variable = |name| env::var(name).expect("it is told");
    let client = Client::builder(&variable("FLEET_SERVER")).timeout(PATIENCE).build();
    let client = client.expect("an address");
    let ask = Ask::new("fleet", "entries.get").execution_user("ann").max_wait(WINDOW * 2);
    let pool = client.pool(&ask);
    let salesforce = Salesforce::new(&variable("FLEET_SALESFORCE"));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        callers.spawn(call(pool.clone(), salesforce.clone()));
    }
    let _ = stdin().read(&mut [0]).await;
    let fault = callers.try_join_next();
    assert!(fault.is_none(), "{fault:?}");
    callers.shutdown().await;
    pool.close().await;
}

async fn call(pool: Pool, salesforce: Salesforce) {
    loop {
        let call = match pool.start().await {
            Ok(call) => call,
            Err(AcquireError::Denied(_)) => continue,
            Err(error) => panic!("{error}"),
        };
        let user = call.execution_user();
        let request =
            Call { org: "fleet", user: &user, operation: GET_ENTRIES, runs: Duration::ZERO };
        let answer = salesforce.call(request).await;
        let mut told = Answer::new(u16::try_from(answer.status).expect("a status"));
        if let Some(info) = &answer.limit_info {
            told = told.limit_info(info);
        }
        call.report_later(told);
    }
}
