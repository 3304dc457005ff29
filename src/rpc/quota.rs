//! QuotaService: convert, one call, convert.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status};
use tracing::{Span, debug};

use super::{
    convert::{self, quota as wire},
    layers::Deadline,
    status::Problem,
};
use crate::{
    node::{Node, UsageWatch},
    proto::v1::{self, quota_service_server::QuotaService},
};

/// Watches in one process: each costs a task and a bounded buffer.
const MAX_WATCHES: usize = 1_000;

/// Messages that wait for a slow watcher; further changes wait at the node,
/// which folds them into one.
const WATCH_BUFFER: usize = 2;

/// A watcher's place is free when another one leaves.
const WATCH_RETRY: std::time::Duration = std::time::Duration::from_secs(10);

/// The service's handlers.
#[derive(Debug)]
pub struct Quota {
    node: Arc<Node>,
    watches: Arc<Semaphore>,
}

impl Quota {
    /// The service over a node.
    #[must_use]
    pub fn new(node: Arc<Node>) -> Self {
        Self { node, watches: Arc::new(Semaphore::new(MAX_WATCHES)) }
    }

    /// An answer that names the node which gave it.
    fn answer<T>(&self, message: T) -> Response<T> {
        let mut response = Response::new(message);
        // An address that is no header value would be a fault of the
        // configuration; the answer itself is good.
        if let Ok(address) = self.node.address().parse() {
            response.metadata_mut().insert("quotagate-owner", address);
        }
        response
    }
}

#[tonic::async_trait]
impl QuotaService for Quota {
    async fn acquire(
        &self,
        request: Request<v1::AcquireRequest>,
    ) -> Result<Response<v1::AcquireResponse>, Status> {
        let deadline = Deadline::of(&request);
        let (org, mut ask) = wire::ask(request.get_ref())?;
        let arrived = self.node.now().mono;
        Span::current().record("org", org.as_str());
        ask.max_wait = deadline.cap(ask.max_wait);
        let decided = self.node.acquire(&org, ask, arrived).await?;
        Ok(self.answer(wire::decided(decided)))
    }

    async fn release(
        &self,
        request: Request<v1::ReleaseRequest>,
    ) -> Result<Response<v1::ReleaseResponse>, Status> {
        let (permit_id, unused) = wire::release(request.get_ref())?;
        let released = self.node.release(permit_id, unused).await?;
        Ok(self.answer(wire::released(released)?))
    }

    async fn report(
        &self,
        request: Request<v1::ReportRequest>,
    ) -> Result<Response<v1::ReportResponse>, Status> {
        let (subject, report) = wire::report(request.get_ref())?;
        if report.http_status >= 400 {
            let (code, message) = wire::error_text(request.get_ref());
            debug!(status = report.http_status, code, message, "Salesforce refused a call");
        }
        let reported = match subject {
            wire::Subject::Permit(permit_id) => self.node.report(permit_id, report).await?,
            wire::Subject::Org(org) => self.node.report_org(&org, report).await?,
        };
        Ok(self.answer(wire::reported(reported, self.node.now())))
    }

    async fn get_usage(
        &self,
        request: Request<v1::GetUsageRequest>,
    ) -> Result<Response<v1::GetUsageResponse>, Status> {
        let org = convert::org(&request.get_ref().org)?;
        Span::current().record("org", org.as_str());
        let (usage, now) = self.node.usage(&org).await?;
        let usage = Some(wire::org_usage(usage, now));
        Ok(self.answer(v1::GetUsageResponse { usage }))
    }

    type WatchUsageStream = ReceiverStream<Result<v1::WatchUsageResponse, Status>>;

    async fn watch_usage(
        &self,
        request: Request<v1::WatchUsageRequest>,
    ) -> Result<Response<Self::WatchUsageStream>, Status> {
        let org = convert::org(&request.get_ref().org)?;
        Span::current().record("org", org.as_str());
        let Ok(place) = Arc::clone(&self.watches).try_acquire_owned() else {
            return Err(too_many_watches().into());
        };
        let watch = self.node.watch(&org)?;
        let (events, stream) = mpsc::channel(WATCH_BUFFER);
        tokio::spawn(async move {
            pass_on(watch, events).await;
            drop(place);
        });
        Ok(self.answer(ReceiverStream::new(stream)))
    }
}

/// Ends when the service stops, or at once when the watcher goes away.
async fn pass_on(
    mut watch: UsageWatch,
    events: mpsc::Sender<Result<v1::WatchUsageResponse, Status>>,
) {
    loop {
        let event = tokio::select! {
            event = watch.next() => event,
            () = events.closed() => None,
        };
        let Some(event) = event else { return };
        if events.send(Ok(wire::usage_event(event))).await.is_err() {
            return;
        }
    }
}

fn too_many_watches() -> Problem {
    Problem::new(
        Code::ResourceExhausted,
        "TOO_MANY_WATCHES",
        format!("{MAX_WATCHES} watches are open, which is all that are served: try again later"),
    )
    .retry_after(WATCH_RETRY)
}
