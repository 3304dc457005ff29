//! Many callers at the same instant, on one small limit.

use std::sync::Arc;

use quotagate::proto::v1::{
    AcquireRequest, DenialReason, acquire_response::Outcome,
    quota_service_client::QuotaServiceClient,
};
use tokio::{sync::Barrier, task::JoinSet};
use tonic::transport::{Channel, Endpoint};

use crate::program::{Home, Program, limit};

const CALLERS: usize = 16;

/// In each round all callers ask for calls of a fresh user, who has ten.
struct Round {
    name: &'static str,
    calls: u32,
    min_calls: u32,
    /// Calls that are granted in all.
    granted: u32,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_callers_get_exactly_what_a_small_limit_has() {
    let home = Home::new("");
    let server = home.start().await;
    let mut callers = Vec::new();
    for _ in 0..CALLERS {
        let endpoint = Endpoint::from_shared(format!("http://{}", server.grpc_addr));
        let channel = endpoint.expect("an address").connect().await.expect("it listens");
        callers.push(QuotaServiceClient::new(channel));
    }
    for round in [
        Round { name: "one-each", calls: 1, min_calls: 0, granted: 10 },
        Round { name: "three-or-none", calls: 3, min_calls: 0, granted: 9 },
        Round { name: "up-to-three", calls: 3, min_calls: 1, granted: 10 },
    ] {
        check(&server, &callers, &round).await;
    }
    server.keeps_its_invariants().await;
    server.stop().await;
}

async fn check(server: &Program, callers: &[QuotaServiceClient<Channel>], round: &Round) {
    for number in 0..100 {
        let (org, user) = (round.name, format!("u{number}"));
        let start = Arc::new(Barrier::new(callers.len()));
        let mut asks = JoinSet::new();
        for caller in callers {
            let (mut caller, start) = (caller.clone(), Arc::clone(&start));
            let request = AcquireRequest {
                org: org.into(),
                operation: "conversations.delete".into(),
                execution_user: user.clone(),
                calls: round.calls,
                min_calls: round.min_calls,
                ..Default::default()
            };
            asks.spawn(async move {
                start.wait().await;
                caller.acquire(request).await
            });
        }
        let mut granted = 0;
        while let Some(answer) = asks.join_next().await {
            let answer = answer.expect("no panic").expect("it decides").into_inner();
            match answer.outcome.expect("it says what") {
                Outcome::Permit(permit) => granted += permit.calls,
                Outcome::Denial(denial) => {
                    let reason = denial.reason();
                    assert_eq!(reason, DenialReason::ExecutionUserLimit, "{org}: {denial:?}");
                    assert!(denial.retry_after.is_some(), "{org}: {denial:?}");
                }
            }
        }
        assert_eq!(granted, round.granted, "{org}, round {number}");
    }
    let usage = server.usage(round.name).await;
    for number in 0..100 {
        let limit = limit(&usage, &format!("u{number}"), "conversation-deletes");
        let counted = limit.used_by_caller + limit.used_by_others;
        assert_eq!(counted, u64::from(round.granted), "{}, round {number}: {limit:?}", round.name);
    }
}
