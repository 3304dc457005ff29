//! Commands that need the service's own code.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use super::exit::{Exit, Fault};
use crate::{
    config::{BUILT_IN_CATALOGUE, check::check_file},
    demo::{self, DemoService},
    server::{Options, Service},
};

pub const SERVE_HELP: &str = "\
Examples:
  quotagate serve                                 keeps its counts in ./quotagate-data
  quotagate serve --store memory:                 forgets them at the end
  quotagate serve --config quotagate.yaml --store file:/var/lib/quotagate
  QUOTAGATE_LOG=debug quotagate serve --grpc 127.0.0.1:0";

pub const DEMO_HELP: &str = "\
Exits with 0 if Salesforce refused none of the calls that were made through the
service, else with 1.

Examples:
  quotagate demo
  quotagate demo --duration 15s
  quotagate demo --duration 6m --speed 1          Salesforce's minutes as long as they are
  quotagate demo --plain | tee demo.log
  quotagate demo --cluster                        three nodes and an etcd, to be harmed";

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

/// Checks a configuration.
pub fn check(args: CheckArgs) -> Result<Exit, Fault> {
    let Some(file) = args.file else {
        print!("{BUILT_IN_CATALOGUE}");
        return Ok(Exit::Done);
    };
    let checked = check_file(&file, args.print_catalogue);
    if checked.good {
        print!("{}", checked.text);
        Ok(Exit::Done)
    } else {
        eprint!("{}", checked.text);
        Ok(Exit::Failure)
    }
}

/// Shows what the service is for.
pub async fn demo(args: demo::Args) -> Result<Exit, Fault> {
    let code = demo::run(args, async |config| {
        let options = Options { node: "demo".to_owned(), ..Options::in_memory(config) };
        let service = Service::start(options).await?;
        Ok(DemoService { grpc_addr: service.grpc_addr(), stop: Box::pin(service.stop()) })
    });
    let code = code.await.map_err(|error| Fault::failure(format!("{error:#}")))?;
    Ok(if code == ExitCode::SUCCESS { Exit::Done } else { Exit::Failure })
}
