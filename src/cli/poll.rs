//! Reads the limits resource of orgs that make no REST calls of their own, so
//! that the service knows what others use of them.
//!
//! A poll is a call like any other: it has a permit, and its answer is reported.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use clap::Args;
use tokio::time::{Instant, MissedTickBehavior};

use super::{
    Remote,
    exit::{Exit, Fault, tell},
    output::{clean, print},
    table::thousands,
    usage::wire,
};
use crate::{
    client::Client,
    duration,
    https::{self, Answer, Bytes, HttpsClient, NoAnswer, Request, Uri, header},
    proto::v1::{
        AcquireRequest, Denial, Permit, ReleaseRequest, ReportRequest, TrafficClass,
        acquire_response::Outcome,
    },
    quota::salesforce::ApiUsage,
};

pub const HELP: &str = "\
Each line of the targets file names an org, the address of its instance, and a file that holds an
access token; # begins a comment. Token files are read anew for each poll, and tokens appear in no
message. An address must be https, or on this machine.

    acme   https://acme.my.salesforce.com   /run/secrets/acme-token

A poll is one call of the operation 'rest' and of the class control: it is charged, and reported.

Examples:
  quotagate poll-limits --targets orgs.txt
  quotagate poll-limits --targets orgs.txt --once";

/// The gentlest pace is a day: older figures say nothing any more.
const PACE: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(86_400);

/// No answer of the limits resource takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The service reads no more of an error message.
const MOST_MESSAGE_BYTES: usize = 1_024;

/// What to poll, and how often.
#[derive(Debug, Args)]
pub struct PollArgs {
    /// A file with a line for each org: name, instance address, token file
    #[arg(long, value_name = "FILE")]
    targets: PathBuf,
    /// Time between two polls of an org, 1m to 24h
    #[arg(long, value_name = "TIME", value_parser = pace, default_value = "5m")]
    interval: Duration,
    /// The version of Salesforce's REST API
    #[arg(long, value_name = "VERSION", value_parser = api_version, default_value = "66.0")]
    api_version: String,
    /// Poll each org once, then end; fails if one could not be read
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    remote: Remote,
}

/// Polls until it is told to stop.
pub async fn poll_limits(args: PollArgs) -> Result<Exit, Fault> {
    let targets = targets(&read(&args.targets)?)?;
    let client = args.remote.connect().await?;
    let https = HttpsClient::new(PATIENCE)
        .map_err(|error| Fault::failure(format!("no certificates to trust: {error}")))?;
    let poller = Poller { client, https, api_version: args.api_version };
    // The orgs follow one another: no burst, however many they are.
    let between = args.interval / u32::try_from(targets.len()).unwrap_or(u32::MAX);
    let mut ticks = tokio::time::interval(between);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut exit = Exit::Done;
    // One for all: what comes during a poll ends the wait after it.
    let mut stop = std::pin::pin!(tokio::signal::ctrl_c());
    for round in 0_u64.. {
        if round > 0 && args.once {
            break;
        }
        for target in &targets {
            if !args.once {
                tokio::select! {
                    _ = ticks.tick() => {}
                    stopped = &mut stop => {
                        stopped?;
                        return Ok(Exit::Done);
                    }
                }
            }
            match poller.poll(target).await {
                Ok(usage) => print(&format!(
                    "{}: Salesforce says {} of {}\n",
                    clean(&target.org),
                    thousands(usage.used),
                    thousands(usage.limit)
                ))?,
                Err(fault) => {
                    eprintln!("org {}:", clean(&target.org));
                    tell(&fault);
                    exit = Exit::Failure;
                }
            }
        }
    }
    Ok(exit)
}

/// An org to poll.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    org: String,
    instance: Uri,
    token_file: PathBuf,
}

/// An access token, which is never shown.
struct Token(header::HeaderValue);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

struct Poller {
    client: Client,
    https: HttpsClient,
    api_version: String,
}

impl Poller {
    /// Reads one org's figure, and reports it.
    async fn poll(&self, target: &Target) -> Result<ApiUsage, Fault> {
        // Whatever can fail before the call does so before the permit.
        let token = token(&read(&target.token_file)?, &target.token_file)?;
        let request = self.request(target, token)?;
        let permit = self.permit(target).await?;
        let permit_id = permit.permit_id.clone();
        match self.https.send(request).await {
            Ok(answer) => self.report(permit, &answer).await,
            Err(NoAnswer::Unreachable(cause)) => {
                // Nothing was sent.
                let unused_calls = None;
                self.client.release(ReleaseRequest { permit_id, unused_calls }).await?;
                Err(Fault::failure(NoAnswer::Unreachable(cause).to_string()))
            }
            Err(fault) => {
                let lost = ReportRequest { permit_id, ..Default::default() };
                self.client.report(lost).await?;
                Err(Fault::failure(fault.to_string()))
            }
        }
    }

    fn request(
        &self,
        target: &Target,
        Token(token): Token,
    ) -> Result<Request<http_body_util::Full<Bytes>>, Fault> {
        let instance = target.instance.to_string();
        let path = format!("services/data/v{}/limits", self.api_version);
        Request::get(format!("{}/{path}", instance.trim_end_matches('/')))
            .header(header::AUTHORIZATION, token)
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, concat!("quotagate/", env!("CARGO_PKG_VERSION")))
            .body(http_body_util::Full::default())
            .map_err(|error| Fault::failure(error.to_string()))
    }

    async fn permit(&self, target: &Target) -> Result<Permit, Fault> {
        let request = AcquireRequest {
            org: target.org.clone(),
            operation: "rest".to_owned(),
            traffic_class: TrafficClass::Control.into(),
            ..Default::default()
        };
        match self.client.acquire(request).await?.outcome {
            Some(Outcome::Permit(permit)) => Ok(permit),
            Some(Outcome::Denial(Denial { message, .. })) => Err(Fault::failure(clean(&message))),
            None => Err(Fault::failure("the server gave no answer")),
        }
    }

    async fn report(&self, permit: Permit, answer: &Answer) -> Result<ApiUsage, Fault> {
        let completed = Instant::now();
        let (usage, limit_info) = figures(answer);
        let report = ReportRequest {
            permit_id: permit.permit_id,
            http_status: answer.status.as_u16().into(),
            limit_info,
            answer_time: answer_time(answer),
            completed_ago: Some(wire(completed.elapsed())?),
            error_message: error_message(answer),
            retry_after: retry_after(answer)?,
            ..Default::default()
        };
        self.client.report(report).await?;
        usage.ok_or_else(|| {
            Fault::failure(format!(
                "the limits resource answered {} without the org's total: the token's user needs \
                 the permission to view setup",
                answer.status
            ))
        })
    }
}

/// The body of a refusal, from its beginning: only it tells one from another.
fn error_message(answer: &Answer) -> String {
    if answer.status.is_success() {
        return String::new();
    }
    let text = String::from_utf8_lossy(&answer.body);
    text[..text.floor_char_boundary(MOST_MESSAGE_BYTES)].to_owned()
}

/// The seconds of a Retry-After, where it gives some.
fn retry_after(answer: &Answer) -> Result<Option<prost_types::Duration>, Fault> {
    let value = answer.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    let seconds = value.and_then(|text| text.trim().parse().ok());
    seconds.map(|seconds| wire(Duration::from_secs(seconds))).transpose()
}

/// What the answer says of the org's total, and how that is reported: as the
/// header has it, which knows use beyond the limit; else as the body has it.
fn figures(answer: &Answer) -> (Option<ApiUsage>, Vec<String>) {
    let values = answer.headers.get_all("sforce-limit-info").iter();
    let mut values: Vec<String> =
        values.filter_map(|value| value.to_str().ok()).take(8).map(str::to_owned).collect();
    let in_header = ApiUsage::first_of(values.iter().map(String::as_str));
    if in_header.is_some() || !answer.status.is_success() {
        return (in_header, values);
    }
    let in_body = std::str::from_utf8(&answer.body).ok().and_then(ApiUsage::of_limits);
    if let Some(ApiUsage { used, limit }) = in_body {
        values = vec![format!("api-usage={used}/{limit}")];
    }
    (in_body, values)
}

/// The answer's Date.
fn answer_time(answer: &Answer) -> Option<prost_types::Timestamp> {
    let date = answer.headers.get(header::DATE)?.to_str().ok()?;
    let since = httpdate::parse_http_date(date).ok()?.duration_since(UNIX_EPOCH).ok()?;
    let seconds = i64::try_from(since.as_secs()).ok()?;
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

/// The targets of a file, or its first fault.
fn targets(text: &str) -> Result<Vec<Target>, Fault> {
    let mut targets = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        let [org, instance, token_file] = words[..] else {
            if words.is_empty() {
                continue;
            }
            return Err(Fault::usage(format!(
                "line {number} of the targets must name an org, an address and a token file"
            )));
        };
        let instance = instance.parse().ok().filter(https::keeps_secrets).ok_or_else(|| {
            Fault::usage(format!(
                "line {number} of the targets: the address must begin with https://, or be on \
                 this machine: a token goes there"
            ))
        })?;
        targets.push(Target { org: org.to_owned(), instance, token_file: token_file.into() });
    }
    if targets.is_empty() {
        return Err(Fault::usage("the targets file names no org"));
    }
    Ok(targets)
}

fn token(text: &str, file: &Path) -> Result<Token, Fault> {
    let text = text.trim();
    let value = header::HeaderValue::from_str(&format!("Bearer {text}"));
    match value {
        Ok(mut value) if !text.is_empty() => {
            value.set_sensitive(true);
            Ok(Token(value))
        }
        _ => Err(Fault::failure(format!("{} holds no access token", file.display()))),
    }
}

fn read(file: &Path) -> Result<String, Fault> {
    fs::read_to_string(file)
        .map_err(|error| Fault::failure(format!("cannot read {}: {error}", file.display())))
}

fn pace(text: &str) -> Result<Duration, String> {
    let pace = duration::parse(text)?;
    if PACE.contains(&pace) { Ok(pace) } else { Err("must be 1m to 24h".to_owned()) }
}

fn api_version(text: &str) -> Result<String, String> {
    let is_version = text.split_once('.').is_some_and(|(major, minor)| {
        let digits = |part: &str| {
            (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
        };
        digits(major) && digits(minor)
    });
    if is_version { Ok(text.to_owned()) } else { Err("must be as in 66.0".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_targets_file_names_an_org_in_each_line() {
        let text = "# ours\n\nacme https://acme.my.salesforce.com /run/acme # live\n\
                    lab\thttp://127.0.0.1:8080/ lab-token\n";
        let found = targets(text).expect("it is good");
        let orgs: Vec<&str> = found.iter().map(|target| target.org.as_str()).collect();
        assert_eq!(orgs, ["acme", "lab"]);
        assert_eq!(found[1].token_file, Path::new("lab-token"));
        for bad in [
            "",
            "acme https://x",
            "acme http://acme.my.salesforce.com t",
            "acme ftp://x t",
            "a b c d",
        ] {
            assert!(targets(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_is_shown_nowhere() {
        let secret = token(" 00Dx!AQ.secret\n", Path::new("t")).expect("a token");
        assert!(!format!("{secret:?} {:?}", secret.0).contains("secret"));
        for bad in ["", " \n", "two\nsecrets"] {
            let fault = token(bad, Path::new("t")).expect_err("no token");
            assert!(!format!("{fault:?}").contains("secrets"), "{fault:?}");
        }
    }

    #[test]
    fn the_header_is_believed_before_the_body() {
        let body = r#"{"DailyApiRequests":{"Max":100,"Remaining":0}}"#;
        let rows = [
            (200, Some("api-usage=118/100"), body, Some((118, 100)), vec!["api-usage=118/100"]),
            (200, None, body, Some((100, 100)), vec!["api-usage=100/100"]),
            (200, Some("api-usage=x"), body, Some((100, 100)), vec!["api-usage=100/100"]),
            (200, None, "[]", None, vec![]),
            (403, None, body, None, vec![]),
            (403, Some("api-usage=100/100"), "[]", Some((100, 100)), vec!["api-usage=100/100"]),
        ];
        for (status, value, body, usage, reported) in rows {
            let mut answer = Answer {
                status: https::StatusCode::from_u16(status).expect("a status"),
                headers: https::HeaderMap::new(),
                body: Bytes::from(body),
            };
            if let Some(value) = value {
                answer.headers.insert("Sforce-Limit-Info", value.parse().expect("a value"));
            }
            let (found, values) = figures(&answer);
            assert_eq!(found.map(|found| (found.used, found.limit)), usage, "{status} {value:?}");
            assert_eq!(values, reported, "{status} {value:?}");
        }
    }
}
