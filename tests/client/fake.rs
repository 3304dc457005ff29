//! A server whose answers the test chooses, and which remembers the requests.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use quotagate::proto::v1::{
    acquire_response::Outcome,
    quota_service_server::{QuotaService, QuotaServiceServer},
    *,
};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
};
use tokio_stream::{Stream, wrappers::TcpListenerStream};
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// What it answers to an Acquire.
#[derive(Clone, Debug)]
pub enum Say {
    /// A permit with this limit.
    Yes(Box<LimitUsage>),
    /// An error of the service.
    No(Code, Option<Duration>),
    /// An error of nobody's.
    Garbled(Code),
    /// Nothing, ever.
    Nothing,
}

/// It serves until it is dropped.
pub struct Fake {
    pub addr: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    /// Of its own: its connections are not among the tasks that a test counts.
    runtime: Option<Runtime>,
}

/// What it was asked, and what it will answer: the last answer again and again.
#[derive(Debug, Default)]
pub struct Seen {
    pub acquires: Vec<AcquireRequest>,
    pub reports: Vec<ReportRequest>,
    pub releases: Vec<ReleaseRequest>,
    script: VecDeque<Say>,
    /// Reports and releases fail so often.
    pub failures: u32,
}

#[derive(Clone)]
struct Edge(Arc<Mutex<Seen>>);

impl Fake {
    pub async fn start(script: impl IntoIterator<Item = Say>) -> Self {
        let runtime =
            Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads");
        let listener = runtime.spawn(TcpListener::bind("127.0.0.1:0")).await;
        let listener = listener.expect("it does not panic").expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        let seen = Seen { script: script.into_iter().collect(), ..Seen::default() };
        let seen = Arc::new(Mutex::new(seen));
        let service = QuotaServiceServer::new(Edge(Arc::clone(&seen)));
        runtime.spawn(async move {
            let server = tonic::transport::Server::builder().add_service(service);
            let _ = server.serve_with_incoming(TcpListenerStream::new(listener)).await;
        });
        Self { addr, seen, runtime: Some(runtime) }
    }

    pub fn seen<T>(&self, read: impl FnOnce(&mut Seen) -> T) -> T {
        read(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Edge {
    fn seen<T>(&self, read: impl FnOnce(&mut Seen) -> T) -> T {
        read(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn settle(&self) -> Result<(), Status> {
        self.seen(|seen| {
            if seen.failures == 0 {
                return Ok(());
            }
            seen.failures -= 1;
            Err(error(Code::Unavailable, Some(Duration::from_millis(1))))
        })
    }
}

fn error(code: Code, retry_after: Option<Duration>) -> Status {
    let mut details = ErrorDetails::with_error_info("BECAUSE", "quotagate", []);
    if retry_after.is_some() {
        details.set_retry_info(retry_after);
    }
    if code == Code::InvalidArgument {
        details.add_bad_request_violation("org", "is wrong");
    }
    Status::with_error_details(code, "because", details)
}

#[tonic::async_trait]
impl QuotaService for Edge {
    async fn acquire(
        &self,
        request: Request<AcquireRequest>,
    ) -> Result<Response<AcquireResponse>, Status> {
        let request = request.into_inner();
        let say = self.seen(|seen| {
            seen.acquires.push(request.clone());
            let next = seen.script.pop_front().expect("it has a script");
            if seen.script.is_empty() {
                seen.script.push_back(next.clone());
            }
            next
        });
        match say {
            Say::Yes(limit) => {
                let permit = Permit {
                    permit_id: "a-b-c-d-org".into(),
                    calls: request.calls.max(1),
                    execution_user: "ann".into(),
                    ttl: request
                        .permit_ttl
                        .or(Some(prost_types::Duration { seconds: 60, nanos: 0 })),
                    limits: vec![*limit],
                    ..Permit::default()
                };
                Ok(Response::new(AcquireResponse { outcome: Some(Outcome::Permit(permit)) }))
            }
            Say::No(code, retry_after) => Err(error(code, retry_after)),
            Say::Garbled(code) => Err(Status::new(code, "who are you?")),
            Say::Nothing => std::future::pending().await,
        }
    }

    async fn release(
        &self,
        request: Request<ReleaseRequest>,
    ) -> Result<Response<ReleaseResponse>, Status> {
        self.settle()?;
        self.seen(|seen| seen.releases.push(request.into_inner()));
        Ok(Response::new(ReleaseResponse::default()))
    }

    async fn report(
        &self,
        request: Request<ReportRequest>,
    ) -> Result<Response<ReportResponse>, Status> {
        self.settle()?;
        let report = request.into_inner();
        let advice = match report.http_status {
            401 => Advice::Stop,
            503 => Advice::BackOff,
            _ => Advice::Continue,
        };
        let back_off =
            (advice == Advice::BackOff).then_some(prost_types::Duration { seconds: 1, nanos: 0 });
        self.seen(|seen| seen.reports.push(report));
        let advice = advice.into();
        Ok(Response::new(ReportResponse { advice, back_off, ..ReportResponse::default() }))
    }

    async fn get_usage(
        &self,
        _: Request<GetUsageRequest>,
    ) -> Result<Response<GetUsageResponse>, Status> {
        Ok(Response::new(Default::default()))
    }

    type WatchUsageStream = Pin<Box<dyn Stream<Item = Result<WatchUsageResponse, Status>> + Send>>;

    async fn watch_usage(
        &self,
        _: Request<WatchUsageRequest>,
    ) -> Result<Response<Self::WatchUsageStream>, Status> {
        Ok(Response::new(Box::pin(tokio_stream::empty())))
    }

    async fn list_usage(
        &self,
        _: Request<ListUsageRequest>,
    ) -> Result<Response<ListUsageResponse>, Status> {
        Ok(Response::new(Default::default()))
    }

    async fn get_demand(
        &self,
        _: Request<GetDemandRequest>,
    ) -> Result<Response<GetDemandResponse>, Status> {
        Ok(Response::new(Default::default()))
    }
}
