//! The adapter for `reqwest`, by way of `reqwest-middleware`.

use async_trait::async_trait;
use http::{Extensions, response::Builder};
use reqwest::{Body, Request, Response, ResponseBuilderExt as _};
use reqwest_middleware::{Error, Middleware, Next, Result};

use super::{Charge, Gate, HttpOptions, QuotaBody, Refused, answer, has_connected, is_unsent};
use crate::client::Client;

/// A middleware that acquires a call for each request that Salesforce counts,
/// before it is sent, and reports what came back.
///
/// A refusal is an [`AcquireError`](crate::client::AcquireError) within
/// [`Error::Middleware`]. It stands below middlewares that send a request again,
/// that is, it is added after them; and the client below follows no redirects and
/// does not try again: see [`one_request_per_call`].
///
/// ```no_run
/// use quotagate::client::{Client, http::{HttpOptions, QuotaMiddleware, one_request_per_call}};
/// use reqwest_middleware::ClientBuilder;
///
/// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::builder("127.0.0.1:7400").build()?;
/// let options = HttpOptions::new("00D000000000001EAA").workspace("acme-eu");
/// let salesforce = ClientBuilder::new(one_request_per_call(reqwest::Client::builder()).build()?)
///     .with(QuotaMiddleware::new(client, options))
///     .build();
/// let url = "https://acme.my.salesforce.com/services/data/v66.0/limits";
/// let limits = salesforce.get(url).bearer_auth("…").send().await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct QuotaMiddleware {
    gate: Gate,
}

impl QuotaMiddleware {
    /// A middleware for calls of one org. Its clones share local
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

/// Switches off what makes several requests of one: redirects, and reqwest's own
/// tries after the server has refused to look at a request.
pub fn one_request_per_call(builder: reqwest::ClientBuilder) -> reqwest::ClientBuilder {
    builder.redirect(reqwest::redirect::Policy::none()).retry(reqwest::retry::never())
}

#[async_trait]
impl Middleware for QuotaMiddleware {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response> {
        let body = request.body().and_then(Body::as_bytes);
        let charge = extensions.get::<Charge>();
        let charge = self.gate.charge(request.method(), request.url().path(), body, charge);
        let Some(charge) = charge else { return next.run(request, extensions).await };
        let call = self.gate.start(charge).await.map_err(Error::middleware)?;
        extensions.insert(call.execution_user());
        let response = match next.run(request, extensions).await {
            Ok(response) => response,
            Err(error) => {
                call.failed(match &error {
                    Error::Reqwest(error) => was_not_sent(error),
                    Error::Middleware(error) => is_unsent(error.as_ref()),
                });
                return Err(error);
            }
        };
        let answer = answer(response.status(), response.headers());
        if response.status().as_u16() < 400 {
            call.report_later(answer);
            return Ok(response);
        }
        let refused = Refused::new(call, answer);
        let (response, text) = look(response).await;
        refused.report(&text).await;
        Ok(response)
    }
}

/// Whether reqwest did not come so far as to send. What it says of a connection
/// may be of another one, which the request's own body failed with.
pub(super) fn was_not_sent(error: &reqwest::Error) -> bool {
    error.is_builder() || (error.is_connect() && !has_connected(error))
}

/// The beginning of an answer's body, and the whole answer.
async fn look(response: Response) -> (Response, Vec<u8>) {
    let url = response.url().clone();
    let (parts, body) = http::Response::<Body>::from(response).into_parts();
    let mut body = QuotaBody::new(body);
    let text = body.look().await;
    let response = Builder::new().url(url).body(Body::wrap(body));
    // A builder that was given nothing that can be wrong, and a body.
    let mut response = response.unwrap_or_default();
    *response.status_mut() = parts.status;
    *response.version_mut() = parts.version;
    *response.headers_mut() = parts.headers;
    response.extensions_mut().extend(parts.extensions);
    (response.into(), text)
}
