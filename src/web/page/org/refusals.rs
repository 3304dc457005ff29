//! What was refused of late, by its cause, and when that opens.

use std::time::Duration;

use super::whose;
use crate::{
    proto::v1::{
        ClassRunState, CoolingCause, CoolingUsage, DemandMinute, GetDemandResponse, LimitUsage,
        OrgUsage,
    },
    web::page::{
        org::limits::is_total,
        words::{self, Moment},
    },
};

/// One cause.
pub struct RefusalRow {
    /// In words.
    pub cause: String,
    /// How many calls.
    pub calls: String,
    /// When, or by what, it opens.
    pub opens: String,
    /// The moment, where one is known.
    pub at: Option<Moment>,
}

/// The causes of the time that the demand is of, the most frequent first.
pub fn rows(usage: &OrgUsage, demand: &GetDemandResponse) -> Vec<RefusalRow> {
    let sum = |of: fn(&DemandMinute) -> u32| -> u64 {
        let minutes = demand.series.iter().flat_map(|series| &series.minutes);
        minutes.map(|minute| u64::from(of(minute))).sum()
    };
    let (cooling, at) = cooling(usage);
    let causes = [
        (
            sum(|minute| minute.refused_by_workspace),
            "A workspace's limit, or a class that pauses",
            by_workspace(usage),
            None,
        ),
        (
            sum(|minute| minute.refused_by_execution_user),
            "An execution user's window",
            by_user(usage),
            None,
        ),
        (sum(|minute| minute.refused_by_org), "A limit of the org", by_org(usage), None),
        (
            sum(|minute| minute.refused_by_concurrency),
            "Too many long-running calls at once",
            "when a running call ends".to_owned(),
            None,
        ),
        (
            sum(|minute| minute.refused_otherwise),
            "Cooling down, too many that wait, or nothing could be decided",
            cooling,
            at,
        ),
    ];
    let mut causes: Vec<_> = causes.into_iter().filter(|(calls, ..)| *calls > 0).collect();
    causes.sort_by_key(|(calls, ..)| std::cmp::Reverse(*calls));
    let row = |(calls, cause, opens, at): (u64, &str, String, _)| RefusalRow {
        cause: cause.to_owned(),
        calls: words::count(calls),
        opens,
        at,
    };
    causes.into_iter().map(row).collect()
}

/// A limit that Salesforce has told to stop, as a sentence.
pub fn cooling_sentence(cooling: &CoolingUsage) -> String {
    let what = match cooling.cause() {
        CoolingCause::Throttled => {
            "Salesforce throttles it: somebody else makes calls as the same user"
        }
        CoolingCause::LimitExceeded => "Salesforce says that a limit is exceeded",
        CoolingCause::ConcurrencyExceeded => {
            "Salesforce says that too many long requests run at once"
        }
        CoolingCause::LoginsExceeded => "Salesforce says that there were too many logins",
        CoolingCause::CounterExceeded => "Salesforce says that its own counter is used up",
        CoolingCause::TotalExceeded => "Salesforce says that the org's total is used up",
        CoolingCause::Unspecified => "Salesforce has told it to stop",
    };
    let probe = if cooling.probe_out { "a probe is out" } else { "a probe goes when it ends" };
    let whose = whose(cooling.scope(), &cooling.identity);
    words::sentence(&format!("{} of {whose} cools down: {what}; {probe}", cooling.limit))
}

fn is_full(limit: &LimitUsage) -> bool {
    limit.max > 0 && limit.remaining == 0
}

/// The shortest of the waits that are known.
fn soonest<'a>(limits: impl Iterator<Item = &'a LimitUsage>) -> Option<Duration> {
    limits.filter_map(|limit| words::length(limit.opens_in.as_ref())).min()
}

fn by_user(usage: &OrgUsage) -> String {
    let full = || {
        let limits = usage.execution_users.iter().flat_map(|user| &user.limits);
        limits.filter(|limit| is_full(limit))
    };
    match (full().count(), soonest(full())) {
        (0, _) => "now".to_owned(),
        (_, Some(wait)) => format!("the first in {}", words::span(wait)),
        (_, None) => "nobody knows when".to_owned(),
    }
}

fn by_org(usage: &OrgUsage) -> String {
    let is_closed =
        |limit: &LimitUsage| is_full(limit) || is_total(limit) && limit.remaining <= limit.reserved;
    let closed = || usage.limits.iter().filter(|limit| is_closed(limit));
    match (closed().count(), soonest(closed())) {
        (0, _) => "now".to_owned(),
        (_, Some(wait)) => format!("in {}", words::span(wait)),
        (_, None) => "as calls of a day ago leave".to_owned(),
    }
}

fn by_workspace(usage: &OrgUsage) -> String {
    let is_paused = |workspace: &&crate::proto::v1::WorkspaceUsage| {
        workspace.class_state.as_ref().is_some_and(|state| {
            state.classes.iter().any(|class| class.state() == ClassRunState::Paused)
        })
    };
    let paused: Vec<_> = usage.workspaces.iter().filter(is_paused).collect();
    match paused.as_slice() {
        [] => "now".to_owned(),
        [one] => format!("at once if the limit of {} is raised, else as it falls", one.workspace),
        more => format!(
            "at once if the limits of {} are raised, else as they fall",
            words::counted(u64::try_from(more.len()).unwrap_or(u64::MAX), "workspace")
        ),
    }
}

fn cooling(usage: &OrgUsage) -> (String, Option<Moment>) {
    let until = usage.cooling.iter().filter_map(|cooling| cooling.until);
    match until.min_by_key(|until| (until.seconds, until.nanos)) {
        Some(until) => ("tried again at".to_owned(), Some(Moment(until))),
        None => ("now".to_owned(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1::{CoolingUsage, DemandSeries, ExecutionUserUsage};

    #[test]
    fn refusals_are_grouped_by_cause_with_when_it_opens() {
        let minute = DemandMinute {
            refused_by_execution_user: 60,
            refused_by_workspace: 1_500,
            refused_otherwise: 7,
            ..DemandMinute::default()
        };
        let series = DemandSeries { minutes: vec![minute, minute], ..DemandSeries::default() };
        let demand = GetDemandResponse { series: vec![series], ..GetDemandResponse::default() };
        let opens_in = Some(prost_types::Duration { seconds: 34, nanos: 0 });
        let full = LimitUsage { max: 90, opens_in, ..LimitUsage::default() };
        let user = ExecutionUserUsage { limits: vec![full], ..ExecutionUserUsage::default() };
        let until = Some(prost_types::Timestamp { seconds: 5, nanos: 0 });
        let usage = OrgUsage {
            execution_users: vec![user],
            cooling: vec![CoolingUsage { until, ..CoolingUsage::default() }],
            ..OrgUsage::default()
        };
        let rows = rows(&usage, &demand);
        let found: Vec<_> = rows
            .iter()
            .map(|row| (row.calls.as_str(), row.opens.as_str(), row.at.is_some()))
            .collect();
        assert_eq!(
            found,
            [
                ("3,000", "now", false),
                ("120", "the first in 34 s", false),
                ("14", "tried again at", true)
            ]
        );
    }
}
