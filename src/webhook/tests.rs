//! A small receiver on the loopback interface: what it gets, and how often.

use std::{io::Write as _, sync::Mutex, time::Duration};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use ring::hmac;
use serde_json::Value;
use tokio::{net::TcpListener, sync::mpsc::UnboundedReceiver};

use super::*;
use crate::quota::{Class, ClassStatus, Happening, Mono, Wall, WorkspaceId};

const SECRET: &str = "a secret of some length";

/// What the receiver got.
#[derive(Debug)]
struct Got {
    headers: HeaderMap,
    body: Bytes,
}

impl Got {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).expect(name)
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    fn event(&self) -> String {
        self.json()["event"].as_str().expect("a text").to_owned()
    }
}

type Answers = Arc<Mutex<Vec<u16>>>;

/// A receiver that gives these answers, the last one first, and then 204.
async fn receiver(answers: &[u16]) -> (String, UnboundedReceiver<Got>) {
    let (tell, told) = mpsc::unbounded_channel();
    let answers: Answers = Arc::new(Mutex::new(answers.to_vec()));
    let take = async |State((answers, tell)): State<(Answers, mpsc::UnboundedSender<Got>)>,
                      headers: HeaderMap,
                      body: Bytes| {
        let _ = tell.send(Got { headers, body });
        let status = answers.lock().expect("no panic").pop().unwrap_or(204);
        StatusCode::from_u16(status).expect("a status")
    };
    let app = Router::new().route("/hook", post(take)).with_state((answers, tell));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/hook?token=hidden", listener.local_addr().expect("bound"));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, told)
}

fn config(url: &str, cool_down: Duration) -> (tempfile::NamedTempFile, WebhookConfig) {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    writeln!(file, "{SECRET}").expect("written");
    let config = WebhookConfig {
        url: url.to_owned(),
        secret: SecretSource::File(file.path().to_owned()),
        events: EventKind::ALL.to_vec(),
        cool_down,
    };
    (file, config)
}

const HASTY: Patience = Patience {
    attempts: 3,
    first_wait: Duration::from_millis(1),
    answer: Duration::from_secs(20),
    total: Duration::from_secs(60),
};

fn start(config: &WebhookConfig, patience: Patience) -> (Webhook, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new("test", Wall(0)));
    let started = Webhook::start(Some(config), Clock::default(), Arc::clone(&metrics), patience);
    (started.expect("it starts").0, metrics)
}

fn status(paused: bool) -> ClassStatus {
    ClassStatus {
        class: Class::Bulk,
        paused,
        since: None,
        pauses_at_percent: 40,
        resumes_below_percent: 38,
    }
}

fn paused() -> Happening {
    Happening::ClassPaused(status(true))
}

fn resumed() -> Happening {
    Happening::ClassResumed(status(false))
}

/// Of the workspace, at 2023-11-14 22:13:20.
fn tell(webhook: &Webhook, workspace: &str, what: Happening) {
    let now = Now { mono: Mono(5_000_000), wall: Wall(1_700_000_000_000_000) };
    let workspace = WorkspaceId::parse(workspace).ok();
    let org = OrgId::parse("acme").expect("an org");
    webhook.tell(&org, Event { at: now.mono, workspace, what }, now);
}

fn counted(metrics: &Metrics, outcome: &str) -> u64 {
    let name = format!("quotagate_webhook_messages_total{{outcome=\"{outcome}\"}} ");
    let text = metrics.encode();
    let line = text.lines().find_map(|line| line.strip_prefix(&name));
    line.and_then(|count| count.parse().ok()).expect("it is counted")
}

#[tokio::test]
async fn a_message_says_what_happened_and_proves_who_sent_it() {
    let (url, mut got) = receiver(&[]).await;
    let (_file, config) = config(&url, Duration::from_secs(60));
    let (webhook, metrics) = start(&config, HASTY);
    tell(&webhook, "eu", paused());
    let message = got.recv().await.expect("it came");
    let body = message.json();
    for (key, expected) in [
        ("event", "class_paused"),
        ("time", "2023-11-14T22:13:20Z"),
        ("org", "acme"),
        ("workspace", "eu"),
        ("class", "bulk"),
    ] {
        assert_eq!(body[key], expected, "{body}");
    }
    assert_eq!(
        (&body["pauses_at_percent"], &body["resumes_below_percent"]),
        (&40.into(), &38.into())
    );
    assert_eq!(body["id"], message.header("quotagate-delivery"));
    assert_eq!(message.header("content-type"), "application/json");

    // As a receiver verifies it.
    let header = message.header("quotagate-signature");
    let (time, signature) = header.split_once(",v1=").expect("two parts");
    let time = time.strip_prefix("t=").expect("the moment");
    let signed = [time.as_bytes(), b".", &message.body].concat();
    let byte = |at| u8::from_str_radix(&signature[at..at + 2], 16).expect("hexadecimal");
    let signature: Vec<u8> = (0..signature.len()).step_by(2).map(byte).collect();
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    hmac::verify(&key, &signed, &signature).expect("it is ours");
    let clock = Clock::default().wall().0 / 1_000_000;
    assert!(clock - time.parse::<u64>().expect("seconds") < 3_600);

    webhook.settle().await;
    assert_eq!(counted(&metrics, "delivered"), 1);
    assert!(!format!("{webhook:?} {config:?}").contains("secret of"));
    assert!(!format!("{config:?}").contains("hidden"));
}

#[tokio::test]
async fn a_receiver_that_fails_is_tried_again_within_bounds_and_in_order() {
    // Two answers of the first message, then three of the second: it is given
    // up. What the receiver does not want is not sent again.
    let (url, mut got) = receiver(&[410, 503, 503, 503, 200, 500]).await;
    let (_file, config) = config(&url, Duration::from_secs(60));
    let (webhook, metrics) = start(&config, HASTY);
    for workspace in ["a", "b", "c", "d"] {
        tell(&webhook, workspace, paused());
    }
    let mut came = Vec::new();
    let mut ids = Vec::new();
    for _ in 0..7 {
        let message = got.recv().await.expect("it came");
        came.push(message.json()["workspace"].as_str().expect("a text").to_owned());
        ids.push(message.header("quotagate-delivery").to_owned());
    }
    assert_eq!(came, ["a", "a", "b", "b", "b", "c", "d"]);
    assert_eq!(ids[0], ids[1], "a repeat is known by its id");
    webhook.settle().await;
    assert_eq!(counted(&metrics, "delivered"), 2);
    assert_eq!((counted(&metrics, "failed"), counted(&metrics, "retried")), (2, 3));
}

#[tokio::test]
async fn what_repeats_itself_too_soon_is_held_back_and_the_latest_state_is_told() {
    let cool_down = Duration::from_millis(300);
    let (url, mut got) = receiver(&[]).await;
    let (_file, config) = config(&url, cool_down);
    let (webhook, metrics) = start(&config, HASTY);
    let began = tokio::time::Instant::now();
    for what in [paused(), resumed(), paused(), resumed(), paused()] {
        tell(&webhook, "eu", what);
    }
    let events = [got.recv().await, got.recv().await, got.recv().await];
    let events: Vec<String> = events.into_iter().flatten().map(|got| got.event()).collect();
    assert_eq!(events, ["class_paused", "class_resumed", "class_paused"]);
    assert!(began.elapsed() >= cool_down);
    assert_eq!(counted(&metrics, "held_back"), 3);
    // Of another workspace it is another event.
    tell(&webhook, "us", paused());
    assert_eq!(got.recv().await.expect("it came").json()["workspace"], "us");
}

#[tokio::test]
async fn a_receiver_that_does_not_answer_holds_nobody_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("bound"));
    let (_file, config) = config(&url, Duration::from_secs(60));
    let (webhook, metrics) = start(&config, HASTY);
    for number in 0..MOST_QUEUED + 10 {
        tell(&webhook, &number.to_string(), paused());
    }
    assert_eq!(counted(&metrics, "dropped"), 10);
}

#[tokio::test]
async fn only_what_was_asked_for_is_told_and_a_new_configuration_holds_at_once() {
    let (url, mut got) = receiver(&[]).await;
    let (_file, config) = config(&url, Duration::from_secs(60));
    let only = WebhookConfig { events: vec![EventKind::LimitReached], ..config.clone() };
    let (webhook, _) = start(&only, HASTY);
    tell(&webhook, "eu", paused());
    tell(&webhook, "eu", Happening::LimitReached("all is used".into()));
    let message = got.recv().await.expect("it came").json();
    assert_eq!(
        (&message["event"], &message["text"]),
        (&"limit_reached".into(), &"all is used".into())
    );
    webhook.configure(None).expect("there is nothing to read");
    tell(&webhook, "us", Happening::LimitReached("all is used".into()));
    webhook.configure(Some(&config)).expect("the secret is there");
    tell(&webhook, "asia", paused());
    assert_eq!(got.recv().await.expect("it came").json()["workspace"], "asia");
}

#[test]
fn a_secret_that_is_missing_or_short_is_refused() {
    let mut short = tempfile::NamedTempFile::new().expect("a file");
    writeln!(short, "short").expect("written");
    let rows = [
        (SecretSource::File(short.path().to_owned()), "at least 16 bytes"),
        (SecretSource::File("/nowhere/at/all".into()), "/nowhere/at/all"),
        (SecretSource::Variable("QUOTAGATE_TEST_NO_SUCH".into()), "$QUOTAGATE_TEST_NO_SUCH"),
    ];
    for (source, expected) in rows {
        let error = Secret::read(&source).expect_err("it is refused").to_string();
        assert!(error.contains(expected) && !error.contains("short\n"), "{error}");
    }
}
