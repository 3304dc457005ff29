//! What is sent: an event as JSON, and the signature that proves who sent it.

use std::fmt::Write as _;

use ring::hmac;
use serde_json::{Map, Value, json};

use super::Secret;
use crate::quota::{Class, ClassStatus, Event, EventKind, Happening, OrgId, Scope, Wall};

/// An event on its way.
#[derive(Clone, Debug)]
pub struct Told {
    /// Of which org.
    pub org: OrgId,
    /// When, by the service's clock.
    pub time: Wall,
    /// What.
    pub event: Event,
}

/// What a message is about: of one subject the latest state matters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    org: OrgId,
    workspace: String,
    about: About,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum About {
    Class(Class),
    Cap,
    Cooling(Scope, String, String),
}

impl Told {
    /// What it is about.
    pub fn subject(&self) -> Subject {
        let about = match &self.event.what {
            Happening::ClassPaused(status) | Happening::ClassResumed(status) => {
                About::Class(status.class)
            }
            Happening::LimitApproaching(_) | Happening::LimitReached(_) => About::Cap,
            Happening::CoolingBegan(cooling) | Happening::CoolingEnded(cooling) => {
                let (identity, limit) = (cooling.identity.to_string(), cooling.limit.to_string());
                About::Cooling(cooling.scope, identity, limit)
            }
        };
        Subject { org: self.org.clone(), workspace: self.workspace().to_owned(), about }
    }

    /// Its sort.
    pub fn kind(&self) -> EventKind {
        self.event.what.kind()
    }

    /// The body. `id` is the same in every attempt to deliver it.
    pub fn body(&self, id: &str) -> Vec<u8> {
        let mut body = Map::new();
        let mut put = |key: &str, value: Value| {
            body.insert(key.to_owned(), value);
        };
        put("id", id.into());
        put("event", self.kind().name().into());
        put("time", rfc_3339(self.time).into());
        put("org", self.org.as_str().into());
        if self.event.workspace.is_some() {
            put("workspace", self.workspace().into());
        }
        let workspace = self.workspace();
        let text = match &self.event.what {
            Happening::ClassPaused(status) | Happening::ClassResumed(status) => {
                put("class", status.class.name().into());
                put("pauses_at_percent", json!(status.pauses_at_percent));
                put("resumes_below_percent", json!(status.resumes_below_percent));
                class_text(workspace, *status)
            }
            Happening::LimitApproaching(text) | Happening::LimitReached(text) => text.clone(),
            Happening::CoolingBegan(cooling) | Happening::CoolingEnded(cooling) => {
                let scope = match cooling.scope {
                    Scope::Org => "org",
                    Scope::Workspace => "workspace",
                    Scope::ExecutionUser => "execution_user",
                };
                put("scope", scope.into());
                put("identity", cooling.identity.as_str().into());
                put("limit", cooling.limit.as_str().into());
                let verb = match self.kind() {
                    EventKind::CoolingBegan => "is cooling down: Salesforce said stop",
                    _ => "is not cooling down any more",
                };
                let whose = scope.replace('_', " ");
                format!("'{}' of {whose} {} {verb}", cooling.limit, cooling.identity)
            }
        };
        put("text", text.into());
        Value::Object(body).to_string().into_bytes()
    }

    fn workspace(&self) -> &str {
        self.event.workspace.as_ref().map_or("", |workspace| workspace.as_str())
    }
}

/// The value of the header `quotagate-signature`: the moment of signing in
/// seconds since the Unix epoch, and HMAC-SHA256 over it, a dot and the body.
pub fn signature(secret: &Secret, now: Wall, body: &[u8]) -> String {
    let seconds = now.0 / 1_000_000;
    let key = hmac::Key::new(hmac::HMAC_SHA256, &secret.0);
    let mut context = hmac::Context::with_key(&key);
    context.update(format!("{seconds}.").as_bytes());
    context.update(body);
    let mut text = format!("t={seconds},v1=");
    for byte in context.sign().as_ref() {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn class_text(workspace: &str, status: ClassStatus) -> String {
    let class = status.class.name();
    if status.paused {
        format!(
            "{class} calls of workspace {workspace} are paused until its use is below {} % of its \
             cap; raising the cap resumes them",
            status.resumes_below_percent
        )
    } else {
        format!(
            "{class} calls of workspace {workspace} go on until its use is {} % of its cap",
            status.pauses_at_percent
        )
    }
}

fn rfc_3339(time: Wall) -> String {
    let seconds = i64::try_from(time.0 / 1_000_000).unwrap_or(0);
    let nanos = i32::try_from(time.0 % 1_000_000 / 1_000 * 1_000_000).unwrap_or(0);
    prost_types::Timestamp { seconds, nanos }.to_string()
}
