//! Where traces go: OTLP over gRPC, in the clear or over TLS with our own
//! connector, so that one implementation of TLS and one way to name its files
//! hold for all that this process connects to.

use std::{env, fmt, path::PathBuf, str::FromStr, time::Duration};

use opentelemetry::{Key, KeyValue};
use opentelemetry_otlp::{
    ExporterBuildError, SpanExporter, WithExportConfig as _, WithTonicConfig as _,
};
use opentelemetry_sdk::{
    Resource,
    resource::{EnvResourceDetector, ResourceDetector as _},
    trace::SpanExporter as _,
};
use tonic::{codegen::http::Uri, transport};

use crate::tls::{ClientFiles, Connector, Fault};

/// How long a collector may take to be connected to, and to take a batch.
const CONNECT: Duration = Duration::from_secs(2);
pub(super) const EXPORT: Duration = Duration::from_secs(5);

/// A collector of traces, and what share of requests it gets.
#[derive(Clone, Debug, PartialEq)]
pub struct Collector {
    /// Where it listens for OTLP over gRPC.
    pub endpoint: Endpoint,
    /// The certificates of the authorities that its own is checked with (PEM);
    /// without, the system's.
    pub ca: Option<PathBuf>,
    /// Of the requests that belong to no trace, how many begin one.
    pub share: Share,
}

/// `http://HOST:PORT`, or `https://HOST:PORT` with TLS.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    is_tls: bool,
    authority: String,
}

/// A text that is no endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be http://HOST:PORT or https://HOST:PORT, where the collector takes OTLP over gRPC \
     (port 4317 as a rule)"
)]
pub struct BadEndpoint;

/// From 0, none, to 1, all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share(f64);

/// Why nothing can be sent to a collector.
#[derive(Debug, thiserror::Error)]
pub enum CannotTrace {
    /// A file of its authorities.
    #[error(transparent)]
    File(#[from] Fault),
    /// A variable `OTEL_…` of the environment.
    #[error("what the environment says of traces is of no use: {0}")]
    Environment(#[from] ExporterBuildError),
}

impl Collector {
    pub(super) fn exporter(&self, resource: &Resource) -> Result<SpanExporter, CannotTrace> {
        let Endpoint { is_tls, authority } = &self.endpoint;
        let endpoint = transport::Endpoint::from_shared(format!("http://{authority}"))
            .expect("it was parsed before")
            .connect_timeout(CONNECT)
            .timeout(EXPORT);
        let channel = if *is_tls {
            let files = ClientFiles { ca: self.ca.clone(), ..ClientFiles::default() };
            endpoint.connect_with_connector_lazy(Connector::open(files)?)
        } else {
            endpoint.connect_lazy()
        };
        let exporter = SpanExporter::builder().with_tonic().with_channel(channel);
        let mut exporter = exporter.with_timeout(EXPORT).build()?;
        exporter.set_resource(resource);
        Ok(exporter)
    }
}

/// Whose traces they are. The environment may name the service otherwise, and add
/// to it: `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`.
pub(super) fn resource(node: &str) -> Resource {
    let told = EnvResourceDetector::new().detect();
    let is_named = env::var_os("OTEL_SERVICE_NAME").is_some_and(|name| !name.is_empty())
        || told.get(&Key::from_static_str("service.name")).is_some();
    let ours = [("service.version", env!("CARGO_PKG_VERSION")), ("service.instance.id", node)];
    let ours = ours.into_iter().filter(|(key, _)| told.get(&Key::from_static_str(key)).is_none());
    let ours = ours.map(|(key, value)| KeyValue::new(key, value.to_owned()));
    let resource = Resource::builder().with_attributes(ours);
    if is_named { resource.build() } else { resource.with_service_name("quotagate").build() }
}

impl FromStr for Endpoint {
    type Err = BadEndpoint;

    fn from_str(text: &str) -> Result<Self, BadEndpoint> {
        let uri: Uri = text.trim().parse().map_err(|_| BadEndpoint)?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(BadEndpoint),
        };
        let authority = uri.authority().ok_or(BadEndpoint)?;
        let is_plain = matches!(uri.path(), "" | "/") && uri.query().is_none();
        if !is_plain || authority.port().is_none() || authority.as_str().contains('@') {
            return Err(BadEndpoint);
        }
        Ok(Self { is_tls, authority: authority.to_string() })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Share {
    /// The ratio, from 0 to 1.
    #[must_use]
    pub const fn ratio(self) -> f64 {
        self.0
    }
}

impl FromStr for Share {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let ratio: f64 = text.parse().map_err(|_| "must be a number from 0 to 1, such as 0.01")?;
        if (0.0..=1.0).contains(&ratio) {
            return Ok(Self(ratio));
        }
        Err("must be from 0, which records what callers record, to 1, which records all")
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_scheme_a_host_and_a_port() {
        for (text, good) in [
            ("http://127.0.0.1:4317", true),
            ("http://collector.observability:4317/", true),
            ("https://[::1]:4317", true),
            ("collector:4317", false),
            ("http://collector", false),
            ("grpc://collector:4317", false),
            ("http://collector:4317/v1/traces", false),
            ("http://user:secret@collector:4317", false),
            ("", false),
        ] {
            let endpoint = text.parse::<Endpoint>();
            assert_eq!(endpoint.is_ok(), good, "{text}");
            if let Ok(endpoint) = endpoint {
                assert_eq!(endpoint.to_string(), text.trim_end_matches('/'));
            }
        }
    }

    #[test]
    fn a_share_is_from_nothing_to_all() {
        for (text, expected) in [
            ("0", Some(0.0)),
            ("0.01", Some(0.01)),
            ("1", Some(1.0)),
            ("1.01", None),
            ("-0.1", None),
            ("NaN", None),
            ("1%", None),
            ("", None),
        ] {
            assert_eq!(text.parse().ok(), expected.map(Share), "{text}");
        }
    }
}
