//! The gRPC edge as a whole: the service itself, over connections in memory and
//! with a clock that jumps to the next thing to happen.

use std::{
    cell::RefCell,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use quotagate::{
    clock::Clock,
    cluster::peers,
    config::Config,
    quota::Wall,
    server::{Listener, Options, Service, Surroundings},
    store::memory::MemoryStore,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
    runtime::Runtime,
    sync::mpsc,
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    body::Body,
    client::GrpcService as _,
    codegen::http::{Request, Uri},
    transport::{Channel, Endpoint},
};

#[path = "../../common/wire.rs"]
mod wire;

/// A connection in memory.
type Wire = wire::Wire<DuplexStream>;

/// Every method, a stream of messages among them.
const METHODS: [&str; 24] = [
    "/quotagate.v1.QuotaService/Acquire",
    "/quotagate.v1.QuotaService/Release",
    "/quotagate.v1.QuotaService/Report",
    "/quotagate.v1.QuotaService/GetUsage",
    "/quotagate.v1.QuotaService/WatchUsage",
    "/quotagate.v1.QuotaService/GetDemand",
    "/quotagate.v1.QuotaService/ListUsage",
    "/quotagate.admin.v1.AdminService/ListOrgs",
    "/quotagate.admin.v1.AdminService/GetOrg",
    "/quotagate.admin.v1.AdminService/PutOrg",
    "/quotagate.admin.v1.AdminService/DeleteOrg",
    "/quotagate.admin.v1.AdminService/PutWorkspace",
    "/quotagate.admin.v1.AdminService/DeleteWorkspace",
    "/quotagate.admin.v1.AdminService/PutExecutionUser",
    "/quotagate.admin.v1.AdminService/DeleteExecutionUser",
    "/quotagate.admin.v1.AdminService/GetCluster",
    "/quotagate.admin.v1.AdminService/ReplayDemand",
    RATE_LIMIT,
    ACCESS_LOG,
    "/grpc.health.v1.Health/Check",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    "/quotagate.admin.v1.AdminService/GetCatalogue",
    "/quotagate.admin.v1.AdminService/ListChanges",
];
const RATE_LIMIT: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";
const ACCESS_LOG: &str = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs";
const USAGE: &str = "/quotagate.v1.QuotaService/GetUsage";

/// Some of what can be declared, so that a rule of Envoy's fits now and then.
const CONFIG: &str = "
orgs:
  - {id: acme, daily_calls: 1000, execution_users: [ann, bob], workspaces: [{id: eu, daily_calls: 100}]}
envoy:
  domains:
    plain:
      rules:
        - when: {kind: api}
          org: acme
          operation: {method: method, path: path}
          traffic_class: {entry: class, values: {low: bulk, high: interactive}, default: event}
        - org: {entry: org}
          workspace: {entry: workspace, optional: true}
          operation: {entry: operation}
          execution_user: {entry: user, optional: true}
    calls: {unmatched: allow, hits_addend: calls, rules: [{org: {entry: org}, operation: {entry: operation}}]}
    loud: {unmatched: error, rules: [{org: {entry: org}}]}
";

/// An honest question: the message `GetUsageRequest {org: "acme"}`.
const ACME: &[u8] = b"\x0a\x04acme";

/// A connection holds so much that nobody has read.
const BUFFER: usize = 64 * 1024;

/// The service may remember what it heard for so long; then it starts anew, so
/// that an input's effect does not hang on all those before it.
const INPUTS_OF_A_LIFE: u32 = 500;

/// Nothing comes after this, in the runtime's time.
const QUIET: Duration = Duration::from_secs(2);

/// One call of any method. The first byte says which, the rest is the message.
pub fn grpc_call(bytes: &[u8]) {
    let Some((which, message)) = bytes.split_first() else { return };
    let method = METHODS[usize::from(*which) % METHODS.len()];
    with_world(async |world| world.ask(method, message).await);
}

/// What a proxy asks.
pub fn envoy_descriptors(bytes: &[u8]) {
    with_world(async |world| world.ask(RATE_LIMIT, bytes).await);
}

/// What a proxy has seen.
pub fn envoy_access_log(bytes: &[u8]) {
    with_world(async |world| world.ask(ACCESS_LOG, bytes).await);
}

/// All that comes over one connection, HTTP/2's preface included.
pub fn http2(bytes: &[u8]) {
    with_world(async |world| world.pour(bytes).await);
}

/// A service, and the ways to it.
struct World {
    service: Service,
    connections: mpsc::Sender<io::Result<Wire>>,
    channel: Channel,
    inputs: u32,
}

thread_local! {
    static WORLD: RefCell<Option<(Runtime, World)>> = const { RefCell::new(None) };
}

/// Gives the service something; it must go on answering others.
fn with_world<T>(input: impl AsyncFnOnce(&mut World) -> T) {
    WORLD.with_borrow_mut(|slot| {
        let (runtime, mut world) = slot.take().unwrap_or_else(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .start_paused(true)
                .build()
                .expect("a runtime");
            let world = runtime.block_on(World::start());
            (runtime, world)
        });
        runtime.block_on(async {
            input(&mut world).await;
            let answer = world.ask(USAGE, ACME).await;
            assert!(answer > 5, "an honest caller gets the usage, not {answer} bytes");
        });
        world.inputs += 1;
        if world.inputs < INPUTS_OF_A_LIFE {
            *slot = Some((runtime, world));
        } else {
            runtime.block_on(world.service.stop());
        }
    });
}

impl World {
    async fn start() -> Self {
        let unused = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let config = Config::parse(CONFIG).expect("a good configuration");
        let options = Options { node: "fuzzed".to_owned(), ..Options::in_memory(config) };
        let (connections, incoming) = mpsc::channel(8);
        let surroundings = Surroundings {
            clock: Clock::of_runtime(Wall(1_700_000_000_000_000)),
            grpc: Listener { address: unused, connections: ReceiverStream::new(incoming) },
            // A real one, which nobody uses here.
            http: tokio::net::TcpListener::bind(unused).await.expect("a free port"),
            peer: None,
            dial: peers::dial_tcp(),
        };
        let store = Arc::new(MemoryStore::new());
        let service = Service::start_among(store, options, surroundings).await;
        let service = service.expect("it starts");
        let connect = connections.clone();
        let connector = tower::service_fn(move |_: Uri| {
            let connect = connect.clone();
            async move { dial(&connect).await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://fuzzed").connect_with_connector_lazy(connector);
        Self { service, connections, channel, inputs: 0 }
    }

    /// One call over the honest connection: the bytes of its answer.
    async fn ask(&mut self, method: &'static str, message: &[u8]) -> usize {
        let length = u32::try_from(message.len()).expect("an input is short").to_be_bytes();
        let body = [&[0], &length[..], message].concat();
        let request = Request::post(method)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Body::new(Full::from(body)))
            .expect("a request");
        std::future::poll_fn(|context| self.channel.poll_ready(context)).await.expect("connected");
        let mut response =
            self.channel.call(request).await.expect("there is an answer").into_body();
        let mut bytes = 0;
        // A stream of answers has no end: its first ones are enough.
        while let Ok(Some(frame)) = timeout(QUIET, response.frame()).await {
            let frame = frame.expect("the connection lives");
            bytes += frame.data_ref().map_or(0, |data| data.len());
        }
        bytes
    }

    /// Everything over a connection of its own, until nothing more comes back.
    async fn pour(&mut self, bytes: &[u8]) {
        let connection = dial(&self.connections).await.expect("the service takes it");
        let (mut read, mut write) = tokio::io::split(connection);
        let send = async {
            // It is the service's right to read no more.
            let _ = timeout(QUIET, write.write_all(bytes)).await;
        };
        let hear = async {
            let mut answer = vec![0; BUFFER];
            while let Ok(Ok(1..)) = timeout(QUIET, read.read(&mut answer)).await {}
        };
        tokio::join!(send, hear);
    }
}

/// A new connection to the service.
async fn dial(connections: &mpsc::Sender<io::Result<Wire>>) -> io::Result<DuplexStream> {
    let (ours, theirs) = duplex(BUFFER);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let wire = Wire { stream: theirs, ends: (address, address) };
    connections.send(Ok(wire)).await.map_err(|_| io::ErrorKind::ConnectionRefused)?;
    Ok(ours)
}
