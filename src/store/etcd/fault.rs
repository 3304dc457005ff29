//! What a failed request to etcd means: was it carried out?

use std::error::Error;

use etcd_client::Error as EtcdError;
use tonic::{Code, ConnectError, Status};

use crate::store::StoreError;

/// Why a member gave no answer, with a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It did not reach the member, or was turned away unread: another member
    /// may take it.
    NotSent(String),
    /// etcd refused it, and any other member would. Nothing was written.
    Refused(Refusal, String),
    /// The member does not know who asks, any more. Nothing was written.
    Stranger(String),
    /// It may have been carried out, or may be yet.
    Unknown(String),
}

/// The refusals that mean something to somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The lease does not exist any more.
    LeaseGone,
    /// The revision is not kept any more.
    Compacted,
    /// Any other.
    Other,
}

/// What a member says before it looks at a request.
const TURNED_AWAY: [&str; 3] = [
    "etcdserver: no leader",
    "etcdserver: rpc not supported for learner",
    "etcdserver: not capable",
];

/// What it says of a token that it does not know, or that is of former rights.
const STRANGER: [&str; 2] =
    ["etcdserver: invalid auth token", "etcdserver: revision of auth store is old"];

/// Begins what etcd itself says, and not what is between it and us.
const OF_ETCD: &str = "etcdserver: ";

impl Fault {
    pub(super) fn of(error: &EtcdError) -> Self {
        match error {
            EtcdError::GRpcStatus(status) => Self::of_status(status),
            // The client's own words for a time to live of zero.
            EtcdError::LeaseKeepAliveError(said) if said == "lease not found" => {
                Self::Refused(Refusal::LeaseGone, said.clone())
            }
            other => Self::Unknown(other.to_string()),
        }
    }

    fn of_status(status: &Status) -> Self {
        let said = status.message();
        let reason = if said.is_empty() { format!("{:?}", status.code()) } else { said.to_owned() };
        if is_without_connection(status) || TURNED_AWAY.contains(&said) {
            return Self::NotSent(reason);
        }
        if STRANGER.contains(&said) {
            return Self::Stranger(reason);
        }
        // etcd says so of a transaction that has been carried out, too, where it
        // was the one with which the space ran out.
        if said.ends_with("database space exceeded") {
            return Self::Unknown(reason);
        }
        match (status.code(), said.starts_with(OF_ETCD)) {
            (Code::NotFound, true) if said.ends_with("lease not found") => {
                Self::Refused(Refusal::LeaseGone, reason)
            }
            (Code::OutOfRange, true) if said.ends_with("has been compacted") => {
                Self::Refused(Refusal::Compacted, reason)
            }
            (
                Code::InvalidArgument
                | Code::NotFound
                | Code::AlreadyExists
                | Code::PermissionDenied
                | Code::Unauthenticated
                | Code::ResourceExhausted
                | Code::FailedPrecondition
                | Code::OutOfRange
                | Code::DataLoss,
                true,
            )
            | (Code::Unimplemented, _) => Self::Refused(Refusal::Other, reason),
            // By the server's gRPC, before etcd has seen it.
            (Code::ResourceExhausted, false) if said.contains("received message larger than") => {
                Self::Refused(Refusal::Other, reason)
            }
            _ => Self::Unknown(reason),
        }
    }

    /// The same, said of a member.
    pub(super) fn at(self, member: &str) -> Self {
        let say = |reason| format!("{member}: {reason}");
        match self {
            Self::NotSent(reason) => Self::NotSent(say(reason)),
            Self::Refused(refusal, reason) => Self::Refused(refusal, say(reason)),
            Self::Stranger(reason) => Self::Stranger(say(reason)),
            Self::Unknown(reason) => Self::Unknown(say(reason)),
        }
    }

    /// The sentence.
    pub(super) fn reason(&self) -> &str {
        match self {
            Self::NotSent(reason)
            | Self::Refused(_, reason)
            | Self::Stranger(reason)
            | Self::Unknown(reason) => reason,
        }
    }

    /// The sentence alone.
    pub(super) fn into_reason(self) -> String {
        match self {
            Self::NotSent(reason)
            | Self::Refused(_, reason)
            | Self::Stranger(reason)
            | Self::Unknown(reason) => reason,
        }
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::NotSent(reason) | Fault::Refused(_, reason) | Fault::Stranger(reason) => {
                Self::NotExecuted(reason)
            }
            Fault::Unknown(reason) => Self::Unknown(reason),
        }
    }
}

/// Was there no connection that it could be sent on?
fn is_without_connection(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_certain_counts_as_not_executed() {
        use Code::*;
        let other = |said: &str| Fault::Refused(Refusal::Other, said.to_owned());
        let unknown = |said: &str| Fault::Unknown(said.to_owned());
        let not_sent = |said: &str| Fault::NotSent(said.to_owned());
        type Meaning<'a> = &'a dyn Fn(&str) -> Fault;
        let rows: &[(Code, &str, Meaning<'_>)] = &[
            (Unavailable, "etcdserver: no leader", &not_sent),
            (Unavailable, "etcdserver: leader changed", &unknown),
            (Unavailable, "etcdserver: request timed out", &unknown),
            (
                Unavailable,
                "etcdserver: request timed out, possibly due to connection lost",
                &unknown,
            ),
            (Unavailable, "etcdserver: server stopped", &unknown),
            (Unavailable, "error reading from server: EOF", &unknown),
            (DeadlineExceeded, "context deadline exceeded", &unknown),
            (Cancelled, "", &|_| unknown("Cancelled")),
            (Unknown, "h2 protocol error", &unknown),
            (Internal, "stream terminated", &unknown),
            // A decoder of ours, after it was carried out.
            (OutOfRange, "Error, decoded message length too large", &unknown),
            (ResourceExhausted, "grpc: received message larger than max (9 vs. 8)", &other),
            (ResourceExhausted, "etcdserver: too many requests", &other),
            (ResourceExhausted, "etcdserver: mvcc: database space exceeded", &unknown),
            (ResourceExhausted, "some proxy is tired", &unknown),
            (InvalidArgument, "etcdserver: request is too large", &other),
            (InvalidArgument, "etcdserver: duplicate key given in txn request", &other),
            (InvalidArgument, "etcdserver: user name is empty", &other),
            (PermissionDenied, "etcdserver: permission denied", &other),
            (PermissionDenied, "a proxy says no", &unknown),
            (DataLoss, "etcdserver: corrupt cluster", &other),
            (Unimplemented, "unknown service etcdserverpb.KV", &other),
            (NotFound, "etcdserver: requested lease not found", &|said| {
                Fault::Refused(Refusal::LeaseGone, said.to_owned())
            }),
            (OutOfRange, "etcdserver: mvcc: required revision has been compacted", &|said| {
                Fault::Refused(Refusal::Compacted, said.to_owned())
            }),
            (Unauthenticated, "etcdserver: invalid auth token", &|said| {
                Fault::Stranger(said.to_owned())
            }),
        ];
        for (code, said, meaning) in rows {
            let status = Status::new(*code, *said);
            assert_eq!(Fault::of(&EtcdError::GRpcStatus(status)), meaning(said), "{code:?} {said}");
        }
    }

    #[test]
    fn a_refused_connection_was_not_sent_on() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let status = Status::from_error(Box::new(ConnectError(refused.into())));
        let fault = Fault::of(&EtcdError::GRpcStatus(status));
        assert!(matches!(fault, Fault::NotSent(_)), "{fault:?}");
    }
}
