//! What each member of an etcd says of itself, for those who look after it.

use std::time::Duration;

use etcd_client::{AlarmAction, AlarmType, Client};
use tokio::time::Instant;

use super::{BadMember, EtcdOptions, member::Member};

/// A member, asked by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examined {
    /// `HOST:PORT`.
    pub endpoint: String,
    /// What it says; else why it does not answer.
    pub says: Result<Says, String>,
}

/// What a member that answers says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Says {
    /// Its own number.
    pub id: u64,
    /// Tells clusters apart.
    pub cluster: u64,
    /// Its version.
    pub version: String,
    /// The number of the member that leads, as it knows; 0: none does.
    pub leader: u64,
    /// It does not vote.
    pub is_learner: bool,
    /// How large its database is, in bytes.
    pub bytes: u64,
    /// How large it may become; `None` where an older version does not say.
    pub most_bytes: Option<u64>,
    /// Alarms that are raised, of whichever member: `NOSPACE` and `CORRUPT`.
    pub alarms: Vec<String>,
    /// How long a read that asks the others took.
    pub round_trip: Duration,
}

/// Asks each member by itself, one after the other.
///
/// # Errors
/// [`BadMember`], the first of them.
pub async fn examine(options: EtcdOptions) -> Result<Vec<Examined>, BadMember> {
    let EtcdOptions { members, prefix, tls, user, dial } = options;
    let mut examined = Vec::new();
    for endpoint in members {
        let member = Member::new(endpoint.clone(), tls.clone(), user.clone(), dial.clone())?;
        let says = ask(&member, &prefix).await;
        examined.push(Examined { endpoint, says });
    }
    Ok(examined)
}

async fn ask(member: &Member, prefix: &str) -> Result<Says, String> {
    let status = member.ask(|mut client: Client| async move { client.status().await }).await;
    let status = status.map_err(|fault| fault.into_reason())?;
    let alarms = member.ask(|mut client: Client| async move {
        client.alarm(AlarmAction::Get, AlarmType::None, None).await
    });
    let alarms = alarms.await.map_err(|fault| fault.into_reason())?;
    let asked = Instant::now();
    let read = member.ask(|mut client: Client| async move { client.get(prefix, None).await });
    read.await.map_err(|fault| fault.into_reason())?;
    let round_trip = asked.elapsed();
    let header = status.header();
    let alarms = alarms.alarms().iter().filter_map(|alarm| match alarm.alarm() {
        AlarmType::None => None,
        AlarmType::Nospace => Some("NOSPACE".to_owned()),
        AlarmType::Corrupt => Some("CORRUPT".to_owned()),
    });
    Ok(Says {
        id: header.map_or(0, |header| header.member_id()),
        cluster: header.map_or(0, |header| header.cluster_id()),
        version: status.version().to_owned(),
        leader: status.leader(),
        is_learner: status.is_learner(),
        bytes: u64::try_from(status.db_size()).unwrap_or(0),
        most_bytes: u64::try_from(status.db_size_quota()).ok().filter(|quota| *quota > 0),
        alarms: alarms.collect(),
        round_trip,
    })
}
