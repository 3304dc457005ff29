//! Commands that need the service's own code.

use std::path::PathBuf;

use clap::Args;

use super::exit::{Exit, Fault};

pub const SERVE_HELP: &str = "\
Examples:
  quotagate serve                                 keeps its counts in ./quotagate-data
  quotagate serve --store memory:                 forgets them at the end
  quotagate serve --config quotagate.yaml --store file:/var/lib/quotagate
  QUOTAGATE_LOG=debug quotagate serve --grpc 127.0.0.1:0";

pub const CHECK_HELP: &str = "\
Exits with 1 where the configuration has faults.

Examples:
  quotagate check quotagate.yaml
  quotagate check --print-catalogue > catalogue.yaml";

/// What to check.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The configuration file
    #[arg(value_name = "FILE", required_unless_present = "print_catalogue")]
    file: Option<PathBuf>,
    /// Print the whole catalogue in force as YAML that can be loaded again
    #[arg(long)]
    print_catalogue: bool,
}

/// How to show it.
#[derive(Debug, Args)]
pub struct DemoArgs {}

/// Checks a configuration.
pub fn check(args: CheckArgs) -> Result<Exit, Fault> {
    let _ = (args.file, args.print_catalogue);
    Err(Fault::failure("check is not wired yet"))
}

/// Shows what the service is for.
pub async fn demo(args: DemoArgs) -> Result<Exit, Fault> {
    let DemoArgs {} = args;
    Err(Fault::failure("demo is not wired yet"))
}
