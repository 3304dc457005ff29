//! Who asks, who used it, and what was asked for.

use std::{borrow::Cow, sync::Arc};

use tonic::codegen::http::{HeaderMap, HeaderName};

use super::wire_class;
use crate::{
    proto::v1,
    quota::{
        AttributionView, BadId, Class, Consumer, DemandMinute, DemandSeries, DemandView, Dimension,
        HistoryPoint, Level, Mono, Now, OrgId, Periods, RefusedFor, TableView, Use, Wall,
        WorkspaceId, caller_name,
    },
    rpc::{
        convert::{Checks, optional, wall, wire_duration, wire_time},
        status::Problem,
    },
};

/// The request metadata in which callers name themselves.
pub const CALLER: &str = "quotagate-caller";

static CALLER_NAME: HeaderName = HeaderName::from_static(CALLER);

/// What a GetDemand asks for besides the org.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemandFilter {
    /// The workspace; `Some(None)` for requests that named none.
    pub workspace: Option<Option<WorkspaceId>>,
    /// From this moment on.
    pub since: Option<Wall>,
}

/// The name that a caller gives itself, unchecked; empty where it gives none.
/// What is no text, or given several times, is no name either.
#[must_use]
pub fn declared_caller(headers: &HeaderMap) -> String {
    let values = headers.get_all(&CALLER_NAME).iter();
    let mut values = values.map(|value| String::from_utf8_lossy(value.as_bytes()));
    let mut name = values.next().map_or_else(String::new, Cow::into_owned);
    for another in values {
        name.push_str(", ");
        name.push_str(&another);
    }
    name
}

/// The name as another node passes it on. It has checked it: what is no name
/// comes from a version that passed on addresses, and is none.
#[must_use]
pub fn forwarded_caller(text: &str) -> &str {
    if caller_name(text).is_ok() { text } else { "" }
}

/// Who asks.
#[derive(Clone, Debug)]
pub enum Asker<'a> {
    /// Somebody who has proved who they are. What they call themselves besides
    /// does not count: they could call themselves like somebody else.
    Proved(Arc<str>),
    /// Somebody of whom no proof is asked, by the name that they give
    /// themselves; empty: none.
    Declared(&'a str),
}

impl Asker<'_> {
    /// Who is shown to have asked, and whose the permit will be.
    pub(super) fn names(&self) -> Result<[Option<Arc<str>>; 2], BadId> {
        match self {
            Self::Proved(principal) => Ok([Some(principal.clone()), Some(principal.clone())]),
            Self::Declared(name) => Ok([optional(name, caller_name)?, None]),
        }
    }
}

/// Checks a GetDemand.
///
/// # Errors
/// Every field that is wrong.
pub fn demand_filter(request: &v1::GetDemandRequest) -> Result<(OrgId, DemandFilter), Problem> {
    let mut checks = Checks::default();
    let org = checks.keep("org", OrgId::parse(&request.org));
    let workspace = request.workspace.as_deref().map(|text| optional(text, WorkspaceId::parse));
    let workspace = checks.keep("workspace", workspace.transpose());
    let since = checks.keep("since", request.since.map(wall).transpose());
    let filter = || Some((org?, DemandFilter { workspace: workspace?, since: since? }));
    let filter = filter();
    checks.finish(filter)
}

/// The answer to a GetDemand.
#[must_use]
pub fn demand(org: &OrgId, demand: DemandView, now: Now) -> v1::GetDemandResponse {
    v1::GetDemandResponse {
        org: org.as_str().to_owned(),
        as_of: Some(wire_time(now.wall)),
        counted_since: Some(wire_time(demand.since)),
        series: demand.series.into_iter().map(demand_series).collect(),
        history: demand.history.into_iter().map(history_point).collect(),
    }
}

fn history_point(point: HistoryPoint) -> v1::HistoryPoint {
    let Level { own, foreign, limit } = point.level;
    v1::HistoryPoint { time: Some(wire_time(point.begins())), own, foreign, limit }
}

fn demand_series(DemandSeries { key, minutes }: DemandSeries) -> v1::DemandSeries {
    let minutes = minutes.into_iter().map(demand_minute).collect();
    let Some(key) = key else {
        return v1::DemandSeries { rest: true, minutes, ..Default::default() };
    };
    v1::DemandSeries {
        workspace: key.workspace.map_or_else(String::new, |id| id.as_str().to_owned()),
        traffic_class: wire_class(key.class).into(),
        operation: key.operation.as_str().to_owned(),
        rest: false,
        minutes,
    }
}

fn demand_minute(minute: DemandMinute) -> v1::DemandMinute {
    v1::DemandMinute {
        minute: Some(wire_time(minute.begins())),
        asked_calls: minute.asked_calls,
        asked_units: minute.asked_units,
        granted_calls: minute.granted_calls,
        granted_units: minute.granted_units,
        refused_by_execution_user: minute.refused(RefusedFor::ExecutionUser),
        refused_by_workspace: minute.refused(RefusedFor::Workspace),
        refused_by_org: minute.refused(RefusedFor::Org),
        refused_by_concurrency: minute.refused(RefusedFor::Concurrency),
        refused_otherwise: minute.refused(RefusedFor::Other),
    }
}

/// Who used an org's quota.
pub(super) fn attribution(view: AttributionView) -> v1::Attribution {
    v1::Attribution {
        since: Some(wire_time(view.since)),
        total: Some(period_use(view.total)),
        tables: view.tables.into_iter().map(table).collect(),
    }
}

/// What a workspace's use leads to; nothing where that is nothing.
pub(super) fn of_workspace(pauses: &[(Class, Mono)], now: Now) -> Option<v1::WorkspaceAttribution> {
    let forecast = |(class, at): &(Class, Mono)| v1::ClassForecast {
        traffic_class: wire_class(*class).into(),
        pauses_in: Some(wire_duration(at.since(now.mono))),
    };
    let pauses: Vec<_> = pauses.iter().map(forecast).collect();
    (!pauses.is_empty()).then_some(v1::WorkspaceAttribution { pauses })
}

fn table(table: TableView) -> v1::AttributionTable {
    use v1::AttributionDimension as Wire;
    let dimension = match table.dimension {
        Dimension::Workspace => Wire::Workspace,
        Dimension::Class => Wire::TrafficClass,
        Dimension::Operation => Wire::Operation,
        Dimension::User => Wire::ExecutionUser,
        Dimension::Caller => Wire::Caller,
    };
    v1::AttributionTable {
        dimension: dimension.into(),
        consumers: table.consumers.into_iter().map(consumer).collect(),
        others: Some(period_use(table.others)),
        missing_units_at_most: table.missing_at_most,
    }
}

fn consumer(Consumer { name, periods }: Consumer) -> v1::Consumer {
    v1::Consumer { name: name.as_ref().to_owned(), used: Some(period_use(periods)) }
}

fn period_use(periods: Periods) -> v1::PeriodUse {
    v1::PeriodUse {
        last_minute: Some(wire_use(periods.minute)),
        last_hour: Some(wire_use(periods.hour)),
        last_day: Some(wire_use(periods.day)),
    }
}

fn wire_use(used: Use) -> v1::UseCount {
    let Use { units, calls, refused_calls } = used;
    v1::UseCount { units, calls, refused_calls }
}
