//! Connections as a client sees them on the wire: when they are given up, and that
//! nothing is lost with them.

use std::{net::SocketAddr, time::Duration};

use prost::Message as _;
use quotagate::proto::v1::{self, acquire_response::Outcome};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    common::TestServer,
    talk::{acquire, seconds},
};

/// At most one call at a time, of any length.
const SLOT: &str = "
catalogue:
  slot: {charges: [{limit: slot, scope: org, kind: concurrency, max: 1, max_duration: 10m}]}
";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// One frame of HTTP/2.
#[derive(Debug)]
struct Frame {
    kind: u8,
    flags: u8,
    payload: Vec<u8>,
}

/// A connection of HTTP/2, by hand: no library stands between the test and what
/// the server says.
struct Wire {
    stream: TcpStream,
    /// What came on stream 1 so far, and whether that is all.
    answer: Vec<u8>,
    is_answered: bool,
}

impl Wire {
    /// Connects and asks at once, on stream 1.
    async fn ask(address: SocketAddr, request: &v1::AcquireRequest) -> Self {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(frame(SETTINGS, 0, 0, &[]));
        let mut head = Vec::new();
        for (name, value) in [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/quotagate.v1.QuotaService/Acquire"),
            (":authority", "localhost"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ] {
            // HPACK: literal, without indexing, new name.
            head.push(0);
            for text in [name, value] {
                head.push(u8::try_from(text.len()).expect("a short text"));
                head.extend(text.as_bytes());
            }
        }
        bytes.extend(frame(HEADERS, END_HEADERS, 1, &head));
        let message = request.encode_to_vec();
        let mut body = vec![0];
        body.extend(u32::try_from(message.len()).expect("a short message").to_be_bytes());
        body.extend(message);
        bytes.extend(frame(DATA, END_STREAM, 1, &body));
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream.write_all(&bytes).await.expect("it reads");
        Self { stream, answer: Vec::new(), is_answered: false }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("it reads");
    }

    /// The next frame; `None` at the end of the connection.
    async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.stream.read_exact(&mut payload).await.expect("a whole frame");
        // Whoever does not answer a ping is taken for gone.
        if kind == PING && flags & ACK == 0 {
            self.send(&frame(PING, ACK, 0, &payload)).await;
        }
        if u32::from_be_bytes(stream) == 1 {
            if kind == DATA {
                self.answer.extend(&payload);
            }
            self.is_answered |= kind == HEADERS && flags & END_STREAM != 0;
        }
        Some(Frame { kind, flags, payload })
    }

    /// The next frame of a kind.
    async fn until(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.next().await.expect("the connection lives");
            if frame.kind == kind {
                return frame;
            }
        }
    }

    /// The answer on stream 1, after which the connection ends.
    async fn last_answer(mut self) -> Option<Outcome> {
        while self.next().await.is_some() {}
        assert!(self.is_answered, "the answer came whole");
        // A flag and a length stand before it.
        let message = self.answer.get(5..)?;
        v1::AcquireResponse::decode(message).expect("a message").outcome
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// No error, and not what some proxies answer to many pings.
fn is_friendly(goaway: &Frame) -> bool {
    goaway.payload[4..8] == [0; 4]
}

fn waiting() -> v1::AcquireRequest {
    v1::AcquireRequest { max_wait: seconds(600), ..acquire("slot") }
}

#[tokio::test]
async fn an_old_connection_is_given_up_and_what_waits_on_it_is_answered() {
    let server = TestServer::start_aging(SLOT, Duration::from_millis(300)).await;
    let release = async |permit: v1::Permit| {
        // By HTTP: the test's own connection ages as well.
        let line = format!("POST /api/v1/permits/{}:release", permit.permit_id);
        assert_eq!(server.json(&line, "{}").await.0, 200);
    };
    let held = server.permit(acquire("slot")).await;
    let mut wire = Wire::ask(server.grpc_addr, &waiting()).await;
    assert!(is_friendly(&wire.until(GOAWAY).await));
    release(held).await;
    let Some(Outcome::Permit(permit)) = wire.last_answer().await else { panic!("it waited") };
    assert_eq!(permit.calls, 1);
}

#[tokio::test]
async fn frequent_pings_are_answered_and_no_reason_to_end_a_connection() {
    let server = TestServer::start(SLOT).await;
    server.permit(acquire("slot")).await;
    let mut wire = Wire::ask(server.grpc_addr, &waiting()).await;
    for number in 0..100_u64 {
        let payload = number.to_be_bytes();
        wire.send(&frame(PING, 0, 0, &payload)).await;
        loop {
            let frame = wire.next().await.expect("the connection lives");
            assert_ne!(frame.kind, GOAWAY, "after {number} pings");
            if frame.kind == PING && frame.flags & ACK != 0 {
                assert_eq!(frame.payload, payload);
                break;
            }
        }
    }
    server.until_waiting(1).await;
}

#[cfg(feature = "cli")]
#[tokio::test]
async fn at_sigterm_clients_are_sent_away_and_what_they_asked_is_answered() {
    use crate::program::Serve;

    let directory = tempfile::tempdir().expect("a directory");
    let config = directory.path().join("quotagate.yaml");
    std::fs::write(&config, SLOT).expect("written");
    let mut leaving = Serve::start("memory:", Some(&config)).await;
    let mut other = Serve::start("memory:", Some(&config)).await;
    leaving.quota.acquire(acquire("slot")).await.expect("it is decided");
    let mut wire = Wire::ask(leaving.grpc, &waiting()).await;
    while leaving.waiting().await == 0 {}
    leaving.signal("TERM").await;
    assert!(is_friendly(&wire.until(GOAWAY).await));
    // It cannot be granted any more: that is an answer, too.
    assert_eq!(wire.last_answer().await, None);
    assert!(TcpStream::connect(leaving.grpc).await.is_err(), "nobody comes to it any more");
    let answer = other.quota.acquire(acquire("slot")).await.expect("it is decided").into_inner();
    assert!(matches!(answer.outcome, Some(Outcome::Permit(_))), "{answer:?}");
}
