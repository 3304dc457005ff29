//! The members of an etcd, in the order of their health.

use std::{
    fmt,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use etcd_client::{Client, Error as EtcdError, GetOptions};
use tokio::{task::JoinSet, time::sleep};

use super::{fault::Fault, member::Member};
use crate::store::StoreMember;

/// A member that has failed is tried again after this, besides the requests:
/// none waits for it meanwhile, as long as another works.
const PROBE: Duration = Duration::from_secs(1);

/// All members. A clone is the same.
#[derive(Clone)]
pub(super) struct Members {
    all: Arc<[Arc<Member>]>,
    /// Numbers the failures.
    failures: Arc<AtomicU64>,
    /// A key that is read to see whether a member works.
    probe: Arc<[u8]>,
}

impl Members {
    pub(super) fn new(all: Vec<Arc<Member>>, probe: Vec<u8>) -> Self {
        Self { all: all.into(), failures: Arc::default(), probe: probe.into() }
    }

    /// Asks one member after the other until one answers, for a request that may
    /// be carried out more than once.
    pub(super) async fn ask_any<T, F>(&self, request: impl Fn(Client) -> F) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, EtcdError>>,
    {
        Ok(self.ask_each(true, request).await?.1)
    }

    /// The same, and tells which member has answered.
    pub(super) async fn ask_one_of<T, F>(
        &self,
        request: impl Fn(Client) -> F,
    ) -> Result<(Arc<Member>, T), Fault>
    where
        F: Future<Output = Result<T, EtcdError>>,
    {
        self.ask_each(true, request).await
    }

    /// Asks one member after the other until one may have carried it out.
    pub(super) async fn ask_once<T, F>(&self, request: impl Fn(Client) -> F) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, EtcdError>>,
    {
        Ok(self.ask_each(false, request).await?.1)
    }

    /// Asks two members at the same time, and another for each that fails: the
    /// first answer counts.
    pub(super) async fn ask_two<T, F>(
        &self,
        request: impl Fn(Client) -> F + Clone + Send + Sync + 'static,
    ) -> Result<T, Fault>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, EtcdError>> + Send + 'static,
    {
        let mut waiting = self.by_health().into_iter();
        let mut asked = JoinSet::new();
        let ask = |asked: &mut JoinSet<_>, member: Arc<Member>| {
            let (members, request) = (self.clone(), request.clone());
            asked.spawn(async move { members.ask(&member, request).await });
        };
        for member in waiting.by_ref().take(2) {
            ask(&mut asked, member);
        }
        let mut faults = Vec::new();
        while let Some(answer) = asked.join_next().await {
            match answer {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(refused @ Fault::Refused(..))) => return Err(refused),
                Ok(Err(fault)) => faults.push(fault),
                Err(died) => faults.push(Fault::Unknown(died.to_string())),
            }
            if let Some(member) = waiting.next() {
                ask(&mut asked, member);
            }
        }
        Err(together(faults))
    }

    async fn ask_each<T, F>(
        &self,
        is_repeatable: bool,
        request: impl Fn(Client) -> F,
    ) -> Result<(Arc<Member>, T), Fault>
    where
        F: Future<Output = Result<T, EtcdError>>,
    {
        let mut faults = Vec::new();
        for member in self.by_health() {
            match self.ask(&member, &request).await {
                Ok(answer) => return Ok((member, answer)),
                Err(Fault::Unknown(reason)) if !is_repeatable => {
                    return Err(Fault::Unknown(reason));
                }
                Err(refused @ Fault::Refused(..)) => return Err(refused),
                Err(fault) => faults.push(fault),
            }
        }
        Err(together(faults))
    }

    /// Asks a member, and takes note of its health.
    async fn ask<T, F>(
        &self,
        member: &Arc<Member>,
        request: impl Fn(Client) -> F,
    ) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, EtcdError>>,
    {
        let answer = member.ask(request).await;
        match &answer {
            Ok(_) | Err(Fault::Refused(..)) => works(member),
            Err(fault) => self.has_failed(member, fault.reason()),
        }
        answer
    }

    /// How each of them is, in the order in which they are listed.
    pub(super) fn standing(&self) -> Vec<StoreMember> {
        self.all.iter().map(|member| member.standing()).collect()
    }

    /// Puts a member last, and sees to it that it is tried again.
    pub(super) fn has_failed(&self, member: &Arc<Member>, reason: &str) {
        let number = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if !member.fails(number, reason) {
            return;
        }
        let healthy = self.all.iter().filter(|member| member.is_healthy()).count();
        tracing::warn!(
            member = member.name(),
            reason,
            healthy,
            of = self.all.len(),
            "a member of etcd does not answer as it should: others are asked first"
        );
        tokio::spawn(probe(Arc::downgrade(member), Arc::clone(&self.probe)));
    }

    /// Those that work in the order in which they are listed, then those that
    /// have failed longest ago.
    fn by_health(&self) -> Vec<Arc<Member>> {
        let mut members: Vec<_> = self.all.iter().map(|member| (member.health(), member)).collect();
        members.sort_by_key(|(health, _)| *health);
        members.into_iter().map(|(_, member)| Arc::clone(member)).collect()
    }
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.all.iter()).finish()
    }
}

/// Tries a member that has failed until it works, or nobody needs it any more. A
/// read that is linearizable shows that it takes part in the cluster: a member
/// that is cut off from the others would answer anything less.
async fn probe(member: std::sync::Weak<Member>, key: Arc<[u8]>) {
    loop {
        sleep(PROBE).await;
        let Some(member) = member.upgrade() else { return };
        if member.is_healthy() {
            return;
        }
        let read = member.ask(|mut client: Client| {
            let (key, options) = (key.to_vec(), GetOptions::new().with_keys_only());
            async move { client.get(key, Some(options)).await }
        });
        if matches!(read.await, Ok(_) | Err(Fault::Refused(..))) {
            works(&member);
            return;
        }
    }
}

fn works(member: &Member) {
    if member.works() {
        tracing::info!(member = member.name(), "a member of etcd works again");
    }
}

/// What all members have said: if one of them may have carried it out, that is
/// what counts.
fn together(faults: Vec<Fault>) -> Fault {
    let is_unknown = faults.iter().any(|fault| matches!(fault, Fault::Unknown(_)));
    let reasons: Vec<_> = faults.into_iter().map(Fault::into_reason).collect();
    let reason = format!("no member of etcd has answered: {}", reasons.join("; "));
    if is_unknown { Fault::Unknown(reason) } else { Fault::NotSent(reason) }
}
