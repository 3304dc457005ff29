//! Which errors of a connection say that a request was not begun at its other end, so
//! that it can be sent again without harm, whatever it asks for.

use std::error::Error;

/// True if a request came back without having been begun: the connection was closed while
/// it waited here to be sent, or its other end has gone away in order and said that it
/// did not begin this one, which came after the last that it takes (RFC 9113, section
/// 6.8). What it has begun ends otherwise.
#[must_use]
pub fn was_not_begun(error: &hyper::Error) -> bool {
    // hyper's clients of HTTP/2 cancel only what they still hold.
    let is_held = error.is_canceled();
    let source = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
    is_held
        || source.is_some_and(|error| {
            error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR)
        })
}
