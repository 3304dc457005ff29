//! All orgs, those in trouble first.

use std::time::Duration;

use askama::Template;
use axum::{extract::State, response::Response};
use prost_types::Timestamp;

use super::{
    Frame, Section, Shared, Visit,
    bar::{self, Bar, Mark, Part, Tick},
    visit::Tab,
    words::{self, Moment},
};
use crate::{
    auth::Verb,
    proto::{
        admin::v1::admin_service_server::AdminService,
        v1::{
            LimitUsage, ListUsageRequest, ListUsageResponse, OrgLine, Severity, UsageOrder,
            quota_service_server::QuotaService,
        },
    },
};

/// Orgs on one page.
const PAGE_SIZE: u32 = 50;

/// As the URL names them, and as people do. The first is meant where the URL is silent.
const ORDERS: [(&str, &str, UsageOrder); 4] = [
    ("", "Trouble first", UsageOrder::Trouble),
    ("used", "Most used", UsageOrder::Used),
    ("lasts", "Runs out soonest", UsageOrder::Exhausted),
    ("name", "By name", UsageOrder::Name),
];

#[derive(Template)]
#[template(path = "home.html")]
struct Home {
    frame: Frame,
    summary: String,
    as_of: Option<Moment>,
    /// What the URL says.
    order: String,
    search: String,
    tabs: Vec<Tab>,
    /// The same without a search.
    without_search: String,
    /// Sentences about nodes that do not answer.
    silent: Vec<String>,
    rows: Vec<Row>,
    /// It is not the first page.
    is_later: bool,
    first: String,
    /// Where there is a next page; else empty.
    next: String,
}

/// One org, in words.
struct Row {
    org: String,
    /// As a class of the style sheet, and as a word.
    severity: &'static str,
    workspaces: String,
    /// `None` where nobody knows.
    bar: Option<Bar>,
    said: String,
    percent: String,
    /// How long what is left lasts; empty where it does.
    lasts: String,
    /// The moment at which nothing is left.
    at: Option<Moment>,
    trouble: String,
    /// Kind and text.
    chips: Vec<(&'static str, String)>,
}

/// The page.
pub async fn page<Q: QuotaService, A: AdminService>(
    State(pages): Shared<Q, A>,
    visit: Visit,
) -> Response {
    pages
        .show(visit, |pages, visit| async move {
            let request = ListUsageRequest {
                page_size: PAGE_SIZE,
                page_token: visit.query("page").to_owned(),
                order: order(visit.query("order")).2.into(),
                search: visit.query("search").trim().to_owned(),
            };
            let answer = pages.quota().list_usage(visit.request(request)).await?.into_inner();
            Ok(Home::new(&visit, answer))
        })
        .await
}

fn order(name: &str) -> (&'static str, &'static str, UsageOrder) {
    ORDERS.into_iter().find(|(key, ..)| *key == name).unwrap_or(ORDERS[0])
}

impl Home {
    fn new(visit: &Visit, answer: ListUsageResponse) -> Self {
        let (order, ..) = order(visit.query("order"));
        let search = visit.query("search").trim().to_owned();
        let url = |order: &str, search: &str, page: &str| {
            words::url("/", &[("search", search), ("order", order), ("page", page)])
        };
        let tab = |(key, name, _): (&'static str, _, _)| Tab {
            name,
            url: url(key, &search, ""),
            is_here: key == order,
        };
        let now = answer.as_of;
        let sees_all = |line: &OrgLine| visit.caller().may_all(Verb::Read, &line.org);
        Self {
            frame: visit.frame("Orgs", Section::Orgs),
            summary: summary(&answer),
            as_of: now.map(Moment),
            tabs: ORDERS.into_iter().map(tab).collect(),
            without_search: url(order, "", ""),
            silent: answer
                .silent_nodes
                .iter()
                .map(|silent| said_of(&silent.node, &silent.reason))
                .collect(),
            rows: answer.orgs.iter().map(|line| row(line, now, sees_all(line))).collect(),
            is_later: !visit.query("page").is_empty(),
            first: url(order, &search, ""),
            next: match answer.next_page_token.as_str() {
                "" => String::new(),
                token => url(order, &search, token),
            },
            order: order.to_owned(),
            search,
        }
    }
}

fn summary(answer: &ListUsageResponse) -> String {
    if answer.total_size == 0 {
        return "none".to_owned();
    }
    let mut text = words::counted(answer.total_size.into(), "org");
    match answer.in_trouble {
        // Of those that are not known it is not known either.
        0 if answer.unknown > 0 => {}
        0 => text.push_str(", none in trouble"),
        some => text.push_str(&format!(", {} in trouble", words::count(some.into()))),
    }
    if answer.unknown > 0 {
        text.push_str(&format!(", {} not known", words::count(answer.unknown.into())));
    }
    text
}

fn said_of(node: &str, reason: &str) -> String {
    let who = if node.is_empty() { "A node".to_owned() } else { format!("Node {node}") };
    words::sentence(&format!("{who} does not tell of its orgs: {reason}"))
}

/// `sees_all`: whoever looks is told of the workspaces.
fn row(line: &OrgLine, now: Option<Timestamp>, sees_all: bool) -> Row {
    let total = line.total.as_ref();
    let lasts = total.and_then(|total| words::length(total.exhausted_in.as_ref()));
    Row {
        org: line.org.clone(),
        severity: match line.severity() {
            Severity::Critical => "critical",
            Severity::Warning => "warning",
            Severity::Notice => "notice",
            Severity::Unknown => "unknown",
            Severity::Fine | Severity::Unspecified => "fine",
        },
        workspaces: match line.workspaces {
            _ if !sees_all || total.is_none() => String::new(),
            0 => "no workspace".to_owned(),
            some => words::counted(some.into(), "workspace"),
        },
        bar: total.map(|total| total_bar(total, false)),
        said: total.map_or_else(String::new, said),
        percent: total.map_or_else(String::new, |total| {
            words::percent(total.used_by_caller.saturating_add(total.used_by_others), total.max)
        }),
        lasts: lasts.map_or_else(String::new, |lasts| match lasts {
            Duration::ZERO => "used up".to_owned(),
            lasts => format!("used up in {}", words::span(lasts)),
        }),
        at: lasts
            .filter(|lasts| !lasts.is_zero())
            .zip(now)
            .map(|(lasts, now)| words::after(now, lasts)),
        trouble: line.trouble.clone(),
        chips: chips(line),
    }
}

/// The org's total, as a bar; with words at its tick where there is room.
pub fn total_bar(total: &LimitUsage, has_words: bool) -> Bar {
    let mut ticks = Vec::new();
    let at = total.max.saturating_sub(total.reserved);
    if total.reserved > 0 {
        let label = if has_words { words::percent(at, total.max) } else { String::new() };
        let word = "all but app settings stops";
        ticks.push(Tick { at, mark: Mark::Stop, label, word });
    }
    let parts = vec![
        (Part::Ours, total.used_by_caller),
        (Part::Others, total.used_by_others),
        (Part::Held, total.held),
    ];
    Bar { max: total.max, parts, ticks, text: said(total) }
}

/// What it shows, in words.
pub fn said(total: &LimitUsage) -> String {
    let used = bar::sentence(
        "Callers of quotagate have",
        total.used_by_caller,
        Some(total.used_by_others),
        total.held,
        total.remaining,
    );
    let window = words::length(total.window.as_ref()).map(words::window).unwrap_or_default();
    format!("{used} of {} in any {window}", words::count(total.max))
}

fn chips(line: &OrgLine) -> Vec<(&'static str, String)> {
    let mut chips: Vec<_> = line
        .paused
        .iter()
        .map(|paused| {
            let class = words::class_name(paused.traffic_class());
            let text = match paused.workspaces {
                1 => format!("{class} paused"),
                count => format!("{class} paused in {}", words::counted(count.into(), "workspace")),
            };
            ("paused", text)
        })
        .collect();
    if let Some(cooling) = &line.cooling {
        let text = match cooling.limits {
            1 => "1 limit cools down".to_owned(),
            count => format!("{} limits cool down", words::count(count.into())),
        };
        chips.push(("cooling", text));
    }
    if line.waiting > 0 {
        let verb = if line.waiting == 1 { "waits" } else { "wait" };
        chips.push(("plain", format!("{} {verb}", words::counted(line.waiting.into(), "request"))));
    }
    if line.total.as_ref().is_some_and(|total| total.stale) {
        chips.push(("plain", "no recent reading".to_owned()));
    }
    chips
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1::{CoolingLine, PausedClass, TrafficClass};

    /// Intercom's own numbers.
    fn line() -> OrgLine {
        let total = LimitUsage {
            max: 15_000,
            used_by_caller: 2_918,
            used_by_others: 3_072,
            foreign: 3_072,
            remaining: 9_010,
            reserved: 750,
            window: Some(prost_types::Duration { seconds: 86_400, nanos: 0 }),
            ..LimitUsage::default()
        };
        OrgLine { org: "acme".into(), total: Some(total), workspaces: 1, ..OrgLine::default() }
    }

    #[test]
    fn a_row_says_who_used_what_and_what_is_left() {
        let row = row(&line(), None, true);
        assert_eq!(
            row.said,
            "Callers of quotagate have used 2,918; others 3,072; 9,010 left of 15,000 in any 24 hours"
        );
        assert_eq!((row.percent.as_str(), row.workspaces.as_str()), ("39 %", "1 workspace"));
        assert!(row.lasts.is_empty() && row.at.is_none() && row.chips.is_empty());
    }

    #[test]
    fn a_row_says_when_it_runs_out_and_what_is_paused() {
        let mut line = line();
        let lasts = Some(prost_types::Duration { seconds: 8_040, nanos: 0 });
        line.total.as_mut().expect("it is known").exhausted_in = lasts;
        let paused = |class: TrafficClass, workspaces| PausedClass {
            traffic_class: class.into(),
            workspaces,
        };
        line.paused = vec![paused(TrafficClass::Event, 1), paused(TrafficClass::Bulk, 2)];
        line.cooling = Some(CoolingLine { limits: 1, ..CoolingLine::default() });
        line.waiting = 3;
        let row = row(&line, Some(Timestamp { seconds: 1_000, nanos: 0 }), false);
        assert_eq!(row.lasts, "used up in 2 h 14 min");
        assert_eq!(row.at.map(|at| at.0.seconds), Some(9_040));
        assert_eq!(row.workspaces, "", "nothing is said of what is not shown");
        let chips: Vec<_> = row.chips.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(
            chips,
            [
                "Event-based sync paused",
                "Manual bulk sync paused in 2 workspaces",
                "1 limit cools down",
                "3 requests wait",
            ]
        );
    }

    #[test]
    fn of_an_org_that_nobody_knows_only_the_trouble_is_said() {
        let unknown = OrgLine {
            org: "acme".into(),
            severity: Severity::Unknown.into(),
            trouble: "Nobody knows.".into(),
            ..OrgLine::default()
        };
        let row = row(&unknown, None, true);
        assert!(row.bar.is_none() && row.said.is_empty() && row.percent.is_empty());
        assert_eq!((row.severity, row.trouble.as_str()), ("unknown", "Nobody knows."));
    }

    #[test]
    fn an_order_is_one_that_there_is() {
        for (name, expected) in [
            ("", UsageOrder::Trouble),
            ("used", UsageOrder::Used),
            ("lasts", UsageOrder::Exhausted),
            ("name", UsageOrder::Name),
            ("<odd>", UsageOrder::Trouble),
        ] {
            assert_eq!(order(name).2, expected, "{name}");
        }
    }
}
