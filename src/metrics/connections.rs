//! What comes of connections, and of the files that secure them.

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

use super::{Counters, Labels, family, family_of_gauges};

/// Where connections come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// Clients, by gRPC.
    Grpc,
    /// Clients, by HTTP.
    Http,
    /// The other nodes.
    Peer,
}

/// Why a connection was not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The listener has as many as it takes.
    TooMany,
    /// It has as many from this address as it takes.
    TooManyFromAddress,
    /// As many as it takes are still in their handshake.
    TooManyHandshakes,
    /// The handshake, or the first bytes of the protocol, did not come in time.
    Late,
    /// The other end hung up before it had said anything.
    Gone,
    /// What came was not TLS.
    NotTls,
    /// What came was not HTTP/2.
    NotHttp2,
    /// There is no version, cipher suite or protocol that both speak.
    Incompatible,
    /// What came was TLS, and not as it should be.
    Malformed,
    /// The client has to show a certificate, and showed none.
    NoCertificate,
    /// The client's certificate, or its authority's, has expired.
    CertificateExpired,
    /// The client's certificate is not valid yet.
    CertificateNotYetValid,
    /// The client's certificate was issued by nobody who is trusted here.
    CertificateUnknownAuthority,
    /// The client's certificate has not the name that it must have.
    CertificateName,
    /// Something else is wrong with the client's certificate.
    CertificateBad,
    /// The client did not like this server's certificate.
    RefusedByClient,
}

/// Which files have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFiles {
    /// Those for clients.
    Server,
    /// Those for the other nodes: what is shown to them when they connect.
    Peer,
    /// Those for connections to the other nodes.
    PeerClient,
    /// Those for connections to the store.
    Store,
}

const LISTENERS: [&str; 3] = ["grpc", "http", "peer"];

const REFUSALS: [&str; 16] = [
    "too_many",
    "too_many_from_address",
    "too_many_handshakes",
    "late",
    "gone",
    "not_tls",
    "not_http2",
    "incompatible",
    "malformed",
    "no_certificate",
    "certificate_expired",
    "certificate_not_yet_valid",
    "certificate_unknown_authority",
    "certificate_name",
    "certificate_bad",
    "refused_by_client",
];

const FILES: [&str; 4] = ["server", "peer", "peer_client", "store"];

/// The part of the metrics.
#[derive(Debug)]
pub(super) struct Connections {
    open: [Gauge; 3],
    refused: [[Counter; 16]; 3],
    reloads: [[Counter; 2]; 4],
}

impl Connections {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let open = family_of_gauges(registry, "connections", "Connections that are served now");
        let refused: Counters<2> = family(
            registry,
            "connections_refused",
            "Connections that were closed before anything was asked over them, by cause",
        );
        let reloads: Counters<2> = family(
            registry,
            "tls_reloads",
            "Certificates, keys and authorities read again, by what they are for",
        );
        let of_listener = |listener| {
            REFUSALS.map(|cause| {
                let labels: Labels<2> = [("listener", listener), ("cause", cause)];
                refused.get_or_create_owned(&labels)
            })
        };
        let of_files = |files| {
            ["applied", "rejected"].map(|outcome| {
                let labels: Labels<2> = [("files", files), ("outcome", outcome)];
                reloads.get_or_create_owned(&labels)
            })
        };
        Self {
            open: LISTENERS.map(|listener| open.get_or_create_owned(&[("listener", listener)])),
            refused: LISTENERS.map(of_listener),
            reloads: FILES.map(of_files),
        }
    }
}

impl super::Metrics {
    /// A connection is served from now on.
    pub fn connected(&self, listener: Listener) {
        self.connections.open[listener as usize].inc();
    }

    /// A connection that was served has ended.
    pub fn disconnected(&self, listener: Listener) {
        self.connections.open[listener as usize].dec();
    }

    /// A connection was not served.
    pub fn connection_refused(&self, listener: Listener, cause: Refusal) {
        self.connections.refused[listener as usize][cause as usize].inc();
    }

    /// Files that secure connections have changed; true if they are in force.
    pub fn tls_reloaded(&self, files: TlsFiles, is_applied: bool) {
        self.connections.reloads[files as usize][usize::from(!is_applied)].inc();
    }
}

impl Listener {
    /// The name, as it stands in labels and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        LISTENERS[self as usize]
    }
}

impl Refusal {
    /// The name, as it stands in labels and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        REFUSALS[self as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{metrics::Metrics, quota::Wall};

    #[test]
    fn each_cause_moves_its_own_counter() {
        let metrics = Metrics::new("1.2.3", Wall(0));
        metrics.connected(Listener::Http);
        metrics.connected(Listener::Http);
        metrics.disconnected(Listener::Http);
        metrics.connection_refused(Listener::Grpc, Refusal::TooMany);
        metrics.connection_refused(Listener::Peer, Refusal::RefusedByClient);
        metrics.connection_refused(Listener::Http, Refusal::CertificateExpired);
        metrics.tls_reloaded(TlsFiles::Server, true);
        metrics.tls_reloaded(TlsFiles::Store, false);
        let text = metrics.encode();
        for line in [
            r#"quotagate_connections{listener="http"} 1"#,
            r#"quotagate_connections_refused_total{listener="grpc",cause="too_many"} 1"#,
            r#"quotagate_connections_refused_total{listener="peer",cause="refused_by_client"} 1"#,
            r#"quotagate_connections_refused_total{listener="http",cause="certificate_expired"} 1"#,
            r#"quotagate_connections_refused_total{listener="http",cause="late"} 0"#,
            r#"quotagate_tls_reloads_total{files="server",outcome="applied"} 1"#,
            r#"quotagate_tls_reloads_total{files="store",outcome="rejected"} 1"#,
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }
}
