//! A collector of traces in this process.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use tokio::{
    net::TcpListener,
    time::{Instant, sleep},
};
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

/// Longer than anything may take here, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// Keeps what it is sent. Clones are the same one.
#[derive(Clone, Default)]
pub struct Collector {
    kept: Arc<Mutex<Vec<Kept>>>,
}

/// A span, as far as the tests look at it.
#[derive(Clone, Debug)]
pub struct Kept {
    pub service: String,
    pub node: String,
    pub span: Span,
}

impl Collector {
    /// Listens on a free port of loopback, for as long as the runtime lives.
    pub async fn start() -> (Self, SocketAddr) {
        let collector = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let service = TraceServiceServer::new(collector.clone());
        let served = Server::builder().add_service(service);
        tokio::spawn(served.serve_with_incoming(TcpIncoming::from(listener)));
        (collector, address)
    }

    /// All that was sent, of a trace or of all.
    pub fn spans(&self, trace_id: Option<&str>) -> Vec<Kept> {
        let kept = self.kept.lock().expect("nobody panics under the lock");
        let is_asked = |kept: &&Kept| trace_id.is_none_or(|id| hex(&kept.span.trace_id) == id);
        kept.iter().filter(is_asked).cloned().collect()
    }

    /// Waits until a trace is as it should be.
    pub async fn until(&self, trace_id: &str, is_so: impl Fn(&[Kept]) -> bool) -> Vec<Kept> {
        let start = Instant::now();
        loop {
            let spans = self.spans(Some(trace_id));
            if is_so(&spans) {
                return spans;
            }
            assert!(start.elapsed() < PATIENCE, "{spans:#?}");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Kept {
    pub fn id(&self) -> String {
        hex(&self.span.span_id)
    }

    pub fn parent(&self) -> String {
        hex(&self.span.parent_span_id)
    }

    pub fn kind(&self) -> SpanKind {
        self.span.kind()
    }

    pub fn has_failed(&self) -> bool {
        self.span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error)
    }

    /// The text of an attribute.
    pub fn attribute(&self, key: &str) -> Option<String> {
        text(&self.span.attributes, key)
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut kept = self.kept.lock().expect("nobody panics under the lock");
        for of_resource in request.into_inner().resource_spans {
            let attributes = of_resource.resource.unwrap_or_default().attributes;
            let of = |key| text(&attributes, key).unwrap_or_default();
            let (service, node) = (of("service.name"), of("service.instance.id"));
            for span in of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                kept.push(Kept { service: service.clone(), node: node.clone(), span });
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.clone()?.value? {
        Value::StringValue(text) => Some(text),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{key} is {other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
