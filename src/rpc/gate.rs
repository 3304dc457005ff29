//! Who comes in: each request's caller is identified before its handler is
//! reached and before a message of it is read, and no principal gets more than
//! its part of the service.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tonic::{
    Code,
    codegen::http::{HeaderMap, header::AUTHORIZATION},
};

use super::status::Problem;
use crate::{
    auth::{
        Authority, Caller, Credentials, Principal, Refused, Verb,
        session::{Seal, Statement},
    },
    config::PrincipalLimits as Limits,
    tls::Peer,
};

/// Principals that are told apart at the same time. Each takes about 200 bytes.
const MAX_PRINCIPALS: usize = 20_000;

/// Principals that need no memory any more are looked for at most this often.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// An issuer that could not be reached is asked again soon.
const KEYS_RETRY: Duration = Duration::from_secs(2);

/// A principal's requests are over some time; nobody knows when.
const IN_FLIGHT_RETRY: Duration = Duration::from_secs(1);

/// Lets requests in.
#[derive(Debug)]
pub struct Gate {
    authority: Arc<Authority>,
    inside: Mutex<Inside>,
}

#[derive(Debug)]
struct Inside {
    limits: Limits,
    by_principal: HashMap<Principal, Part>,
    swept: Option<Instant>,
}

/// What a principal has taken.
#[derive(Clone, Copy, Debug)]
struct Part {
    in_flight: u32,
    /// When it would have used up nothing, at the rate that it may: requests
    /// push it ahead of now, at most by a second.
    even: Instant,
}

impl Gate {
    /// Asks `authority` who calls.
    #[must_use]
    pub fn new(authority: Arc<Authority>, limits: Limits) -> Arc<Self> {
        let inside = Inside { limits, by_principal: HashMap::new(), swept: None };
        Arc::new(Self { authority, inside: Mutex::new(inside) })
    }

    /// From now on other limits hold.
    pub fn set_limits(&self, limits: Limits) {
        self.inside().limits = limits;
    }

    /// Who makes a request, by what came with it, its [`bearer`], and with its
    /// connection.
    ///
    /// # Errors
    /// Nobody knows.
    pub async fn identify(
        &self,
        bearer: Option<&str>,
        peer: Option<&Peer>,
    ) -> Result<Caller, Problem> {
        let shown = peer.and_then(|peer| peer.certificate.as_ref());
        let names = shown.map(|names| names.principals()).unwrap_or_default();
        let certificate: Vec<Principal> =
            names.iter().filter_map(|name| Principal::new(name)).collect();
        let credentials = Credentials { certificate: &certificate, bearer };
        self.authority.identify(credentials).await.map_err(unauthenticated)
    }

    /// Proves a token for a session, and says how long that may last. `None` where
    /// nobody is asked for a name.
    ///
    /// # Errors
    /// Nobody knows whose it is.
    pub async fn sign_in(&self, token: &str) -> Result<Option<(Statement, Duration)>, Problem> {
        self.authority.sign_in(token).await.map_err(unauthenticated)
    }

    /// Who comes again in a session.
    ///
    /// # Errors
    /// It has ended.
    pub fn recall(&self, seal: &Seal, sealed: &str) -> Result<Caller, Problem> {
        self.authority.recall(seal, sealed).map_err(unauthenticated)
    }

    /// Takes a caller's turn, which is given back when it is dropped.
    ///
    /// # Errors
    /// They have all that they may have at a time.
    pub fn enter(self: &Arc<Self>, caller: &Caller) -> Result<Turn, Problem> {
        let Some(principal) = caller.principal() else { return Ok(Turn(None)) };
        self.inside().enter(principal, Instant::now())?;
        Ok(Turn(Some((Arc::clone(self), principal.clone()))))
    }

    fn inside(&self) -> std::sync::MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// True for those who get through when others have taken all that there is: to
/// see what is wrong, and to mend it.
pub fn is_operator(caller: &Caller) -> bool {
    caller.principal().is_some() && caller.may_everywhere(Verb::Admin)
}

/// A request that is inside.
#[derive(Debug)]
pub struct Turn(Option<(Arc<Gate>, Principal)>);

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some((gate, principal)) = self.0.take() {
            gate.inside().leave(&principal, Instant::now());
        }
    }
}

impl Inside {
    fn enter(&mut self, principal: &Principal, now: Instant) -> Result<(), Problem> {
        if !self.by_principal.contains_key(principal) && self.by_principal.len() >= MAX_PRINCIPALS {
            self.sweep(now);
            if self.by_principal.len() >= MAX_PRINCIPALS {
                return Err(too_many_principals());
            }
        }
        let Limits { in_flight, requests_per_second } = self.limits;
        let part = self.by_principal.entry(principal.clone());
        let part = part.or_insert(Part { in_flight: 0, even: now });
        if part.in_flight >= in_flight {
            return Err(too_many_in_flight(in_flight));
        }
        if let Some(rate) = requests_per_second {
            let even = part.even.max(now) + Duration::from_secs(1) / rate.max(1);
            let ahead = even.duration_since(now).saturating_sub(Duration::from_secs(1));
            if !ahead.is_zero() {
                return Err(too_fast(rate, ahead));
            }
            part.even = even;
        }
        part.in_flight += 1;
        Ok(())
    }

    fn leave(&mut self, principal: &Principal, now: Instant) {
        let Some(part) = self.by_principal.get_mut(principal) else { return };
        part.in_flight = part.in_flight.saturating_sub(1);
        if part.is_idle(now) {
            self.by_principal.remove(principal);
        }
    }

    /// Forgets those of whom nothing need be known.
    fn sweep(&mut self, now: Instant) {
        if self.swept.is_some_and(|swept| now.duration_since(swept) < SWEEP_EVERY) {
            return;
        }
        self.swept = Some(now);
        self.by_principal.retain(|_, part| !part.is_idle(now));
    }
}

impl Part {
    fn is_idle(&self, now: Instant) -> bool {
        self.in_flight == 0 && self.even <= now
    }
}

/// What stands after `Bearer`. Where it cannot be read, or several stand there
/// and nobody knows which one counts, it is a token that nobody has.
#[must_use]
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let first = values.next()?;
    if values.next().is_some() {
        return Some("");
    }
    let Ok(text) = first.to_str() else { return Some("") };
    let (scheme, token) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn unauthenticated(refused: Refused) -> Problem {
    let reason = match refused {
        Refused::Nothing => "NO_CREDENTIALS",
        Refused::TooLarge => "TOKEN_TOO_LARGE",
        Refused::Malformed => "TOKEN_MALFORMED",
        Refused::UnknownToken => "TOKEN_UNKNOWN",
        Refused::Issuer => "TOKEN_OF_WRONG_ISSUER",
        Refused::Algorithm => "TOKEN_OF_WRONG_ALGORITHM",
        Refused::UnknownKey => "TOKEN_OF_UNKNOWN_KEY",
        Refused::Signature => "TOKEN_NOT_SIGNED",
        Refused::NoExpiry => "TOKEN_WITHOUT_EXPIRY",
        Refused::Expired => "TOKEN_EXPIRED",
        Refused::NotYetValid => "TOKEN_NOT_YET_VALID",
        Refused::Audience => "TOKEN_FOR_ANOTHER_AUDIENCE",
        Refused::Subject => "TOKEN_WITHOUT_SUBJECT",
        Refused::KeysUnavailable => "KEYS_UNAVAILABLE",
        Refused::Session => "SESSION_ENDED",
    };
    if refused.is_temporary() {
        let problem = Problem::new(Code::Unavailable, reason, refused.to_string());
        return problem.retry_after(KEYS_RETRY);
    }
    Problem::new(Code::Unauthenticated, reason, refused.to_string())
}

fn too_many_in_flight(most: u32) -> Problem {
    let message = format!(
        "{most} of your requests are served at the same time, which is all that one principal \
         gets: try again, or have `auth.limits.in_flight` raised"
    );
    let problem = Problem::new(Code::ResourceExhausted, "TOO_MANY_IN_FLIGHT", message);
    problem.retry_after(IN_FLIGHT_RETRY)
}

fn too_fast(rate: u32, wait: Duration) -> Problem {
    let message = format!(
        "you make more than {rate} requests a second, which is all that one principal gets: slow \
         down, or have `auth.limits.requests_per_second` raised"
    );
    Problem::new(Code::ResourceExhausted, "TOO_FAST", message).retry_after(wait)
}

fn too_many_principals() -> Problem {
    let message = "more principals make requests than are told apart: try again";
    let problem = Problem::new(Code::ResourceExhausted, "TOO_MANY_PRINCIPALS", message);
    problem.retry_after(SWEEP_EVERY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Rules;

    fn caller(name: &str) -> Caller {
        Caller::known(Principal::new(name).expect("a name"), Arc::new(Rules::default()))
    }

    fn reason(entered: Result<Turn, Problem>) -> &'static str {
        entered.map_or_else(|problem| problem.reason, |_| "")
    }

    #[tokio::test(start_paused = true)]
    async fn one_principal_has_its_places_and_no_others() {
        let limits = Limits { in_flight: 2, requests_per_second: None };
        let gate = Gate::new(Authority::open(), limits);
        let greedy = caller("token:greedy");
        let turns = [gate.enter(&greedy), gate.enter(&greedy)];
        assert_eq!(reason(gate.enter(&greedy)), "TOO_MANY_IN_FLIGHT");
        assert_eq!(reason(gate.enter(&caller("token:other"))), "");
        assert_eq!(reason(gate.enter(&Caller::anybody())), "", "nobody is told apart");
        drop(turns);
        assert_eq!(reason(gate.enter(&greedy)), "");
        assert!(gate.inside().by_principal.is_empty(), "nobody is remembered who has left");
    }

    #[tokio::test(start_paused = true)]
    async fn a_principal_may_come_so_often_on_average_and_as_often_at_once() {
        let limits = Limits { in_flight: 100, requests_per_second: Some(10) };
        let gate = Gate::new(Authority::open(), limits);
        let fast = caller("token:fast");
        let passed =
            |count: usize| (0..count).filter(|_| reason(gate.enter(&fast)).is_empty()).count();
        assert_eq!(passed(15), 10);
        let refused = gate.enter(&fast).expect_err("it is too fast");
        assert_eq!(refused.reason, "TOO_FAST");
        assert_eq!(refused.retry_after, Some(Duration::from_millis(100)));
        tokio::time::advance(Duration::from_millis(250)).await;
        assert_eq!(passed(15), 2);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(passed(15), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn the_memory_of_principals_is_bounded_and_comes_back() {
        let limits = Limits { in_flight: 1, requests_per_second: Some(1) };
        let gate = Gate::new(Authority::open(), limits);
        for number in 0..MAX_PRINCIPALS {
            assert_eq!(reason(gate.enter(&caller(&format!("oidc:k8s:{number}")))), "");
        }
        let another = caller("token:another");
        assert_eq!(reason(gate.enter(&another)), "TOO_MANY_PRINCIPALS");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(reason(gate.enter(&another)), "");
        assert_eq!(gate.inside().by_principal.len(), 1);
    }

    #[test]
    fn a_bearer_is_one_and_what_is_not_clear_is_nobodys() {
        let check = |values: &[&[u8]], expected: Option<&str>| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, (*value).try_into().expect("a header's value"));
            }
            assert_eq!(bearer(&headers), expected, "{values:?}");
        };
        check(&[], None);
        check(&[b"Bearer abc"], Some("abc"));
        check(&[b"bearer  abc "], Some("abc"));
        check(&[b"Bearer "], Some(""));
        check(&[b"Bearer"], None);
        check(&[b"Basic YTpi"], None);
        check(&[b"Bearer abc", b"Bearer def"], Some(""));
        check(&[b"Bearer abc", b"Basic YTpi"], Some(""));
        check(&[b"Bearer \xff"], Some(""));
    }
}
