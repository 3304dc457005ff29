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
use tonic::{
    Code, Request, Status, Streaming,
    metadata::{Ascii, KeyAndValueRef, MetadataKey, MetadataMap, MetadataValue},
};

use super::{CONNECT_TIMEOUT, Call, Kin, PeerError, Wire, answered_in_time, sorted};
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
    pub fn get(&self, client: &PeerServiceClient<Wire>, kin: &Kin) -> Option<Arc<Calls>> {
        let mut state = lock(&self.0);
        match &*state {
            State::Open(calls) => return Some(Arc::clone(calls)),
            State::Opening => return None,
            State::None(again) if again.is_some_and(|again| Instant::now() < again) => return None,
            State::None(_) => *state = State::Opening,
        }
        tokio::spawn(open(Arc::downgrade(&self.0), client.clone(), kin.clone()));
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
async fn open(of: Weak<Mutex<State>>, mut client: PeerServiceClient<Wire>, kin: Kin) {
    let calls = Arc::new(Calls::default());
    let mut request = Request::new(Outgoing(Arc::clone(&calls)));
    kin.sign(request.metadata_mut());
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
        let text = |value: &Option<MetadataValue<Ascii>>| {
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
        let request = ForwardedCall { id, timeout: None, traceparent, tracestate, request };
        under_way.unsent.push_back(Unsent { call: request, bytes, deadline: call.deadline });
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
        Some(Answer::Error(error)) => Err(sorted(status_of(error))),
        Some(answer) => Ok(answer),
        None => Err(PeerError::Lost("the node has lost its answer".to_owned())),
    }
}

/// A status as a part of a message.
#[must_use]
pub fn error_of(status: &Status) -> ForwardedError {
    let trailers = status.metadata().iter().filter_map(|entry| match entry {
        KeyAndValueRef::Ascii(key, value) => {
            Some((key.to_string(), value.to_str().ok()?.to_owned()))
        }
        // There is none but the details.
        KeyAndValueRef::Binary(..) => None,
    });
    ForwardedError {
        code: status.code().into(),
        message: status.message().to_owned(),
        details: status.details().to_vec(),
        trailers: trailers.collect(),
    }
}

/// The status that [`error_of`] was given.
fn status_of(error: ForwardedError) -> Status {
    let ForwardedError { code, message, details, trailers } = error;
    let mut metadata = MetadataMap::new();
    for (key, value) in &trailers {
        // What is none is of another version, and nothing that anybody waits for.
        let key = key.parse::<MetadataKey<Ascii>>();
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

#[cfg(test)]
mod tests {
    use tonic::metadata::MetadataMap;

    use super::*;
    use crate::{cluster::peers::Trace, proto::v1};

    const SECOND: Duration = Duration::from_secs(1);

    fn call(listens: Duration) -> Call {
        Call { deadline: Instant::now() + listens, trace: Trace::default() }
    }

    /// A Release whose permit has a name of so many bytes.
    fn release(bytes: usize) -> ReleaseRequest {
        let permit_id = "x".repeat(bytes);
        let request = v1::ReleaseRequest { permit_id, unused_calls: None };
        ReleaseRequest { forwarded: None, request: Some(request) }
    }

    fn begin(calls: &Arc<Calls>) -> Asked {
        calls.begin(release(1), &call(SECOND)).expect("it is taken")
    }

    /// The next message, if there is something to be sent.
    fn sent(calls: &Arc<Calls>) -> Poll<Option<ForwardRequest>> {
        let mut context = Context::from_waker(Waker::noop());
        Pin::new(&mut Outgoing(Arc::clone(calls))).poll_next(&mut context)
    }

    /// The ids of the requests in the next message, and of those given up.
    fn ids(calls: &Arc<Calls>) -> (Vec<u64>, Vec<u64>) {
        let Poll::Ready(Some(message)) = sent(calls) else { return Default::default() };
        (message.calls.iter().map(|call| call.id).collect(), message.cancelled)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_ready_goes_in_one_message_within_its_bounds() {
        let check = |bytes: usize, count: usize, expected: &[usize]| {
            let calls = Arc::default();
            let begin =
                |_| Calls::begin(&calls, release(bytes), &call(SECOND)).expect("it is taken");
            let _asked: Vec<_> = (0..count).map(begin).collect();
            let sent = |_: &usize| match sent(&calls) {
                Poll::Ready(Some(message)) => message,
                other => panic!("{other:?}"),
            };
            let messages: Vec<_> = expected.iter().map(sent).collect();
            let counts: Vec<_> = messages.iter().map(|message| message.calls.len()).collect();
            assert_eq!(counts, expected, "{count} of {bytes}");
            assert!(messages.iter().all(|message| message.encoded_len() <= 64 << 10));
            assert_eq!(ids(&calls), Default::default());
        };
        check(10, 1, &[1]);
        check(10, 100, &[100]);
        check(10, 300, &[128, 128, 44]);
        check(10_000, 10, &[4, 4, 2]);
        check(LARGE - 100, 4, &[3, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_request_goes_by_itself() {
        let calls = Arc::<Calls>::default();
        assert!(calls.begin(release(LARGE), &call(SECOND)).is_err());
        let tracestate = Some("x".repeat(LARGE).parse().expect("a value"));
        let trace = Trace { traceparent: None, tracestate };
        assert!(calls.begin(release(1), &Call { trace, ..call(SECOND) }).is_err());
        assert!(sent(&calls).is_pending());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_says_how_long_its_caller_listens_when_it_leaves() {
        let calls = Arc::<Calls>::default();
        let asked = [SECOND, 3 * SECOND]
            .map(|listens| calls.begin(release(1), &call(listens)).expect("it is taken"));
        tokio::time::advance(2 * SECOND).await;
        let Poll::Ready(Some(message)) = sent(&calls) else { panic!("there is something") };
        let left: Vec<_> =
            message.calls.iter().map(|call| call.timeout.map(|t| t.seconds)).collect();
        assert_eq!(left, [Some(0), Some(1)]);
        drop(asked);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_given_up_is_not_sent_or_given_up_at_the_peer() {
        let calls = Arc::default();
        let [first, second, third] = [(); 3].map(|()| begin(&calls));
        drop(second);
        assert_eq!(ids(&calls), (vec![1, 3], vec![]));
        drop(first);
        let fourth = begin(&calls);
        assert_eq!(ids(&calls), (vec![4], vec![1]));
        assert_eq!(lock(&calls.0).waiting.len(), 2);
        // One whose time is over is given up, too.
        let late = third.answered::<ReleaseRequest>().await;
        assert!(matches!(late, Err(PeerError::Lost(_))), "{late:?}");
        assert_eq!(ids(&calls), (vec![], vec![3]));
        drop(fourth);
    }

    #[tokio::test(start_paused = true)]
    async fn when_a_stream_breaks_what_was_sent_is_lost_and_the_rest_was_not_sent() {
        let calls = Arc::default();
        let first = begin(&calls);
        assert_eq!(ids(&calls), (vec![1], vec![]));
        let second = begin(&calls);
        calls.broke("a reason");
        let [first, second] = [first.answered::<ReleaseRequest>(), second.answered()];
        let (first, second) = (first.await, second.await);
        assert!(matches!(&first, Err(PeerError::Lost(why)) if why == "a reason"), "{first:?}");
        assert!(matches!(second, Err(PeerError::NotSent(_))), "{second:?}");
        assert!(calls.begin(release(1), &call(SECOND)).is_err(), "it comes back");
        assert_eq!(sent(&calls), Poll::Ready(None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_is_to_end_sends_what_it_has_taken() {
        let calls = Arc::default();
        let _asked = begin(&calls);
        calls.finish();
        assert!(calls.begin(release(1), &call(SECOND)).is_err(), "it comes back");
        assert_eq!(ids(&calls), (vec![1], vec![]));
        assert_eq!(sent(&calls), Poll::Ready(None));
    }

    #[test]
    fn an_error_arrives_as_it_was() {
        let mut trailers = MetadataMap::new();
        trailers.insert("grpc-retry-pushback-ms", 7.into());
        let details = vec![0, 1, 255];
        let status = Status::with_details_and_metadata(
            Code::ResourceExhausted,
            "not ASCII: \u{e4}",
            details.into(),
            trailers,
        );
        let arrived = status_of(error_of(&status));
        assert_eq!((arrived.code(), arrived.message()), (status.code(), status.message()));
        assert_eq!(arrived.details(), status.details());
        assert_eq!(
            arrived.metadata().clone().into_headers(),
            status.metadata().clone().into_headers()
        );
    }
}
