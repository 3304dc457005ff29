//! From spans that have ended to the collector: a queue of fixed length and one
//! task. Who ends a span never waits: where the queue is full, the span is counted
//! and gone.

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use opentelemetry::Context;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{Span, SpanData, SpanExporter as _, SpanProcessor},
};
use tokio::{
    sync::{
        mpsc::{self, error::TrySendError},
        watch,
    },
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use super::collector::EXPORT;
use crate::metrics::{Metrics, SpanOutcome};

/// Spans that wait to be sent: some megabytes.
const MOST: usize = 8_192;

/// Spans that are sent at once.
const BATCH: usize = 512;

/// A batch that is not full waits so long for more.
const PACE: Duration = Duration::from_secs(1);

/// How long what is recorded may be sent at the end.
const FINISH: Duration = Duration::from_secs(5);

/// How often a line of the log may say that the collector does not take them.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// What is to be sent, and the task that sends it.
#[derive(Debug)]
pub struct Queue {
    spans: mpsc::Sender<SpanData>,
    metrics: Arc<Metrics>,
    finish: watch::Sender<bool>,
    sends: Mutex<Option<JoinHandle<()>>>,
}

impl Queue {
    /// Sends what comes from now on.
    pub fn start(exporter: SpanExporter, metrics: Arc<Metrics>) -> Self {
        let (spans, ended) = mpsc::channel(MOST);
        let finish = watch::Sender::new(false);
        let sender = Sender { exporter, metrics: Arc::clone(&metrics), said: None };
        let sends = tokio::spawn(sender.send_all(ended, finish.subscribe()));
        Self { spans, metrics, finish, sends: Mutex::new(Some(sends)) }
    }

    /// Where spans come in when they end.
    pub fn processor(&self) -> impl SpanProcessor + 'static {
        Entrance { spans: self.spans.clone(), metrics: Arc::clone(&self.metrics) }
    }

    /// Sends what is there; what comes later is dropped.
    pub async fn finish(&self) {
        self.finish.send_replace(true);
        let sends = mem::take(&mut *self.sends.lock().unwrap_or_else(PoisonError::into_inner));
        let Some(mut sends) = sends else { return };
        if timeout(FINISH, &mut sends).await.is_err() {
            sends.abort();
            tracing::warn!("not every span was sent within {FINISH:?}: the rest is lost");
        }
    }
}

#[derive(Debug)]
struct Entrance {
    spans: mpsc::Sender<SpanData>,
    metrics: Arc<Metrics>,
}

impl SpanProcessor for Entrance {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if let Err(TrySendError::Full(_) | TrySendError::Closed(_)) = self.spans.try_send(span) {
            self.metrics.spans(SpanOutcome::Dropped, 1);
        }
    }

    /// The task sends by itself.
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

struct Sender {
    exporter: SpanExporter,
    metrics: Arc<Metrics>,
    /// When the log was last told of a failure.
    said: Option<Instant>,
}

impl Sender {
    async fn send_all(
        mut self,
        mut ended: mpsc::Receiver<SpanData>,
        mut finish: watch::Receiver<bool>,
    ) {
        loop {
            let mut batch = Vec::new();
            tokio::select! {
                biased;
                _ = finish.wait_for(|finish| *finish) => ended.close(),
                _ = ended.recv_many(&mut batch, BATCH) => {}
            }
            if ended.is_closed() && batch.is_empty() {
                break;
            }
            if batch.len() < BATCH {
                tokio::select! {
                    biased;
                    _ = finish.wait_for(|finish| *finish) => {}
                    () = sleep(PACE) => {}
                }
                while batch.len() < BATCH
                    && let Ok(span) = ended.try_recv()
                {
                    batch.push(span);
                }
            }
            self.send(batch).await;
        }
        loop {
            let mut batch = Vec::new();
            if ended.recv_many(&mut batch, BATCH).await == 0 {
                return;
            }
            self.send(batch).await;
        }
    }

    async fn send(&mut self, batch: Vec<SpanData>) {
        let count = batch.len();
        let sent = timeout(EXPORT, self.exporter.export(batch)).await;
        let why = match sent {
            Ok(Ok(())) => {
                self.metrics.spans(SpanOutcome::Sent, count);
                if self.said.take().is_some() {
                    tracing::info!("the collector takes traces again");
                }
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {EXPORT:?}"),
        };
        self.metrics.spans(SpanOutcome::Failed, count);
        if self.said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
            self.said = Some(Instant::now());
            tracing::warn!(why, "the collector does not take traces; nothing else is concerned");
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tokio::net::TcpListener;

    use super::*;
    use crate::{quota::Wall, trace::Collector};

    #[tokio::test]
    async fn who_ends_a_span_never_waits_and_what_is_too_much_is_counted() {
        // It takes connections, and says nothing.
        let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let endpoint = format!("http://{}", silent.local_addr().expect("it is bound"));
        let collector = Collector {
            endpoint: endpoint.parse().expect("a URL"),
            ca: None,
            share: "1".parse().expect("a share"),
        };
        let metrics = Arc::new(Metrics::new("test", Wall(0)));
        let exporter = collector.exporter(&super::super::collector::resource("test"));
        let queue = Queue::start(exporter.expect("no files"), Arc::clone(&metrics));
        let provider = SdkTracerProvider::builder().with_span_processor(queue.processor());
        let tracer = provider.build().tracer("test");
        // This thread never yields, so the task takes nothing out.
        for _ in 0..MOST + 7 {
            tracer.start("one").end();
        }
        let text = metrics.encode();
        assert!(text.contains("quotagate_trace_spans_total{outcome=\"dropped\"} 7"), "{text}");
    }
}
