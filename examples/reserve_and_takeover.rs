//! Tries every order of events in a small world of reserve and takeover, and
//! says whether any of them overruns the limit.

#[path = "../tests/model/mod.rs"]
mod model;

use std::{io::IsTerminal as _, net::SocketAddr, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use model::{Fault, Settings, Tick, check};
use stateright::Model as _;

/// A model of how the nodes of a cluster share one counter through etcd.
///
/// Nodes put the owner key, read the record, reserve blocks by transactions that
/// compare both, and grant calls out of what is committed. Meanwhile everything
/// goes wrong that can: transactions arrive late or twice, answers are lost,
/// leases end while their owners still believe in them, nodes crash, or sleep
/// and go on. Every order of these events is tried, so "holds" means: in this
/// world there is no way to break it.
///
/// With a fault planted, the shortest way to the damage is printed. Times are in
/// ticks; `@n` is a revision of the store.
#[derive(Parser)]
#[command(version, after_help = after_help())]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Search every world, and say what holds. Exits with 1 if something does not
    Check {
        #[command(flatten)]
        size: Size,
        /// Go no further than this many steps from the first world; 0 is no bound
        #[arg(long, value_name = "STEPS", default_value_t = 18)]
        depth: usize,
        /// Threads that search
        #[arg(long, value_name = "N", default_value_t = 2)]
        threads: usize,
    },
    /// Walk through the worlds in a browser
    Explore {
        #[command(flatten)]
        size: Size,
        /// Where to listen
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:3000")]
        listen: SocketAddr,
    },
}

/// How large the world is, and what is wrong in it.
#[derive(Args)]
struct Size {
    /// Nodes that compete for the shard
    #[arg(long, value_name = "N", default_value_t = Settings::default().nodes)]
    nodes: usize,
    /// Units in every window
    #[arg(long, value_name = "L", default_value_t = Settings::default().limit)]
    limit: usize,
    /// Units of a block
    #[arg(long, value_name = "UNITS", default_value_t = Settings::default().block)]
    block: usize,
    /// Ticks of a window
    #[arg(long, value_name = "TICKS", default_value_t = Settings::default().window)]
    window: Tick,
    /// Ticks for which a block can be granted from
    #[arg(long, value_name = "TICKS", default_value_t = Settings::default().horizon)]
    horizon: Tick,
    /// Ticks for which a permit can be used
    #[arg(long, value_name = "TICKS", default_value_t = Settings::default().ttl)]
    ttl: Tick,
    /// Transactions on their way at a time
    #[arg(long, value_name = "N", default_value_t = Settings::default().in_flight)]
    in_flight: usize,
    /// What is wrong; see below
    #[arg(long, value_name = "FAULT")]
    fault: Option<Fault>,
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Check { size, depth, threads } => {
            let show = std::io::stderr().is_terminal();
            let verdict = check(&size.into(), depth, threads, |worlds| {
                if show {
                    eprint!("\r{worlds} worlds ");
                }
            });
            if show {
                eprint!("\r\x1b[K");
            }
            println!("{verdict}");
            if verdict.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Command::Explore { size, listen } => {
            println!("open http://{listen}/ (Ctrl-C ends)");
            // It serves until the process ends.
            drop(Settings::from(size).checker().serve(listen));
            ExitCode::SUCCESS
        }
    }
}

impl From<Size> for Settings {
    fn from(size: Size) -> Self {
        let Size { nodes, limit, block, window, horizon, ttl, in_flight, fault } = size;
        Self { nodes, limit, block, window, horizon, ttl, in_flight, fault }
    }
}

fn after_help() -> String {
    let faults: String =
        Fault::ALL.iter().map(|(_, name, what)| format!("  {name:<26}{what}\n")).collect();
    format!(
        "Faults, each of which breaks something within 16 steps:\n{faults}\n\
         Try:\n  cargo run --example reserve_and_takeover -- check --fault no-record-compare\n  \
         cargo run --example reserve_and_takeover -- check --in-flight 1 --depth 0\n  \
         cargo run --release --example reserve_and_takeover -- check --nodes 3 --depth 20"
    )
}
