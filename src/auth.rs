//! Who calls, and what they may do.
//!
//! An edge shows what came with a request as [`Credentials`] and gets a
//! [`Caller`], or is told why the request stays outside. A handler asks the caller
//! whether it may do what the request says, before anything about an org is looked
//! up, so that a stranger learns nothing.
//!
//! Where no identity is configured everybody may do everything. As soon as one is,
//! nothing is allowed that no [rule](rules) allows.

pub mod caller;
pub mod rules;

use std::sync::Arc;

pub use self::{
    caller::{Caller, Principal},
    rules::{Action, Rule, Rules, Verb},
};

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

/// Why nobody knows who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Nothing was shown.
    #[error(
        "this service wants to know who calls: send `authorization: Bearer …`, or connect with a client certificate"
    )]
    Nothing,
}

/// Knows who calls. It follows the configuration: what is decided once about a
/// request holds for that request only.
#[derive(Debug, Default)]
pub struct Authority {}

impl Authority {
    /// Nobody is asked for a name, and everybody may do everything.
    #[must_use]
    pub fn open() -> Arc<Self> {
        Arc::default()
    }

    /// True if no request is served unless it is known who makes it.
    #[must_use]
    pub const fn requires_identity(&self) -> bool {
        false
    }

    /// Who calls.
    ///
    /// # Errors
    /// Why nobody knows.
    #[expect(clippy::unused_async, reason = "keys may have to be fetched")]
    pub async fn identify(&self, _: Credentials<'_>) -> Result<Caller, Refused> {
        Ok(Caller::anybody())
    }
}
