//! How much an org needs somebody: its gravest trouble, in one sentence.

use std::time::Duration;

use crate::{
    proto::v1::{CoolingLine, LimitScope, LimitUsage, OrgLine, Severity, TrafficClass},
    quota::figures::thousands,
};

/// What will be used up within this is urgent.
const SOON: Duration = Duration::from_secs(3_600);

/// So many percent of the total are worth a word.
const MUCH: u64 = 80;

/// Fills in `severity` and `trouble` by all else that stands in the line.
pub fn judge(line: &mut OrgLine) {
    let (severity, trouble) = gravest(line);
    line.severity = severity.into();
    line.trouble = trouble;
}

/// Units that are used or set aside, ours and others'.
pub fn taken(total: &LimitUsage) -> u64 {
    [total.used_by_others, total.held].into_iter().fold(total.used_by_caller, u64::saturating_add)
}

/// The gravest first.
fn gravest(line: &OrgLine) -> (Severity, String) {
    let Some(total) = &line.total else {
        let text = "The node that decides for this org does not answer: nobody knows its use.";
        return (Severity::Unknown, text.to_owned());
    };
    let lasts = total.exhausted_in.and_then(|left| Duration::try_from(left).ok());
    let cooling = line.cooling.as_ref();
    let critical = [
        cooling.filter(|cooling| cooling.total).map(|_| {
            "Salesforce refuses all calls: nothing is granted until one call has found it open \
             again."
                .to_owned()
        }),
        lasts.filter(Duration::is_zero).map(|_| exhausted(total)),
    ];
    let warning = [
        at_limit(line),
        lasts.filter(|lasts| *lasts < SOON).map(|lasts| will_be_exhausted(total, lasts)),
        paused(line).filter(|_| is_paused(line, TrafficClass::Interactive)),
        cooling.filter(|cooling| cooling.scope() == LimitScope::Org).map(stopped),
    ];
    let notice = [
        paused(line),
        cooling.map(stopped),
        lasts.map(|lasts| will_be_exhausted(total, lasts)),
        much_used(total),
        waiting(line),
        total.stale.then(|| {
            "Salesforce's own figure is older than 10 minutes: what others use is an estimate."
                .to_owned()
        }),
    ];
    let first = |severity, texts: &mut dyn Iterator<Item = Option<String>>| {
        texts.flatten().next().map(|text| (severity, text))
    };
    first(Severity::Critical, &mut critical.into_iter())
        .or_else(|| first(Severity::Warning, &mut warning.into_iter()))
        .or_else(|| first(Severity::Notice, &mut notice.into_iter()))
        .unwrap_or((Severity::Fine, String::new()))
}

fn exhausted(total: &LimitUsage) -> String {
    let max = thousands(total.max);
    let by_others = match total.foreign {
        0 => String::new(),
        foreign => format!(", {} of them by other integrations", thousands(foreign)),
    };
    let kept = match total.reserved {
        0 => "used".to_owned(),
        reserved => format!("used, or among the {} kept for others", thousands(reserved)),
    };
    format!(
        "All {max} calls of 24 hours are {kept}{by_others}: callers are refused until calls of a \
         day ago leave."
    )
}

fn at_limit(line: &OrgLine) -> Option<String> {
    let name = &line.fullest_workspace;
    match line.workspaces_at_limit {
        0 => None,
        1 => Some(format!(
            "Workspace {name} has reached its limit: people in the inbox are refused; raising the \
             limit cures this at once."
        )),
        count => Some(format!(
            "{} workspaces have reached their limits, {name} among them: people in the inbox are \
             refused; raising the limits cures this at once.",
            thousands(count.into())
        )),
    }
}

fn will_be_exhausted(total: &LimitUsage, lasts: Duration) -> String {
    let minutes = lasts.as_secs().div_ceil(60);
    let span = match (minutes / 60, minutes % 60) {
        (0, 0 | 1) => "a minute".to_owned(),
        (0, minutes) => format!("{minutes} min"),
        (hours, 0) => format!("{hours} h"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    };
    format!(
        "At the rate of late, {} calls an hour, the {} calls of 24 hours are used up in {span}.",
        thousands(total.burn_per_hour),
        thousands(total.max)
    )
}

fn is_paused(line: &OrgLine, class: TrafficClass) -> bool {
    line.paused.iter().any(|paused| paused.traffic_class() == class)
}

fn paused(line: &OrgLine) -> Option<String> {
    let of_workspaces = |count: u32| match count {
        1 => "1 workspace".to_owned(),
        count => format!("{} workspaces", thousands(count.into())),
    };
    let parts: Vec<String> = line
        .paused
        .iter()
        .map(|paused| {
            let what = match paused.traffic_class() {
                TrafficClass::Bulk => "manual bulk sync",
                TrafficClass::Event => "event-based sync",
                TrafficClass::Interactive => "the inbox",
                TrafficClass::Control | TrafficClass::Unspecified => "other traffic",
            };
            format!("{what} for {}", of_workspaces(paused.workspaces))
        })
        .collect();
    (!parts.is_empty()).then(|| format!("Paused: {}.", parts.join(", ")))
}

fn stopped(cooling: &CoolingLine) -> String {
    let whose = match cooling.scope() {
        LimitScope::Org => "the org",
        LimitScope::ExecutionUser => "an execution user",
        LimitScope::Workspace | LimitScope::Unspecified => "somebody",
    };
    match cooling.limits {
        1 => format!("Salesforce has told a limit of {whose} to stop for a while."),
        count => format!(
            "Salesforce has told {} limits to stop for a while, one of {whose} among them.",
            thousands(count.into())
        ),
    }
}

fn much_used(total: &LimitUsage) -> Option<String> {
    let percent = taken(total).saturating_mul(100).checked_div(total.max)?;
    (percent >= MUCH)
        .then(|| format!("{percent} % of the {} calls of 24 hours are used.", thousands(total.max)))
}

fn waiting(line: &OrgLine) -> Option<String> {
    match line.waiting {
        0 => None,
        1 => Some("1 request waits for room.".to_owned()),
        count => Some(format!("{} requests wait for room.", thousands(count.into()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1::PausedClass;

    fn line(change: impl FnOnce(&mut OrgLine)) -> OrgLine {
        let total = LimitUsage { max: 15_000, remaining: 15_000, ..LimitUsage::default() };
        let mut line = OrgLine {
            org: "acme".to_owned(),
            total: Some(total),
            workspaces: 3,
            fullest_workspace: "eu".to_owned(),
            ..OrgLine::default()
        };
        change(&mut line);
        judge(&mut line);
        line
    }

    fn lasts(line: &mut OrgLine, seconds: i64) {
        let total = line.total.as_mut().expect("it has one");
        total.exhausted_in = Some(prost_types::Duration { seconds, nanos: 0 });
        total.burn_per_hour = 2_000;
    }

    fn cools(scope: LimitScope, total: bool) -> Option<CoolingLine> {
        Some(CoolingLine { scope: scope.into(), total, limits: 1, ..CoolingLine::default() })
    }

    fn pauses(class: TrafficClass, workspaces: u32) -> PausedClass {
        PausedClass { traffic_class: class.into(), workspaces }
    }

    #[test]
    fn the_gravest_trouble_is_told() {
        use Severity::{Critical, Fine, Notice, Unknown, Warning};
        let rows: [(OrgLine, Severity, &str); 16] = [
            (line(|_| {}), Fine, ""),
            (line(|l| l.total = None), Unknown, "does not answer"),
            (line(|l| l.waiting = 1), Notice, "1 request waits"),
            (line(|l| l.waiting = 1_200), Notice, "1,200 requests wait"),
            (
                line(|l| l.total.as_mut().expect("one").stale = true),
                Notice,
                "older than 10 minutes",
            ),
            (line(|l| l.total.as_mut().expect("one").held = 12_100), Notice, "80 % of the 15,000"),
            (
                line(|l| l.cooling = cools(LimitScope::ExecutionUser, false)),
                Notice,
                "an execution user",
            ),
            (line(|l| l.cooling = cools(LimitScope::Org, false)), Warning, "the org"),
            (line(|l| l.cooling = cools(LimitScope::Org, true)), Critical, "refuses all calls"),
            (line(|l| lasts(l, 0)), Critical, "All 15,000 calls of 24 hours are used"),
            (
                line(|l| lasts(l, 59 * 60)),
                Warning,
                "2,000 calls an hour, the 15,000 calls of 24 hours are used up in 59 min.",
            ),
            (line(|l| lasts(l, 5 * 3_600 + 61)), Notice, "used up in 5 h 2 min."),
            (
                line(|l| {
                    let soon = prost_types::Duration { seconds: 0, nanos: 400_000_000 };
                    l.total.as_mut().expect("one").exhausted_in = Some(soon);
                }),
                Warning,
                "used up in a minute.",
            ),
            (
                line(|l| {
                    l.paused = vec![pauses(TrafficClass::Event, 1), pauses(TrafficClass::Bulk, 2)]
                }),
                Notice,
                "Paused: event-based sync for 1 workspace, manual bulk sync for 2 workspaces.",
            ),
            (
                line(|l| {
                    l.paused = vec![pauses(TrafficClass::Interactive, 1)];
                    l.workspaces_at_limit = 1;
                }),
                Warning,
                "Workspace eu has reached its limit: people in the inbox are refused",
            ),
            (
                line(|l| {
                    l.workspaces_at_limit = 2;
                    l.waiting = 1;
                    lasts(l, 0);
                }),
                Critical,
                "callers are refused until",
            ),
        ];
        for (line, severity, text) in rows {
            assert_eq!(line.severity(), severity, "{line:?}");
            assert!(line.trouble.contains(text), "{:?} has no {text:?}", line.trouble);
            assert_eq!(line.trouble.is_empty(), severity == Fine, "{line:?}");
        }
    }
}
