//! The adapter for `tower`.

use std::{
    error::Error,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use http::{Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::{Charge, Gate, HttpOptions, QuotaBody, Refused, answer, is_unsent};
use crate::client::Client;

/// A layer that acquires a call for each request that Salesforce counts, before
/// it is sent, and reports what came back.
///
/// A refusal is an [`AcquireError`](crate::client::AcquireError) in the box. The
/// body of a request is not looked at: what costs more than one unit, such as a
/// batch, says so by a [`Charge`] in its extensions.
///
/// ```no_run
/// use quotagate::client::{Client, http::{HttpOptions, QuotaLayer}};
/// use tower_layer::Layer;
///
/// # fn f<S>(http_client: S) -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::builder("127.0.0.1:7400").build()?;
/// let options = HttpOptions::new("00D000000000001EAA").workspace("acme-eu");
/// let salesforce = QuotaLayer::new(client, options).layer(http_client);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct QuotaLayer {
    gate: Gate,
}

/// See [`QuotaLayer`].
#[derive(Clone, Debug)]
pub struct QuotaService<S> {
    inner: S,
    gate: Gate,
}

type BoxError = Box<dyn Error + Send + Sync>;

impl QuotaLayer {
    /// A layer for calls of one org. Its services and their clones share local
    /// [pools](crate::client::Pool).
    #[must_use]
    pub fn new(client: Client, options: HttpOptions) -> Self {
        Self { gate: Gate::new(client, options) }
    }

    /// Gives back what its pools have at hand, and waits until everything has
    /// been told to the service, 2 s at most for each operation. True if it has.
    pub async fn close(&self) -> bool {
        self.gate.close().await
    }
}

impl<S> Layer<S> for QuotaLayer {
    type Service = QuotaService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        QuotaService { inner, gate: self.gate.clone() }
    }
}

impl<S, B, R> Service<Request<B>> for QuotaService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Send + 'static,
    R: Body + Send + 'static,
    R::Data: Send,
    R::Error: Send,
{
    type Response = Response<QuotaBody<R>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // The one that is ready is used; its clone need not be.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let gate = self.gate.clone();
        let extension = request.extensions().get::<Charge>();
        let charge = gate.charge(request.method(), request.uri().path(), None, extension);
        Box::pin(async move {
            let Some(charge) = charge else {
                let response = inner.call(request).await.map_err(Into::into)?;
                return Ok(response.map(QuotaBody::new));
            };
            let call = gate.start(charge).await?;
            request.extensions_mut().insert(call.execution_user());
            let response = match inner.call(request).await {
                Ok(response) => response,
                Err(error) => {
                    let error = error.into();
                    call.failed(is_unsent(&*error));
                    return Err(error);
                }
            };
            let answer = answer(response.status(), response.headers());
            let is_error = response.status().as_u16() >= 400;
            let mut response = response.map(QuotaBody::new);
            if is_error {
                let refused = Refused::new(call, answer);
                let text = response.body_mut().look().await;
                refused.report(&text).await;
            } else {
                call.report_later(answer);
            }
            Ok(response)
        })
    }
}
