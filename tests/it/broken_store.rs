//! A store that refuses, or does not answer, and comes back.

use std::{sync::Arc, time::Duration};

use quotagate::{
    proto::admin::v1 as admin,
    store::{Listing, MemoryStore, Opened, Store, StoreError, Txn, TxnOutcome},
};
use tokio::{sync::watch, time::timeout};
use tonic::{Code, async_trait};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{
    common::TestServer,
    talk::{acquire, check_error},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Works,
    /// Nothing is carried out.
    Refuses,
    /// Nothing is answered; what was sent is carried out when it works again.
    Hangs,
}

/// A store in memory that can fail.
#[derive(Debug)]
struct Faulty {
    inner: Arc<MemoryStore>,
    mode: watch::Receiver<Mode>,
}

#[async_trait]
impl Store for Faulty {
    fn kind(&self) -> &'static str {
        "memory"
    }

    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        self.inner.list(prefix).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        let (inner, mut mode) = (Arc::clone(&self.inner), self.mode.clone());
        // A caller that stops waiting does not stop the transaction.
        let carried_out = tokio::spawn(async move {
            let mode = *mode.wait_for(|mode| *mode != Mode::Hangs).await.expect("the test runs");
            match mode {
                Mode::Refuses => Err(StoreError::NotExecuted("it is full".into())),
                _ => inner.txn(txn).await,
            }
        });
        carried_out.await.unwrap_or_else(|_| Err(StoreError::Unknown("the test is over".into())))
    }
}

async fn start() -> (TestServer, watch::Sender<Mode>) {
    let (mode, seen) = watch::channel(Mode::Works);
    let store = Arc::new(Faulty { inner: Arc::default(), mode: seen });
    (TestServer::start_opened("", Opened { store, last_wall: None, tls: None }).await, mode)
}

/// Longer than anything may take here.
const LONG: Duration = Duration::from_secs(60);

fn put(daily_calls: u64) -> admin::PutOrgRequest {
    let org = admin::Org { id: "acme".into(), daily_calls, ..Default::default() };
    admin::PutOrgRequest { org: Some(org), ..Default::default() }
}

async fn declared(server: &TestServer) -> u64 {
    let request = admin::GetOrgRequest { org: "acme".into() };
    let Ok(answer) = server.admin.clone().get_org(request).await else { return 0 };
    answer.into_inner().entry.and_then(|entry| entry.org).map_or(0, |org| org.daily_calls)
}

#[tokio::test]
async fn a_request_ends_soon_and_the_service_is_not_ready_until_the_store_works() {
    for broken in [Mode::Refuses, Mode::Hangs] {
        let (server, mode) = start().await;
        let mut health = HealthClient::new(server.channel.clone());
        let mut watch = health.watch(HealthCheckRequest::default()).await.expect("it").into_inner();
        let mut next =
            async || watch.message().await.expect("no error").expect("a status").status();
        assert_eq!(next().await, ServingStatus::Serving);

        mode.send_replace(broken);
        let asked = timeout(LONG, server.quota.clone().acquire(acquire("rest"))).await;
        let asked = asked.expect("it is not waited for");
        check_error(asked, Code::Unavailable, "STORE_TIMEOUT", &[], true);
        let put = timeout(LONG, server.admin.clone().put_org(put(5))).await;
        let put = put.expect("it is not waited for");
        check_error(put, Code::Unavailable, "STORE_UNAVAILABLE", &[], true);
        assert_eq!(next().await, ServingStatus::NotServing, "{broken:?}");
        let ready = server.http("GET /readyz", "", "").await;
        assert_eq!(ready.status, 503, "{ready:?}");
        assert_eq!(server.http("GET /livez", "", "").await.status, 200, "{broken:?}");
        assert_eq!(server.usage().await.permits_out, 0, "what is known can be seen");

        // Without any request, too: nobody asks what is not ready.
        mode.send_replace(Mode::Works);
        assert_eq!(next().await, ServingStatus::Serving, "{broken:?}");
        assert_eq!(server.http("GET /readyz", "", "").await.status, 200, "{broken:?}");
        server.permit(acquire("rest")).await;
    }
}

#[tokio::test]
async fn a_change_whose_caller_goes_away_is_in_force_all_the_same() {
    let (server, mode) = start().await;
    mode.send_replace(Mode::Hangs);
    let mut client = server.admin.clone();
    let asked = tokio::spawn(async move { client.put_org(put(5)).await });
    // An answer on the same connection: the change was read before.
    server.usage().await;
    asked.abort();
    assert!(asked.await.expect_err("it is aborted").is_cancelled());
    server.usage().await;
    mode.send_replace(Mode::Works);
    while declared(&server).await != 5 {}
}

#[tokio::test]
async fn after_a_change_of_unknown_fate_the_next_one_finds_what_became_of_it() {
    let (server, mode) = start().await;
    mode.send_replace(Mode::Hangs);
    let unknown = server.admin.clone().put_org(put(5)).await;
    check_error(unknown, Code::Unavailable, "STORE_UNAVAILABLE", &[], true);
    mode.send_replace(Mode::Works);
    server.admin.clone().put_org(put(6)).await.expect("it is in force");
    assert_eq!(declared(&server).await, 6);
    let changes = server.get_org().await.changes;
    assert_eq!(changes.len(), 2, "both are remembered: {changes:?}");
}

#[tokio::test]
async fn the_service_stops_although_the_store_does_not_answer() {
    let (server, mode) = start().await;
    server.permit(acquire("rest")).await;
    mode.send_replace(Mode::Hangs);
    drop((server.quota, server.admin, server.channel));
    timeout(LONG, server.service.stop()).await.expect("it stops");
}
