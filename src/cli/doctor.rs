//! `quotagate doctor`: what is wrong, or soon will be, and what to do about it.
//!
//! Each check tells its [`Finding`]s and never ends the others: `files` looks at
//! what lies on the disk, `store` at etcd and directories, `service` at the nodes.

mod files;
mod finding;
mod service;
mod store;

use std::{path::PathBuf, str::FromStr};

use clap::Args;

use self::finding::Report;
use super::{
    connection::Connection,
    exit::{Exit, Fault},
    output::{self, Format},
};
use crate::{
    clock::Clock,
    store::{StoreAddress, StoreOptions},
};

pub const HELP: &str = "\
Each line is OK, WARN (it works, and should be seen to) or FAIL (it does not work, or soon will
not), with what to do. It changes nothing, and looks at what it is told of:

  --config       is the file valid, do the limits add up, and are the names in it known?
  --certificate  readable, the key its own, its authority's, of whom, and until when?
  --store        does each member of etcd answer, and how fast; is there room; is there a
                 cluster? Can the directory be written to, and is there room?
  --server       does it answer, by which certificate; are the nodes well, of one version,
                 their clocks together, all shards owned; do the settings add up?
  --http         is it ready, has every promise of the protocol held, and is its clock ours?

A service on this machine is looked at where nothing is named. Exits with 1 if something
fails, also where only warnings are left with --strict.

Examples:
  quotagate doctor
  quotagate doctor --config quotagate.yaml --certificate tls.crt:tls.key:ca.crt
  quotagate doctor --store etcds://etcd-0:2379,etcd-1:2379 --store-ca etcd-ca.crt
  quotagate doctor --server https://quota.example:7400 --tls-ca ca.crt --token-file token
  quotagate doctor --json | jq '.findings[] | select(.level != \"OK\")'";

/// What to look at.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A certificate that is shown to others, its key, and the authorities that know it (PEM);
    /// may be said several times
    #[arg(long = "certificate", value_name = "CERT[:KEY[:CA]]")]
    certificates: Vec<Files>,
    /// What holds the counters
    #[arg(long, value_name = "STORE")]
    store: Option<StoreAddress>,
    #[command(flatten)]
    store_options: StoreOptions,
    /// Where a node takes HTTP [default: http://, or https://, the host of --server and port 7401]
    #[arg(long, value_name = "URL")]
    http: Option<String>,
    #[command(flatten)]
    connection: Connection,
    /// Look at no service, only at what the other options name
    #[arg(long)]
    offline: bool,
    /// Exit with 1 also where there are warnings
    #[arg(long)]
    strict: bool,
    /// How to print the findings: for people, or as JSON
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    output: Format,
    /// The same as --output json
    #[arg(long)]
    json: bool,
}

/// A certificate, and what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Files {
    cert: PathBuf,
    key: Option<PathBuf>,
    ca: Option<PathBuf>,
}

impl FromStr for Files {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let mut parts = text.split(':').map(PathBuf::from);
        let mut next = || parts.next().filter(|path| !path.as_os_str().is_empty());
        let cert = next().ok_or("must begin with the file of a certificate")?;
        let (key, ca) = (next(), next());
        if parts.next().is_some() {
            return Err("must be CERT, CERT:KEY, CERT:KEY:CA or CERT::CA");
        }
        Ok(Self { cert, key, ca })
    }
}

/// Looks, and tells.
pub async fn doctor(args: DoctorArgs) -> Result<Exit, Fault> {
    let now = Clock::default().wall();
    let mut report = Report::default();
    if let Some(path) = &args.config {
        files::look_at_config(path, &mut report);
    }
    for files in &args.certificates {
        files::look_at_certificate(files, now, &mut report);
    }
    if let Some(address) = &args.store {
        store::look(address, &args.store_options, &mut report).await;
    }
    if !args.offline {
        service::look(&args.connection, args.http.as_deref(), now, &mut report).await;
    }
    let format = if args.json { Format::Json } else { args.output };
    output::print(&match format {
        Format::Json => format!("{:#}\n", report.as_json()),
        Format::Table => report.render(),
    })?;
    let is_bad = report.fails() > 0 || args.strict && report.warns() > 0;
    Ok(if is_bad { Exit::Failure } else { Exit::Done })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_named_with_what_belongs_to_it() {
        let path = |text: &str| Some(PathBuf::from(text));
        for (text, expected) in [
            ("a.crt", Some(("a.crt", None, None))),
            ("a.crt:a.key", Some(("a.crt", path("a.key"), None))),
            ("a.crt:a.key:ca.crt", Some(("a.crt", path("a.key"), path("ca.crt")))),
            ("a.crt::ca.crt", Some(("a.crt", None, path("ca.crt")))),
            ("a:b:c:d", None),
            (":a.key", None),
            ("", None),
        ] {
            let expected =
                expected.map(|(cert, key, ca)| Files { cert: PathBuf::from(cert), key, ca });
            assert_eq!(text.parse().ok(), expected, "{text}");
        }
    }
}
