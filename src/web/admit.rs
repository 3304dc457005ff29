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
use tokio::sync::{Semaphore, SemaphorePermit};
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
    /// It does not.
    pub fn check_write(&self, headers: &HeaderMap, peer: &Peer) -> Result<(), Status> {
        origin::check(headers, peer.local, &self.hosts).map_err(foreign)
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

    /// Lets a request in, and notes among its extensions who makes it.
    ///
    /// # Errors
    /// It stays outside: its caller is not known, writes from elsewhere, or comes
    /// when all places are taken.
    pub async fn let_in(&self, peer: &Peer, request: &mut Request) -> Result<Inside<'_>, Status> {
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        if !reads {
            self.check_write(request.headers(), peer)?;
        }
        let place = self.places.try_acquire().ok();
        let is_full = place.is_none();
        let place = place.or_else(|| self.operators.try_acquire().ok()).ok_or_else(overloaded)?;
        let identified = self.identify(request.headers(), request.extensions(), peer).await?;
        let Identified { caller, by_session } = identified;
        if by_session && !reads && !request.headers().contains_key(header::ORIGIN) {
            let why = "a write in a session needs an Origin header: browsers send it";
            return Err(foreign(why.to_owned()));
        }
        if is_full && !gate::is_operator(&caller) {
            return Err(overloaded());
        }
        let turn = self.gate.enter(&caller)?;
        forget_credentials(request.headers_mut());
        request.extensions_mut().insert(caller);
        if by_session {
            request.extensions_mut().insert(BySession);
        }
        Ok(Inside { _place: place, _turn: turn })
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
        let identified = self.gate.identify(gate::bearer(headers), extensions.get()).await;
        match (identified, recalled) {
            (Ok(caller), _) => Ok(Identified { caller, by_session: false }),
            // Who shows nothing but a session that has ended is told of that.
            (Err(_), Some(Err(ended))) => Err(ended),
            (Err(problem), _) => Err(problem),
        }
    }
}

/// A request that is inside: it has its place until this is dropped.
pub struct Inside<'g> {
    _place: SemaphorePermit<'g>,
    _turn: gate::Turn,
}

/// Among a request's extensions where a browser's session has told who makes it.
#[derive(Clone, Copy, Debug)]
pub struct BySession;

/// Who makes a request, and how that is known.
pub struct Identified {
    /// Who.
    pub caller: Caller,
    /// A browser has sent its cookie, maybe without its user's will.
    pub by_session: bool,
}

/// Lets a request of the API in, and notes among its extensions who makes it.
pub async fn admit(
    State(guard): State<Arc<Guard>>,
    Extension(peer): Extension<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    match guard.let_in(&peer, &mut request).await {
        Ok(_inside) => next.run(request).await,
        Err(refused) => status::response(&refused),
    }
}

/// They have said what they had to say, and nobody else is to see them.
fn forget_credentials(headers: &mut HeaderMap) {
    headers.remove(header::AUTHORIZATION);
    headers.remove(header::COOKIE);
}

fn foreign(why: String) -> Status {
    refuse(Code::PermissionDenied, "FOREIGN_ORIGIN", why)
}

fn overloaded() -> Status {
    refuse(Code::ResourceExhausted, "OVERLOADED", "too many HTTP requests at a time")
}
