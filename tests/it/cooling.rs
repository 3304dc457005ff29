//! Cooling-down of a whole fleet, against the stand-in for Salesforce.

use std::{sync::Arc, time::Duration};

use quotagate::{
    proto::v1::{
        self, Advice, CoolingCause, DenialReason, acquire_response::Outcome,
        quota_service_client::QuotaServiceClient,
    },
    standin::{Limit, Options, StandIn},
};
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use crate::{
    common::TestServer,
    salesforce::{Call, Salesforce},
    talk::{acquire, answered, duration, seconds},
};

/// Each of them calls until it has had a success.
const CALLERS: usize = 500;

/// Callers that share a connection: it carries a bounded number of requests at
/// a time, and all of these wait.
const PER_CONNECTION: usize = 50;

const ORG: &str = "
orgs:
  - {id: acme, daily_calls: 100000}
";

async fn connect(server: &TestServer) -> QuotaServiceClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{}", server.grpc_addr));
    let channel = endpoint.expect("an address").connect().await.expect("it listens");
    QuotaServiceClient::new(channel)
}

/// Calls with a permit for each call, and reports every answer.
async fn call_until_success(
    mut asks: QuotaServiceClient<Channel>,
    mut tells: QuotaServiceClient<Channel>,
    salesforce: Arc<Salesforce>,
) {
    loop {
        let request = v1::AcquireRequest { max_wait: seconds(60), ..acquire("rest") };
        let answer = asks.acquire(request).await.expect("it is decided").into_inner();
        let Some(Outcome::Permit(permit)) = answer.outcome else {
            panic!("it waits long enough: {answer:?}")
        };
        let call = Call { org: "acme", user: "u", operation: "rest", runs: Duration::ZERO };
        let answer = salesforce.call(call).await;
        let report = v1::ReportRequest {
            error_message: answer.body,
            limit_info: answer.limit_info.into_iter().collect(),
            ..answered(&permit, answer.status)
        };
        let told = tells.report(report).await.expect("it is taken").into_inner();
        if answer.status == 200 {
            assert_eq!(told.advice(), Advice::Continue);
            return;
        }
        assert_eq!((answer.status, told.advice()), (403, Advice::BackOff));
        assert!(duration(told.back_off) > Some(Duration::ZERO), "{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_an_org_cools_down_one_caller_of_500_tries_at_a_time() {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    // Others have used the total up; the header, which lags, does not say so,
    // nor does the text say which limit it is: such a wait is 5 s, not 30.
    let standin = StandIn::start(Options {
        org_limit: Limit::sliding(1_000, DAY),
        header_lag: DAY,
        total_text: "Limit exceeded.",
        ..Options::default()
    });
    let standin = standin.await.expect("it starts");
    standin.add_foreign("acme", 1_000);
    let server = TestServer::start(ORG).await;
    let salesforce = Arc::new(Salesforce::new(&standin.url()));
    let tells = connect(&server).await;
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS / PER_CONNECTION {
        let asks = connect(&server).await;
        for _ in 0..PER_CONNECTION {
            callers.spawn(call_until_success(asks.clone(), tells.clone(), Arc::clone(&salesforce)));
        }
    }

    // The first refusal closes the org; whoever had a permit by then calls, too.
    standin.arrived(1).await;
    let usage = loop {
        let usage = server.usage().await;
        if usage.waiting as usize == CALLERS {
            break usage;
        }
    };
    let before = standin.arrivals().len();
    let [cooling] = &usage.cooling[..] else { panic!("{:?}", usage.cooling) };
    assert_eq!((cooling.cause(), cooling.attempts), (CoolingCause::LimitExceeded, 1));
    let denial = server.denial(acquire("rest")).await;
    assert_eq!(denial.reason(), DenialReason::CoolingDown, "{denial:?}");
    assert!(duration(denial.retry_after) <= Some(Duration::from_millis(6_250)), "{denial:?}");

    // One probe finds it closed still; then there is room, and the next finds it.
    standin.arrived(before as u64 + 1).await;
    standin.set_org_max(1_000_000);
    while let Some(ended) = callers.join_next().await {
        ended.expect("it had a success");
    }
    let arrivals = standin.arrivals();
    let pause = |of: usize| Duration::from_micros(arrivals[of].at_us - arrivals[of - 1].at_us);
    let pauses = [pause(before), pause(before + 1)];
    // A wait begins with the report of the refusal, a moment after its arrival.
    assert!(pauses[0] > Duration::from_secs(4), "{pauses:?}");
    assert!(pauses[1] >= Duration::from_secs(10), "{pauses:?}");
    assert!(arrivals[before].refusal.is_some() && arrivals[before + 1].refusal.is_none());
    assert_eq!(arrivals.len() - before - 1, CALLERS, "all go on after it");
    assert!(server.usage().await.cooling.is_empty());
    let metrics = server.metrics().await;
    assert!(metrics.contains(r#"quotagate_troubles_total{kind="limit_exceeded"}"#), "{metrics}");
}
