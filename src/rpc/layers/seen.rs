//! What the edge sees of a request before its message: which of the headers came that
//! it looks for, and who asks.

use tonic::codegen::http::{Extensions, HeaderMap};

use super::Deadline;
use crate::{auth::Caller, tls::Peer};

/// Which of the headers came with a request that are looked for with each. To look once
/// at those that came costs less than to look for each that did not.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// `authorization`
    pub credentials: bool,
    /// `grpc-timeout`
    pub timeout: bool,
    /// `grpc-encoding`
    pub encoding: bool,
    /// `x-request-id`
    pub request_id: bool,
    /// `traceparent`
    pub trace: bool,
    /// `quotagate-caller`
    pub caller: bool,
}

impl Seen {
    /// Those that are among these.
    pub fn among(headers: &HeaderMap) -> Self {
        let mut seen = Self::default();
        for name in headers.keys() {
            match name.as_str() {
                "authorization" => seen.credentials = true,
                "grpc-timeout" => seen.timeout = true,
                "grpc-encoding" => seen.encoding = true,
                "x-request-id" => seen.request_id = true,
                "traceparent" => seen.trace = true,
                "quotagate-caller" => seen.caller = true,
                _ => {}
            }
        }
        seen
    }
}

/// Who asks, from where, and for how long they listen.
#[derive(Clone, Debug)]
pub struct Known<'a> {
    /// What came with it.
    pub seen: Seen,
    /// When its caller stops listening.
    pub deadline: Deadline,
    /// Who is at the other end of its connection.
    pub peer: &'a Peer,
    /// Who was proved to call; `None` where nobody is asked.
    pub caller: Option<Caller>,
}

impl Known<'_> {
    /// Notes it among a request's extensions, where services look for it. Each of them
    /// takes memory of its own.
    pub fn note(self, extensions: &mut Extensions) {
        extensions.insert(self.deadline);
        extensions.insert(self.peer.clone());
        if let Some(caller) = self.caller {
            extensions.insert(caller);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_is_seen_and_nothing_else() {
        let among = |names: &[&'static str]| {
            let headers = names
                .iter()
                .map(|name| (name.parse().expect("a name"), "x".parse().expect("a value")));
            let Seen { credentials, timeout, encoding, request_id, trace, caller } =
                Seen::among(&headers.collect());
            [credentials, timeout, encoding, request_id, trace, caller]
        };
        assert_eq!(among(&[]), [false; 6]);
        assert_eq!(among(&["te", "content-type", "user-agent", "tracestate"]), [false; 6]);
        let looked_for = [
            "Authorization",
            "grpc-timeout",
            "grpc-encoding",
            "x-request-id",
            "traceparent",
            "quotagate-caller",
        ];
        assert_eq!(among(&looked_for), [true; 6]);
        for (at, name) in looked_for.into_iter().enumerate() {
            let mut expected = [false; 6];
            expected[at] = true;
            assert_eq!(among(&["te", name]), expected, "{name}");
        }
    }
}
