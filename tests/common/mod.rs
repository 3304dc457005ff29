//! What the tests of the running service share.
#![allow(dead_code, reason = "each binary of tests uses a part")]

use std::{net::SocketAddr, time::Duration};

use quotagate::{
    config::Config,
    proto::{
        admin::v1::admin_service_client::AdminServiceClient,
        v1::quota_service_client::QuotaServiceClient,
    },
    server::{Options, Service},
    store::{self, Opened, StoreAddress, StoreOptions},
};
use tonic::transport::{Channel, Endpoint};

/// The service on free ports of the loopback interface; it ends with the test.
pub struct TestServer {
    pub quota: QuotaServiceClient<Channel>,
    pub admin: AdminServiceClient<Channel>,
    pub channel: Channel,
    pub grpc_addr: SocketAddr,
    pub http_addr: SocketAddr,
    pub service: Service,
}

impl TestServer {
    /// Starts a server with this configuration that forgets; it serves when
    /// this returns.
    pub async fn start(config_yaml: &str) -> Self {
        Self::start_on(config_yaml, StoreAddress::Memory).await
    }

    /// Starts a server on this store.
    pub async fn start_on(config_yaml: &str, store: StoreAddress) -> Self {
        let opened = store::open(&store, &StoreOptions::default()).expect("it opens");
        Self::start_opened(config_yaml, opened).await
    }

    /// Starts a server on a store of the test's own.
    pub async fn start_opened(config_yaml: &str, opened: Opened) -> Self {
        Self::start_with(config_yaml, opened, None).await
    }

    /// Starts a server that gives up connections at this age.
    pub async fn start_aging(config_yaml: &str, max_connection_age: Duration) -> Self {
        let opened = store::open(&StoreAddress::Memory, &StoreOptions::default());
        let opened = opened.expect("it opens");
        Self::start_with(config_yaml, opened, Some(max_connection_age)).await
    }

    async fn start_with(
        config_yaml: &str,
        opened: Opened,
        max_connection_age: Option<Duration>,
    ) -> Self {
        let config = Config::parse(config_yaml).expect("a good configuration");
        let options = Options {
            max_connection_age,
            http_hosts: vec!["quota.example".to_owned()],
            node: "test".to_owned(),
            ..Options::in_memory(config)
        };
        let service = Service::start_on(opened, options).await.expect("it starts");
        let grpc_addr = service.grpc_addr();
        let endpoint = Endpoint::from_shared(format!("http://{grpc_addr}")).expect("an address");
        let channel = endpoint.connect().await.expect("it listens");
        Self {
            quota: QuotaServiceClient::new(channel.clone()),
            admin: AdminServiceClient::new(channel.clone()),
            channel,
            grpc_addr,
            http_addr: service.http_addr(),
            service,
        }
    }
}
