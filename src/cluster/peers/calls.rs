//! The requests that are forwarded most share one stream to each peer: those that
//! are ready at the same time go in one message, and so do their answers. A request
//! of its own costs several times as much as a part of such a message.
//!
//! A stream is something more, and never needed: as long as there is none, or where
//! the peer's version knows of none, each request goes by itself, as all others do.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, Waker},
    time::Duration,
};

use prost::Message;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};
use tokio_stream::Stream;
use tonic::{Code, Request, Status, Streaming, metadata::MetadataMap};

use super::{CONNECT_TIMEOUT, Call, PeerError, TOKEN_KEY, Token, Wire, answered_in_time, sorted};
use crate::proto::peer::v1::{
    AcquireRequest, AcquireResponse, ForwardRequest, ForwardResponse, ForwardedCall,
    ForwardedError, ReleaseRequest, ReleaseResponse, ReportRequest, ReportResponse,
    forwarded_answer::Answer, forwarded_call, peer_service_client::PeerServiceClient,
};

/// A larger request goes by itself, and holds up no others.
const LARGE: usize = 16 << 10;

/// What goes in one message at most: requests, their bytes, and those that are given
/// up. The peer reads no message of more than 64 KiB.
const MOST_CALLS: usize = 128;
const MOST_BYTES: usize = 48 << 10;
const MOST_CANCELLED: usize = 1_000;

/// The bytes that a request takes besides its own message and what names its trace.
const FRAME_BYTES: usize = 64;

/// A peer that has no stream for us, or has ended one, is asked again after this:
/// one of an older version is started anew by then, or is not.
const AGAIN: Duration = Duration::from_secs(10);

/// A request that can go over a stream.
pub trait Forwardable: Message + Sized {
    /// What answers it.
    type Answer;

    /// As a part of a message.
    fn wrap(self) -> forwarded_call::Request;

    /// Out of a part of a message; `None` if it answers something else.
    fn unwrap(answer: Answer) -> Option<Self::Answer>;
}

macro_rules! forwardable {
    ($($name:ident($request:ty) -> $response:ty;)*) => {$(
        impl Forwardable for $request {
            type Answer = $response;

            fn wrap(self) -> forwarded_call::Request {
                forwarded_call::Request::$name(self)
            }

            fn unwrap(answer: Answer) -> Option<$response> {
                match answer {
                    Answer::$name(answer) => Some(answer),
                    _ => None,
                }
            }
        }
    )*};
}

forwardable! {
    Acquire(AcquireRequest) -> AcquireResponse;
    Release(ReleaseRequest) -> ReleaseResponse;
    Report(ReportRequest) -> ReportResponse;
}

/// The stream of a connection. Dropping it lets the stream end when all is answered
/// that was sent on it.
#[derive(Debug, Default)]
pub struct CallStream(Arc<Mutex<State>>);

#[derive(Debug)]
enum State {
    /// There is none. It is tried again then.
    None(Option<Instant>),
    Opening,
    Open(Arc<Calls>),
}

impl Default for State {
    fn default() -> Self {
        Self::None(None)
    }
}

impl CallStream {
    /// The stream, if there is one. Else one is opened, for those who come later.
    pub fn get(
        &self,
        client: &PeerServiceClient<Wire>,
        token: Option<&Token>,
    ) -> Option<Arc<Calls>> {
        let mut state = lock(&self.0);
        match &*state {
            State::Open(calls) => return Some(Arc::clone(calls)),
            State::Opening => return None,
            State::None(again) if again.is_some_and(|again| Instant::now() < again) => return None,
            State::None(_) => *state = State::Opening,
        }
        tokio::spawn(open(Arc::downgrade(&self.0), client.clone(), token.cloned()));
        None
    }

    /// Whether there is one.
    pub fn is_open(&self) -> bool {
        matches!(*lock(&self.0), State::Open(_))
    }
}

impl Drop for CallStream {
    fn drop(&mut self) {
        if let State::Open(calls) = mem::take(&mut *lock(&self.0)) {
            calls.finish();
        }
    }
}

/// Opens a stream, and reads what comes over it until it ends.
async fn open(of: Weak<Mutex<State>>, mut client: PeerServiceClient<Wire>, token: Option<Token>) {
    let calls = Arc::new(Calls::default());
    let mut request = Request::new(Outgoing(Arc::clone(&calls)));
    if let Some(Token(token)) = token {
        request.metadata_mut().insert(TOKEN_KEY, token);
    }
    let opened = timeout(CONNECT_TIMEOUT, client.forward(request)).await;
    // The connection ends when nobody can ask anything over it any more.
    drop(client);
    let why = match opened {
        Ok(Ok(answers)) => {
            match of.upgrade() {
                Some(state) => *lock(&state) = State::Open(Arc::clone(&calls)),
                None => calls.finish(),
            }
            calls.read(answers.into_inner()).await
        }
        Ok(Err(status)) => status.to_string(),
        Err(_) => format!("there was none within {CONNECT_TIMEOUT:?}"),
    };
    tracing::debug!(why, "no stream for what is forwarded");
    calls.broke(&why);
    if let Some(state) = of.upgrade() {
        *lock(&state) = State::None(Some(Instant::now() + AGAIN));
    }
}

/// What is under way on a stream.
#[derive(Debug, Default)]
pub struct Calls(Mutex<UnderWay>);

#[derive(Debug, Default)]
struct UnderWay {
    last: u64,
    /// Those who wait for an answer, by id.
    waiting: BTreeMap<u64, oneshot::Sender<Result<Answer, PeerError>>>,
    /// What has not left yet, by rising id.
    unsent: VecDeque<Unsent>,
    cancelled: Vec<u64>,
    /// The task that sends.
    sender: Option<Waker>,
    /// Nothing more is taken.
    ends: bool,
}

#[derive(Debug)]
struct Unsent {
    call: ForwardedCall,
    bytes: usize,
    deadline: Instant,
}

impl Calls {
    /// Sends a request with whatever else is ready; or gives it back, if it has to go
    /// by itself.
    pub fn begin<M: Forwardable>(self: &Arc<Self>, message: M, call: &Call) -> Result<Asked, M> {
        let text = |value: &Option<super::MetadataValue<super::Ascii>>| {
            let text = value.as_ref().and_then(|value| value.to_str().ok());
            text.unwrap_or_default().to_owned()
        };
        let (traceparent, tracestate) =
            (text(&call.trace.traceparent), text(&call.trace.tracestate));
        let bytes = FRAME_BYTES + message.encoded_len() + traceparent.len() + tracestate.len();
        if bytes > LARGE {
            return Err(message);
        }
        let mut under_way = lock(&self.0);
        if under_way.ends {
            return Err(message);
        }
        under_way.last += 1;
        let id = under_way.last;
        let (sender, answer) = oneshot::channel();
        under_way.waiting.insert(id, sender);
        let request = Some(message.wrap());
        let call_ = ForwardedCall { id, timeout: None, traceparent, tracestate, request };
        under_way.unsent.push_back(Unsent { call: call_, bytes, deadline: call.deadline });
        wake(under_way);
        Ok(Asked { calls: Arc::clone(self), id, deadline: call.deadline, answer: Some(answer) })
    }

    /// No more requests are taken, and the stream ends when all are answered.
    fn finish(&self) {
        let mut under_way = lock(&self.0);
        under_way.ends = true;
        wake(under_way);
    }

    /// Hands out answers until there are no more: why.
    async fn read(&self, mut answers: Streaming<ForwardResponse>) -> String {
        loop {
            match answers.message().await {
                Ok(Some(ForwardResponse { answers, stopping })) => {
                    let mut under_way = lock(&self.0);
                    for answer in answers {
                        if let Some(waiting) = under_way.waiting.remove(&answer.id) {
                            // Whoever has gone meanwhile needs none.
                            let _ = waiting.send(sort(answer.answer));
                        }
                    }
                    if stopping {
                        under_way.ends = true;
                        wake(under_way);
                    }
                }
                Ok(None) => return "the node has ended the stream".to_owned(),
                Err(status) => return sorted(status).to_string(),
            }
        }
    }

    /// Tells all who wait that they will not be answered.
    fn broke(&self, why: &str) {
        let mut under_way = lock(&self.0);
        under_way.ends = true;
        let unsent: Vec<_> = under_way.unsent.drain(..).map(|unsent| unsent.call.id).collect();
        for (id, waiting) in mem::take(&mut under_way.waiting) {
            let error = match unsent.binary_search(&id) {
                Ok(_) => PeerError::NotSent(why.to_owned()),
                Err(_) => PeerError::Lost(why.to_owned()),
            };
            // As above.
            let _ = waiting.send(Err(error));
        }
        wake(under_way);
    }

    /// Nobody waits for this answer any more.
    fn forget(&self, id: u64) {
        let mut under_way = lock(&self.0);
        if under_way.waiting.remove(&id).is_none() {
            return;
        }
        match under_way.unsent.binary_search_by_key(&id, |unsent| unsent.call.id) {
            Ok(at) => drop(under_way.unsent.remove(at)),
            Err(_) => {
                under_way.cancelled.push(id);
                wake(under_way);
            }
        }
    }
}

/// A request under way. Dropping it gives the request up, also at the peer.
#[derive(Debug)]
pub struct Asked {
    calls: Arc<Calls>,
    id: u64,
    deadline: Instant,
    answer: Option<oneshot::Receiver<Result<Answer, PeerError>>>,
}

impl Asked {
    /// Its answer.
    ///
    /// # Errors
    /// None of its kind: see [`PeerError`].
    pub async fn answered<M: Forwardable>(mut self) -> Result<M::Answer, PeerError> {
        let lost = |why: &str| PeerError::Lost(why.to_owned());
        let Some(answer) = &mut self.answer else { return Err(lost("it was answered")) };
        let answer = answered_in_time(self.deadline, answer).await?;
        self.answer = None;
        // The sender is never dropped before it has sent.
        let answer = answer.map_err(|_| lost("the stream ended"))??;
        M::unwrap(answer).ok_or_else(|| lost("its answer is to something else"))
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if self.answer.is_some() {
            self.calls.forget(self.id);
        }
    }
}

/// The requests of a stream, as they leave.
struct Outgoing(Arc<Calls>);

impl Stream for Outgoing {
    type Item = ForwardRequest;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<ForwardRequest>> {
        let mut under_way = lock(&self.0.0);
        let UnderWay { unsent, cancelled, sender, ends, .. } = &mut *under_way;
        if unsent.is_empty() && cancelled.is_empty() {
            if *ends {
                return Poll::Ready(None);
            }
            *sender = Some(context.waker().clone());
            return Poll::Pending;
        }
        let mut message = ForwardRequest::default();
        let given_up = cancelled.len().min(MOST_CANCELLED);
        message.cancelled.extend(cancelled.drain(..given_up));
        let (mut room, now) = (MOST_BYTES, Instant::now());
        while let Some(next) = unsent.front()
            && next.bytes <= room
            && message.calls.len() < MOST_CALLS
            && let Some(Unsent { mut call, bytes, deadline }) = unsent.pop_front()
        {
            room -= bytes;
            call.timeout = deadline.saturating_duration_since(now).try_into().ok();
            message.calls.push(call);
        }
        Poll::Ready(Some(message))
    }
}

/// An answer as it would have come by itself.
fn sort(answer: Option<Answer>) -> Result<Answer, PeerError> {
    match answer {
        Some(Answer::Error(error)) => Err(sorted(status(error))),
        Some(answer) => Ok(answer),
        None => Err(PeerError::Lost("the node has lost its answer".to_owned())),
    }
}

fn status(error: ForwardedError) -> Status {
    let ForwardedError { code, message, details, trailers } = error;
    let mut metadata = MetadataMap::new();
    for (key, value) in &trailers {
        // Whatever is none is of another version, and nothing that anybody waits for.
        let key = key.parse::<tonic::metadata::AsciiMetadataKey>();
        if let (Ok(key), Ok(value)) = (key, value.parse()) {
            metadata.insert(key, value);
        }
    }
    Status::with_details_and_metadata(Code::from(code), message, details.into(), metadata)
}

/// Has what is ready sent.
fn wake(mut under_way: MutexGuard<'_, UnderWay>) {
    let sender = under_way.sender.take();
    drop(under_way);
    if let Some(sender) = sender {
        sender.wake();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
