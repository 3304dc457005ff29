//! Certificates and authorities are swapped while callers go on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use quotagate::{
    server::Connections,
    tls::{ClientAuth, Connector, files::LOOK_EVERY},
};
use tokio::time::sleep;

use crate::{
    pki::{Authority, Files, Valid},
    process::metrics,
    world::{ask, client, handshake, is_let_in, serve, until},
};

const CALLERS: usize = 4;

/// So short that every step sees many handshakes.
const AGE: Duration = Duration::from_millis(200);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_swapped_under_load_without_a_failed_request() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let both = format!("{}{}", old.pem(), new.pem());
    let first = old.issue(&["localhost"], Valid::Now);
    let caller = old.issue(&["spiffe://prod/inbox"], Valid::Now);
    let (servers, clients) = (Files::new(&first, &old.pem()), Files::new(&caller, &old.pem()));
    let tls = Some(servers.server(ClientAuth::Require));
    let connections = Connections { tls, http_in_the_clear: true, ..Connections::default() };
    let service = serve(connections, Some(AGE)).await;
    let (grpc, http) = (service.grpc_addr(), service.http_addr());

    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let call = |_| {
        let (stop, asked) = (Arc::clone(&stop), Arc::clone(&asked));
        let client = client(grpc, clients.client());
        tokio::spawn(async move {
            let mut faults = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                faults.extend(ask(&client).await.err());
                asked.fetch_add(1, Ordering::Relaxed);
            }
            faults
        })
    };
    let callers: Vec<_> = (0..CALLERS).map(call).collect();
    // It follows the same files, and began to after the callers.
    let witness = Connector::open(clients.client()).expect("good files");
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    witness.on_reload(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    // An operator goes on when a change has arrived everywhere.
    let arrived = async |servers: usize, clients: usize| {
        let line =
            format!(r#"quotagate_tls_reloads_total{{files="server",outcome="applied"}} {servers}"#);
        until("the server has read its files", async || metrics(http).await.contains(&line)).await;
        let is_seen = async || seen.load(Ordering::Relaxed) == clients;
        until("the clients have read theirs", is_seen).await;
        sleep(LOOK_EVERY * 2).await;
        let before = asked.load(Ordering::Relaxed);
        let go_on = async || asked.load(Ordering::Relaxed) > before + 10 * CALLERS;
        until("the callers go on", go_on).await;
    };

    arrived(0, 0).await;
    servers.trust(&both);
    clients.trust(&both);
    arrived(1, 1).await;
    servers.show(&new.issue(&["localhost"], Valid::Now));
    arrived(2, 1).await;
    clients.show(&new.issue(&["spiffe://prod/inbox"], Valid::Now));
    arrived(2, 2).await;
    servers.trust(&new.pem());
    clients.trust(&new.pem());
    arrived(3, 3).await;
    // Half of a pair changes nothing.
    std::fs::write(servers.path("key.pem"), &first.key).expect("it is writable");
    let line = r#"quotagate_tls_reloads_total{files="server",outcome="rejected"} 1"#;
    until("it is refused", async || metrics(http).await.contains(line)).await;
    arrived(3, 3).await;

    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        assert_eq!(caller.await.expect("it ends"), Vec::<String>::new());
    }
    let by_old = handshake(grpc, "h2", &new.pem(), Some(&caller), "localhost").await;
    assert!(!is_let_in(by_old).await, "the old authority is not trusted any more");
    service.stop().await;
}
