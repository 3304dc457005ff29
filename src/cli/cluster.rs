//! The cluster: its nodes, and who owns what.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use clap::Args;

use super::{
    Remote,
    exit::{Exit, Fault},
    output::{answer, clean},
    table::{Align, Table, count, human, thousands},
};
use crate::proto::admin::v1::{GetClusterRequest, GetClusterResponse, Node, ShardOwner};

pub const HELP: &str = "\
CLOCK is how far a node's clock is ahead of that of the node which answers; SESSION how long a node
keeps its shards if it hears nothing more of the store.

Examples:
  quotagate cluster
  quotagate cluster --shards
  quotagate cluster -o json | jq .owners";

/// GetClusterRequest has no fields.
#[derive(Debug, Args)]
pub struct ClusterArgs {
    /// List every shard with its owner and epoch
    #[arg(long)]
    shards: bool,
    #[command(flatten)]
    remote: Remote,
}

/// Shows the cluster.
pub async fn cluster(args: ClusterArgs) -> Result<Exit, Fault> {
    let response = args.remote.connect().await?.get_cluster(GetClusterRequest {}).await?;
    answer(args.remote.output, &response, |response| {
        let mut text = nodes_text(response);
        if args.shards {
            text += &shards_text(&response.owners);
        }
        text
    })?;
    Ok(Exit::Done)
}

fn nodes_text(response: &GetClusterResponse) -> String {
    let mut table = Table::new([
        ("NODE", Align::Left),
        ("ADDRESS", Align::Left),
        ("VERSION", Align::Left),
        ("SHARDS", Align::Right),
        ("ORGS", Align::Right),
        ("EPOCHS", Align::Right),
        ("SESSION", Align::Right),
        ("CLOCK", Align::Right),
        ("STARTED", Align::Left),
        ("", Align::Left),
    ]);
    for node in &response.nodes {
        let left = node.session_left.and_then(|left| Duration::try_from(left).ok());
        table.row([
            clean(&node.name),
            clean(&node.address),
            clean(&node.version),
            thousands(node.owned_shards.into()),
            thousands(node.orgs.into()),
            epochs(node),
            left.map(human).unwrap_or_default(),
            node.clock_offset.map(offset).unwrap_or_default(),
            node.started.map(|time| time.to_string()).unwrap_or_default(),
            state(node),
        ]);
    }
    let mut out = format!(
        "counters in the {} store, in {} shards\n",
        clean(&response.store),
        response.shards
    );
    if !response.generation.is_empty() {
        _ = writeln!(
            out,
            "cluster {}, as {} knows it",
            clean(&response.generation),
            clean(&response.answered_by)
        );
    }
    _ = write!(out, "\n{}", table.render());
    let others = others(response);
    if !others.is_empty() {
        _ = write!(out, "\n{others}");
    }
    out + &members_text(response)
}

/// The members of the store, where it has such.
fn members_text(response: &GetClusterResponse) -> String {
    let columns = [("MEMBER", Align::Left), ("ANSWERS IN", Align::Right), ("", Align::Left)];
    let mut table = Table::new(columns);
    for member in &response.store_members {
        let took = member.round_trip.and_then(|took| Duration::try_from(took).ok());
        let state = if member.healthy { String::new() } else { clean(&member.problem) };
        table.row([clean(&member.endpoint), took.map(human).unwrap_or_default(), state]);
    }
    if table.is_empty() { String::new() } else { format!("\n{}", table.render()) }
}

/// The shards that none of the nodes shown owns.
fn others(response: &GetClusterResponse) -> String {
    let mut by_owner: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for ShardOwner { shard, node, .. } in &response.owners {
        by_owner.entry(node).or_default().push(*shard);
    }
    let mut out = String::new();
    for (owner, shards) in by_owner {
        if response.nodes.iter().any(|node| node.name == owner) {
            continue;
        }
        let number = count(shards.len() as u64, "shard");
        let which = ranges(&shards);
        _ = match owner {
            "" => writeln!(out, "without an owner: {number}: {which}"),
            gone => writeln!(out, "still of {}, which is gone: {number}: {which}", clean(gone)),
        };
    }
    out
}

fn shards_text(owners: &[ShardOwner]) -> String {
    let columns = [("SHARD", Align::Right), ("OWNER", Align::Left), ("EPOCH", Align::Right)];
    let mut table = Table::new(columns);
    for ShardOwner { shard, node, epoch } in owners {
        let owner = if node.is_empty() { "nobody".to_owned() } else { clean(node) };
        table.row([shard.to_string(), owner, epoch.to_string()]);
    }
    if table.is_empty() { String::new() } else { format!("\n{}", table.render()) }
}

fn epochs(node: &Node) -> String {
    match (node.min_epoch, node.max_epoch) {
        (0, 0) => String::new(),
        (low, high) if low == high => low.to_string(),
        (low, high) => format!("{low}–{high}"),
    }
}

fn state(node: &Node) -> String {
    let draining = if node.draining { "draining" } else { "" };
    let words = [draining.to_owned(), clean(&node.problem)];
    words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join("; ")
}

/// `+1.5 s`, `-20 ms`; to the millisecond, which is more than was measured.
fn offset(ahead: prost_types::Duration) -> String {
    let nanos = i128::from(ahead.seconds) * 1_000_000_000 + i128::from(ahead.nanos);
    let millis = u64::try_from((nanos.unsigned_abs() + 500_000) / 1_000_000).unwrap_or(u64::MAX);
    let sign = match nanos {
        _ if millis == 0 => "±",
        ..0 => "-",
        _ => "+",
    };
    format!("{sign}{}", human(Duration::from_millis(millis)))
}

/// `0-2, 7` of 0, 1, 2 and 7.
fn ranges(sorted: &[u32]) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &number in sorted {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let text = |(first, last)| {
        if first == last { format!("{first}") } else { format!("{first}-{last}") }
    };
    ranges.into_iter().map(text).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::admin::v1::StoreMember;

    fn node(name: &str, shards: u32, offset_ms: i32) -> Node {
        Node {
            name: name.into(),
            address: format!("{name}:7400"),
            version: "1.2.3".into(),
            owned_shards: shards,
            orgs: 1_200,
            min_epoch: 7,
            max_epoch: 9,
            session_left: Some(prost_types::Duration { seconds: 8, nanos: 0 }),
            clock_offset: Some(prost_types::Duration { seconds: 0, nanos: offset_ms * 1_000_000 }),
            ..Node::default()
        }
    }

    fn owners(names: &[&str]) -> Vec<ShardOwner> {
        let owner = |(shard, node): (u32, &&str)| {
            let node = (*node).to_owned();
            ShardOwner { shard, epoch: if node.is_empty() { 0 } else { 7 }, node }
        };
        (0..).zip(names).map(owner).collect()
    }

    #[test]
    fn a_cluster_is_its_nodes_and_what_none_of_them_owns() {
        let response = GetClusterResponse {
            store: "etcd".into(),
            shards: 6,
            nodes: vec![
                node("a", 1, 0),
                Node { draining: true, problem: "its clock is wrong".into(), ..node("b", 1, -20) },
            ],
            owners: owners(&["a", "b", "", "", "c", ""]),
            generation: "00ff".into(),
            answered_by: "a".into(),
            moves: Vec::new(),
            store_members: vec![
                StoreMember {
                    endpoint: "e1:2379".into(),
                    healthy: true,
                    round_trip: Some(prost_types::Duration { seconds: 0, nanos: 3_000_000 }),
                    ..StoreMember::default()
                },
                StoreMember {
                    endpoint: "e2:2379".into(),
                    problem: "no connection".into(),
                    ..StoreMember::default()
                },
            ],
        };
        let expected = "\
counters in the etcd store, in 6 shards
cluster 00ff, as a knows it

  NODE  ADDRESS  VERSION  SHARDS   ORGS  EPOCHS  SESSION   CLOCK
  a     a:7400   1.2.3         1  1,200     7–9      8 s    ±0 s
  b     b:7400   1.2.3         1  1,200     7–9      8 s  -20 ms  draining; its clock is wrong

without an owner: 3 shards: 2-3, 5
still of c, which is gone: 1 shard: 4

  MEMBER   ANSWERS IN
  e1:2379        3 ms
  e2:2379              no connection
";
        assert_eq!(nodes_text(&response), expected, "\n{}", nodes_text(&response));
        assert_eq!(
            shards_text(&response.owners[..3]),
            "\n  SHARD  OWNER   EPOCH\n      0  a           7\n      1  b           7\n      2  nobody      0\n"
        );
    }

    #[test]
    fn one_machine_shows_one_node_and_no_shards() {
        let response = GetClusterResponse {
            store: "file".into(),
            shards: 256,
            nodes: vec![Node { clock_offset: None, session_left: None, ..node("local", 256, 0) }],
            ..GetClusterResponse::default()
        };
        assert_eq!(
            nodes_text(&response),
            "counters in the file store, in 256 shards\n\n\
             \x20 NODE   ADDRESS     VERSION  SHARDS   ORGS  EPOCHS\n\
             \x20 local  local:7400  1.2.3       256  1,200     7–9\n"
        );
        assert_eq!(shards_text(&response.owners), "");
    }
}
