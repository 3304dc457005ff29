//! Listeners and connections of the simulated network, as the service, etcd and
//! their clients want them.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use hyper_util::rt::TokioIo;
use quotagate::{cluster::peers, store::etcd, tls::Transport};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    codegen::http::Uri,
    transport::{Channel, Endpoint, server::Connected},
};
use turmoil::net::{TcpListener, TcpStream};

/// A connection of the simulated network.
pub struct Wire(TcpStream);

/// Connections that wait to be taken.
const BACKLOG: usize = 16;

/// The connections that come to a port of this host.
pub async fn listen(port: u16) -> io::Result<ReceiverStream<io::Result<Wire>>> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?;
    let (tell, told) = mpsc::channel(BACKLOG);
    tokio::spawn(async move {
        loop {
            let accepted = listener.accept().await.map(|(stream, _)| Wire(stream));
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
    Ok(TokioIo::new(Wire(stream)))
}

impl Connected for Wire {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl Transport for Wire {
    fn ends(&self) -> io::Result<(SocketAddr, SocketAddr)> {
        Ok((self.0.local_addr()?, self.0.peer_addr()?))
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
