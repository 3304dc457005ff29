//! The adapters for tower and reqwest, before the stand-in and the real service.

use std::{error::Error, time::Duration};

use http_body_util::{BodyExt as _, Full};
use hyper::{Request, StatusCode, body::Bytes};
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use quotagate::{
    client::{
        AcquireError, Client, DenialReason,
        http::{
            Charge, HttpOptions, QuotaLayer, QuotaMiddleware, QuotaService, one_request_per_call,
        },
    },
    standin::{Limit, Options, StandIn, UserLimit, options::GET_ENTRIES},
};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
use tower_layer::Layer as _;
use tower_service::Service as _;

use crate::world::{Server, eventually};

const ORG: &str = "adapters";

/// The service, a client of it, and a stand-in that takes fewer calls of a user
/// than the service grants.
struct World {
    server: Server,
    client: Client,
    salesforce: StandIn,
}

type Tower = QuotaService<HttpClient<HttpConnector, Full<Bytes>>>;

/// What came back: a status and a body, or a refusal.
type Answered = Result<(StatusCode, String), DenialReason>;

impl World {
    async fn start() -> Self {
        let server = Server::start().await;
        let client = server.client().build().expect("an address");
        let limit = Limit::sliding(2, Duration::from_secs(60));
        let options = Options {
            user_limits: vec![UserLimit { operation: GET_ENTRIES, limit }],
            ..Options::default()
        };
        let salesforce = StandIn::start(options).await.expect("a free port");
        Self { server, client, salesforce }
    }

    fn options() -> HttpOptions {
        HttpOptions::new(ORG).execution_user("ann")
    }

    fn tower(&self) -> Tower {
        let mut http = HttpClient::builder(TokioExecutor::new());
        http.retry_canceled_requests(false);
        QuotaLayer::new(self.client.clone(), Self::options()).layer(http.build_http())
    }

    fn reqwest(&self) -> ClientWithMiddleware {
        let http = one_request_per_call(reqwest::Client::builder()).no_proxy().build();
        ClientBuilder::new(http.expect("good options"))
            .with(QuotaMiddleware::new(self.client.clone(), Self::options()))
            .build()
    }

    fn url(&self, path: &str) -> String {
        format!("{}/services/{path}", self.salesforce.url())
    }

    async fn uses(&self, limit: &str, units: u64) {
        let used = async || self.server.limit(&self.client, ORG, limit).await.used_by_caller;
        eventually(&format!("{units} of {limit}"), async || used().await == units).await;
    }
}

fn denied(error: &(dyn Error + 'static)) -> DenialReason {
    match error.downcast_ref() {
        Some(AcquireError::Denied(denied)) => denied.reason,
        _ => panic!("{error}"),
    }
}

async fn by_tower(tower: &mut Tower, method: &str, url: &str, charge: Option<Charge>) -> Answered {
    std::future::poll_fn(|context| tower.poll_ready(context)).await.expect("it is ready");
    let mut request = Request::builder()
        .method(method)
        .uri(url)
        .header("authorization", format!("Bearer {ORG}!ann"))
        .body(Full::default())
        .expect("a good request");
    if let Some(charge) = charge {
        request.extensions_mut().insert(charge);
    }
    match tower.call(request).await {
        Ok(response) => {
            let status = response.status();
            let body = response.into_body().collect().await.expect("all of it").to_bytes();
            Ok((status, String::from_utf8_lossy(&body).into_owned()))
        }
        Err(error) => Err(denied(&*error)),
    }
}

async fn by_reqwest(http: &ClientWithMiddleware, method: &str, url: &str, body: &str) -> Answered {
    let method = method.parse().expect("a method");
    let request = http.request(method, url).bearer_auth(format!("{ORG}!ann")).body(body.to_owned());
    match request.send().await {
        Ok(response) => {
            assert_eq!(response.url().as_str(), url, "the answer is as it came");
            let status = response.status();
            Ok((status, response.text().await.expect("all of it")))
        }
        Err(reqwest_middleware::Error::Middleware(error)) => {
            Err(denied(error.downcast_ref::<AcquireError>().expect("a refusal")))
        }
        Err(error) => panic!("{error}"),
    }
}

/// Two calls pass; the third is refused by Salesforce, which the service hears;
/// then the service refuses, and nothing more is sent.
fn shows_a_refusal_that_was_learnt(answers: &[Answered], world: &World) {
    let [passed @ .., refused, last] = answers else { panic!("four: {answers:?}") };
    let status = |answer: &Answered| answer.as_ref().map(|(status, _)| status.as_u16()).ok();
    assert!(passed.iter().all(|answer| status(answer) == Some(200)), "{answers:?}");
    let Ok((status, body)) = refused else { panic!("{refused:?}") };
    assert!(!status.is_success() && body.contains("errorCode"), "{status} {body}");
    assert_eq!(last, &Err(DenialReason::CoolingDown));
    assert_eq!(world.salesforce.handle.counts().arrived(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_layer_for_tower_asks_before_and_reports_after() {
    let world = World::start().await;
    let mut tower = world.tower();
    let entries = world.url("data/v66.0/conversation-entries");
    let mut answers = Vec::new();
    for _ in 0..3 {
        answers.push(by_tower(&mut tower, "GET", &entries, None).await);
    }
    // The report goes out in the background.
    let refused = async || {
        let answer = by_tower(&mut world.tower(), "GET", &entries, None).await;
        answer == Err(DenialReason::CoolingDown)
    };
    let cooled = async || {
        let usage = world.server.limit(&world.client, ORG, "entries").await;
        usage.cooling_until.is_some()
    };
    eventually("the user cools down", cooled).await;
    assert!(refused().await);
    answers.push(Err(DenialReason::CoolingDown));
    shows_a_refusal_that_was_learnt(&answers, &world);

    // What Salesforce does not count passes; what costs more says so.
    let versions = by_tower(&mut tower, "GET", &world.url("data"), None).await;
    assert_eq!(versions.expect("it passes").0, StatusCode::OK);
    world.uses("org-total", 0).await;
    let batch = world.url("data/v66.0/composite/batch");
    let charge = Charge { cost: 7, ..Charge::of("rest") };
    let answer = by_tower(&mut tower, "POST", &batch, Some(charge)).await;
    assert_eq!(answer.expect("it passes").0, StatusCode::OK);
    world.uses("org-total", 7).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_middleware_for_reqwest_asks_before_and_reports_after() {
    let world = World::start().await;
    let http = world.reqwest();
    let entries = world.url("data/v66.0/conversation-entries");
    let mut answers = Vec::new();
    for _ in 0..3 {
        answers.push(by_reqwest(&http, "GET", &entries, "").await);
    }
    let cooled = async || {
        let usage = world.server.limit(&world.client, ORG, "entries").await;
        usage.cooling_until.is_some()
    };
    eventually("the user cools down", cooled).await;
    // The pool has nothing left of this user either.
    let refused = async || by_reqwest(&http, "GET", &entries, "").await;
    answers.push(refused().await);
    shows_a_refusal_that_was_learnt(&answers, &world);

    let batch = world.url("data/v66.0/composite/batch");
    let body = r#"{"batchRequests": [{}, {}, {}]}"#;
    let answer = by_reqwest(&http, "POST", &batch, body).await;
    assert_eq!(answer.expect("it passes").0, StatusCode::OK);
    world.uses("org-total", 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_be_sent_comes_back() {
    let world = World::start().await;
    let url = world.url("data/v66.0/query");
    let World { server, client, salesforce } = world;
    salesforce.stop().await;
    let tower = QuotaLayer::new(client.clone(), World::options());
    let mut tower: Tower = tower.layer(HttpClient::builder(TokioExecutor::new()).build_http());
    let http = one_request_per_call(reqwest::Client::builder()).no_proxy().build().expect("good");
    let http = ClientBuilder::new(http)
        .with(QuotaMiddleware::new(client.clone(), World::options()))
        .build();
    std::future::poll_fn(|context| tower.poll_ready(context)).await.expect("it is ready");
    let request = Request::get(&url).body(Full::default()).expect("a good request");
    assert!(tower.call(request).await.is_err());
    assert!(matches!(http.get(&url).send().await, Err(reqwest_middleware::Error::Reqwest(_))));
    drop((tower, http));
    let used = async || server.limit(&client, ORG, "org-total").await.used_by_caller;
    eventually("both are back", async || used().await == 0).await;
}
