//! What the adapters make of errors, and of bodies that do not come.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::poll_fn,
    io::{self, ErrorKind},
    net::TcpListener,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as _, Frame};
use tokio::time::Instant;

use super::{QuotaBody, is_unsent, middleware::was_not_sent};

/// A body that comes from elsewhere, which cannot be reached.
struct Upload<E>(Option<E>);

impl<E: Unpin> http_body::Body for Upload<E> {
    type Data = Bytes;
    type Error = E;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, E>>> {
        Poll::Ready(self.0.take().map(Err))
    }
}

/// A body that has not come whole yet.
struct Slow {
    parts: VecDeque<&'static str>,
    has_stalled: Arc<AtomicBool>,
}

impl http_body::Body for Slow {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.parts.len() == 1 && self.has_stalled.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        Poll::Ready(self.parts.pop_front().map(|part| Ok(Frame::data(part.into()))))
    }
}

async fn sent(url: &str, body: reqwest::Body) -> reqwest::Error {
    let http = super::one_request_per_call(reqwest::Client::builder()).no_proxy().build();
    http.unwrap().post(url).body(body).send().await.unwrap_err()
}

fn url(listener: &TcpListener) -> String {
    format!("http://{}/", listener.local_addr().unwrap())
}

/// What the request's own body failed with used to be taken for the request's
/// connection: a call that had been sent in part was made again.
#[tokio::test]
async fn a_request_is_unsent_if_its_connection_was_refused_and_not_its_bodys() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = url(&TcpListener::bind("127.0.0.1:0").unwrap());
    let refused = sent(&gone, "".into()).await;
    assert!(was_not_sent(&refused) && is_unsent(&refused), "{refused:?}");
    let failed = sent(&url(&listener), reqwest::Body::wrap(Upload(Some(refused)))).await;
    assert!(failed.is_connect(), "so it seems: {failed:?}");
    assert!(!was_not_sent(&failed) && !is_unsent(&failed), "{failed:?}");
    let refused = io::Error::from(ErrorKind::ConnectionRefused);
    let failed = sent(&url(&listener), reqwest::Body::wrap(Upload(Some(refused)))).await;
    assert!(!was_not_sent(&failed) && !is_unsent(&failed), "{failed:?}");
}

#[test]
fn an_error_that_a_connection_may_have_leaves_a_request_sent() {
    for (kind, expected) in [
        (ErrorKind::ConnectionRefused, true),
        (ErrorKind::AddrNotAvailable, true),
        (ErrorKind::HostUnreachable, false),
        (ErrorKind::NetworkUnreachable, false),
        (ErrorKind::ConnectionReset, false),
        (ErrorKind::TimedOut, false),
    ] {
        assert_eq!(is_unsent(&io::Error::from(kind)), expected, "{kind}");
    }
}

/// A body that stalled used to hold the caller up for ever.
#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_is_looked_at_for_a_second_and_is_whole() {
    let parts = VecDeque::from(["[{", "\"errorCode\":", "\"X\"}]"]);
    let has_stalled = Arc::new(AtomicBool::new(true));
    let slow = Slow { parts, has_stalled: Arc::clone(&has_stalled) };
    let mut body = pin!(QuotaBody::new(slow));
    let start = Instant::now();
    assert_eq!(body.look().await, b"[{\"errorCode\":");
    assert_eq!(start.elapsed().as_secs(), 1);
    assert!(start.elapsed() < Duration::from_millis(1_100));
    has_stalled.store(false, Ordering::Relaxed);
    let mut text = Vec::new();
    while let Some(frame) = poll_fn(|context| body.as_mut().poll_frame(context)).await {
        text.extend(frame.unwrap().into_data().unwrap());
    }
    assert_eq!(text, b"[{\"errorCode\":\"X\"}]");
}
