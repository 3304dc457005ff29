//! A real Envoy for tests, as the egress gateway of the example.
#![allow(dead_code, reason = "each binary of tests uses a part")]

use std::{
    env, fs,
    fs::File,
    io::{self, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use http_body_util::{BodyExt as _, Empty};
use hyper::{HeaderMap, Request, body::Bytes};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use ring::hmac;
use tokio::time::{Instant, sleep};

/// The program.
pub struct Envoy(PathBuf);

/// A gateway is there within this time, or never.
const PATIENCE: Duration = Duration::from_secs(60);

/// The example's org and host.
const HOST: &str = "acme.my.salesforce.com";
const ORG: &str = "00D000000000001EAA";
const USER: &str = "sync-user";

/// The key with which the tests' identities are signed.
const SECRET: &[u8] = b"a secret of the tests, of 256 bits or more";

impl Envoy {
    /// The one that the environment names, or `./x tools` has installed. Where
    /// there is none the test is to end: that is said on stderr, and is a failure
    /// where CI=true.
    pub fn find() -> Option<Self> {
        let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools");
        let folder = fs::read_dir(tools).into_iter().flatten().flatten();
        let installed = folder
            .filter(|file| file.file_name().to_string_lossy().starts_with("envoy-"))
            .map(|file| file.path())
            .filter(|path| path.is_file())
            .max();
        let program = env::var_os("QUOTAGATE_ENVOY").map(PathBuf::from).or(installed);
        if program.is_none() {
            let test = thread::current().name().unwrap_or("a test").to_owned();
            let reason = "there is no envoy; `./x tools` installs it";
            assert!(env::var("CI").as_deref() != Ok("true"), "{test}: {reason}");
            // Not by a macro: those are captured, and shown for failures only.
            let _ = writeln!(io::stderr(), "SKIPPED: {test}: {reason}");
        }
        program.map(Self)
    }

    /// Envoy takes this configuration.
    pub fn validate(&self, config: &str, home: &Path) {
        let output = self.check(config, home);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    pub fn is_valid(&self, config: &str, home: &Path) -> bool {
        self.check(config, home).status.success()
    }

    fn check(&self, config: &str, home: &Path) -> std::process::Output {
        let file = home.join("checked.yaml");
        fs::write(&file, config).expect("it is writable");
        let command = ["--mode", "validate", "--log-level", "warning", "-c"];
        let output = Command::new(&self.0).args(command).arg(&file).env_clear().output();
        output.expect("envoy runs")
    }
}

/// The example, with this machine's addresses. It is killed when it is dropped.
pub struct Gateway {
    home: PathBuf,
    address: SocketAddr,
    admin: SocketAddr,
    child: Option<Child>,
}

impl Gateway {
    /// A gateway that does not run yet.
    pub fn new(home: &Path) -> Self {
        let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        // Both are held until both are known.
        let held = [bind(), bind()];
        let [address, admin] = held.map(|port| port.local_addr().expect("it is bound"));
        let keys = format!(
            r#"{{"keys": [{{"kty": "oct", "alg": "HS256", "k": "{}"}}]}}"#,
            base64url(SECRET)
        );
        fs::write(home.join("jwks.json"), keys).expect("it is writable");
        Self { home: home.to_owned(), address, admin, child: None }
    }

    /// The example with the keys of the tests.
    pub fn with_keys(&self, example: &str) -> String {
        let path = self.home.join("jwks.json").display().to_string();
        replaced(example, "/etc/envoy/jwks.json", &path)
    }

    /// Starts it; it serves, and knows the service as healthy, when this returns.
    pub async fn start(&mut self, envoy: &Envoy, quotagate: SocketAddr, salesforce: SocketAddr) {
        let example = fs::read_to_string("examples/envoy/envoy.yaml").expect("it is there");
        let config = self.with_keys(&example);
        let address = |of: SocketAddr| format!("address: {}, port_value: {}", of.ip(), of.port());
        let config =
            replaced(&config, "address: 0.0.0.0, port_value: 8080", &address(self.address));
        let config =
            replaced(&config, "address: 127.0.0.1, port_value: 9901", &address(self.admin));
        let service = "address: quotagate.internal, port_value: 7400";
        let config = replaced(&config, service, &address(quotagate));
        let upstream = "address: acme.my.salesforce.com, port_value: 443";
        let config = replaced(&config, upstream, &address(salesforce));
        // The stand-in speaks no TLS.
        let is_tls = |line: &&str| line.trim_start().starts_with("transport_socket:");
        assert_eq!(config.lines().filter(is_tls).count(), 1);
        let lines: Vec<&str> = config.lines().filter(|line| !is_tls(line)).collect();
        let file = self.home.join("envoy.yaml");
        fs::write(&file, lines.join("\n")).expect("it is writable");
        let log = File::create(self.home.join("envoy.log")).expect("it is writable");
        let child = Command::new(&envoy.0)
            .args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "warning", "-c"])
            .arg(&file)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.child = Some(child.expect("envoy runs"));
        let healthy = "cluster.quotagate.membership_healthy: 1";
        let begin = Instant::now();
        while !self.admin("/stats").await.is_some_and(|stats| stats.contains(healthy))
            || self.admin("/ready").await.as_deref() != Some("LIVE\n")
        {
            let log = || fs::read_to_string(self.home.join("envoy.log")).unwrap_or_default();
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            assert!(ended.is_none() && begin.elapsed() < PATIENCE, "{}", log());
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn admin(&self, path: &str) -> Option<String> {
        let reply = fetch(&client(), &format!("http://{}{path}", self.admin), &[]).await?;
        Some(reply.body)
    }

    /// A caller with all that the gateway asks for.
    pub fn caller(&self) -> Caller {
        let headers = [
            ("host", HOST.to_owned()),
            ("authorization", format!("Bearer {ORG}!{USER}")),
            ("x-caller-token", token("acme-eu")),
            ("x-salesforce-user", USER.to_owned()),
            ("x-traffic-class", "interactive".to_owned()),
        ];
        Caller {
            client: client(),
            url: format!("http://{}", self.address),
            headers: headers.into(),
        }
    }

    /// A call by an ordinary caller.
    pub async fn get(&self, path: &str) -> Reply {
        self.caller().get(path).await
    }

    /// Waits until the service's metric has this value.
    pub async fn until_metric(&self, http: SocketAddr, metric: &str, value: u64) {
        let begin = Instant::now();
        let line = format!("{metric} {value}");
        loop {
            let reply = fetch(&client(), &format!("http://{http}/metrics"), &[]).await;
            let metrics = reply.map(|reply| reply.body).unwrap_or_default();
            if metrics.lines().any(|found| found == line) {
                return;
            }
            let found = metrics.lines().find(|line| line.starts_with(metric));
            assert!(begin.elapsed() < PATIENCE, "{found:?}, expected {line:?}");
            sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A caller behind the gateway.
#[derive(Clone)]
pub struct Caller {
    client: HttpClient,
    url: String,
    headers: Vec<(&'static str, String)>,
}

impl Caller {
    pub fn without_user(mut self) -> Self {
        self.headers.retain(|(name, _)| *name != "x-salesforce-user");
        self
    }

    pub fn without_token(mut self) -> Self {
        self.headers.retain(|(name, _)| *name != "x-caller-token");
        self
    }

    pub fn of_class(mut self, class: &str) -> Self {
        self.headers.retain(|(name, _)| *name != "x-traffic-class");
        self.headers.push(("x-traffic-class", class.to_owned()));
        self
    }

    pub fn asking_for_retries(mut self) -> Self {
        self.headers.push(("x-envoy-retry-on", "5xx,retriable-4xx,retriable-status-codes".into()));
        self.headers.push(("x-envoy-retriable-status-codes", "200,400".into()));
        self.headers.push(("x-envoy-max-retries", "3".into()));
        self
    }

    pub async fn get(&self, path: &str) -> Reply {
        let reply = fetch(&self.client, &format!("{}{path}", self.url), &self.headers).await;
        reply.expect("the gateway answers")
    }
}

/// What the gateway answered.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub body: String,
    headers: HeaderMap,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

type HttpClient = Client<HttpConnector, Empty<Bytes>>;

fn client() -> HttpClient {
    Client::builder(TokioExecutor::new()).build_http()
}

async fn fetch(client: &HttpClient, url: &str, headers: &[(&str, String)]) -> Option<Reply> {
    let mut request = Request::get(url);
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let response =
        client.request(request.body(Empty::new()).expect("a good request")).await.ok()?;
    let (head, body) = response.into_parts();
    let body = body.collect().await.ok()?.to_bytes();
    let body = String::from_utf8_lossy(&body).into_owned();
    Some(Reply { status: head.status.as_u16(), body, headers: head.headers })
}

/// An identity of a workspace, as a JWT.
fn token(workspace: &str) -> String {
    let claims = format!(
        r#"{{"iss": "https://callers.example.com", "exp": 4102444800, "workspace": "{workspace}"}}"#
    );
    let signed = format!("{}.{}", base64url(br#"{"alg": "HS256"}"#), base64url(claims.as_bytes()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    let signature = hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", base64url(signature.as_ref()))
}

fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let triple = |three: &[u8]| {
        let mut bits = [0; 3];
        bits[..three.len()].copy_from_slice(three);
        let bits = u32::from_be_bytes([0, bits[0], bits[1], bits[2]]);
        let digit = move |at: usize| char::from(DIGITS[(bits >> (18 - 6 * at)) as usize & 63]);
        (0..=three.len()).map(digit).collect::<String>()
    };
    bytes.chunks(3).map(triple).collect()
}

/// The text with the one occurrence of a part replaced: the example has it still.
fn replaced(text: &str, part: &str, by: &str) -> String {
    assert_eq!(text.matches(part).count(), 1, "the example has {part:?} once");
    text.replace(part, by)
}
