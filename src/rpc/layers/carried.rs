//! Requests that another node sends together, in one message of a stream: each of
//! them passes what it would as a request by itself.

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

use tokio::time::{Instant, timeout_at};
use tonic::{Code, Status, codegen::http::HeaderMap};
use tracing::{Instrument as _, debug};

use super::{
    DEADLINE_MARGIN, Deadline, Edge, Kind, MAX_DURATION, Seen, answered, deadline_exceeded,
    log_span, overloaded,
};

/// What headers would say of a request.
#[derive(Debug)]
pub struct Carried {
    /// The method that would answer it, as in the path of a request.
    pub path: &'static str,
    /// How long its caller listens.
    pub timeout: Option<Duration>,
    /// The context of its trace, and what goes with it; empty where there is none.
    pub trace: [(&'static str, String); 2],
}

impl Carried {
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.trace {
            // What is no value of a header names no trace.
            if let (false, Ok(value)) = (value.is_empty(), value.parse()) {
                headers.insert(*name, value);
            }
        }
        headers
    }
}

impl Edge {
    /// Has such a request answered by `serve`, if it may come in. Nobody asks who
    /// calls: that was done where it came from.
    ///
    /// # Errors
    /// There are too many, it took too long, or its own.
    pub async fn carry<T, F>(
        &self,
        carried: Carried,
        serve: impl FnOnce(Deadline) -> F,
    ) -> Result<T, Status>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let (path, headers) = (carried.path, carried.headers());
        let trace = self.traces.serve(path, &headers, false);
        let span = log_span(path, &headers, Seen::among(&headers), &trace);
        let Some(_place) = self.places.take(Kind::Work) else {
            let refused = Status::from(overloaded());
            self.metrics.request(path, refused.code());
            answered(&trace, &refused);
            return Err(refused);
        };
        let timeout = carried.timeout.map_or(MAX_DURATION, |timeout| timeout.min(MAX_DURATION));
        let deadline = Deadline::new(Instant::now() + timeout);
        let answer = async {
            let mut answer = pin!(serve(deadline));
            // What is answered at once needs no timer.
            let at_once = poll_fn(|context| Poll::Ready(answer.as_mut().poll(context))).await;
            let answer = match at_once {
                Poll::Ready(answer) => answer,
                Poll::Pending => timeout_at(deadline.at() - DEADLINE_MARGIN, answer)
                    .await
                    .unwrap_or_else(|_| Err(deadline_exceeded().into())),
            };
            let code = answer.as_ref().err().map_or(Code::Ok, Status::code);
            self.metrics.request(path, code);
            debug!(outcome = ?code, "answered");
            match &answer {
                Err(status) => super::answered(&trace, status),
                Ok(_) if trace.is_recorded() => super::answered(&trace, &Status::ok("")),
                Ok(_) => {}
            }
            answer
        };
        // Most have neither, and go without what either costs.
        match (trace.is_recorded(), span.is_disabled()) {
            (false, true) => answer.await,
            (false, false) => answer.instrument(span).await,
            (true, _) => trace.clone().within(answer).instrument(span).await,
        }
    }
}
