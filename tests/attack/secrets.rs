//! What is secret stands in no log, at whatever level.

use std::{net::SocketAddr, time::Duration};

use quotagate::{
    auth::token::{Hex, hash},
    proto::{
        admin::v1::{GetOrgRequest, admin_service_client::AdminServiceClient},
        v1::{AcquireRequest, quota_service_client::QuotaServiceClient},
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};
use tonic::{Request, metadata::MetadataValue};

use crate::{
    honest::PATIENCE,
    process::{program, signal},
    server::Server,
};

/// Texts that stand nowhere else, so that a log that has one has told it.
const BEARER: &str = "planted-bearer-2f1c8a";
const WRONG_BEARER: &str = "planted-wrong-bearer-90e3d7";
/// A JWT of nobody's: `{"alg":"ES256"}`, `{"iss":"https://nobody"}`, and rubbish.
const WRONG_JWT: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJodHRwczovL25vYm9keSJ9.cGxhbnRlZA";
const COOKIE: &str = "planted-cookie-77d0b4";
const SIGNING_KEY: &str = "planted-signing-key-e09b51";
const ADDRESS_TOKEN: &str = "planted-address-token-4ac3d2";
const QUERY: &str = "planted-query-b8e630";

const SECRETS: [&str; 7] =
    [BEARER, WRONG_BEARER, WRONG_JWT, COOKIE, SIGNING_KEY, ADDRESS_TOKEN, QUERY];

#[tokio::test]
async fn no_secret_stands_in_the_log_at_any_level() {
    let home = tempfile::tempdir().expect("a directory");
    let file = format!("file:{}", home.path().join("data").display());
    for store in ["memory:", &file] {
        check(store).await;
    }
    // What is written down has none either: the record of changes names who made them.
    let kept = std::fs::read_dir(home.path().join("data")).expect("it is there");
    let mut files = 0;
    for file in kept.map(|file| file.expect("it can be read").path()) {
        let bytes = std::fs::read(&file).expect("it can be read");
        for secret in SECRETS {
            let is_in = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
            assert!(!is_in, "{secret} stands in {}", file.display());
        }
        files += 1;
    }
    assert!(files > 0, "something is written down");
}

/// A service on this store that hears and says all secrets, and is asked to fail.
async fn check(store: &str) {
    let home = tempfile::tempdir().expect("a directory");
    let config = home.path().join("quotagate.yaml");
    let key = home.path().join("webhook.key");
    std::fs::write(&key, SIGNING_KEY).expect("written");
    let sha256 = hash(BEARER);
    // Nobody listens at the webhook's address: what cannot be delivered is logged.
    let yaml = format!(
        "orgs: [{{id: acme, daily_calls: 4, workspaces: [{{id: eu, daily_calls: 4}}]}}]\n\
         webhook: {{url: 'http://127.0.0.1:9/{ADDRESS_TOKEN}', secret_file: '{}'}}\n\
         auth:\n\
        \x20 tokens: [{{name: ci, sha256: {}}}]\n\
        \x20 rules: [{{who: ['*'], orgs: ['*'], may: [acquire, read, admin]}}]\n",
        key.display(),
        Hex(&sha256)
    );
    std::fs::write(&config, &yaml).expect("written");
    let server = Server::start_on(store, &config, "trace").await;

    // By gRPC and HTTP, good requests and faulty ones, until an event is told.
    let address = format!("http://{}", server.grpc);
    let mut quota = QuotaServiceClient::connect(address.clone()).await.expect("it listens");
    let mut admin = AdminServiceClient::connect(address).await.expect("it listens");
    for operation in ["rest", "rest", "rest", "rest", "rest", "no such thing"] {
        let request = AcquireRequest {
            org: "acme".to_owned(),
            workspace: "eu".to_owned(),
            operation: operation.to_owned(),
            ..AcquireRequest::default()
        };
        let answer = quota.acquire(bearing(BEARER, request)).await;
        assert_eq!(answer.is_ok(), operation == "rest", "{answer:?}");
    }
    for token in [BEARER, WRONG_BEARER, WRONG_JWT] {
        let _ = admin.get_org(bearing(token, GetOrgRequest { org: "acme".to_owned() })).await;
    }
    for (method, path) in [
        ("GET", "/api/v1/orgs"),
        ("POST", "/api/v1/orgs/acme:acquire"),
        ("POST", "/session"),
        ("GET", "/no"),
    ] {
        for token in [BEARER, WRONG_BEARER] {
            http(server.http, method, path, token).await;
        }
    }
    // A file that is refused is told with its faults, one whose address is wrong too.
    let wrong = yaml.replace("http://127", "ftp://127");
    std::fs::write(&config, wrong).expect("written");
    while !server.log().contains("the configuration was refused") {
        sleep(Duration::from_millis(50)).await;
    }

    signal(server.pid(), "TERM");
    let log = server.ended().await;
    for part in ["QuotaService/Acquire", "\"TRACE\"", "webhook"] {
        assert!(log.contains(part), "the log tells of what was done: {part}");
    }
    for secret in SECRETS {
        let line = log.lines().find(|line| line.contains(secret));
        assert!(
            line.is_none(),
            "{store}: {secret} stands in the log: {}",
            line.unwrap_or_default()
        );
    }
}

fn bearing<M>(token: &str, message: M) -> Request<M> {
    let mut request = Request::new(message);
    let bearer = format!("Bearer {token}");
    let bearer = MetadataValue::try_from(bearer).expect("a header's value");
    request.metadata_mut().insert("authorization", bearer);
    request
}

async fn http(address: SocketAddr, method: &str, path: &str, token: &str) {
    let body = format!(r#"{{"operation": "rest", "token": "{token}"}}"#);
    let request = format!(
        "{method} {path}?access_token={QUERY} HTTP/1.1\r\nHost: localhost\r\n\
         Content-Type: application/json\r\nAuthorization: Bearer {token}\r\nCookie: quotagate={COOKIE}\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.starts_with(b"HTTP/1.1 "), "{}", String::from_utf8_lossy(&answer));
}

/// A secret in a file that is of no use, or in a text that is in the wrong place.
const MISPLACED: &str = "planted-misplaced-5e0c19";

/// What a command that ends by itself has said, and whether it was content.
async fn said(arguments: &[&str]) -> (String, bool) {
    let mut command = program(arguments);
    // Each option may be told by a variable, too: help must not show what those hold.
    for option in ["TOKEN_FILE", "STORE_PASSWORD_FILE", "PEER_TOKEN_FILE", "TLS_KEY", "STORE_KEY"] {
        if arguments.contains(&"--help") {
            command.env(format!("QUOTAGATE_{option}"), MISPLACED);
        }
    }
    let output = timeout(PATIENCE, command.output()).await;
    let output = output.unwrap_or_else(|_| panic!("it goes on: {arguments:?}")).expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8_lossy(&text).into_owned(), output.status.success())
}

#[tokio::test]
async fn no_help_and_no_error_shows_a_secret() {
    let home = tempfile::tempdir().expect("a directory");
    let put = |name: &str, text: &str| {
        let path = home.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let (help, _) = said(&["--help"]).await;
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands: Vec<_> = commands
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !name.is_empty() && *name != "help")
        .collect();
    assert!(commands.contains(&"serve") && commands.contains(&"acquire"), "{help}");
    for command in commands {
        let (text, is_good) = said(&[command, "--help"]).await;
        assert!(is_good && !text.contains(MISPLACED), "{command} --help: {text}");
    }

    // Of no use as what they should be.
    let blanks = put("blanks", &format!("{MISPLACED} and more"));
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{MISPLACED}\n-----END PRIVATE KEY-----\n");
    let pem = put("key.pem", &pem);
    let hash = format!("auth: {{tokens: [{{name: ci, sha256: {MISPLACED}}}]}}");
    let open = format!("auth: {{tokens: [{{name: ci, sha256: \"{MISPLACED}");
    let field = format!("auth: {{tokens: [{{name: ci, token: {MISPLACED}}}]}}");
    let short = put("short", MISPLACED);
    let key = format!("auth: {{certificates: true, session_key_file: '{short}'}}");
    let url =
        format!("webhook: {{url: 'https://me:{MISPLACED}@example.com/', secret_file: '{blanks}'}}");
    let idp = format!(
        "auth: {{oidc: [{{name: a, audiences: [a], issuer: 'https://me:{MISPLACED}@idp'}}]}}"
    );
    let [hash, open, field, key, url, idp] = [
        ("hash", hash),
        ("open", open),
        ("field", field),
        ("key", key),
        ("url", url),
        ("idp", idp),
    ]
    .map(|(name, text)| put(&format!("{name}.yaml"), &text));
    let store = format!("etcd://me:{MISPLACED}@127.0.0.1:1");
    let server = format!("https://me:{MISPLACED}@127.0.0.1:1");
    let ports = ["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"];
    let serve = |more: &[&str]| {
        let memory: &[&str] = if more.contains(&"--store") { &[] } else { &["--store", "memory:"] };
        [&["serve"], &ports[..], memory, more].concat().into_iter().map(str::to_owned).collect()
    };
    let etcd = ["--store", "etcd://127.0.0.1:1"];
    let usage = |more: &[&str]| -> Vec<String> {
        [&["usage", "--org", "acme"], more].concat().into_iter().map(str::to_owned).collect()
    };
    let rows: [Vec<String>; 15] = [
        serve(&["--config", &hash]),
        serve(&["--config", &open]),
        serve(&["--config", &field]),
        serve(&["--config", &key]),
        serve(&["--config", &url]),
        serve(&["--config", &idp]),
        serve(&["--tls-cert", &pem, "--tls-key", &pem]),
        serve(&[&etcd[..], &["--peer-token-file", &blanks]].concat()),
        serve(&["--store", &store]),
        ["check", &hash].map(str::to_owned).into(),
        ["can", "token:ci", "read", "--org", "acme", "--config", &hash].map(str::to_owned).into(),
        usage(&["--token-file", &blanks]),
        usage(&["--server", &server]),
        usage(&["--tls-cert", &pem, "--tls-key", &pem]),
        usage(&["--tls-ca", &pem]),
    ];
    for arguments in rows {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let shown = arguments.join(" ");
        let (text, is_good) = said(&arguments).await;
        assert!(!is_good && !text.is_empty(), "{shown}: {text}");
        assert!(!text.contains("planted"), "{shown}: {text}");
    }
}
