//! Where events are told: the grammar of `webhook`.

use std::{fmt, path::PathBuf, time::Duration};

use super::{
    bounds,
    fields::{Fields, Item},
};
use crate::quota::EventKind;

/// Where events are told, how they are signed, and which.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookConfig {
    /// An address that begins with `https://` or `http://`. It may hold a token
    /// of the receiver's: no text shows more than its host.
    pub url: String,
    /// Where the key of the signature is.
    pub secret: SecretSource,
    /// The sorts of events that are told.
    pub events: Vec<EventKind>,
    /// Of one class of a workspace, an event of one sort is told at most once in
    /// this time.
    pub cool_down: Duration,
}

/// Where a secret is. It never stands in the configuration itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// A file; a line break at its end does not belong to it.
    File(PathBuf),
    /// A variable of the environment.
    Variable(String),
}

impl fmt::Debug for WebhookConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookConfig")
            .field("host", &host(&self.url).unwrap_or_default())
            .field("secret", &self.secret)
            .field("events", &self.events)
            .field("cool_down", &self.cool_down)
            .finish()
    }
}

pub fn read(item: Item<'_>) -> Option<WebhookConfig> {
    let fields = item.fields(&["url", "secret_file", "secret_env", "events", "cool_down"])?;
    let url = fields.required("url", "https://ops.example.com/quotagate");
    let url = url.and_then(|item| read_url(&item));
    let secret = read_secret(&fields);
    let events = match fields.get("events") {
        Some(item) => read_events(&item),
        None => Some(EventKind::ALL.to_vec()),
    };
    let cool_down = match fields.get("cool_down") {
        Some(item) => item.duration(bounds::COOL_DOWN),
        None => Some(Duration::from_secs(60)),
    };
    Some(WebhookConfig { url: url?, secret: secret?, events: events?, cool_down: cool_down? })
}

/// No fault shows the address: it may hold a token.
fn read_url(item: &Item<'_>) -> Option<String> {
    let text = item.parsed(|text| Ok::<_, &'static str>(text.to_owned()))?;
    let fault = match host(&text) {
        None => "must begin with `https://` or `http://` and a host",
        Some(host) if host.contains('@') => {
            "must not hold a user or a password: messages are signed"
        }
        Some(_) if !text.bytes().all(|byte| byte.is_ascii_graphic()) => {
            "must consist of printable ASCII without blanks"
        }
        Some(_) => return Some(text),
    };
    item.fault(fault);
    None
}

/// Host and port of an address.
fn host(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    rest.split(['/', '?', '#']).next().filter(|host| !host.is_empty())
}

fn read_secret(fields: &Fields<'_>) -> Option<SecretSource> {
    let name = |item: Item<'_>| item.parsed(|text| Ok::<_, &'static str>(text.to_owned()));
    match (fields.get("secret_file"), fields.get("secret_env")) {
        (Some(file), None) => name(file).map(|path| SecretSource::File(path.into())),
        (None, Some(variable)) => name(variable).map(SecretSource::Variable),
        (Some(_), Some(variable)) => {
            variable.fault("must be left out where `secret_file` is given: there is one secret");
            None
        }
        (None, None) => {
            fields.required("secret_file", "/etc/quotagate/webhook.key");
            None
        }
    }
}

fn read_events(item: &Item<'_>) -> Option<Vec<EventKind>> {
    let choices = EventKind::ALL.map(|kind| (kind.name(), kind));
    let items = item.items(choices.len())?;
    if items.is_empty() {
        item.fault("must name at least one event, or be left out for all");
        return None;
    }
    items.iter().map(|item| item.choice(&choices)).collect()
}
