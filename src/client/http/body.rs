//! A body of which the beginning may have been looked at.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use http_body::{Body, Frame, SizeHint};

use crate::client::MAX_BODY_BYTES;

/// How long the beginning of a body is waited for. What says which refusal it is
/// comes with the head, mostly, and no caller should wait for more than that.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);

/// The body of an answer: what was looked at already, then the rest. Nothing is
/// missing, and nothing is changed.
pub struct QuotaBody<B: Body> {
    seen: VecDeque<Result<Frame<B::Data>, B::Error>>,
    rest: Pin<Box<B>>,
}

impl<B: Body> QuotaBody<B> {
    /// A body that nobody has looked at.
    pub(super) fn new(body: B) -> Self {
        Self { seen: VecDeque::new(), rest: Box::pin(body) }
    }

    /// Reads the beginning, at most [`MAX_BODY_BYTES`] and what came with them, for
    /// [`LOOK_TIMEOUT`] at most, and keeps it. An error ends it, and is kept, too.
    pub(super) async fn look(&mut self) -> Vec<u8> {
        use bytes::Buf as _;
        let mut text = Vec::new();
        let look = async {
            while text.len() < MAX_BODY_BYTES {
                let next = std::future::poll_fn(|context| self.rest.as_mut().poll_frame(context));
                let Some(frame) = next.await else { break };
                let is_error = frame.is_err();
                if let Some(data) = frame.as_ref().ok().and_then(Frame::data_ref) {
                    text.extend_from_slice(data.chunk());
                }
                self.seen.push_back(frame);
                if is_error {
                    break;
                }
            }
        };
        // In the middle of a frame it loses nothing: that is in the body still.
        let _ = tokio::time::timeout(LOOK_TIMEOUT, look).await;
        text.truncate(MAX_BODY_BYTES);
        text
    }
}

impl<B: Body> Body for QuotaBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        if let Some(frame) = self.seen.pop_front() {
            return Poll::Ready(Some(frame));
        }
        let frame = ready!(self.rest.as_mut().poll_frame(context));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.seen.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        use bytes::Buf as _;
        let data = self.seen.iter().filter_map(|frame| frame.as_ref().ok()?.data_ref());
        let seen: u64 = data.map(|data| data.remaining() as u64).sum();
        let rest = self.rest.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + seen);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + seen);
        }
        hint
    }
}

/// Nothing in it is pinned but what is boxed.
impl<B: Body> Unpin for QuotaBody<B> {}

impl<B: Body> fmt::Debug for QuotaBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuotaBody").field("seen", &self.seen.len()).finish_non_exhaustive()
    }
}
