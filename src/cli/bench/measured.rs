//! What a run measured, and how it is told.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use hdrhistogram::Histogram;
use serde_json::json;

use crate::cli::table::{Align, Table, count, human, percent, thousands};

/// The longest latency that is told apart.
const MAX_LATENCY_NANOS: u64 = 600_000_000_000;

const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// Cells of the longest bar.
const BAR: u64 = 40;

/// What one worker, or all of them, measured. Latencies are nanoseconds of
/// Acquire alone.
#[derive(Debug)]
pub struct Tally {
    pub granted: Histogram<u64>,
    pub denied: Histogram<u64>,
    /// Calls of all permits.
    pub calls: u64,
    /// Denials by their reason.
    pub reasons: BTreeMap<&'static str, u64>,
    /// Errors by their text.
    pub errors: BTreeMap<String, u64>,
}

/// The result of a run.
#[derive(Debug)]
pub struct Measured {
    pub tally: Tally,
    pub took: Duration,
    /// The rate that was asked for, a second, and how many requests of it were
    /// never sent, because all that may be in flight were.
    pub pace: Option<Paced>,
}

/// How a rate was kept.
#[derive(Clone, Copy, Debug)]
pub struct Paced {
    pub rate: u64,
    pub unsent: u64,
}

impl Tally {
    pub fn new() -> Self {
        let (granted, denied) = (histogram(), histogram());
        Self { granted, denied, calls: 0, reasons: BTreeMap::new(), errors: BTreeMap::new() }
    }

    pub fn add(&mut self, other: Self) {
        for (mine, theirs) in [(&mut self.granted, other.granted), (&mut self.denied, other.denied)]
        {
            mine.add(theirs).expect("the bounds are the same");
        }
        self.calls += other.calls;
        for (reason, times) in other.reasons {
            *self.reasons.entry(reason).or_default() += times;
        }
        for (text, times) in other.errors {
            *self.errors.entry(text).or_default() += times;
        }
    }

    pub fn granted(&mut self, took: Duration, calls: u32) {
        self.granted.saturating_record(nanos(took));
        self.calls += u64::from(calls);
    }

    pub fn denied(&mut self, took: Duration, reason: &'static str) {
        self.denied.saturating_record(nanos(took));
        *self.reasons.entry(reason).or_default() += 1;
    }

    pub fn error(&mut self, text: String) {
        *self.errors.entry(text).or_default() += 1;
    }
}

impl Measured {
    fn errors(&self) -> u64 {
        self.tally.errors.values().sum()
    }

    fn decided(&self) -> u64 {
        self.tally.granted.len() + self.tally.denied.len()
    }

    /// For people; with the histogram, where it is wanted.
    pub fn text(&self, histogram: bool) -> String {
        let (granted, denied) = (self.tally.granted.len(), self.tally.denied.len());
        let decided = self.decided();
        let mut out = String::new();
        _ = writeln!(
            out,
            "{} in {}: {} a second",
            count(decided, "decision"),
            human(self.took),
            thousands(rate(decided, self.took))
        );
        _ = writeln!(
            out,
            "{} granted ({}), {} denied, {}",
            thousands(granted),
            percent(granted, decided),
            thousands(denied),
            count(self.errors(), "error")
        );
        if self.tally.calls != granted {
            let a_second = thousands(rate(self.tally.calls, self.took));
            _ = writeln!(out, "{} granted: {a_second} a second", count(self.tally.calls, "call"));
        }
        if let Some(Paced { rate, unsent }) = self.pace {
            _ = writeln!(
                out,
                "{} a second asked for; latencies count from when each was due",
                thousands(rate)
            );
            if unsent > 0 {
                let unsent = count(unsent, "request");
                _ = writeln!(out, "{unsent} due and never sent: all that may be in flight were");
            }
        }
        out.push('\n');
        out.push_str(&self.latencies());
        if histogram && decided > 0 {
            out.push('\n');
            out.push_str(&self.bars());
        }
        for (reason, times) in &self.tally.reasons {
            _ = writeln!(out, "  {} × denied: {reason}", thousands(*times));
        }
        for (text, times) in &self.tally.errors {
            _ = writeln!(out, "  {} × {text}", thousands(*times));
        }
        out
    }

    fn latencies(&self) -> String {
        let mut table = Table::new(
            [("LATENCY", Align::Left)]
                .into_iter()
                .chain(QUANTILES.map(|(name, _)| (name, Align::Right)))
                .chain([("max", Align::Right)]),
        );
        for (name, histogram) in [("granted", &self.tally.granted), ("denied", &self.tally.denied)]
        {
            if !histogram.is_empty() {
                table.row(
                    [name.to_owned()]
                        .into_iter()
                        .chain(QUANTILES.map(|(_, q)| millis(histogram.value_at_quantile(q))))
                        .chain([millis(histogram.max())]),
                );
            }
        }
        if table.is_empty() { String::new() } else { table.render() }
    }

    /// A line for each step of latency, its bar as long as its share.
    fn bars(&self) -> String {
        let steps = self.steps();
        let most = steps.iter().map(|(_, times)| *times).max().unwrap_or(0).max(1);
        let mut table =
            Table::new([("WITHIN", Align::Right), ("DECISIONS", Align::Right), ("", Align::Left)]);
        for (within, times) in steps {
            let cells = times * BAR / most + u64::from(times > 0 && times * BAR < most);
            let bar = "█".repeat(usize::try_from(cells).expect("forty at most"));
            table.row([millis(within), thousands(times), bar]);
        }
        table.render()
    }

    /// How many decisions took at most so many nanoseconds, and longer than the
    /// step before: 1, 2 or 5 times a power of ten, from the first to the last
    /// that has any.
    fn steps(&self) -> Vec<(u64, u64)> {
        let mut all = self.tally.granted.clone();
        all.add(&self.tally.denied).expect("the bounds are the same");
        let mut counted: BTreeMap<u64, u64> = BTreeMap::new();
        for recorded in all.iter_recorded() {
            let nanos = recorded.value_iterated_to();
            let edge = edges().find(|edge| nanos <= *edge).unwrap_or(u64::MAX);
            *counted.entry(edge).or_default() += recorded.count_since_last_iteration();
        }
        let first = counted.keys().next().copied().unwrap_or(u64::MAX);
        let last = counted.keys().next_back().copied().unwrap_or(0);
        edges()
            .filter(|edge| (first..=last).contains(edge))
            .map(|edge| (edge, counted.get(&edge).copied().unwrap_or(0)))
            .collect()
    }

    pub fn json(&self) -> serde_json::Value {
        let micros = |nanos: u64| nanos as f64 / 1_000.0;
        let latency = |histogram: &Histogram<u64>| {
            let mut figures: serde_json::Map<_, _> = QUANTILES
                .iter()
                .map(|(name, q)| {
                    ((*name).to_owned(), json!(micros(histogram.value_at_quantile(*q))))
                })
                .collect();
            figures.insert("max".into(), json!(micros(histogram.max())));
            figures
        };
        let steps: Vec<_> = self
            .steps()
            .into_iter()
            .map(|(within, times)| json!({"withinMicros": micros(within), "decisions": times}))
            .collect();
        let mut json = json!({
            "seconds": self.took.as_secs_f64(),
            "decisionsPerSecond": rate(self.decided(), self.took),
            "callsPerSecond": rate(self.tally.calls, self.took),
            "granted": self.tally.granted.len(),
            "grantedCalls": self.tally.calls,
            "denied": self.tally.denied.len(),
            "errors": self.errors(),
            "grantedLatencyMicros": latency(&self.tally.granted),
            "deniedLatencyMicros": latency(&self.tally.denied),
            "latencyHistogram": steps,
            "denialReasons": self.tally.reasons,
            "errorTexts": self.tally.errors,
        });
        if let Some(Paced { rate, unsent }) = self.pace {
            json["askedPerSecond"] = json!(rate);
            json["unsent"] = json!(unsent);
        }
        json
    }
}

/// The steps of a histogram in nanoseconds: from a microsecond to beyond the longest
/// latency.
fn edges() -> impl Iterator<Item = u64> {
    (3..13).flat_map(|power| [1, 2, 5].map(|digit| digit * 10_u64.pow(power)))
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MAX_LATENCY_NANOS, 3)
        .expect("the bounds are good: 1 < 10 min, 3 digits")
}

/// A length of time in nanoseconds, as histograms and bars take it.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Events a second, rounded down.
pub fn rate(events: u64, time: Duration) -> u64 {
    let nanos = time.as_nanos().max(1);
    u64::try_from(u128::from(events) * 1_000_000_000 / nanos).unwrap_or(u64::MAX)
}

/// Nanoseconds as milliseconds with three decimals, so that columns compare.
fn millis(nanos: u64) -> String {
    let micros = nanos / 1_000;
    format!("{}.{:03} ms", thousands(micros / 1_000), micros % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(tally: Tally, took: Duration) -> Measured {
        Measured { tally, took, pace: None }
    }

    #[test]
    fn a_run_is_told_with_rates_and_percentiles() {
        let mut tally = Tally::new();
        for micros in 1..=1_000 {
            tally.granted(Duration::from_micros(micros), 1);
        }
        let mut other = Tally::new();
        other.denied(Duration::from_millis(2), "ORG_LIMIT");
        other.error("no".into());
        other.error("no".into());
        tally.add(other);
        let measured = of(tally, Duration::from_millis(500));
        assert_eq!(
            measured.text(false),
            "1,001 decisions in 500 ms: 2,002 a second\n\
             1,000 granted (99.9 %), 1 denied, 2 errors\n\n\
             \x20 LATENCY       p50       p90       p99     p99.9       max\n\
             \x20 granted  0.500 ms  0.900 ms  0.990 ms  0.999 ms  1.000 ms\n\
             \x20 denied   2.000 ms  2.000 ms  2.000 ms  2.000 ms  2.000 ms\n\
             \x20 1 × denied: ORG_LIMIT\n\
             \x20 2 × no\n"
        );
        let json = measured.json();
        assert_eq!((&json["granted"], &json["errors"]), (&json!(1_000), &json!(2)));
        assert_eq!(json["denialReasons"], json!({"ORG_LIMIT": 1}));
    }

    #[test]
    fn calls_are_told_where_permits_have_several_and_the_rate_where_one_was_asked_for() {
        let mut tally = Tally::new();
        for _ in 0..10 {
            tally.granted(Duration::from_millis(1), 100);
        }
        let mut measured = of(tally, Duration::from_secs(2));
        measured.pace = Some(Paced { rate: 6, unsent: 2 });
        let text = measured.text(false);
        let head: Vec<_> = text.lines().take(5).collect();
        assert_eq!(
            head,
            [
                "10 decisions in 2 s: 5 a second",
                "10 granted (100.0 %), 0 denied, 0 errors",
                "1,000 calls granted: 500 a second",
                "6 a second asked for; latencies count from when each was due",
                "2 requests due and never sent: all that may be in flight were",
            ]
        );
        let json = measured.json();
        assert_eq!((&json["callsPerSecond"], &json["unsent"]), (&json!(500), &json!(2)));
    }

    #[test]
    fn a_histogram_counts_each_decision_once_and_shows_gaps() {
        let mut tally = Tally::new();
        for (micros, times) in [(150_u64, 80), (900, 1), (5_100, 20)] {
            for _ in 0..times {
                tally.granted(Duration::from_micros(micros), 1);
            }
        }
        tally.denied(Duration::from_micros(140), "ORG_LIMIT");
        let measured = of(tally, Duration::from_secs(1));
        let steps: Vec<_> =
            measured.steps().iter().map(|(within, times)| (within / 1_000, *times)).collect();
        assert_eq!(steps, [(200, 81), (500, 0), (1_000, 1), (2_000, 0), (5_000, 0), (10_000, 20)]);
        assert_eq!(
            measured.bars(),
            format!(
                "     WITHIN  DECISIONS\n\
                 \x20  0.200 ms         81  {}\n\
                 \x20  0.500 ms          0\n\
                 \x20  1.000 ms          1  █\n\
                 \x20  2.000 ms          0\n\
                 \x20  5.000 ms          0\n\
                 \x20 10.000 ms         20  {}\n",
                "█".repeat(40),
                "█".repeat(9)
            )
        );
        assert_eq!(of(Tally::new(), Duration::from_secs(1)).steps(), []);
    }

    #[test]
    fn rates_and_latencies_are_rounded_down() {
        assert_eq!(rate(10, Duration::from_secs(3)), 3);
        assert_eq!(rate(1, Duration::ZERO), 1_000_000_000);
        assert_eq!(millis(1_234_567_890), "1,234.567 ms");
        assert_eq!(millis(999), "0.000 ms");
    }
}
