//! The library for callers: a connection to the service, and its calls.

use std::{fmt, time::Duration};

use tonic::{
    Request, Status, Streaming,
    transport::{Channel, Endpoint},
};

use crate::proto::{
    admin::v1::{
        DeleteExecutionUserRequest, DeleteExecutionUserResponse, DeleteOrgRequest,
        DeleteOrgResponse, DeleteWorkspaceRequest, DeleteWorkspaceResponse, GetClusterRequest,
        GetClusterResponse, GetOrgRequest, GetOrgResponse, ListOrgsRequest, ListOrgsResponse,
        PutExecutionUserRequest, PutExecutionUserResponse, PutOrgRequest, PutOrgResponse,
        PutWorkspaceRequest, PutWorkspaceResponse, admin_service_client::AdminServiceClient,
    },
    v1::{
        AcquireRequest, AcquireResponse, GetUsageRequest, GetUsageResponse, ReleaseRequest,
        ReleaseResponse, ReportRequest, ReportResponse, WatchUsageRequest, WatchUsageResponse,
        quota_service_client::QuotaServiceClient,
    },
};

/// Where the service listens unless it is told otherwise.
pub const DEFAULT_SERVER: &str = "127.0.0.1:7400";

/// How long to try to connect: a server that is there answers within one round
/// trip.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a call may take besides the wait that the request asks for. The
/// service itself waits at most 2 s for its store.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the longest wait may be; more is refused by the service anyway.
const MAX_WAIT: Duration = Duration::from_secs(600);

/// How often an idle connection is tested, so that a server that vanished
/// without a word is noticed in the middle of a long wait.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// The usage of an org with all the names that the service keeps is some
/// hundred KiB.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// A connection to the service. Clones share it.
#[derive(Clone, Debug)]
pub struct Client {
    quota: QuotaServiceClient<Channel>,
    admin: AdminServiceClient<Channel>,
}

/// Why there is no connection.
#[derive(Debug)]
pub enum ConnectError {
    /// What was given is not the address of a server.
    Address {
        /// What was given.
        server: String,
        /// What is wrong with it.
        why: String,
    },
    /// Nobody answers there.
    Unreachable {
        /// The address.
        server: String,
        /// What happened.
        source: tonic::transport::Error,
    },
}

impl Client {
    /// Connects to `host:port` or `http://host:port`.
    ///
    /// # Errors
    /// The address is none, or nobody answers there within 3 s.
    pub async fn connect(server: &str) -> Result<Self, ConnectError> {
        let channel = endpoint(server)?
            .connect()
            .await
            .map_err(|source| ConnectError::Unreachable { server: server.into(), source })?;
        Ok(Self {
            quota: QuotaServiceClient::new(channel.clone())
                .max_decoding_message_size(MAX_ANSWER_BYTES),
            admin: AdminServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES),
        })
    }

    /// Asks to make calls; waits as long as the request says. A denial is an
    /// answer.
    ///
    /// # Errors
    /// Nothing could be decided.
    pub async fn acquire(&self, request: AcquireRequest) -> Result<AcquireResponse, Status> {
        let wait = request
            .max_wait
            .and_then(|wait| Duration::try_from(wait).ok())
            .unwrap_or_default()
            .min(MAX_WAIT);
        let mut request = Request::new(request);
        request.set_timeout(CALL_TIMEOUT + wait);
        self.quota.clone().acquire(request).await.map(tonic::Response::into_inner)
    }

    /// Streams an org's usage: a snapshot first, then what changes.
    ///
    /// # Errors
    /// The org is refused, or the service is away.
    pub async fn watch_usage(
        &self,
        request: WatchUsageRequest,
    ) -> Result<Streaming<WatchUsageResponse>, Status> {
        self.quota.clone().watch_usage(request).await.map(tonic::Response::into_inner)
    }
}

macro_rules! calls {
    ($($(#[$doc:meta])* $field:ident.$name:ident($request:ty) -> $response:ty;)*) => {
        impl Client {$(
            $(#[$doc])*
            ///
            /// # Errors
            /// The service refused it, could not decide, or did not answer in time.
            pub async fn $name(&self, request: $request) -> Result<$response, Status> {
                let mut request = Request::new(request);
                request.set_timeout(CALL_TIMEOUT);
                self.$field.clone().$name(request).await.map(tonic::Response::into_inner)
            }
        )*}
    };
}

calls! {
    /// Gives back calls that were never sent.
    quota.release(ReleaseRequest) -> ReleaseResponse;
    /// Tells what Salesforce answered.
    quota.report(ReportRequest) -> ReportResponse;
    /// Shows one org.
    quota.get_usage(GetUsageRequest) -> GetUsageResponse;
    /// Lists a page of orgs.
    admin.list_orgs(ListOrgsRequest) -> ListOrgsResponse;
    /// Shows one org's settings.
    admin.get_org(GetOrgRequest) -> GetOrgResponse;
    /// Declares an org.
    admin.put_org(PutOrgRequest) -> PutOrgResponse;
    /// Withdraws an org.
    admin.delete_org(DeleteOrgRequest) -> DeleteOrgResponse;
    /// Declares a workspace.
    admin.put_workspace(PutWorkspaceRequest) -> PutWorkspaceResponse;
    /// Withdraws a workspace.
    admin.delete_workspace(DeleteWorkspaceRequest) -> DeleteWorkspaceResponse;
    /// Adds a user to the pool.
    admin.put_execution_user(PutExecutionUserRequest) -> PutExecutionUserResponse;
    /// Takes a user out of the pool.
    admin.delete_execution_user(DeleteExecutionUserRequest) -> DeleteExecutionUserResponse;
    /// Shows the cluster.
    admin.get_cluster(GetClusterRequest) -> GetClusterResponse;
}

fn endpoint(server: &str) -> Result<Endpoint, ConnectError> {
    let bad = |why: &str| ConnectError::Address { server: server.into(), why: why.into() };
    let uri = match server.split_once("://") {
        None => format!("http://{server}"),
        Some(("http", _)) => server.to_owned(),
        Some(("https", _)) => return Err(bad("TLS is not supported")),
        Some(_) => return Err(bad("the scheme is not http")),
    };
    let endpoint = Endpoint::from_shared(uri).map_err(|_| bad("it is not host:port"))?;
    if endpoint.uri().port().is_none() {
        return Err(bad("the port is missing"));
    }
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true))
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { server, why } => {
                write!(f, "{server:?} is not the address of a server: {why}")
            }
            Self::Unreachable { server, .. } => write!(f, "no quotagate answers at {server}"),
        }
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Address { .. } => None,
            Self::Unreachable { source, .. } => Some(source),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_named_by_host_and_port() {
        for (server, fault) in [
            ("127.0.0.1:7400", None),
            ("localhost:7400", None),
            ("[::1]:7400", None),
            ("http://quotagate.internal:7400", None),
            ("https://quotagate.internal:7400", Some("TLS")),
            ("etcd://h:1", Some("scheme")),
            ("localhost", Some("port")),
            ("", Some("host:port")),
            ("a b:1", Some("host:port")),
        ] {
            let error = endpoint(server).err().map(|error| error.to_string());
            match (error, fault) {
                (None, None) => {}
                (Some(error), Some(fault)) => assert!(error.contains(fault), "{server}: {error}"),
                (error, _) => panic!("{server}: {error:?}"),
            }
        }
    }
}
