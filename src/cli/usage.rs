//! Usage of an org, as a picture and as it changes.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal as _},
    time::Duration,
};

use clap::Args;

use super::{
    Remote,
    exit::{Exit, Fault},
    output::{Format, answer, clean, draw_over, print},
    table::{Align, Bar, Table, count, human, percent, thousands, unless_zero},
};
use crate::{
    json,
    proto::v1::{
        ClassRunState, ClassState, ClassStatus, ClassWaiting, CoolingCause, CoolingUsage,
        GetUsageRequest, LimitKind, LimitScope, LimitUsage, OrgUsage, Reading, TrafficClass,
        WatchUsageRequest, WatchUsageResponse,
    },
};

pub const USAGE_HELP: &str = "\
Examples:
  quotagate usage --org acme
  quotagate usage --org acme -o json | jq .usage.limits";

pub const WATCH_HELP: &str = "\
On a terminal the picture is drawn anew with each change; elsewhere each change is a line, and with
-o json each message is one line of JSON. Ends with Ctrl-C.

Examples:
  quotagate watch --org acme
  quotagate watch --org acme -o json | jq -c .transitions";

/// Cells of a bar.
const BAR_WIDTH: u64 = 24;

/// Fields of GetUsageRequest.
#[derive(Debug, Args)]
pub struct UsageArgs {
    /// The Salesforce org
    #[arg(long, value_name = "ORG")]
    org: String,
    #[command(flatten)]
    remote: Remote,
}

/// Shows an org once.
pub async fn usage(args: UsageArgs) -> Result<Exit, Fault> {
    let client = args.remote.connect().await?;
    let response = client.get_usage(GetUsageRequest { org: args.org }).await?;
    answer(args.remote.output, &response, |response| {
        response.usage.as_ref().map(picture).unwrap_or_default()
    })?;
    Ok(Exit::Done)
}

/// Follows an org until it is told to stop.
pub async fn watch(args: UsageArgs) -> Result<Exit, Fault> {
    let client = args.remote.connect().await?;
    let mut stream = client.watch_usage(WatchUsageRequest { org: args.org }).await?;
    let mut screen = Screen::default();
    let mut known = OrgUsage::default();
    loop {
        let message = tokio::select! {
            message = stream.message() => message?,
            stopped = tokio::signal::ctrl_c() => {
                stopped?;
                return Ok(Exit::Done);
            }
        };
        let Some(message) = message else {
            return Err(tonic::Status::unavailable("the server ended the stream").into());
        };
        match args.remote.output {
            Format::Json => print(&(json::to_line(&message) + "\n"))?,
            Format::Table if io::stdout().is_terminal() => {
                screen.note(&message);
                merge(&mut known, message);
                screen.draw(&known)?;
            }
            Format::Table => print(&event_lines(&message))?,
        }
    }
}

/// A terminal that shows one picture.
#[derive(Debug, Default)]
struct Screen {
    transitions: Vec<String>,
}

impl Screen {
    /// Transitions that stay in sight.
    const TRANSITIONS: usize = 5;

    fn note(&mut self, message: &WatchUsageResponse) {
        self.transitions.extend(transition_lines(message));
        let old = self.transitions.len().saturating_sub(Self::TRANSITIONS);
        self.transitions.drain(..old);
    }

    fn draw(&self, usage: &OrgUsage) -> io::Result<()> {
        let mut text = picture(usage);
        if !self.transitions.is_empty() {
            text.push_str("\nCHANGES\n");
            for line in &self.transitions {
                _ = writeln!(text, "  {line}");
            }
        }
        draw_over(&text)
    }
}

/// Takes a message over: a snapshot replaces what is known, a change replaces
/// the limits, workspaces and users that it names.
fn merge(known: &mut OrgUsage, message: WatchUsageResponse) {
    let Some(news) = message.usage else { return };
    if message.snapshot {
        *known = news;
        return;
    }
    let OrgUsage { limits, workspaces, execution_users, queue, .. } = std::mem::take(known);
    *known = OrgUsage {
        queue: news.queue.clone().or(queue),
        limits: replaced(limits, news.limits, |limit| (limit.name.clone(), limit.kind)),
        workspaces: replaced(workspaces, news.workspaces, |one| one.workspace.clone()),
        execution_users: replaced(execution_users, news.execution_users, |one| {
            one.execution_user.clone()
        }),
        ..news
    };
}

fn replaced<T, K: PartialEq>(mut old: Vec<T>, news: Vec<T>, key: impl Fn(&T) -> K) -> Vec<T> {
    for item in news {
        match old.iter_mut().find(|known| key(known) == key(&item)) {
            Some(known) => *known = item,
            None => old.push(item),
        }
    }
    old
}

/// A message as lines: when, what is used of what, who changed state.
fn event_lines(message: &WatchUsageResponse) -> String {
    let mut out = String::new();
    let when = message.usage.as_ref().and_then(|usage| usage.as_of).map(clock).unwrap_or_default();
    if let Some(usage) = &message.usage {
        let own = usage.limits.iter();
        let workspaces = usage.workspaces.iter().flat_map(|one| &one.limits);
        let users = usage.execution_users.iter().flat_map(|one| &one.limits);
        let figures: Vec<String> = own
            .chain(workspaces.filter(|limit| limit.scope() == LimitScope::Workspace))
            .chain(users)
            .map(|limit| {
                let used = limit.used_by_caller.saturating_add(limit.used_by_others);
                let max = unless_uncapped(limit, thousands(limit.max));
                format!("{} {}/{max}", limit_name(limit), thousands(used))
            })
            .collect();
        if !figures.is_empty() || message.snapshot {
            let figures = figures.join("  ");
            _ = writeln!(
                out,
                "{when}  {}: {figures}  waiting {}",
                clean(&usage.org),
                usage.waiting
            );
        }
    }
    for line in transition_lines(message) {
        _ = writeln!(out, "{when}  {line}");
    }
    out
}

fn transition_lines(message: &WatchUsageResponse) -> impl Iterator<Item = String> {
    message.transitions.iter().filter_map(|transition| {
        let status = transition.status.as_ref()?;
        let state = match status.state() {
            ClassRunState::Paused => "is paused",
            _ => "runs again",
        };
        let class = class_name(status.traffic_class());
        Some(format!("workspace {}: {class} {state}", clean(&transition.workspace)))
    })
}

/// Everything about an org.
fn picture(usage: &OrgUsage) -> String {
    let mut out = String::new();
    let when = usage.as_of.map(|time| format!("   {}", clock(time))).unwrap_or_default();
    _ = writeln!(out, "org {}{when}", clean(&usage.org));
    let reading = match (usage.as_of, usage.last_reading) {
        (Some(now), Some(then)) => format!("Salesforce's own figures: {} ago", age(now, then)),
        _ => "no figures of Salesforce yet".to_owned(),
    };
    _ = writeln!(
        out,
        "{} out, {} waiting, {reading}",
        count(usage.permits_out.into(), "permit"),
        thousands(usage.waiting.into())
    );
    if let Some(reading) = usage.readings.first() {
        _ = writeln!(out, "  {}", reading_text(reading));
    }
    for warning in &usage.warnings {
        _ = writeln!(out, "warning: {}", clean(warning));
    }
    for cooling in &usage.cooling {
        _ = writeln!(out, "cooling down: {}", cooling_text(cooling, usage.as_of));
    }
    for user in usage.execution_users.iter().filter(|user| user.foreign_traffic) {
        let user = clean(&user.execution_user);
        _ = writeln!(out, "foreign traffic: somebody else makes calls as user {user}");
    }

    _ = write!(out, "\nTHE ORG\n{}", limit_table(&usage.limits, None));
    let rows: Vec<_> = usage.workspaces.iter().flat_map(|one| one.limits.clone()).collect();
    if !rows.is_empty() {
        _ = write!(out, "\nWORKSPACES\n{}", limit_table(&rows, None));
    }
    for workspace in &usage.workspaces {
        let lines = class_lines(workspace.class_state.as_ref());
        if !lines.is_empty() {
            _ = write!(out, "  {}{}", clean(&workspace.workspace), lines.replace("\n  ", "\n    "));
        }
    }
    let rows: Vec<_> = usage.execution_users.iter().flat_map(|one| one.limits.clone()).collect();
    if !rows.is_empty() {
        _ = write!(out, "\nEXECUTION USERS\n{}", limit_table(&rows, None));
    }
    _ = write!(out, "{}", queue_block(usage));
    _ = writeln!(out, "\n  {}", Bar::LEGEND);
    out.push_str(&outlook(usage));
    out
}

/// How fast limits are used, and until when they last if that goes on; nothing
/// while nothing is used.
pub fn outlook(usage: &OrgUsage) -> String {
    let mut table = Table::new([
        ("LIMIT", Align::Left),
        ("OF", Align::Left),
        ("AN HOUR", Align::Right),
        ("USED UP IN", Align::Left),
    ]);
    let of_workspaces = usage.workspaces.iter().flat_map(|one| &one.limits);
    let of_users = usage.execution_users.iter().flat_map(|one| &one.limits);
    let limits = usage.limits.iter().chain(of_workspaces).chain(of_users);
    for limit in limits.filter(|limit| limit.burn_per_hour > 0 || limit.exhausted_in.is_some()) {
        let lasts = match limit.exhausted_in.and_then(|time| Duration::try_from(time).ok()) {
            None => "never".to_owned(),
            Some(Duration::ZERO) => "is used up".to_owned(),
            // Fractions of a second would only flicker.
            Some(time) => human(Duration::from_secs(time.as_secs().max(1))),
        };
        let burn = thousands(limit.burn_per_hour);
        table.row([clean(&limit.name), owner(limit), burn, lasts]);
    }
    let mut pauses = String::new();
    for workspace in &usage.workspaces {
        for class in workspace.attribution.iter().flat_map(|to_come| &to_come.pauses) {
            let time = class.pauses_in.and_then(|time| Duration::try_from(time).ok());
            let time = human(Duration::from_secs(time.unwrap_or_default().as_secs().max(1)));
            let class = class_name(class.traffic_class());
            _ = writeln!(pauses, "  {}: {class} pauses in {time}", clean(&workspace.workspace));
        }
    }
    if table.is_empty() && pauses.is_empty() {
        return String::new();
    }
    let table = if table.is_empty() { String::new() } else { table.render() };
    format!("\nIF IT GOES ON LIKE THIS\n{table}{pauses}")
}

/// Requests that the picture names.
const NEXT: usize = 3;

/// Who waits, in a few lines; nothing if nobody does.
fn queue_block(usage: &OrgUsage) -> String {
    let mut out = String::new();
    let Some(queue) = usage.queue.as_ref().filter(|queue| !queue.waiting.is_empty()) else {
        return out;
    };
    let of = |class: &ClassWaiting| {
        format!("{} {}", thousands(class.requests.into()), class_name(class.traffic_class()))
    };
    let classes: Vec<String> = queue.waiting.iter().map(of).collect();
    _ = writeln!(
        out,
        "\nQUEUE\n  {} wait: {}",
        thousands(usage.waiting.into()),
        classes.join(", ")
    );
    for request in queue.first.iter().take(NEXT) {
        let workspace = match request.workspace.as_str() {
            "" => String::new(),
            id => format!(" of {}", clean(id)),
        };
        let wants = match request.limit.as_str() {
            "" => "the store".to_owned(),
            limit => format!("{} of {}", clean(limit), clean(&request.identity)),
        };
        let due = match (request.due_at, usage.as_of) {
            (Some(due), Some(now)) if due != now => format!(", due in {}", age(due, now)),
            (Some(_), _) => ", due now".to_owned(),
            (None, _) => String::new(),
        };
        _ = writeln!(
            out,
            "  next: {} {}{workspace}, {}, for {wants}{due}",
            class_name(request.traffic_class()),
            clean(&request.operation),
            count(request.calls.into(), "call"),
        );
    }
    out
}

/// Limits as a table; `binding` is marked.
pub fn limit_table(limits: &[LimitUsage], binding: Option<&LimitUsage>) -> String {
    let mut table = Table::new([
        ("LIMIT", Align::Left),
        ("OF", Align::Left),
        ("PER", Align::Left),
        ("USE", Align::Left),
        ("USED", Align::Right),
        ("MAX", Align::Right),
        ("%", Align::Right),
        ("LEFT", Align::Right),
        ("BY OTHERS", Align::Right),
        ("FOREIGN", Align::Right),
        ("HELD", Align::Right),
        ("RESERVED", Align::Right),
        ("FOR OUTAGES", Align::Right),
        ("", Align::Left),
    ]);
    for limit in limits {
        let used = limit.used_by_caller.saturating_add(limit.used_by_others);
        let bar = Bar {
            used: used.saturating_sub(limit.foreign),
            foreign: limit.foreign.min(used),
            held: limit.held,
            max: limit.max,
        };
        let window = limit.window.and_then(|window| Duration::try_from(window).ok());
        let per = match limit.kind() {
            LimitKind::Concurrency => "at a time".to_owned(),
            _ => window.map(human).unwrap_or_default(),
        };
        let binds = binding.is_some_and(|binding| {
            (&binding.name, binding.kind, binding.scope, &binding.identity)
                == (&limit.name, limit.kind, limit.scope, &limit.identity)
        });
        let note = match (binds, limit.cooling_until, limit.stale) {
            (true, ..) => "← binds",
            (false, Some(_), _) => "cools down",
            (false, None, _) if limit.shadow.is_some() => "in shadow",
            (false, None, true) => "stale",
            (false, None, false) => "",
        };
        table.row([
            clean(&limit.name),
            owner(limit),
            per,
            bar.render(BAR_WIDTH),
            thousands(used),
            unless_uncapped(limit, thousands(limit.max)),
            unless_uncapped(limit, percent(used, limit.max)),
            unless_uncapped(limit, thousands(limit.remaining)),
            unless_zero(limit.used_by_others.saturating_sub(limit.foreign)),
            unless_zero(limit.foreign),
            unless_zero(limit.held),
            unless_zero(limit.reserved),
            unless_zero(limit.outage_share),
            note.to_owned(),
        ]);
    }
    if table.is_empty() { String::new() } else { table.render() }
}

/// What Salesforce said, and whose it is.
fn reading_text(reading: &Reading) -> String {
    let limit = match reading.limit {
        0 => "an unknown limit".to_owned(),
        limit => thousands(limit),
    };
    format!(
        "they said {} of {limit}: {} through quotagate, {} by other integrations",
        thousands(reading.used),
        thousands(reading.own),
        thousands(reading.foreign)
    )
}

/// A workspace without a cap has no max, and nothing that is left of it.
fn unless_uncapped(limit: &LimitUsage, figure: String) -> String {
    if limit.max == 0 && limit.scope() == LimitScope::Workspace { "–".to_owned() } else { figure }
}

/// The classes of a workspace on one line, then its warnings; nothing where
/// there are none.
pub fn class_lines(state: Option<&ClassState>) -> String {
    let Some(state) = state else { return String::new() };
    let mut out = String::new();
    if !state.classes.is_empty() {
        let classes: Vec<String> = state.classes.iter().map(class_text).collect();
        _ = writeln!(out, "  {}", classes.join("   "));
    }
    for warning in &state.warnings {
        _ = writeln!(out, "  warning: {}", clean(&warning.text));
    }
    out
}

/// A length of time for the wire.
pub fn wire(duration: Duration) -> Result<prost_types::Duration, Fault> {
    prost_types::Duration::try_from(duration)
        .map_err(|_| Fault::usage(format!("{} is too long", human(duration))))
}

/// `2026-01-31 14:03:07 UTC` of a moment.
pub fn clock(time: prost_types::Timestamp) -> String {
    let text = prost_types::Timestamp { nanos: 0, ..time }.to_string();
    text.trim_end_matches('Z').replace('T', " ") + " UTC"
}

fn age(now: prost_types::Timestamp, then: prost_types::Timestamp) -> String {
    let seconds = now.seconds.saturating_sub(then.seconds);
    human(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// What Salesforce has told to stop, since when, and what is done about it.
fn cooling_text(cooling: &CoolingUsage, now: Option<prost_types::Timestamp>) -> String {
    let since = match (now, cooling.since) {
        (Some(now), Some(then)) => format!(" for {}", age(now, then)),
        _ => String::new(),
    };
    let whose = match cooling.scope() {
        LimitScope::ExecutionUser => format!("[{}]", clean(&cooling.identity)),
        _ => String::new(),
    };
    let said = match cooling.cause() {
        CoolingCause::Unspecified => "Salesforce said stop",
        CoolingCause::Throttled => "429",
        CoolingCause::LimitExceeded => "REQUEST_LIMIT_EXCEEDED",
        CoolingCause::ConcurrencyExceeded => "too many requests at a time",
        CoolingCause::LoginsExceeded => "too many logins",
        CoolingCause::CounterExceeded => "used up",
        CoolingCause::TotalExceeded => "the total is used up",
    };
    let by_time = matches!(
        cooling.cause(),
        CoolingCause::Throttled | CoolingCause::ConcurrencyExceeded | CoolingCause::LoginsExceeded
    );
    let next = match (now, cooling.until) {
        _ if cooling.probe_out => ", a probe is out".to_owned(),
        (Some(now), Some(until)) if by_time => format!(", opens in {}", age(until, now)),
        (Some(now), Some(until)) => format!(", next probe in {}", age(until, now)),
        _ => String::new(),
    };
    let times = count(cooling.attempts.into(), "time");
    format!("{}{whose}{since}: {said} ({times}){next}", clean(&cooling.limit))
}

fn class_text(status: &ClassStatus) -> String {
    let class = class_name(status.traffic_class());
    match status.state() {
        ClassRunState::Paused => {
            format!("{class} PAUSED (until below {} %)", status.resumes_below_percent)
        }
        _ => format!("{class} runs (to {} %)", status.pauses_at_percent),
    }
}

pub fn class_name(class: TrafficClass) -> &'static str {
    match class {
        TrafficClass::Unspecified => "unknown",
        TrafficClass::Bulk => "bulk",
        TrafficClass::Event => "event",
        TrafficClass::Interactive => "interactive",
        TrafficClass::Control => "control",
    }
}

pub fn owner(limit: &LimitUsage) -> String {
    let identity = clean(&limit.identity);
    match limit.scope() {
        LimitScope::Unspecified => identity,
        LimitScope::Org => "the org".into(),
        LimitScope::Workspace => format!("workspace {identity}"),
        LimitScope::ExecutionUser => format!("user {identity}"),
    }
}

fn limit_name(limit: &LimitUsage) -> String {
    match limit.scope() {
        LimitScope::Org => clean(&limit.name),
        _ => format!("{}[{}]", clean(&limit.name), clean(&limit.identity)),
    }
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::*;
    use crate::proto::v1::{
        ClassForecast, ClassTransition, ExecutionUserUsage, QueueUsage, QueuedRequest, Warning,
        WarningKind, WorkspaceAttribution, WorkspaceUsage,
    };

    fn at(seconds: i64) -> Option<Timestamp> {
        Some(Timestamp { seconds: 1_800_000_000 + seconds, nanos: 5 })
    }

    fn limit(scope: LimitScope, name: &str, identity: &str, used: u64, max: u64) -> LimitUsage {
        LimitUsage {
            name: name.into(),
            kind: LimitKind::Window.into(),
            scope: scope.into(),
            identity: identity.into(),
            max,
            used_by_caller: used,
            remaining: max - used,
            window: Some(prost_types::Duration { seconds: 86_400, nanos: 0 }),
            ..Default::default()
        }
    }

    fn usage() -> OrgUsage {
        let mut total = limit(LimitScope::Org, "calls", "acme", 3_000, 15_000);
        (total.used_by_others, total.foreign, total.held) = (1_600, 1_500, 750);
        (total.remaining, total.reserved, total.stale) = (9_750, 750, true);
        OrgUsage {
            org: "acme".into(),
            as_of: at(0),
            limits: vec![
                total,
                LimitUsage {
                    kind: LimitKind::Concurrency.into(),
                    ..limit(LimitScope::Org, "long", "acme", 2, 5)
                },
            ],
            workspaces: vec![WorkspaceUsage {
                weight: 1,
                guaranteed_calls: 0,
                workspace: "eu".into(),
                limits: vec![limit(LimitScope::Workspace, "calls", "eu", 2_500, 5_000)],
                class_state: Some(ClassState {
                    classes: vec![
                        class(TrafficClass::Event, ClassRunState::Running),
                        class(TrafficClass::Bulk, ClassRunState::Paused),
                    ],
                    warnings: vec![Warning {
                        kind: WarningKind::ApproachingLimit.into(),
                        text: "80 % is used.".into(),
                    }],
                }),
                attribution: None,
            }],
            execution_users: vec![ExecutionUserUsage {
                execution_user: "alice".into(),
                limits: vec![limit(LimitScope::ExecutionUser, "entries", "alice", 90, 90)],
                in_pool: true,
                foreign_traffic: true,
            }],
            waiting: 4,
            permits_out: 1,
            last_reading: at(-12),
            warnings: vec!["the caps add up to more".into()],
            cooling: vec![
                CoolingUsage {
                    scope: LimitScope::Org.into(),
                    limit: "calls".into(),
                    cause: CoolingCause::TotalExceeded.into(),
                    since: at(-90),
                    until: at(30),
                    attempts: 2,
                    ..Default::default()
                },
                CoolingUsage {
                    scope: LimitScope::ExecutionUser.into(),
                    identity: "alice".into(),
                    limit: "entries".into(),
                    cause: CoolingCause::Throttled.into(),
                    since: at(-5),
                    until: at(10),
                    attempts: 1,
                    ..Default::default()
                },
            ],
            attribution: None,
            queue: Some(QueueUsage {
                waiting: vec![
                    ClassWaiting { traffic_class: TrafficClass::Event.into(), requests: 1 },
                    ClassWaiting { traffic_class: TrafficClass::Bulk.into(), requests: 3 },
                ],
                first: vec![
                    QueuedRequest {
                        place: 1,
                        workspace: "eu".into(),
                        operation: "conversation-entries.get".into(),
                        traffic_class: TrafficClass::Event.into(),
                        calls: 2,
                        due_at: at(34),
                        limit: "entries".into(),
                        scope: LimitScope::ExecutionUser.into(),
                        identity: "alice".into(),
                        ..Default::default()
                    },
                    QueuedRequest {
                        place: 1,
                        operation: "rest.long".into(),
                        traffic_class: TrafficClass::Bulk.into(),
                        calls: 1,
                        limit: "long".into(),
                        scope: LimitScope::Org.into(),
                        identity: "acme".into(),
                        ..Default::default()
                    },
                ],
            }),
            readings: vec![Reading {
                answer_time: at(-12),
                used: 4_490,
                limit: 15_000,
                own: 2_990,
                foreign: 1_500,
                told_by: String::new(),
            }],
        }
    }

    fn class(class: TrafficClass, state: ClassRunState) -> ClassStatus {
        ClassStatus {
            traffic_class: class.into(),
            state: state.into(),
            since: None,
            pauses_at_percent: 40,
            resumes_below_percent: 38,
        }
    }

    #[test]
    fn an_org_is_one_picture() {
        let expected = "\
org acme   2027-01-15 08:00:00 UTC
1 permit out, 4 waiting, Salesforce's own figures: 12 s ago
  they said 4,490 of 15,000: 2,990 through quotagate, 1,500 by other integrations
warning: the caps add up to more
cooling down: calls for 1 min 30 s: the total is used up (2 times), next probe in 30 s
cooling down: entries[alice] for 5 s: 429 (1 time), opens in 10 s
foreign traffic: somebody else makes calls as user alice

THE ORG
  LIMIT  OF       PER        USE                        USED     MAX       %   LEFT  BY OTHERS  FOREIGN  HELD  RESERVED
  calls  the org  24 h       ████▓▓▓▒················  4,600  15,000  30.6 %  9,750        100    1,500   750       750  stale
  long   the org  at a time  █████████···············      2       5  40.0 %      3

WORKSPACES
  LIMIT  OF            PER   USE                        USED    MAX       %   LEFT
  calls  workspace eu  24 h  ████████████············  2,500  5,000  50.0 %  2,500
  eu  event runs (to 40 %)   bulk PAUSED (until below 38 %)
    warning: 80 % is used.

EXECUTION USERS
  LIMIT    OF          PER   USE                       USED  MAX        %  LEFT
  entries  user alice  24 h  ████████████████████████    90   90  100.0 %     0

QUEUE
  4 wait: 1 event, 3 bulk
  next: event conversation-entries.get of eu, 2 calls, for entries of alice, due in 34 s
  next: bulk rest.long, 1 call, for long of acme

  █ used   ▓ by others   ▒ held   · free
";
        assert_eq!(picture(&usage()), expected, "\n{}", picture(&usage()));
    }

    #[test]
    fn the_outlook_says_how_fast_and_until_when() {
        let mut usage = usage();
        assert_eq!(outlook(&usage), "", "nothing is used");
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 1 });
        usage.limits[0].burn_per_hour = 1_234;
        usage.limits[0].exhausted_in = seconds(8_040);
        let cap = &mut usage.workspaces[0];
        cap.limits[0].burn_per_hour = 30;
        cap.attribution = Some(WorkspaceAttribution {
            pauses: vec![ClassForecast {
                traffic_class: TrafficClass::Bulk.into(),
                pauses_in: seconds(60),
            }],
        });
        usage.execution_users[0].limits[0].exhausted_in = Some(prost_types::Duration::default());
        let expected = "
IF IT GOES ON LIKE THIS
  LIMIT    OF            AN HOUR  USED UP IN
  calls    the org         1,234  2 h 14 min
  calls    workspace eu       30  never
  entries  user alice          0  is used up
  eu: bulk pauses in 1 min
";
        assert_eq!(outlook(&usage), expected, "{}", outlook(&usage));
        assert!(picture(&usage).ends_with(expected));
    }

    #[test]
    fn a_change_replaces_what_it_names_and_a_snapshot_everything() {
        let mut known = OrgUsage::default();
        merge(
            &mut known,
            WatchUsageResponse { usage: Some(usage()), snapshot: true, transitions: vec![] },
        );
        assert_eq!(known, usage());
        let change = OrgUsage {
            org: "acme".into(),
            as_of: at(1),
            workspaces: vec![
                WorkspaceUsage { workspace: "eu".into(), ..Default::default() },
                WorkspaceUsage { workspace: "us".into(), ..Default::default() },
            ],
            ..Default::default()
        };
        merge(&mut known, WatchUsageResponse { usage: Some(change.clone()), ..Default::default() });
        assert_eq!(known.limits, usage().limits);
        assert_eq!(known.workspaces, change.workspaces);
        assert_eq!(known.execution_users, usage().execution_users);
        assert_eq!(known.queue, usage().queue, "what is not said has not changed");
        assert_eq!((known.as_of, known.waiting), (at(1), 0));
        merge(
            &mut known,
            WatchUsageResponse { usage: Some(change.clone()), snapshot: true, transitions: vec![] },
        );
        assert_eq!(known, change);
    }

    #[test]
    fn without_a_terminal_each_change_is_a_line() {
        let message = WatchUsageResponse {
            usage: Some(usage()),
            snapshot: true,
            transitions: vec![ClassTransition {
                workspace: "eu".into(),
                status: Some(class(TrafficClass::Bulk, ClassRunState::Paused)),
            }],
        };
        assert_eq!(
            event_lines(&message),
            "2027-01-15 08:00:00 UTC  acme: calls 4,600/15,000  long 2/5  calls[eu] 2,500/5,000  \
             entries[alice] 90/90  waiting 4\n\
             2027-01-15 08:00:00 UTC  workspace eu: bulk is paused\n"
        );
    }
}
