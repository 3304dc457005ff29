//! Callers as they are in the field: they ask, call Salesforce over HTTP, and
//! report.

use std::{sync::Arc, time::Duration};

use http_body_util::{BodyExt as _, Empty};
use hyper::{Method, Request, body::Bytes, header};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use quotagate::proto::v1::{
    AcquireRequest, Permit, ReportRequest, acquire_response::Outcome,
    quota_service_client::QuotaServiceClient,
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};
use tonic::transport::Channel;

/// Where the service is now, and which users are called as.
#[derive(Clone, Debug)]
pub struct Service {
    pub quota: QuotaServiceClient<Channel>,
    /// Appended to the names of users: another number is other users.
    pub generation: usize,
}

/// What a caller does, over and over.
#[derive(Clone, Debug)]
pub struct Job {
    pub org: &'static str,
    pub operation: &'static str,
    pub user: &'static str,
    pub callers: usize,
    pub ttl: Option<Duration>,
    /// How long its calls run at Salesforce, beside its latency.
    pub runs: Duration,
    pub reports: bool,
}

/// Callers at work. They end when it is dropped.
pub struct Fleet {
    _callers: JoinSet<()>,
}

/// How long an ask waits for room.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// After an ask that nobody answered.
const RETRY: Duration = Duration::from_millis(10);

impl Fleet {
    /// Puts callers to work: where the service is may change meanwhile.
    pub fn start(jobs: &[Job], service: &watch::Receiver<Service>, salesforce_url: &str) -> Self {
        let mut callers = JoinSet::new();
        let salesforce = Arc::new(Salesforce::new(salesforce_url));
        for job in jobs {
            for _ in 0..job.callers {
                callers.spawn(work(job.clone(), service.clone(), Arc::clone(&salesforce)));
            }
        }
        Self { _callers: callers }
    }
}

async fn work(job: Job, service: watch::Receiver<Service>, salesforce: Arc<Salesforce>) {
    loop {
        let Service { mut quota, generation } = service.borrow().clone();
        let user = format!("{}{generation}", job.user);
        let request = AcquireRequest {
            org: job.org.into(),
            operation: job.operation.into(),
            execution_user: user.clone(),
            max_wait: MAX_WAIT.try_into().ok(),
            permit_ttl: job.ttl.and_then(|ttl| ttl.try_into().ok()),
            ..Default::default()
        };
        // The permit's life counts from here.
        let asked = Instant::now();
        let Ok(answer) = quota.acquire(request).await else {
            sleep(RETRY).await;
            continue;
        };
        let Some(Outcome::Permit(permit)) = answer.into_inner().outcome else { continue };
        if Instant::now() >= asked + life_of(&permit) {
            // It came too late to be used.
            continue;
        }
        let answer = salesforce.call(&job, &user).await;
        if !job.reports {
            continue;
        }
        let report = ReportRequest {
            permit_id: permit.permit_id,
            http_status: answer.status,
            limit_info: answer.limit_info.into_iter().collect(),
            completed_ago: answer.completed.elapsed().try_into().ok(),
            ..Default::default()
        };
        // A report that is lost is a call that counts for longer.
        let _ = quota.report(report).await;
    }
}

fn life_of(permit: &Permit) -> Duration {
    permit.ttl.and_then(|ttl| ttl.try_into().ok()).unwrap_or_default()
}

/// Salesforce, as callers see it.
struct Salesforce {
    client: Client<HttpConnector, Empty<Bytes>>,
    url: String,
}

struct Answer {
    /// 0 where none came.
    status: u32,
    limit_info: Option<String>,
    completed: Instant,
}

impl Salesforce {
    fn new(url: &str) -> Self {
        let mut client = Client::builder(TokioExecutor::new());
        // One permit is one request on the wire.
        client.retry_canceled_requests(false);
        Self { client: client.build_http(), url: url.to_owned() }
    }

    async fn call(&self, job: &Job, user: &str) -> Answer {
        let (method, path) = match job.operation {
            "conversation-entries.get" => (Method::GET, "conversation-entries"),
            "conversation-participants.delete" => (Method::DELETE, "conversation-participants/1"),
            "conversations.delete" => (Method::DELETE, "conversations/1"),
            _ => (Method::GET, "query"),
        };
        let runs_ms = job.runs.as_millis();
        let request = Request::builder()
            .method(method)
            .uri(format!("{}/services/data/v66.0/{path}?duration_ms={runs_ms}", self.url))
            .header(header::AUTHORIZATION, format!("Bearer {}!{user}", job.org))
            .body(Empty::new())
            .expect("a good request");
        let Ok(response) = self.client.request(request).await else {
            return Answer { status: 0, limit_info: None, completed: Instant::now() };
        };
        let (head, body) = response.into_parts();
        let status = if body.collect().await.is_ok() { head.status.as_u16() } else { 0 };
        let limit_info = head.headers.get("sforce-limit-info");
        let limit_info = limit_info.and_then(|value| value.to_str().ok()).map(str::to_owned);
        Answer { status: status.into(), limit_info, completed: Instant::now() }
    }
}
