//! The service as a process: configuration, store, node, edges, and their end.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr};

use crate::telemetry::LogFormat;

/// What `serve` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct ServeArgs {
    /// The configuration file (YAML); read again whenever it changes
    ///
    /// Without one, any org is taken, with 15,000 calls a day and the built-in
    /// catalogue.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where to listen for gRPC; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7400")]
    pub grpc: SocketAddr,
    /// Where to listen for HTTP: probes, metrics, JSON; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7401")]
    pub http: SocketAddr,
    /// What holds the counters: `memory:` or `file:DIR`
    ///
    /// `memory:` forgets everything at exit. A restart on the same `file:`
    /// directory goes on with the same counts.
    #[arg(long, value_name = "STORE", default_value = "file:./quotagate-data")]
    pub store: StoreChoice,
    /// The name of this node in logs and in GetCluster
    #[arg(long, value_name = "NAME", default_value = "local")]
    pub node: String,
    /// Listen also where others can connect, although callers are not identified
    #[arg(long)]
    pub insecure: bool,
    /// What to log: a level, or directives such as `info,quotagate::shard=debug`
    #[arg(long, value_name = "FILTER", default_value = "info")]
    pub log: String,
    /// How to log
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,
}

/// What holds the counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreChoice {
    /// The memory of this process.
    Memory,
    /// A directory of this machine.
    File(PathBuf),
}

impl FromStr for StoreChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("memory", "")) => Ok(Self::Memory),
            Some(("file", dir)) if !dir.is_empty() => Ok(Self::File(dir.into())),
            _ => Err("it is neither `memory:` nor `file:DIR`".into()),
        }
    }
}

impl fmt::Display for StoreChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::File(dir) => write!(f, "file:{}", dir.display()),
        }
    }
}

/// Runs the service until it is told to stop.
///
/// # Errors
/// What kept it from starting, or from ending in order.
pub async fn serve(args: ServeArgs) -> anyhow::Result<()> {
    let _ = args;
    anyhow::bail!("serve is not wired yet")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_are_named_by_scheme() {
        for (text, expected) in [
            ("memory:", Some(StoreChoice::Memory)),
            ("file:./data", Some(StoreChoice::File("./data".into()))),
            ("file:C:/data", Some(StoreChoice::File("C:/data".into()))),
            ("file:", None),
            ("memory", None),
            ("memory:x", None),
            ("etcd://h:1", None),
            ("", None),
        ] {
            assert_eq!(text.parse().ok(), expected, "{text}");
            if let Some(choice) = expected {
                assert_eq!(choice.to_string(), text);
            }
        }
    }
}
