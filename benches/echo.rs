//! A bare tonic server, to compare with: it answers every Acquire with the same
//! permit, which is as long as one of quotagate's over three limits. Requests are
//! decoded, answers are made and encoded; nothing is decided.
//!
//! ```sh
//! cargo build --release --bin quotagate --bench echo
//! ```
//!
//! builds both with the same settings; `benches/wire/run.py` compares them, and takes
//! only what has the program's allocator. It is served the stock way, by tonic's own
//! `Server` as it comes.

use std::{net::SocketAddr, time::Duration};

use clap::Parser;
use quotagate::proto::v1::{
    AcquireRequest, AcquireResponse, ClassRunState, ClassState, ClassStatus, GetDemandRequest,
    GetDemandResponse, GetUsageRequest, GetUsageResponse, LimitKind, LimitScope, LimitUsage,
    ListUsageRequest, ListUsageResponse, Permit, ReleaseRequest, ReleaseResponse, ReportRequest,
    ReportResponse, TrafficClass, WatchUsageRequest, WatchUsageResponse,
    acquire_response::Outcome,
    quota_service_server::{QuotaService, QuotaServiceServer},
};
use tokio::{net::TcpListener, runtime::Builder};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};

/// The program's.
#[global_allocator]
static MEMORY: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Answers every Acquire with the same permit
#[derive(Parser)]
struct Options {
    /// Where to listen
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7400")]
    grpc: SocketAddr,
    /// Threads of the runtime; 0 is a runtime without any, on the main thread
    #[arg(long, value_name = "N", default_value_t = 0)]
    workers: usize,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse();
    let mut builder = match options.workers {
        0 => Builder::new_current_thread(),
        workers => {
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(workers);
            builder
        }
    };
    builder.enable_all().build()?.block_on(serve(options.grpc))
}

async fn serve(address: SocketAddr) -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind(address).await?;
    println!("echo on {}", listener.local_addr()?);
    Server::builder()
        .tcp_nodelay(true)
        .add_service(QuotaServiceServer::new(Echo { answer: answer() }))
        .serve_with_incoming(TcpListenerStream::new(listener))
        .await?;
    Ok(())
}

struct Echo {
    answer: AcquireResponse,
}

/// What quotagate answered, taken from one of its answers.
fn answer() -> AcquireResponse {
    let day = Duration::from_secs(24 * 60 * 60);
    let limits = vec![
        LimitUsage {
            identity: "bench-eu".to_owned(),
            ..limit(LimitScope::Workspace, "calls", day)
        },
        LimitUsage {
            identity: "bench-100".to_owned(),
            reserved: 5_000_000,
            ..limit(LimitScope::Org, "calls", day)
        },
        LimitUsage {
            identity: "alice".to_owned(),
            ..limit(LimitScope::ExecutionUser, "of-user", Duration::from_secs(60))
        },
    ];
    let class = |class: TrafficClass, pauses, resumes| ClassStatus {
        traffic_class: class.into(),
        state: ClassRunState::Running.into(),
        since: None,
        pauses_at_percent: pauses,
        resumes_below_percent: resumes,
    };
    let classes = vec![
        class(TrafficClass::Interactive, 100, 100),
        class(TrafficClass::Event, 80, 60),
        class(TrafficClass::Bulk, 40, 40),
    ];
    let permit = Permit {
        permit_id: "p1-a0-4-061001d864d48028-bench-100".to_owned(),
        calls: 1,
        execution_user: "alice".to_owned(),
        ttl: Some(prost_types::Duration { seconds: 0, nanos: 101_649_000 }),
        class_state: Some(ClassState { classes, warnings: Vec::new() }),
        limits,
        explanation: Vec::new(),
    };
    AcquireResponse { outcome: Some(Outcome::Permit(permit)) }
}

fn limit(scope: LimitScope, name: &str, window: Duration) -> LimitUsage {
    let seconds = i64::try_from(window.as_secs()).expect("a day at most");
    LimitUsage {
        name: name.to_owned(),
        kind: LimitKind::Window.into(),
        scope: scope.into(),
        max: 100_000_000,
        used_by_caller: 300_000,
        remaining: 99_700_000,
        window: Some(prost_types::Duration { seconds, nanos: 0 }),
        ..LimitUsage::default()
    }
}

#[tonic::async_trait]
impl QuotaService for Echo {
    async fn acquire(
        &self,
        request: Request<AcquireRequest>,
    ) -> Result<Response<AcquireResponse>, Status> {
        drop(request);
        Ok(Response::new(self.answer.clone()))
    }

    async fn release(
        &self,
        _: Request<ReleaseRequest>,
    ) -> Result<Response<ReleaseResponse>, Status> {
        Err(not_echoed())
    }

    async fn report(&self, _: Request<ReportRequest>) -> Result<Response<ReportResponse>, Status> {
        Err(not_echoed())
    }

    async fn get_usage(
        &self,
        _: Request<GetUsageRequest>,
    ) -> Result<Response<GetUsageResponse>, Status> {
        Err(not_echoed())
    }

    type WatchUsageStream = tokio_stream::Empty<Result<WatchUsageResponse, Status>>;

    async fn watch_usage(
        &self,
        _: Request<WatchUsageRequest>,
    ) -> Result<Response<Self::WatchUsageStream>, Status> {
        Err(not_echoed())
    }

    async fn get_demand(
        &self,
        _: Request<GetDemandRequest>,
    ) -> Result<Response<GetDemandResponse>, Status> {
        Err(not_echoed())
    }

    async fn list_usage(
        &self,
        _: Request<ListUsageRequest>,
    ) -> Result<Response<ListUsageResponse>, Status> {
        Err(not_echoed())
    }
}

fn not_echoed() -> Status {
    Status::unimplemented("only Acquire is echoed")
}
