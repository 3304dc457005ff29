//! Callers as they are in the field: they ask, call Salesforce over HTTP, and
//! report.

use std::time::Duration;

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

use crate::salesforce::{Call, Salesforce};

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
        let salesforce = Salesforce::new(salesforce_url);
        for job in jobs {
            for _ in 0..job.callers {
                callers.spawn(work(job.clone(), service.clone(), salesforce.clone()));
            }
        }
        Self { _callers: callers }
    }
}

async fn work(job: Job, service: watch::Receiver<Service>, salesforce: Salesforce) {
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
        let call = Call { org: job.org, user: &user, operation: job.operation, runs: job.runs };
        let answer = salesforce.call(call).await;
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
