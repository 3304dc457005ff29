//! Holds the architecture by reading the sources: who may name whom, what the
//! core may not know, and where each kind of knowledge has its one home.
//!
//! Every rule is shown, in the rows at the end, that it can fail.

mod rules;
mod scan;
mod tree;

use rules::Rule;
use tree::Tree;

/// One room of the house: a file or a folder directly under `src/`.
pub struct Room {
    /// Its name, as `crate::name`.
    pub name: &'static str,
    /// The other rooms that its code may name. (Its unit tests may name any.)
    pub may_name: &'static [&'static str],
}

const fn room(name: &'static str, may_name: &'static [&'static str]) -> Room {
    Room { name, may_name }
}

/// The rooms, from the top of the house to its foundation: each may name only
/// rooms that stand below it. ARCHITECTURE.md says what each is for.
#[rustfmt::skip]
pub const ROOMS: &[Room] = &[
    room("bin",       &["cli", "demo", "server", "config", "telemetry", "client", "duration"]),
    room("cli",       &["demo", "server", "auth", "standin", "cluster", "client", "store", "config", "tls", "telemetry", "metrics", "quota", "https", "json", "clock", "duration", "proto"]),
    room("demo",      &["server", "standin", "client", "config", "telemetry", "metrics", "quota", "json", "clock", "duration", "proto"]),
    room("server",    &["rpc", "web", "auth", "tls", "node", "webhook", "shard", "cluster", "store", "config", "telemetry", "trace", "metrics", "quota", "https", "clock", "duration"]),
    room("web",       &["rpc", "auth", "tls", "node", "config", "trace", "metrics", "quota", "json", "clock", "duration", "proto"]),
    room("rpc",       &["auth", "tls", "node", "cluster", "config", "trace", "metrics", "quota", "json", "clock", "duration", "proto"]),
    room("auth",      &["config", "metrics", "quota", "https", "clock", "duration"]),
    room("node",      &["cluster", "shard", "store", "config", "metrics", "quota", "clock", "duration"]),
    room("webhook",   &["shard", "config", "metrics", "quota", "https", "clock"]),
    room("shard",     &["store", "config", "trace", "metrics", "quota", "clock"]),
    room("cluster",   &["store", "trace", "metrics", "quota", "clock", "duration", "unsent", "proto"]),
    room("store",     &["tls", "quota", "metrics", "clock", "proto"]),
    room("standin",   &["clock", "duration"]),
    room("client",    &["tls", "json", "clock", "duration", "unsent", "proto"]),
    room("config",    &["metrics", "quota", "duration"]),
    room("trace",     &["tls", "metrics"]),
    room("tls",       &["metrics", "clock"]),
    room("telemetry", &["clock"]),
    room("metrics",   &["quota"]),
    room("clock",     &["quota"]),
    room("https",     &[]),
    room("json",      &["proto"]),
    room("duration",  &[]),
    room("unsent",    &[]),
    room("proto",     &[]),
    room("quota",     &[]),
];

/// Knowledge that has one home.
pub struct Home {
    /// A path that only the home may name.
    pub path: &'static str,
    /// Files and folders.
    pub homes: &'static [&'static str],
    /// Why.
    pub reason: &'static str,
}

/// What may be named in few places only.
pub const HOMES: &[Home] = &[
    Home {
        path: "crate::proto",
        homes: &[
            "src/rpc",
            "src/web",
            "src/client",
            "src/cli",
            "src/demo",
            "src/json",
            "src/store/records.rs",
            "src/cluster/peers",
            "src/lib.rs",
        ],
        reason: "wire types end at the edges",
    },
    Home { path: "etcd_client", homes: &["src/store"], reason: "storage is known to the store" },
    Home {
        path: "opentelemetry",
        homes: &["src/trace"],
        reason: "spans are told of in words of our own",
    },
    Home { path: "opentelemetry_sdk", homes: &["src/trace"], reason: "as for opentelemetry" },
    Home { path: "opentelemetry_otlp", homes: &["src/trace"], reason: "as for opentelemetry" },
    Home { path: "redb", homes: &["src/store"], reason: "storage is known to the store" },
    Home {
        path: "dashmap",
        homes: &["src/shard/table.rs"],
        reason: "one file knows how the map's guards may be held",
    },
    Home {
        path: "crate::standin",
        homes: &["src/demo", "src/cli/standin.rs"],
        reason: "the stand-in is for the demo, its own command and the tests",
    },
];

/// What the core may not name, besides every dependency but [`CORE_MAY_NAME`].
pub const FORBIDDEN_IN_CORE: &[&str] = &[
    "std::thread",
    "std::fs",
    "std::net",
    "std::io",
    "std::env",
    "std::process",
    "std::os",
    "rand",
    "getrandom",
    "etcd_client",
];

/// Dependencies without effects, which the core may name.
pub const CORE_MAY_NAME: &[&str] = &["smallvec", "smol_str", "thiserror"];

/// More lines than this need a table of contents: it is two files.
pub const MOST_LINES: usize = 900;

#[test]
fn the_house_is_tidy() {
    let tree = Tree::read();
    let faults: Vec<String> = rules::ALL.iter().flat_map(|rule| rule(&tree)).collect();
    assert!(faults.is_empty(), "\n{} to tidy up:\n  {}\n", faults.len(), faults.join("\n  "));
}

/// Runs one rule on a small planted tree; `faults` are parts of what it must
/// say, one for each fault.
fn check(rule: Rule, planted: &[(&str, &str)], faults: &[&str]) {
    let said = rule(&Tree::planted(planted));
    let matches = said.len() == faults.len()
        && said.iter().zip(faults).all(|(said, part)| said.contains(part));
    assert!(matches, "\nplanted: {planted:#?}\nexpected: {faults:#?}\nsaid: {said:#?}");
}

#[test]
fn a_room_names_only_the_rooms_below_it() {
    let rule: Rule = rules::direction;
    check(rule, &[("src/node.rs", "use crate::{shard::Table, quota::OrgId};")], &[]);
    check(rule, &[("src/shard.rs", "use crate::{node, quota};")], &["src/shard.rs:1: `shard`"]);
    check(rule, &[("src/shard/table.rs", "\nfn f() { crate::rpc::run() }")], &["table.rs:2:"]);
    check(rule, &[("src/quota/ids.rs", "use super::time; use crate::quota::policy;")], &[]);
    check(rule, &[("src/quota/ids.rs", "use super::super::clock;")], &["begin with `crate::`"]);
    check(rule, &[("src/clock.rs", "use super::node;")], &["begin with `crate::`"]);
    check(
        rule,
        &[("src/store.rs", "// crate::node\n/* crate::rpc */ const A: &str = \"crate::web\";")],
        &[],
    );
    check(rule, &[("src/store.rs", "#[cfg(test)] mod tests { use crate::node; }")], &[]);
    check(rule, &[("src/store/tests.rs", "use crate::node;")], &[]);
    check(rule, &[("src/bin/quotagate.rs", "fn main() { quotagate::rpc::run() }")], &["`bin`"]);
}

#[test]
fn the_table_of_rooms_is_in_order_and_complete() {
    let map = ("ARCHITECTURE.md", "`store` and `quota`");
    check(rules::rooms, &[map, ("src/store.rs", ""), ("src/quota/ids.rs", "")], &[]);
    check(rules::rooms, &[map, ("src/attic/old.rs", "")], &["src/attic is a new room"]);
    check(rules::rooms, &[map, ("src/node.rs", "")], &["ARCHITECTURE.md has no place for `node`"]);
    for (at, room) in ROOMS.iter().enumerate() {
        for name in room.may_name {
            let below = ROOMS[at + 1..].iter().any(|below| below.name == *name);
            assert!(below, "`{}` may name `{name}`, which does not stand below it", room.name);
        }
    }
}

#[test]
fn the_core_knows_no_clock_no_network_and_no_chance() {
    let rule: Rule = rules::purity;
    let cargo = (
        "Cargo.toml",
        "[dependencies]\ntokio = \"1\"\ntower-layer = \"1\"\nthiserror = \"2\"\n[dev-dependencies]\nproptest = \"1\"",
    );
    let core = |text| [cargo, ("src/quota/window.rs", text)];
    check(rule, &core("use std::{collections::VecDeque, time::Duration};"), &[]);
    check(rule, &core("use std::{fs, time::{Duration, Instant}};"), &["std::fs", "Instant"]);
    check(rule, &core("fn now() -> std::time::SystemTime { todo() }"), &["SystemTime"]);
    check(rule, &core("fn f() { tokio::spawn(async {}) }"), &["tokio::spawn"]);
    check(rule, &core("use tower_layer::Layer;"), &["tower_layer"]);
    check(rule, &core("fn dice() -> u64 { rand::random() }"), &["rand::random"]);
    check(rule, &core("#[derive(thiserror::Error)] struct E; use proptest::prelude::*;"), &[]);
    check(rule, &[cargo, ("src/quota.rs", "use tokio::sync;")], &["src/quota.rs:1"]);
    check(rule, &[cargo, ("src/node.rs", "use tokio::sync;")], &[]);
}

#[test]
fn knowledge_stays_in_its_home() {
    let rule: Rule = rules::homes;
    check(rule, &[("src/rpc/convert.rs", "use crate::proto::v1;")], &[]);
    check(rule, &[("src/store/records.rs", "use crate::proto::store::v1;")], &[]);
    check(rule, &[("src/store/file.rs", "use crate::{proto::store};")], &["wire types"]);
    check(
        rule,
        &[("src/node.rs", "use crate::proto;\nuse crate::proto::v1;")],
        &["node.rs:1", "node.rs:2"],
    );
    check(rule, &[("src/store/etcd.rs", "use etcd_client::Client;")], &[]);
    check(rule, &[("src/shard/session.rs", "use etcd_client::Client;")], &["etcd_client"]);
    check(rule, &[("src/shard/table.rs", "use dashmap::DashMap;")], &[]);
    check(rule, &[("src/shard/reserver.rs", "use dashmap::DashMap;")], &["dashmap"]);
    check(rule, &[("src/server.rs", "use crate::standin::Org;")], &["crate::standin"]);
    check(rule, &[("src/demo/fleet.rs", "use crate::standin::Org;")], &[]);
}

#[test]
fn clocks_are_read_in_one_file() {
    let rule: Rule = rules::clocks;
    check(rule, &[("src/clock.rs", "fn f() { rustix::time::clock_gettime(id) }")], &[]);
    check(rule, &[("src/web.rs", "fn f() { rustix::time::clock_gettime(id) }")], &["web.rs:1"]);
    check(
        rule,
        &[("src/web.rs", "use std::time;\nfn f() { time::SystemTime::now() }")],
        &["web.rs:2"],
    );
    check(
        rule,
        &[("src/web.rs", "use std::time::Instant;\nfn f() { Instant::now() }")],
        &["web.rs:2"],
    );
    check(rule, &[("src/web.rs", "use tokio::time::Instant;\nfn f() { Instant::now() }")], &[]);
}

#[test]
fn nothing_is_left_unfinished() {
    let rule: Rule = rules::unfinished;
    check(rule, &[("src/node.rs", "fn f() { unimplemented!() }")], &["unimplemented!"]);
    check(rule, &[("tests/it.rs", "fn f() {\n dbg!(1);\n todo!() }")], &["it.rs:2", "it.rs:3"]);
    check(rule, &[("src/node.rs", concat!("// TO", "DO: later"))], &["node.rs:1"]);
    check(rule, &[("src/node.rs", "/// Never `todo!()`.\nfn todo() {}")], &[]);
}

#[test]
fn no_file_needs_a_table_of_contents() {
    check(rules::size, &[("src/node.rs", &"\n".repeat(MOST_LINES))], &[]);
    check(rules::size, &[("src/node.rs", &"\n".repeat(MOST_LINES + 1))], &["901 lines"]);
}

#[test]
fn every_source_is_compiled() {
    let rule: Rule = rules::reachable;
    check(
        rule,
        &[("src/lib.rs", "pub mod quota;"), ("src/quota.rs", "mod ids;"), ("src/quota/ids.rs", "")],
        &[],
    );
    check(rule, &[("src/lib.rs", "// mod quota;"), ("src/quota.rs", "")], &["src/quota.rs"]);
    check(rule, &[("tests/it.rs", "mod common;"), ("tests/common/mod.rs", "")], &[]);
    check(rule, &[("tests/it.rs", ""), ("tests/common/mod.rs", "")], &["tests/common/mod.rs"]);
    check(rule, &[("tests/sim/main.rs", "mod seeds;"), ("tests/sim/seeds.rs", "")], &[]);
    check(rule, &[("tests/sim/seeds.rs", "")], &["tests/sim/seeds.rs"]);
    let it = ("tests/it/main.rs", "#[path = \"../common/mod.rs\"]\nmod common;");
    check(rule, &[it, ("tests/common/mod.rs", "")], &[]);
}

#[test]
fn documents_name_only_what_exists() {
    let rule: Rule = rules::documents;
    let there = ("docs/operations.md", "");
    check(
        rule,
        &[there, ("README.md", "[a](docs/operations.md#start) [b](#top) [c](https://x.y)")],
        &[],
    );
    check(rule, &[there, ("README.md", "![a](docs/picture.svg)")], &["docs/picture.svg"]);
    check(
        rule,
        &[there, ("docs/adr/1.md", "[up](../operations.md) [no](operations.md)")],
        &["docs/adr/1.md"],
    );
    check(
        rule,
        &[there, ("README.md", "see `docs/operations.md` and `src/gone.rs`")],
        &["src/gone.rs"],
    );
    check(rule, &[there, ("README.md", "all of `docs/`")], &[]);
}
