//! Tells a server of the operator's when a class of a workspace pauses or
//! resumes, when a cap is near, and when an org cools down.
//!
//! Nothing here may hold up a decision: what is told goes into a bounded queue,
//! and is dropped and counted where that is full. One task sends, one message at
//! a time and in order: `schedule` holds back what would repeat itself too soon,
//! `message` writes and signs, `delivery` sends and tries again, within bounds.

mod delivery;
mod message;
mod schedule;

use std::{env, ffi::OsString, fmt, fs, io, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::{Instant, sleep_until},
};

pub use self::delivery::Patience;
use self::{message::Told, schedule::Schedule};
use crate::{
    clock::Clock,
    config::{SecretSource, WebhookConfig},
    https::{HttpsClient, Uri},
    metrics::{Metrics, WebhookOutcome},
    quota::{Event, EventKind, Now, OrgId},
    shard::Listener,
};

/// Messages that wait to be sent. A receiver that does not answer loses what
/// comes after that.
const MOST_QUEUED: usize = 1_000;

/// A shorter secret is guessed.
const LEAST_SECRET: usize = 16;

/// Where events are told. Clones tell the same receiver.
#[derive(Clone, Debug)]
pub struct Webhook {
    queue: mpsc::Sender<Job>,
    target: watch::Sender<Option<Arc<Target>>>,
    metrics: Arc<Metrics>,
    patience: Patience,
}

/// What the task is to do.
#[derive(Debug)]
enum Job {
    /// Send this, or hold it back.
    Tell(Told),
    /// Say that all before is done.
    Settle(oneshot::Sender<()>),
}

/// Why a webhook cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// Its secret cannot be had.
    #[error("the webhook's secret cannot be read from {place}: {cause}")]
    Secret {
        /// The file or the variable.
        place: String,
        /// Why.
        cause: String,
    },
    /// Its address is none.
    #[error("the webhook's url is no address: {0}")]
    Address(String),
    /// No request can be made at all.
    #[error("no request can be made: {0}")]
    Client(#[from] io::Error),
}

/// The receiver, and what it wants to hear.
#[derive(Debug)]
struct Target {
    url: Uri,
    secret: Secret,
    events: Vec<EventKind>,
    cool_down: Duration,
    client: HttpsClient,
}

/// A key, which no text shows.
struct Secret(Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Webhook {
    /// A webhook, and the task that sends; the task ends with the last clone.
    ///
    /// # Errors
    /// The secret cannot be read, or no request can be made.
    pub fn start(
        config: Option<&WebhookConfig>,
        clock: Clock,
        metrics: Arc<Metrics>,
        patience: Patience,
    ) -> Result<(Self, JoinHandle<()>), WebhookError> {
        let target = config.map(|config| Target::read(config, patience)).transpose()?;
        let (queue, jobs) = mpsc::channel(MOST_QUEUED);
        let target = watch::channel(target.map(Arc::new)).0;
        let sender = Sender {
            target: target.subscribe(),
            clock,
            metrics: Arc::clone(&metrics),
            patience,
            schedule: Schedule::default(),
            count: 0,
        };
        let task = tokio::spawn(sender.run(jobs));
        Ok((Self { queue, target, metrics, patience }, task))
    }

    /// Takes over another configuration; the secret is read again.
    ///
    /// # Errors
    /// The secret cannot be read: the former configuration stays.
    pub fn configure(&self, config: Option<&WebhookConfig>) -> Result<(), WebhookError> {
        let target = config.map(|config| Target::read(config, self.patience)).transpose()?;
        self.target.send_replace(target.map(Arc::new));
        Ok(())
    }

    /// Waits until all that was told before is delivered, held back or given up.
    pub async fn settle(&self) {
        let (done, settled) = oneshot::channel();
        if self.queue.send(Job::Settle(done)).await.is_ok() {
            let _ = settled.await;
        }
    }
}

impl Listener for Webhook {
    fn tell(&self, org: &OrgId, event: Event, now: Now) {
        let kind = event.what.kind();
        let wanted = |target: &Arc<Target>| target.events.contains(&kind);
        if !self.target.borrow().as_ref().is_some_and(wanted) {
            return;
        }
        let told = Told { org: org.clone(), time: now.wall_at(event.at), event };
        if self.queue.try_send(Job::Tell(told)).is_err() {
            self.metrics.webhook(WebhookOutcome::Dropped);
            tracing::warn!(%org, %kind, "an event is not told: too many wait for the webhook");
        }
    }
}

/// The task.
struct Sender {
    target: watch::Receiver<Option<Arc<Target>>>,
    clock: Clock,
    metrics: Arc<Metrics>,
    patience: Patience,
    schedule: Schedule,
    /// Messages so far, for their names.
    count: u64,
}

impl Sender {
    async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        loop {
            let due = self.schedule.next_due();
            let next = tokio::select! {
                job = jobs.recv() => match job {
                    None => return,
                    Some(Job::Tell(told)) => self.take(told),
                    Some(Job::Settle(done)) => {
                        // Whoever asked may have gone.
                        let _ = done.send(());
                        None
                    }
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.schedule.take_due(Instant::now())
                }
            };
            let target = self.target.borrow().clone();
            if let (Some(told), Some(target)) = (next, target) {
                self.deliver(&target, &told).await;
            }
        }
    }

    /// An event: back if it is to be sent now.
    fn take(&mut self, told: Told) -> Option<Told> {
        let cool_down = self.target.borrow().as_ref().map(|target| target.cool_down);
        let next = self.schedule.take(told, Instant::now(), cool_down.unwrap_or_default());
        if next.is_none() {
            self.metrics.webhook(WebhookOutcome::HeldBack);
        }
        next
    }
}

impl Target {
    fn read(config: &WebhookConfig, patience: Patience) -> Result<Self, WebhookError> {
        let url = config.url.parse();
        let url = url.map_err(|_| WebhookError::Address("it does not parse".to_owned()))?;
        Ok(Self {
            url,
            secret: Secret::read(&config.secret)?,
            events: config.events.clone(),
            cool_down: config.cool_down,
            client: HttpsClient::new(patience.answer)?,
        })
    }
}

impl Secret {
    fn read(source: &SecretSource) -> Result<Self, WebhookError> {
        let (place, read) = match source {
            SecretSource::File(path) => {
                let read = fs::read(path).map_err(|error| error.to_string());
                (path.display().to_string(), read)
            }
            SecretSource::Variable(name) => {
                // As bytes: the error of a text that is none would show it.
                let read = env::var_os(name).map(OsString::into_encoded_bytes);
                (format!("${name}"), read.ok_or_else(|| "it is not set".to_owned()))
            }
        };
        let unusable = |cause| WebhookError::Secret { place: place.clone(), cause };
        let mut secret = read.map_err(unusable)?;
        // Editors end a file with a line break.
        while secret.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
            secret.pop();
        }
        if secret.len() < LEAST_SECRET {
            return Err(unusable(format!("it must have at least {LEAST_SECRET} bytes")));
        }
        Ok(Self(secret))
    }
}

#[cfg(test)]
mod tests;
