//! Nodes that know each other by their certificates.

use std::{path::PathBuf, sync::Arc};

use quotagate::{
    cluster::peers::{Kin, Lane, Peers, dial_tcp},
    metrics::Metrics,
    quota::Wall,
    server::cluster::PeerFiles,
    tls::CertificateNames,
};
use tokio::{
    net::TcpListener,
    time::{Instant, timeout},
};
use tokio_stream::StreamExt as _;
use tonic::transport::server::TcpIncoming;

use crate::{
    pki::{Authority, Files, Issued, Valid},
    world::PATIENCE,
};

/// That must stand in the other's certificate.
type Name = Option<&'static str>;

fn peer_files(files: &Files, name: Option<&str>) -> PeerFiles {
    let path = |name: &str| -> PathBuf { files.path(name) };
    let name = name.map(str::to_owned);
    PeerFiles { cert: path("cert.pem"), key: path("key.pem"), ca: path("ca.pem"), name }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_take_each_other_only_with_certificates_of_their_authority() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let node = |names: &[&str]| ours.issue(names, Valid::Now);
    let by_host = || node(&["127.0.0.1", "node.internal"]);
    let rows: [(Issued, Name, Issued, Name, bool, &str); 7] = [
        (by_host(), None, by_host(), None, true, "by the host"),
        (node(&["nodes"]), Some("nodes"), node(&["nodes"]), Some("nodes"), true, "by one name"),
        (
            by_host(),
            None,
            theirs.issue(&["127.0.0.1"], Valid::Now),
            None,
            false,
            "a stranger comes",
        ),
        (theirs.issue(&["127.0.0.1"], Valid::Now), None, by_host(), None, false, "to a stranger"),
        (node(&["other"]), None, by_host(), None, false, "to another host"),
        (node(&["nodes"]), Some("nodes"), by_host(), Some("nodes"), false, "a client's comes"),
        (by_host(), None, ours.issue(&["127.0.0.1"], Valid::Once), None, false, "expired"),
    ];
    for (server, server_name, client, client_name, is_taken, what) in rows {
        let metrics = Arc::new(Metrics::new("test", Wall(0)));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let (server, client) = (Files::new(&server, &ours.pem()), Files::new(&client, &ours.pem()));
        let acceptor = peer_files(&server, server_name).acceptor(&metrics).expect("good files");
        let mut incoming = acceptor.take(TcpIncoming::from(listener));
        let dial = peer_files(&client, client_name).secure(dial_tcp(), &metrics);
        let peers = Peers::dialing("a".to_owned(), Kin::default(), dial.expect("good files"));
        let connecting = peers.connect(&address, Lane::Rest, Instant::now() + PATIENCE);
        let accepted = async {
            tokio::select! {
                taken = incoming.next() => taken.and_then(Result::ok),
                () = refused(&metrics) => None,
            }
        };
        let (_connected, accepted) =
            timeout(PATIENCE, async { tokio::join!(connecting, accepted) }).await.expect(what);
        assert_eq!(accepted.is_some(), is_taken, "{what}");
        if let Some(connection) = accepted {
            let names = connection.peer().certificate.clone().expect("it showed one");
            assert!(matches!(&*names, CertificateNames::Dns(names) if !names.is_empty()));
            assert!(connection.peer().is_encrypted);
        }
    }
}

/// Returns when a connection was refused.
async fn refused(metrics: &Metrics) {
    let is_refused = || {
        let text = metrics.encode();
        let mut refusals = text.lines().filter(|line| {
            line.starts_with("quotagate_connections_refused_total{listener=\"peer\"")
        });
        refusals.any(|line| !line.ends_with(" 0"))
    };
    crate::world::until("somebody is refused", async || is_refused()).await;
}
