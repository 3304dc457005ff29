//! Pages that change while somebody looks at them.
//!
//! What changes of a page stands between `<!--live:ID-->` and `<!--/live-->`: a *region*.
//! A stream tells of the regions that have changed, as server-sent events. All who look
//! at the same page with the same rights share one *renderer*, which asks the services
//! once a second at most, and only while somebody looks.

use std::{
    collections::HashMap,
    convert::Infallible,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::response::{
    IntoResponse as _, Response,
    sse::{Event, KeepAlive, Sse},
};
use serde_json::{Map, Value};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::{MissedTickBehavior, interval, sleep},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::words;
use crate::{
    auth::Rights,
    web::status::{self, refuse},
};

/// A page is made anew at most so often.
const EVERY: Duration = Duration::from_secs(1);

/// A stream ends after this, and the browser begins another one: rights are looked at
/// when it begins, and whoever has lost theirs does not look on for ever.
const RENEWED_AFTER: Duration = Duration::from_secs(5 * 60);

/// Something is sent at least so often, so that nothing on the way takes a quiet
/// connection for a dead one.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Streams at the same time. Each holds a connection.
const MAX_STREAMS: usize = 512;

/// A page, and the rights of whoever looks at it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Path and query.
    pub view: String,
    /// What may be seen.
    pub rights: Rights,
}

/// The renderers of all pages that somebody looks at.
#[derive(Clone)]
pub struct Live(Arc<Inner>);

struct Inner {
    renderers: Mutex<HashMap<Key, watch::Receiver<Shown>>>,
    places: Arc<Semaphore>,
    ended: watch::Sender<bool>,
}

/// What a page shows.
#[derive(Clone, Debug, Default)]
struct Shown {
    /// How often it has changed.
    number: u64,
    /// By id, as HTML.
    regions: Arc<Vec<(String, String)>>,
    /// Why it is not that of this moment.
    trouble: Option<String>,
    /// What those are told who know the one before, which are nearly all: it is made
    /// once for them.
    change: Arc<Vec<Event>>,
}

impl Live {
    /// Nobody looks yet.
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            renderers: Mutex::default(),
            places: Arc::new(Semaphore::new(MAX_STREAMS)),
            ended: watch::Sender::new(false),
        }))
    }

    /// Ends all streams: the service stops.
    pub fn end(&self) {
        self.0.ended.send_replace(true);
    }

    /// The stream of a page's changes; `make` makes the whole page.
    pub fn stream<F>(&self, key: Key, make: impl Fn() -> F + Send + 'static) -> Response
    where
        F: Future<Output = Result<String, Status>> + Send,
    {
        let Ok(place) = Arc::clone(&self.0.places).try_acquire_owned() else {
            let why = "too many pages are followed at a time";
            return status::response(&refuse(Code::ResourceExhausted, "TOO_MANY_STREAMS", why));
        };
        let shown = self.shown(key, make);
        let (events, stream) = mpsc::channel(1);
        tokio::spawn(tell(shown, self.0.ended.subscribe(), events, place));
        let stream = tokio_stream::StreamExt::map(ReceiverStream::new(stream), Ok::<_, Infallible>);
        Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
    }

    /// What the page shows, by a renderer that goes on while anybody listens.
    fn shown<F>(&self, key: Key, make: impl Fn() -> F + Send + 'static) -> watch::Receiver<Shown>
    where
        F: Future<Output = Result<String, Status>> + Send,
    {
        let mut renderers = self.0.lock();
        if let Some(shown) = renderers.get(&key) {
            return shown.clone();
        }
        let (sender, shown) = watch::channel(Shown::default());
        renderers.insert(key.clone(), shown.clone());
        let inner = Arc::clone(&self.0);
        tokio::spawn(async move {
            let render: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(render(&sender, make));
            let mut render = render;
            loop {
                tokio::select! {
                    () = &mut render => {}
                    () = left_alone(&sender) => {}
                }
                let mut renderers = inner.lock();
                // One receiver is the table's own.
                if sender.receiver_count() <= 1 {
                    renderers.remove(&key);
                    return;
                }
            }
        });
        shown
    }
}

impl Inner {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, watch::Receiver<Shown>>> {
        self.renderers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Until only the table listens. Nobody tells of one who has stopped to listen, so it
/// is looked at now and then.
async fn left_alone(sender: &watch::Sender<Shown>) {
    let mut tick = interval(EVERY);
    tick.tick().await;
    loop {
        tick.tick().await;
        if sender.receiver_count() <= 1 {
            return;
        }
    }
}

/// Makes the page again and again.
async fn render<F>(sender: &watch::Sender<Shown>, make: impl Fn() -> F)
where
    F: Future<Output = Result<String, Status>>,
{
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let made = make().await;
        sender.send_if_modified(|shown| {
            let mut next = Shown { number: shown.number + 1, ..shown.clone() };
            match made {
                Ok(page) => (next.regions, next.trouble) = (Arc::new(regions(&page)), None),
                Err(refused) => next.trouble = Some(trouble(&refused)),
            }
            next.change = Arc::new(changes(shown, &next));
            if next.change.is_empty() {
                return false;
            }
            *shown = next;
            true
        });
    }
}

/// Tells one browser of what changes.
async fn tell(
    mut shown: watch::Receiver<Shown>,
    mut ended: watch::Receiver<bool>,
    events: mpsc::Sender<Event>,
    _place: OwnedSemaphorePermit,
) {
    let mut told = Shown::default();
    shown.mark_changed();
    let follow = async {
        while shown.changed().await.is_ok() {
            let now = shown.borrow_and_update().clone();
            let change = if now.number == told.number + 1 {
                Arc::clone(&now.change)
            } else {
                Arc::new(changes(&told, &now))
            };
            for event in change.iter().cloned() {
                if events.send(event).await.is_err() {
                    return;
                }
            }
            told = now;
        }
    };
    tokio::select! {
        biased;
        _ = ended.wait_for(|ended| *ended) => {}
        () = events.closed() => {}
        () = sleep(RENEWED_AFTER) => {}
        () = follow => {}
    }
}

/// What a browser is to be told that knows `told`.
fn changes(told: &Shown, now: &Shown) -> Vec<Event> {
    let is_known = |region: &&(String, String)| told.regions.contains(region);
    let changed: Map<String, Value> = now
        .regions
        .iter()
        .filter(|region| !is_known(region))
        .map(|(id, html)| (id.clone(), Value::from(html.as_str())))
        .collect();
    let mut events = Vec::new();
    if !changed.is_empty() {
        events.push(Event::default().event("regions").data(Value::from(changed).to_string()));
    }
    if told.trouble != now.trouble {
        let text = now.trouble.as_deref().unwrap_or_default();
        events.push(Event::default().event("trouble").data(Value::from(text).to_string()));
    }
    events
}

/// The regions of a page, in order.
fn regions(page: &str) -> Vec<(String, String)> {
    page.split("<!--live:")
        .skip(1)
        .filter_map(|rest| {
            let (id, rest) = rest.split_once("-->")?;
            let (html, _) = rest.split_once("<!--/live-->")?;
            Some((id.to_owned(), html.trim().to_owned()))
        })
        .collect()
}

/// A sentence that says nothing of who else looks.
fn trouble(refused: &Status) -> String {
    match refused.code() {
        Code::Unauthenticated | Code::PermissionDenied => {
            "You may not see this any more: load the page again.".to_owned()
        }
        _ => words::sentence(refused.message()),
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("renderers", &self.0.lock().len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use http_body_util::BodyExt as _;

    use super::*;

    fn key(view: &str) -> Key {
        Key { view: view.to_owned(), rights: Rights::default() }
    }

    #[test]
    fn a_page_has_the_regions_that_are_marked() {
        let page =
            "<p>x</p><!--live:a--> <b id=a>1</b>\n<!--/live-->y<!--live:b--><i>2</i><!--/live-->";
        let expected =
            [("a", "<b id=a>1</b>"), ("b", "<i>2</i>")].map(|(id, html)| (id.into(), html.into()));
        assert_eq!(regions(page), expected);
        assert!(regions("<!--live:a-->never closed").is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn one_renderer_serves_all_and_ends_with_the_last_of_them() {
        let live = Live::new();
        let made = Arc::new(AtomicU32::new(0));
        let stream = |view: &str| {
            let made = Arc::clone(&made);
            live.stream(key(view), move || {
                let number = made.fetch_add(1, Ordering::Relaxed);
                async move {
                    match number {
                        2 => Err(Status::unavailable("nobody owns it now")),
                        _ => Ok(format!(
                            "<!--live:same--><p>a</p><!--/live--><!--live:n--><p>{}</p><!--/live-->",
                            number / 2
                        )),
                    }
                }
            })
        };
        let mut bodies: Vec<_> = (0..50).map(|_| stream("/").into_body()).collect();
        let mut seen = Vec::new();
        for _ in 0..4 {
            for (place, body) in bodies.iter_mut().enumerate() {
                let frame = body.frame().await.expect("it goes on").expect("it is whole");
                let text = String::from_utf8(frame.into_data().expect("data").to_vec());
                if place == 0 {
                    seen.push(text.expect("text"));
                }
            }
        }
        assert_eq!(
            seen,
            [
                "event: regions\ndata: {\"n\":\"<p>0</p>\",\"same\":\"<p>a</p>\"}\n\n",
                "event: trouble\ndata: \"Nobody owns it now.\"\n\n",
                "event: regions\ndata: {\"n\":\"<p>1</p>\"}\n\n",
                "event: trouble\ndata: \"\"\n\n",
            ]
        );
        assert_eq!(made.load(Ordering::Relaxed), 4, "it was made once for all, and once a second");
        drop(bodies);
        tokio::time::sleep(EVERY * 3).await;
        let last = made.load(Ordering::Relaxed);
        tokio::time::sleep(EVERY * 30).await;
        assert_eq!(made.load(Ordering::Relaxed), last, "nobody looks");
        assert!(live.0.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn streams_end_when_the_service_stops_and_after_a_while() {
        for stops in [true, false] {
            let live = Live::new();
            let page = || async { Ok("<!--live:a--><p></p><!--/live-->".to_owned()) };
            let body = live.stream(key("/"), page).into_body();
            if stops {
                live.end();
            }
            let whole = tokio::time::timeout(RENEWED_AFTER * 2, body.collect()).await;
            assert!(whole.is_ok_and(|body| body.is_ok()), "stops: {stops}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn streams_are_bounded() {
        let live = Live::new();
        let page = || async { Ok(String::new()) };
        let held: Vec<_> =
            (0..MAX_STREAMS).map(|n| live.stream(key(&n.to_string()), page)).collect();
        assert!(held.iter().all(|answer| answer.status() == 200));
        assert_eq!(live.stream(key("/"), page).status(), 429);
    }
}
