//! What would have been by other settings.

use super::wire_time;
use crate::{
    node::WhatIf,
    proto::admin::v1,
    quota::{
        Class, HistoryPoint, Level, OrgId, RefusedFor, Scope, Wall, WorkspaceId,
        replay::{
            MINUTES, Peak, Replayed, ReplayedCalls, ReplayedClass, ReplayedLimit, first_minute,
        },
    },
};

/// The answer to a ReplayDemand.
#[must_use]
pub fn what_if(org: &OrgId, what_if: WhatIf) -> v1::ReplayDemandResponse {
    let WhatIf { since, until, left_out, in_force, edited } = what_if;
    let minute = |number: u64| wire_time(Wall(number * 60_000_000));
    let first = first_minute(until);
    v1::ReplayDemandResponse {
        org: org.as_str().to_owned(),
        from: Some(minute(first)),
        until: Some(minute(first + MINUTES)),
        counted_since: Some(wire_time(since)),
        left_out_calls: left_out,
        in_force: Some(replayed(in_force)),
        edited: Some(replayed(edited)),
    }
}

fn replayed(replayed: Replayed) -> v1::Replay {
    let Replayed { total, classes, limits, curve } = replayed;
    v1::Replay {
        total: Some(calls(&total)),
        classes: classes.into_iter().map(class).collect(),
        limits: limits.into_iter().map(limit).collect(),
        curve: curve.into_iter().map(point).collect(),
    }
}

fn class(
    ((workspace, class), found): ((Option<WorkspaceId>, Class), ReplayedClass),
) -> v1::ReplayedClass {
    v1::ReplayedClass {
        workspace: workspace.map(|id| id.as_str().to_owned()).unwrap_or_default(),
        traffic_class: class.name().to_owned(),
        calls: Some(calls(&found.calls)),
        paused_minutes: found.paused_minutes,
    }
}

fn limit((limit, peak): (ReplayedLimit, Peak)) -> v1::ReplayedLimit {
    let of = |scope| match limit.scope == scope {
        true => limit.identity.to_string(),
        false => String::new(),
    };
    v1::ReplayedLimit {
        name: limit.name.as_str().to_owned(),
        workspace: of(Scope::Workspace),
        execution_user: of(Scope::ExecutionUser),
        max: peak.max,
        peak: peak.used,
    }
}

fn calls(calls: &ReplayedCalls) -> v1::ReplayedCalls {
    v1::ReplayedCalls {
        asked: calls.asked,
        granted: calls.granted,
        refused_by_execution_user: calls.refused(RefusedFor::ExecutionUser),
        refused_by_workspace: calls.refused(RefusedFor::Workspace),
        refused_by_org: calls.refused(RefusedFor::Org),
        refused_otherwise: calls.refused(RefusedFor::Concurrency)
            + calls.refused(RefusedFor::Other),
    }
}

fn point(point: HistoryPoint) -> v1::ReplayedUse {
    let Level { own, foreign, limit } = point.level;
    v1::ReplayedUse { time: Some(wire_time(point.begins())), own, foreign, limit }
}
