//! All orgs of the cluster, a line each: every node summarises the shards that it
//! serves, the edge puts the answers together, and many who look at the same time
//! are shown the same. `trouble` says how much an org needs somebody, `page` what of
//! it one caller is shown.

mod page;
mod trouble;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::Mutex,
    task::{JoinSet, yield_now},
    time::{Instant, timeout_at},
};

pub use self::page::page;
use super::convert::overview as wire;
use crate::{
    cluster::peers::{self, Call, Lane, PeerError, Peers, Trace},
    node::{Node, OtherNode, Shard},
    proto::{peer::v1 as peer, v1},
};

/// How long a sweep is shown at least.
const FRESH: Duration = Duration::from_secs(1);

/// One that has taken long is shown so many times as long, so that all who look
/// together cost a fiftieth of a core at most.
const REST: u32 = 50;

/// But no longer than this.
const OLD: Duration = Duration::from_secs(10);

/// A node has so long to tell of all its orgs.
const ANSWER: Duration = Duration::from_secs(2);

/// All orgs, as one sweep over the cluster found them.
#[derive(Debug)]
pub struct Sweep {
    /// When it was finished, by this node's clock.
    pub as_of: prost_types::Timestamp,
    /// The orgs, by name.
    pub lines: Vec<v1::OrgLine>,
    /// The nodes that did not answer.
    pub silent: Vec<v1::SilentNode>,
}

/// The last sweep.
#[derive(Debug, Default)]
pub struct Overview {
    /// Whoever has the lock sweeps; the others wait for it, and find it done.
    last: Mutex<Option<Kept>>,
}

#[derive(Debug)]
struct Kept {
    sweep: Arc<Sweep>,
    fresh_until: Instant,
}

impl Overview {
    /// The orgs of the cluster: as they are now, or were some seconds ago.
    pub async fn latest(&self, node: &Node, peers: &Arc<Peers>) -> Arc<Sweep> {
        let mut last = self.last.lock().await;
        if let Some(kept) = &*last
            && Instant::now() < kept.fresh_until
        {
            return Arc::clone(&kept.sweep);
        }
        let began = Instant::now();
        let sweep = Arc::new(sweep(node, peers).await);
        let rest = (began.elapsed() * REST).clamp(FRESH, OLD);
        let fresh_until = Instant::now() + rest;
        *last = Some(Kept { sweep: Arc::clone(&sweep), fresh_until });
        sweep
    }
}

async fn sweep(node: &Node, peers: &Arc<Peers>) -> Sweep {
    let deadline = Instant::now() + ANSWER;
    let mut asked = JoinSet::new();
    for other in node.others() {
        let peers = Arc::clone(peers);
        asked.spawn(async move {
            let answer = ask(&peers, &other, deadline).await;
            (other.name, answer)
        });
    }
    let mut shards = BTreeMap::new();
    let declared = node.declared_by_shard();
    for shard in Shard::all() {
        let declared = declared.get(&shard).map(Vec::as_slice).unwrap_or_default();
        if let Some(lines) = node.lines(shard, declared) {
            take(&mut shards, wire::glance(lines));
            yield_now().await;
        }
    }
    let mut silent = Vec::new();
    while let Some(answer) = asked.join_next().await {
        match answer {
            Ok((_, Ok(answers))) => answers.into_iter().for_each(|one| take(&mut shards, one)),
            Ok((node, Err(why))) => {
                silent.push(v1::SilentNode { node, reason: why.to_string() });
            }
            Err(died) => tracing::error!(%died, "a sweep over the orgs of another node died"),
        }
    }
    silent.sort_by(|a, b| a.node.cmp(&b.node));
    let known: BTreeSet<u32> = shards.keys().copied().collect();
    let nobody_knows = declared.iter().filter(|(shard, _)| !known.contains(&shard.number().into()));
    let unknown = nobody_knows.flat_map(|(_, orgs)| orgs);
    let unknown =
        unknown.map(|org| v1::OrgLine { org: org.as_str().to_owned(), ..Default::default() });
    let mut lines: Vec<v1::OrgLine> =
        shards.into_values().flat_map(|glance| glance.orgs).chain(unknown).collect();
    lines.iter_mut().for_each(trouble::judge);
    lines.sort_unstable_by(|a, b| a.org.cmp(&b.org));
    Sweep { as_of: wire::time(node.now()), lines, silent }
}

/// Of two who speak of a shard the later owner is right.
fn take(shards: &mut BTreeMap<u32, peer::GlanceResponse>, glance: peer::GlanceResponse) {
    let known = shards.get(&glance.shard);
    if known.is_none_or(|known| known.epoch <= glance.epoch) {
        shards.insert(glance.shard, glance);
    }
}

/// Has another node tell of its orgs.
async fn ask(
    peers: &Peers,
    other: &OtherNode,
    deadline: Instant,
) -> Result<Vec<peer::GlanceResponse>, PeerError> {
    let connection = peers.connect(&other.peer_address, Lane::Rest, deadline).await?;
    let request = peer::GlanceRequest { node: peers.node().to_owned() };
    let call = Call { deadline, trace: Trace::default() };
    let mut stream = connection.glance(request, &call).await?;
    let all = async {
        let mut told = Vec::new();
        while let Some(glance) = peers::next(&mut stream).await? {
            told.push(glance);
        }
        Ok(told)
    };
    let too_late =
        |_| Err(PeerError::Lost(format!("it did not tell of all its orgs in {ANSWER:?}")));
    timeout_at(deadline, all).await.unwrap_or_else(too_late)
}
