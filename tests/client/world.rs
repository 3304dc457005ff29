//! The real service on a runtime of its own, so that it can be killed, and is not
//! among the tasks that a test counts.

use std::{net::SocketAddr, time::Duration};

use quotagate::{
    client::{Client, ClientBuilder},
    config::Config,
    proto::v1::{GetUsageRequest, LimitUsage},
    server::{Options, Service},
};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    time::{Instant, sleep},
};

use crate::loopback;

/// Every test's catalogue.
pub const CONFIG: &str = "
catalogue:
  entries.get: {charges: [{limit: fleet, scope: execution_user, max: 90, window: 2s}]}
  deletes: {charges: [{limit: deletes, scope: execution_user, max: 10, window: 1h}]}
";

/// How long to wait for what must come.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A service. It is killed when it is dropped.
pub struct Server {
    pub addr: SocketAddr,
    service: Option<Service>,
    runtime: Option<Runtime>,
}

impl Server {
    /// Starts it on a free port of an address of its own.
    pub async fn start() -> Self {
        Self::start_on(loopback::own()).await
    }

    /// Starts it on this address.
    pub async fn start_on(grpc: SocketAddr) -> Self {
        let runtime =
            Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads");
        let config = Config::parse(CONFIG).expect("a good configuration");
        let options =
            || Options { grpc, node: "test".to_owned(), ..Options::in_memory(config.clone()) };
        let start = Instant::now();
        let service = loop {
            match runtime.spawn(Service::start(options())).await.expect("it does not panic") {
                Ok(service) => break service,
                // The port of a service that was killed a moment ago.
                Err(error) => assert!(start.elapsed() < PATIENCE, "{error:#}"),
            }
            sleep(Duration::from_millis(20)).await;
        };
        Self { addr: service.grpc_addr(), service: Some(service), runtime: Some(runtime) }
    }

    /// A client of this server.
    pub fn client(&self) -> ClientBuilder {
        Client::builder(&self.addr.to_string()).timeout(PATIENCE)
    }

    /// Ends it in order.
    pub async fn stop(mut self) {
        let (Some(service), Some(runtime)) = (self.service.take(), &self.runtime) else { return };
        runtime.spawn(service.stop()).await.expect("it does not panic");
    }

    /// What is used of a user's limit.
    pub async fn limit(&self, client: &Client, org: &str, name: &str) -> LimitUsage {
        let usage = client.get_usage(GetUsageRequest { org: org.into() }).await;
        let usage = usage.expect("it is shown").usage.unwrap_or_default();
        let users = usage.execution_users.into_iter().flat_map(|user| user.limits);
        users.chain(usage.limits).find(|limit| limit.name == name).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // As if it were killed: connections break, nothing is said.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Tasks on this test's runtime.
pub fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// Waits until there are no more tasks than at first.
pub async fn nothing_is_left(tasks_at_first: usize) {
    eventually("no task is left", async || tasks() <= tasks_at_first).await;
}

/// Waits for a condition.
pub async fn eventually(what: &str, is_so: impl AsyncFn() -> bool) {
    let start = Instant::now();
    while !is_so().await {
        assert!(start.elapsed() < PATIENCE, "{what}");
        sleep(Duration::from_millis(5)).await;
    }
}
