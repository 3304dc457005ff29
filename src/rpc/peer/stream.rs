//! The stream over which another node sends Acquires, Releases and Reports: what
//! came at the same time is begun at once, and what of it is decided in memory is
//! answered in one message. What has to wait goes on in a task of its own.

use std::{
    collections::BTreeMap,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use tokio::{
    sync::watch,
    task::{AbortHandle, JoinError, JoinSet},
};
use tokio_stream::Stream;
use tonic::{Status, Streaming};

use super::Owner;
use crate::{
    cluster::peers::error_of,
    proto::peer::v1::{
        ForwardRequest, ForwardResponse, ForwardedAnswer, ForwardedCall, forwarded_answer::Answer,
        forwarded_call,
    },
    rpc::layers::Carried,
};

/// Requests that are begun before others have their turn, and answers in a message.
const MOST_AT_ONCE: usize = 128;

/// The answers of a stream. Dropped, because the other node has gone, all that
/// still waits is given up.
pub struct Answers {
    owner: Arc<Owner>,
    /// None: nothing more comes.
    requests: Option<Streaming<ForwardRequest>>,
    /// What has to wait, and by which name it is given up.
    waiting: JoinSet<ForwardedAnswer>,
    given_up_by: BTreeMap<u64, AbortHandle>,
    /// Ends when this node stops; none if the other one was told.
    stopping: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// It has had its turn.
    rests: bool,
}

impl Answers {
    pub fn to(
        requests: Streaming<ForwardRequest>,
        owner: Arc<Owner>,
        mut stopping: watch::Receiver<bool>,
    ) -> Self {
        let stopping = async move {
            // Whoever could stop this node is gone with it.
            let _ = stopping.wait_for(|stopping| *stopping).await;
        };
        Self {
            owner,
            requests: Some(requests),
            waiting: JoinSet::new(),
            given_up_by: BTreeMap::new(),
            stopping: Some(Box::pin(stopping)),
            rests: false,
        }
    }

    /// Begins what has come.
    fn take(&mut self, request: ForwardRequest, answers: &mut Vec<ForwardedAnswer>) {
        for call in request.calls {
            let id = call.id;
            let mut answer = Box::pin(answer(Arc::clone(&self.owner), call));
            // A task of its own polls it again, and whatever it waits for wakes that one.
            let mut context = Context::from_waker(Waker::noop());
            let begun = catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(&mut context)));
            match begun {
                Ok(Poll::Ready(answer)) => answers.push(answer),
                Ok(Poll::Pending) => {
                    self.given_up_by.insert(id, self.waiting.spawn(answer));
                }
                // A panic ends the request, and not the stream.
                Err(_) => answers.push(lost(id)),
            }
        }
        // They came with an earlier message.
        for id in request.cancelled {
            if let Some(waiting) = self.given_up_by.remove(&id) {
                waiting.abort();
            }
        }
    }

    /// The answer of what has waited; none if it was given up.
    fn waited(&mut self, ended: Result<ForwardedAnswer, JoinError>) -> Option<ForwardedAnswer> {
        let answer = match ended {
            Ok(answer) => answer,
            Err(error) => {
                let mut all = self.given_up_by.iter();
                let (id, _) = all.find(|(_, waiting)| waiting.id() == error.id())?;
                lost(*id)
            }
        };
        self.given_up_by.remove(&answer.id);
        Some(answer)
    }

    fn is_to_stop(&mut self, context: &mut Context<'_>) -> bool {
        let stops = match &mut self.stopping {
            Some(stopping) => stopping.as_mut().poll(context).is_ready(),
            None => false,
        };
        if stops {
            self.stopping = None;
        }
        stops
    }
}

impl Stream for Answers {
    type Item = Result<ForwardResponse, Status>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<ForwardResponse, Status>>> {
        if mem::take(&mut self.rests) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let stopping = self.is_to_stop(context);
        let mut answers = Vec::new();
        let mut begun = 0;
        while begun < MOST_AT_ONCE
            && let Some(requests) = &mut self.requests
        {
            match Pin::new(requests).poll_next(context) {
                Poll::Ready(Some(Ok(request))) => {
                    begun += request.calls.len().max(1);
                    self.take(request, &mut answers);
                }
                Poll::Ready(Some(Err(status))) => return Poll::Ready(Some(Err(status))),
                Poll::Ready(None) => self.requests = None,
                Poll::Pending => break,
            }
        }
        // After those that have just begun to wait, so that they wake this.
        let mut ended = 0;
        while ended < MOST_AT_ONCE
            && let Poll::Ready(Some(answer)) = self.waiting.poll_join_next(context)
        {
            ended += 1;
            answers.extend(self.waited(answer));
        }
        self.rests = begun >= MOST_AT_ONCE || ended >= MOST_AT_ONCE;
        if stopping || !answers.is_empty() {
            return Poll::Ready(Some(Ok(ForwardResponse { answers, stopping })));
        }
        if self.requests.is_none() && self.waiting.is_empty() {
            return Poll::Ready(None);
        }
        if mem::take(&mut self.rests) {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

async fn answer(owner: Arc<Owner>, call: ForwardedCall) -> ForwardedAnswer {
    use forwarded_call::Request;
    let ForwardedCall { id, timeout, traceparent, tracestate, request } = call;
    let path = match &request {
        Some(Request::Acquire(_)) => "/quotagate.peer.v1.PeerService/Acquire",
        Some(Request::Release(_)) => "/quotagate.peer.v1.PeerService/Release",
        Some(Request::Report(_)) => "/quotagate.peer.v1.PeerService/Report",
        // Of a version that knows more than this one.
        None => return lost(id),
    };
    let timeout = timeout.and_then(|timeout| timeout.try_into().ok());
    let trace = [("traceparent", traceparent), ("tracestate", tracestate)];
    let carried = Carried { path, timeout, trace };
    let answer = owner.edge.carry(carried, async |deadline| match request {
        Some(Request::Acquire(request)) => {
            owner.acquire(request, deadline).await.map(Answer::Acquire)
        }
        Some(Request::Release(request)) => owner.release(request).await.map(Answer::Release),
        Some(Request::Report(request)) => owner.report(request).await.map(Answer::Report),
        None => Err(Status::unimplemented("")),
    });
    let answer = answer.await.unwrap_or_else(|status| Answer::Error(error_of(&status)));
    ForwardedAnswer { id, answer: Some(answer) }
}

/// Nobody knows what was done.
fn lost(id: u64) -> ForwardedAnswer {
    ForwardedAnswer { id, answer: None }
}
