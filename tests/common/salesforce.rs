//! Salesforce, as callers see it: the stand-in over HTTP.
#![allow(dead_code, reason = "each binary of tests uses a part")]

use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper::{Method, Request, body::Bytes, header};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::time::Instant;

/// A client of the stand-in.
#[derive(Clone, Debug)]
pub struct Salesforce {
    client: Client<HttpConnector, Empty<Bytes>>,
    url: String,
}

/// One call.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    pub org: &'a str,
    pub user: &'a str,
    pub operation: &'a str,
    /// How long it runs at Salesforce, beside its latency.
    pub runs: Duration,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// 0 where none came.
    pub status: u32,
    pub limit_info: Option<String>,
    pub completed: Instant,
    #[allow(dead_code, reason = "each binary of tests uses a part")]
    pub body: String,
}

impl Salesforce {
    pub fn new(url: &str) -> Self {
        let mut client = Client::builder(TokioExecutor::new());
        // One permit is one request on the wire.
        client.retry_canceled_requests(false);
        Self { client: client.build_http(), url: url.to_owned() }
    }

    pub async fn call(&self, call: Call<'_>) -> Answer {
        let (method, path) = match call.operation {
            "conversation-entries.get" => (Method::GET, "conversation-entries"),
            "conversation-participants.delete" => (Method::DELETE, "conversation-participants/1"),
            "conversations.delete" => (Method::DELETE, "conversations/1"),
            _ => (Method::GET, "query"),
        };
        let runs_ms = call.runs.as_millis();
        let request = Request::builder()
            .method(method)
            .uri(format!("{}/services/data/v66.0/{path}?duration_ms={runs_ms}", self.url))
            .header(header::AUTHORIZATION, format!("Bearer {}!{}", call.org, call.user))
            .body(Empty::new())
            .expect("a good request");
        let Ok(response) = self.client.request(request).await else {
            let (completed, body) = (Instant::now(), String::new());
            return Answer { status: 0, limit_info: None, completed, body };
        };
        let (head, body) = response.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes());
        let status = if body.is_ok() { head.status.as_u16() } else { 0 };
        let body = String::from_utf8_lossy(&body.unwrap_or_default()).into_owned();
        let limit_info = head.headers.get("sforce-limit-info");
        let limit_info = limit_info.and_then(|value| value.to_str().ok()).map(str::to_owned);
        Answer { status: status.into(), limit_info, completed: Instant::now(), body }
    }
}
