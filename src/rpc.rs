//! The gRPC edge. Whatever a caller can send wrong ends in this room, with the
//! field named; what goes on to the node is checked. `serving` brings requests from
//! their connections, and each passes the `layers`. A handler makes an `operation` of
//! its message, and `forward` has it carried out, here or at the node that owns the
//! org; `peer` is where such requests arrive, `overview` shows the orgs of all nodes,
//! and `envoy` is for proxies. `unary` reads and writes what is asked most often,
//! `backwards` without messages.

mod admin;
mod backwards;
pub mod convert;
mod envoy;
mod forward;
pub mod gate;
mod layers;
mod operation;
mod overview;
mod peer;
mod quota;
mod rights;
mod serving;
pub mod status;
mod unary;
mod watch;

use std::{sync::Arc, time::Duration};

use tonic::service::Routes;
use tonic_health::{
    ServingStatus,
    server::{HealthReporter, HealthService},
};

pub use self::{
    admin::Admin,
    forward::{Forward, OverHttp},
    gate::Gate,
    layers::{Seen, log_span},
    peer::peer_port,
    quota::{Calls, Quota},
    serving::Port,
};
use self::{layers::Edge, serving::Services};
use crate::{
    metrics::Metrics,
    proto::{
        self,
        admin::v1::admin_service_server::{AdminServiceServer, SERVICE_NAME as ADMIN_SERVICE},
        envoy::service::{
            accesslog::v3::access_log_service_server::{
                AccessLogServiceServer, SERVICE_NAME as ACCESS_LOG_SERVICE,
            },
            ratelimit::v3::rate_limit_service_server::{
                RateLimitServiceServer, SERVICE_NAME as RATE_LIMIT_SERVICE,
            },
        },
        v1::quota_service_server::SERVICE_NAME as QUOTA_SERVICE,
    },
};

/// Everything that is served over gRPC: both services, those for Envoy, health v1
/// and reflection v1 and v1alpha. Health starts as "not serving".
///
/// Whoever asks for anything but health and reflection is identified by `gate`.
///
/// A connection is given up for a new one at the age of `max_connection_age`.
///
/// What is asked most often does not go through the router of all.
pub async fn port(
    forward: Arc<Forward>,
    gate: Arc<Gate>,
    metrics: Arc<Metrics>,
    max_connection_age: Option<Duration>,
) -> (Port<Calls>, Health) {
    let health = Health(HealthReporter::new());
    health.set_serving(false).await;
    let health_service = HealthService::from_health_reporter(health.0.clone());
    let limit = layers::MAX_MESSAGE_BYTES;
    let (envoy, envoy_log) = (
        envoy::RateLimit::new(Arc::clone(&forward), Arc::clone(&metrics)),
        envoy::AccessLog::new(Arc::clone(&forward), Arc::clone(&metrics)),
    );
    let traces = forward.traces().clone();
    let calls = Calls::new(Quota::new(Arc::clone(&forward)));
    let rest = Routes::new(calls.service().clone())
        .add_service(
            AdminServiceServer::new(admin::Admin::new(forward)).max_decoding_message_size(limit),
        )
        .add_service(RateLimitServiceServer::new(envoy).max_decoding_message_size(limit))
        .add_service(
            AccessLogServiceServer::new(envoy_log)
                .max_decoding_message_size(envoy::access_log::MAX_MESSAGE_BYTES),
        )
        .add_service(
            tonic_health::pb::health_server::HealthServer::new(health_service)
                .max_decoding_message_size(limit),
        )
        .add_service(
            reflection()
                .build_v1()
                .expect("the descriptors are compiled in")
                .max_decoding_message_size(limit),
        )
        .add_service(
            reflection()
                .build_v1alpha()
                .expect("the descriptors are compiled in")
                .max_decoding_message_size(limit),
        );
    let services = Services { often: calls, rest: rest.prepare() };
    let edge = Edge::for_clients(gate, metrics, traces);
    (Port::for_clients(edge, services, max_connection_age), health)
}

/// Says whether the services serve, overall and each by its name.
#[derive(Clone, Debug)]
pub struct Health(HealthReporter);

impl Health {
    /// Tells health checks and their watchers.
    pub async fn set_serving(&self, serving: bool) {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in ["", QUOTA_SERVICE, ADMIN_SERVICE, RATE_LIMIT_SERVICE, ACCESS_LOG_SERVICE] {
            self.0.set_service_status(service, status).await;
        }
    }
}

/// Besides the services it knows the types of error details, so that clients
/// which work by reflection can decode them.
fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::PUBLIC_DESCRIPTORS)
        .register_encoded_file_descriptor_set(proto::ENVOY_DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
}
