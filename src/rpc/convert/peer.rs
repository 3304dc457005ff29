//! What nodes say of themselves.

use super::{wire_duration, wire_time};
use crate::{cluster::pings::Facts, proto::peer::v1};

/// The answer to a Ping.
#[must_use]
pub fn pong(facts: Facts) -> v1::PingResponse {
    v1::PingResponse {
        node: facts.node,
        incarnation: facts.incarnation,
        clock: Some(wire_time(facts.clock)),
        session_left: facts.session_left.map(wire_duration),
        owned_shards: facts.owned_shards,
        orgs: facts.orgs,
        started: Some(wire_time(facts.started)),
        problem: facts.problem,
    }
}
