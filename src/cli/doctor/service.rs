//! The nodes, as callers and as probes find them.

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, SystemTime},
};

use http_body_util::Full;
use tonic::{Code, Status};

use super::{
    files::tell_validity,
    finding::{Level, Report},
};
use crate::{
    cli::{connection::Connection, table::human},
    client::{Client, DEFAULT_SERVER},
    clock::Clock,
    https::{Answer, Bytes, HttpsClient, Request, header},
    proto::admin::v1::{
        GetClusterRequest, GetClusterResponse, ListOrgsRequest, ListOrgsResponse, Node,
    },
    quota::Wall,
    tls::{ClientFiles, Connector, examine::of_all},
};

/// How long a node may take to answer by HTTP.
const PATIENCE: Duration = Duration::from_secs(5);

/// From here on a node's clock should be seen to; and from here on it gives its
/// shards away (docs/cluster.md, A3).
const APART: Duration = Duration::from_secs(1);
const TOO_FAR_APART: Duration = Duration::from_millis(1_600);

/// What HTTP's `Date` tells of a clock is exact to so much.
const BLUR: Duration = Duration::from_secs(1);

/// A session that is renewed has more left.
const LITTLE: Duration = Duration::from_secs(1);

/// An answer from memory that takes longer has a long way.
const SLOW: Duration = Duration::from_millis(500);

/// Pages of orgs that are looked at: more would take long.
const PAGES: usize = 20;

/// Where HTTP is taken unless something else is said.
const HTTP_PORT: u16 = 7401;

const LET_IN: &str =
    "name somebody with --token-file or --tls-cert who may read (`may: [read, admin]`)";

pub async fn look(connection: &Connection, http: Option<&str>, now: Wall, report: &mut Report) {
    if speaks_tls(connection) {
        for server in connection.server.split(',') {
            look_at_certificate(server, connection, now, report).await;
        }
    }
    match connection.connect().await {
        Ok(client) => look_at_nodes(&client, report).await,
        Err(fault) => {
            let remedy = "start it, or correct --server; --offline looks at no service";
            report.fail("service", fault.into_text(), remedy);
        }
    }
    let url = http.map_or_else(|| http_of(connection), |url| url.trim_end_matches('/').to_owned());
    look_by_http(&url, connection, report).await;
}

fn speaks_tls(connection: &Connection) -> bool {
    connection.server.contains("https://")
        || connection.tls_ca.is_some()
        || connection.tls_cert.is_some()
        || connection.tls_name.is_some()
}

/// Which certificate a server shows, and until when.
async fn look_at_certificate(
    server: &str,
    connection: &Connection,
    now: Wall,
    report: &mut Report,
) {
    let address = server.trim().trim_start_matches("https://");
    let files = ClientFiles {
        ca: connection.tls_ca.clone(),
        identity: connection.tls_cert.clone().zip(connection.tls_key.clone()),
        name: connection.tls_name.clone(),
    };
    let connector = match Connector::open(files) {
        Ok(connector) => connector,
        Err(fault) => {
            return report.fail("certificate", fault.to_string(), "correct the options --tls-…");
        }
    };
    match tokio::time::timeout(PATIENCE, connector.dial(address)).await {
        Ok(Ok(stream)) => {
            let shown = stream.get_ref().1.peer_certificates().and_then(of_all);
            match shown {
                Some(validity) => {
                    tell_validity(&format!("what {address} shows"), validity, now, report);
                }
                None => {
                    let text = format!("what {address} shows cannot be read");
                    report.warn("certificate", text, "look at it: openssl s_client -connect …");
                }
            }
        }
        Ok(Err(error)) => {
            let remedy = "see to --tls-ca and --tls-name, and to what the server shows";
            report.fail("certificate", format!("{address}: {error}"), remedy);
        }
        Err(_) => {
            let text = format!("{address}: no handshake within {}", human(PATIENCE));
            report.fail("certificate", text, "see to the way there, and whether it speaks TLS");
        }
    }
}

async fn look_at_nodes(client: &Client, report: &mut Report) {
    let clock = Clock::default();
    let asked = clock.mono();
    match client.get_cluster(GetClusterRequest {}).await {
        Ok(cluster) => {
            let took = clock.mono().since(asked);
            let text = format!("{} answers, in {}", cluster.answered_by, human(took));
            if took > SLOW {
                report.warn("service", text, "see to the way there, and to the node's CPU");
            } else {
                report.ok("service", text);
            }
            judge(&cluster, report);
        }
        Err(status) => return refused("service", &status, report),
    }
    let mut request = ListOrgsRequest::default();
    let mut orgs = 0;
    let warns = report.warns();
    for _ in 0..PAGES {
        let page = client.list_orgs(request.clone()).await;
        let ListOrgsResponse { orgs: entries, next_page_token } = match page {
            Ok(page) => page,
            Err(status) => return refused("limits", &status, report),
        };
        orgs += entries.len();
        for entry in entries {
            let org = entry.org.unwrap_or_default().id;
            for warning in entry.warnings {
                let remedy = "raise the org's daily_calls, or lower what its workspaces have";
                report.warn("limits", format!("org {org}: {warning}"), remedy);
            }
        }
        if next_page_token.is_empty() {
            break;
        }
        request.page_token = next_page_token;
    }
    if report.warns() == warns {
        report.ok("limits", format!("the limits of {orgs} orgs in force add up"));
    }
}

fn refused(check: &'static str, status: &Status, report: &mut Report) {
    let text = format!("{}: {}", crate::metrics::code_name(status.code()), status.message());
    match status.code() {
        Code::Unauthenticated | Code::PermissionDenied => report.warn(check, text, LET_IN),
        _ => report.fail(check, text, "see to the node's log"),
    }
}

/// Judges what a node tells of all.
fn judge(cluster: &GetClusterResponse, report: &mut Report) {
    let nodes = &cluster.nodes;
    for node in nodes {
        if !node.problem.is_empty() {
            let text = format!("{}: {}", node.name, node.problem);
            report.fail("nodes", text, "see to that node and to its log");
        } else if node.draining {
            let text = format!("{} hands its shards over", node.name);
            report.warn("nodes", text, "wait: it ends");
        }
        judge_clock(node, report);
        let left = node.session_left.and_then(|left| Duration::try_from(left).ok());
        if let Some(left) = left.filter(|left| *left < LITTLE) {
            let text = format!("{} has a session for {} more", node.name, human(left));
            report.warn("nodes", text, "see to its way to etcd, and to its CPU");
        }
    }
    if nodes.iter().all(|node| node.problem.is_empty() && !node.draining) {
        report.ok("nodes", format!("{} of {} are well", nodes.len(), nodes.len()));
    }
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for node in nodes {
        versions.entry(&node.version).or_default().push(&node.name);
    }
    let told: Vec<String> = versions
        .iter()
        .map(|(version, nodes)| format!("{version} ({})", nodes.join(", ")))
        .collect();
    match &*told {
        [one] => report.ok("version", format!("all nodes have {one}")),
        _ => report.warn(
            "version",
            format!("the nodes have {}", told.join(", ")),
            "finish the upgrade",
        ),
    }
    let ours = env!("CARGO_PKG_VERSION");
    if !versions.contains_key(ours) {
        let text = format!("this program is {ours}, which no node is");
        report.warn("version", text, "use the program of the nodes' version");
    }
    let orphans: Vec<u32> = cluster
        .owners
        .iter()
        .filter(|owner| !nodes.iter().any(|node| node.name == owner.node))
        .map(|owner| owner.shard)
        .collect();
    if orphans.is_empty() {
        report.ok("shards", format!("all {} shards have an owner", cluster.shards));
    } else {
        let text = format!("{} of {} shards have no owner", orphans.len(), cluster.shards);
        let remedy = "wait for the lease (10 s); then see to the nodes, and to etcd";
        report.fail("shards", text, remedy);
    }
    for member in cluster.store_members.iter().filter(|member| !member.healthy) {
        let text = format!("{} finds {}: {}", cluster.answered_by, member.endpoint, member.problem);
        report.warn("etcd", text, "start it, or mend the way to it");
    }
}

fn judge_clock(node: &Node, report: &mut Report) {
    let Some(offset) = node.clock_offset else { return };
    let far = match Duration::try_from(offset) {
        Ok(ahead) => ahead,
        Err(prost_types::DurationError::NegativeDuration(behind)) => behind,
        Err(_) => Duration::MAX,
    };
    let text = format!("the clock of {} is {} from the others'", node.name, human(far));
    let remedy = "see to chrony or systemd-timesyncd there";
    if far >= TOO_FAR_APART {
        report.fail("clock", text, remedy);
    } else if far >= APART {
        report.warn("clock", text, remedy);
    } else {
        report.ok("clock", text);
    }
}

/// The node's place for HTTP, if it has the usual port.
fn http_of(connection: &Connection) -> String {
    let server = connection.server.split(',').next().unwrap_or(DEFAULT_SERVER).trim();
    let scheme = if speaks_tls(connection) { "https" } else { "http" };
    let address = server.trim_start_matches("https://").trim_start_matches("http://");
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    format!("{scheme}://{host}:{HTTP_PORT}")
}

async fn look_by_http(url: &str, connection: &Connection, report: &mut Report) {
    let client = match &connection.tls_ca {
        Some(ca) => fs::read(ca).and_then(|pem| HttpsClient::trusting(PATIENCE, &pem)),
        None => HttpsClient::new(PATIENCE),
    };
    let client = match client {
        Ok(client) => client,
        Err(error) => {
            return report.fail("http", error.to_string(), "correct --tls-ca");
        }
    };
    let get = async |path: &str| -> Result<Answer, String> {
        let request = Request::get(format!("{url}{path}")).body(Full::new(Bytes::new()));
        let request = request.map_err(|error| error.to_string())?;
        client.send(request).await.map_err(|error| error.to_string())
    };
    let ready = match get("/readyz").await {
        Ok(ready) => ready,
        Err(why) => {
            let remedy = "name the node's address for HTTP with --http";
            return report.warn("http", format!("{url} does not answer: {why}"), remedy);
        }
    };
    let word = String::from_utf8_lossy(&ready.body).trim().to_owned();
    if ready.status.is_success() {
        report.ok("ready", format!("{url}: {word}"));
    } else {
        let remedy = "see to what it says; while it does not change nothing is granted there";
        report.fail("ready", format!("{url}: {word}"), remedy);
    }
    let date = ready.headers.get(header::DATE).and_then(|date| date.to_str().ok());
    if let Some(theirs) = date.and_then(|date| httpdate::parse_http_date(date).ok()) {
        judge_date(theirs, Clock::default().wall(), report);
    }
    match get("/metrics").await {
        Ok(metrics) if metrics.status.is_success() => {
            judge_metrics(&String::from_utf8_lossy(&metrics.body), report);
        }
        Ok(metrics) => {
            let text = format!("{url}/metrics: {}", metrics.status);
            report.warn("invariants", text, "let this machine read the metrics");
        }
        Err(why) => {
            report.warn("invariants", format!("{url}/metrics: {why}"), "see to the node's log");
        }
    }
}

/// The machine's clock beside the node's.
fn judge_date(theirs: SystemTime, ours: Wall, report: &mut Report) {
    let theirs = theirs.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let far = theirs.abs_diff(Duration::from_micros(ours.0)).saturating_sub(BLUR);
    if far < APART {
        return report.ok("clock", "this machine and the node agree, as far as HTTP tells");
    }
    let text = format!("this machine and the node are {} apart, or more", human(far));
    report.find(Level::Warn, "clock", text, "see to chrony or systemd-timesyncd on both");
}

fn judge_metrics(text: &str, report: &mut Report) {
    let value = |line: &str| -> f64 {
        line.rsplit(' ').next().and_then(|value| value.parse().ok()).unwrap_or(0.0)
    };
    let of = |begin: &'static str| text.lines().filter(move |line| line.starts_with(begin));
    let mut known = 0;
    for line in of("quotagate_invariant_violations_total{") {
        known += 1;
        if value(line) > 0.0 {
            let remedy = "keep the log and a copy of the store, restart the node, and report it: \
                          it is a fault of the service";
            report.fail("invariants", format!("a promise did not hold: {line}"), remedy);
        }
    }
    match known {
        0 => {
            let remedy = "name quotagate's own address with --http";
            report.warn("invariants", "the metrics are not quotagate's", remedy);
        }
        _ if of("quotagate_invariant_violations_total{").all(|line| value(line) == 0.0) => {
            report.ok("invariants", format!("{known} promises have held since the node's start"));
        }
        _ => {}
    }
    for line in of("quotagate_config_reloads_total{outcome=\"rejected\"}") {
        if value(line) > 0.0 {
            let text = "a changed configuration was refused since the node's start";
            report.warn("config", text, "quotagate check FILE says whether it still has faults");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::admin::v1::{ShardOwner, StoreMember};

    fn node(name: &str) -> Node {
        let offset = Some(prost_types::Duration { seconds: 0, nanos: 3_000_000 });
        Node {
            name: name.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            clock_offset: offset,
            session_left: Some(prost_types::Duration { seconds: 7, nanos: 0 }),
            ..Node::default()
        }
    }

    fn cluster(nodes: Vec<Node>, owner: &str) -> GetClusterResponse {
        let owners = vec![ShardOwner { shard: 0, node: owner.to_owned(), epoch: 1 }];
        GetClusterResponse { shards: 1, nodes, owners, ..GetClusterResponse::default() }
    }

    #[test]
    fn nodes_are_judged_by_what_one_tells_of_all() {
        let offset = |ms: i32| {
            let sign = ms.signum();
            let (seconds, nanos) = (ms.abs() / 1_000, ms.abs() % 1_000 * 1_000_000);
            let offset =
                prost_types::Duration { seconds: (sign * seconds).into(), nanos: sign * nanos };
            Node { clock_offset: Some(offset), ..node("b") }
        };
        let pair = |b: Node| cluster(vec![node("a"), b], "a");
        let ill =
            StoreMember { endpoint: "e:1".into(), problem: "gone".into(), ..Default::default() };
        // (what is told, how bad, which check, what is said)
        for (cluster, level, check, words) in [
            (pair(node("b")), Level::Ok, "nodes", "2 of 2 are well"),
            (pair(node("b")), Level::Ok, "version", "all nodes have"),
            (pair(node("b")), Level::Ok, "clock", "the clock of b is 3 ms from"),
            (pair(node("b")), Level::Ok, "shards", "all 1 shards have an owner"),
            (pair(offset(1_200)), Level::Warn, "clock", "the clock of b is 1 s 200 ms"),
            (pair(offset(-1_200)), Level::Warn, "clock", "the clock of b is 1 s 200 ms"),
            (pair(offset(-1_700)), Level::Fail, "clock", "the clock of b is 1 s 700 ms"),
            (
                pair(Node { problem: "no session".into(), ..node("b") }),
                Level::Fail,
                "nodes",
                "b: no",
            ),
            (
                pair(Node { draining: true, ..node("b") }),
                Level::Warn,
                "nodes",
                "b hands its shards",
            ),
            (
                pair(Node { session_left: Some(Default::default()), ..node("b") }),
                Level::Warn,
                "nodes",
                "b has a session for",
            ),
            (
                pair(Node { version: "9.9.9".into(), ..node("b") }),
                Level::Warn,
                "version",
                "9.9.9 (b)",
            ),
            (
                cluster(vec![Node { version: "9.9.9".into(), ..node("a") }], "a"),
                Level::Warn,
                "version",
                "which no node is",
            ),
            (
                cluster(vec![node("a")], "gone"),
                Level::Fail,
                "shards",
                "1 of 1 shards have no owner",
            ),
            (
                GetClusterResponse { store_members: vec![ill], ..pair(node("b")) },
                Level::Warn,
                "etcd",
                "finds e:1: gone",
            ),
        ] {
            let mut report = Report::default();
            judge(&cluster, &mut report);
            report.assert_has(level, check, words);
        }
    }

    #[test]
    fn metrics_tell_of_promises_and_of_refused_files() {
        let held = "quotagate_invariant_violations_total{id=\"I1\"} 0\n";
        let broken = "quotagate_invariant_violations_total{id=\"I4\"} 2\n";
        let refused = format!("{held}quotagate_config_reloads_total{{outcome=\"rejected\"}} 1\n");
        for (text, level, check, words) in [
            (held, Level::Ok, "invariants", "1 promises have held"),
            (broken, Level::Fail, "invariants", "id=\"I4\"} 2"),
            ("up 1\n", Level::Warn, "invariants", "not quotagate's"),
            (&refused, Level::Warn, "config", "was refused"),
        ] {
            let mut report = Report::default();
            judge_metrics(text, &mut report);
            report.assert_has(level, check, words);
        }
    }

    #[test]
    fn http_tells_of_clocks_to_the_second() {
        let theirs = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        for (ours_ms, level) in [
            (1_000_900_u64, Level::Ok),
            (1_001_900, Level::Ok),
            (1_002_500, Level::Warn),
            (998_500, Level::Ok),
            (997_500, Level::Warn),
        ] {
            let mut report = Report::default();
            judge_date(theirs, Wall(ours_ms * 1_000), &mut report);
            report.assert_has(level, "clock", "this machine");
        }
    }
}
