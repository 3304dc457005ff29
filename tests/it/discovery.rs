//! Health and reflection.

use quotagate::proto::{
    admin::v1::admin_service_server::SERVICE_NAME as ADMIN_SERVICE,
    v1::quota_service_server::SERVICE_NAME as QUOTA_SERVICE,
};
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_types::StatusExt as _;

use crate::common::TestServer;

#[tokio::test]
async fn health_is_told_overall_and_per_service_to_the_end() {
    let server = TestServer::start("").await;
    let mut client = HealthClient::new(server.channel.clone());
    let mut watches = Vec::new();
    for service in ["", QUOTA_SERVICE, ADMIN_SERVICE] {
        let request = HealthCheckRequest { service: service.into() };
        let answer = client.check(request.clone()).await.expect("it is known").into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service:?}");
        let mut watch = client.watch(request).await.expect("it is known").into_inner();
        let first = watch.message().await.expect("no error").expect("the present status");
        assert_eq!(first.status(), ServingStatus::Serving, "{service:?}");
        watches.push((service, watch));
    }
    let request = HealthCheckRequest { service: "nobody".into() };
    let status = client.check(request).await.expect_err("it is unknown");
    assert_eq!(status.code(), Code::NotFound);
    let reason = status.get_error_details().error_info().map(|info| info.reason.clone());
    assert_eq!(reason.as_deref(), Some("NOT_FOUND"));

    let stopped = tokio::spawn(server.service.stop());
    for (service, mut watch) in watches {
        let last = watch.message().await.expect("no error").expect("the new status");
        assert_eq!(last.status(), ServingStatus::NotServing, "{service:?}");
    }
    drop(client);
    stopped.await.expect("it stops");
}

/// Both versions of reflection have the same messages in modules of their own.
macro_rules! reflects {
    ($name:ident, $version:ident) => {
        #[tokio::test]
        async fn $name() {
            use tonic_reflection::pb::$version::{
                ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
                server_reflection_request::MessageRequest,
                server_reflection_response::MessageResponse,
            };

            let server = TestServer::start("").await;
            let mut client = ServerReflectionClient::new(server.channel.clone());
            let mut ask = async |request| {
                let request =
                    ServerReflectionRequest { host: String::new(), message_request: Some(request) };
                let answers = client.server_reflection_info(tokio_stream::once(request)).await;
                let mut answers = answers.expect("it is served").into_inner();
                let answer = answers.message().await.expect("no error").expect("an answer");
                answer.message_response.expect("it says something")
            };

            let MessageResponse::ListServicesResponse(list) =
                ask(MessageRequest::ListServices(String::new())).await
            else {
                panic!("not a list");
            };
            let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
            for service in [QUOTA_SERVICE, ADMIN_SERVICE, "grpc.health.v1.Health"] {
                assert!(names.contains(&service), "{service} in {names:?}");
            }
            for symbol in [
                "quotagate.v1.QuotaService.Acquire",
                "envoy.service.ratelimit.v3.RateLimitService.ShouldRateLimit",
                "envoy.service.accesslog.v3.AccessLogService.StreamAccessLogs",
                "google.rpc.BadRequest",
                "google.rpc.ErrorInfo",
                "google.rpc.RetryInfo",
            ] {
                let answer = ask(MessageRequest::FileContainingSymbol(symbol.into())).await;
                assert!(
                    matches!(answer, MessageResponse::FileDescriptorResponse(_)),
                    "{symbol}: {answer:?}"
                );
            }
        }
    };
}

reflects!(reflection_v1_knows_the_services_and_the_error_details, v1);
reflects!(reflection_v1alpha_knows_the_services_and_the_error_details, v1alpha);
