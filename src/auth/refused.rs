//! Why nobody knows who calls.

/// Why nobody knows who calls. The sentences hold nothing of what was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Nothing was shown.
    #[error(
        "this service wants to know who calls: send `authorization: Bearer …`, or connect with a client certificate"
    )]
    Nothing,
    /// It is longer than any token.
    #[error("the token is longer than 8 KiB: send the token alone, after `Bearer `")]
    TooLarge,
    /// A JWT that cannot be read.
    #[error("the token is a damaged JWT: send it whole, as the issuer gave it")]
    Malformed,
    /// Neither a static token that is known here, nor a JWT.
    #[error("the token is not known here: ask the operator for one, or for its name in `auth`")]
    UnknownToken,
    /// A JWT of somebody else.
    #[error("the token's issuer (`iss`) is not one whose tokens are taken here")]
    Issuer,
    /// Signed in a way that proves nothing, or in another than the key is for.
    #[error(
        "the token is signed with an algorithm (`alg`) that is not taken here, or not with this key: take RS256, PS256, ES256 or EdDSA"
    )]
    Algorithm,
    /// Signed with a key that the issuer does not show.
    #[error(
        "the token is signed with a key (`kid`) that its issuer does not have: get a new token"
    )]
    UnknownKey,
    /// Not signed by its issuer.
    #[error("the token's signature is wrong: send it as the issuer gave it")]
    Signature,
    /// It would never end.
    #[error("the token does not say until when it holds (`exp`)")]
    NoExpiry,
    /// Its time is over.
    #[error("the token has expired (`exp`): get a new one")]
    Expired,
    /// Its time has not come.
    #[error("the token does not hold yet (`nbf`): compare the clocks")]
    NotYetValid,
    /// Meant for another service.
    #[error(
        "the token is for somebody else (`aud`): ask the issuer for one with this service's audience"
    )]
    Audience,
    /// It names nobody.
    #[error("the token names nobody: the claim with the subject is missing, or is no name")]
    Subject,
    /// The issuer does not say which keys are its own.
    #[error("the token cannot be checked now: its issuer's keys could not be had; try again soon")]
    KeysUnavailable,
    /// A session that was not begun here, or has ended.
    #[error("the session has ended: sign in again")]
    Session,
}

impl Refused {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Nothing,
        Self::TooLarge,
        Self::Malformed,
        Self::UnknownToken,
        Self::Issuer,
        Self::Algorithm,
        Self::UnknownKey,
        Self::Signature,
        Self::NoExpiry,
        Self::Expired,
        Self::NotYetValid,
        Self::Audience,
        Self::Subject,
        Self::KeysUnavailable,
        Self::Session,
    ];

    /// The cause as it stands in a metric's label and in the log; it stays the same
    /// whatever the sentence becomes.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Nothing => "missing",
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::UnknownToken => "unknown_token",
            Self::Issuer => "wrong_issuer",
            Self::Algorithm => "wrong_algorithm",
            Self::UnknownKey => "unknown_key",
            Self::Signature => "bad_signature",
            Self::NoExpiry => "no_expiry",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Audience => "wrong_audience",
            Self::Subject => "no_subject",
            Self::KeysUnavailable => "keys_unavailable",
            Self::Session => "session_ended",
        }
    }

    /// True if the same credentials may do in a moment: the fault is not the
    /// caller's (UNAVAILABLE, not UNAUTHENTICATED).
    #[must_use]
    pub const fn is_temporary(self) -> bool {
        matches!(self, Self::KeysUnavailable)
    }
}
