//! Who calls, and what they may do.
//!
//! An edge shows what came with a request as [`Credentials`] and gets a
//! [`Caller`], or is told why the request stays outside. A handler asks the caller
//! whether it may do what the request says, before anything about an org is looked
//! up, so that a stranger learns nothing.
//!
//! Where no identity is configured everybody may do everything. As soon as one is,
//! nothing is allowed that no [rule](rules) allows.
//!
//! Of a bearer's token, `token` knows the static ones, `jwt` reads and proves those
//! that an `issuer` has signed with one of its `keys`, by the signatures of
//! `crypto`; `proved` remembers them for a moment. [`explain`] says why somebody
//! may do something, or may not.

pub mod caller;
mod crypto;
pub mod explain;
pub mod issuer;
pub mod jwt;
pub mod keys;
mod proved;
mod refused;
pub mod rules;
pub mod session;
pub mod token;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

pub use self::{
    caller::{Caller, Principal, Rights},
    refused::Refused,
    rules::{Action, Rule, Rules, Verb},
};
use self::{
    issuer::Issuer,
    jwt::Expected,
    proved::{Entry, ProvedTokens},
    session::{Seal, Statement},
    token::Tokens,
};
use crate::{clock::Clock, config::AuthConfig, metrics::Metrics, quota::Mono};

/// What came with a request, unchecked but for the certificate, whose chain the
/// handshake has checked.
#[derive(Clone, Copy, Default)]
pub struct Credentials<'r> {
    /// The names in the certificate that the client showed, the best first.
    pub certificate: &'r [Principal],
    /// What stood after `Bearer` in `authorization`.
    pub bearer: Option<&'r str>,
}

impl std::fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("certificate", &self.certificate)
            .field("bearer", &self.bearer.map(|_| "…"))
            .finish()
    }
}

/// Knows who calls. It follows the configuration: what is decided once about a
/// request holds for that request only.
#[derive(Debug, Default)]
pub struct Authority {
    clock: Clock,
    /// `None` where nobody is asked for a name.
    metrics: Option<Arc<Metrics>>,
    /// `None` where no identity is configured.
    state: RwLock<Option<Arc<State>>>,
    /// When a refusal was logged, and how many were not since, by its reason.
    logged: Mutex<HashMap<&'static str, (Mono, u64)>>,
}

/// What a configuration says.
#[derive(Debug)]
struct State {
    rules: Arc<Rules>,
    certificates: bool,
    tokens: Tokens,
    issuers: Vec<Arc<Issuer>>,
    proved: ProvedTokens,
}

/// A running service was told to let everybody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`auth` names no identity any more, which would let everybody do everything: start the service anew if that is meant"
)]
pub struct Opened;

/// A refusal for one reason is logged at most so often.
const LOGGED_EVERY: Duration = Duration::from_secs(10);

impl Authority {
    /// Nobody is asked for a name, and everybody may do everything.
    #[must_use]
    pub fn open() -> Arc<Self> {
        Arc::default()
    }

    /// Knows those whom the configuration names. Must be called within a runtime:
    /// issuers are asked for their keys at once.
    #[must_use]
    pub fn new(config: &AuthConfig, clock: Clock, metrics: Arc<Metrics>) -> Arc<Self> {
        let state = State::new(config, &[], &clock).map(Arc::new);
        Arc::new(Self {
            clock,
            metrics: Some(metrics),
            state: RwLock::new(state),
            logged: Mutex::default(),
        })
    }

    /// Says whether [`Authority::reconfigure`] would take this configuration.
    ///
    /// # Errors
    /// It would not.
    pub fn accepts(&self, config: &AuthConfig) -> Result<(), Opened> {
        if self.requires_identity() && !config.requires_identity() { Err(Opened) } else { Ok(()) }
    }

    /// Takes over another configuration, for all requests that come after this.
    /// Issuers that are in both keep their keys.
    ///
    /// # Errors
    /// It would let everybody do everything, and the former did not: that stays.
    pub fn reconfigure(&self, config: &AuthConfig) -> Result<(), Opened> {
        self.accepts(config)?;
        let running = self.state();
        let issuers = running.as_ref().map_or(&[][..], |state| &state.issuers);
        let state = State::new(config, issuers, &self.clock).map(Arc::new);
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
        Ok(())
    }

    /// True if callers must say who they are.
    #[must_use]
    pub fn requires_identity(&self) -> bool {
        self.state().is_some()
    }

    /// Who calls. Of several credentials the token counts: who shows one means it,
    /// and a wrong one is not made good by a certificate.
    ///
    /// # Errors
    /// Why nobody knows.
    pub async fn identify(&self, shown: Credentials<'_>) -> Result<Caller, Refused> {
        let Some(state) = self.state() else { return Ok(Caller::anybody()) };
        let identified = state.identify(shown, &self.clock).await;
        if let Some(metrics) = &self.metrics {
            metrics
                .authenticated(identified.as_ref().map_or_else(|why| why.reason(), |_| "accepted"));
        }
        match identified {
            Ok(principal) => Ok(Caller::known(principal, Arc::clone(&state.rules))),
            Err(refused) => {
                self.log(refused);
                Err(refused)
            }
        }
    }

    /// Proves a token, and states whose it is for a session, with how long that
    /// will last: until the token expires by itself, and never for longer than
    /// [`session::LONGEST`]. `None` where nobody is asked for a name.
    ///
    /// # Errors
    /// Why nobody knows.
    pub async fn sign_in(&self, token: &str) -> Result<Option<(Statement, Duration)>, Refused> {
        let caller = self.identify(Credentials { certificate: &[], bearer: Some(token) }).await?;
        let (Some(principal), Some(state)) = (caller.principal(), self.state()) else {
            return Ok(None);
        };
        let (hash, now) = (token::hash(token), self.clock.wall());
        let longest = now + session::LONGEST;
        let is_static = state.tokens.find(&hash).is_ok();
        let until = match state.proved.get(&hash, self.clock.mono()) {
            _ if is_static => longest,
            Some(entry) => entry.until.min(longest),
            // Its own end is known no more: better too early.
            None => return Err(Refused::Expired),
        };
        let statement =
            Statement { principal: principal.clone(), until, proof: session::proof_of(&hash) };
        Ok(Some((statement, Duration::from_micros(until.0.saturating_sub(now.0)))))
    }

    /// Who comes again with a statement that was sealed here, by the rules of now.
    ///
    /// # Errors
    /// The statement has ended, or what it was proved with is not taken any more.
    pub fn recall(&self, seal: &Seal, sealed: &str) -> Result<Caller, Refused> {
        let Some(state) = self.state() else { return Ok(Caller::anybody()) };
        let statement = seal.open(sealed, self.clock.wall());
        if let Some(statement) = statement.filter(|statement| state.still_takes(statement)) {
            return Ok(Caller::known(statement.principal, Arc::clone(&state.rules)));
        }
        let ended = Refused::Session;
        if let Some(metrics) = &self.metrics {
            metrics.authenticated(ended.reason());
        }
        self.log(ended);
        Err(ended)
    }

    fn state(&self) -> Option<Arc<State>> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A line for some of the refusals: who is refused may try without end.
    fn log(&self, refused: Refused) {
        let now = self.clock.mono();
        let reason = refused.reason();
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, unsaid) = logged.get(reason).copied().unwrap_or_default();
        if last != Mono::default() && now.since(last) < LOGGED_EVERY {
            logged.insert(reason, (last, unsaid + 1));
            return;
        }
        logged.insert(reason, (now, 0));
        drop(logged);
        tracing::warn!(reason, unsaid, "a caller was refused: {refused}");
    }
}

impl State {
    /// `None` without any identity.
    fn new(config: &AuthConfig, running: &[Arc<Issuer>], clock: &Clock) -> Option<Self> {
        let issuer = |wanted: &_| {
            let same = running.iter().find(|issuer| issuer.config() == wanted);
            same.cloned().unwrap_or_else(|| Arc::new(Issuer::start(wanted.clone(), clock.clone())))
        };
        config.requires_identity().then(|| Self {
            rules: Arc::new(Rules::of_config(&config.rules)),
            certificates: config.certificates,
            tokens: Tokens::new(&config.tokens),
            issuers: config.oidc.iter().map(issuer).collect(),
            proved: ProvedTokens::default(),
        })
    }

    async fn identify(&self, shown: Credentials<'_>, clock: &Clock) -> Result<Principal, Refused> {
        match shown.bearer {
            Some(token) => self.bearer(token, clock).await,
            None => {
                let first = shown.certificate.first().filter(|_| self.certificates);
                first.cloned().ok_or(Refused::Nothing)
            }
        }
    }

    /// True while what a statement was proved with would be taken still.
    fn still_takes(&self, statement: &Statement) -> bool {
        let name = statement.principal.as_str();
        if name.starts_with("token:") {
            return self.tokens.has(&statement.principal, &statement.proof);
        }
        self.issuers.iter().any(|issuer| {
            let of_issuer = name.strip_prefix("oidc:").and_then(|name| name.split_once(':'));
            of_issuer.is_some_and(|(of, _)| of == issuer.config().name)
        })
    }

    async fn bearer(&self, token: &str, clock: &Clock) -> Result<Principal, Refused> {
        if token.len() > jwt::MOST_BYTES {
            return Err(Refused::TooLarge);
        }
        let hash = token::hash(token);
        let unknown = match self.tokens.find(&hash) {
            Ok(principal) => return Ok(principal),
            Err(unknown) => unknown,
        };
        if self.issuers.is_empty() || !jwt::is_jwt(token) {
            return Err(unknown);
        }
        if let Some(entry) = self.proved.get(&hash, clock.mono()) {
            if clock.wall() >= entry.until {
                return Err(Refused::Expired);
            }
            if self.issuers[entry.issuer].generation() == Some(entry.generation) {
                return Ok(entry.principal);
            }
        }
        // Its issuer may have to be asked for a key, which takes a kilobyte: every
        // request would be moved about with it.
        Box::pin(self.of_issuer(token, hash, clock)).await
    }

    /// Whose an issuer's token is that was not shown lately.
    async fn of_issuer(
        &self,
        token: &str,
        hash: token::Hash,
        clock: &Clock,
    ) -> Result<Principal, Refused> {
        let head = jwt::parse(token)?;
        let named = |issuer: &Arc<Issuer>| issuer.config().issuer == head.issuer;
        let place = self.issuers.iter().position(named).ok_or(Refused::Issuer)?;
        let issuer = &self.issuers[place];
        let (key, generation) = issuer.key(&head).await?;
        let config = issuer.config();
        let expected =
            Expected { issuer: &config.issuer, audiences: &config.audiences, claim: &config.claim };
        let proved = jwt::verify(token, head.algorithm, &key, expected, clock.wall())?;
        let principal = Principal::new(&format!("oidc:{}:{}", config.name, proved.subject))
            .ok_or(Refused::Subject)?;
        let entry = Entry {
            principal: principal.clone(),
            issuer: place,
            generation,
            until: proved.until,
            checked: clock.mono(),
        };
        self.proved.put(hash, entry);
        Ok(principal)
    }
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
