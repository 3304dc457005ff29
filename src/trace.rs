//! Traces: what became of a request, where, and how long each part of it took,
//! for an OpenTelemetry collector.
//!
//! A request that comes with a W3C trace context belongs to its caller's trace,
//! and is recorded if the caller's is; of the others a share is recorded. What is
//! recorded has a [`Span`] at the edge, one at the node that sends it on, one at
//! the owner, and one for each time that it waits, or has the store set quota
//! aside. All others have an empty [`Span`]: what is done with it costs a
//! comparison, and without a collector nothing is ever recorded.
//!
//! `collector` says where they are sent, `queue` sends them without ever holding
//! up a request, `context` reads what comes along with one.

mod collector;
mod context;
mod queue;

use std::{borrow::Cow, fmt, sync::Arc};

use opentelemetry::{
    Context, KeyValue,
    trace::{SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _},
};
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use tonic::codegen::http::HeaderMap;

use self::queue::Queue;
pub use self::{
    collector::{BadEndpoint, CannotTrace, Collector, Endpoint, Share},
    context::trace_id,
};
use crate::metrics::Metrics;

/// Records traces, or does not. Clones share one collector.
#[derive(Clone, Debug, Default)]
pub struct Traces(Option<Arc<Recorder>>);

struct Recorder {
    tracer: SdkTracer,
    queue: Queue,
}

impl Traces {
    /// Nothing is recorded.
    #[must_use]
    pub fn off() -> Self {
        Self::default()
    }

    /// What is recorded goes to this collector, as that of the node with a name.
    /// Needs a runtime; the collector is connected to when there is something to
    /// send.
    ///
    /// # Errors
    /// Its files are of no use, or what is in the environment for it.
    pub fn to(
        collector: &Collector,
        node: &str,
        metrics: Arc<Metrics>,
    ) -> Result<Self, CannotTrace> {
        let resource = collector::resource(node);
        let queue = Queue::start(collector.exporter(&resource)?, metrics);
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(
                collector.share.ratio(),
            ))))
            .with_span_processor(queue.processor())
            .build();
        let tracer = provider.tracer(env!("CARGO_PKG_NAME"));
        Ok(Self(Some(Arc::new(Recorder { tracer, queue }))))
    }

    /// The span of a request that has just come, with these headers. One that
    /// belongs to no trace begins one, where it may: not at a node that was asked
    /// by another one, which has decided that already.
    #[must_use]
    pub fn serve(&self, method: &str, headers: &HeaderMap, may_begin: bool) -> Span {
        let method = method.trim_start_matches('/');
        let attributes = || {
            let method = KeyValue::new("rpc.method", method.to_owned());
            vec![KeyValue::new("rpc.system.name", "grpc"), method]
        };
        self.begin(method, headers, may_begin, attributes)
    }

    /// The same of a request that has come by HTTP, to a route with placeholders
    /// for what differs.
    #[must_use]
    pub fn serve_http(&self, name: &str, method: &str, route: &str, headers: &HeaderMap) -> Span {
        let attributes = || {
            vec![
                KeyValue::new("http.request.method", method.to_owned()),
                KeyValue::new("http.route", route.to_owned()),
            ]
        };
        self.begin(name, headers, true, attributes)
    }

    fn begin(
        &self,
        name: &str,
        headers: &HeaderMap,
        may_begin: bool,
        attributes: impl FnOnce() -> Vec<KeyValue>,
    ) -> Span {
        let Some(recorder) = &self.0 else { return Span::default() };
        let parent = match context::remote(headers) {
            Some(remote) if remote.is_sampled() => Context::new().with_remote_span_context(remote),
            None if may_begin => Context::new(),
            _ => return Span::default(),
        };
        recorder.span(name.to_owned(), SpanKind::Server, attributes(), &parent)
    }

    /// Sends what is recorded, for some seconds at most: what is recorded from now
    /// on is lost.
    pub async fn finish(&self) {
        if let Some(recorder) = &self.0 {
            recorder.queue.finish().await;
        }
    }
}

impl Recorder {
    fn span(
        self: &Arc<Self>,
        name: impl Into<Cow<'static, str>>,
        kind: SpanKind,
        attributes: Vec<KeyValue>,
        parent: &Context,
    ) -> Span {
        let builder = self.tracer.span_builder(name).with_kind(kind).with_attributes(attributes);
        let span = self.tracer.build_with_context(builder, parent);
        if !opentelemetry::trace::Span::is_recording(&span) {
            return Span::default();
        }
        Span(Some(Recorded { context: parent.with_span(span), recorder: Arc::clone(self) }))
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("queue", &self.queue).finish_non_exhaustive()
    }
}

tokio::task_local! {
    static CURRENT: Span;
}

/// A part of a recorded request; or nothing, which most are. It lasts until its
/// last clone is dropped, so also where its caller has gone.
#[derive(Clone, Default)]
pub struct Span(Option<Recorded>);

#[derive(Clone)]
struct Recorded {
    context: Context,
    recorder: Arc<Recorder>,
}

impl Span {
    /// The span that this task is [`within`](Self::within); else an empty one.
    #[must_use]
    pub fn current() -> Self {
        CURRENT.try_with(Self::clone).unwrap_or_default()
    }

    /// Whether it is recorded: what is costly to say needs to be said only then.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        self.0.is_some()
    }

    /// Carries out `work`, for which this span is the current one. The span lasts
    /// as long as `work` does.
    pub async fn within<F: Future>(self, work: F) -> F::Output {
        CURRENT.scope(self, work).await
    }

    /// A part that this process does itself.
    #[must_use]
    pub fn part(&self, name: &'static str) -> Self {
        self.child(name, SpanKind::Internal, Vec::new())
    }

    /// A part that somebody else is asked for, by gRPC.
    #[must_use]
    pub fn ask(&self, name: &'static str, address: &str) -> Self {
        if self.0.is_none() {
            return Self::default();
        }
        let attributes = vec![
            KeyValue::new("rpc.system.name", "grpc"),
            KeyValue::new("server.address", address.to_owned()),
        ];
        self.child(name, SpanKind::Client, attributes)
    }

    fn child(&self, name: &'static str, kind: SpanKind, attributes: Vec<KeyValue>) -> Self {
        match &self.0 {
            Some(Recorded { context, recorder }) => recorder.span(name, kind, attributes, context),
            None => Self::default(),
        }
    }

    /// Notes something about it.
    pub fn note(&self, key: &'static str, value: &str) {
        if let Some(Recorded { context, .. }) = &self.0 {
            context.span().set_attribute(KeyValue::new(key, value.to_owned()));
        }
    }

    /// Notes a number.
    pub fn count(&self, key: &'static str, value: u64) {
        if let Some(Recorded { context, .. }) = &self.0 {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            context.span().set_attribute(KeyValue::new(key, value));
        }
    }

    /// It came to a bad end that is not its caller's doing.
    pub fn fail(&self, why: &str) {
        if let Some(Recorded { context, .. }) = &self.0 {
            context.span().set_status(Status::error(why.to_owned()));
        }
    }

    /// The trace's id, as it stands in logs: 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> Option<String> {
        let Recorded { context, .. } = self.0.as_ref()?;
        Some(context.span().span_context().trace_id().to_string())
    }

    /// What goes along with a request that is a part of it: the values of
    /// `traceparent` and, if there is one, of `tracestate`.
    #[must_use]
    pub fn headers(&self) -> Option<(String, Option<String>)> {
        let Recorded { context, .. } = self.0.as_ref()?;
        let span = context.span();
        let (parent, state) = context::written(span.span_context());
        Some((parent, state))
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Span").field(&self.trace_id()).finish()
    }
}
