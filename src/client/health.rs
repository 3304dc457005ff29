//! `grpc.health.v1`, the two messages and the one call of it that are needed: the
//! published crate would bring the server's side along.

use tonic::{Request, Status, Streaming, client::Grpc, codegen::http::uri::PathAndQuery};
use tonic_prost::ProstCodec;

use super::security::Connection;

/// What health is asked of.
const SERVICE: &str = "quotagate.v1.QuotaService";

#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// What a server says of itself.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

const SERVING: i32 = 1;

impl HealthCheckResponse {
    /// True if the server takes requests.
    pub fn is_serving(&self) -> bool {
        self.status == SERVING
    }
}

/// Follows a server's health: what it is first, then what it becomes. The stream
/// ends with the connection.
///
/// # Errors
/// `Unimplemented` if the server does not tell; others if it is away.
pub async fn watch(channel: Connection) -> Result<Streaming<HealthCheckResponse>, Status> {
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
    let request = Request::new(HealthCheckRequest { service: SERVICE.to_owned() });
    let path = PathAndQuery::from_static("/grpc.health.v1.Health/Watch");
    let codec = ProstCodec::<HealthCheckRequest, HealthCheckResponse>::default();
    Ok(grpc.server_streaming(request, path, codec).await?.into_inner())
}
