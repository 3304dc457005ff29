//! `quotagate standin`: something like Salesforce to try an integration on.

use std::{fmt::Write as _, future::Future, net::SocketAddr, time::Duration};

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::{
    exit::{Exit, Fault},
    output::{clean, print},
    table::{Align, Table, count, human, thousands},
};
use crate::{
    duration,
    standin::{Latency, Options, StandIn, Summary, WindowSummary},
};

pub const HELP: &str = "\
Try your integration without an org. It answers on Salesforce's paths (query, sobjects, composite,
limits, conversation entries …), enforces the published limits strictly, and remembers every call:
what it refuses, Salesforce would have refused. There is no data behind it.

A session is ORG!USER, in whatever names you like:

    Authorization: Bearer acme!alice

GET /standin says as JSON what came, and how many calls the worst window of each limit saw; a
worst window above its max is an overrun. The same is printed at the end (Ctrl-C or SIGTERM).

Examples:
  quotagate standin
  curl -H 'Authorization: Bearer acme!alice' http://127.0.0.1:7480/services/data/v66.0/limits
  quotagate standin --scale 0.0333                a minute passes in 2 s
  quotagate standin --org-limit 1000 --foreign 0.5 --header-lag 30s";

/// How it behaves.
#[derive(Debug, Args)]
pub struct StandInArgs {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7480")]
    listen: SocketAddr,
    /// Multiplies the length of every window: with 0.0333 a minute passes in 2 s
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = scale)]
    scale: f64,
    /// The limit of each org's total, in a day times the scale
    #[arg(long, value_name = "N", default_value_t = Options::default().org_limit.max)]
    org_limit: u64,
    /// What others use of each org's total, in units a second, whatever the scale
    #[arg(long, value_name = "PER_SECOND", default_value = "0", value_parser = rate)]
    foreign: f64,
    /// How old the figure in Sforce-Limit-Info is, whatever the scale
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "0s")]
    header_lag: Duration,
    /// Say Retry-After where a user's limit refuses; the real core API does not
    #[arg(long)]
    says_retry_after: bool,
    /// How long each answer takes, whatever the scale
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "0s")]
    latency: Duration,
}

impl StandInArgs {
    fn options(&self) -> Options {
        let mut options = Options::default();
        options.org_limit.max = self.org_limit;
        Options {
            address: self.listen,
            foreign_units_per_second: self.foreign,
            header_lag: self.header_lag,
            says_retry_after: self.says_retry_after,
            latency: Latency::fixed(self.latency),
            ..options.scaled(self.scale)
        }
    }
}

/// Runs the stand-in until it is told to stop, then says what it saw.
pub async fn standin(args: StandInArgs) -> Result<Exit, Fault> {
    // Before anybody is told that it runs: a signal must not be lost.
    let told_to_stop = told_to_stop()?;
    let salesforce = StandIn::start(args.options())
        .await
        .map_err(|error| Fault::failure(format!("cannot listen on {}: {error}", args.listen)))?;
    print(&format!("stand-in  {}\n", salesforce.url()))?;
    told_to_stop.await;
    let summary = salesforce.handle.summary();
    // A connection that never ends must not hold up the summary.
    let _ = tokio::time::timeout(Duration::from_secs(1), salesforce.stop()).await;
    print(&summary_text(&summary))?;
    Ok(Exit::Done)
}

/// Resolves at SIGINT or SIGTERM, also at one that comes before it is awaited.
fn told_to_stop() -> std::io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

fn summary_text(summary: &Summary) -> String {
    let counts = summary.counts;
    let mut text = format!(
        "{} in {}, {} refused, {}\n",
        count(counts.arrived(), "call"),
        human(Duration::from_millis(summary.elapsed_us / 1_000)),
        thousands(counts.refused()),
        count(summary.overruns as u64, "overrun"),
    );
    if counts.forgotten > 0 {
        _ = writeln!(text, "the first {} are forgotten below", thousands(counts.forgotten));
    }
    let mut table = Table::new([
        ("ORG", Align::Left),
        ("USER", Align::Left),
        ("OPERATION", Align::Left),
        ("PER", Align::Left),
        ("CALLS", Align::Right),
        ("REFUSED", Align::Right),
        ("WORST WINDOW", Align::Right),
        ("MAX", Align::Right),
        ("", Align::Left),
    ]);
    for window in &summary.windows {
        let WindowSummary { org, user, operation, limit, worst, arrivals, refused } = window;
        table.row([
            clean(org),
            clean(user.as_deref().unwrap_or("(all)")),
            operation.unwrap_or("(all)").to_owned(),
            human(limit.window),
            thousands(*arrivals),
            thousands(*refused),
            thousands(*worst),
            thousands(limit.max),
            if *worst > limit.max { "← overrun".to_owned() } else { String::new() },
        ]);
    }
    if !table.is_empty() {
        text.push('\n');
        text.push_str(&table.render());
    }
    text
}

/// Days times the largest are still a length of time, and a minute times the
/// smallest is more than a millisecond.
fn scale(text: &str) -> Result<f64, String> {
    let scale: f64 = text.parse().map_err(|_| "is not a number")?;
    if (0.0001..=100.0).contains(&scale) { Ok(scale) } else { Err("must be 0.0001 to 100".into()) }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "is not a number")?;
    if (0.0..=1e6).contains(&rate) { Ok(rate) } else { Err("must be 0 to 1000000".into()) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::standin::{Counts, Limit, options::GET_ENTRIES};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: StandInArgs,
    }

    #[test]
    fn windows_are_scaled_and_what_is_typed_is_taken_as_it_is() {
        let line = "x --scale 0.1 --latency 50ms --header-lag 3s --foreign 2 --org-limit 7";
        let options = Line::parse_from(line.split(' ')).args.options();
        assert_eq!(options.user_limits[0].limit.window, Duration::from_secs(6));
        assert_eq!(options.org_limit.max, 7);
        assert_eq!(options.org_limit.window, Duration::from_secs(8_640));
        assert_eq!(options.latency, Latency::fixed(Duration::from_millis(50)));
        assert_eq!(options.header_lag, Duration::from_secs(3));
        assert!((options.foreign_units_per_second - 2.0).abs() < f64::EPSILON);
        let plain = Options { address: ([127, 0, 0, 1], 7480).into(), ..Options::default() };
        assert_eq!(Line::parse_from(["x"]).args.options(), plain);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for line in ["--scale 0", "--scale NaN", "--scale 101", "--foreign -1", "--listen here"] {
            assert!(Line::try_parse_from(format!("x {line}").split(' ')).is_err(), "{line}");
        }
    }

    #[test]
    fn the_summary_shows_the_worst_windows() {
        let window = WindowSummary {
            org: "acme".into(),
            user: Some("alice".into()),
            operation: Some(GET_ENTRIES),
            limit: Limit::sliding(90, Duration::from_secs(60)),
            worst: 91,
            arrivals: 1_200,
            refused: 1,
        };
        let total = WindowSummary {
            user: None,
            operation: None,
            limit: Limit::sliding(15_000, Duration::from_secs(86_400)),
            worst: 40,
            arrivals: 40,
            refused: 0,
            ..window.clone()
        };
        let counts = Counts { accepted: 1_239, refused_by_user: 1, ..Counts::default() };
        let summary =
            Summary { elapsed_us: 90_000_000, counts, overruns: 1, windows: vec![total, window] };
        assert_eq!(
            summary_text(&summary),
            "1,240 calls in 1 min 30 s, 1 refused, 1 overrun\n\
             \n\
             \x20 ORG   USER   OPERATION                 PER    CALLS  REFUSED  WORST WINDOW     MAX\n\
             \x20 acme  (all)  (all)                     24 h      40        0            40  15,000\n\
             \x20 acme  alice  conversation-entries.get  1 min  1,200        1            91      90  ← overrun\n"
        );
        let nothing =
            Summary { elapsed_us: 0, counts: Counts::default(), overruns: 0, windows: vec![] };
        assert_eq!(summary_text(&nothing), "0 calls in 0 s, 0 refused, 0 overruns\n");
    }
}
