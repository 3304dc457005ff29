//! A request over HTTP, as the services are asked: who calls is among its
//! extensions, and headers are its metadata.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Request},
    http::{HeaderMap, StatusCode, request::Parts},
    response::Response,
};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::time;
use tonic::{Code, metadata::MetadataMap};

use super::status::{self, refuse};
use crate::{auth::Caller, rpc::OverHttp, tls::Peer};

/// The most that a body may take, as for gRPC.
const MAX_BODY_BYTES: usize = 64 << 10;

/// How long a client may take to send a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Who calls, over what, with which headers.
#[derive(Clone, Debug)]
pub struct Context {
    headers: HeaderMap,
    peer: Option<Peer>,
    caller: Option<Caller>,
}

impl Context {
    /// The request as if it had come by gRPC: headers are its metadata.
    pub fn request<M>(self, message: M) -> tonic::Request<M> {
        let mut request = tonic::Request::new(message);
        *request.metadata_mut() = MetadataMap::from_headers(self.headers);
        if let Some(peer) = self.peer {
            request.extensions_mut().insert(peer);
        }
        // Without a caller the services refuse it.
        if let Some(caller) = self.caller {
            request.extensions_mut().insert(caller);
        }
        request.extensions_mut().insert(OverHttp);
        request
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Context {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let Parts { headers, extensions, .. } = parts;
        Ok(Self {
            headers: headers.clone(),
            peer: extensions.get::<Peer>().cloned(),
            caller: extensions.get::<Caller>().cloned(),
        })
    }
}

/// A request with a body, read whole.
pub struct Call {
    /// Who calls.
    pub context: Context,
    /// What they sent.
    pub body: Bytes,
}

impl<S: Send + Sync> FromRequest<S> for Call {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let Ok(context) = Context::from_request_parts(&mut parts, state).await;
        let body = Limited::new(body, MAX_BODY_BYTES);
        match time::timeout(BODY_TIMEOUT, body.collect()).await {
            Ok(Ok(body)) => Ok(Self { context, body: body.to_bytes() }),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                let why = format!("the body is larger than {MAX_BODY_BYTES} bytes");
                let status = refuse(Code::InvalidArgument, "BODY_TOO_LARGE", why);
                Err(status::response_as(StatusCode::PAYLOAD_TOO_LARGE, &status))
            }
            Ok(Err(_)) => {
                let status = refuse(Code::InvalidArgument, "BODY_CUT_OFF", "the body was cut off");
                Err(status::response(&status))
            }
            Err(_) => {
                let why = format!("the body did not arrive within {BODY_TIMEOUT:?}");
                let status = refuse(Code::DeadlineExceeded, "BODY_TOO_SLOW", why);
                Err(status::response_as(StatusCode::REQUEST_TIMEOUT, &status))
            }
        }
    }
}
