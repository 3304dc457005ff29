//! The options of `quotagate serve`.

use std::{env, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context as _, bail};

use super::{
    cluster::{Options, PeerFiles, read_token},
    exposure::Connections,
};
use crate::{
    duration,
    metrics::ShownOrgs,
    store::{StoreAddress, StoreOptions},
    telemetry::LogFormat,
    tls::{Bounds, ClientAuth, ServerFiles},
    trace::{Collector, Endpoint, Share},
};

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
    /// A name under which HTTP may write, besides loopback's and the address that
    /// the request came to; several are separated by commas
    ///
    /// Any other Host is refused for writes, so that no web page can make a
    /// browser write here under a name of its own.
    #[arg(long = "http-host", value_name = "NAME", value_delimiter = ',')]
    pub http_hosts: Vec<String>,
    /// What holds the counters: `memory:`, `file:DIR` or `etcd://HOST:PORT,…[/PREFIX]`
    ///
    /// `memory:` forgets everything at exit. A restart on the same `file:`
    /// directory goes on with the same counts. With `etcd://` any number of
    /// nodes share them (`etcds://` connects by TLS).
    #[arg(long, value_name = "STORE", default_value = "file:./quotagate-data")]
    pub store: StoreAddress,
    /// The name of this node, in logs and in GetCluster; in a cluster no two have
    /// the same, and a node keeps it over restarts [default: the host's name in a
    /// cluster, else "local"]
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// How to speak to the store.
    #[command(flatten)]
    pub store_options: StoreOptions,
    /// How it takes part in a cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// The age at which a client's connection is given up for a new one, so that
    /// clients spread anew over nodes that have come; 0s: never
    ///
    /// Nothing is cut off: what is being asked over a connection, waiting requests
    /// and watches included, is answered over it.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration::parse)]
    pub max_connection_age: Duration,
    /// How many orgs the metrics show by name: those that have used the most of
    /// their limit; or `all`
    ///
    /// Each is six time series.
    #[arg(long, value_name = "NUMBER", default_value_t)]
    pub metrics_orgs: ShownOrgs,
    /// Listen also where others can connect although nothing is encrypted there, or
    /// callers are not identified
    #[arg(long)]
    pub insecure: bool,
    /// How connections come in.
    #[command(flatten)]
    pub connections: ConnectionArgs,
    /// What is recorded of requests, and for whom.
    #[command(flatten)]
    pub traces: TraceArgs,
    /// What to log: a level, or directives such as `info,quotagate::shard=debug`
    #[arg(long, value_name = "FILTER", default_value = "info")]
    pub log: String,
    /// How to log
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,
}

/// What `serve` is told about the connections of its clients.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Connections")]
pub struct ConnectionArgs {
    /// The certificate to show by gRPC and HTTP, with those between it and its
    /// authority (PEM); like all files of certificates it is read again when it
    /// changes, and no connection is dropped for that
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The private key of that certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// The certificates of the authorities that clients' are checked with (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_client_ca: Option<PathBuf>,
    /// Whether a client must show a certificate of these authorities
    #[arg(long, value_name = "HOW", value_enum, default_value_t, requires = "tls_client_ca")]
    pub tls_client_auth: ClientAuth,
    /// Whether HTTP is spoken over TLS, where gRPC is
    #[arg(long, value_name = "HOW", value_enum, default_value_t)]
    pub http_tls: HttpTls,
    /// The most connections at a time by gRPC; what comes beyond is closed at once.
    /// By HTTP there are a tenth of it, and no fewer than 100
    #[arg(long, value_name = "COUNT", default_value = "10000",
          value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    pub max_connections: u32,
    /// The most of these from one IP address (of IPv6 from one /64)
    #[arg(long, value_name = "COUNT", default_value = "2000",
          value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    pub max_connections_per_ip: u32,
}

/// Whether HTTP is spoken over TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum HttpTls {
    /// It is, where there is a certificate
    #[default]
    On,
    /// It is not: for probes and scrapers that cannot
    Off,
}

impl ConnectionArgs {
    /// What they mean.
    #[must_use]
    pub fn connections(&self) -> Connections {
        let files = self.tls_cert.clone().zip(self.tls_key.clone());
        let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        Connections {
            tls: files.map(|(cert, key)| ServerFiles {
                cert,
                key,
                client_ca: self.tls_client_ca.clone(),
                client_auth: self.tls_client_auth,
            }),
            http_in_the_clear: self.http_tls == HttpTls::Off,
            bounds: Bounds {
                total: count(self.max_connections),
                per_address: count(self.max_connections_per_ip),
            },
        }
    }
}

/// What `serve` is told about traces.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Traces (OpenTelemetry)")]
pub struct TraceArgs {
    /// Where to send traces: a collector that takes OTLP over gRPC, such as
    /// http://127.0.0.1:4317; https:// connects by TLS [default: nowhere, unless
    /// OTEL_EXPORTER_OTLP_ENDPOINT says]
    ///
    /// OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say whose they are,
    /// OTEL_EXPORTER_OTLP_HEADERS what goes along with them.
    #[arg(long, value_name = "URL")]
    pub otlp_endpoint: Option<Endpoint>,
    /// The certificates of the authorities that the collector's is checked with
    /// (PEM) [default: OTEL_EXPORTER_OTLP_CERTIFICATE, or the system's]
    #[arg(long, value_name = "FILE")]
    pub otlp_ca: Option<PathBuf>,
    /// Of the requests that come without a trace, the share that begins one, from
    /// 0 to 1
    ///
    /// What a caller records is recorded here, too, whatever this says.
    #[arg(long, value_name = "RATIO", default_value = "0.01")]
    pub trace_sample: Share,
}

impl TraceArgs {
    /// What they mean, and the environment's variables of OpenTelemetry where they
    /// say nothing; `None`: nothing is to be recorded.
    ///
    /// # Errors
    /// A variable has a value that cannot be meant.
    pub fn collector(&self) -> anyhow::Result<Option<Collector>> {
        self.collector_with(|name| env::var(name).ok())
    }

    fn collector_with(
        &self,
        variable: impl Fn(&str) -> Option<String>,
    ) -> anyhow::Result<Option<Collector>> {
        let first = |names: [&'static str; 2]| {
            let said = names.into_iter().filter_map(|name| Some((name, variable(name)?)));
            said.into_iter().find(|(_, value)| !value.is_empty())
        };
        let is_off = variable("OTEL_SDK_DISABLED").is_some_and(|value| value == "true");
        let endpoint = match &self.otlp_endpoint {
            Some(endpoint) => endpoint.clone(),
            None if is_off => return Ok(None),
            None => {
                let told =
                    first(["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"]);
                let Some((name, value)) = told else { return Ok(None) };
                let protocol =
                    first(["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"]);
                if let Some((name, protocol)) = protocol.filter(|(_, value)| value != "grpc") {
                    bail!(
                        "{name} is {protocol:?}, and traces are sent by \"grpc\" only: name the \
                         collector's port for it (4317 as a rule) in --otlp-endpoint"
                    );
                }
                value.parse().with_context(|| format!("{name} is {value:?}"))?
            }
        };
        let ca = first(["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"]);
        let ca = self.otlp_ca.clone().or_else(|| ca.map(|(_, path)| path.into()));
        Ok(Some(Collector { endpoint, ca, share: self.trace_sample }))
    }
}

/// What `serve` is told about its cluster.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Cluster (with --store etcd://…)")]
pub struct ClusterArgs {
    /// Where to listen for the other nodes; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7402")]
    pub peer: SocketAddr,
    /// Where clients reach this node [default: the address of --grpc]
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise: Option<String>,
    /// Where the other nodes reach this one [default: the host of --advertise
    /// with the port of --peer]
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise_peer: Option<String>,
    /// A file with a secret that all nodes share; without it any process that
    /// reaches the peer port can speak as a node
    #[arg(long, value_name = "FILE")]
    pub peer_token_file: Option<PathBuf>,
    /// The certificate that this node shows to the others, whichever of them
    /// connects, with those between it and its authority (PEM)
    #[arg(long, value_name = "FILE", requires_all = ["peer_tls_key", "peer_tls_ca"])]
    pub peer_tls_cert: Option<PathBuf>,
    /// The private key of that certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "peer_tls_cert")]
    pub peer_tls_key: Option<PathBuf>,
    /// The certificates of the authorities that the other nodes' are checked with
    /// (PEM): whoever has a certificate of theirs can speak as a node
    #[arg(long, value_name = "FILE", requires = "peer_tls_cert")]
    pub peer_tls_ca: Option<PathBuf>,
    /// A name that must stand in the certificate of every node [default: the host
    /// of its address, in that of a node that is connected to]
    #[arg(long, value_name = "NAME", requires = "peer_tls_cert")]
    pub peer_tls_name: Option<String>,
    /// Make the cluster, if there is none at the store's prefix; to be said once
    ///
    /// Without it a node that finds no cluster waits: a wrong prefix, or a store
    /// that has lost its data, would else begin to count from nothing.
    #[arg(long)]
    pub create_cluster: bool,
    /// `closed`: the store was restored or made anew while no node ran, so what
    /// was counted is not known; everything counts as spent until its window has
    /// passed
    #[arg(long, value_name = "HOW", value_enum, default_value_t)]
    pub cold_start: ColdStart,
    /// How long a node that does not answer keeps its shards; 2s or more
    ///
    /// Shorter is back sooner after a crash, and takes a long pause for one.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = lease)]
    pub lease: Duration,
    /// A file with milliseconds that are added to the wall clock, read again
    /// every 50 ms: for tests of clocks that step
    #[arg(long, value_name = "FILE", hide = true)]
    pub test_clock_offset: Option<PathBuf>,
}

impl ClusterArgs {
    /// What they mean.
    ///
    /// # Errors
    /// The file with the token is of no use.
    pub fn options(&self) -> anyhow::Result<Options> {
        Ok(Options {
            peer: self.peer,
            advertise: self.advertise.clone(),
            advertise_peer: self.advertise_peer.clone(),
            token: self.peer_token_file.as_deref().map(read_token).transpose()?,
            tls: match (&self.peer_tls_cert, &self.peer_tls_key, &self.peer_tls_ca) {
                (Some(cert), Some(key), Some(ca)) => Some(PeerFiles {
                    cert: cert.clone(),
                    key: key.clone(),
                    ca: ca.clone(),
                    name: self.peer_tls_name.clone(),
                }),
                _ => None,
            },
            create: self.create_cluster,
            cold_start_closed: self.cold_start == ColdStart::Closed,
            lease: self.lease,
        })
    }
}

/// What the counts in the store are worth at the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ColdStart {
    /// They hold
    #[default]
    Open,
    /// They are not known
    Closed,
}

fn lease(text: &str) -> Result<Duration, String> {
    let lease = duration::parse(text)?;
    if (SHORTEST_LEASE..=LONGEST_LEASE).contains(&lease) {
        return Ok(lease);
    }
    Err("a lease is 2s to 1m: etcd makes 2 s of less, and a crash costs service for as long".into())
}

/// etcd makes this of shorter ones.
const SHORTEST_LEASE: Duration = Duration::from_secs(2);

/// Nobody wants to wait longer for a node that is gone.
const LONGEST_LEASE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    const OF_TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
    const FILE: &str = "OTEL_EXPORTER_OTLP_CERTIFICATE";

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        traces: TraceArgs,
    }

    #[test]
    fn where_traces_go_is_said_by_options_and_else_by_opentelemetrys_variables() {
        // (arguments, variables, the endpoint and the file; or what is wrong)
        type Said = Result<Option<(&'static str, Option<&'static str>)>, &'static str>;
        type Row = (&'static [&'static str], &'static [(&'static str, &'static str)], Said);
        let rows: &[Row] = &[
            (&[], &[], Ok(None)),
            (&[], &[(ENDPOINT, "")], Ok(None)),
            (&[], &[(FILE, "a.pem")], Ok(None)),
            (&["--otlp-endpoint=http://a:1"], &[], Ok(Some(("http://a:1", None)))),
            (&[], &[(ENDPOINT, "http://b:2")], Ok(Some(("http://b:2", None)))),
            (
                &[],
                &[(ENDPOINT, "http://b:2"), (OF_TRACES, "https://c:3"), (FILE, "a.pem")],
                Ok(Some(("https://c:3", Some("a.pem")))),
            ),
            (
                &["--otlp-endpoint=https://a:1", "--otlp-ca=own.pem"],
                &[(ENDPOINT, "http://b:2"), (FILE, "a.pem")],
                Ok(Some(("https://a:1", Some("own.pem")))),
            ),
            (&[], &[(ENDPOINT, "http://b:2"), ("OTEL_SDK_DISABLED", "true")], Ok(None)),
            (&[], &[(ENDPOINT, "b:2")], Err("OTEL_EXPORTER_OTLP_ENDPOINT is \"b:2\"")),
            (
                &[],
                &[(ENDPOINT, "http://b:4318"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")],
                Err("OTEL_EXPORTER_OTLP_PROTOCOL is \"http/protobuf\""),
            ),
        ];
        for (arguments, variables, expected) in rows {
            let arguments = [&"serve"].into_iter().chain(*arguments);
            let args = Command::try_parse_from(arguments).expect("it parses").traces;
            let variable = |name: &str| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            let said = args.collector_with(variable);
            match (said, expected) {
                (Ok(said), Ok(expected)) => {
                    let said = said.map(|it| (it.endpoint.to_string(), it.ca));
                    let expected =
                        expected.map(|(url, ca)| (url.to_owned(), ca.map(PathBuf::from)));
                    assert_eq!(said, expected, "{variables:?}");
                }
                (Err(error), Err(words)) => {
                    assert!(format!("{error:#}").contains(words), "{error:#}");
                }
                (said, _) => panic!("{variables:?}: {said:?}"),
            }
        }
    }
}
