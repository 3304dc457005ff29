//! Who can reach the ports of a process, and what protects them there.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, bail};

use super::cluster::counting;
use crate::{
    metrics::{Listener, Metrics, TlsFiles},
    store::StoreAddress,
    tls::{self, Acceptor, Bounds, ClientAuth, Protocol, ServerFiles},
};

/// How the connections of clients come in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// TLS, for gRPC and HTTP; `None`: in the clear.
    pub tls: Option<ServerFiles>,
    /// HTTP stays in the clear, where gRPC does not.
    pub http_in_the_clear: bool,
    /// How many there may be, by gRPC; by HTTP there are a tenth of them, and
    /// no fewer than 100; half of these from one address.
    pub bounds: Bounds,
}

/// By HTTP come people, probes and scrapers, who are few.
const HTTP_SHARE: usize = 10;
const LEAST_HTTP: usize = 100;

impl Connections {
    /// How they are taken, by gRPC and by HTTP.
    ///
    /// # Errors
    /// A file is of no use.
    pub fn acceptors(self, metrics: &std::sync::Arc<Metrics>) -> anyhow::Result<[Acceptor; 2]> {
        let Self { tls, http_in_the_clear, bounds } = self;
        let tls = tls.map(tls::Server::open).transpose().context("cannot speak TLS")?;
        if let Some(tls) = &tls {
            tls.on_reload(counting(metrics, TlsFiles::Server));
        }
        let total = bounds.total.div_ceil(HTTP_SHARE).max(LEAST_HTTP);
        // One address cannot keep the probes out.
        let http_bounds = Bounds { total, per_address: bounds.per_address.min(total / 2) };
        let plain = |listener, protocol| Acceptor::plain(listener, protocol, metrics.clone());
        Ok([
            Acceptor { tls: tls.clone(), bounds, ..plain(Listener::Grpc, Protocol::Http2) },
            Acceptor {
                tls: tls.filter(|_| !http_in_the_clear),
                bounds: http_bounds,
                ..plain(Listener::Http, Protocol::Http1)
            },
        ])
    }

    /// True if nobody connects without a certificate.
    fn wants_certificates(&self) -> bool {
        let wants =
            |tls: &ServerFiles| tls.client_ca.is_some() && tls.client_auth == ClientAuth::Require;
        self.tls.as_ref().is_some_and(wants)
    }
}

/// A port, and what protects it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Port {
    /// The option that says where it is.
    option: &'static str,
    address: SocketAddr,
    is_encrypted: bool,
    /// Whoever connects proves who they are.
    is_identified: bool,
}

impl Port {
    /// Those of clients. `asks_for_names`: requests are only served when it is
    /// known who makes them.
    pub(super) fn of_clients(
        [grpc, http]: [SocketAddr; 2],
        connections: &Connections,
        asks_for_names: bool,
    ) -> [Self; 2] {
        let is_encrypted = connections.tls.is_some();
        let is_identified = asks_for_names || connections.wants_certificates();
        let http_in_tls = is_encrypted && !connections.http_in_the_clear;
        [
            Self { option: "--grpc", address: grpc, is_encrypted, is_identified },
            Self { option: "--http", address: http, is_encrypted: http_in_tls, is_identified },
        ]
    }

    /// That of the other nodes, who show certificates to each other where they
    /// speak TLS.
    pub(super) fn of_peers(address: SocketAddr, is_encrypted: bool) -> Self {
        Self { option: "--peer", address, is_encrypted, is_identified: is_encrypted }
    }

    /// Refuses a port that strangers can reach and that does not keep them out,
    /// unless that is what somebody wants: then it is said.
    ///
    /// # Errors
    /// What to do instead.
    pub(super) fn check(self, insecure: bool) -> anyhow::Result<()> {
        let Some((fault, instead)) = self.fault() else { return Ok(()) };
        let Self { option, address, .. } = self;
        if !insecure {
            bail!(
                "{option} {address} can be reached from other machines, and {fault}: {instead}, \
                 or say --insecure"
            );
        }
        tracing::warn!(
            "INSECURE: {option} {address} can be reached from other machines, and {fault}"
        );
        Ok(())
    }

    fn fault(self) -> Option<(&'static str, &'static str)> {
        let is_peer = self.option == "--peer";
        match self {
            Self { address, .. } if is_loopback(address.ip()) => None,
            Self { is_encrypted: false, .. } if is_peer => {
                Some(("nothing is encrypted there", "name --peer-tls-cert, -key and -ca"))
            }
            Self { is_encrypted: false, .. } => Some((
                "nothing is encrypted there",
                "name --tls-cert and --tls-key, or listen on 127.0.0.1",
            )),
            Self { is_identified: false, .. } => Some((
                "callers are not identified",
                "configure `auth`, or name --tls-client-ca with --tls-client-auth require",
            )),
            _ => None,
        }
    }
}

/// Says so where what is counted goes over the network in the clear.
pub(super) fn warn_of_store(store: &StoreAddress) {
    let StoreAddress::Etcd(etcd) = store else { return };
    let is_here = |member: &String| {
        let host = member.rsplit_once(':').map_or("", |(host, _)| host);
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || bare.parse().is_ok_and(is_loopback)
    };
    if !etcd.tls && !etcd.members.iter().all(is_here) {
        tracing::warn!(
            %store,
            "etcd is spoken to in the clear: whoever is on the way can read and change what is \
             counted; write etcds://"
        );
    }
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_strangers_reach_keeps_them_out_or_is_refused() {
        let ca = || Some("ca.pem".into());
        let tls = |client_ca, client_auth| Connections {
            tls: Some(ServerFiles {
                cert: "c.pem".into(),
                key: "k.pem".into(),
                client_ca,
                client_auth,
            }),
            ..Connections::default()
        };
        let plain = Connections::default;
        let optional = || tls(ca(), ClientAuth::Optional);
        let require = || tls(ca(), ClientAuth::Require);
        let (here, there) = ("127.0.0.1:1", "10.0.0.1:1");
        for (at, connections, asks_for_names, faults) in [
            (here, plain(), false, [None, None]),
            ("[::1]:1", plain(), false, [None, None]),
            (there, plain(), false, [Some("--tls-cert"), Some("--tls-cert")]),
            ("0.0.0.0:1", plain(), true, [Some("--tls-cert"), Some("--tls-cert")]),
            ("[::]:1", optional(), false, [Some("`auth`"), Some("`auth`")]),
            (there, tls(None, ClientAuth::Require), false, [Some("`auth`"), Some("`auth`")]),
            (there, tls(None, ClientAuth::Optional), true, [None, None]),
            (there, optional(), true, [None, None]),
            (there, require(), false, [None, None]),
            (
                there,
                Connections { http_in_the_clear: true, ..require() },
                true,
                [None, Some("--tls-cert")],
            ),
        ] {
            let at = at.parse().expect("an address");
            let ports = Port::of_clients([at, at], &connections, asks_for_names);
            for (port, fault) in ports.into_iter().zip(faults) {
                match (port.check(false), fault) {
                    (Ok(()), None) => {}
                    (Err(error), Some(fault)) => {
                        let said = error.to_string();
                        assert!(said.contains(fault) && said.contains("--insecure"), "{said}");
                        assert!(port.check(true).is_ok(), "{port:?}");
                    }
                    (checked, _) => panic!("{port:?}: {checked:?}"),
                }
            }
        }
        let peer = |at: &str, tls| Port::of_peers(at.parse().expect("an address"), tls);
        assert!(peer(here, false).check(false).is_ok());
        assert!(peer(there, true).check(false).is_ok());
        let refused = peer(there, false).check(false).expect_err("it is in the clear");
        assert!(refused.to_string().contains("--peer-tls-cert"), "{refused}");
    }
}
