//! AdminService: changes are operations, carried out by the org's owner; what is
//! declared is known to every node.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{
    convert::{self, admin as wire},
    forward::Forward,
    operation::{Change, Mutation},
};
use crate::{
    node::AdminError,
    proto::admin::v1::{self, admin_service_server::AdminService},
};

/// The service's handlers.
#[derive(Debug)]
pub struct Admin {
    forward: Arc<Forward>,
}

impl Admin {
    /// The service at the edge of a node.
    #[must_use]
    pub fn new(forward: Arc<Forward>) -> Self {
        Self { forward }
    }

    async fn change<M: Mutation>(
        &self,
        request: Request<M>,
    ) -> Result<Response<M::Answer>, Status> {
        let context = self.forward.context(&request);
        let change = Change::new(request.into_inner(), context.caller.clone())?;
        self.forward.decide(&change, &context).await
    }
}

#[tonic::async_trait]
impl AdminService for Admin {
    async fn list_orgs(
        &self,
        request: Request<v1::ListOrgsRequest>,
    ) -> Result<Response<v1::ListOrgsResponse>, Status> {
        let (after, limit) = wire::page(request.get_ref())?;
        let (orgs, more) = self.forward.node().list_orgs(after.as_ref(), limit);
        Ok(Response::new(wire::org_page(orgs, more)))
    }

    async fn get_org(
        &self,
        request: Request<v1::GetOrgRequest>,
    ) -> Result<Response<v1::GetOrgResponse>, Status> {
        let org = convert::org(&request.get_ref().org)?;
        let no_such_org = || AdminError::NotFound(format!("org: there is no org {org}"));
        let (entry, changes) = self.forward.node().get_org(&org).ok_or_else(no_such_org)?;
        let entry = Some(wire::org_entry(entry));
        let changes = changes.into_iter().map(wire::change).collect();
        Ok(Response::new(v1::GetOrgResponse { entry, changes }))
    }

    async fn put_org(
        &self,
        request: Request<v1::PutOrgRequest>,
    ) -> Result<Response<v1::PutOrgResponse>, Status> {
        self.change(request).await
    }

    async fn delete_org(
        &self,
        request: Request<v1::DeleteOrgRequest>,
    ) -> Result<Response<v1::DeleteOrgResponse>, Status> {
        self.change(request).await
    }

    async fn put_workspace(
        &self,
        request: Request<v1::PutWorkspaceRequest>,
    ) -> Result<Response<v1::PutWorkspaceResponse>, Status> {
        self.change(request).await
    }

    async fn delete_workspace(
        &self,
        request: Request<v1::DeleteWorkspaceRequest>,
    ) -> Result<Response<v1::DeleteWorkspaceResponse>, Status> {
        self.change(request).await
    }

    async fn put_execution_user(
        &self,
        request: Request<v1::PutExecutionUserRequest>,
    ) -> Result<Response<v1::PutExecutionUserResponse>, Status> {
        self.change(request).await
    }

    async fn delete_execution_user(
        &self,
        request: Request<v1::DeleteExecutionUserRequest>,
    ) -> Result<Response<v1::DeleteExecutionUserResponse>, Status> {
        self.change(request).await
    }

    async fn get_cluster(
        &self,
        _: Request<v1::GetClusterRequest>,
    ) -> Result<Response<v1::GetClusterResponse>, Status> {
        Ok(Response::new(wire::cluster(self.forward.node().cluster())))
    }
}
