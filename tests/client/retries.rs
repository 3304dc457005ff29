//! What is asked again, and what is not.

use std::{collections::BTreeSet, time::Duration};

use quotagate::client::{AcquireError, Ask, Client};
use tokio::time::Instant;
use tonic::Code;

use crate::{
    fake::{Fake, Say},
    world::PATIENCE,
};

fn yes() -> Say {
    Say::Yes(Box::default())
}

/// Asks a server that answers like this: whether there is a permit, and after how
/// many tries. All tries have one id.
#[track_caller]
fn check(script: Vec<Say>, is_granted: bool, tries: usize) -> impl Future<Output = ()> {
    let place = std::panic::Location::caller();
    async move {
        let fake = Fake::start(script.clone()).await;
        let client = Client::builder(&fake.addr.to_string()).timeout(PATIENCE).build();
        let client = client.expect("an address");
        let answer = client.permit(&Ask::new("org", "rest")).await;
        let asked = fake.seen(|seen| seen.acquires.clone());
        assert_eq!((answer.is_ok(), asked.len()), (is_granted, tries), "{place}: {answer:?}");
        let ids: BTreeSet<_> = asked.iter().map(|asked| asked.request_id.as_str()).collect();
        assert!(ids.len() == 1 && !ids.contains(""), "{place}: {ids:?}");
        let is_own = matches!(
            answer,
            Err(AcquireError::Invalid(_)
                | AcquireError::NotFound(_)
                | AcquireError::PermissionDenied(_)
                | AcquireError::Unauthenticated(_))
        );
        assert_eq!(is_own, !is_granted && tries == 1 && !is_undecided(&script[0]), "{place}");
    }
}

fn is_undecided(say: &Say) -> bool {
    matches!(say, Say::No(Code::Internal | Code::Aborted, _))
}

#[tokio::test]
async fn what_was_not_decided_is_asked_again_and_what_was_refused_is_not() {
    use Code::{
        Aborted, Internal, InvalidArgument, NotFound, PermissionDenied, ResourceExhausted,
        Unauthenticated, Unavailable, Unimplemented, Unknown,
    };
    let soon = Some(Duration::from_millis(1));
    check(vec![yes()], true, 1).await;
    check(vec![Say::No(Unavailable, soon), yes()], true, 2).await;
    check(vec![Say::No(Unavailable, None), Say::No(ResourceExhausted, soon), yes()], true, 3).await;
    check(vec![Say::No(Unavailable, soon)], false, 4).await;
    check(vec![Say::Garbled(Unimplemented), Say::Garbled(Unknown), yes()], true, 3).await;
    check(vec![Say::Garbled(Internal)], false, 4).await;
    for code in [InvalidArgument, NotFound, PermissionDenied, Unauthenticated] {
        check(vec![Say::No(code, None)], false, 1).await;
        check(vec![Say::Garbled(code)], false, 1).await;
    }
    check(vec![Say::No(Internal, None)], false, 1).await;
    check(vec![Say::No(Aborted, None)], false, 1).await;
}

#[tokio::test]
async fn the_service_is_not_asked_before_the_time_that_it_names() {
    let wait = Duration::from_millis(300);
    let fake = Fake::start([Say::No(Code::Unavailable, Some(wait)), yes()]).await;
    let client = Client::builder(&fake.addr.to_string()).timeout(PATIENCE).build();
    let start = Instant::now();
    let permit = client.expect("an address").permit(&Ask::new("org", "rest")).await;
    assert!(permit.is_ok() && start.elapsed() >= wait);

    // There is no point in waiting beyond the deadline.
    let fake = Fake::start([Say::No(Code::Unavailable, Some(PATIENCE))]).await;
    let client = Client::builder(&fake.addr.to_string()).timeout(PATIENCE).build();
    let start = Instant::now();
    let error = client.expect("an address").permit(&Ask::new("org", "rest")).await;
    let error = error.expect_err("it cannot be decided");
    assert!(matches!(error, AcquireError::Unavailable(_)) && start.elapsed() < PATIENCE / 2);
    assert_eq!(error.retry_after(), Some(PATIENCE));
}

#[tokio::test]
async fn a_server_that_says_nothing_is_left_in_time_to_ask_another_one() {
    let (silent, lively) = (Fake::start([Say::Nothing]).await, Fake::start([yes()]).await);
    let servers = format!("{},{}", silent.addr, lively.addr);
    let client = Client::builder(&servers).timeout(Duration::from_secs(12)).build();
    let client = client.expect("addresses");
    // Whichever is asked first: two questions reach both.
    for _ in 0..2 {
        let permit = client.permit(&Ask::new("org", "rest")).await;
        drop(permit.expect("the other one answers"));
    }
    let silent = silent.seen(|seen| seen.acquires.clone());
    let lively = lively.seen(|seen| seen.acquires.clone());
    assert_eq!((silent.len() <= 2, lively.len()), (true, 2));
    for asked in &silent {
        assert!(lively.iter().any(|other| other.request_id == asked.request_id), "it is the same");
    }
}

#[tokio::test]
async fn questions_of_one_client_have_ids_of_their_own() {
    let fake = Fake::start([yes()]).await;
    let client = Client::builder(&fake.addr.to_string()).timeout(PATIENCE).build();
    let client = client.expect("an address").with_caller("inbox").expect("a name");
    for _ in 0..5 {
        drop(client.clone().permit(&Ask::new("org", "rest")).await);
    }
    drop(client.permit(&Ask::new("org", "rest").request_id("mine")).await);
    let asked = fake.seen(|seen| seen.acquires.clone());
    let ids: BTreeSet<_> = asked.iter().map(|asked| &asked.request_id).collect();
    assert_eq!((ids.len(), asked[5].request_id.as_str()), (6, "mine"));
    assert!(ids.iter().all(|id| id.len() <= 64), "{ids:?}");
}
