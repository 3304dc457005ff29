//! Calls Salesforce through reqwest: no call site knows of quotas.
//!
//! Against the service and a stand-in for Salesforce, each in a terminal:
//!
//! ```text
//! quotagate serve --store memory:
//! quotagate standin --listen 127.0.0.1:8080
//! cargo run --example reqwest_salesforce --features reqwest -- 127.0.0.1:7400 http://127.0.0.1:8080
//! ```

use std::{env, error::Error, time::Duration};

use quotagate::client::{
    AcquireError, Client,
    http::{HttpOptions, QuotaMiddleware, one_request_per_call},
};
use reqwest_middleware::{ClientBuilder, Error as HttpError};

const ORG: &str = "acme";
const USER: &str = "alice";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let server = arguments.next().unwrap_or_else(|| "127.0.0.1:7400".to_owned());
    let salesforce = arguments.next().unwrap_or_else(|| "http://127.0.0.1:8080".to_owned());

    let client = Client::connect(&server).await?;
    let options = HttpOptions::new(ORG).execution_user(USER).max_wait(Duration::from_millis(500));
    let http = ClientBuilder::new(one_request_per_call(reqwest::Client::builder()).build()?)
        .with(QuotaMiddleware::new(client, options))
        .build();

    // Ten an hour are deleted; the eleventh is not even sent.
    for number in 1..=11 {
        let url = format!("{salesforce}/services/data/v66.0/conversations/{number}");
        match http.delete(&url).bearer_auth(format!("{ORG}!{USER}")).send().await {
            Ok(answer) => println!("{number}: {}", answer.status()),
            Err(HttpError::Middleware(error)) => match error.downcast::<AcquireError>()? {
                AcquireError::Denied(denied) => println!("{number}: not sent: {}", denied.message),
                error => return Err(error.into()),
            },
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
