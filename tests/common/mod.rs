//! What the tests of the running service share.
#![allow(dead_code, reason = "each binary of tests uses a part")]

use std::{net::SocketAddr, sync::Arc};

use quotagate::{
    node::Node,
    proto::{
        admin::v1::admin_service_client::AdminServiceClient,
        v1::quota_service_client::QuotaServiceClient,
    },
    rpc::{self, Health},
};
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::transport::{Channel, Endpoint, server::TcpIncoming};

/// The service on a free port of the loopback interface; it ends with the test.
pub struct TestServer {
    pub quota: QuotaServiceClient<Channel>,
    pub admin: AdminServiceClient<Channel>,
    pub channel: Channel,
    pub grpc_addr: SocketAddr,
    pub health: Health,
    serving: JoinHandle<()>,
}

impl TestServer {
    /// Starts a server with this configuration; it serves when this returns.
    pub async fn start(config_yaml: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let grpc_addr = listener.local_addr().expect("it is bound");
        let (router, health) = rpc::router(node(config_yaml)).await;
        health.set_serving(true).await;
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let serving = tokio::spawn(async move {
            router.serve_with_incoming(incoming).await.expect("it serves");
        });
        let endpoint = Endpoint::from_shared(format!("http://{grpc_addr}")).expect("an address");
        let channel = endpoint.connect().await.expect("it listens");
        Self {
            quota: QuotaServiceClient::new(channel.clone()),
            admin: AdminServiceClient::new(channel.clone()),
            channel,
            grpc_addr,
            health,
            serving,
        }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn node(_config_yaml: &str) -> Arc<Node> {
    Arc::new(Node {})
}
