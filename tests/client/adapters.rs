//! What the adapters do where no scenario for all clients says it: a body that
//! was looked at is whole, and what could not be sent comes back.

use std::time::Duration;

use quotagate::{
    client::{AcquireError, Client, DenialReason, http::HttpOptions},
    standin::{Limit, Options, StandIn, UserLimit, options::GET_ENTRIES},
};

use crate::{
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
