//! What became of requests, as Envoy's access log tells it: the report of a call,
//! without a line of code at the caller.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use prost_types::value::Kind;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep_until},
};
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, warn};

use super::answer::PERMITS_KEY;
use crate::{
    metrics::{LogEntryOutcome, Metrics},
    proto::{
        envoy::{
            data::accesslog::v3::{AccessLogCommon, HttpAccessLogEntry, HttpResponseProperties},
            service::accesslog::v3::{
                StreamAccessLogsMessage, StreamAccessLogsResponse,
                access_log_service_server::AccessLogService,
            },
        },
        v1::{ReleaseRequest, ReportRequest},
    },
    rpc::{
        forward::{Context, Forward},
        layers::Deadline,
        operation::{Release, Report},
    },
};

/// One message: Envoy sends one when it has collected 16 KiB, and an entry may
/// have long headers.
pub const MAX_MESSAGE_BYTES: usize = 256 * 1024;

/// The filter whose metadata holds what its service has said.
const FILTER: &str = "envoy.filters.http.ratelimit";

/// What Envoy says of answers that are the upstream's own.
const VIA_UPSTREAM: &str = "via_upstream";

/// Settlements that are under way at once; more wait at the proxies.
const AT_ONCE: usize = 256;

/// A stream ends in order before its deadline cuts it off.
const MARGIN: Duration = Duration::from_secs(1);

/// How long one settlement may take. Afterwards the call counts as if nobody had
/// told of it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Settles calls by what access logs tell.
#[derive(Debug)]
pub struct AccessLog {
    forward: Arc<Forward>,
    metrics: Arc<Metrics>,
    places: Arc<Semaphore>,
    /// It has been said that a proxy tries again by itself.
    has_warned: AtomicBool,
}

impl AccessLog {
    /// The service at the edge of a node.
    #[must_use]
    pub fn new(forward: Arc<Forward>, metrics: Arc<Metrics>) -> Self {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        Self { forward, metrics, places, has_warned: AtomicBool::new(false) }
    }
}

#[tonic::async_trait]
impl AccessLogService for AccessLog {
    /// Ends with this node, or before its deadline, which every request has; Envoy
    /// begins another stream then.
    async fn stream_access_logs(
        &self,
        request: Request<Streaming<StreamAccessLogsMessage>>,
    ) -> Result<Response<StreamAccessLogsResponse>, Status> {
        let context = self.forward.context(&request)?;
        let mut stopping = self.forward.stopping();
        let mut messages = request.into_inner();
        let ends = context.deadline.at() - MARGIN;
        loop {
            let message = tokio::select! {
                biased;
                _ = stopping.wait_for(|stopping| *stopping) => break,
                () = sleep_until(ends) => break,
                message = messages.message() => message?,
            };
            let Some(message) = message else { break };
            let entries = message.http_logs.map(|logs| logs.log_entry).unwrap_or_default();
            for settlement in entries.into_iter().flat_map(|entry| self.settlements(entry)) {
                // Nobody closes the semaphore.
                let place = Arc::clone(&self.places).acquire_owned().await.ok();
                let settled = settlement.carry_out(self.forward.clone(), context.clone());
                // What was read is settled even if the proxy goes meanwhile.
                tokio::spawn(async move {
                    settled.await;
                    drop(place);
                });
            }
        }
        Ok(Response::new(StreamAccessLogsResponse {}))
    }
}

impl AccessLog {
    /// What an entry says of each of its request's permits.
    fn settlements(&self, entry: HttpAccessLogEntry) -> Vec<Settlement> {
        let common = entry.common_properties.unwrap_or_default();
        if common.intermediate_log_entry {
            return Vec::new();
        }
        let permits = permits(&common);
        if permits.is_empty() {
            self.metrics.envoy_log_entry(LogEntryOutcome::WithoutPermit);
            return Vec::new();
        }
        let outcome = outcome(&common, entry.response.unwrap_or_default());
        self.metrics.envoy_log_entry(match &outcome {
            Outcome::Unsent => LogEntryOutcome::Unsent,
            Outcome::Sent(report) if report.http_status == 0 => LogEntryOutcome::Unanswered,
            Outcome::Sent(_) => LogEntryOutcome::Answered,
        });
        let attempts = common.upstream_request_attempt_count;
        if attempts > 1 && !self.has_warned.swap(true, Ordering::Relaxed) {
            warn!(
                attempts,
                "a proxy has sent a request more than once for one permit, which overruns \
                 limits: switch its retries off (said once)"
            );
        }
        permits.into_iter().map(|permit| Settlement { permit, outcome: outcome.clone() }).collect()
    }
}

/// What becomes of one permit.
struct Settlement {
    permit: String,
    outcome: Outcome,
}

/// What became of a call.
#[derive(Clone, Debug, PartialEq)]
enum Outcome {
    /// It never left the proxy.
    Unsent,
    /// It may have arrived; the report has no permit yet.
    Sent(Box<ReportRequest>),
}

impl Settlement {
    async fn carry_out(self, forward: Arc<Forward>, context: Context) {
        let Self { permit: permit_id, outcome } = self;
        let arrived = forward.node().now().mono;
        let deadline = Deadline::new(Instant::now() + PATIENCE);
        let context = Context { arrived, deadline, ..context };
        let settled = match outcome {
            Outcome::Unsent => {
                match Release::new(ReleaseRequest { permit_id, unused_calls: None }) {
                    Ok(release) => forward.decide(&release, &context).await.map(drop),
                    Err(problem) => Err(problem.into()),
                }
            }
            Outcome::Sent(report) => match Report::new(ReportRequest { permit_id, ..*report }) {
                Ok(report) => forward.decide(&report, &context).await.map(drop),
                Err(problem) => Err(problem.into()),
            },
        };
        if let Err(status) = settled {
            debug!(%status, "a call was not settled by the access log");
        }
    }
}

/// The permits that the rate limit filter noted for a request. A header would be
/// the caller's to forge.
fn permits(common: &AccessLogCommon) -> Vec<String> {
    let noted = common.metadata.as_ref().and_then(|metadata| metadata.filter_metadata.get(FILTER));
    let list = noted.and_then(|noted| noted.fields.get(PERMITS_KEY)?.kind.as_ref());
    let Some(Kind::ListValue(list)) = list else { return Vec::new() };
    let texts = list.values.iter().filter_map(|value| match &value.kind {
        Some(Kind::StringValue(text)) => Some(text.clone()),
        _ => None,
    });
    texts.collect()
}

/// A call is unsent only if no byte of it went out and there was no second try.
/// An answer is one only if it is the upstream's own.
fn outcome(common: &AccessLogCommon, response: HttpResponseProperties) -> Outcome {
    let attempts = common.upstream_request_attempt_count;
    if common.time_to_first_upstream_tx_byte.is_none() && attempts <= 1 {
        return Outcome::Unsent;
    }
    let status = response.response_code.unwrap_or_default();
    if response.response_code_details != VIA_UPSTREAM || !(100..=599).contains(&status) {
        return Outcome::Sent(Box::default());
    }
    let headers = &response.response_headers;
    let date = headers.get("date").and_then(|text| httpdate::parse_http_date(text).ok());
    Outcome::Sent(Box::new(ReportRequest {
        http_status: status,
        retry_after: retry_after(headers, date),
        limit_info: headers.get("sforce-limit-info").cloned().into_iter().collect(),
        answer_time: date.map(Into::into),
        // Later than it was, by the time that the entry lay at the proxy: the call
        // counts for so much longer.
        completed_ago: None,
        ..ReportRequest::default()
    }))
}

/// Seconds, or a moment, which is understood by the answer's own clock.
fn retry_after(
    headers: &HashMap<String, String>,
    date: Option<SystemTime>,
) -> Option<prost_types::Duration> {
    let text = headers.get("retry-after")?.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(prost_types::Duration { seconds: seconds.into(), nanos: 0 });
    }
    let moment = httpdate::parse_http_date(text).ok()?;
    moment.duration_since(date?).unwrap_or_default().try_into().ok()
}

#[cfg(test)]
mod tests;
