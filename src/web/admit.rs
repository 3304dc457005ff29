//! Who comes in by HTTP: writes from the right place, callers who are known, and
//! no more than are bounded.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Request, State},
    http::{Method, header},
    middleware::Next,
    response::Response,
};
use tokio::sync::Semaphore;
use tonic::{Code, Status};

use super::{
    Ends, Options, origin,
    status::{self, refuse},
};
use crate::rpc::{Gate, gate};

/// Requests of operators that are served when all places are taken, besides.
const OPERATORS_PLACES: usize = 16;

/// What guards every route of the API.
pub struct Guard {
    hosts: Vec<String>,
    places: Semaphore,
    operators: Semaphore,
    gate: Arc<Gate>,
}

impl Guard {
    /// The guard of an edge.
    pub fn new(gate: Arc<Gate>, options: &Options) -> Self {
        Self {
            hosts: options.hosts.clone(),
            places: Semaphore::new(options.max_requests),
            operators: Semaphore::new(OPERATORS_PLACES),
            gate,
        }
    }
}

/// Lets a request in, and notes among its extensions who makes it.
pub async fn admit(
    State(guard): State<Arc<Guard>>,
    Extension(ends): Extension<Ends>,
    mut request: Request,
    next: Next,
) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if !reads && let Err(why) = origin::check(request.headers(), ends.local, &guard.hosts) {
        return status::response(&refuse(Code::PermissionDenied, "FOREIGN_ORIGIN", why));
    }
    let place = guard.places.try_acquire().ok();
    let is_full = place.is_none();
    let Some(_place) = place.or_else(|| guard.operators.try_acquire().ok()) else {
        return overloaded();
    };
    let caller = match guard.gate.identify(request.headers(), request.extensions()).await {
        Ok(caller) => caller,
        Err(problem) => return status::response(&Status::from(problem)),
    };
    request.headers_mut().remove(header::AUTHORIZATION);
    if is_full && !gate::is_operator(&caller) {
        return overloaded();
    }
    let _turn = match guard.gate.enter(&caller) {
        Ok(turn) => turn,
        Err(problem) => return status::response(&Status::from(problem)),
    };
    request.extensions_mut().insert(caller);
    next.run(request).await
}

fn overloaded() -> Response {
    let why = "too many HTTP requests at a time";
    status::response(&refuse(Code::ResourceExhausted, "OVERLOADED", why))
}
