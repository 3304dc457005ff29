//! Sessions of browsers: who has proved a token once is known by a cookie.
//!
//! The cookie is a sealed statement (`auth::session`): no script can read it, no
//! other site can send it along, and over TLS it never goes in the clear.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Extension, Json, Router,
    body::Body,
    extract::{Query, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
    routing::post,
};
use http_body_util::{BodyExt as _, Limited};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};
use tonic::{Code, Status};

use super::{
    admit::Guard,
    page,
    status::{self, refuse},
};
use crate::{auth::session::LONGEST, tls::Peer};

/// The longest token, and what stands around it.
const MAX_BODY_BYTES: usize = 12 << 10;

/// How long a browser may take to send it.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The name under which the cookie goes over TLS. Browsers take a cookie of such a
/// name from this very host only, and send it over TLS only.
const SECURE_COOKIE: &str = "__Host-quotagate-session";

/// Its name in the clear.
const COOKIE: &str = "quotagate-session";

/// The routes of sessions.
pub fn router(guard: Arc<Guard>) -> Router {
    Router::new().route("/session", post(begin).delete(end)).with_state(guard)
}

/// The sealed statement that came with a request. Of several nobody knows which
/// one counts: there is none.
pub fn cookie<'h>(headers: &'h HeaderMap, peer: &Peer) -> Option<&'h str> {
    let name = cookie_name(peer);
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut ours = cookies
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter_map(|(key, value)| (key == name).then_some(value));
    ours.next().filter(|_| ours.next().is_none())
}

/// Takes a token, as a form or as JSON, for a session.
async fn begin(
    State(guard): State<Arc<Guard>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    if let Err(foreign) = guard.check_write(request.headers(), &peer) {
        return status::response(&foreign);
    }
    let from = peer.remote.ip();
    if let Err(wait) = guard.failures().check(from, Instant::now()) {
        return too_many_failures(wait);
    }
    let is_json = request.headers().get(header::CONTENT_TYPE).is_some_and(|kind| {
        kind.to_str().is_ok_and(|kind| kind.to_ascii_lowercase().starts_with("application/json"))
    });
    let is_page = page::wants_page(request.headers());
    let asked = match read(request.into_body(), is_json).await {
        Ok(asked) => asked,
        Err(refused) => return status::response(&refused),
    };
    let Asked::Begin { token, next } = asked else {
        return with_cookie(see_other("/"), &peer, "", Duration::ZERO);
    };
    let next = next.as_deref().filter(|path| is_own_path(path)).unwrap_or("/");
    let signed_in = match guard.gate().sign_in(token.trim()).await {
        Ok(signed_in) => signed_in,
        Err(problem) => {
            if problem.code == Code::Unauthenticated {
                guard.failures().note(from, Instant::now());
            }
            let refused = Status::from(problem);
            return if is_page {
                page::sign_in_again(&refused, next)
            } else {
                status::response(&refused)
            };
        }
    };
    let Some((statement, life)) = signed_in else {
        // Nobody is asked for a name: there is nothing to keep.
        return if is_json { Json(json!({})).into_response() } else { see_other(next) };
    };
    let sealed = guard.seal().seal(&statement);
    let answer = if is_json {
        let body = json!({"principal": statement.principal.as_str(), "seconds": life.as_secs()});
        Json(body).into_response()
    } else {
        see_other(next)
    };
    with_cookie(answer, &peer, &sealed, life)
}

/// Has the browser forget the session.
async fn end(
    State(guard): State<Arc<Guard>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    if let Err(foreign) = guard.check_write(request.headers(), &peer) {
        return status::response(&foreign);
    }
    with_cookie(StatusCode::NO_CONTENT.into_response(), &peer, "", Duration::ZERO)
}

/// What a form, or JSON, asks for.
enum Asked {
    /// A session for this token, and then this page.
    Begin { token: String, next: Option<String> },
    /// The end of one: a form cannot say DELETE.
    End,
}

async fn read(body: Body, is_json: bool) -> Result<Asked, Status> {
    let bad = |why: &str| refuse(Code::InvalidArgument, "BAD_SIGN_IN", why);
    let body = timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY_BYTES).collect()).await;
    let body = match body {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => return Err(bad("the body is too large for a token, or was cut off")),
        Err(_) => return Err(bad("the body did not arrive in time")),
    };
    if is_json {
        let mut body: Value = serde_json::from_slice(&body).map_err(|_| bad("is not JSON"))?;
        return match body.get_mut("token").map(Value::take) {
            Some(Value::String(token)) => Ok(Asked::Begin { token, next: None }),
            _ => Err(bad("the body must be {\"token\": \"…\"}")),
        };
    }
    // A form is written like a query.
    let uri = std::str::from_utf8(&body).ok().and_then(|form| {
        let uri: Result<Uri, _> = format!("/?{form}").parse();
        uri.ok()
    });
    let fields = uri.and_then(|uri| Query::<HashMap<String, String>>::try_from_uri(&uri).ok());
    let Some(Query(mut fields)) = fields else { return Err(bad("is not a form")) };
    match (fields.remove("token"), fields.contains_key("sign_out")) {
        (Some(token), _) => Ok(Asked::Begin { token, next: fields.remove("next") }),
        (None, true) => Ok(Asked::End),
        (None, false) => Err(bad("the form must have the field `token`")),
    }
}

const fn cookie_name(peer: &Peer) -> &'static str {
    if peer.is_encrypted { SECURE_COOKIE } else { COOKIE }
}

/// Sets the cookie for a time; for none it is forgotten at once.
fn with_cookie(mut answer: Response, peer: &Peer, value: &str, life: Duration) -> Response {
    let secure = if peer.is_encrypted { "; Secure" } else { "" };
    let (name, seconds) = (cookie_name(peer), life.min(LONGEST).as_secs());
    let cookie =
        format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    // A sealed statement has nothing that a header cannot have.
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        answer.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    answer
}

fn see_other(path: &str) -> Response {
    let location = HeaderValue::try_from(path).unwrap_or(HeaderValue::from_static("/"));
    (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response()
}

/// True for a path of this service, with its query: nobody is led elsewhere by a
/// link to sign in. Browsers take `//` and `/\` for another host's name.
pub fn is_own_path(path: &str) -> bool {
    let plain = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    path.starts_with('/') && !path.starts_with("//") && plain
}

fn too_many_failures(wait: Duration) -> Response {
    let why = "too many tokens from your address were wrong: try again later";
    let answer = refuse(Code::ResourceExhausted, "TOO_MANY_FAILURES", why);
    let mut answer = status::response(&answer);
    if let Some(seconds) = status::seconds_up(wait) {
        answer.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    answer
}

/// Tokens that were wrong, by whence they came. Nobody guesses a token of 256
/// bits; but who tries is to cost little, and to be noticed.
#[derive(Debug, Default)]
pub struct Failures(Mutex<HashMap<IpAddr, Instant>>);

/// So many may be wrong at once, ...
const BURST: u32 = 10;

/// ... and then one in this time.
const EVERY: Duration = Duration::from_secs(6);

/// Addresses that are told apart.
const MAX_ADDRESSES: usize = 10_000;

impl Failures {
    /// # Errors
    /// How long to wait before the next try.
    fn check(&self, from: IpAddr, now: Instant) -> Result<(), Duration> {
        let even = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(even) = even.get(&network(from)) else { return Ok(()) };
        let ahead = even.saturating_duration_since(now).saturating_sub(EVERY * (BURST - 1));
        if ahead.is_zero() { Ok(()) } else { Err(ahead) }
    }

    fn note(&self, from: IpAddr, now: Instant) {
        let mut by_address = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if by_address.len() >= MAX_ADDRESSES {
            by_address.retain(|_, even| *even > now);
        }
        if by_address.len() < MAX_ADDRESSES {
            let even = by_address.entry(network(from)).or_insert(now);
            *even = (*even).max(now) + EVERY;
        }
    }
}

/// Of IPv6 a /64: whoever has one address there has all.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(is_encrypted: bool) -> Peer {
        let address = "127.0.0.1:1".parse().expect("an address");
        Peer { local: address, remote: address, is_encrypted, certificate: None }
    }

    #[test]
    fn a_cookie_is_one_of_our_name() {
        let check = |is_encrypted: bool, values: &[&str], expected: Option<&str>| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::COOKIE, value.parse().expect("a header's value"));
            }
            assert_eq!(cookie(&headers, &peer(is_encrypted)), expected, "{values:?}");
        };
        check(false, &[], None);
        check(false, &["quotagate-session=a"], Some("a"));
        check(false, &["x=1; quotagate-session=a.b; y=2"], Some("a.b"));
        check(false, &["x=1", "quotagate-session=a"], Some("a"));
        check(false, &["quotagate-session=a; quotagate-session=b"], None);
        check(false, &["quotagate-session=a", "quotagate-session=b"], None);
        check(true, &["quotagate-session=a"], None);
        check(true, &["quotagate-session=a; __Host-quotagate-session=b"], Some("b"));
        check(false, &["__Host-quotagate-session=b"], None);
    }

    #[test]
    fn over_tls_the_cookie_is_this_hosts_and_secure() {
        let check = |is_encrypted: bool, life: u64, expected: &str| {
            let answer = StatusCode::OK.into_response();
            let answer = with_cookie(answer, &peer(is_encrypted), "v", Duration::from_secs(life));
            assert_eq!(answer.headers()[header::SET_COOKIE], expected);
        };
        let in_the_clear = "quotagate-session=v; Path=/; Max-Age=60; HttpOnly; SameSite=Strict";
        check(false, 60, in_the_clear);
        check(true, 60, &format!("__Host-{in_the_clear}; Secure"));
        check(false, 0, &in_the_clear.replace("60", "0"));
        check(false, 1 << 40, &in_the_clear.replace("60", "43200"));
    }

    #[test]
    fn after_signing_in_nobody_is_led_elsewhere() {
        for own in ["/", "/orgs/acme?period=hour#top", "/sign-in?next=//x"] {
            assert!(is_own_path(own), "{own}");
        }
        for other in
            ["", "x", "//evil.example", "/\\evil.example", "https://evil", "/a\nb", "/\t/x"]
        {
            assert!(!is_own_path(other), "{other:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_wrong_too_often_waits_and_nobody_else() {
        let failures = Failures::default();
        let [one, other]: [IpAddr; 2] =
            ["2001:db8::1", "2001:db8:0:1::1"].map(|text| text.parse().expect("an address"));
        for _ in 0..BURST {
            assert_eq!(failures.check(one, Instant::now()), Ok(()));
            failures.note(one, Instant::now());
        }
        assert_eq!(failures.check(one, Instant::now()), Err(EVERY));
        let neighbour = "2001:db8::2".parse().expect("an address");
        assert_eq!(failures.check(neighbour, Instant::now()), Err(EVERY));
        assert_eq!(failures.check(other, Instant::now()), Ok(()));
        tokio::time::advance(EVERY).await;
        assert_eq!(failures.check(one, Instant::now()), Ok(()));
        failures.note(one, Instant::now());
        assert_eq!(failures.check(one, Instant::now()), Err(EVERY));
    }
}
