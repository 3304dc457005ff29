//! What guards leave behind, as the real service counts it, and as it was said.

use std::time::Duration;

use prost_types::Timestamp;
use quotagate::client::{Advice, Answer, Ask, Client, Moment, Origin, PermitExpired};

use crate::{
    fake::{Fake, Say},
    world::{PATIENCE, Server, eventually, nothing_is_left, tasks},
};

fn deletes(org: &str, calls: u32) -> Ask {
    Ask::new(org, "deletes").execution_user("ann").calls(calls)
}

async fn fake() -> (Fake, Client) {
    let fake = Fake::start([Say::Yes(Default::default())]).await;
    let client = Client::builder(&fake.addr.to_string()).timeout(PATIENCE).build();
    (fake, client.expect("an address"))
}

#[tokio::test]
async fn what_was_not_started_comes_back_and_what_was_started_does_not() {
    let server = Server::start().await;
    let client = server.client().connect().await.expect("it listens");
    for (org, calls, started, unsent, used) in [
        ("none", 6, 0, 0, 0),
        ("some", 6, 2, 0, 2),
        ("all", 6, 6, 0, 6),
        ("unsent", 6, 2, 1, 1),
        ("all-unsent", 3, 3, 3, 0),
        ("one-unsent", 1, 1, 1, 0),
    ] {
        let mut permit = client.permit(&deletes(org, calls)).await.expect("there is room");
        assert_eq!((permit.origin(), permit.execution_user()), (Origin::Service, "ann"));
        let mut started: Vec<_> = (0..started).map(|_| permit.start().expect("in time")).collect();
        started.drain(..unsent).for_each(quotagate::client::Call::unsent);
        drop((started, permit));
        let is_used = async || server.limit(&client, org, "deletes").await.used_by_caller == used;
        eventually(&format!("{org}: {used} of {calls} are used"), is_used).await;
    }
}

#[tokio::test]
async fn parts_give_back_to_the_whole() {
    let (fake, client) = fake().await;
    let mut permit = client.permit(&deletes("org", 5)).await.expect("it is granted");
    let mut part = permit.split(3).expect("there are five");
    assert_eq!((permit.left(), part.left(), permit.split(3).is_none()), (2, 3, true));
    let from_part = part.start().expect("in time");
    let from_whole = permit.start().expect("in time");
    assert_eq!((from_part.ordinal(), from_whole.ordinal()), (0, 1));
    drop(part);
    assert_eq!(permit.left(), 3);
    let more = permit.start_many(2).expect("they came back");
    assert_eq!((more.ordinal(), more.calls(), permit.left()), (2, 2, 1));
    more.unsent();
    let again = permit.start().expect("in time");
    assert_eq!((again.ordinal(), permit.left()), (2, 2));
    for call in [from_part, from_whole, again] {
        call.report(Answer::new(200)).await;
    }
    permit.release();
    assert!(client.close().await);
    let (reports, releases) = fake.seen(|seen| (seen.reports.clone(), seen.releases.clone()));
    let ordinals: Vec<_> = reports.iter().map(|report| (report.first_call, report.calls)).collect();
    assert_eq!(ordinals, [(0, 1), (1, 1), (2, 1)]);
    let unused: Vec<_> = releases.iter().map(|release| release.unused_calls).collect();
    assert_eq!(unused, [Some(2)], "a permit is released once");
}

#[tokio::test]
async fn what_was_taken_back_from_between_others_goes_back_when_those_are_settled() {
    let (fake, client) = fake().await;
    let mut permit = client.permit(&deletes("org", 3)).await.expect("it is granted");
    let first = permit.start().expect("in time");
    let second = permit.start().expect("in time");
    first.unsent();
    drop(permit);
    second.report(Answer::new(200)).await;
    assert!(client.close().await);
    let (reports, releases) = fake.seen(|seen| (seen.reports.clone(), seen.releases.clone()));
    let ordinals: Vec<_> = reports.iter().map(|report| (report.first_call, report.calls)).collect();
    assert_eq!(ordinals, [(1, 1)]);
    let unused: Vec<_> = releases.iter().map(|release| release.unused_calls).collect();
    assert_eq!(unused, [Some(2)], "the first call and the third");
}

#[tokio::test]
async fn calls_with_one_outcome_have_numbers_in_a_row() {
    let (_fake, client) = fake().await;
    let mut permit = client.permit(&deletes("org", 3)).await.expect("it is granted");
    let first = permit.start().expect("in time");
    let second = permit.start().expect("in time");
    first.unsent();
    // 0 and 2 are left, with 1 between them.
    assert_eq!(permit.start_many(2).err(), Some(PermitExpired::NoneLeft));
    assert_eq!(permit.left(), 2, "nothing was taken");
    let ordinals = [(); 2].map(|()| permit.start().expect("in time").ordinal());
    assert_eq!(ordinals, [0, 2]);
    drop(second);
}

#[tokio::test]
async fn no_call_starts_beyond_the_permit() {
    let (_fake, client) = fake().await;
    let before = Moment::now();
    let mut permit = client.permit(&deletes("org", 1)).await.expect("it is granted");
    assert!(permit.deadline() >= before + Duration::from_secs(60));
    assert!(permit.deadline() <= Moment::now() + Duration::from_secs(60));
    let call = permit.start().expect("in time");
    assert_eq!(permit.start().err(), Some(PermitExpired::NoneLeft));
    assert_eq!(call.report(Answer::new(503)).await.back_off, Some(Duration::from_secs(1)));

    let server = Server::start().await;
    let client = server.client().connect().await.expect("it listens");
    let short = deletes("expired", 1).permit_ttl(Duration::from_millis(1));
    let mut permit = client.permit(&short).await.expect("it is granted");
    eventually("it expires", async || Moment::now() >= permit.deadline()).await;
    assert_eq!(permit.start().err(), Some(PermitExpired::Expired));
}

#[tokio::test]
async fn an_answer_is_reported_as_it_came() {
    let (fake, client) = fake().await;
    let mut permit = client.permit(&deletes("org", 4)).await.expect("it is granted");
    let answer = Answer::new(403)
        .limit_info("api-usage=18/5000")
        .limit_info("per-app-api-usage=17/250(appName=a)")
        .retry_after("7")
        .date("Tue, 15 Nov 1994 08:12:31 GMT")
        .body(br#"[{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "TotalRequests"}]"#);
    let told = permit.start().expect("in time").report(answer).await;
    assert!(told.is_settled);
    let stop = Answer::new(401).body(br#"{"error": "invalid", "error_description": "Session"}"#);
    assert_eq!(permit.start().expect("in time").report(stop).await.advice, Advice::Stop);
    let html = Answer::new(503)
        .date("Tue, 15 Nov 1994 08:12:31 GMT")
        .retry_after("Tue, 15 Nov 1994 08:12:41 GMT")
        .body("<html>ä".repeat(1_000).as_bytes());
    permit.start().expect("in time").report_later(html);
    drop(permit.start().expect("in time"));
    drop(permit);
    assert!(client.close().await);

    let mut reports = fake.seen(|seen| seen.reports.clone());
    reports.sort_unstable_by_key(|report| report.first_call);
    let [refused, stopped, garbled, lost] = &reports[..] else { panic!("{reports:#?}") };
    let date = Some(Timestamp { seconds: 784_887_151, nanos: 0 });
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    assert_eq!((refused.http_status, refused.answer_time), (403, date));
    assert_eq!(refused.limit_info.len(), 2);
    assert_eq!((refused.retry_after, garbled.retry_after), (seconds(7), seconds(10)));
    assert_eq!(refused.error_code, "REQUEST_LIMIT_EXCEEDED");
    assert_eq!(refused.error_message, "TotalRequests");
    assert_eq!((&*stopped.error_code, &*stopped.error_message), ("invalid", "Session"));
    assert_eq!(garbled.error_code, "");
    assert!(garbled.error_message.starts_with("<html>ä") && garbled.error_message.len() <= 1_024);
    assert_eq!((lost.http_status, lost.answer_time), (0, None));
    assert!(reports.iter().all(|report| report.completed_ago.is_some()));
    assert!(fake.seen(|seen| seen.releases.is_empty()), "all were started");
}

#[tokio::test]
async fn what_could_not_be_told_at_once_is_told_later_and_the_task_ends_with_the_client() {
    let before = tasks();
    let (fake, client) = fake().await;
    let mut permit = client.permit(&deletes("org", 3)).await.expect("it is granted");
    // More than one sending tries.
    fake.seen(|seen| seen.failures = 5);
    let told = permit.start().expect("in time").report(Answer::new(401)).await;
    assert_eq!((told.is_settled, told.advice), (false, Advice::Continue));
    drop((permit, client));
    let is_told = async || fake.seen(|seen| (seen.reports.len(), seen.releases.len())) == (1, 1);
    eventually("both are told", is_told).await;
    let release = fake.seen(|seen| seen.releases[0].clone());
    assert_eq!(release.unused_calls, Some(2));
    drop(fake);
    nothing_is_left(before).await;
}

#[tokio::test]
async fn a_report_that_nobody_waits_for_any_more_is_told_all_the_same() {
    let (fake, client) = fake().await;
    let mut permit = client.permit(&deletes("org", 1)).await.expect("it is granted");
    let call = permit.start().expect("in time");
    let mut report = Box::pin(call.report(Answer::new(200)));
    assert!(
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(report.as_mut().poll(context).is_pending())
        })
        .await
    );
    drop(report);
    assert!(client.close().await);
    let told = fake.seen(|seen| seen.reports.iter().any(|report| report.http_status == 200));
    assert!(told, "{:?}", fake.seen(|seen| seen.reports.clone()));
}

#[tokio::test]
async fn an_answer_is_told_also_when_the_permit_has_expired_meanwhile() {
    let (fake, client) = fake().await;
    let short = deletes("org", 1).permit_ttl(Duration::from_secs(1));
    let mut permit = client.permit(&short).await.expect("it is granted");
    let call = permit.start().expect("in time");
    eventually("it expires", async || Moment::now() >= permit.deadline()).await;
    // More than one sending tries: a slot is held until this is told.
    fake.seen(|seen| seen.failures = 5);
    call.report_later(Answer::new(200));
    eventually("it is told", async || fake.seen(|seen| seen.reports.len()) == 1).await;
}
