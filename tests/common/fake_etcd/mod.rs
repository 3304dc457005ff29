//! An etcd in memory, behind etcd's own gRPC services: what [`Store`] needs of
//! it, as etcd does it. It keeps time by the runtime's clock, which tests may
//! pause, and decides nothing by chance.
//!
//! Its members share one memory, as if consensus took no time: any of them may
//! stop at any moment, and nothing that was answered is lost.
//!
//! [`Store`]: quotagate::store::Store

#![allow(dead_code, reason = "each binary of tests uses a part")]

mod data;
mod services;

use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use etcd_client::proto::{PbKvServer, PbLeaseServer, PbWatchServer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Notify,
};
use tokio_stream::Stream;
use tonic::transport::{Server, server::Connected};

use self::data::Data;

/// An etcd. Clones are the same one.
#[derive(Clone)]
pub struct FakeEtcd {
    shared: Arc<Shared>,
}

struct Shared {
    data: Mutex<Data>,
    /// For those who watch. It wakes them in the order in which they came.
    changed: Notify,
    /// The members that run. The first of them leads.
    running: Mutex<BTreeSet<u64>>,
}

/// One member, as its requests see it.
#[derive(Clone)]
struct Member {
    id: u64,
    etcd: FakeEtcd,
}

/// Leases are looked after so often.
const LEASE_TICK: Duration = Duration::from_millis(100);

impl FakeEtcd {
    /// An empty one, of which no member runs.
    pub fn new() -> Self {
        let (data, changed, running) = (Mutex::default(), Notify::new(), Mutex::default());
        Self { shared: Arc::new(Shared { data, changed, running }) }
    }

    /// Runs a member on connections, until there are no more, or the future is
    /// dropped: that is its end by kill -9.
    pub async fn serve<C, E>(
        &self,
        id: u64,
        connections: impl Stream<Item = Result<C, E>>,
    ) -> Result<(), tonic::transport::Error>
    where
        C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let member = Member { id, etcd: self.clone() };
        let _running = Running::begin(&member);
        let serving = Server::builder()
            .add_service(PbKvServer::new(member.clone()).max_decoding_message_size(8 << 20))
            .add_service(PbLeaseServer::new(member.clone()))
            .add_service(PbWatchServer::new(member.clone()))
            .serve_with_incoming(connections);
        tokio::select! {
            biased;
            served = serving => served,
            () = member.look_after_leases() => Ok(()),
        }
    }

    /// Runs a member on a free port of the loopback interface, for as long as
    /// the runtime lives; its address.
    pub async fn listen(&self, id: u64) -> io::Result<std::net::SocketAddr> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let etcd = self.clone();
        tokio::spawn(async move {
            let connections = tonic::transport::server::TcpIncoming::from(listener);
            etcd.serve(id, connections).await
        });
        Ok(address)
    }

    /// Forgets what was before a revision, as etcd does now and then.
    pub fn compact(&self, revision: i64) {
        self.data().compact(revision).expect("there is such a revision");
    }

    /// Every change since the beginning, or the last compaction, as one number.
    /// `ignore` takes keys out whose values have chance in them.
    pub fn history_hash(&self, ignore: impl Fn(&str) -> bool) -> u64 {
        self.data().history_hash(ignore)
    }

    /// The revision, that of nothing being 1.
    pub fn revision(&self) -> i64 {
        self.data().revision()
    }

    /// Every key with its value.
    pub fn dump(&self) -> Vec<(String, Vec<u8>)> {
        self.data().dump()
    }

    fn data(&self) -> MutexGuard<'_, Data> {
        self.shared.data.lock().expect("nothing panics under the lock")
    }

    /// Changes something, and wakes those who watch.
    fn change<T>(&self, change: impl FnOnce(&mut Data) -> T) -> T {
        let mut data = self.data();
        let before = data.revision();
        let result = change(&mut data);
        let is_changed = data.revision() != before;
        drop(data);
        if is_changed {
            self.shared.changed.notify_waiters();
        }
        result
    }

    fn running(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.shared.running.lock().expect("nothing panics under the lock")
    }
}

impl Member {
    /// The leader ends the leases that nobody keeps alive.
    async fn look_after_leases(&self) {
        loop {
            tokio::time::sleep(LEASE_TICK).await;
            let leader = self.etcd.running().first().copied();
            if leader == Some(self.id) {
                self.etcd.change(|data| data.leases_age(LEASE_TICK));
            }
        }
    }
}

/// A member is up for as long as this lives.
struct Running {
    member: Member,
}

impl Running {
    fn begin(member: &Member) -> Self {
        let etcd = &member.etcd;
        let leader = etcd.running().first().copied();
        etcd.running().insert(member.id);
        if etcd.running().first().copied() != leader {
            // A new leader gives every lease its whole time again.
            etcd.data().leases_begin_anew();
        }
        Self { member: member.clone() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let etcd = &self.member.etcd;
        etcd.running().remove(&self.member.id);
        etcd.data().leases_begin_anew();
    }
}
