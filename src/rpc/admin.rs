//! AdminService: convert, one call, convert.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::convert::{self, admin as wire};
use crate::{
    node::{AdminError, Node, OrgEntry},
    proto::admin::v1::{self, admin_service_server::AdminService},
};

/// The service's handlers.
#[derive(Debug)]
pub struct Admin {
    node: Arc<Node>,
}

impl Admin {
    /// The service over a node.
    #[must_use]
    pub fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    async fn administer(&self, who: &str, what: wire::Administer) -> Result<OrgEntry, AdminError> {
        let wire::Administer { org, change, etag, validate_only } = what;
        tracing::Span::current().record("org", org.as_str());
        self.node.administer(&org, change, etag.as_deref(), validate_only, who).await
    }
}

/// Who asks, as far as it is known: the address.
fn who<T>(request: &Request<T>) -> String {
    request.remote_addr().map_or_else(|| "unknown".to_owned(), |address| address.to_string())
}

#[tonic::async_trait]
impl AdminService for Admin {
    async fn list_orgs(
        &self,
        request: Request<v1::ListOrgsRequest>,
    ) -> Result<Response<v1::ListOrgsResponse>, Status> {
        let (after, limit) = wire::page(request.get_ref())?;
        let (orgs, more) = self.node.list_orgs(after.as_ref(), limit);
        Ok(Response::new(wire::org_page(orgs, more)))
    }

    async fn get_org(
        &self,
        request: Request<v1::GetOrgRequest>,
    ) -> Result<Response<v1::GetOrgResponse>, Status> {
        let org = convert::org(&request.get_ref().org)?;
        let no_such_org = || AdminError::NotFound(format!("org: there is no org {org}"));
        let (entry, changes) = self.node.get_org(&org).ok_or_else(no_such_org)?;
        let entry = Some(wire::org_entry(entry));
        let changes = changes.into_iter().map(wire::change).collect();
        Ok(Response::new(v1::GetOrgResponse { entry, changes }))
    }

    async fn put_org(
        &self,
        request: Request<v1::PutOrgRequest>,
    ) -> Result<Response<v1::PutOrgResponse>, Status> {
        let who = who(&request);
        let entry = self.administer(&who, wire::put_org(request.into_inner())?).await?;
        Ok(Response::new(v1::PutOrgResponse { entry: Some(wire::org_entry(entry)) }))
    }

    async fn delete_org(
        &self,
        request: Request<v1::DeleteOrgRequest>,
    ) -> Result<Response<v1::DeleteOrgResponse>, Status> {
        let who = who(&request);
        self.administer(&who, wire::delete_org(request.into_inner())?).await?;
        Ok(Response::new(v1::DeleteOrgResponse {}))
    }

    async fn put_workspace(
        &self,
        request: Request<v1::PutWorkspaceRequest>,
    ) -> Result<Response<v1::PutWorkspaceResponse>, Status> {
        let who = who(&request);
        let entry = self.administer(&who, wire::put_workspace(request.into_inner())?).await?;
        Ok(Response::new(v1::PutWorkspaceResponse { entry: Some(wire::org_entry(entry)) }))
    }

    async fn delete_workspace(
        &self,
        request: Request<v1::DeleteWorkspaceRequest>,
    ) -> Result<Response<v1::DeleteWorkspaceResponse>, Status> {
        let who = who(&request);
        let entry = self.administer(&who, wire::delete_workspace(request.into_inner())?).await?;
        Ok(Response::new(v1::DeleteWorkspaceResponse { entry: Some(wire::org_entry(entry)) }))
    }

    async fn put_execution_user(
        &self,
        request: Request<v1::PutExecutionUserRequest>,
    ) -> Result<Response<v1::PutExecutionUserResponse>, Status> {
        let who = who(&request);
        let entry = self.administer(&who, wire::put_execution_user(request.into_inner())?).await?;
        Ok(Response::new(v1::PutExecutionUserResponse { entry: Some(wire::org_entry(entry)) }))
    }

    async fn delete_execution_user(
        &self,
        request: Request<v1::DeleteExecutionUserRequest>,
    ) -> Result<Response<v1::DeleteExecutionUserResponse>, Status> {
        let who = who(&request);
        let what = wire::delete_execution_user(request.into_inner())?;
        let entry = self.administer(&who, what).await?;
        Ok(Response::new(v1::DeleteExecutionUserResponse { entry: Some(wire::org_entry(entry)) }))
    }

    async fn get_cluster(
        &self,
        _: Request<v1::GetClusterRequest>,
    ) -> Result<Response<v1::GetClusterResponse>, Status> {
        Ok(Response::new(wire::cluster(self.node.cluster())))
    }
}
