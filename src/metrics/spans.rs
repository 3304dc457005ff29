//! What became of the spans of traces.

use prometheus_client::{metrics::counter::Counter, registry::Registry};

use super::{Counters, family};

/// What became of a span that was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanOutcome {
    /// The collector took it.
    Sent,
    /// The collector did not take it, or did not say.
    Failed,
    /// Too many waited to be sent already, or the process ends.
    Dropped,
}

/// In the order of [`SpanOutcome`].
const OUTCOMES: [&str; 3] = ["sent", "failed", "dropped"];

#[derive(Debug)]
pub(super) struct Spans([Counter; OUTCOMES.len()]);

impl Spans {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let help = "Spans of traces that were recorded, by what became of them";
        let spans: Counters<1> = family(registry, "trace_spans", help);
        Self(OUTCOMES.map(|outcome| spans.get_or_create_owned(&[("outcome", outcome)])))
    }
}

impl super::Metrics {
    /// This became of so many spans.
    pub fn spans(&self, outcome: SpanOutcome, count: usize) {
        self.spans.0[outcome as usize].inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }
}
