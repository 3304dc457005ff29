//! What the adapters do where no scenario for all clients says it: a body that
//! was looked at is whole, and what could not be sent comes back.

use std::{sync::Arc, time::Duration};

use quotagate::{
    client::{AcquireError, Client, DenialReason, http::HttpOptions},
    standin::{Limit, Options, StandIn, UserLimit, options::GET_ENTRIES},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::Semaphore,
    time::timeout,
};

use crate::{
    fake::{Fake, Say},
    http::{self, Call, Fault, Http},
    world::{Server, eventually},
};

const ORG: &str = "adapters";

/// Each adapter for a client of this server.
fn each(client: &Client) -> [(&'static str, Http); 2] {
    let options = |user| HttpOptions::new(ORG).execution_user(user);
    [
        ("ann", http::tower(client.clone(), options("ann"))),
        ("bob", http::reqwest(client.clone(), options("bob"))),
    ]
}

fn call<'a>(user: &'a str, method: &'a str, url: &'a str) -> Call<'a> {
    Call { method, url, org: ORG, user, batch: 0 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_of_salesforce_reaches_the_caller_whole_and_the_service_at_once() {
    let server = Server::start().await;
    let client = server.client().build().expect("an address");
    // It takes fewer calls of a user than the service grants.
    let limit = Limit::sliding(2, Duration::from_secs(60));
    let options = Options {
        user_limits: vec![UserLimit { operation: GET_ENTRIES, limit }],
        ..Options::default()
    };
    let salesforce = StandIn::start(options).await.expect("a free port");
    let url = format!("{}/services/data/v66.0/conversation-entries", salesforce.url());
    for (user, http) in each(&client) {
        let before = salesforce.handle.counts().arrived();
        for _ in 0..2 {
            let (status, _) = http.send(call(user, "GET", &url)).await.expect("it passes");
            assert_eq!(status, 200);
        }
        let (status, body) = http.send(call(user, "GET", &url)).await.expect("it is sent");
        assert!(status == 429 && body.starts_with('[') && body.ends_with(']'), "{status} {body}");
        match http.send(call(user, "GET", &url)).await {
            Err(Fault::Refused(AcquireError::Denied(denied))) => {
                assert_eq!(denied.reason, DenialReason::CoolingDown);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(salesforce.handle.counts().arrived() - before, 3, "{user}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_be_sent_comes_back() {
    let server = Server::start().await;
    let client = server.client().build().expect("an address");
    let salesforce = StandIn::start(Options::default()).await.expect("a free port");
    let url = format!("{}/services/data/v66.0/query", salesforce.url());
    salesforce.stop().await;
    for (user, http) in each(&client) {
        let answer = http.send(call(user, "GET", &url)).await;
        assert!(matches!(answer, Err(Fault::Failed(_))), "{answer:?}");
        drop(http);
        let used = async || server.limit(&client, ORG, "calls").await.used_by_caller;
        eventually("it is back", async || used().await == 0).await;
    }
}

/// Something refuses every call, and says why only when it is let. Its URL.
async fn refuses_slowly(may_go_on: Arc<Semaphore>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let may_go_on = Arc::clone(&may_go_on);
            tokio::spawn(async move {
                let _ = connection.read(&mut [0; 4_096]).await;
                let head = b"HTTP/1.1 429 Slow Down\r\ncontent-length: 4\r\n\r\nbe";
                let _ = connection.write_all(head).await;
                let _ = may_go_on.acquire().await;
                let _ = connection.write_all(b"es").await;
                let _ = connection.read(&mut [0]).await;
            });
        }
    });
    format!("http://{addr}/services/data/v66.0/query")
}

/// It used to hang, and the refusal was lost when the caller gave up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_whose_body_stalls_is_told_to_the_service_and_goes_on_to_the_caller() {
    for which in 0..2 {
        let fake = Fake::start([Say::Yes(Box::default())]).await;
        let client = Client::connect(&fake.addr.to_string()).await.expect("it listens");
        let may_go_on = Arc::new(Semaphore::new(0));
        let url = refuses_slowly(Arc::clone(&may_go_on)).await;
        let (_, http) = each(&client)[which].clone();
        let told = || {
            fake.seen(|seen| seen.reports.iter().filter(|report| report.http_status == 429).count())
        };
        // The head has come by then, or it is tried again.
        eventually("who gives up has told what the head said", async || {
            let waits = timeout(Duration::from_millis(300), http.send(call("ann", "GET", &url)));
            waits.await.is_err() && told() > 0
        })
        .await;
        let before = told();
        let waits = {
            let (http, url) = (http.clone(), url.clone());
            tokio::spawn(async move { http.send(call("ann", "GET", &url)).await })
        };
        eventually("it is told before all of the body is there", async || told() > before).await;
        may_go_on.add_permits(1);
        let (status, body) = waits.await.expect("no panic").expect("it was sent");
        assert_eq!((status, body.as_str()), (429, "bees"));
    }
}
