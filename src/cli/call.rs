//! Acquire, release, report: what a caller does, by hand.

use std::{fmt::Write as _, time::Duration};

use clap::{Args, ValueEnum};
use prost_types::Timestamp;

use super::{
    Remote,
    exit::{Exit, Fault},
    output::{answer, clean},
    table::{Align, Table, count, human, thousands},
    usage::{class_lines, limit_table, owner, wire},
};
use crate::{
    client::Client,
    duration,
    proto::v1::{
        AcquireMode, AcquireRequest, AcquireResponse, Advice, Denial, LimitExplanation, Permit,
        ReleaseRequest, ReleaseResponse, ReportRequest, ReportResponse, TrafficClass,
        acquire_response::Outcome,
    },
};

pub const ACQUIRE_HELP: &str = "\
A permit says how many calls may be started, as which user, and for how long. Report what came
back, or release what was never sent.

Examples:
  quotagate acquire --org acme --operation conversation-entries.get --execution-user alice
  quotagate acquire --org acme --operation rest --traffic-class bulk --calls 200 --min-calls 1
  quotagate acquire --org acme --operation rest --max-wait 30s -o json
  quotagate acquire --org acme --operation rest --workspace eu --check     # charges nothing; says why";

pub const RELEASE_HELP: &str = "\
Only calls that were never sent and never will be may be given back.

Examples:
  quotagate release --permit-id ID
  quotagate release --permit-id ID --unused-calls 2";

pub const REPORT_HELP: &str = "\
Reporting early gives capacity back sooner. Without a permit, --org feeds a reading only.

Examples:
  quotagate report --permit-id ID --http-status 200 --limit-info 'api-usage=10018/100000'
  quotagate report --permit-id ID --first-call 3 --calls 2 --http-status 200
  quotagate report --org acme --limit-info 'api-usage=10018/100000'";

/// What to ask, and whom.
#[derive(Debug, Args)]
pub struct AcquireArgs {
    #[command(flatten)]
    ask: AskArgs,
    /// Whether to charge the limits, or only to look
    #[arg(long, value_name = "MODE", value_enum, default_value_t)]
    mode: Mode,
    /// Only look, and say what each limit leaves: the same as --mode check-only
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    remote: Remote,
}

/// Fields of AcquireRequest.
#[derive(Debug, Args)]
pub struct AskArgs {
    /// The Salesforce org
    #[arg(long, value_name = "ORG")]
    org: String,
    /// What the calls are for, for example conversation-entries.get or rest
    #[arg(long, value_name = "OPERATION")]
    operation: String,
    /// The customer's workspace that pays
    #[arg(long, value_name = "WORKSPACE", default_value = "", hide_default_value = true)]
    workspace: String,
    /// The Salesforce user that makes the calls [default: any of the org's pool]
    #[arg(long, value_name = "USER", default_value = "", hide_default_value = true)]
    execution_user: String,
    /// Who waits for the calls
    #[arg(long, value_name = "CLASS", value_enum, default_value_t)]
    traffic_class: Class,
    /// How many calls
    #[arg(long, value_name = "N", default_value_t = 1)]
    calls: u32,
    /// The fewest calls that are of use [default: all of them]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    min_calls: u32,
    /// Quota units that one call takes of the org's total and the workspace's cap
    #[arg(long, value_name = "UNITS", default_value_t = 1)]
    cost: u32,
    /// How long to wait for room, at most 10m [default: not at all]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    max_wait: Option<Duration>,
    /// How long the permit is to live [default: as the limits suggest]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    permit_ttl: Option<Duration>,
    /// Makes a repeat of the same request safe
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    request_id: String,
    /// The name that these calls are counted under in `quotagate top` [default: none]
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    caller: String,
}

impl AskArgs {
    /// Asks, on this connection.
    pub async fn ask(self, client: Client, mode: AcquireMode) -> Result<AcquireResponse, Fault> {
        let client = if self.caller.is_empty() {
            client
        } else {
            let not_a_name = |_| Fault::usage("--caller is not a name: it must be printable ASCII");
            client.with_caller(&self.caller).map_err(not_a_name)?
        };
        let request = AcquireRequest {
            org: self.org,
            workspace: self.workspace,
            operation: self.operation,
            execution_user: self.execution_user,
            traffic_class: TrafficClass::from(self.traffic_class).into(),
            calls: self.calls,
            min_calls: self.min_calls,
            cost: self.cost,
            max_wait: self.max_wait.map(wire).transpose()?,
            permit_ttl: self.permit_ttl.map(wire).transpose()?,
            request_id: self.request_id,
            mode: mode.into(),
        };
        Ok(client.acquire(request).await?)
    }
}

/// Who waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Class {
    /// Manual bulk synchronisation; pauses first
    Bulk,
    /// Event-based background synchronisation
    #[default]
    Event,
    /// A person waits
    Interactive,
    /// Application settings; never stopped by a workspace's cap
    Control,
}

impl From<Class> for TrafficClass {
    fn from(class: Class) -> Self {
        match class {
            Class::Bulk => Self::Bulk,
            Class::Event => Self::Event,
            Class::Interactive => Self::Interactive,
            Class::Control => Self::Control,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Decide and charge
    #[default]
    Enforce,
    /// Decide only
    CheckOnly,
}

/// Fields of ReleaseRequest.
#[derive(Debug, Args)]
pub struct ReleaseArgs {
    /// The permit
    #[arg(long, value_name = "ID")]
    permit_id: String,
    /// How many of its calls were not sent [default: all of them]
    #[arg(long, value_name = "N")]
    unused_calls: Option<u32>,
    #[command(flatten)]
    remote: Remote,
}

/// Fields of ReportRequest.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("about").required(true).multiple(true).args(["permit_id", "org"])))]
pub struct ReportArgs {
    /// The permit
    #[arg(long, value_name = "ID")]
    permit_id: Option<String>,
    /// Without a permit: the org that answered
    #[arg(long, value_name = "ORG")]
    org: Option<String>,
    /// Without a permit: the user that asked
    #[arg(long, value_name = "USER", default_value = "", hide_default_value = true)]
    execution_user: String,
    /// Without a permit: what was asked
    #[arg(long, value_name = "OPERATION", default_value = "", hide_default_value = true)]
    operation: String,
    /// The first call that this is about, counted from 0
    #[arg(long, value_name = "N", default_value_t = 0)]
    first_call: u32,
    /// How many calls this is about
    #[arg(long, value_name = "N", default_value_t = 1)]
    calls: u32,
    /// The HTTP status of the answer; 0 if none came
    #[arg(long, value_name = "STATUS", default_value_t = 0)]
    http_status: u32,
    /// Salesforce's errorCode
    #[arg(long, value_name = "CODE", default_value = "", hide_default_value = true)]
    error_code: String,
    /// Salesforce's message
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    error_message: String,
    /// The answer's Retry-After
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    retry_after: Option<Duration>,
    /// The answer's Sforce-Limit-Info, as it came; may be repeated
    #[arg(long, value_name = "VALUE")]
    limit_info: Vec<String>,
    /// The answer's Date, for example 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = timestamp)]
    answer_time: Option<Timestamp>,
    /// How long ago the answer came [default: just now]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    completed_ago: Option<Duration>,
    #[command(flatten)]
    remote: Remote,
}

/// Asks to make calls.
pub async fn acquire(args: AcquireArgs) -> Result<Exit, Fault> {
    let mode = match args.mode {
        Mode::Enforce if !args.check => AcquireMode::Enforce,
        Mode::Enforce | Mode::CheckOnly => AcquireMode::CheckOnly,
    };
    let client = args.remote.connect().await?;
    let response = args.ask.ask(client, mode).await?;
    answer(args.remote.output, &response, decision_text)?;
    match response.outcome {
        Some(Outcome::Permit(_)) => Ok(Exit::Done),
        Some(Outcome::Denial(_)) => Ok(Exit::Denied),
        None => Err(undecided()),
    }
}

/// The contract does not allow it.
pub fn undecided() -> Fault {
    Fault::failure("the server answered neither with a permit nor with a denial")
}

/// Gives back calls.
pub async fn release(args: ReleaseArgs) -> Result<Exit, Fault> {
    let request = ReleaseRequest { permit_id: args.permit_id, unused_calls: args.unused_calls };
    let response = args.remote.connect().await?.release(request).await?;
    answer(args.remote.output, &response, release_text)?;
    Ok(Exit::Done)
}

/// Tells what Salesforce answered.
pub async fn report(args: ReportArgs) -> Result<Exit, Fault> {
    // The permit names its org; another may stand in the environment.
    let org = if args.permit_id.is_some() { None } else { args.org };
    let request = ReportRequest {
        permit_id: args.permit_id.unwrap_or_default(),
        org: org.unwrap_or_default(),
        execution_user: args.execution_user,
        operation: args.operation,
        first_call: args.first_call,
        calls: args.calls,
        http_status: args.http_status,
        error_code: args.error_code,
        error_message: args.error_message,
        retry_after: args.retry_after.map(wire).transpose()?,
        limit_info: args.limit_info,
        answer_time: args.answer_time,
        completed_ago: args.completed_ago.map(wire).transpose()?,
    };
    let response = args.remote.connect().await?.report(request).await?;
    answer(args.remote.output, &response, report_text)?;
    Ok(Exit::Done)
}

/// A moment of the command line.
pub fn timestamp(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| "it is not a time such as 2026-01-31T12:00:00Z".to_owned())
}

fn decision_text(response: &AcquireResponse) -> String {
    match &response.outcome {
        Some(Outcome::Permit(permit)) => permit_text(permit),
        Some(Outcome::Denial(denial)) => denial_text(denial),
        None => String::new(),
    }
}

fn permit_text(permit: &Permit) -> String {
    let mut out = String::new();
    let calls = count(permit.calls.into(), "call");
    let user = match permit.execution_user.as_str() {
        "" => String::new(),
        user => format!(" as {}", clean(user)),
    };
    if permit.permit_id.is_empty() {
        _ = writeln!(out, "would be granted: {calls}{user}");
    } else {
        let ttl = permit.ttl.and_then(|ttl| Duration::try_from(ttl).ok()).unwrap_or_default();
        _ = writeln!(out, "granted: {calls}{user}, to be started within {}", human(ttl));
        _ = writeln!(out, "permit:  {}", clean(&permit.permit_id));
    }
    out.push('\n');
    if permit.explanation.is_empty() {
        out.push_str(&limit_table(&permit.limits, None));
    } else {
        out.push_str(&explanation_text(&permit.explanation));
    }
    out.push_str(&class_lines(permit.class_state.as_ref()));
    out
}

/// A denial for people.
pub fn denial_text(denial: &Denial) -> String {
    let mut out = String::new();
    let reason = denial.reason().as_str_name().trim_start_matches("DENIAL_REASON_");
    _ = writeln!(out, "denied: {reason}");
    if !denial.message.is_empty() {
        _ = writeln!(out, "{}", clean(&denial.message));
    }
    match denial.retry_after.and_then(|wait| Duration::try_from(wait).ok()) {
        Some(wait) => _ = writeln!(out, "try again in {}", human(wait)),
        None => _ = writeln!(out, "nobody can say when to try again"),
    }
    if denial.queue_position > 0 {
        _ = writeln!(out, "place in the queue: {}", denial.queue_position);
    }
    if !denial.explanation.is_empty() {
        _ = write!(out, "\n{}", explanation_text(&denial.explanation));
    } else if !denial.limits.is_empty() {
        _ = write!(out, "\n{}", limit_table(&denial.limits, denial.limit.as_ref()));
    }
    out.push_str(&class_lines(denial.class_state.as_ref()));
    out
}

/// Every limit with what it leaves, and below it why, within 80 columns.
fn explanation_text(explanation: &[LimitExplanation]) -> String {
    let mut table = Table::new([
        ("", Align::Right),
        ("LIMIT", Align::Left),
        ("OF", Align::Left),
        ("NEEDED", Align::Right),
        ("FREE", Align::Right),
        ("OPENS IN", Align::Left),
        ("", Align::Left),
    ]);
    let mut reasons = String::new();
    for (number, about) in (1..).zip(explanation) {
        let usage = about.usage.clone().unwrap_or_default();
        let opens_in = match about.opens_in.and_then(|wait| Duration::try_from(wait).ok()) {
            Some(Duration::ZERO) => "open".to_owned(),
            Some(wait) => human(wait),
            None => "unknown".to_owned(),
        };
        let note = match (about.binding, &usage.shadow) {
            (true, _) => "← binds",
            (false, Some(_)) => "in shadow",
            (false, None) => "",
        };
        // Without a cap, or past it by right: no number says anything.
        let is_endless = about.room > u64::from(u32::MAX);
        table.row([
            number.to_string(),
            short(&clean(&usage.name)),
            short(&owner(&usage)),
            thousands(about.needed),
            if is_endless { "–".to_owned() } else { thousands(about.room) },
            opens_in,
            note.to_owned(),
        ]);
        let first = format!("  {number}  ");
        reasons.push_str(&wrapped(&clean(&about.text), &first, "     "));
    }
    format!("{}\n{reasons}", table.render())
}

/// A name that would push the table out of the screen is cut.
fn short(name: &str) -> String {
    const MOST: usize = 24;
    if name.chars().count() <= MOST {
        return name.to_owned();
    }
    name.chars().take(MOST - 1).chain(['…']).collect()
}

/// A text in lines of at most 80 columns.
fn wrapped(text: &str, first: &str, other: &str) -> String {
    const MOST: usize = 80;
    let mut out = String::new();
    let mut line = first.to_owned();
    let mut is_empty = true;
    for word in text.split(' ') {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > MOST {
            _ = writeln!(out, "{line}");
            other.clone_into(&mut line);
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    _ = writeln!(out, "{line}");
    out
}

fn release_text(response: &ReleaseResponse) -> String {
    let calls = count(response.returned_calls.into(), "call");
    if response.already_settled {
        format!("nothing changed: {calls} had come back already, or the permit has ended\n")
    } else {
        format!("returned: {calls}\n")
    }
}

fn report_text(response: &ReportResponse) -> String {
    let mut out = String::new();
    out.push_str(if response.already_settled { "nothing new\n" } else { "settled\n" });
    match response.advice() {
        Advice::Unspecified => {}
        Advice::Continue => out.push_str("advice: go on\n"),
        Advice::BackOff => {
            let wait = response.back_off.and_then(|wait| Duration::try_from(wait).ok());
            _ = writeln!(out, "advice: wait for {}", human(wait.unwrap_or_default()));
        }
        Advice::Stop => {
            out.push_str("advice: stop; somebody must mend something before a call can succeed\n");
        }
    }
    out.push_str(&class_lines(response.class_state.as_ref()));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1::{DenialReason, LimitKind, LimitScope, LimitUsage};

    fn limit(used: u64, max: u64) -> LimitUsage {
        LimitUsage {
            name: "entries".into(),
            kind: LimitKind::Window.into(),
            scope: LimitScope::ExecutionUser.into(),
            identity: "alice".into(),
            max,
            used_by_caller: used,
            remaining: max - used,
            window: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
            ..Default::default()
        }
    }

    #[test]
    fn a_permit_says_what_may_be_done_and_what_is_left() {
        let permit = Permit {
            permit_id: "p1".into(),
            calls: 3,
            execution_user: "alice".into(),
            ttl: Some(prost_types::Duration { seconds: 5, nanos: 0 }),
            limits: vec![limit(45, 90)],
            ..Default::default()
        };
        assert_eq!(
            permit_text(&permit),
            "granted: 3 calls as alice, to be started within 5 s\n\
             permit:  p1\n\n\
             \x20 LIMIT    OF          PER    USE                       USED  MAX       %  LEFT\n\
             \x20 entries  user alice  1 min  ████████████············    45   90  50.0 %    45\n"
        );
        let check = Permit { permit_id: String::new(), ..permit };
        assert!(permit_text(&check).starts_with("would be granted: 3 calls as alice\n"));
    }

    #[test]
    fn a_check_is_explained_within_eighty_columns() {
        let about = |usage, room, opens_in, binding, text: &str| LimitExplanation {
            usage: Some(usage),
            room,
            needed: 5,
            binding,
            opens_in,
            text: text.into(),
            ..Default::default()
        };
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let total = LimitUsage {
            name: "calls".into(),
            scope: LimitScope::Org.into(),
            identity: "00D000000000001EAA".into(),
            ..limit(5_990, 15_000)
        };
        let cap = LimitUsage {
            name: "calls".into(),
            scope: LimitScope::Workspace.into(),
            identity: "a-workspace-with-a-very-long-name".into(),
            ..limit(2_000, 5_000)
        };
        let paused = "2000 of 5000 used in 1 d, bulk is paused since it reached 2000: 0 are free \
                      for bulk calls, 5 are needed; they will be in 3 h 12 min";
        let explanation = [
            about(cap, 0, seconds(11_520), true, paused),
            about(total, 8_260, seconds(0), false, "5990 of 15000 used in 1 d: 8260 are free"),
            about(limit(45, 90), 0, None, false, "nobody can say"),
        ];
        assert_eq!(
            explanation_text(&explanation),
            "\
\x20    LIMIT    OF                        NEEDED   FREE  OPENS IN
\x20 1  calls    workspace a-workspace-w…       5      0  3 h 12 min  ← binds
\x20 2  calls    the org                        5  8,260  open
\x20 3  entries  user alice                     5      0  unknown

\x20 1  2000 of 5000 used in 1 d, bulk is paused since it reached 2000: 0 are free
\x20    for bulk calls, 5 are needed; they will be in 3 h 12 min
\x20 2  5990 of 15000 used in 1 d: 8260 are free
\x20 3  nobody can say
"
        );
        let denial = Denial { explanation: explanation.to_vec(), ..Default::default() };
        assert!(denial_text(&denial).lines().all(|line| line.chars().count() <= 80));
    }

    #[test]
    fn a_denial_says_why_and_until_when() {
        let denial = Denial {
            reason: DenialReason::ExecutionUserLimit.into(),
            message: "alice has used 90 of 90.".into(),
            limit: Some(limit(90, 90)),
            limits: vec![limit(90, 90)],
            retry_after: Some(prost_types::Duration { seconds: 12, nanos: 0 }),
            queue_position: 2,
            ..Default::default()
        };
        let text = denial_text(&denial);
        for line in [
            "denied: EXECUTION_USER_LIMIT",
            "alice has used 90 of 90.",
            "try again in 12 s",
            "place in the queue: 2",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        assert!(text.contains("← binds"), "{text}");
        let unknown = denial_text(&Denial { retry_after: None, ..denial });
        assert!(unknown.contains("nobody can say"), "{unknown}");
    }
}
