//! Calls Salesforce within its limits: a permit before each call, a report after.
//!
//! Against the service and a stand-in for Salesforce, each in a terminal:
//!
//! ```text
//! quotagate serve --store memory:
//! quotagate standin --listen 127.0.0.1:8080
//! cargo run --example call_salesforce -- 127.0.0.1:7400 http://127.0.0.1:8080
//! ```
//!
//! The tenth deletion within an hour is the last that is granted.

use std::{env, error::Error, process::ExitCode, time::Duration};

use http_body_util::{BodyExt as _, Empty};
use hyper::{HeaderMap, Request, body::Bytes, header};
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use quotagate::client::{AcquireError, Advice, Answer, Ask, Client, OutagePolicy, TrafficClass};

const ORG: &str = "acme";
const USER: &str = "alice";

/// An answer that has taken longer than this is one that has not come.
const PATIENCE: Duration = Duration::from_secs(30);

type Http = HttpClient<HttpConnector, Empty<Bytes>>;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [servers, salesforce] = &arguments[..] else {
        eprintln!("usage: call_salesforce SERVER[,SERVER…] SALESFORCE_URL");
        return ExitCode::from(2);
    };
    match run(servers, salesforce).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(servers: &str, salesforce: &str) -> Result<(), Box<dyn Error>> {
    // People who wait are let through while nobody can decide; all others are not.
    let client = Client::builder(servers)
        .caller("example")
        .outage_of(TrafficClass::Interactive, OutagePolicy::Open)
        .connect()
        .await?;
    // One permit is one request on the wire: the HTTP client must not try again.
    let http: Http =
        HttpClient::builder(TokioExecutor::new()).retry_canceled_requests(false).build_http();
    let ask = Ask::new(ORG, "conversations.delete").execution_user(USER);
    for number in 1..=11 {
        match client.permit(&ask).await {
            Ok(mut permit) => {
                let call = permit.start()?;
                let url = format!("{salesforce}/services/data/v66.0/conversations/{number}");
                match delete(&http, &url).await {
                    Ok(answer) => {
                        let told = call.report(answer).await;
                        println!("{number}: made, and the service says {:?}", told.advice);
                        if told.advice == Advice::Stop {
                            break;
                        }
                    }
                    // It was never sent: the call goes back.
                    Err(Fault::Unsent(why)) => {
                        call.unsent();
                        println!("{number}: not made: {why}");
                    }
                    // Dropping the call says that no answer came: it counts as made.
                    Err(Fault::Lost(why)) => println!("{number}: perhaps made: {why}"),
                }
            }
            Err(AcquireError::Denied(denied)) => {
                let again = denied.retry_after.map_or("nobody knows when".to_owned(), |wait| {
                    format!("try again in {} min", wait.as_secs() / 60)
                });
                println!("{number}: denied: {}, {again}", denied.reason_name());
            }
            Err(error) => return Err(error.into()),
        }
    }
    // What is still to be told to the service is.
    client.close().await;
    Ok(())
}

enum Fault {
    Unsent(String),
    Lost(String),
}

/// Makes one request; what came of it, for the report.
async fn delete(http: &Http, url: &str) -> Result<Answer, Fault> {
    let request = Request::delete(url)
        .header(header::AUTHORIZATION, format!("Bearer {ORG}!{USER}"))
        .body(Empty::new())
        .map_err(|error| Fault::Unsent(error.to_string()))?;
    let exchange = async {
        let response = http.request(request).await.map_err(|error| {
            let why = error.to_string();
            if error.is_connect() { Fault::Unsent(why) } else { Fault::Lost(why) }
        })?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| Fault::Lost(error.to_string()))?;
        let mut answer = Answer::new(head.status.as_u16()).body(&body.to_bytes());
        for value in texts(&head.headers, "sforce-limit-info") {
            answer = answer.limit_info(value);
        }
        for value in texts(&head.headers, "retry-after") {
            answer = answer.retry_after(value);
        }
        for value in texts(&head.headers, "date") {
            answer = answer.date(value);
        }
        Ok(answer)
    };
    let late = |_| Fault::Lost("no answer came in time".to_owned());
    tokio::time::timeout(PATIENCE, exchange).await.map_err(late)?
}

fn texts<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok())
}
