//! Who comes in by HTTP: writes from the right place, callers who are known, and
//! no more than are bounded.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Request, State},
    http::{Extensions, HeaderMap, Method, header},
    middleware::Next,
    response::Response,
};
use tokio::sync::Semaphore;
use tonic::{Code, Status};

use super::{
    Options, origin,
    session::{self, Failures},
    status::{self, refuse},
};
use crate::{
    auth::{Caller, session::Seal},
    rpc::{Gate, gate, status::Problem},
    tls::Peer,
};

/// Requests of operators that are served when all places are taken, besides.
const OPERATORS_PLACES: usize = 16;

/// What guards every route of the API.
pub struct Guard {
    hosts: Vec<String>,
    places: Semaphore,
    operators: Semaphore,
    gate: Arc<Gate>,
    seal: Seal,
    failures: Failures,
}

impl Guard {
    /// The guard of an edge.
    pub fn new(gate: Arc<Gate>, seal: Seal, options: &Options) -> Self {
        Self {
            hosts: options.hosts.clone(),
            places: Semaphore::new(options.max_requests),
            operators: Semaphore::new(OPERATORS_PLACES),
            gate,
            seal,
            failures: Failures::default(),
        }
    }

    /// Checks that a write comes from the right place.
    ///
    /// # Errors
    /// The answer, if it does not.
    pub fn check_origin(&self, headers: &HeaderMap, peer: &Peer) -> Result<(), Box<Response>> {
        origin::check(headers, peer.local, &self.hosts).map_err(|why| Box::new(foreign(why)))
    }

    /// Knows who calls.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Seals sessions.
    pub fn seal(&self) -> &Seal {
        &self.seal
    }

    /// Who has failed to sign in.
    pub fn failures(&self) -> &Failures {
        &self.failures
    }

    /// Who makes a request. What a program shows comes before a browser's session,
    /// and that before the connection's certificate.
    pub async fn identify(
        &self,
        headers: &HeaderMap,
        extensions: &Extensions,
        peer: &Peer,
    ) -> Result<Identified, Problem> {
        let has_token = headers.contains_key(header::AUTHORIZATION);
        let session = session::cookie(headers, peer).filter(|_| !has_token);
        let recalled = session.map(|sealed| self.gate.recall(&self.seal, sealed));
        if let Some(Ok(caller)) = recalled {
            // An old cookie is no session where nobody is asked for a name.
            let by_session = caller.principal().is_some();
            return Ok(Identified { caller, by_session });
        }
        let identified = self.gate.identify(headers, extensions).await;
        match (identified, recalled) {
            (Ok(caller), _) => Ok(Identified { caller, by_session: false }),
            // Who shows nothing but a session that has ended is told of that.
            (Err(_), Some(Err(ended))) => Err(ended),
            (Err(problem), _) => Err(problem),
        }
    }
}

/// Who makes a request, and how that is known.
pub struct Identified {
    /// Who.
    pub caller: Caller,
    /// A browser has sent its cookie, maybe without its user's will.
    pub by_session: bool,
}

/// Lets a request in, and notes among its extensions who makes it.
pub async fn admit(
    State(guard): State<Arc<Guard>>,
    Extension(peer): Extension<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if !reads && let Err(foreign) = guard.check_origin(request.headers(), &peer) {
        return *foreign;
    }
    let place = guard.places.try_acquire().ok();
    let is_full = place.is_none();
    let Some(_place) = place.or_else(|| guard.operators.try_acquire().ok()) else {
        return overloaded();
    };
    let identified = guard.identify(request.headers(), request.extensions(), &peer).await;
    let Identified { caller, by_session } = match identified {
        Ok(identified) => identified,
        Err(problem) => return status::response(&Status::from(problem)),
    };
    if by_session && !reads && !request.headers().contains_key(header::ORIGIN) {
        return foreign("a write in a session needs an Origin header: browsers send it".into());
    }
    if is_full && !gate::is_operator(&caller) {
        return overloaded();
    }
    let _turn = match guard.gate.enter(&caller) {
        Ok(turn) => turn,
        Err(problem) => return status::response(&Status::from(problem)),
    };
    forget_credentials(request.headers_mut());
    request.extensions_mut().insert(caller);
    next.run(request).await
}

/// They have said what they had to say, and nobody else is to see them.
fn forget_credentials(headers: &mut HeaderMap) {
    headers.remove(header::AUTHORIZATION);
    headers.remove(header::COOKIE);
}

fn foreign(why: String) -> Response {
    status::response(&refuse(Code::PermissionDenied, "FOREIGN_ORIGIN", why))
}

fn overloaded() -> Response {
    let why = "too many HTTP requests at a time";
    status::response(&refuse(Code::ResourceExhausted, "OVERLOADED", why))
}
