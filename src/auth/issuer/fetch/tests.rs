//! A small issuer on the loopback interface, which rotates its keys, and misbehaves.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, Uri as Path},
};
use serde_json::json;
use tokio::net::TcpListener;

use super::*;
use crate::auth::testing::{Signer, key_set};

/// What the issuer answers, by path, and what it was asked.
#[derive(Clone, Default)]
struct Script {
    discovery: String,
    keys: String,
    status: u16,
    hangs: bool,
    /// Path and `authorization` of each request.
    asked: Vec<(String, Option<String>)>,
}

type Shared = Arc<Mutex<Script>>;

/// An issuer with one key, and its configuration.
async fn issuer() -> (OidcConfig, Shared) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    let script = Script {
        discovery: json!({"issuer": address, "jwks_uri": format!("{address}/keys")}).to_string(),
        keys: key_set(&[Signer::p256().jwk("a")]),
        status: 200,
        ..Script::default()
    };
    let shared = Arc::new(Mutex::new(script));
    let answer = async |State(shared): State<Shared>, path: Path, headers: HeaderMap| {
        let script = {
            let mut script = shared.lock().expect("no panic");
            let authorization = headers.get("authorization").and_then(|it| it.to_str().ok());
            script.asked.push((path.path().to_owned(), authorization.map(str::to_owned)));
            script.clone()
        };
        if script.hangs {
            std::future::pending::<()>().await;
        }
        let body = if path.path() == DISCOVERY { script.discovery } else { script.keys };
        (StatusCode::from_u16(script.status).expect("a status"), body)
    };
    let app = Router::new().fallback(answer).with_state(Arc::clone(&shared));
    tokio::spawn(async move { axum::serve(listener, app).await });
    let config = OidcConfig {
        name: "k8s".to_owned(),
        issuer: address,
        audiences: vec!["quotagate".to_owned()],
        keys: KeySource::Discovery,
        ca_file: None,
        token_file: None,
        claim: "sub".to_owned(),
    };
    (config, shared)
}

fn change(shared: &Shared, change: impl FnOnce(&mut Script)) {
    change(&mut shared.lock().expect("no panic"));
}

#[tokio::test]
async fn the_keys_are_where_the_issuer_says_and_may_change() {
    let (mut config, shared) = issuer().await;
    let first = fetch(&config).await.expect("keys");
    assert_eq!(first.len(), 1);
    change(&shared, |script| {
        script.keys = key_set(&[Signer::p256().jwk("b"), Signer::ed25519().jwk("c")]);
    });
    let second = fetch(&config).await.expect("keys");
    assert_eq!(second.len(), 2);
    assert_ne!(first, second);
    // An address of one's own needs no discovery.
    change(&shared, |script| script.asked.clear());
    config.keys = KeySource::Uri(format!("{}/elsewhere", config.issuer));
    assert_eq!(fetch(&config).await.expect("keys"), second);
    let asked = shared.lock().expect("no panic").asked.clone();
    assert_eq!(asked, [("/elsewhere".to_owned(), None)]);
}

#[tokio::test]
async fn the_token_of_a_file_goes_along_and_is_read_each_time() {
    let (config, shared) = issuer().await;
    let file = tempfile::NamedTempFile::new().expect("a file");
    let config = OidcConfig { token_file: Some(file.path().to_owned()), ..config };
    for token in ["first", "second"] {
        change(&shared, |script| script.asked.clear());
        std::fs::write(file.path(), format!("{token}\n")).expect("written");
        fetch(&config).await.expect("keys");
        let bearer = Some(format!("Bearer {token}"));
        let expected = [(DISCOVERY.to_owned(), bearer.clone()), ("/keys".to_owned(), bearer)];
        assert_eq!(shared.lock().expect("no panic").asked, expected);
    }
    std::fs::write(file.path(), "se\ncret").expect("written");
    let fault = fetch(&config).await.expect_err("no token");
    assert!(fault.contains("does not hold a token") && !fault.contains("cret"), "{fault}");
}

#[tokio::test]
async fn an_issuer_that_misbehaves_gives_no_keys() {
    let (config, shared) = issuer().await;
    let address = config.issuer.clone();
    let good = shared.lock().expect("no panic").clone();
    let check = async |name: &str, edit: fn(&mut Script, &str), expected: &str| {
        change(&shared, |script| {
            *script = good.clone();
            edit(script, &address);
        });
        let fault = fetch(&config).await.expect_err(name);
        assert!(fault.contains(expected), "{name}: {fault}");
        assert!(fault.len() < 400, "{name}: {fault}");
    };
    check("an outage", |script, _| script.status = 503, "answers 503").await;
    check("a redirect", |script, _| script.status = 302, "answers 302").await;
    check("no JSON", |script, _| script.discovery = "<html>".into(), "is not JSON").await;
    check("no keys", |script, _| script.keys = "{}".into(), "no list `keys`").await;
    check("garbage", |script, _| script.keys = "\u{0}[".into(), "not JSON").await;
    check("deep garbage", |script, _| script.keys = "[".repeat(10_000), "not JSON").await;
    check("long keys", |script, _| script.keys = "x".repeat(300_000), "longer than").await;
    check("huge keys", |script, _| script.keys = "x".repeat(3_000_000), "longer than").await;
    check("a huge discovery", |script, _| script.discovery = "x".repeat(3 << 20), "longer").await;
    check(
        "many keys",
        |script, _| script.keys = key_set(&vec![json!({"kty": "RSA"}); keys::MOST_KEYS + 1]),
        "more than",
    )
    .await;
    let other = |script: &mut Script, address: &str| {
        let keys = format!("{address}/keys");
        script.discovery =
            json!({"issuer": "https://evil.example.com", "jwks_uri": keys}).to_string();
    };
    check("another issuer", other, "another issuer").await;
    let none = |script: &mut Script, address: &str| {
        script.discovery = json!({"issuer": address}).to_string();
    };
    check("no address of keys", none, "names no `jwks_uri`").await;
    let clear = |script: &mut Script, address: &str| {
        let keys = "http://evil.example.com/keys";
        script.discovery = json!({"issuer": address, "jwks_uri": keys}).to_string();
    };
    check("keys in the clear", clear, "must begin with https://").await;
}

/// Paused time passes as soon as nothing else happens.
#[tokio::test(start_paused = true)]
async fn an_issuer_that_does_not_answer_is_not_waited_for() {
    let (config, shared) = issuer().await;
    change(&shared, |script| script.hangs = true);
    let fault = fetch(&config).await.expect_err("no answer");
    assert!(fault.contains("no answer within"), "{fault}");
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    let (config, _) = issuer().await;
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().to_owned();
    let missing = path.with_extension("missing");
    let check = async |config: OidcConfig, expected: &str| {
        let fault = fetch(&config).await.expect_err(expected);
        assert!(fault.contains(expected), "{fault}");
    };
    check(OidcConfig { ca_file: Some(missing.clone()), ..config.clone() }, "missing").await;
    check(OidcConfig { ca_file: Some(path), ..config.clone() }, "no certificate").await;
    check(OidcConfig { token_file: Some(missing.clone()), ..config.clone() }, "missing").await;
    check(OidcConfig { keys: KeySource::File(missing), ..config }, "missing").await;
    let endless = OidcConfig { keys: KeySource::File("/dev/zero".into()), ..issuer().await.0 };
    check(endless, "longer than").await;
}
