//! The cluster: its nodes, who owns what, what has just moved, and how its store is.

use std::{collections::BTreeMap, time::Duration};

use askama::Template;
use axum::{extract::State, response::Response};

use super::{
    Frame, Section, Shared, Visit,
    words::{self, Moment},
};
use crate::proto::{
    admin::v1::{
        GetClusterRequest, GetClusterResponse, Node, ShardMove, StoreMember,
        admin_service_server::AdminService,
    },
    v1::quota_service_server::QuotaService,
};

/// Moves that are listed: those of a moment between the same nodes are one.
const MOVES: usize = 20;

/// Shards are listed by number up to so many ranges.
const RANGES: usize = 6;

/// The style sheet has so many colours of nodes; letters tell them apart beyond.
const COLOURS: usize = 8;

/// A session that is shorter than this is about to be lost.
const SHORT: Duration = Duration::from_secs(3);

/// Clocks that are further apart are worth a look: the protocol allows 2 s.
const FAR_MS: i128 = 500;

#[derive(Template)]
#[template(path = "cluster.html")]
struct Cluster {
    frame: Frame,
    /// What it is, in a sentence.
    said: String,
    facts: Vec<(&'static str, String)>,
    /// Others share the store.
    is_shared: bool,
    nodes: Vec<NodeRow>,
    members: Vec<MemberRow>,
    owners: Vec<Owner>,
    /// One per shard, by number.
    cells: Vec<Cell>,
    /// What the grid shows, for those who do not see it.
    grid: String,
    moves: Vec<MoveRow>,
}

struct NodeRow {
    /// Its letter in the grid, and the class of its colour.
    letter: String,
    colour: String,
    name: String,
    is_here: bool,
    address: String,
    peer_address: String,
    version: String,
    shards: String,
    orgs: String,
    session: String,
    session_is_short: bool,
    clock: String,
    clock_is_far: bool,
    started: Option<Moment>,
    /// Kind of chip, and text.
    state: (&'static str, &'static str),
    problem: String,
}

struct MemberRow {
    endpoint: String,
    state: (&'static str, &'static str),
    took: String,
    problem: String,
}

/// A node with the shards that it owns.
struct Owner {
    letter: String,
    colour: String,
    name: String,
    shards: String,
    which: String,
}

struct Cell {
    letter: String,
    colour: String,
    title: String,
}

struct MoveRow {
    time: Option<Moment>,
    what: String,
    which: String,
}

/// The page.
pub async fn page<Q: QuotaService, A: AdminService>(
    State(pages): Shared<Q, A>,
    visit: Visit,
) -> Response {
    pages
        .show(visit, |pages, visit| async move {
            let request = visit.request(GetClusterRequest {});
            let cluster = pages.admin().get_cluster(request).await?.into_inner();
            Ok(Cluster::new(visit.frame("Cluster", Section::Cluster), &cluster))
        })
        .await
}

impl Cluster {
    fn new(frame: Frame, cluster: &GetClusterResponse) -> Self {
        let signs = Signs::of(cluster);
        let is_shared = !cluster.owners.is_empty();
        let mut facts = vec![("Store", cluster.store.clone())];
        if is_shared {
            facts.push(("Answered by", cluster.answered_by.clone()));
            facts.push(("Made as", cluster.generation.clone()));
        }
        Self {
            frame,
            said: said(cluster),
            facts,
            is_shared,
            nodes: cluster.nodes.iter().map(|node| node_row(node, cluster, &signs)).collect(),
            members: cluster.store_members.iter().map(member_row).collect(),
            owners: owners(cluster, &signs),
            cells: cells(cluster, &signs),
            grid: grid(cluster),
            moves: moves(&cluster.moves),
        }
    }
}

/// The letter and colour of each node, also of those that are gone.
struct Signs<'c>(BTreeMap<&'c str, usize>);

impl<'c> Signs<'c> {
    fn of(cluster: &'c GetClusterResponse) -> Self {
        let alive = cluster.nodes.iter().map(|node| node.name.as_str());
        let owners = cluster.owners.iter().map(|owner| owner.node.as_str());
        // Who has just gone keeps its sign, so that the others keep theirs.
        let moved = cluster.moves.iter().flat_map(|moved| [moved.from.as_str(), &moved.to]);
        let all = alive.chain(owners).chain(moved);
        let mut names: Vec<&str> = all.filter(|name| !name.is_empty()).collect();
        names.sort_unstable();
        names.dedup();
        Self(names.into_iter().zip(0..).collect())
    }

    fn letter(&self, node: &str) -> String {
        let place = self.0.get(node).and_then(|place| u8::try_from(*place).ok());
        let letter = place.filter(|place| *place < 26).map(|place| char::from(b'A' + place));
        letter.map_or_else(|| "·".to_owned(), String::from)
    }

    fn colour(&self, node: &str) -> String {
        self.0.get(node).map_or_else(|| "none".to_owned(), |place| format!("n{}", place % COLOURS))
    }
}

fn said(cluster: &GetClusterResponse) -> String {
    if cluster.owners.is_empty() {
        return format!(
            "One process has the {} store for itself: it decides for every org. Several share \
             an etcd.",
            cluster.store
        );
    }
    let unowned = cluster.owners.iter().filter(|owner| owner.node.is_empty()).count() as u64;
    let nodes = words::counted(cluster.nodes.len() as u64, "node");
    let shards = words::counted(cluster.shards.into(), "shard");
    if !cluster.nodes.is_empty() && cluster.nodes.iter().all(|node| node.session_left.is_none()) {
        // Whoever owned a shard before does not decide for it now.
        return format!(
            "{nodes} share {shards} of the orgs; none of them has a session with the store, and \
             nobody decides."
        );
    }
    match unowned {
        0 => format!("{nodes} share {shards} of the orgs, and each shard has an owner."),
        1 => format!("{nodes} share {shards} of the orgs; 1 shard has no owner now."),
        _ => format!(
            "{nodes} share {shards} of the orgs; {} have no owner now.",
            words::counted(unowned, "shard")
        ),
    }
}

fn node_row(node: &Node, cluster: &GetClusterResponse, signs: &Signs<'_>) -> NodeRow {
    let session = words::length(node.session_left.as_ref());
    let offset_ms = node.clock_offset.as_ref().map(|offset| {
        (i128::from(offset.seconds) * 1_000_000_000 + i128::from(offset.nanos)) / 1_000_000
    });
    let is_here = node.name == cluster.answered_by;
    NodeRow {
        letter: signs.letter(&node.name),
        colour: signs.colour(&node.name),
        name: node.name.clone(),
        is_here,
        address: node.address.clone(),
        peer_address: node.peer_address.clone(),
        version: node.version.clone(),
        shards: words::count(node.owned_shards.into()),
        orgs: words::count(node.orgs.into()),
        session: session.map(|left| format!("{} s left", left.as_secs())).unwrap_or_default(),
        session_is_short: session.is_some_and(|left| left < SHORT),
        clock: match offset_ms {
            _ if is_here => "this node's".to_owned(),
            Some(ms) => clock(ms),
            None => String::new(),
        },
        clock_is_far: offset_ms.is_some_and(|ms| ms.abs() > FAR_MS),
        started: node.started.map(Moment),
        state: match (node.problem.is_empty(), node.draining) {
            (false, _) => ("paused", "not well"),
            (true, true) => ("soon", "draining"),
            (true, false) => ("running", "well"),
        },
        problem: words::sentence(&node.problem),
    }
}

/// `+12 ms`, `level`.
fn clock(ahead_ms: i128) -> String {
    let size = words::count(u64::try_from(ahead_ms.unsigned_abs()).unwrap_or(u64::MAX));
    match ahead_ms {
        0 => "level".to_owned(),
        ..0 => format!("−{size} ms"),
        _ => format!("+{size} ms"),
    }
}

fn member_row(member: &StoreMember) -> MemberRow {
    let took = words::length(member.round_trip.as_ref());
    MemberRow {
        endpoint: member.endpoint.clone(),
        state: match (member.healthy, took) {
            (false, _) => ("paused", "does not answer"),
            (true, Some(_)) => ("running", "answers"),
            (true, None) => ("plain", "not asked yet"),
        },
        took: took.map_or_else(String::new, millis),
        // It stands beside its address.
        problem: words::sentence(
            member.problem.trim_start_matches(&format!("{}: ", member.endpoint)),
        ),
    }
}

/// `0.8 ms`, `12 ms`.
fn millis(took: Duration) -> String {
    match took.as_micros() {
        micros @ ..10_000 => format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100),
        micros => format!("{} ms", words::count(u64::try_from(micros / 1_000).unwrap_or(u64::MAX))),
    }
}

fn by_owner(cluster: &GetClusterResponse) -> BTreeMap<&str, Vec<u32>> {
    let mut by_owner = BTreeMap::<&str, Vec<u32>>::new();
    for owner in &cluster.owners {
        by_owner.entry(&owner.node).or_default().push(owner.shard);
    }
    by_owner
}

fn owners(cluster: &GetClusterResponse, signs: &Signs<'_>) -> Vec<Owner> {
    let owner = |(node, shards): (&str, Vec<u32>)| Owner {
        letter: if node.is_empty() { "–".to_owned() } else { signs.letter(node) },
        colour: signs.colour(node),
        name: if node.is_empty() { "nobody".to_owned() } else { node.to_owned() },
        shards: words::counted(shards.len() as u64, "shard"),
        which: ranges(&shards),
    };
    by_owner(cluster).into_iter().map(owner).collect()
}

fn cells(cluster: &GetClusterResponse, signs: &Signs<'_>) -> Vec<Cell> {
    let cell = |owner: &crate::proto::admin::v1::ShardOwner| Cell {
        letter: if owner.node.is_empty() { "–".to_owned() } else { signs.letter(&owner.node) },
        colour: signs.colour(&owner.node),
        title: match owner.node.as_str() {
            "" => format!("shard {}: no owner", owner.shard),
            node => format!("shard {}: {node}, epoch {}", owner.shard, owner.epoch),
        },
    };
    cluster.owners.iter().map(cell).collect()
}

fn grid(cluster: &GetClusterResponse) -> String {
    let parts = by_owner(cluster).into_iter().map(|(node, shards)| {
        let count = words::counted(shards.len() as u64, "shard");
        if node.is_empty() {
            format!("{count} without an owner")
        } else {
            format!("{node} owns {count}")
        }
    });
    format!("The shards by owner: {}", parts.collect::<Vec<_>>().join("; "))
}

/// Moves of the same second between the same nodes in one row.
fn moves(moves: &[ShardMove]) -> Vec<MoveRow> {
    let key = |moved: &ShardMove| {
        (moved.time.map(|time| time.seconds), moved.from.clone(), moved.to.clone())
    };
    // Within a moment those of the same nodes stand together.
    let mut moves = moves.to_vec();
    moves.sort_by_key(|moved| {
        let (second, from, to) = key(moved);
        (std::cmp::Reverse(second), from, to)
    });
    let groups = moves.chunk_by(|a, b| key(a) == key(b)).take(MOVES);
    let row = |group: &[ShardMove]| {
        let first = group.first()?;
        let mut shards: Vec<u32> = group.iter().map(|moved| moved.shard).collect();
        shards.sort_unstable();
        let count = words::counted(shards.len() as u64, "shard");
        Some(MoveRow {
            time: first.time.map(Moment),
            what: match (first.from.as_str(), first.to.as_str()) {
                ("", to) => format!("{to} took {count}"),
                (from, to) if from == to => format!("{to} took {count} anew, in a later session"),
                (from, to) => format!("{count} from {from} to {to}"),
            },
            which: ranges(&shards),
        })
    };
    groups.filter_map(row).collect()
}

/// `0–2, 7` of 0, 1, 2 and 7; no more than are read.
fn ranges(sorted: &[u32]) -> String {
    let chunks: Vec<&[u32]> = sorted.chunk_by(|a, b| a + 1 == *b).collect();
    let text = |chunk: &&[u32]| match chunk {
        [first, .., last] => format!("{first}–{last}"),
        [only] => only.to_string(),
        [] => String::new(),
    };
    let mut shown: Vec<String> = chunks.iter().take(RANGES).map(text).collect();
    let rest: usize = chunks.iter().skip(RANGES).map(|chunk| chunk.len()).sum();
    if rest > 0 {
        shown.push(format!("and {} more", words::count(rest as u64)));
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(seconds: i64, shard: u32, from: &str, to: &str) -> ShardMove {
        let time = Some(prost_types::Timestamp { seconds, nanos: 5 });
        ShardMove { time, shard, from: from.into(), to: to.into(), epoch: 7 }
    }

    #[test]
    fn moves_of_a_moment_are_one_row() {
        let rows = moves(&[
            moved(9, 4, "a", "b"),
            moved(9, 3, "a", "b"),
            moved(9, 8, "a", "b"),
            moved(8, 1, "b", "b"),
            moved(8, 2, "", "b"),
        ]);
        let texts: Vec<_> =
            rows.iter().map(|row| (row.what.as_str(), row.which.as_str())).collect();
        assert_eq!(
            texts,
            [
                ("3 shards from a to b", "3–4, 8"),
                ("b took 1 shard", "2"),
                ("b took 1 shard anew, in a later session", "1"),
            ]
        );
    }

    #[test]
    fn numbers_of_shards_are_shortened() {
        assert_eq!(ranges(&[0, 1, 2, 7]), "0–2, 7");
        let odd: Vec<u32> = (0..20).map(|number| 2 * number).collect();
        assert_eq!(ranges(&odd), "0, 2, 4, 6, 8, 10, and 14 more");
    }

    #[test]
    fn times_are_as_fine_as_they_matter() {
        for (micros, text) in [(0, "0.0 ms"), (840, "0.8 ms"), (9_990, "9.9 ms"), (12_900, "12 ms")]
        {
            assert_eq!(millis(Duration::from_micros(micros)), text);
        }
        for (ms, text) in [(0, "level"), (12, "+12 ms"), (-1_200, "−1,200 ms")] {
            assert_eq!(clock(ms), text);
        }
    }
}
