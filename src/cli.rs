//! The program's commands.

mod admin;
#[cfg(feature = "server")]
mod audit;
mod bench;
mod call;
#[cfg(feature = "server")]
mod can;
mod changes;
mod cluster;
mod connection;
#[cfg(feature = "server")]
mod doctor;
mod exec;
mod exit;
#[cfg(feature = "server")]
mod local;
mod output;
mod poll;
#[cfg(feature = "standin")]
mod standin;
mod table;
#[cfg(feature = "server")]
mod token;
mod top;
mod usage;

use std::process::ExitCode;

use clap::{
    Arg, ArgAction, Args, Command, CommandFactory as _, FromArgMatches as _, Parser, Subcommand,
    builder::FalseyValueParser,
};
use clap_complete::Shell;

use self::{
    connection::Connection,
    exit::{Exit, Fault},
    output::Format,
};
use crate::client::Client;

const AFTER_HELP: &str = "\
Every option is also an environment variable: QUOTAGATE_SERVER for --server, and so on.

Exit codes: 0 done, 1 failure, 2 usage, 3 denied, 4 unavailable; of exec else the command's.

Examples:
  quotagate serve --store memory:
  quotagate acquire --org acme --operation conversation-entries.get --execution-user alice
  quotagate usage --org acme
  quotagate watch --org acme";

/// Lets many callers share Salesforce's API limits
#[derive(Debug, Parser)]
#[command(name = "quotagate", version = crate::VERSION, after_help = AFTER_HELP, max_term_width = 100)]
#[command(subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the service
    #[cfg(feature = "server")]
    #[command(after_help = local::SERVE_HELP)]
    Serve(Box<crate::server::ServeArgs>),
    /// Ask to make calls: prints a permit, or the denial and exits with 3
    #[command(after_help = call::ACQUIRE_HELP)]
    Acquire(call::AcquireArgs),
    /// Run a command with a permit for its calls, and settle it afterwards
    #[command(after_help = exec::HELP)]
    Exec(exec::ExecArgs),
    /// Give back calls that were never sent
    #[command(after_help = call::RELEASE_HELP)]
    Release(call::ReleaseArgs),
    /// Tell what Salesforce answered
    #[command(after_help = call::REPORT_HELP)]
    Report(call::ReportArgs),
    /// Show how much of each limit of an org is used
    #[command(after_help = usage::USAGE_HELP)]
    Usage(usage::UsageArgs),
    /// Follow an org's usage: a picture on a terminal, lines elsewhere
    #[command(after_help = usage::WATCH_HELP)]
    Watch(usage::UsageArgs),
    /// Show who uses an org's quota: by workspace, class, operation, user and caller
    #[command(after_help = top::TOP_HELP)]
    Top(top::TopArgs),
    /// Show what was asked for, granted and refused over the last 24 hours
    #[command(after_help = top::DEMAND_HELP)]
    Demand(top::DemandArgs),
    /// List, show, declare and withdraw orgs
    #[command(subcommand, after_help = admin::ORGS_HELP)]
    Orgs(admin::Orgs),
    /// List, declare and withdraw an org's workspaces and their caps
    #[command(subcommand, after_help = admin::WORKSPACES_HELP)]
    Workspaces(admin::Workspaces),
    /// List, add and remove the execution users of an org's pool
    #[command(subcommand, after_help = admin::USERS_HELP)]
    Users(admin::Users),
    /// Show the nodes of the cluster and what each owns
    #[command(after_help = cluster::HELP)]
    Cluster(cluster::ClusterArgs),
    /// Prove from the store alone that no limit was overrun, while the cluster runs
    #[cfg(feature = "server")]
    #[command(after_help = audit::HELP)]
    Audit(audit::AuditArgs),
    /// Say what is wrong, or soon will be, with a service, its store, its certificates and its file
    #[cfg(feature = "server")]
    #[command(after_help = doctor::HELP)]
    Doctor(Box<doctor::DoctorArgs>),
    /// Say whether a configuration is good: every fault at once, with its line
    #[cfg(feature = "server")]
    #[command(after_help = local::CHECK_HELP)]
    Check(local::CheckArgs),
    /// Say from a configuration who may do what, and which rule decides; exits with 3 for no
    #[cfg(feature = "server")]
    #[command(after_help = can::HELP)]
    Can(can::CanArgs),
    /// Make a token for a caller, and the line that the configuration needs for it
    #[cfg(feature = "server")]
    #[command(after_help = token::HELP)]
    Token(token::TokenArgs),
    /// Show what it is for: the service, a strict stand-in for Salesforce, and a fleet of callers
    #[cfg(feature = "server")]
    #[command(after_help = local::DEMO_HELP)]
    Demo(crate::demo::Args),
    /// Run a strict stand-in for Salesforce, to try an integration without an org
    #[cfg(feature = "standin")]
    #[command(name = "standin", after_help = standin::HELP)]
    StandIn(standin::StandInArgs),
    /// Read Salesforce's limits resource now and then, for orgs that make no REST calls
    #[command(after_help = poll::HELP)]
    PollLimits(poll::PollArgs),
    /// Put load on a server: throughput and latency percentiles
    #[command(after_help = bench::HELP)]
    Bench(bench::BenchArgs),
    /// Print a completion script for a shell
    #[command(
        after_help = "Example:\n  quotagate completions bash > /etc/bash_completion.d/quotagate"
    )]
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Which server, and how to print.
#[derive(Debug, Args)]
struct Remote {
    #[command(flatten)]
    connection: Connection,
    /// How to print the answer: for people, or as canonical proto JSON
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        value_enum,
        default_value_t,
        help_heading = "Connection"
    )]
    output: Format,
}

impl Remote {
    async fn connect(&self) -> Result<Client, Fault> {
        self.connection.connect().await
    }
}

/// Tasks that a worker runs before it looks whether something has come over the
/// network. Some hundred requests that come at once are as many tasks, and while they
/// run nobody else is heard: for a millisecond and more with tokio's own 61. To look
/// takes less than one of those tasks.
const EVENT_INTERVAL: u32 = 8;

/// Runs the program with the arguments and the environment of this process.
#[must_use]
pub fn main() -> ExitCode {
    let matches = command().get_matches();
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .event_interval(EVENT_INTERVAL)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return exit::tell(&Fault::from(anyhow::Error::from(error))),
    };
    match runtime.block_on(run(cli.command)) {
        Ok(exit) => exit.into(),
        Err(fault) => exit::tell(&fault),
    }
}

/// The command line, with an environment variable for every option.
fn command() -> Command {
    with_environment(Cli::command())
}

async fn run(verb: Verb) -> Result<Exit, Fault> {
    match verb {
        #[cfg(feature = "server")]
        Verb::Serve(args) => {
            crate::server::serve(*args).await?;
            Ok(Exit::Done)
        }
        Verb::Acquire(args) => call::acquire(args).await,
        Verb::Exec(args) => exec::exec(args).await,
        Verb::Release(args) => call::release(args).await,
        Verb::Report(args) => call::report(args).await,
        Verb::Usage(args) => usage::usage(args).await,
        Verb::Watch(args) => usage::watch(args).await,
        Verb::Top(args) => top::top(args).await,
        Verb::Demand(args) => top::demand(args).await,
        Verb::Orgs(verb) => admin::orgs(verb).await,
        Verb::Workspaces(verb) => admin::workspaces(verb).await,
        Verb::Users(verb) => admin::users(verb).await,
        Verb::Cluster(args) => cluster::cluster(args).await,
        #[cfg(feature = "server")]
        Verb::Audit(args) => audit::audit(args).await,
        #[cfg(feature = "server")]
        Verb::Doctor(args) => doctor::doctor(*args).await,
        #[cfg(feature = "server")]
        Verb::Check(args) => local::check(args),
        #[cfg(feature = "server")]
        Verb::Can(args) => can::can(&args),
        #[cfg(feature = "server")]
        Verb::Token(args) => token::token(&args),
        #[cfg(feature = "server")]
        Verb::Demo(args) => local::demo(args).await,
        #[cfg(feature = "standin")]
        Verb::StandIn(args) => standin::standin(args).await,
        Verb::PollLimits(args) => poll::poll_limits(args).await,
        Verb::Bench(args) => bench::bench(args).await,
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command(), "quotagate", &mut script);
            output::print(&String::from_utf8_lossy(&script))?;
            Ok(Exit::Done)
        }
    }
}

/// Gives each option that has a long name its variable: `--max-wait` is
/// `QUOTAGATE_MAX_WAIT` as well.
fn with_environment(command: Command) -> Command {
    command
        .mut_args(|arg| match arg.get_long().map(variable) {
            Some(name) => flag_values(arg.env(name).hide_env(true)),
            None => arg,
        })
        .mut_subcommands(with_environment)
}

fn variable(long: &str) -> String {
    format!("QUOTAGATE_{}", long.to_ascii_uppercase().replace('-', "_"))
}

/// A flag's variable may say `0`, `no`, `off` or nothing, and means it.
fn flag_values(arg: Arg) -> Arg {
    match arg.get_action() {
        ArgAction::SetTrue => arg.value_parser(FalseyValueParser::new()),
        _ => arg,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn each(command: &Command, check: &mut impl FnMut(&Command, &Arg)) {
        for arg in command.get_arguments() {
            check(command, arg);
        }
        for command in command.get_subcommands() {
            each(command, check);
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn every_option_is_a_variable_and_has_a_help_text() {
        let mut options = 0;
        each(&command(), &mut |command, arg| {
            options += 1;
            let name = format!("{} {}", command.get_name(), arg.get_id());
            assert!(arg.get_help().is_some(), "{name} has no help");
            if let Some(long) = arg.get_long() {
                let variable = arg.get_env().map(|name| name.to_string_lossy().into_owned());
                assert_eq!(variable, Some(super::variable(long)), "{name}");
            }
        });
        assert!(options > 50);
    }

    #[test]
    fn values_are_parsed_into_their_types() {
        for (line, good) in [
            ("acquire --org o --operation rest --calls 3 --max-wait 1m30s", true),
            ("acquire --org o --operation rest --traffic-class bulk --mode check-only", true),
            ("acquire --org o --operation rest -o json --server h:1,h:2", true),
            (
                "acquire --org o --operation rest --server https://h:1 --tls-ca c --token-file t",
                true,
            ),
            ("acquire --org o --operation rest --tls-cert c --tls-key k --tls-name n", true),
            ("acquire --org o --operation rest --tls-cert c", false),
            ("acquire --operation rest", false),
            ("acquire --org o --operation rest --max-wait 30", false),
            ("acquire --org o --operation rest --traffic-class slow", false),
            ("acquire --org o --operation rest --calls -1", false),
            ("release --permit-id p", true),
            ("release --permit-id p --unused-calls 0", true),
            ("release", false),
            ("report --permit-id p --http-status 200 --limit-info a=1 --limit-info b=2", true),
            ("report --org o --limit-info api-usage=1/2", true),
            ("report --org o --permit-id p", true),
            ("report", false),
            ("report --org o --answer-time 2026-01-01T00:00:00Z", true),
            ("report --org o --answer-time yesterday", false),
            ("usage --org o", true),
            ("top", true),
            ("top --org o --by caller --watch --rows 3 -o json", true),
            ("top --org o --by colour", false),
            ("top --order used --search acme --rows 50", true),
            ("top --by caller", false),
            ("top --org o --order used", false),
            ("demand --org o --workspace w --since 2026-01-01T00:00:00Z", true),
            ("demand --workspace w", false),
            ("acquire --org o --operation rest --caller inbox/eu", true),
            ("exec --org o --operation rest --calls 2 --max-wait 1m -- curl -s x", true),
            ("exec --org o --operation rest curl", false),
            ("exec --org o --operation rest --", false),
            ("exec --operation rest -- curl", false),
            ("orgs list", true),
            ("orgs get --org o", true),
            ("orgs put --org o --daily-calls 5 --classes bulk=40/38", true),
            ("orgs put --org o --classes bulk=40", false),
            ("orgs put --org o --classes control=40/40", false),
            ("workspaces put --org o --workspace w --daily-calls 10 --preset strict", true),
            ("users delete --org o --execution-user u --validate-only", true),
            ("cluster -o json", true),
            ("cluster --shards", true),
            ("poll-limits --targets f", true),
            ("poll-limits --targets f --once --interval 1m --api-version 66.0", true),
            ("poll-limits", false),
            ("poll-limits --targets f --interval 59s", false),
            ("poll-limits --targets f --api-version v66", false),
            ("bench --concurrency 0", false),
            ("bench --duration 1s --concurrency 1", true),
            ("bench --orgs 10 --workspace a,b --operation rest,rest.long --calls 100", true),
            ("bench --rate 5000 --permit-ttl 100ms --histogram", true),
            ("bench --rate 0", false),
            ("bench --orgs 0", false),
            ("bench --calls 10001", false),
            ("can token:ci acquire --org o --operation rest --config f", true),
            ("can token:ci acquire --org o --config f", false),
            ("can token:ci read --org o --config f -o json", true),
            ("can token:ci read --org o", false),
            ("can token:ci fly --org o --config f", false),
            ("token", true),
            ("token ci --hash -o json", true),
            ("doctor", true),
            ("doctor --config f --store etcd://h:1 --certificate c:k:a --certificate c", true),
            ("doctor --server h:1 --http http://h:2 --json", true),
            ("doctor --store nothing", false),
            ("doctor --certificate c:k:a:b", false),
            ("completions zsh", true),
            ("completions tcsh7", false),
            ("", false),
        ] {
            let words = std::iter::once("quotagate").chain(line.split_whitespace());
            let parsed = command().try_get_matches_from(words);
            assert_eq!(parsed.is_ok(), good, "{line}: {:?}", parsed.err().map(|e| e.to_string()));
        }
    }

    #[cfg(feature = "server")]
    #[test]
    fn serve_needs_no_argument() {
        let matches = command().try_get_matches_from(["quotagate", "serve"]).expect("it parses");
        let Verb::Serve(args) = Cli::from_arg_matches(&matches).expect("it fits").command else {
            panic!("it is another command");
        };
        assert_eq!(args.grpc.to_string(), crate::client::DEFAULT_SERVER);
        assert_eq!(args.http.to_string(), "127.0.0.1:7401");
        assert_eq!(args.store.to_string(), "file:./quotagate-data");
        assert!(!args.insecure);
    }
}
