//! One workspace: its limit, its share of the org's total, and what pauses when.

use std::time::Duration;

use crate::{
    auth::{Action, Caller, Verb},
    proto::v1::{
        ClassRunState, ClassState, ClassStatus, LimitKind, LimitScope, LimitUsage, TrafficClass,
        WarningKind, WorkspaceUsage,
    },
    web::page::{
        Visit,
        bar::{Bar, Mark, Part, Tick},
        words::{self, Moment},
    },
};

/// A class that pauses within this is worth a glance.
const SOON: Duration = Duration::from_secs(3_600);

/// Workspaces on one page.
const PAGE_SIZE: usize = 20;

/// Which of an org's workspaces are shown.
pub struct Chosen {
    /// How many match.
    pub total: usize,
    /// The same in words.
    pub said: String,
    /// What their names contain.
    pub search: String,
    /// There are more than one page.
    pub has_pages: bool,
    /// Where that page is; else empty.
    pub previous: String,
    /// Where that page is; else empty.
    pub next: String,
}

/// The workspaces that the URL asks for: those in trouble first, then those that have
/// used most of their limits.
pub fn chosen<'u>(all: &'u [WorkspaceUsage], visit: &Visit) -> (Vec<&'u WorkspaceUsage>, Chosen) {
    let search = visit.query("workspace").trim();
    let wanted = search.to_lowercase();
    let mut matching: Vec<&WorkspaceUsage> =
        all.iter().filter(|usage| usage.workspace.to_lowercase().contains(&wanted)).collect();
    matching.sort_by_cached_key(|usage| std::cmp::Reverse(need(usage)));
    let total = matching.len();
    let page: usize = visit.query("page").parse().unwrap_or(1).max(1);
    let page = page.min(total.div_ceil(PAGE_SIZE).max(1));
    let url = |page: usize| {
        let page = if page > 1 { page.to_string() } else { String::new() };
        let path = words::url(visit.path(), &[("workspace", search), ("page", &page)]);
        format!("{path}#workspaces-title")
    };
    let has_next = page * PAGE_SIZE < total;
    let number = u64::try_from(total).unwrap_or(u64::MAX);
    let mut said = words::counted(number, "workspace");
    if total > 1 {
        said.push_str(", those that need somebody first");
    }
    let chosen = Chosen {
        total,
        said,
        search: search.to_owned(),
        has_pages: total > PAGE_SIZE,
        previous: if page > 1 { url(page - 1) } else { String::new() },
        next: if has_next { url(page + 1) } else { String::new() },
    };
    (matching.into_iter().skip((page - 1) * PAGE_SIZE).take(PAGE_SIZE).collect(), chosen)
}

/// How much a workspace needs somebody: warnings, paused classes, share of its limit.
fn need(usage: &WorkspaceUsage) -> (usize, usize, u64) {
    let state = usage.class_state.as_ref();
    let paused = state.map_or(0, |state| {
        state.classes.iter().filter(|class| class.state() == ClassRunState::Paused).count()
    });
    let share = cap(usage).map_or(0, |cap| {
        cap.used_by_caller.saturating_mul(1_000).checked_div(cap.max).unwrap_or(0)
    });
    (state.map_or(0, |state| state.warnings.len()), paused, share)
}

/// A workspace in words.
pub struct Card {
    /// The element's.
    pub id: String,
    /// Its name; empty for calls in the name of none.
    pub name: String,
    /// Sentences, and whether they are of the serious kind.
    pub warnings: Vec<(String, bool)>,
    /// Its own limit; `None` where it has none.
    pub bar: Option<Bar>,
    /// What the bar shows.
    pub said: String,
    /// What is said of its share of the org's total.
    pub share_title: String,
    /// Its share.
    pub share: Option<Bar>,
    /// What that shows.
    pub share_said: String,
    /// What else there is to know.
    pub notes: Vec<String>,
    /// Each traffic class.
    pub classes: Vec<ClassRow>,
    /// The limit, for the form; empty for none.
    pub limit: String,
    /// Whoever looks may change it.
    pub may_change: bool,
}

/// A traffic class in words.
pub struct ClassRow {
    /// What it is called.
    pub name: &'static str,
    /// The kind of chip.
    pub kind: &'static str,
    /// What the chip says.
    pub state: String,
    /// Since when it is paused.
    pub since: Option<Moment>,
    /// Share of the limit, and units.
    pub pauses_at: String,
    /// The same.
    pub resumes_below: String,
}

/// The workspace, as `caller` sees it.
pub fn card(usage: &WorkspaceUsage, org: &str, caller: &Caller) -> Card {
    let cap = cap(usage);
    let max = cap.map_or(0, |cap| cap.max);
    let used = cap.map_or(0, |cap| cap.used_by_caller);
    let share = usage.limits.iter().find(|limit| limit.scope() == LimitScope::Org);
    let state = usage.class_state.clone().unwrap_or_default();
    let action = Action { verb: Verb::Admin, org, workspace: &usage.workspace, call: None };
    Card {
        id: format!("workspace-{}", words::encoded(&usage.workspace)),
        name: usage.workspace.clone(),
        warnings: warnings(&state),
        bar: cap_bar(max, used, &state.classes),
        said: said(max, used),
        share_title: share.map_or_else(String::new, |share| {
            format!("Its share of the org's {}", words::counted(share.max, "call"))
        }),
        share: share.map(share_bar),
        share_said: share.map_or_else(String::new, share_said),
        notes: notes(usage),
        classes: class_rows(usage, &state.classes, max),
        limit: if max > 0 { words::count(max) } else { String::new() },
        may_change: caller.may(&action),
    }
}

/// The workspace's own limit; a brake on its rate is another one.
pub fn cap(usage: &WorkspaceUsage) -> Option<&LimitUsage> {
    let is_cap = |limit: &&LimitUsage| {
        limit.scope() == LimitScope::Workspace
            && limit.kind() == LimitKind::Window
            && limit.name == "calls"
    };
    usage.limits.iter().find(is_cap)
}

/// The use at which a class pauses: rounded up, so that it is never reached early.
pub fn pause_point(max: u64, percent: u32) -> u64 {
    let point = (u128::from(max) * u128::from(percent)).div_ceil(100);
    u64::try_from(point).unwrap_or(u64::MAX)
}

/// A workspace's use of its limit, with the thresholds; `None` where it has none.
pub fn cap_bar(max: u64, used: u64, classes: &[ClassStatus]) -> Option<Bar> {
    if max == 0 {
        return None;
    }
    let mut ticks = Vec::new();
    for class in classes {
        let stops =
            [(class.pauses_at_percent, Mark::Stop), (class.resumes_below_percent, Mark::Resume)];
        let word = match class.traffic_class() {
            TrafficClass::Bulk => "bulk",
            TrafficClass::Event => "event",
            TrafficClass::Interactive => "inbox",
            TrafficClass::Control | TrafficClass::Unspecified => "",
        };
        for (percent, mark) in stops {
            let label = format!("{percent} %");
            let word = if mark == Mark::Stop { word } else { "" };
            ticks.push(Tick { at: pause_point(max, percent), mark, label, word });
        }
    }
    if used > max {
        ticks.push(Tick { at: max, mark: Mark::Limit, label: String::new(), word: "" });
    }
    Some(Bar { max, parts: vec![(Part::Ours, used)], ticks, text: said(max, used) })
}

/// Use and limit as a sentence.
pub fn said(max: u64, used: u64) -> String {
    match max {
        0 => format!("Has no limit, and used {} in the last 24 hours", words::count(used)),
        max => format!(
            "Used {} of {} calls in any 24 hours ({}); {} left",
            words::count(used),
            words::count(max),
            words::percent(used, max),
            words::count(max.saturating_sub(used)),
        ),
    }
}

/// What the contract says of a workspace's thresholds, for people.
pub fn thresholds(classes: &[ClassStatus]) -> String {
    let sentences = in_order(classes).map(|class| {
        let (pause, resume) = (class.pauses_at_percent, class.resumes_below_percent);
        let resumes =
            if resume < pause { format!(" (resumes below {resume} %)") } else { String::new() };
        match class.traffic_class() {
            TrafficClass::Bulk => format!("at {pause} % manual bulk sync pauses{resumes}"),
            TrafficClass::Event => format!("at {pause} % event-based sync pauses{resumes}"),
            TrafficClass::Interactive => {
                format!("at {pause} % people in the inbox are refused{resumes}")
            }
            TrafficClass::Control | TrafficClass::Unspecified => String::new(),
        }
    });
    let sentences: Vec<_> = sentences.filter(|sentence| !sentence.is_empty()).collect();
    words::sentence(&sentences.join(", "))
}

/// The classes in the order in which they pause.
pub fn in_order(classes: &[ClassStatus]) -> impl Iterator<Item = &ClassStatus> {
    let mut ordered: Vec<_> = classes.iter().collect();
    ordered.sort_by_key(|class| (class.pauses_at_percent, class.traffic_class));
    ordered.into_iter()
}

/// A share of a limit, and what it comes to.
pub fn threshold(max: u64, percent: u32) -> String {
    match max {
        0 => "–".to_owned(),
        max => format!("{percent} % · {}", words::count(pause_point(max, percent))),
    }
}

fn warnings(state: &ClassState) -> Vec<(String, bool)> {
    let warning = |warning: &crate::proto::v1::Warning| {
        (words::sentence(&warning.text), warning.kind() == WarningKind::LimitReached)
    };
    state.warnings.iter().map(warning).collect()
}

fn share_bar(share: &LimitUsage) -> Bar {
    let parts = vec![
        (Part::Ours, share.used_by_caller),
        (Part::Others, share.used_by_others),
        (Part::Held, share.held),
    ];
    Bar { max: share.max, parts, ticks: Vec::new(), text: share_said(share) }
}

fn share_said(share: &LimitUsage) -> String {
    crate::web::page::bar::sentence(
        "This workspace has",
        share.used_by_caller,
        Some(share.used_by_others),
        share.held,
        share.remaining,
    )
}

fn notes(usage: &WorkspaceUsage) -> Vec<String> {
    let mut notes = Vec::new();
    let classes = usage.class_state.as_ref().map_or(&[][..], |state| &state.classes);
    if cap(usage).is_some_and(|cap| cap.max > 0) && !classes.is_empty() {
        notes.push(thresholds(classes));
    }
    if let Some(cap) = cap(usage) {
        if cap.burn_per_hour > 0 {
            let mut text = format!("It uses {} an hour of late", words::count(cap.burn_per_hour));
            match words::length(cap.exhausted_in.as_ref()) {
                Some(Duration::ZERO) => text.push_str("; nothing is left"),
                Some(lasts) => {
                    text.push_str(&format!("; what is left lasts {}", words::span(lasts)));
                }
                None => {}
            }
            notes.push(words::sentence(&text));
        }
        if let Some(shadow) = &cap.shadow {
            notes.push(format!(
                "The limit is in shadow: it is counted, and refuses nothing. It would have \
                 refused {}.",
                words::counted(shadow.would_have_refused, "grant")
            ));
        }
    }
    for brake in usage.limits.iter().filter(|limit| {
        limit.scope() == LimitScope::Workspace
            && cap(usage).is_none_or(|cap| cap.name != limit.name)
    }) {
        let window = words::length(brake.window.as_ref()).map(words::window).unwrap_or_default();
        notes.push(format!(
            "Its rate is braked at {} in any {window}: {} used.",
            words::counted(brake.max, "call"),
            words::count(brake.used_by_caller),
        ));
    }
    if usage.guaranteed_calls > 0 {
        notes.push(format!(
            "{} of the org's total are kept for it alone.",
            words::counted(usage.guaranteed_calls, "call")
        ));
    }
    if usage.weight > 1 {
        notes.push(format!("Where workspaces contend it counts {}-fold.", usage.weight));
    }
    notes
}

fn class_rows(usage: &WorkspaceUsage, classes: &[ClassStatus], max: u64) -> Vec<ClassRow> {
    if max == 0 {
        return Vec::new();
    }
    let forecasts = usage.attribution.as_ref().map_or(&[][..], |attribution| &attribution.pauses);
    let row = |class: &ClassStatus| {
        let is_paused = class.state() == ClassRunState::Paused;
        let forecast = forecasts.iter().find(|it| it.traffic_class == class.traffic_class);
        let forecast = forecast.and_then(|it| words::length(it.pauses_in.as_ref()));
        let (kind, state) = match forecast {
            _ if is_paused => ("paused", "paused".to_owned()),
            Some(left) if left < SOON => ("soon", format!("pauses in {}", words::span(left))),
            Some(left) => ("running", format!("runs, pauses in {}", words::span(left))),
            None => ("running", "runs".to_owned()),
        };
        ClassRow {
            name: words::class_name(class.traffic_class()),
            kind,
            state,
            since: class.since.filter(|_| is_paused).map(Moment),
            pauses_at: threshold(max, class.pauses_at_percent),
            resumes_below: threshold(max, class.resumes_below_percent),
        }
    };
    let control = ClassRow {
        name: words::class_name(TrafficClass::Control),
        kind: "running",
        state: "runs".to_owned(),
        since: None,
        pauses_at: "never".to_owned(),
        resumes_below: "–".to_owned(),
    };
    in_order(classes).map(row).chain([control]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Intercom's classes.
    fn classes() -> Vec<ClassStatus> {
        let class = |class: TrafficClass, pause, resume| ClassStatus {
            traffic_class: class.into(),
            state: ClassRunState::Running.into(),
            since: None,
            pauses_at_percent: pause,
            resumes_below_percent: resume,
        };
        vec![
            class(TrafficClass::Interactive, 100, 100),
            class(TrafficClass::Event, 80, 60),
            class(TrafficClass::Bulk, 40, 40),
        ]
    }

    fn intercom() -> WorkspaceUsage {
        let limit = |scope: LimitScope, others, remaining| LimitUsage {
            name: "calls".into(),
            kind: LimitKind::Window.into(),
            scope: scope.into(),
            max: 15_000,
            used_by_caller: 2_918,
            used_by_others: others,
            remaining,
            ..LimitUsage::default()
        };
        WorkspaceUsage {
            workspace: "acme & co".into(),
            limits: vec![
                limit(LimitScope::Workspace, 0, 12_082),
                limit(LimitScope::Org, 3_072, 9_010),
            ],
            class_state: Some(ClassState { classes: classes(), warnings: Vec::new() }),
            ..WorkspaceUsage::default()
        }
    }

    #[test]
    fn intercoms_numbers_are_said_and_its_thresholds_explained() {
        let card = card(&intercom(), "acme", &Caller::anybody());
        assert_eq!(card.id, "workspace-acme%20%26%20co");
        assert_eq!(card.said, "Used 2,918 of 15,000 calls in any 24 hours (19 %); 12,082 left");
        assert_eq!(card.share_said, "This workspace has used 2,918; others 3,072; 9,010 left");
        assert_eq!(
            card.notes,
            ["At 40 % manual bulk sync pauses, at 80 % event-based sync pauses (resumes below \
              60 %), at 100 % people in the inbox are refused."]
        );
        let rows: Vec<_> = card
            .classes
            .iter()
            .map(|row| (row.name, row.pauses_at.as_str(), row.resumes_below.as_str()))
            .collect();
        assert_eq!(
            rows,
            [
                ("Manual bulk sync", "40 % · 6,000", "40 % · 6,000"),
                ("Event-based sync", "80 % · 12,000", "60 % · 9,000"),
                ("People in the inbox", "100 % · 15,000", "100 % · 15,000"),
                ("App settings", "never", "–"),
            ]
        );
        let svg = card.bar.expect("it has a limit").to_string();
        for label in ["40 %<tspan> bulk", "60 %", "80 %<tspan> event", "100 %<tspan> inbox"] {
            assert!(svg.contains(&format!(">{label}</")), "{label}: {svg}");
        }
        assert!(card.may_change && card.limit == "15,000");
    }

    #[test]
    fn pause_points_are_rounded_up() {
        for (max, percent, point) in
            [(15_000, 40, 6_000), (5, 80, 4), (7, 40, 3), (1, 1, 1), (0, 80, 0)]
        {
            assert_eq!(pause_point(max, percent), point, "{percent} % of {max}");
        }
        assert_eq!(pause_point(u64::MAX, 100), u64::MAX);
    }

    #[test]
    fn without_a_limit_there_is_nothing_to_pause() {
        let mut usage = intercom();
        usage.limits[0].max = 0;
        let card = card(&usage, "acme", &Caller::nobody());
        assert!(card.bar.is_none() && card.classes.is_empty() && !card.may_change);
        assert_eq!(card.said, "Has no limit, and used 2,918 in the last 24 hours");
        assert!(card.notes.is_empty(), "{:?}", card.notes);
    }
}
