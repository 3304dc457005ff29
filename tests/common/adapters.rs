//! Requests through the client's HTTP adapters.
#![allow(dead_code, reason = "each binary of tests uses a part")]

use std::error::Error;

use http_body_util::{BodyExt as _, Full};
use hyper::{Request, body::Bytes};
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use quotagate::client::{
    AcquireError, Client,
    http::{Charge, HttpOptions, QuotaLayer, QuotaMiddleware, QuotaService, one_request_per_call},
};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
use tower_layer::Layer as _;
use tower_service::Service as _;

/// An HTTP client with an adapter.
#[derive(Clone)]
pub enum Http {
    Tower(Box<QuotaService<HttpClient<HttpConnector, Full<Bytes>>>>),
    Reqwest(ClientWithMiddleware),
}

/// A request of a session. For a batch, `batch` is its length.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    pub method: &'a str,
    pub url: &'a str,
    pub org: &'a str,
    pub user: &'a str,
    pub batch: u32,
}

/// What came of a request that was to be sent.
#[derive(Debug)]
pub enum Fault {
    /// It was not: no call was to be had. As the HTTP library has it.
    Refused(AcquireError),
    /// It could not be, or had no answer.
    Failed(String),
}

/// A client with the layer for tower.
pub fn tower(client: Client, options: HttpOptions) -> Http {
    let mut http = HttpClient::builder(TokioExecutor::new());
    http.retry_canceled_requests(false);
    Http::Tower(Box::new(QuotaLayer::new(client, options).layer(http.build_http())))
}

/// A client with the middleware for reqwest.
pub fn reqwest(client: Client, options: HttpOptions) -> Http {
    let http = one_request_per_call(reqwest::Client::builder()).no_proxy().build();
    let http = ClientBuilder::new(http.expect("good options"));
    Http::Reqwest(http.with(QuotaMiddleware::new(client, options)).build())
}

/// A client without an adapter.
pub fn direct() -> Http {
    let http = reqwest::Client::builder().no_proxy().build().expect("good options");
    Http::Reqwest(ClientBuilder::new(http).build())
}

impl Http {
    /// Sends one request; its status and its whole body.
    pub async fn send(&self, call: Call<'_>) -> Result<(u16, String), Fault> {
        let token = format!("{}!{}", call.org, call.user);
        let elements = vec!["{}"; call.batch as usize].join(",");
        let body = match call.batch {
            0 => String::new(),
            _ => format!("{{\"batchRequests\":[{elements}]}}"),
        };
        match self {
            Self::Tower(service) => {
                let mut service = service.clone();
                let request = Request::builder()
                    .method(call.method)
                    .uri(call.url)
                    .header("authorization", format!("Bearer {token}"));
                let mut request = request.body(Full::from(body)).expect("a good request");
                if call.batch > 0 {
                    // The layer does not look at bodies.
                    let charge = Charge { cost: call.batch, ..Charge::of("rest") };
                    request.extensions_mut().insert(charge);
                }
                let ready = std::future::poll_fn(|context| service.poll_ready(context)).await;
                ready.expect("it is always ready");
                let response = service.call(request).await.map_err(|error| refused(&*error))?;
                let status = response.status().as_u16();
                let body = response.into_body().collect().await.expect("all of it").to_bytes();
                Ok((status, String::from_utf8_lossy(&body).into_owned()))
            }
            Self::Reqwest(http) => {
                let method = call.method.parse().expect("a method");
                let request = http.request(method, call.url).bearer_auth(token).body(body);
                let response = request.send().await.map_err(|error| match error {
                    reqwest_middleware::Error::Middleware(error) => refused(error.as_ref()),
                    reqwest_middleware::Error::Reqwest(error) => Fault::Failed(error.to_string()),
                })?;
                assert_eq!(response.url().as_str(), call.url, "the answer is as it came");
                let status = response.status().as_u16();
                Ok((status, response.text().await.expect("all of it")))
            }
        }
    }
}

fn refused(error: &(dyn Error + 'static)) -> Fault {
    match error.downcast_ref::<AcquireError>() {
        Some(error) => Fault::Refused(error.clone()),
        None => Fault::Failed(error.to_string()),
    }
}
