//! What is asked again, and what is not.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use quotagate::{
    client::{AcquireError, Ask, Client},
    proto::v1::AcquireRequest,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy, copy_bidirectional},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf},
    time::Instant,
};
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

/// Frames of HTTP/2 (RFC 9113, section 6).
const DATA: u8 = 0;
const GOAWAY: u8 = 7;

/// The next frame, its head before its payload; `None` at the end.
async fn frame(from: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let mut head = [0; 9];
    from.read_exact(&mut head).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    let mut frame = head.to_vec();
    frame.resize(head.len() + length, 0);
    from.read_exact(&mut frame[head.len()..]).await.ok()?;
    Some(frame)
}

/// Leads to a server until a message comes that has this text. Says then that it goes
/// away without an error, and that it takes no stream: it has begun none.
async fn goes_away(client: TcpStream, server: SocketAddr, text: &str) {
    let server = TcpStream::connect(server).await.expect("it is there");
    let (mut answers, mut server) = server.into_split();
    let (mut asked, mut client) = client.into_split();
    let mut preface = [0; 24];
    asked.read_exact(&mut preface).await.expect("the preface");
    server.write_all(&preface).await.expect("it is open");
    let until_then = async {
        while let Some(frame) = frame(&mut asked).await {
            if frame[3] == DATA && frame.windows(text.len()).any(|part| part == text.as_bytes()) {
                break;
            }
            server.write_all(&frame).await.expect("it is open");
        }
    };
    tokio::select! {
        () = until_then => {}
        copied = copy(&mut answers, &mut client) => panic!("the server ended: {copied:?}"),
    }
    let payload = [0; 8];
    let head = [0, 0, 8, GOAWAY, 0, 0, 0, 0, 0];
    client.write_all(&[&head[..], &payload].concat()).await.expect("it is open");
    client.shutdown().await.expect("it is open");
    // The client closes it, having read that.
    while frame(&mut asked).await.is_some() {}
}

/// The address of something that goes away at the first question about this org, and
/// leads to a server before and after that.
async fn before(server: SocketAddr, org: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        let (first, _) = listener.accept().await.expect("a connection");
        tokio::spawn(goes_away(first, server, org));
        loop {
            let (mut next, _) = listener.accept().await.expect("a connection");
            tokio::spawn(async move {
                let mut server = TcpStream::connect(server).await.expect("it is there");
                copy_bidirectional(&mut next, &mut server).await
            });
        }
    });
    addr
}

#[tokio::test]
async fn what_a_server_that_goes_away_has_not_begun_is_asked_again_whatever_it_is() {
    let fake = Fake::start([yes()]).await;
    let addr = before(fake.addr, "org-of-one-who-goes").await;
    let client = Client::builder(&addr.to_string()).timeout(PATIENCE).build();
    let client = client.expect("an address");
    // Without a request id: nothing that may have been begun is asked again.
    let request = AcquireRequest { org: "org-of-one-who-goes".into(), ..Default::default() };
    let answer = client.acquire(request).await;
    assert!(answer.is_ok(), "{answer:?}");
    assert_eq!(fake.seen(|seen| seen.acquires.len()), 1);
}
