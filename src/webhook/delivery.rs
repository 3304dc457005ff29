//! Sends one message, and again while the receiver may yet take it.

use std::time::Duration;

use http_body_util::Full;
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    Sender, Target,
    message::{Told, signature},
};
use crate::{
    https::{Bytes, Request, StatusCode, header},
    metrics::WebhookOutcome,
};

/// How long and how often a receiver is tried.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Times that a message is sent.
    pub attempts: u32,
    /// Between the first and the second; each further wait is twice as long.
    pub first_wait: Duration,
    /// For one answer.
    pub answer: Duration,
    /// For all of it.
    pub total: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            attempts: 5,
            first_wait: Duration::from_secs(1),
            answer: Duration::from_secs(5),
            total: Duration::from_secs(30),
        }
    }
}

impl Sender {
    /// Delivers a message, or gives it up.
    pub(super) async fn deliver(&mut self, target: &Target, told: &Told) {
        // The same in every attempt, so that a receiver can tell a repeat.
        self.count += 1;
        let id = format!("{}-{:x}-{}", told.org, told.time.0, self.count);
        let body = Bytes::from(told.body(&id));
        let until = Instant::now() + self.patience.total;
        let attempts = self.attempts(target, &id, &body);
        let outcome = match timeout_at(until, attempts).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(why)) => Err(why),
            Err(_) => Err(format!("not delivered within {:?}", self.patience.total)),
        };
        let (org, kind) = (&told.org, told.kind());
        match outcome {
            Ok(()) => {
                self.metrics.webhook(WebhookOutcome::Delivered);
                tracing::debug!(%org, %kind, "the webhook was told");
            }
            Err(why) => {
                self.metrics.webhook(WebhookOutcome::Failed);
                tracing::warn!(%org, %kind, why, "the webhook could not be told");
            }
        }
    }

    async fn attempts(&self, target: &Target, id: &str, body: &Bytes) -> Result<(), String> {
        let mut wait = self.patience.first_wait;
        let mut attempt = 1;
        loop {
            let why = match self.attempt(target, id, body).await {
                Ok(status) if status.is_success() => return Ok(()),
                Ok(status) if is_final(status) => return Err(format!("it answered {status}")),
                Ok(status) => format!("it answered {status}"),
                Err(why) => why,
            };
            if attempt >= self.patience.attempts {
                return Err(format!("{why}, {attempt} times"));
            }
            self.metrics.webhook(WebhookOutcome::Retried);
            sleep(wait).await;
            wait *= 2;
            attempt += 1;
        }
    }

    async fn attempt(&self, target: &Target, id: &str, body: &Bytes) -> Result<StatusCode, String> {
        let signature = signature(&target.secret, self.clock.wall(), body);
        let request = Request::post(target.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("quotagate/", env!("CARGO_PKG_VERSION")))
            .header("quotagate-delivery", id)
            .header("quotagate-signature", signature)
            .body(Full::new(body.clone()))
            .map_err(|error| error.to_string())?;
        let answer = target.client.send(request).await.map_err(|error| error.to_string())?;
        Ok(answer.status)
    }
}

/// Another attempt would be answered the same.
fn is_final(status: StatusCode) -> bool {
    let again = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
    !status.is_server_error() && !again.contains(&status)
}
