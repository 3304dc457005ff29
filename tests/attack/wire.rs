//! HTTP/2 by hand: what no library would send.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

/// The preface and settings, with which every connection begins.
pub fn opening(settings: &[(u16, u32)]) -> Vec<u8> {
    let entry = |(id, value): &(u16, u32)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
    let payload: Vec<u8> = settings.iter().flat_map(entry).collect();
    [PREFACE, &frame(SETTINGS, 0, 0, &payload)].concat()
}

/// The head of a call, as HPACK has it without compression, and more headers.
pub fn head(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let common = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    common.iter().chain(more).flat_map(|(name, value)| literal(name, value)).collect()
}

/// A header that is spelled out and not remembered.
pub fn literal(name: &str, value: &str) -> Vec<u8> {
    [&[0], &text(name)[..], &text(value)].concat()
}

/// HPACK's text: its length in seven bits and those beyond, and itself.
fn text(text: &str) -> Vec<u8> {
    const PREFIX: usize = 127;
    let mut bytes = Vec::new();
    match text.len().checked_sub(PREFIX) {
        None => bytes.push(u8::try_from(text.len()).expect("less than 127")),
        Some(mut rest) => {
            bytes.push(127);
            while rest >= 128 {
                bytes.push(u8::try_from(rest % 128).expect("seven bits") | 128);
                rest /= 128;
            }
            bytes.push(u8::try_from(rest).expect("seven bits"));
        }
    }
    bytes.extend(text.bytes());
    bytes
}

/// The body of a call: one message.
pub fn message(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("a short message").to_be_bytes();
    [&[0], &length[..], bytes].concat()
}

/// The streams that a client may open: odd numbers.
pub fn stream(number: u32) -> u32 {
    2 * number + 1
}

/// What the server did with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It answers pings.
    Open,
    /// It has closed it.
    Closed,
    /// It reads no more while its own words are not read.
    Held,
}

/// A connection of an attacker.
pub struct Wire {
    stream: TcpStream,
    /// Whether the attacker reads what comes back.
    reads: bool,
}

/// A server that takes nothing for so long waits for the attacker.
const HELD: Duration = Duration::from_secs(2);

/// A connection that is open answers within this.
const PATIENCE: Duration = Duration::from_secs(30);

impl Wire {
    pub async fn open(address: SocketAddr, reads: bool) -> Self {
        Self::over(TcpStream::connect(address).await.expect("it listens"), reads)
    }

    pub fn over(stream: TcpStream, reads: bool) -> Self {
        Self { stream, reads }
    }

    /// Sends; says what the server did if that is not to take it.
    pub async fn send(&mut self, bytes: &[u8]) -> Option<End> {
        if !self.reads {
            return match timeout(HELD, self.stream.write_all(bytes)).await {
                Ok(Ok(())) => None,
                Ok(Err(_)) => Some(End::Closed),
                Err(_) => Some(End::Held),
            };
        }
        let (mut read, mut write) = self.stream.split();
        let mut sent = std::pin::pin!(write.write_all(bytes));
        let mut answer = vec![0; 16 * 1024];
        loop {
            tokio::select! {
                biased;
                sent = &mut sent => return sent.is_err().then_some(End::Closed),
                heard = read.read(&mut answer) => {
                    if !matches!(heard, Ok(1..)) {
                        return Some(End::Closed);
                    }
                }
            }
        }
    }

    /// What became of the connection: a ping is answered, or it ends.
    pub async fn end(&mut self) -> End {
        const MARK: &[u8] = b"the end?";
        let ping = frame(PING, 0, 0, MARK);
        let answer = frame(PING, ACK, 0, MARK);
        self.reads = true;
        if let Some(end) = self.send(&ping).await {
            return end;
        }
        let mut heard: Vec<u8> = Vec::new();
        let mut bytes = vec![0; 64 * 1024];
        loop {
            match timeout(PATIENCE, self.stream.read(&mut bytes)).await {
                Ok(Ok(count @ 1..)) => heard.extend(&bytes[..count]),
                Ok(_) => return End::Closed,
                Err(_) => return End::Held,
            }
            if heard.windows(answer.len()).any(|part| part == answer) {
                return End::Open;
            }
            heard.drain(..heard.len().saturating_sub(answer.len()));
        }
    }
}
