//! Every metric of the service, in domain words. Labels take values from fixed
//! sets only: nothing that a caller sends becomes a label, but for the names of the
//! few orgs that an operator wants to see.

mod cluster;
mod connections;
mod orgs;
mod shards;
mod spans;

use std::{
    array, fmt,
    sync::{OnceLock, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, LabelSetEncoder, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Registry, Unit},
};

use self::connections::Connections;
pub use self::connections::{Listener, Refusal, TlsFiles};
use self::{cluster::ClusterGauges, shards::ShardMetrics, spans::Spans};
pub use self::{
    cluster::{ClusterSample, Source as ClusterSource},
    orgs::{Busiest, OrgGauges, ShownOrgs},
    shards::{Left, UnitsByScope},
    spans::SpanOutcome,
};
use crate::quota::{
    Class, CoolingCause, DenialReason, OperationId, Wall, salesforce::errors::TroubleKind,
};

/// The invariants that are watched while the service runs, by their numbers.
pub const INVARIANTS: [&str; 9] = ["I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8", "I9"];

/// The content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of `reserve_seconds`: from a reserve in memory over an fsync to
/// the 2 s that a request waits for one at most.
const RESERVE_BUCKETS: [f64; 13] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.0];

/// The methods that are told apart; anything else counts as "other".
const METHODS: [&str; 33] = [
    "quotagate.v1.QuotaService/Acquire",
    "quotagate.v1.QuotaService/Release",
    "quotagate.v1.QuotaService/Report",
    "quotagate.v1.QuotaService/GetUsage",
    "quotagate.v1.QuotaService/WatchUsage",
    "quotagate.v1.QuotaService/GetDemand",
    "quotagate.v1.QuotaService/ListUsage",
    "quotagate.admin.v1.AdminService/ListOrgs",
    "quotagate.admin.v1.AdminService/GetOrg",
    "quotagate.admin.v1.AdminService/PutOrg",
    "quotagate.admin.v1.AdminService/DeleteOrg",
    "quotagate.admin.v1.AdminService/PutWorkspace",
    "quotagate.admin.v1.AdminService/DeleteWorkspace",
    "quotagate.admin.v1.AdminService/PutExecutionUser",
    "quotagate.admin.v1.AdminService/DeleteExecutionUser",
    "quotagate.admin.v1.AdminService/GetCluster",
    "quotagate.admin.v1.AdminService/ListChanges",
    "quotagate.admin.v1.AdminService/GetCatalogue",
    "quotagate.admin.v1.AdminService/ReplayDemand",
    "envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit",
    "envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs",
    "quotagate.peer.v1.PeerService/Ping",
    "quotagate.peer.v1.PeerService/Acquire",
    "quotagate.peer.v1.PeerService/Release",
    "quotagate.peer.v1.PeerService/Report",
    "quotagate.peer.v1.PeerService/Forward",
    "quotagate.peer.v1.PeerService/GetUsage",
    "quotagate.peer.v1.PeerService/WatchUsage",
    "quotagate.peer.v1.PeerService/GetDemand",
    "quotagate.peer.v1.PeerService/Glance",
    "quotagate.peer.v1.PeerService/ReplayDemand",
    "quotagate.peer.v1.PeerService/Administer",
    "other",
];

/// The names of gRPC's status codes, by number.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The name of a gRPC code, as it stands in labels, error details and JSON.
#[must_use]
pub fn code_name(code: tonic::Code) -> &'static str {
    CODES[code_index(code)]
}

fn code_index(code: tonic::Code) -> usize {
    usize::try_from(i32::from(code)).unwrap_or(2).min(CODES.len() - 1)
}

const REASONS: [DenialReason; 7] = [
    DenialReason::ExecutionUserLimit,
    DenialReason::WorkspaceClassPaused,
    DenialReason::WorkspaceLimit,
    DenialReason::OrgLimit,
    DenialReason::ConcurrencyLimit,
    DenialReason::CoolingDown,
    DenialReason::QueueFull,
];

/// How attempts to say who calls end: in a name, or refused for a reason.
pub const AUTHENTICATIONS: [&str; 16] = [
    "accepted",
    "missing",
    "too_large",
    "malformed",
    "unknown_token",
    "wrong_issuer",
    "wrong_algorithm",
    "unknown_key",
    "bad_signature",
    "no_expiry",
    "expired",
    "not_yet_valid",
    "wrong_audience",
    "no_subject",
    "keys_unavailable",
    "session_ended",
];

/// Upper bounds of `wait_seconds`: from a slot that is freed at once to the ten
/// minutes that a request may wait for room.
const WAIT_BUCKETS: [f64; 11] = [0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 120.0, 300.0, 450.0, 600.0];

type Labels<const N: usize> = [(&'static str, &'static str); N];
type Counters<const N: usize> = Family<Labels<N>, Counter>;

/// A class, and an operation of the catalogue: only what an operator has declared
/// is ever decided.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ByOperation {
    class: &'static str,
    operation: OperationId,
}

impl ByOperation {
    fn of(class: Class, operation: &OperationId) -> Self {
        Self { class: class.name(), operation: operation.clone() }
    }
}

impl EncodeLabelSet for ByOperation {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        [("class", self.class), ("operation", self.operation.as_str())].encode(encoder)
    }
}

/// What became of a transaction that reserves quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReserveOutcome {
    /// Committed.
    Done,
    /// A record was not as expected.
    Conflict,
    /// Another process owns the shard.
    Fenced,
    /// Certainly not committed.
    NotExecuted,
    /// The store did not say.
    Unknown,
}

/// What became of a request that was forwarded to the node that owns its org.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardOutcome {
    /// It answered.
    Answered,
    /// It answered with an error for the caller.
    Failed,
    /// It is the owner no longer, or not yet.
    NotOwner,
    /// There was no connection to it.
    NotSent,
    /// It takes no requests from this node.
    Refused,
    /// The answer was lost, if there was one.
    Lost,
}

/// What became of an event for the webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookOutcome {
    /// The receiver took it.
    Delivered,
    /// An attempt failed, and there will be another.
    Retried,
    /// It was given up.
    Failed,
    /// The same was told a moment ago.
    HeldBack,
    /// Too many waited already.
    Dropped,
}

/// What became of a configuration that was read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadOutcome {
    /// It is in force.
    Applied,
    /// It has faults; the last good one stays.
    Rejected,
}

/// What a descriptor of a proxy's request means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DescriptorMeaning {
    /// A permit was asked for.
    Asked,
    /// It is no call that Salesforce counts.
    Free,
    /// No rule fits.
    Unmatched,
    /// A rule fits, and its values cannot be.
    Faulty,
}

/// What an entry of a proxy's access log says of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogEntryOutcome {
    /// Salesforce answered.
    Answered,
    /// It was sent, and no answer came.
    Unanswered,
    /// It was never sent.
    Unsent,
    /// Nothing: the request had no permit.
    WithoutPermit,
}

/// Every metric. What is counted with each request is an atomic that was looked
/// up at the start.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    granted: [Counter; 4],
    denied: [[Counter; 4]; 7],
    granted_calls: Family<ByOperation, Counter>,
    refused_calls: Family<ByOperation, Counter>,
    releases: Counter,
    released_calls: Counter,
    reports: [Counter; 2],
    reserves: [Counter; 5],
    reserve_seconds: Histogram,
    store_wait_seconds: Histogram,
    forwarded: [Counter; 6],
    requests: Counters<2>,
    request_cells: [[OnceLock<Counter>; CODES.len()]; METHODS.len()],
    violations: [Counter; 9],
    reloads: [Counter; 2],
    last_reload: Gauge,
    owned_shards: Gauge,
    orgs: Gauge,
    waiting: [Gauge; 4],
    permits_out: Gauge,
    shadow_denials: [[Counter; 4]; 7],
    webhook: [Counter; 5],
    envoy_descriptors: [Counter; 4],
    envoy_log_entries: [Counter; 4],
    /// By the name of the kind.
    troubles: Counters<1>,
    cooling: [Gauge; CoolingCause::ALL.len()],
    wait_seconds: [Histogram; 4],
    shards: ShardMetrics,
    shown_orgs: ShownOrgs,
    org_gauges: OrgGauges,
    cluster: ClusterGauges,
    authentications: [Counter; AUTHENTICATIONS.len()],
    connections: Connections,
    spans: Spans,
}

impl Metrics {
    /// All metrics at zero, for a process of this version that started then.
    #[must_use]
    pub fn new(version: &str, started: Wall) -> Self {
        let mut registry = Registry::with_prefix("quotagate");

        registry.register(
            "build",
            "The version of the running program, and the commit that it was built from",
            Info::new([("version", version.to_owned()), ("commit", crate::COMMIT.to_owned())]),
        );
        let start = gauge(
            &mut registry,
            "process_start_time",
            "When the process started, by its own clock, since the Unix epoch",
            Some(Unit::Seconds),
        );
        start.set(seconds(started));

        let decisions: Counters<3> =
            family(&mut registry, "decisions", "Acquires decided, without checks");
        let decided = |decision, reason, class: Class| {
            decisions.get_or_create_owned(&[
                ("decision", decision),
                ("reason", reason),
                ("class", class.name()),
            ])
        };
        let granted = Class::ALL.map(|class| decided("granted", "none", class));
        let denied =
            REASONS.map(|reason| Class::ALL.map(|class| decided("denied", reason.name(), class)));
        let granted_calls = Family::default();
        let help = "Calls that permits were given for";
        registry.register("granted_calls", help, granted_calls.clone());
        let refused_calls = Family::default();
        let help = "Calls that denied Acquires asked for";
        registry.register("refused_calls", help, refused_calls.clone());

        let releases = counter(&mut registry, "releases", "Releases answered");
        let released_calls =
            counter(&mut registry, "released_calls", "Calls that were given back unsent");
        let reports: Counters<1> = family(
            &mut registry,
            "reports",
            "Reports taken, by whether Salesforce answered with a status below 500",
        );
        let reports = ["false", "true"]
            .map(|answered| reports.get_or_create_owned(&[("answered", answered)]));

        let reserves: Counters<1> =
            family(&mut registry, "reserves", "Transactions that set quota aside");
        let reserves = ["done", "conflict", "fenced", "not_executed", "unknown"]
            .map(|outcome| reserves.get_or_create_owned(&[("outcome", outcome)]));
        let reserve_seconds = Histogram::new(RESERVE_BUCKETS);
        registry.register_with_unit(
            "reserve",
            "How long a transaction that sets quota aside takes",
            Unit::Seconds,
            reserve_seconds.clone(),
        );
        let store_wait_seconds = Histogram::new(RESERVE_BUCKETS);
        registry.register_with_unit(
            "store_wait",
            "How long Acquires waited for the store, of those that had to and asked for no wait",
            Unit::Seconds,
            store_wait_seconds.clone(),
        );

        let forwarded: Counters<1> =
            family(&mut registry, "forwarded", "Requests sent to the node that owns their org");
        let forwarded = ["answered", "failed", "not_owner", "not_sent", "refused", "lost"]
            .map(|outcome| forwarded.get_or_create_owned(&[("outcome", outcome)]));
        let requests = family(&mut registry, "grpc_requests", "gRPC requests answered");

        let violations: Counters<1> = family(
            &mut registry,
            "invariant_violations",
            "Times that a promise of the protocol did not hold; anything but 0 is a bug",
        );
        let violations = INVARIANTS.map(|id| violations.get_or_create_owned(&[("id", id)]));

        let reloads: Counters<1> =
            family(&mut registry, "config_reloads", "Configuration files read again");
        let reloads = ["applied", "rejected"]
            .map(|outcome| reloads.get_or_create_owned(&[("outcome", outcome)]));
        let last_reload = gauge(
            &mut registry,
            "config_last_reload_success_timestamp",
            "When the configuration in force was read, since the Unix epoch",
            Some(Unit::Seconds),
        );
        last_reload.set(seconds(started));

        let shadowed: Counters<2> = family(
            &mut registry,
            "shadow_denials",
            "Grants that a limit in shadow would have refused",
        );
        let shadow_denials = REASONS.map(|reason| {
            let of = |class: Class| [("reason", reason.name()), ("class", class.name())];
            Class::ALL.map(|class| shadowed.get_or_create_owned(&of(class)))
        });

        let messages: Counters<1> =
            family(&mut registry, "webhook_messages", "Events for the webhook, by their outcome");
        let webhook = ["delivered", "retried", "failed", "held_back", "dropped"]
            .map(|outcome| messages.get_or_create_owned(&[("outcome", outcome)]));

        let descriptors: Counters<1> = family(
            &mut registry,
            "envoy_descriptors",
            "Descriptors of proxies' requests, by what they mean",
        );
        let envoy_descriptors = ["asked", "free", "unmatched", "faulty"]
            .map(|meaning| descriptors.get_or_create_owned(&[("meaning", meaning)]));
        let entries: Counters<1> = family(
            &mut registry,
            "envoy_log_entries",
            "Entries of proxies' access logs, by what they say of a call",
        );
        let envoy_log_entries = ["answered", "unanswered", "unsent", "without_permit"]
            .map(|outcome| entries.get_or_create_owned(&[("outcome", outcome)]));

        let owned_shards =
            gauge(&mut registry, "owned_shards", "Shards that this node decides for", None);
        let orgs = gauge(&mut registry, "orgs", "Orgs whose counters are in memory", None);
        let waiting = Family::<Labels<1>, Gauge>::default();
        registry.register("waiting", "Acquires that wait for room", waiting.clone());
        let waiting =
            Class::ALL.map(|class| waiting.get_or_create_owned(&[("class", class.name())]));
        let wait_seconds =
            Family::<Labels<1>, Histogram, fn() -> Histogram>::new_with_constructor(|| {
                Histogram::new(WAIT_BUCKETS)
            });
        registry.register_with_unit(
            "wait",
            "How long Acquires that may wait for room did, of those that had to, however it ended",
            Unit::Seconds,
            wait_seconds.clone(),
        );
        let wait_seconds =
            Class::ALL.map(|class| wait_seconds.get_or_create_owned(&[("class", class.name())]));
        let permits_out = gauge(&mut registry, "permits_out", "Permits that have not ended", None);

        let troubles: Counters<1> = family(
            &mut registry,
            "troubles",
            "Answers of Salesforce's that say stop, or wait, by what they say",
        );
        for kind in TroubleKind::ALL {
            troubles.get_or_create_owned(&[("kind", kind.name())]);
        }
        let cooling: Family<Labels<1>, Gauge> =
            family_of_gauges(&mut registry, "cooling", "Counters that cool down, by cause");
        let cooling =
            CoolingCause::ALL.map(|cause| cooling.get_or_create_owned(&[("cause", cause.name())]));

        let shards = ShardMetrics::new(&mut registry);
        let (org_gauges, cluster) = (OrgGauges::default(), ClusterGauges::default());
        registry.register_collector(Box::new(org_gauges.clone()));
        registry.register_collector(Box::new(cluster.clone()));
        let authentications: Counters<1> = family(
            &mut registry,
            "authentications",
            "Requests whose caller had to be known, by whether it was, or why not",
        );
        let authentications = AUTHENTICATIONS
            .map(|outcome| authentications.get_or_create_owned(&[("outcome", outcome)]));

        Self {
            granted,
            denied,
            granted_calls,
            refused_calls,
            releases,
            released_calls,
            reports,
            reserves,
            reserve_seconds,
            store_wait_seconds,
            forwarded,
            requests,
            request_cells: array::from_fn(|_| array::from_fn(|_| OnceLock::new())),
            violations,
            reloads,
            last_reload,
            owned_shards,
            orgs,
            waiting,
            permits_out,
            shadow_denials,
            webhook,
            envoy_descriptors,
            envoy_log_entries,
            troubles,
            cooling,
            wait_seconds,
            shards,
            shown_orgs: ShownOrgs::default(),
            org_gauges,
            cluster,
            authentications,
            connections: Connections::register(&mut registry),
            spans: Spans::register(&mut registry),
            registry,
        }
    }

    /// A permit for `calls` calls was given.
    pub fn granted(&self, class: Class, operation: &OperationId, calls: u32) {
        self.granted[class_index(class)].inc();
        self.granted_calls.get_or_create(&ByOperation::of(class, operation)).inc_by(calls.into());
    }

    /// An Acquire of `calls` calls was denied.
    pub fn denied(&self, reason: DenialReason, class: Class, operation: &OperationId, calls: u32) {
        self.denied[reason_index(reason)][class_index(class)].inc();
        self.refused_calls.get_or_create(&ByOperation::of(class, operation)).inc_by(calls.into());
    }

    /// A descriptor of a proxy's request was read.
    pub fn envoy_descriptor(&self, meaning: DescriptorMeaning) {
        self.envoy_descriptors[match meaning {
            DescriptorMeaning::Asked => 0,
            DescriptorMeaning::Free => 1,
            DescriptorMeaning::Unmatched => 2,
            DescriptorMeaning::Faulty => 3,
        }]
        .inc();
    }

    /// An entry of a proxy's access log was read.
    pub fn envoy_log_entry(&self, outcome: LogEntryOutcome) {
        self.envoy_log_entries[match outcome {
            LogEntryOutcome::Answered => 0,
            LogEntryOutcome::Unanswered => 1,
            LogEntryOutcome::Unsent => 2,
            LogEntryOutcome::WithoutPermit => 3,
        }]
        .inc();
    }

    /// What became of an event for the webhook.
    pub fn webhook(&self, outcome: WebhookOutcome) {
        let index = match outcome {
            WebhookOutcome::Delivered => 0,
            WebhookOutcome::Retried => 1,
            WebhookOutcome::Failed => 2,
            WebhookOutcome::HeldBack => 3,
            WebhookOutcome::Dropped => 4,
        };
        self.webhook[index].inc();
    }

    /// Grants were made that a limit in shadow would have refused.
    pub fn shadow_denied(&self, reason: DenialReason, class: Class, grants: u64) {
        self.shadow_denials[reason_index(reason)][class_index(class)].inc_by(grants);
    }

    /// A release was answered; it gave back `calls` calls, 0 for a repeat.
    pub fn released(&self, calls: u32) {
        self.releases.inc();
        self.released_calls.inc_by(calls.into());
    }

    /// A report was taken.
    pub fn reported(&self, answered: bool) {
        self.reports[usize::from(answered)].inc();
    }

    /// A transaction that reserves quota took this long and ended so.
    pub fn reserved(&self, outcome: ReserveOutcome, took: Duration) {
        let index = match outcome {
            ReserveOutcome::Done => 0,
            ReserveOutcome::Conflict => 1,
            ReserveOutcome::Fenced => 2,
            ReserveOutcome::NotExecuted => 3,
            ReserveOutcome::Unknown => 4,
        };
        self.reserves[index].inc();
        self.reserve_seconds.observe(took.as_secs_f64());
    }

    /// An Acquire that asked for no wait had to wait this long for a reserve.
    pub fn waited_for_store(&self, waited: Duration) {
        self.store_wait_seconds.observe(waited.as_secs_f64());
    }

    /// A request was sent to the node that owns its org, or was to be.
    pub fn forwarded(&self, outcome: ForwardOutcome) {
        let index = match outcome {
            ForwardOutcome::Answered => 0,
            ForwardOutcome::Failed => 1,
            ForwardOutcome::NotOwner => 2,
            ForwardOutcome::NotSent => 3,
            ForwardOutcome::Refused => 4,
            ForwardOutcome::Lost => 5,
        };
        self.forwarded[index].inc();
    }

    /// A gRPC request was answered. `path` is the request's, for example
    /// `/quotagate.v1.QuotaService/Acquire`.
    pub fn request(&self, path: &str, code: tonic::Code) {
        let path = path.trim_start_matches('/');
        let method = METHODS.iter().position(|known| *known == path).unwrap_or(METHODS.len() - 1);
        let code = code_index(code);
        self.request_cells[method][code]
            .get_or_init(|| {
                self.requests
                    .get_or_create_owned(&[("method", METHODS[method]), ("code", CODES[code])])
            })
            .inc();
    }

    /// A promise of the protocol did not hold: `id` is one of [`INVARIANTS`].
    pub fn violated(&self, id: &str) {
        match INVARIANTS.iter().position(|known| *known == id) {
            Some(index) => {
                self.violations[index].inc();
            }
            None => debug_assert!(false, "there is no invariant {id}"),
        }
    }

    /// The configuration file was read again at `now`.
    pub fn reloaded(&self, outcome: ReloadOutcome, now: Wall) {
        match outcome {
            ReloadOutcome::Applied => {
                self.reloads[0].inc();
                self.last_reload.set(seconds(now));
            }
            ReloadOutcome::Rejected => {
                self.reloads[1].inc();
            }
        }
    }

    /// The shards that this node decides for now.
    pub fn set_owned_shards(&self, shards: u32) {
        self.owned_shards.set(shards.into());
    }

    /// The orgs in memory now.
    pub fn set_orgs(&self, orgs: u32) {
        self.orgs.set(orgs.into());
    }

    /// An Acquire that may wait for room waited this long.
    pub fn waited_for_room(&self, class: Class, waited: Duration) {
        self.wait_seconds[class_index(class)].observe(waited.as_secs_f64());
    }

    /// The requests that wait now, by class, in the order of service.
    pub fn set_waiting(&self, requests: [u32; 4]) {
        for (gauge, requests) in self.waiting.iter().zip(requests) {
            gauge.set(requests.into());
        }
    }

    /// The permits that are out now.
    pub fn set_permits_out(&self, permits: u32) {
        self.permits_out.set(permits.into());
    }

    /// Salesforce said stop, or wait.
    pub fn troubled(&self, kind: TroubleKind) {
        self.troubles.get_or_create_owned(&[("kind", kind.name())]).inc();
    }

    /// The counters that cool down now, in the order of [`CoolingCause::ALL`].
    pub fn set_cooling(&self, counters: [u32; CoolingCause::ALL.len()]) {
        for (gauge, counters) in self.cooling.iter().zip(counters) {
            gauge.set(counters.into());
        }
    }

    /// The same, with so many orgs shown by name.
    #[must_use]
    pub fn showing(self, shown_orgs: ShownOrgs) -> Self {
        Self { shown_orgs, ..self }
    }

    /// Chooses the orgs that are shown by name.
    #[must_use]
    pub fn choose_orgs(&self) -> Busiest {
        Busiest::new(self.shown_orgs)
    }

    /// These orgs are shown by name now.
    pub fn show_orgs(&self, busiest: Busiest) {
        self.org_gauges.show(busiest);
    }

    /// At each scrape the source is asked how this node stands in its cluster.
    pub fn show_cluster(&self, source: ClusterSource) {
        self.cluster.show(source);
    }

    /// Somebody was asked who they are: `outcome` is one of [`AUTHENTICATIONS`].
    pub fn authenticated(&self, outcome: &str) {
        match AUTHENTICATIONS.iter().position(|known| *known == outcome) {
            Some(index) => {
                self.authentications[index].inc();
            }
            None => debug_assert!(false, "there is no outcome {outcome}"),
        }
    }

    /// Everything as OpenMetrics text ([`CONTENT_TYPE`]).
    #[must_use]
    pub fn encode(&self) -> String {
        let mut out = String::new();
        text::encode(&mut out, &self.registry).expect("writing to a string does not fail");
        out
    }
}

fn family<const N: usize>(registry: &mut Registry, name: &str, help: &str) -> Counters<N> {
    let family = Counters::default();
    registry.register(name, help, family.clone());
    family
}

fn family_of_gauges(registry: &mut Registry, name: &str, help: &str) -> Family<Labels<1>, Gauge> {
    let family = Family::<Labels<1>, Gauge>::default();
    registry.register(name, help, family.clone());
    family
}

fn counter(registry: &mut Registry, name: &str, help: &str) -> Counter {
    let counter = Counter::<u64, AtomicU64>::default();
    registry.register(name, help, counter.clone());
    counter
}

fn gauge(registry: &mut Registry, name: &str, help: &str, unit: Option<Unit>) -> Gauge {
    let gauge = Gauge::default();
    match unit {
        Some(unit) => registry.register_with_unit(name, help, unit, gauge.clone()),
        None => registry.register(name, help, gauge.clone()),
    }
    gauge
}

fn seconds(wall: Wall) -> i64 {
    i64::try_from(wall.0 / 1_000_000).unwrap_or(i64::MAX)
}

/// The place in [`Class::ALL`].
const fn class_index(class: Class) -> usize {
    match class {
        Class::Control => 0,
        Class::Interactive => 1,
        Class::Event => 2,
        Class::Bulk => 3,
    }
}

/// The place in [`REASONS`].
const fn reason_index(reason: DenialReason) -> usize {
    match reason {
        DenialReason::ExecutionUserLimit => 0,
        DenialReason::WorkspaceClassPaused => 1,
        DenialReason::WorkspaceLimit => 2,
        DenialReason::OrgLimit => 3,
        DenialReason::ConcurrencyLimit => 4,
        DenialReason::CoolingDown => 5,
        DenialReason::QueueFull => 6,
    }
}

#[cfg(test)]
mod tests;
