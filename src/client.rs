//! The library for callers: a connection to the service, and its calls.

mod owners;

use std::{error::Error, fmt, time::Duration};

use tonic::{
    Code, ConnectError as NotConnected, Request, Response, Status, Streaming,
    metadata::{AsciiMetadataValue, errors::InvalidMetadataValue},
    transport::{Channel, Endpoint},
};

use self::owners::Owners;
use crate::proto::{
    admin::v1::{
        DeleteExecutionUserRequest, DeleteExecutionUserResponse, DeleteOrgRequest,
        DeleteOrgResponse, DeleteWorkspaceRequest, DeleteWorkspaceResponse, GetClusterRequest,
        GetClusterResponse, GetOrgRequest, GetOrgResponse, ListOrgsRequest, ListOrgsResponse,
        PutExecutionUserRequest, PutExecutionUserResponse, PutOrgRequest, PutOrgResponse,
        PutWorkspaceRequest, PutWorkspaceResponse, admin_service_client::AdminServiceClient,
    },
    v1::{
        AcquireRequest, AcquireResponse, GetDemandRequest, GetDemandResponse, GetUsageRequest,
        GetUsageResponse, ReleaseRequest, ReleaseResponse, ReportRequest, ReportResponse,
        WatchUsageRequest, WatchUsageResponse, quota_service_client::QuotaServiceClient,
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

/// How long to try to connect to an org's owner. It is tried beside the
/// requests, which go to the configured server meanwhile.
const OWNER_CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

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
///
/// Any server takes any request and passes it on to the node that owns the org.
/// The client learns from the answers which node that is, and asks it directly
/// where it can be reached.
#[derive(Clone, Debug)]
pub struct Client {
    caller: Option<AsciiMetadataValue>,
    owners: Owners,
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
            caller: None,
            owners: Owners::new(server),
            quota: quota(channel.clone()),
            admin: AdminServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES),
        })
    }

    /// The same connection for a caller that names itself: what it acquires is
    /// shown under this name, and its request ids are its own. It gives no right.
    ///
    /// # Errors
    /// It is not printable ASCII. The service wants `[A-Za-z0-9._:/@-]{1,64}`.
    pub fn with_caller(self, name: &str) -> Result<Self, InvalidMetadataValue> {
        Ok(Self { caller: Some(name.parse()?), ..self })
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
        let org = request.org.clone();
        self.ask_owner(&org, |mut quota| {
            let mut request = within(CALL_TIMEOUT + wait, request.clone());
            if let Some(caller) = &self.caller {
                request.metadata_mut().insert("quotagate-caller", caller.clone());
            }
            async move { quota.acquire(request).await }
        })
        .await
    }

    /// Gives back calls that were never sent.
    ///
    /// # Errors
    /// The service refused it, could not decide, or did not answer in time.
    pub async fn release(&self, request: ReleaseRequest) -> Result<ReleaseResponse, Status> {
        let org = org_of(&request.permit_id).to_owned();
        self.ask_owner(&org, |mut quota| {
            let request = within(CALL_TIMEOUT, request.clone());
            async move { quota.release(request).await }
        })
        .await
    }

    /// Tells what Salesforce answered.
    ///
    /// # Errors
    /// The service refused it, could not decide, or did not answer in time.
    pub async fn report(&self, request: ReportRequest) -> Result<ReportResponse, Status> {
        let permit = request.permit_id.as_str();
        let org = if permit.is_empty() { &request.org } else { org_of(permit) }.to_owned();
        self.ask_owner(&org, |mut quota| {
            let request = within(CALL_TIMEOUT, request.clone());
            async move { quota.report(request).await }
        })
        .await
    }

    /// Streams an org's usage: a snapshot first, then what changes.
    ///
    /// # Errors
    /// The org is refused, or the service is away.
    pub async fn watch_usage(
        &self,
        request: WatchUsageRequest,
    ) -> Result<Streaming<WatchUsageResponse>, Status> {
        self.quota.clone().watch_usage(request).await.map(Response::into_inner)
    }

    /// Asks the org's owner, where the way to it is known and open, else the
    /// configured server.
    async fn ask_owner<T, F>(
        &self,
        org: &str,
        ask: impl Fn(QuotaServiceClient<Channel>) -> F,
    ) -> Result<T, Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let learnt = |answer: Response<T>| {
            self.owners.learn(org, answer.metadata(), owner_endpoint);
            answer.into_inner()
        };
        if let Some((owner, channel)) = self.owners.of(org) {
            match ask(quota(channel)).await {
                Ok(answer) => return Ok(learnt(answer)),
                Err(status) => {
                    if is_of_transport(&status) || is_of_a_stranger(&status) {
                        self.owners.leave_alone(&owner);
                    } else if status.code() == Code::Unavailable {
                        self.owners.forget(org);
                    }
                    // What was not sent, or went to something else that listens at
                    // the owner's address here, cannot have been decided.
                    if !was_not_sent(&status) && !is_of_a_stranger(&status) {
                        return Err(status);
                    }
                }
            }
        }
        ask(self.quota.clone()).await.map(learnt)
    }
}

fn quota(channel: Channel) -> QuotaServiceClient<Channel> {
    QuotaServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES)
}

fn within<M>(timeout: Duration, message: M) -> Request<M> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    request
}

/// The org that a permit is of, which stands last in its name. Should that ever
/// change, requests only take a hop more.
fn org_of(permit_id: &str) -> &str {
    permit_id.splitn(5, '-').nth(4).unwrap_or_default()
}

/// Every error of the service has details; those of a connection have a cause.
fn is_of_transport(status: &Status) -> bool {
    status.details().is_empty() && status.source().is_some()
}

/// Neither the service's, nor of a connection: a proxy's, for one, that answers
/// at an address which means something else in this network.
fn is_of_a_stranger(status: &Status) -> bool {
    let gave_up = matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled);
    status.details().is_empty() && status.source().is_none() && !gave_up
}

fn was_not_sent(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<NotConnected>() {
            return true;
        }
        cause = error.source();
    }
    false
}

macro_rules! calls {
    ($($(#[$doc:meta])* $field:ident.$name:ident($request:ty) -> $response:ty;)*) => {
        impl Client {$(
            $(#[$doc])*
            ///
            /// # Errors
            /// The service refused it, could not decide, or did not answer in time.
            pub async fn $name(&self, request: $request) -> Result<$response, Status> {
                let request = within(CALL_TIMEOUT, request);
                self.$field.clone().$name(request).await.map(Response::into_inner)
            }
        )*}
    };
}

calls! {
    /// Shows one org.
    quota.get_usage(GetUsageRequest) -> GetUsageResponse;
    /// Shows what was asked of one org, by the minute.
    quota.get_demand(GetDemandRequest) -> GetDemandResponse;
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

fn owner_endpoint(address: &str) -> Option<Endpoint> {
    endpoint(address).ok().map(|endpoint| endpoint.connect_timeout(OWNER_CONNECT_TIMEOUT))
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

impl Error for ConnectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
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
