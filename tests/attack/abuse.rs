//! HTTP/2 used as a weapon, one way of it in each row: honest callers go on being
//! answered, the program keeps its memory, and the connection ends as it should.

use std::{net::SocketAddr, time::Duration};

use prost::Message as _;
use quotagate::proto::v1::AcquireRequest;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::{
    honest::Caller,
    server::Server,
    wire::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, End, GOAWAY, HEADERS, PING, PREFACE, PRIORITY,
        RST_STREAM, SETTINGS, WINDOW_UPDATE, Wire, frame, head, literal, message, opening, stream,
    },
};

/// A limit with room, and one whose only slot is held for long.
const CONFIG: &str = "
orgs: [{id: acme, daily_calls: 100000000}]
catalogue:
  slot: {charges: [{limit: slot, scope: org, kind: concurrency, max: 1, max_duration: 10m}]}
";

/// So many connections attack in the same way at once.
const ATTACKERS: u32 = 4;

/// The program may have so much more in memory after an attack. A connection's
/// windows and buffers are some hundred KiB; what a flood could make it keep
/// without bounds is hundreds of MiB.
const MOST_MEMORY_KIB: u64 = 96 * 1024;

const ACQUIRE: &str = "/quotagate.v1.QuotaService/Acquire";
const REFLECT: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

/// `INITIAL_WINDOW_SIZE` of SETTINGS.
const WINDOW: u16 = 4;

/// One way of abuse.
struct Abuse {
    name: &'static str,
    /// What is sent first.
    begin: Vec<u8>,
    /// What is sent again and again, with the number of the time.
    again: fn(u32) -> Vec<u8>,
    times: u32,
    /// Whether the attacker reads what comes back.
    reads: bool,
    /// What may become of its connection.
    ends: &'static [End],
}

/// A call that waits for the slot.
fn parked() -> Vec<u8> {
    let request = AcquireRequest {
        org: "acme".to_owned(),
        operation: "slot".to_owned(),
        max_wait: Some(prost_types::Duration { seconds: 600, nanos: 0 }),
        ..AcquireRequest::default()
    };
    message(&request.encode_to_vec())
}

fn call(number: u32, flags: u8) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, stream(number), &head(ACQUIRE, &[]))
}

fn whole_call(number: u32) -> Vec<u8> {
    [call(number, 0), frame(DATA, END_STREAM, stream(number), &parked())].concat()
}

/// A list of all services, whose answer is long.
fn listing(number: u32) -> Vec<u8> {
    let names = frame(HEADERS, END_HEADERS, stream(number), &head(REFLECT, &[]));
    // `ServerReflectionRequest {list_services: "*"}`.
    [names, frame(DATA, END_STREAM, stream(number), &message(b"\x3a\x01*"))].concat()
}

fn nothing(_: u32) -> Vec<u8> {
    Vec::new()
}

/// An attacker who reads what comes back.
fn reading(
    name: &'static str,
    begin: Vec<u8>,
    again: fn(u32) -> Vec<u8>,
    times: u32,
    ends: &'static [End],
) -> Abuse {
    Abuse { name, begin, again, times, reads: true, ends }
}

fn abuses() -> Vec<Abuse> {
    let plain = || opening(&[]);
    let open = &[End::Open][..];
    let closed = &[End::Closed][..];
    let either = &[End::Open, End::Closed][..];
    vec![
        // CVE-2023-44487. A stream that is reset before its request was taken counts
        // to `http2_max_pending_accept_reset_streams`; one whose request was taken
        // drops its handler, and that is all that it costs.
        reading(
            "rapid reset",
            plain(),
            |n| [call(n, 0), frame(RST_STREAM, 0, stream(n), &8_u32.to_be_bytes())].concat(),
            20_000,
            either,
        ),
        // Streams that the server resets because their frames are wrong count to
        // `http2_max_local_error_reset_streams` ("made you reset", CVE-2025-8671).
        reading(
            "made you reset",
            plain(),
            |n| {
                let overflow = 0x7fff_ffff_u32.to_be_bytes();
                [call(n, 0), frame(WINDOW_UPDATE, 0, stream(n), &overflow)].concat()
            },
            20_000,
            closed,
        ),
        // CVE-2024-27316: h2 counts CONTINUATION frames to `http2_max_header_list_size`.
        reading(
            "a flood of CONTINUATION",
            [plain(), frame(HEADERS, 0, stream(0), &head(ACQUIRE, &[]))].concat(),
            |n| frame(CONTINUATION, 0, stream(0), &literal(&format!("x-{n}"), &"a".repeat(1_000))),
            20_000,
            closed,
        ),
        reading(
            "a flood of empty CONTINUATION",
            [plain(), frame(HEADERS, 0, stream(0), &head(ACQUIRE, &[]))].concat(),
            |_| frame(CONTINUATION, 0, stream(0), &[]),
            100_000,
            closed,
        ),
        // Each is answered, so an attacker who does not read stops being read.
        reading("a flood of SETTINGS", plain(), |_| frame(SETTINGS, 0, 0, &[]), 100_000, either),
        reading("a flood of PING", plain(), |_| frame(PING, 0, 0, b"12345678"), 100_000, either),
        Abuse {
            name: "a flood of SETTINGS whose answers nobody reads",
            begin: plain(),
            again: |_| frame(SETTINGS, 0, 0, &[]).repeat(50),
            times: 40_000,
            reads: false,
            ends: &[End::Held, End::Closed],
        },
        Abuse {
            name: "a flood of PING whose answers nobody reads",
            begin: plain(),
            again: |_| frame(PING, 0, 0, b"12345678").repeat(50),
            times: 20_000,
            reads: false,
            ends: &[End::Held, End::Closed],
        },
        reading(
            "a flood of PRIORITY",
            plain(),
            |n| frame(PRIORITY, 0, stream(n), &[0, 0, 0, 0, 1]),
            100_000,
            either,
        ),
        reading(
            "a flood of empty DATA",
            [plain(), call(0, 0)].concat(),
            |_| frame(DATA, 0, stream(0), &[]),
            100_000,
            either,
        ),
        // A window of one byte, opened a byte at a time, under many long answers.
        reading(
            "answers that are read a byte at a time",
            [opening(&[(WINDOW, 1)]), (0..500).flat_map(listing).collect()].concat(),
            |n| frame(WINDOW_UPDATE, 0, stream(n % 500), &1_u32.to_be_bytes()),
            5_000,
            either,
        ),
        Abuse {
            name: "answers that nobody reads",
            begin: plain(),
            again: listing,
            times: 5_000,
            reads: false,
            ends: &[End::Held, End::Closed, End::Open],
        },
        // Refused by `http2_max_header_list_size`, the connection goes on or not.
        reading(
            "giant metadata",
            plain(),
            |n| {
                let value = "a".repeat(15_000);
                let names = head(ACQUIRE, &[("x-a", &value)]);
                let rest = literal("x-b", &value);
                let first = frame(HEADERS, 0, stream(n), &names);
                [first, frame(CONTINUATION, END_HEADERS | END_STREAM, stream(n), &rest)].concat()
            },
            200,
            either,
        ),
        // Beyond `max_concurrent_streams` each is refused, and beyond an org's queue.
        reading("ten thousand streams", plain(), whole_call, 10_000, either),
        reading("a flood of GOAWAY", plain(), |_| frame(GOAWAY, 0, 0, &[0; 8]), 10_000, either),
        reading("a preface of garbage", b"\x16\x03\x01\x02\x00\x01".to_vec(), nothing, 0, closed),
        reading("a request of HTTP/1", b"GET / HTTP/1.1\r\n\r\n".to_vec(), nothing, 0, closed),
        reading(
            "a frame larger than was agreed",
            [plain(), vec![0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1]].concat(),
            |_| vec![0; 16_384],
            100,
            closed,
        ),
        reading(
            "an answer to a stream that is idle",
            plain(),
            |_| frame(DATA, 0, 7, b"x"),
            1,
            closed,
        ),
        reading("nothing at all", plain(), nothing, 0, open),
    ]
}

#[tokio::test]
async fn abuse_of_http2_hurts_no_honest_caller_and_fills_no_memory() {
    let (_home, mut server, mut honest, before) = at_peace().await;
    for abuse in abuses() {
        let mut attackers = JoinSet::new();
        for _ in 0..ATTACKERS {
            let Abuse { ref begin, again, times, reads, .. } = abuse;
            attackers.spawn(attack(server.grpc, begin.clone(), again, times, reads));
        }
        let (mut ends, mut answered, mut longest) = (Vec::new(), 0_u32, Duration::ZERO);
        while !attackers.is_empty() {
            tokio::select! {
                Some(end) = attackers.join_next() => ends.push(end.expect("the attack is made")),
                took = honest.ask() => {
                    answered += 1;
                    longest = longest.max(took);
                }
            }
        }
        honest.ask().await;
        let name = abuse.name;
        server.check_alive(name);
        let memory = server.memory_kib();
        println!(
            "{name}: {:?}; {answered} honest answers meanwhile, the longest after {longest:.1?}; \
             {} KiB",
            ends.iter().map(|(end, _)| end).collect::<Vec<_>>(),
            memory
        );
        assert!(
            ends.iter().all(|(end, _)| abuse.ends.contains(end)),
            "{name}: {:?}",
            ends.iter().map(|(end, _)| end).collect::<Vec<_>>()
        );
        // The attackers' connections are still open here.
        assert!(memory < before + MOST_MEMORY_KIB, "{name}: from {before} to {memory} KiB");
        drop(ends);
    }
    Caller::connect(server.grpc, None).await.ask().await;
}

/// A server that serves, somebody whom it serves, and its memory then, in KiB.
async fn at_peace() -> (TempDir, Server, Caller, u64) {
    let home = tempfile::tempdir().expect("a directory");
    let config = home.path().join("quotagate.yaml");
    std::fs::write(&config, CONFIG).expect("written");
    let server = Server::start(&config, "warn").await;
    let mut honest = Caller::connect(server.grpc, None).await;
    honest.ask().await;
    let before = server.memory_kib();
    (home, server, honest, before)
}

async fn attack(
    address: SocketAddr,
    begin: Vec<u8>,
    again: fn(u32) -> Vec<u8>,
    times: u32,
    reads: bool,
) -> (End, Wire) {
    let mut wire = Wire::open(address, reads).await;
    let mut stopped = wire.send(&begin).await;
    // In packets, as an attacker would.
    const IN_A_PACKET: u32 = 50;
    let mut time = 0;
    while time < times && stopped.is_none() {
        let to = (time + IN_A_PACKET).min(times);
        let packet: Vec<u8> = (time..to).flat_map(again).collect();
        stopped = wire.send(&packet).await;
        time = to;
    }
    let end = match stopped {
        Some(end) => end,
        None => wire.end().await,
    };
    (end, wire)
}

/// Connections that begin and never go on.
#[tokio::test]
async fn connections_that_never_become_one_hold_up_nobody() {
    let (_home, mut server, mut honest, before) = at_peace().await;
    let mut held = Vec::new();
    for number in 0..800_usize {
        let mut wire = Wire::open(server.grpc, true).await;
        // Silent, cut off in the preface, before SETTINGS, or within a frame.
        let said = match number % 4 {
            0 => &[][..],
            1 => &PREFACE[..12],
            2 => PREFACE,
            _ => &opening(&[])[..30],
        };
        wire.send(said).await;
        held.push(wire);
    }
    for _ in 0..50 {
        honest.ask().await;
    }
    Caller::connect(server.grpc, None).await.ask().await;
    server.check_alive("half-open connections");
    let memory = server.memory_kib();
    println!("{} half-open connections: {memory} KiB, before {before} KiB", held.len());
    assert!(memory < before + MOST_MEMORY_KIB, "from {before} to {memory} KiB");
}
