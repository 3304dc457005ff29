//! Listeners and connections of the simulated network, as the service, etcd and
//! their clients want them.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use hyper_util::rt::TokioIo;
use quotagate::{cluster::peers, store::etcd};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    codegen::http::Uri,
    transport::{Channel, Endpoint},
};
use turmoil::net::{TcpListener, TcpStream};

#[path = "../common/wire.rs"]
mod common;

/// A connection of the simulated network.
pub type Wire = common::Wire<TcpStream>;

/// Connections that wait to be taken.
const BACKLOG: usize = 16;

/// The connections that come to a port of this host.
pub async fn listen(port: u16) -> io::Result<ReceiverStream<io::Result<Wire>>> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?;
    let (tell, told) = mpsc::channel(BACKLOG);
    tokio::spawn(async move {
        loop {
            let accepted = listener.accept().await.and_then(|(stream, _)| wire(stream));
            if tell.send(accepted).await.is_err() {
                return;
            }
        }
    });
    Ok(ReceiverStream::new(told))
}

/// Where a host listens, in its own eyes.
pub fn address(port: u16) -> SocketAddr {
    (Ipv4Addr::UNSPECIFIED, port).into()
}

/// How nodes connect to etcd.
pub fn dial_etcd() -> etcd::Dial {
    Arc::new(|endpoint: Endpoint| {
        Box::pin(async move { endpoint.connect_with_connector(tower::service_fn(connect)).await })
    })
}

/// How nodes connect to each other.
pub fn dial_peer() -> peers::Dial {
    Arc::new(|address: String| {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            Ok(Box::new(stream) as Box<dyn peers::Stream>)
        })
    })
}

/// A client's channel to `HOST:PORT`, which connects when it is used.
pub fn channel(address: &str) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    endpoint.connect_with_connector_lazy(tower::service_fn(connect))
}

async fn connect(uri: Uri) -> io::Result<TokioIo<Wire>> {
    let host = uri.host().unwrap_or_default().to_owned();
    let stream = TcpStream::connect((host, uri.port_u16().unwrap_or_default())).await?;
    Ok(TokioIo::new(wire(stream)?))
}

fn wire(stream: TcpStream) -> io::Result<Wire> {
    let ends = (stream.local_addr()?, stream.peer_addr()?);
    Ok(Wire { stream, ends })
}
