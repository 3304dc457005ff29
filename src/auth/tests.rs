//! Who is let in, and who is not: one table of tokens for each way to be wrong.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    testing::{Signer, encode, hmac_token, key_set},
    *,
};
use crate::{
    config::Config,
    quota::{Class, Wall},
};

/// The time at which the tests begin, in seconds.
const START: u64 = 1_800_000_000;

const ISSUER: &str = "https://issuer.example.com";

/// An issuer whose keys are in a file, and an authority that knows it.
struct World {
    directory: TempDir,
    rsa: Signer,
    p256: Signer,
    metrics: Arc<Metrics>,
    clock: Clock,
    authority: Arc<Authority>,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (rsa, p256) = (Signer::rsa(), Signer::p256());
        write(&keys_file(&directory), &key_set(&[rsa.jwk("r"), p256.jwk("e")]));
        let clock = Clock::of_runtime(Wall(START * 1_000_000));
        let metrics = Arc::new(Metrics::new("1.2.3", clock.now().wall));
        let config = config(&keys_file(&directory), "quotagate");
        let authority = Authority::new(&config, clock.clone(), Arc::clone(&metrics));
        Self { directory, rsa, p256, metrics, clock, authority }
    }

    /// A token signed with the key `e`.
    fn token(&self, claims: &Value) -> String {
        self.p256.token(&json!({"alg": "ES256", "kid": "e"}), claims)
    }

    async fn identify(&self, bearer: &str) -> Result<String, Refused> {
        let shown = Credentials { bearer: Some(bearer), ..Credentials::default() };
        identify(&self.authority, shown).await
    }

    #[track_caller]
    fn shows(&self, outcome: &str, count: u64) {
        let line = format!(r#"quotagate_authentications_total{{outcome="{outcome}"}} {count}"#);
        let text = self.metrics.encode();
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
}

async fn identify(authority: &Authority, shown: Credentials<'_>) -> Result<String, Refused> {
    let caller = authority.identify(shown).await?;
    Ok(caller.principal().map_or_else(|| "anybody".to_owned(), ToString::to_string))
}

fn keys_file(directory: &TempDir) -> PathBuf {
    directory.path().join("keys.json")
}

fn config(keys: &Path, audience: &str) -> AuthConfig {
    let hash = token::Hex(&token::hash("qg_secret-of-ci")).to_string();
    let text = format!(
        "auth:\n  tokens: [{{name: ci, sha256: {hash}}}]\n  certificates: true\n  oidc:\n  - \
         {{name: k8s, issuer: '{ISSUER}', audiences: [other, {audience}], jwks_file: '{}'}}\n  \
         rules: [{{who: ['**'], orgs: ['*'], may: [acquire]}}]",
        keys.display()
    );
    Config::parse(&text).expect("it is good").auth
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("written");
}

/// Claims that are good for ten minutes, with these changes; null removes one.
fn claims(changes: Value) -> Value {
    let mut claims = json!({
        "iss": ISSUER, "sub": "system:serviceaccount:ns:app", "aud": "quotagate",
        "exp": START + 600, "nbf": START - 10, "iat": START - 10, "jti": "1",
    });
    for (name, value) in changes.as_object().expect("an object") {
        claims[name] = value.clone();
    }
    claims.as_object_mut().expect("an object").retain(|_, value| !value.is_null());
    claims
}

const WHO: &str = "oidc:k8s:system:serviceaccount:ns:app";

#[tokio::test(start_paused = true)]
async fn a_token_is_good_or_is_refused_for_its_own_reason() {
    let world = World::new();
    let rows: Vec<(&str, Value, Result<&str, Refused>)> = vec![
        ("good", json!({}), Ok(WHO)),
        ("another subject", json!({"sub": "a"}), Ok("oidc:k8s:a")),
        ("one of several audiences", json!({"aud": ["x", "quotagate"]}), Ok(WHO)),
        ("our other audience", json!({"aud": ["other"]}), Ok(WHO)),
        ("expired", json!({"exp": START - 31}), Err(Refused::Expired)),
        ("expired at the end of the leeway", json!({"exp": START - 30}), Err(Refused::Expired)),
        ("expired within the leeway", json!({"exp": START - 29}), Ok(WHO)),
        ("expired long ago", json!({"exp": -5}), Err(Refused::Expired)),
        ("with a fraction", json!({"exp": START as f64 + 0.5}), Ok(WHO)),
        ("without end", json!({"exp": 1e300}), Ok(WHO)),
        ("without expiry", json!({"exp": null}), Err(Refused::NoExpiry)),
        ("an expiry in words", json!({"exp": "2099"}), Err(Refused::Malformed)),
        ("not yet valid", json!({"nbf": START + 31}), Err(Refused::NotYetValid)),
        ("not yet valid, within the leeway", json!({"nbf": START + 30}), Ok(WHO)),
        ("without a beginning", json!({"nbf": null}), Ok(WHO)),
        ("a beginning in words", json!({"nbf": "now"}), Err(Refused::Malformed)),
        ("wrong audience", json!({"aud": "vault"}), Err(Refused::Audience)),
        ("wrong audiences", json!({"aud": ["vault", "quotagate2"]}), Err(Refused::Audience)),
        ("no audience", json!({"aud": null}), Err(Refused::Audience)),
        ("no audiences", json!({"aud": []}), Err(Refused::Audience)),
        ("an audience that is no text", json!({"aud": 7}), Err(Refused::Audience)),
        ("wrong issuer", json!({"iss": "https://evil.example.com"}), Err(Refused::Issuer)),
        ("nearly the issuer", json!({"iss": format!("{ISSUER}/")}), Err(Refused::Issuer)),
        ("no issuer", json!({"iss": null}), Err(Refused::Issuer)),
        ("no subject", json!({"sub": null}), Err(Refused::Subject)),
        ("a number as the subject", json!({"sub": 7}), Err(Refused::Subject)),
        ("a subject with a blank", json!({"sub": "a b"}), Err(Refused::Subject)),
        ("a subject with a line break", json!({"sub": "a\nb"}), Err(Refused::Subject)),
        ("a long subject", json!({"sub": "a".repeat(250)}), Err(Refused::Subject)),
        ("oversized", json!({"more": "x".repeat(jwt::MOST_BYTES)}), Err(Refused::TooLarge)),
    ];
    for (name, changes, expected) in rows {
        let identified = world.identify(&world.token(&claims(changes))).await;
        assert_eq!(identified, expected.map(str::to_owned), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_signature_that_proves_nothing_is_refused() {
    let world = World::new();
    let good = claims(json!({}));
    let rsa = |header: Value| world.rsa.token(&header, &good);
    let ecdsa = |header: Value| world.p256.token(&header, &good);
    // What every attacker has: the issuer's public key.
    let public = world.rsa.jwk("r")["n"].as_str().expect("a text").to_owned();
    let other = Signer::p256();
    let whole = world.token(&good);
    let (message, signature) = whole.rsplit_once('.').expect("a signature");
    let (header, _) = message.split_once('.').expect("claims");
    let forged = encode(claims(json!({"sub": "admin"})).to_string().as_bytes());
    let unsigned = |alg: &str| {
        let header = encode(json!({"alg": alg, "kid": "e"}).to_string().as_bytes());
        format!("{header}.{}.", encode(good.to_string().as_bytes()))
    };
    let rows: Vec<(&str, String, Result<&str, Refused>)> = vec![
        ("RS256", rsa(json!({"alg": "RS256", "kid": "r"})), Ok(WHO)),
        ("PS384", rsa(json!({"alg": "PS384", "kid": "r"})), Ok(WHO)),
        ("ES256", ecdsa(json!({"alg": "ES256", "kid": "e", "typ": "at+jwt"})), Ok(WHO)),
        ("none", unsigned("none"), Err(Refused::Algorithm)),
        ("None", unsigned("None"), Err(Refused::Algorithm)),
        ("no signature", unsigned("ES256"), Err(Refused::Signature)),
        (
            "a secret that everybody knows",
            hmac_token(public.as_bytes(), &json!({"alg": "HS256", "kid": "r"}), &good),
            Err(Refused::Algorithm),
        ),
        (
            "RS256 over HMAC",
            hmac_token(b"x", &json!({"alg": "RS256", "kid": "r"}), &good),
            Err(Refused::Signature),
        ),
        ("an unknown algorithm", rsa(json!({"alg": "ES512", "kid": "e"})), Err(Refused::Algorithm)),
        ("no algorithm", rsa(json!({"kid": "r"})), Err(Refused::Malformed)),
        (
            "the algorithm of another key",
            rsa(json!({"alg": "RS256", "kid": "e"})),
            Err(Refused::Algorithm),
        ),
        (
            "the curve of another key",
            rsa(json!({"alg": "ES384", "kid": "e"})),
            Err(Refused::Algorithm),
        ),
        ("another algorithm than it is", rsa(json!({"alg": "RS512", "kid": "r"})), Ok(WHO)),
        (
            "a swapped key",
            other.token(&json!({"alg": "ES256", "kid": "e"}), &good),
            Err(Refused::Signature),
        ),
        (
            "a key in the header",
            other.token(&json!({"alg": "ES256", "kid": "e", "jwk": other.jwk("e")}), &good),
            Err(Refused::Signature),
        ),
        ("an unknown key", ecdsa(json!({"alg": "ES256", "kid": "z"})), Err(Refused::UnknownKey)),
        ("no key where there are two", ecdsa(json!({"alg": "ES256"})), Err(Refused::UnknownKey)),
        (
            "a key that is no text",
            ecdsa(json!({"alg": "ES256", "kid": 7})),
            Err(Refused::Malformed),
        ),
        (
            "something critical",
            ecdsa(json!({"alg": "ES256", "kid": "e", "crit": ["b64"], "b64": false})),
            Err(Refused::Malformed),
        ),
        ("forged claims", format!("{header}.{forged}.{signature}"), Err(Refused::Signature)),
        ("half a signature", whole[..whole.len() - 22].to_owned(), Err(Refused::Signature)),
        ("another alphabet", format!("{message}.+/=="), Err(Refused::Malformed)),
        ("no JSON", "a.b.c".to_owned(), Err(Refused::Malformed)),
        ("empty parts", "..".to_owned(), Err(Refused::Malformed)),
        ("four parts", format!("{whole}.x"), Err(Refused::UnknownToken)),
        ("no token at all", String::new(), Err(Refused::UnknownToken)),
        ("a wrong static token", "qg_secret-of-cj".to_owned(), Err(Refused::UnknownToken)),
        ("the static token", "qg_secret-of-ci".to_owned(), Ok("token:ci")),
        (
            "its hash",
            config(Path::new("k"), "a").tokens[0].sha256.map(|b| format!("{b:02x}")).concat(),
            Err(Refused::UnknownToken),
        ),
        ("very long", "x".repeat(jwt::MOST_BYTES + 1), Err(Refused::TooLarge)),
    ];
    for (name, token, expected) in rows {
        let identified = world.identify(&token).await;
        assert_eq!(identified, expected.map(str::to_owned), "{name}");
    }
    world.shows("accepted", 5);
    world.shows("wrong_algorithm", 6);
    world.shows("bad_signature", 6);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_good_is_refused_once_it_has_expired() {
    let world = World::new();
    let soon = world.token(&claims(json!({"exp": START + 60})));
    let later = world.token(&claims(json!({"exp": START + 600})));
    for after in [0, 20, 69] {
        tokio::time::advance(Duration::from_secs(after)).await;
        assert_eq!(world.identify(&soon).await, Ok(WHO.to_owned()), "{after} s later");
    }
    // Remembered since 89 s, and replayed.
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(world.identify(&soon).await, Err(Refused::Expired));
    assert_eq!(world.identify(&later).await, Ok(WHO.to_owned()));
    tokio::time::advance(Duration::from_secs(540)).await;
    assert_eq!(world.identify(&later).await, Err(Refused::Expired));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_good_is_refused_at_another_audience() {
    let world = World::new();
    let token = world.token(&claims(json!({})));
    assert_eq!(world.identify(&token).await, Ok(WHO.to_owned()));
    let elsewhere = config(&keys_file(&world.directory), "elsewhere");
    let other = Authority::new(&elsewhere, world.clock.clone(), Arc::clone(&world.metrics));
    let shown = Credentials { bearer: Some(&token), ..Credentials::default() };
    assert_eq!(identify(&other, shown).await, Err(Refused::Audience));
    // Where it was remembered, too.
    world.authority.reconfigure(&elsewhere).expect("taken");
    assert_eq!(world.identify(&token).await, Err(Refused::Audience));
}

#[tokio::test(start_paused = true)]
async fn a_withdrawn_key_signs_nothing_any_more() {
    let world = World::new();
    let token = world.token(&claims(json!({"exp": START + 3_600})));
    let new = Signer::ed25519();
    let renewed =
        new.token(&json!({"alg": "EdDSA", "kid": "n"}), &claims(json!({"exp": START + 3_600})));
    assert_eq!(world.identify(&token).await, Ok(WHO.to_owned()));
    assert_eq!(world.identify(&renewed).await, Err(Refused::UnknownKey));
    write(&keys_file(&world.directory), &key_set(&[new.jwk("n")]));
    // The new key is looked for as soon as somebody names it; the old one is gone
    // then, also for a token that is remembered.
    tokio::time::sleep(issuer::AT_MOST_EVERY).await;
    assert_eq!(world.identify(&token).await, Ok(WHO.to_owned()));
    assert_eq!(world.identify(&renewed).await, Ok(WHO.to_owned()));
    assert_eq!(world.identify(&token).await, Err(Refused::UnknownKey));
    // And without anybody's asking after a while.
    write(&keys_file(&world.directory), &key_set(&[world.p256.jwk("e")]));
    tokio::time::sleep(issuer::EVERY + issuer::AT_MOST_EVERY).await;
    assert_eq!(world.identify(&token).await, Ok(WHO.to_owned()));
    assert_eq!(world.identify(&renewed).await, Err(Refused::UnknownKey));
}

#[tokio::test(start_paused = true)]
async fn of_several_identities_the_token_counts() {
    let world = World::new();
    let names = ["spiffe://prod/a", "dns:a"].map(|name| Principal::new(name).expect("a name"));
    let check = async |bearer, certificate, expected: Result<&str, Refused>| {
        let shown = Credentials { bearer, certificate };
        let identified = identify(&world.authority, shown).await;
        assert_eq!(identified, expected.map(str::to_owned), "{shown:?}");
    };
    check(None, &names[..], Ok("spiffe://prod/a")).await;
    check(None, &names[1..], Ok("dns:a")).await;
    check(None, &[], Err(Refused::Nothing)).await;
    check(Some("qg_secret-of-ci"), &names, Ok("token:ci")).await;
    check(Some("qg_wrong"), &names, Err(Refused::UnknownToken)).await;
    check(Some(""), &names, Err(Refused::UnknownToken)).await;
    let without = AuthConfig { certificates: false, ..config(Path::new("none"), "a") };
    world.authority.reconfigure(&without).expect("taken");
    check(None, &names, Err(Refused::Nothing)).await;
}

#[tokio::test(start_paused = true)]
async fn a_reload_changes_rights_at_once_and_never_opens_the_service() {
    let world = World::new();
    let shown = Credentials { bearer: Some("qg_secret-of-ci"), ..Credentials::default() };
    let action = Action {
        verb: Verb::Acquire,
        org: "o",
        workspace: "w",
        call: Some(("rest", Class::Event)),
    };
    let before = world.authority.identify(shown).await.expect("known");
    assert!(before.may(&action));
    let closed =
        AuthConfig { rules: Vec::new(), ..config(&keys_file(&world.directory), "quotagate") };
    world.authority.reconfigure(&closed).expect("taken");
    assert!(!world.authority.identify(shown).await.expect("known").may(&action));
    // What was decided holds for its request.
    assert!(before.may(&action));
    assert_eq!(world.authority.reconfigure(&AuthConfig::default()), Err(Opened));
    assert!(world.authority.requires_identity());
    assert!(!world.authority.identify(shown).await.expect("known").may(&action));

    let open = Authority::open();
    assert!(!open.requires_identity());
    assert_eq!(identify(&open, shown).await, Ok("anybody".to_owned()));
    open.reconfigure(&closed).expect("a service may be closed");
    assert!(open.requires_identity());
}

#[tokio::test(start_paused = true)]
async fn without_the_issuers_keys_nobody_is_refused_for_good() {
    let world = World::new();
    let missing = world.directory.path().join("missing.json");
    world.authority.reconfigure(&config(&missing, "quotagate")).expect("taken");
    let token = world.token(&claims(json!({})));
    let refused = world.identify(&token).await.expect_err("no keys");
    assert!(refused == Refused::KeysUnavailable && refused.is_temporary());
    assert_eq!(world.identify("qg_secret-of-ci").await, Ok("token:ci".to_owned()));
}

#[test]
fn each_refusal_has_a_reason_of_its_own_that_is_counted() {
    let mut reasons: Vec<&str> = Refused::ALL.iter().map(|refused| refused.reason()).collect();
    for reason in &reasons {
        assert!(crate::metrics::AUTHENTICATIONS.contains(reason), "{reason}");
    }
    reasons.sort_unstable();
    reasons.dedup();
    assert_eq!(reasons.len(), Refused::ALL.len());
    assert_eq!(Refused::ALL.iter().filter(|refused| refused.is_temporary()).count(), 1);
}

#[test]
fn no_picture_shows_a_token() {
    let shown = Credentials { bearer: Some("qg_secret-of-ci"), ..Credentials::default() };
    assert!(!format!("{shown:?}").contains("secret"));
}
