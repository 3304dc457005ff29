//! How the other nodes are, and how far their clocks are from this one's: each
//! is asked once a second.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};

use super::{
    View,
    peers::{Lane, Peers},
};
use crate::{
    clock::Clock,
    quota::{Mono, Wall},
};

/// How often each node is asked.
const EVERY: Duration = Duration::from_secs(1);

/// An answer that takes longer is none: it is asked again soon.
const PATIENCE: Duration = Duration::from_millis(900);

/// What a node says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Its name.
    pub node: String,
    /// Tells two sessions of it apart.
    pub incarnation: String,
    /// Its machine's wall clock.
    pub clock: Wall,
    /// How long its session lasts if it is not renewed; `None` if it has none.
    pub session_left: Option<Duration>,
    /// How many shards it owns.
    pub owned_shards: u32,
    /// How many orgs it has in memory.
    pub orgs: u32,
    /// When it started, by its own clock.
    pub started: Wall,
    /// Why it is not well, in a sentence; empty if it is.
    pub problem: String,
}

/// How this node's own session is, as whoever drives it knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Tells two sessions of this node apart; empty where it has none.
    pub incarnation: String,
    /// Until when the session lasts if it is not renewed; `None` if there is none.
    pub session_until: Option<Mono>,
    /// Why the node is not well, in a sentence; empty if it is.
    pub problem: String,
}

/// An answer to a ping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinged {
    /// What the node said.
    pub facts: Facts,
    /// How far its wall clock is ahead of this node's, in microseconds; right to
    /// half of the round trip.
    pub offset_us: i64,
    /// From the question to the answer.
    pub round_trip: Duration,
    /// When the answer came.
    pub at: Mono,
}

/// The last answer of each other node, by name, or why there was none.
pub type Pings = BTreeMap<String, Result<Pinged, String>>;

/// Asks every other node of the view, for ever, and publishes the answers after
/// each round. Connections to nodes that have gone are closed.
pub async fn run(
    peers: Arc<Peers>,
    clock: Clock,
    view: watch::Receiver<Arc<View>>,
    pings: watch::Sender<Arc<Pings>>,
) {
    let mut rounds = interval(EVERY);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        let view = Arc::clone(&view.borrow());
        let mut asked = JoinSet::new();
        for (name, node) in view.nodes.iter().filter(|(name, _)| *name != peers.node()) {
            let (peers, clock, name) = (Arc::clone(&peers), clock.clone(), name.clone());
            let address = node.record.peer_address.clone();
            asked.spawn(async move { (name, ping(&peers, &address, &clock).await) });
        }
        peers.keep_only(|address| view.nodes.values().any(|n| n.record.peer_address == address));
        pings.send_replace(Arc::new(asked.join_all().await.into_iter().collect()));
    }
}

async fn ping(peers: &Peers, address: &str, clock: &Clock) -> Result<Pinged, String> {
    // Connected before, so that the round trip is that of a ping alone.
    let deadline = Instant::now() + PATIENCE;
    let connection =
        peers.connect(address, Lane::Rest, deadline).await.map_err(|e| e.to_string())?;
    let (asked, own) = (clock.mono(), clock.wall());
    let facts = connection.ping(peers.node(), deadline).await.map_err(|e| e.to_string())?;
    let at = clock.mono();
    let round_trip = at.since(asked);
    let offset_us = offset(own + round_trip / 2, facts.clock);
    Ok(Pinged { facts, offset_us, round_trip, at })
}

/// How far `other` is ahead of `own`, in microseconds.
fn offset(own: Wall, other: Wall) -> i64 {
    let apart = other.0.abs_diff(own.0);
    let apart = i64::try_from(apart).unwrap_or(i64::MAX);
    if other >= own { apart } else { -apart }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_positive_where_the_other_clock_is_ahead() {
        for (own, other, expected) in
            [(5, 5, 0), (5, 8, 3), (8, 5, -3), (0, u64::MAX, i64::MAX), (u64::MAX, 0, -i64::MAX)]
        {
            assert_eq!(offset(Wall(own), Wall(other)), expected, "{own} and {other}");
        }
    }
}
