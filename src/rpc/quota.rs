//! QuotaService: each request is made an operation, and decided by the org's
//! owner.

use std::{sync::Arc, time::Duration};

use hyper::body::Incoming;
use prost::Message;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, codegen::http};
use tower::Service as _;
use tracing::debug;

use super::{
    convert::{self, quota as wire},
    forward::{Context, Forward},
    layers::{Known, MAX_MESSAGE_BYTES},
    operation::{Acquire, Answered, GetDemand, GetUsage, Operation, Release, Report, Watch},
    overview,
    serving::{Often, infallible},
    status::Problem,
    unary::{self, Sent},
    watch::{self, BUFFER},
};
use crate::proto::v1::{
    self,
    quota_service_server::{QuotaService, QuotaServiceServer},
};

/// Watches in one process: each costs a task and a bounded buffer.
const MAX_WATCHES: usize = 1_000;

/// A watcher's place is free when another one leaves.
const WATCH_RETRY: Duration = Duration::from_secs(10);

/// The service's handlers.
#[derive(Debug)]
pub struct Quota {
    forward: Arc<Forward>,
    watches: Arc<Semaphore>,
}

impl Quota {
    /// The service at the edge of a node.
    #[must_use]
    pub fn new(forward: Arc<Forward>) -> Self {
        Self { forward, watches: Arc::new(Semaphore::new(MAX_WATCHES)) }
    }

    /// Asks for calls.
    ///
    /// # Errors
    /// What a caller has to know.
    pub async fn acquire(
        &self,
        request: Request<v1::AcquireRequest>,
    ) -> Result<Response<v1::AcquireResponse>, Status> {
        let context = self.forward.context(&request);
        Ok(self.decide(context, request.into_inner()).await?.map(Into::into))
    }

    fn decide(
        &self,
        context: Result<Context, Problem>,
        request: v1::AcquireRequest,
    ) -> impl Future<Output = Result<Response<Answered>, Status>> + Send {
        self.carried_out(context, |context| {
            let (asker, deadline) = (&context.asker(), context.deadline);
            Acquire::new(request, asker, Duration::ZERO, deadline)
        })
    }

    /// Has an operation carried out, if it is sound. All of a request is checked before
    /// anything waits, and kept in one place: a future that holds it is moved from hand
    /// to hand, and each copy of a kilobyte costs as much as a decision's part.
    fn carried_out<O: Operation>(
        &self,
        context: Result<Context, Problem>,
        operation: impl FnOnce(&Context) -> Result<O, Problem>,
    ) -> impl Future<Output = Result<Response<O::Answer>, Status>> + Send {
        let asked = context.and_then(|context| {
            let operation = operation(&context)?;
            Ok(Box::new((operation, context)))
        });
        async move {
            let asked = asked?;
            let (operation, context) = &*asked;
            self.forward.decide(operation, context).await
        }
    }

    /// Gives calls back.
    ///
    /// # Errors
    /// What a caller has to know.
    pub fn release(
        &self,
        request: Request<v1::ReleaseRequest>,
    ) -> impl Future<Output = Result<Response<v1::ReleaseResponse>, Status>> + Send {
        self.give_back(self.forward.context(&request), request.into_inner())
    }

    fn give_back(
        &self,
        context: Result<Context, Problem>,
        request: v1::ReleaseRequest,
    ) -> impl Future<Output = Result<Response<v1::ReleaseResponse>, Status>> + Send {
        self.carried_out(context, |_| Release::new(request))
    }

    /// Tells what became of calls.
    ///
    /// # Errors
    /// What a caller has to know.
    pub fn report(
        &self,
        request: Request<v1::ReportRequest>,
    ) -> impl Future<Output = Result<Response<v1::ReportResponse>, Status>> + Send {
        self.settle(self.forward.context(&request), request.into_inner())
    }

    fn settle(
        &self,
        context: Result<Context, Problem>,
        request: v1::ReportRequest,
    ) -> impl Future<Output = Result<Response<v1::ReportResponse>, Status>> + Send {
        self.carried_out(context, |_| {
            let report = Report::new(request)?;
            let request = report.request();
            if request.http_status >= 400 {
                let (code, message) = wire::error_text(request);
                debug!(status = request.http_status, code, message, "Salesforce refused a call");
            }
            Ok(report)
        })
    }
}

#[tonic::async_trait]
impl QuotaService for Quota {
    async fn acquire(
        &self,
        request: Request<v1::AcquireRequest>,
    ) -> Result<Response<v1::AcquireResponse>, Status> {
        Self::acquire(self, request).await
    }

    async fn release(
        &self,
        request: Request<v1::ReleaseRequest>,
    ) -> Result<Response<v1::ReleaseResponse>, Status> {
        Self::release(self, request).await
    }

    async fn report(
        &self,
        request: Request<v1::ReportRequest>,
    ) -> Result<Response<v1::ReportResponse>, Status> {
        Self::report(self, request).await
    }

    async fn get_usage(
        &self,
        request: Request<v1::GetUsageRequest>,
    ) -> Result<Response<v1::GetUsageResponse>, Status> {
        let context = self.forward.context(&request)?;
        self.forward.decide(&GetUsage::new(request.get_ref())?, &context).await
    }

    async fn get_demand(
        &self,
        request: Request<v1::GetDemandRequest>,
    ) -> Result<Response<v1::GetDemandResponse>, Status> {
        let context = self.forward.context(&request)?;
        self.forward.decide(&GetDemand::new(request.into_inner())?, &context).await
    }

    async fn list_usage(
        &self,
        request: Request<v1::ListUsageRequest>,
    ) -> Result<Response<v1::ListUsageResponse>, Status> {
        let context = self.forward.context(&request)?;
        let asked = convert::overview::asked(request.into_inner())?;
        let sweep = self.forward.overview().await;
        Ok(Response::new(overview::page(&sweep, &asked, &context.caller)))
    }

    type WatchUsageStream = ReceiverStream<Result<v1::WatchUsageResponse, Status>>;

    async fn watch_usage(
        &self,
        request: Request<v1::WatchUsageRequest>,
    ) -> Result<Response<Self::WatchUsageStream>, Status> {
        let context = self.forward.context(&request)?;
        let watch = Watch::new(request.get_ref())?;
        watch.check_rights(&context)?;
        let Ok(place) = Arc::clone(&self.watches).try_acquire_owned() else {
            return Err(too_many_watches().into());
        };
        let found = self.forward.decide(&watch, &context).await?;
        let (metadata, source, extensions) = found.into_parts();
        let (events, stream) = mpsc::channel(BUFFER);
        let forward = Arc::clone(&self.forward);
        tokio::spawn(async move {
            watch::follow(forward, watch, context, source, events).await;
            drop(place);
        });
        Ok(Response::from_parts(metadata, ReceiverStream::new(stream), extensions))
    }
}

/// What every call of a caller's needs: Acquire, Report and Release.
#[derive(Debug)]
pub struct Calls {
    quota: Arc<Quota>,
    /// What knows all that can be wrong with a request.
    service: QuotaServiceServer<Quota>,
}

impl Calls {
    /// Those of a service.
    pub(super) fn new(quota: Quota) -> Self {
        let quota = Arc::new(quota);
        let service = QuotaServiceServer::from_arc(Arc::clone(&quota));
        Self { quota, service: service.max_decoding_message_size(MAX_MESSAGE_BYTES) }
    }

    /// The whole service.
    pub(super) fn service(&self) -> &QuotaServiceServer<Quota> {
        &self.service
    }

    async fn one<M, A, F>(
        &self,
        mut request: Box<http::Request<Incoming>>,
        known: Known<'_>,
        answer: impl FnOnce(Result<Context, Problem>, M) -> F,
    ) -> http::Response<Sent>
    where
        M: Message + Default,
        A: unary::Answer,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let is_encoded = known.seen.encoding;
        match unary::read(&mut request, is_encoded, MAX_MESSAGE_BYTES).await {
            Ok(message) => {
                let context = self.quota.forward.context_of(known, request.headers());
                drop(request);
                unary::write(answer(context, message).await)
            }
            Err(read) => {
                known.note(request.extensions_mut());
                let unread = unary::unread(*request, read);
                infallible(self.service.clone().call(unread).await).map(Sent::from)
            }
        }
    }
}

impl Often for Calls {
    fn is(&self, path: &str) -> bool {
        matches!(method(path), Some("Acquire" | "Report" | "Release"))
    }

    async fn answer(
        &self,
        request: Box<http::Request<Incoming>>,
        known: Known<'_>,
    ) -> http::Response<Sent> {
        let quota = &*self.quota;
        match method(request.uri().path()) {
            Some("Acquire") => self.one(request, known, |who, asks| quota.decide(who, asks)).await,
            Some("Report") => self.one(request, known, |who, tells| quota.settle(who, tells)).await,
            _ => self.one(request, known, |who, gives| quota.give_back(who, gives)).await,
        }
    }
}

fn method(path: &str) -> Option<&str> {
    path.strip_prefix("/quotagate.v1.QuotaService/")
}

fn too_many_watches() -> Problem {
    Problem::new(
        Code::ResourceExhausted,
        "TOO_MANY_WATCHES",
        format!("{MAX_WATCHES} watches are open, which is all that are served: try again later"),
    )
    .retry_after(WATCH_RETRY)
}
