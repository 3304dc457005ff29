//! The store that several processes share: etcd, through a session layer of our
//! own.
//!
//! etcd's client spreads requests over the members and goes on doing so when one
//! is down. So there is one client for each `member`, and `members` asks them
//! in the order of their health: what was certainly not sent goes to the next at
//! once; what may have been carried out is told as such, and only what may be
//! done twice is asked again. `fault` is the one place that judges which is
//! which. `history` notices an etcd that was restored or made anew; `watch`
//! goes on over every loss of connection.
//!
//! Nothing in here repeats a transaction: to decide that is the caller's.

pub mod examine;
mod fault;
mod history;
mod member;
mod members;
mod watch;

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use etcd_client::{
    Client, Compare as EtcdCompare, CompareOp, GetOptions, GetResponse, KeyValue as EtcdKeyValue,
    PutOptions, Txn as EtcdTxn, TxnOp, TxnOpResponse, TxnResponse,
};
use tokio::sync::mpsc;
use tonic::transport::{Channel, Endpoint};

use self::{
    fault::{Fault, Refusal},
    history::History,
    member::Member,
    members::Members,
};
use super::{
    Changed, Compare, KeyValue, LeaseId, Listing, Sessions, Store, StoreError, StoreMember, Txn,
    TxnOutcome, Watched, Write, apply,
};
use crate::tls::Connector;

/// How to reach an etcd.
#[derive(Clone, Default)]
pub struct EtcdOptions {
    /// `HOST:PORT` of each member. The first that is healthy is asked, so nodes
    /// may list them in different orders.
    pub members: Vec<String>,
    /// Begins every key, with a slash at both ends.
    pub prefix: String,
    /// How to speak TLS; `None`: not at all.
    pub tls: Option<Connector>,
    /// Name and password; `None` where etcd asks for none.
    pub user: Option<(String, String)>,
    /// How to connect, where that is not by TCP as the system does it.
    pub dial: Option<Dial>,
}

/// Connects to a member.
pub type Dial = Arc<dyn Fn(Endpoint) -> Dialing + Send + Sync>;

/// A connection on its way.
pub type Dialing =
    Pin<Box<dyn Future<Output = Result<Channel, tonic::transport::Error>> + Send + 'static>>;

/// A name of a member that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{member:?} is not a member of an etcd: {reason}")]
pub struct BadMember {
    /// What was given.
    pub member: String,
    /// Why not.
    pub reason: String,
}

/// A store in etcd, version 3.4 or newer. The keys of this store are those of
/// etcd under a prefix. It ignores [`Txn::wall`]: what several processes share
/// is protected by the bound of their clocks' differences.
pub struct EtcdStore {
    shared: Arc<Shared>,
}

/// What requests and watches need.
struct Shared {
    prefix: String,
    members: Members,
    history: History,
}

/// Keys that are read at a time. A value is some kilobytes at most, so that a
/// page is read well within the time of a request.
const PAGE: i64 = 500;

/// A listing that is so slow that etcd compacts what it reads begins anew, so
/// many times.
const LISTINGS: usize = 3;

/// Messages of a watch that wait for whoever follows it. After that etcd waits.
const WATCHED: usize = 64;

/// The shortest lease. (etcd makes more of it, in accordance with its elections.)
const SHORTEST_LEASE: i64 = 1;

impl EtcdStore {
    /// A store that connects with its first request.
    ///
    /// # Errors
    /// [`BadMember`], the first of them.
    pub fn new(options: EtcdOptions) -> Result<Self, BadMember> {
        let EtcdOptions { members, prefix, tls, user, dial } = options;
        let members = members
            .into_iter()
            .map(|name| Member::new(name, tls.clone(), user.clone(), dial.clone()).map(Arc::new))
            .collect::<Result<_, _>>()?;
        let probe = format!("{prefix}meta/").into_bytes();
        let members = Members::new(members, probe);
        Ok(Self { shared: Arc::new(Shared { prefix, members, history: History::default() }) })
    }
}

#[async_trait]
impl Store for EtcdStore {
    fn kind(&self) -> &'static str {
        "etcd"
    }

    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        Ok(self.shared.list(prefix).await?.1)
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        apply::check(&txn)?;
        let shared = Arc::clone(&self.shared);
        // A task of its own: whoever stops waiting does not stop it.
        let carried_out = tokio::spawn(async move { shared.txn(&txn).await });
        carried_out.await.unwrap_or_else(|died| Err(StoreError::Unknown(died.to_string())))
    }

    fn sessions(&self) -> Option<&dyn Sessions> {
        Some(self)
    }

    fn members(&self) -> Vec<StoreMember> {
        self.shared.members.standing()
    }
}

#[async_trait]
impl Sessions for EtcdStore {
    fn lives(&self) -> tokio::sync::watch::Receiver<u64> {
        self.shared.history.lives()
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        let whole = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        let seconds = i64::try_from(whole).unwrap_or(i64::MAX).max(SHORTEST_LEASE);
        // A second lease, after a first that nobody knows of, harms nobody: that
        // one ends by itself.
        let granted = self.shared.members.ask_any(move |mut client: Client| async move {
            client.lease_grant(seconds, None).await
        });
        Ok(LeaseId(granted.await?.id()))
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Duration, StoreError> {
        let kept = self.shared.members.ask_two(move |mut client: Client| async move {
            // The first answer only opens the stream, and does not tell the time.
            let (mut keeper, mut answers) = client.lease_keep_alive(lease.0).await?;
            keeper.keep_alive().await?;
            let answer = answers.message().await?;
            answer
                .map(|answer| answer.ttl())
                .ok_or_else(|| etcd_client::Error::Internal("the keep-alive ended".to_owned()))
        });
        match kept.await {
            Ok(seconds) => Ok(Duration::from_secs(u64::try_from(seconds).unwrap_or(0))),
            Err(Fault::Refused(Refusal::LeaseGone, _)) => Ok(Duration::ZERO),
            Err(fault) => Err(fault.into()),
        }
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        let revoked = self
            .shared
            .members
            .ask_any(move |mut client: Client| async move { client.lease_revoke(lease.0).await });
        match revoked.await {
            Ok(_) | Err(Fault::Refused(Refusal::LeaseGone, _)) => Ok(()),
            Err(fault) => Err(fault.into()),
        }
    }

    fn watch(&self, prefix: &str) -> mpsc::Receiver<Watched> {
        let (tell, told) = mpsc::channel(WATCHED);
        tokio::spawn(watch::follow(Arc::clone(&self.shared), prefix.to_owned(), tell));
        told
    }
}

impl fmt::Debug for EtcdStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdStore")
            .field("members", &self.shared.members)
            .field("prefix", &self.shared.prefix)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for EtcdOptions {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdOptions")
            .field("members", &self.members)
            .field("prefix", &self.prefix)
            .field("tls", &self.tls.is_some())
            .field("user", &self.user.as_ref().map(|(name, _)| name))
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Which cluster has answered, and every key under a prefix as of one
    /// revision.
    async fn list(&self, prefix: &str) -> Result<(u64, Listing), StoreError> {
        let mut attempt = 1;
        loop {
            match self.try_list(prefix).await {
                Err(Unlisted::Compacted(_)) if attempt < LISTINGS => attempt += 1,
                Err(Unlisted::Compacted(why)) => return Err(StoreError::NotExecuted(why)),
                Err(Unlisted::Store(error)) => return Err(error),
                Ok(listed) => return Ok(listed),
            }
        }
    }

    async fn try_list(&self, prefix: &str) -> Result<(u64, Listing), Unlisted> {
        let prefix = self.key(prefix);
        let end = end_of(&prefix);
        let (mut cluster, mut listing) = (0, Listing::default());
        let mut from = prefix;
        loop {
            let mut page = self.page(&from, &end, listing.revision).await?;
            if listing.revision == 0 {
                // The first page sets the revision at which the others are read.
                (cluster, listing.revision) = (page.cluster, page.revision);
            }
            let more = page.answer.more();
            let entries = page.answer.take_kvs();
            let Some(last) = entries.last().filter(|_| more) else {
                listing.entries.extend(entries.into_iter().map(|entry| self.entry(entry)));
                return Ok((cluster, listing));
            };
            from = [last.key(), &[0]].concat();
            listing.entries.extend(entries.into_iter().map(|entry| self.entry(entry)));
        }
    }

    /// Keys from `from` up to `end`; of now where `revision` is 0.
    async fn page(&self, from: &[u8], end: &[u8], revision: u64) -> Result<Page, Unlisted> {
        let known = self.history.known();
        let options = GetOptions::new()
            .with_range(end)
            .with_limit(PAGE)
            .with_revision(i64::try_from(revision).unwrap_or(i64::MAX));
        let asked = self.members.ask_any(|client: Client| {
            let (from, options) = (from.to_owned(), options.clone());
            async move {
                let mut kv = client.kv_client().max_decoding_message_size(usize::MAX);
                kv.get(from, Some(options)).await
            }
        });
        let answer = asked.await.map_err(|fault| match fault {
            Fault::Refused(Refusal::Compacted, why) => Unlisted::Compacted(why),
            fault => Unlisted::Store(StoreError::NotExecuted(fault.into_reason())),
        })?;
        let (cluster, revision) =
            self.history.check(known, answer.header()).map_err(Unlisted::Store)?;
        Ok(Page { cluster, revision, answer })
    }

    async fn txn(&self, txn: &Txn) -> Result<TxnOutcome, StoreError> {
        let known = self.history.known();
        let request = self.request(txn);
        let answer = self.members.ask_once(|client: Client| {
            let request = request.clone();
            async move {
                let mut kv = client.kv_client().max_decoding_message_size(usize::MAX);
                kv.txn(request).await
            }
        });
        let answer = answer.await?;
        let (_, revision) = self.history.check(known, answer.header())?;
        if answer.succeeded() {
            return Ok(TxnOutcome::Done { revision });
        }
        Ok(TxnOutcome::Conflict { current: self.found(&answer) })
    }

    /// A transaction in etcd's words: if it fails it gets the compared keys.
    fn request(&self, txn: &Txn) -> EtcdTxn {
        let when: Vec<_> = txn
            .when
            .iter()
            .map(|condition| {
                let key = self.key(condition.key());
                match condition {
                    Compare::ModRevision(_, revision) => {
                        EtcdCompare::mod_revision(key, CompareOp::Equal, signed(*revision))
                    }
                    Compare::CreateRevision(_, revision) => {
                        EtcdCompare::create_revision(key, CompareOp::Equal, signed(*revision))
                    }
                }
            })
            .collect();
        let then: Vec<_> = txn
            .then
            .iter()
            .map(|write| {
                let key = self.key(write.key());
                match write {
                    Write::Put(_, value) => TxnOp::put(key, value.as_slice(), None),
                    Write::PutLeased(_, value, lease) => {
                        let leased = PutOptions::new().with_lease(lease.0);
                        TxnOp::put(key, value.as_slice(), Some(leased))
                    }
                    Write::Delete(_) => TxnOp::delete(key, None),
                }
            })
            .collect();
        let get = |condition: &Compare| TxnOp::get(self.key(condition.key()), None);
        let or_else: Vec<_> = txn.when.iter().map(get).collect();
        EtcdTxn::new().when(when).and_then(then).or_else(or_else)
    }

    /// What the compared keys hold, in the order of the conditions.
    fn found(&self, answer: &TxnResponse) -> Vec<Option<KeyValue>> {
        let first = |answer| match answer {
            TxnOpResponse::Get(mut found) => {
                found.take_kvs().into_iter().next().map(|entry| self.entry(entry))
            }
            _ => None,
        };
        answer.op_responses().into_iter().map(first).collect()
    }

    /// etcd's name of a key.
    fn key(&self, key: &str) -> Vec<u8> {
        [self.prefix.as_bytes(), key.as_bytes()].concat()
    }

    /// Our name of a key of etcd's. What is not text was not written by us, and
    /// is shown as good as it can be.
    fn name(&self, key: &[u8]) -> String {
        String::from_utf8_lossy(key.get(self.prefix.len()..).unwrap_or_default()).into_owned()
    }

    fn entry(&self, entry: EtcdKeyValue) -> KeyValue {
        let (create_revision, mod_revision) = (entry.create_revision(), entry.mod_revision());
        let (key, value) = entry.into_key_value();
        KeyValue {
            key: self.name(&key),
            value,
            create_revision: unsigned(create_revision),
            mod_revision: unsigned(mod_revision),
        }
    }

    fn changed(&self, event: &etcd_client::Event) -> Option<Changed> {
        let entry = event.kv()?;
        Some(match event.event_type() {
            etcd_client::EventType::Put => Changed::Put(self.entry(entry.clone())),
            etcd_client::EventType::Delete => Changed::Deleted {
                key: self.name(entry.key()),
                revision: unsigned(entry.mod_revision()),
            },
        })
    }
}

/// A part of a listing.
struct Page {
    cluster: u64,
    revision: u64,
    answer: GetResponse,
}

/// Why there is no listing.
enum Unlisted {
    /// The revision that was read is not kept any more.
    Compacted(String),
    Store(StoreError),
}

/// The first key behind all that begin with this text. It begins with the prefix
/// of the store, so it is not empty, and no text has the byte 255.
fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    if let Some(last) = end.last_mut() {
        *last = last.saturating_add(1);
    }
    end
}

/// etcd counts revisions from 1 and never below 0.
fn unsigned(revision: i64) -> u64 {
    u64::try_from(revision).unwrap_or(0)
}

/// No store ever has a revision above etcd's highest: it compares as one.
fn signed(revision: u64) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}
