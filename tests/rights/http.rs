//! The same rights by HTTP: for programs with a token, and for browsers with a
//! session.

use std::{path::Path, sync::Arc};

use quotagate::{
    auth::{
        Authority, Refused,
        session::{KEY_BYTES, Seal},
        token::{Hex, hash},
    },
    clock::Clock,
    config::Config,
    metrics::Metrics,
    quota::Wall,
    server::{Options, Service},
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    common::TestServer,
    world::{config, start, token},
};

/// An answer as it came; the head in lower case.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find_map(|(key, value)| key.eq_ignore_ascii_case(name).then_some(value))
    }

    /// What is stable about an error.
    fn reason(&self) -> String {
        let body: Value = serde_json::from_str(&self.body).unwrap_or_default();
        body["error"]["details"][0]["reason"].as_str().unwrap_or_default().to_owned()
    }
}

async fn send(server: &TestServer, line: &str, headers: &str, body: &str) -> Answer {
    let mut stream = TcpStream::connect(server.http_addr).await.expect("it listens");
    let length = body.len();
    let request = format!(
        "{line} HTTP/1.1\r\nhost: localhost\r\n{headers}content-length: {length}\r\n\
         connection: close\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("it answers");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

fn bearer(who: &str) -> String {
    format!("authorization: Bearer {}\r\n", token(who))
}

const USAGE: &str = "GET /api/v1/orgs/acme/usage";
const ACQUIRE: &str = "POST /api/v1/orgs/acme:acquire";
const PUT: &str = "PUT /api/v1/orgs/acme/workspaces/eu";
const ASK: &str = r#"{"operation": "rest", "workspace": "eu"}"#;
const FORM: &str = "content-type: application/x-www-form-urlencoded\r\n";
const JSON: &str = "content-type: application/json\r\n";
const OURS: &str = "origin: http://localhost\r\n";
const FOREIGN: &str = "origin: http://evil.example\r\n";

#[tokio::test]
async fn programs_have_the_same_rights_and_need_that_of_administrators_to_write() {
    let server = start().await;
    for (line, who, body, status, reason) in [
        (USAGE, "", "", 401, "NO_CREDENTIALS"),
        (USAGE, "viewer", "", 200, ""),
        (USAGE, "sync", "", 403, "NOT_ALLOWED"),
        ("GET /api/v1/orgs", "nobody", "", 200, ""),
        ("GET /api/v1/cluster", "landlord", "", 403, "NOT_ALLOWED"),
        (ACQUIRE, "", ASK, 401, "NO_CREDENTIALS"),
        // By gRPC they may: a write by HTTP needs `admin`, too.
        (ACQUIRE, "sync", ASK, 403, "NOT_ALLOWED"),
        (ACQUIRE, "landlord", ASK, 403, "NOT_ALLOWED"),
        (ACQUIRE, "ops", ASK, 200, ""),
        (PUT, "landlord", "{}", 200, ""),
        (PUT, "viewer", "{}", 403, "NOT_ALLOWED"),
        ("DELETE /api/v1/orgs/acme", "landlord", "", 403, "NOT_ALLOWED"),
        ("GET /livez", "", "", 200, ""),
        ("GET /readyz", "", "", 200, ""),
        ("GET /metrics", "", "", 200, ""),
    ] {
        let headers = if who.is_empty() { String::new() } else { bearer(who) };
        let answer = send(&server, line, &headers, body).await;
        assert_eq!(answer.status, status, "{who}: {line}: {answer:?}");
        assert_eq!(answer.reason(), reason, "{who}: {line}");
        if status == 401 {
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{line}");
        }
    }
}

/// The cookie of a new session, as a browser sends it.
async fn sign_in(server: &TestServer, who: &str) -> String {
    let headers = format!("{FORM}{OURS}");
    let answer = send(server, "POST /session", &headers, &format!("token={}", token(who))).await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/")), "{answer:?}");
    let cookie = answer.header("set-cookie").expect("a session").to_owned();
    let (pair, flags) = cookie.split_once("; ").expect("it has flags");
    assert_eq!(flags, "Path=/; Max-Age=43200; HttpOnly; SameSite=Strict");
    format!("cookie: {pair}\r\n")
}

#[tokio::test]
async fn a_browser_signs_in_once_and_writes_from_this_services_pages_only() {
    let server = start().await;
    let cookie = sign_in(&server, "ops").await;
    let changed = cookie.replace("session1", "session2");
    let foreign_too = format!("{cookie}{FOREIGN}");
    for (line, headers, status, reason) in [
        (USAGE, cookie.clone(), 200, ""),
        (USAGE, changed, 401, "SESSION_ENDED"),
        (USAGE, format!("{cookie}authorization: Bearer wrong\r\n"), 401, "TOKEN_UNKNOWN"),
        (PUT, format!("{cookie}{OURS}"), 200, ""),
        (PUT, cookie.clone(), 403, "FOREIGN_ORIGIN"),
        (PUT, foreign_too.clone(), 403, "FOREIGN_ORIGIN"),
        ("DELETE /session", foreign_too, 403, "FOREIGN_ORIGIN"),
    ] {
        let body = if line == PUT { "{}" } else { "" };
        let answer = send(&server, line, &headers, body).await;
        assert_eq!((answer.status, &*answer.reason()), (status, reason), "{line}: {answer:?}");
    }
    let page = send(&server, "GET /", &cookie, "").await;
    assert!(page.body.contains("token:ops") && page.body.contains("sign_out"), "{}", page.body);
    let form = format!("token={}&next=%2Forgs%2Facme", token("ops"));
    let answer = send(&server, "POST /session", &format!("{FORM}{OURS}"), &form).await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/orgs/acme")));
    for (line, body) in [("DELETE /session", ""), ("POST /session", "sign_out=1")] {
        let ended = send(&server, line, &format!("{cookie}{FORM}{OURS}"), body).await;
        let cookie = ended.header("set-cookie").unwrap_or_default();
        assert!(cookie.contains("quotagate-session=; ") && cookie.contains("Max-Age=0"), "{line}");
    }
}

/// The policy that every answer has.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; \
     frame-ancestors 'none'";

#[tokio::test]
async fn pages_ask_only_those_to_sign_in_who_must_and_load_nothing_from_elsewhere() {
    let [closed, open] = [start().await, TestServer::start("").await];
    let html = "accept: text/html\r\n";
    let events = "accept: text/event-stream\r\n";
    for (server, line, headers, status, location) in [
        (&open, "GET /", html, 200, None),
        (&open, "GET /sign-in?next=/cluster", html, 303, Some("/cluster")),
        (&open, "GET /sign-in?next=//evil.example", html, 303, Some("/")),
        (&open, "GET /nowhere", html, 404, None),
        (&closed, "GET /", html, 303, Some("/sign-in")),
        (&closed, "GET /orgs/x?by=a", html, 303, Some("/sign-in?next=%2Forgs%2Fx%3Fby%3Da")),
        (&closed, "GET /", events, 401, None),
        (&closed, "GET /sign-in?next=/orgs/x", html, 200, None),
        (&closed, "GET /nowhere", html, 404, None),
    ] {
        let page = send(server, line, headers, "").await;
        assert_eq!((page.status, page.header("location")), (status, location), "{line}");
        assert_eq!(page.header("content-security-policy"), Some(POLICY), "{line}");
        for inline in ["style=", "<style", "<script>", " onclick", "http://", "https://"] {
            assert!(!page.body.contains(inline), "{line}: {inline} in {}", page.body);
        }
    }
    let form = format!("{FORM}{OURS}{html}");
    let again = send(&closed, "POST /session", &form, "token=wrong&next=/orgs/x").await;
    assert_eq!(again.status, 401);
    assert!(again.body.contains("role=\"alert\"") && again.body.contains("value=\"/orgs/x\""));
}

#[tokio::test]
async fn a_wrong_token_begins_nothing_and_many_of_them_have_to_wait() {
    let server = start().await;
    let headers = format!("{JSON}{OURS}");
    for round in 0..12 {
        let answer = send(&server, "POST /session", &headers, r#"{"token": "wrong"}"#).await;
        let expected = if round < 10 { 401 } else { 429 };
        assert_eq!(answer.status, expected, "{round}: {answer:?}");
        assert_eq!(answer.header("set-cookie"), None);
        assert_eq!(answer.header("retry-after").is_some(), round >= 10);
    }
    let foreign = send(&server, "POST /session", &format!("{JSON}{FOREIGN}"), "{}").await;
    assert_eq!(foreign.status, 403);
}

#[tokio::test]
async fn a_session_ends_when_its_token_is_taken_out_of_the_configuration() {
    let config = |text: &str| {
        let token = format!("{{name: ops, sha256: \"{}\"}}", Hex(&hash(text)));
        Config::parse(&format!("auth: {{tokens: [{token}]}}")).expect("a good configuration").auth
    };
    let metrics = Arc::new(Metrics::new("test", Wall(0)));
    let authority = Authority::new(&config("first"), Clock::default(), metrics);
    let seal = Seal::new(&[1; KEY_BYTES]);
    let signed_in = authority.sign_in("first").await.expect("it is known");
    let (statement, _) = signed_in.expect("callers are asked for names");
    let sealed = seal.seal(&statement);
    let of_now = authority.recall(&seal, &sealed).expect("it goes on");
    assert_eq!(of_now.principal().map(ToString::to_string).as_deref(), Some("token:ops"));
    // Of the same name, but another one.
    authority.reconfigure(&config("second")).expect("callers are asked for names still");
    assert_eq!(authority.recall(&seal, &sealed).err(), Some(Refused::Session));
}

/// The configuration with a file that holds the key of sessions.
fn with_key(file: &Path) -> String {
    format!("{}  session_key_file: '{}'\n", config().trim_end_matches(' '), file.display())
}

#[tokio::test]
async fn nodes_with_the_same_key_take_each_others_sessions_and_others_do_not() {
    let home = tempfile::tempdir().expect("a directory");
    let (key, other) = (home.path().join("key"), home.path().join("other"));
    std::fs::write(&key, [7; KEY_BYTES]).expect("written");
    std::fs::write(&other, [8; KEY_BYTES + 1]).expect("written");
    let first = TestServer::start(&with_key(&key)).await;
    let cookie = sign_in(&first, "viewer").await;
    for (config, status, what) in [
        (with_key(&key), 200, "the same key"),
        (with_key(&other), 401, "another key"),
        (config(), 401, "a key of its own"),
    ] {
        let second = TestServer::start(&config).await;
        assert_eq!(send(&second, USAGE, &cookie, "").await.status, status, "{what}");
    }
}

#[tokio::test]
async fn a_file_that_holds_no_key_keeps_the_service_from_starting() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("session.key");
    for (content, told) in [
        (None, "cannot read"),
        (Some(String::new()), "holds 0 bytes"),
        (Some("PLANTED-".repeat(4)[1..].to_owned()), "holds 31 bytes"),
    ] {
        if let Some(content) = &content {
            std::fs::write(&path, content).expect("written");
        }
        let config = Config::parse(&with_key(&path)).expect("a good configuration");
        let error = Service::start(Options::in_memory(config)).await.expect_err("there is no key");
        let error = format!("{error:#}");
        assert!(error.contains("auth.session_key_file") && error.contains(told), "{error}");
        assert!(error.contains("session.key") && !error.contains("LANTED"), "{error}");
    }
}
