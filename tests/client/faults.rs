//! Servers that are killed, move, come back, say nothing, or speak something else:
//! each traffic class does what its outage policy says, in time, and nothing is
//! left behind.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    num::NonZeroU32,
    thread,
    time::Duration,
};

use quotagate::{
    client::{
        AcquireError, Answer, Ask, Client, ClientBuilder, Origin, OutagePolicy, TrafficClass,
    },
    proto::v1::{LimitKind, LimitUsage},
};
use tokio::time::{Instant, sleep};

use crate::{
    fake::{Fake, Say},
    world::{PATIENCE, Server, eventually, nothing_is_left, tasks},
};

/// Of the client in an outage.
const TIMEOUT: Duration = Duration::from_millis(500);

/// The client has half a second more by its contract; this machine may be busy.
const SLACK: Duration = Duration::from_secs(2);

/// Of what the service never grants, one process of two has this.
const PART: usize = 9;

/// The client that knows no answer yet is closed whatever its policy says.
fn client(addr: SocketAddr) -> ClientBuilder {
    let processes = NonZeroU32::new(2).expect("not zero");
    Client::builder(&addr.to_string())
        .timeout(TIMEOUT)
        .outage(OutagePolicy::Closed)
        .outage_of(TrafficClass::Event, OutagePolicy::Safe { processes })
        .outage_of(TrafficClass::Interactive, OutagePolicy::Open)
}

fn entries(class: TrafficClass) -> Ask {
    Ask::new("org", "entries.get").execution_user("ann").traffic_class(class)
}

/// Asks during an outage: each class does what its policy says, in time. So many
/// calls are let through of the class that uses the outage's share.
async fn check_outage(client: &Client, what: &str, safe: usize) {
    let asked = async |class| {
        let start = Instant::now();
        let answer = client.permit(&entries(class)).await;
        assert!(start.elapsed() < TIMEOUT + SLACK, "{what}: after {:?}", start.elapsed());
        answer
    };
    let open = asked(TrafficClass::Interactive).await.expect(what);
    assert_eq!((open.origin(), open.id()), (Origin::Outage, ""), "{what}");
    for class in [TrafficClass::Bulk, TrafficClass::Control] {
        let error = asked(class).await.expect_err(what);
        assert!(matches!(error, AcquireError::Unavailable(_)), "{what}: {error}");
    }
    for call in 0..safe {
        let mut permit = asked(TrafficClass::Event).await.expect(what);
        assert_eq!((permit.origin(), permit.execution_user()), (Origin::Outage, "ann"));
        // What is not started gives its room back at once.
        let again = asked(TrafficClass::Event).await;
        drop(again);
        let call_of = permit.start().expect("in time");
        if call % 2 == 0 {
            drop(call_of)
        } else {
            call_of.report(Answer::new(500)).await;
        }
    }
    let error = asked(TrafficClass::Event).await.expect_err(what);
    assert!(matches!(error, AcquireError::Unavailable(_)), "{what}: {error}");
}

#[tokio::test]
async fn a_server_that_is_not_there_says_nothing_or_talks_otherwise_is_an_outage() {
    let gone = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr();
    for (what, addr) in [
        ("nobody listens", gone.expect("it was bound")),
        ("it says nothing", speaks(&[])),
        ("it speaks HTTP/1.1", speaks(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")),
        ("it speaks nothing known", speaks(&[0xa5; 4_096])),
        ("it hangs up", hangs_up()),
    ] {
        let before = tasks();
        let client = client(addr).build().expect("an address");
        check_outage(&client, what, 0).await;
        assert!(client.close().await, "{what}: nothing is to be settled");
        nothing_is_left(before).await;
    }
}

#[tokio::test]
async fn an_outage_is_bridged_by_this_processs_part_of_what_is_never_granted() {
    let limit = LimitUsage {
        name: "entries".into(),
        kind: LimitKind::Window.into(),
        max: 90,
        window: Some(prost_types::Duration { seconds: 3_600, nanos: 0 }),
        outage_share: 2 * PART as u64 + 1,
        ..LimitUsage::default()
    };
    let before = tasks();
    let fake = Fake::start([Say::Yes(limit)]).await;
    let client = client(fake.addr).build().expect("an address");
    let permit = client.permit(&entries(TrafficClass::Event)).await.expect("it is granted");
    assert_eq!(permit.origin(), Origin::Service);
    drop((permit, fake));
    check_outage(&client, "the server has gone", PART).await;
    client.close().await;
    nothing_is_left(before).await;
}

#[tokio::test]
async fn a_server_that_is_killed_and_comes_back_is_found_again() {
    let before = tasks();
    let server = Server::start().await;
    let addr = server.addr;
    let client = client(addr).build().expect("an address");
    let ask = entries(TrafficClass::Event);
    let granted = async || client.permit(&ask).await.is_ok_and(|p| p.origin() == Origin::Service);
    for _ in 0..2 {
        eventually("it is asked", granted).await;
    }
    drop(server);
    eventually("it is away", async || !granted().await).await;
    let _server = Server::start_on(addr).await;
    eventually("it is asked again", granted).await;
    client.close().await;
    nothing_is_left(before).await;
}

#[tokio::test]
async fn of_two_servers_one_may_stop_or_be_killed_and_no_question_fails() {
    for is_in_order in [true, false] {
        let before = tasks();
        let servers = [Server::start().await, Server::start().await];
        let addresses = servers.each_ref().map(|server| server.addr.to_string());
        let client = Client::builder(&addresses.join(",")).timeout(PATIENCE).connect().await;
        let client = client.expect("they listen");
        let [first, _second] = servers;
        let asking = {
            let client = client.clone();
            tokio::spawn(async move {
                let until = Instant::now() + Duration::from_secs(2);
                let mut granted = 0;
                while Instant::now() < until {
                    // Dropped: it is not used up.
                    let ask = entries(TrafficClass::Bulk);
                    let permit = client.permit(&ask).await;
                    granted += u32::from(permit.inspect_err(|e| panic!("{e}")).is_ok());
                }
                granted
            })
        };
        sleep(Duration::from_millis(500)).await;
        if is_in_order {
            first.stop().await
        } else {
            drop(first)
        }
        assert!(asking.await.expect("no question fails") > 0);
        assert!(client.close().await);
        nothing_is_left(before).await;
    }
}

/// A server that says this to everybody, and then nothing, for ever.
fn speaks(text: &'static [u8]) -> SocketAddr {
    serves(move |mut connection| {
        let _ = connection.write_all(text);
        let mut dust = [0; 1_024];
        while connection.read(&mut dust).is_ok_and(|read| read > 0) {}
    })
}

fn hangs_up() -> SocketAddr {
    serves(drop)
}

fn serves(serve: impl Fn(std::net::TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let serve = serve.clone();
            thread::spawn(move || serve(connection));
        }
    });
    addr
}
