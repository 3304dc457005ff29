//! One org: how much is left of each limit, what pauses when, who used it, who waits,
//! and what Salesforce says.

mod consumers;
mod curve;
mod limit;
mod limits;
mod queue;
mod readings;
mod refusals;
mod total;
mod workspace;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use askama::Template;
use axum::{
    extract::{Path, State},
    response::Response,
};
use prost_types::Timestamp;
use tokio::time::Instant;
use tonic::Status;

pub use self::limit::change as limit;
use self::{
    consumers::{Consumer, Consumers},
    limits::{LimitRow, UserRows},
    queue::QueueRow,
    readings::ReadingRow,
    refusals::RefusalRow,
    total::Total,
    workspace::{Card, Chosen},
};
use super::{
    Frame, Pages, Section, Shared, Visit,
    visit::Tab,
    words::{self, Moment},
};
use crate::{
    auth::Verb,
    proto::{
        admin::v1::admin_service_server::AdminService,
        v1::{
            GetDemandRequest, GetDemandResponse, GetUsageRequest, LimitScope, OrgUsage,
            quota_service_server::QuotaService,
        },
    },
};

/// Demand is counted by the minute, and its answer is large: it is asked for so often.
const DEMAND_EVERY: Duration = Duration::from_secs(10);

/// Refusals of so long are shown.
const REFUSALS_OF: Duration = Duration::from_secs(3_600);

#[derive(Template)]
#[template(path = "org.html")]
struct Org {
    frame: Frame,
    visit_path: String,
    org: String,
    as_of: Option<Moment>,
    /// What a form has just done, as a sentence; else empty.
    done: String,
    warnings: Vec<String>,
    total: Option<Total>,
    /// For the script; `None` while there is nothing to draw.
    curve: Option<String>,
    workspaces: Vec<Card>,
    chosen: Chosen,
    /// The org's own, besides its total.
    limits: Vec<LimitRow>,
    /// Who sees only some of the workspaces does not see the rest of this.
    sees_all: bool,
    users: Vec<UserRows>,
    users_said: String,
    queue: Vec<QueueRow>,
    queue_said: String,
    refusals: Vec<RefusalRow>,
    dimensions: Vec<Tab>,
    periods: Vec<Tab>,
    consumers: Vec<Consumer>,
    consumers_said: String,
    readings: Vec<ReadingRow>,
    drift: String,
}

/// The page.
pub async fn page<Q: QuotaService, A: AdminService>(
    State(pages): Shared<Q, A>,
    Path(org): Path<String>,
    visit: Visit,
) -> Response {
    let demand = Arc::new(Demand::default());
    pages
        .show(visit, move |pages, visit| {
            let (org, demand) = (org.clone(), Arc::clone(&demand));
            async move {
                let asked = visit.request(GetUsageRequest { org: org.clone() });
                let usage = pages.quota().get_usage(asked).await?.into_inner();
                let usage = usage.usage.unwrap_or_default();
                let demand = demand.of(&pages, &visit, &usage).await?;
                Ok(Org::new(&visit, &usage, &demand))
            }
        })
        .await
}

/// What was asked for, as it was known some seconds ago.
#[derive(Default)]
struct Demand(Mutex<Option<(Instant, Arc<GetDemandResponse>)>>);

impl Demand {
    async fn of<Q: QuotaService, A: AdminService>(
        &self,
        pages: &Pages<Q, A>,
        visit: &Visit,
        usage: &OrgUsage,
    ) -> Result<Arc<GetDemandResponse>, Status> {
        let now = Instant::now();
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((at, demand)) = known
            && now.duration_since(at) < DEMAND_EVERY
        {
            return Ok(demand);
        }
        let length = i64::try_from(REFUSALS_OF.as_secs()).unwrap_or(0);
        let since = |now: Timestamp| Timestamp { seconds: now.seconds - length, nanos: 0 };
        let request = GetDemandRequest {
            org: usage.org.clone(),
            workspace: None,
            since: usage.as_of.map(since),
        };
        let demand = pages.quota().get_demand(visit.request(request)).await?.into_inner();
        let demand = Arc::new(demand);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, Arc::clone(&demand)));
        Ok(demand)
    }
}

impl Org {
    fn new(visit: &Visit, usage: &OrgUsage, demand: &GetDemandResponse) -> Self {
        let org = usage.org.clone();
        let caller = visit.caller();
        let is_total = |limit: &&_| limits::is_total(limit);
        let total = usage.limits.iter().find(is_total);
        let consumers = Consumers::new(visit, usage.attribution.as_ref());
        let now = usage.as_of.unwrap_or_default();
        let (workspaces, chosen) = workspace::chosen(&usage.workspaces, visit);
        let (users, users_said) = limits::users(&usage.execution_users, now);
        let mut warnings: Vec<String> =
            usage.warnings.iter().map(|warning| words::sentence(warning)).collect();
        if total.is_some_and(|total| total.stale) {
            warnings.push(
                "Salesforce has not told its own figure for more than 10 minutes: what others \
                 use is an estimate."
                    .to_owned(),
            );
        }
        warnings.extend(usage.cooling.iter().map(refusals::cooling_sentence));
        Self {
            frame: visit.frame(org.as_str(), Section::Orgs),
            visit_path: visit.path().to_owned(),
            as_of: usage.as_of.map(Moment),
            done: match visit.query("saved") {
                "" => String::new(),
                workspace => format!("The limit of {workspace} is saved, and in force."),
            },
            warnings,
            total: total.map(|total| Total::new(usage, total)),
            curve: curve::island(&demand.history, total),
            workspaces: workspaces
                .into_iter()
                .map(|workspace| workspace::card(workspace, &org, caller))
                .collect(),
            chosen,
            limits: usage
                .limits
                .iter()
                .filter(|limit| !limits::is_total(limit))
                .map(|limit| limits::row(limit, now))
                .collect(),
            sees_all: caller.may_all(Verb::Read, &org),
            users,
            users_said,
            queue: queue::rows(usage.queue.as_ref()),
            queue_said: queue::said(usage.queue.as_ref()),
            refusals: refusals::rows(usage, demand),
            dimensions: consumers.dimensions,
            periods: consumers.periods,
            consumers: consumers.rows,
            consumers_said: consumers.said,
            readings: readings::rows(&usage.readings),
            drift: readings::drift(&usage.readings),
            org,
        }
    }
}

/// Whose a limit is, in words.
fn whose(scope: LimitScope, identity: &str) -> String {
    match scope {
        LimitScope::Org | LimitScope::Unspecified => "the org".to_owned(),
        LimitScope::Workspace => format!("workspace {identity}"),
        LimitScope::ExecutionUser => format!("user {identity}"),
    }
}
