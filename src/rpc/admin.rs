//! AdminService: changes are operations, carried out by the org's owner; what is
//! declared is known to every node.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{
    convert::{self, admin as wire},
    forward::{Context, Forward},
    operation::{Change, Mutation, ReplayDemand},
    rights,
};
use crate::{
    node::AdminError,
    proto::admin::v1::{self, admin_service_server::AdminService},
    quota::OrgId,
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
        let context = self.forward.context(&request)?;
        let change = Change::new(request.into_inner(), context.author())?;
        self.forward.decide(&change, &context).await
    }
}

#[tonic::async_trait]
impl AdminService for Admin {
    async fn list_orgs(
        &self,
        request: Request<v1::ListOrgsRequest>,
    ) -> Result<Response<v1::ListOrgsResponse>, Status> {
        let Context { caller, .. } = self.forward.context(&request)?;
        let (after, limit) = wire::page(request.get_ref())?;
        // What may not be shown is as if it were not there: pages are full, and
        // the next one begins after an org that was shown.
        let prefix = &request.get_ref().prefix;
        let may_show = |org: &OrgId| {
            org.as_str().starts_with(prefix) && rights::may_administer_some(&caller, org)
        };
        let (orgs, more) = self.forward.node().list_orgs(after.as_ref(), limit, may_show);
        let mut page = wire::org_page(orgs, more);
        for entry in &mut page.orgs {
            rights::cut_entry(&caller, entry);
        }
        Ok(Response::new(page))
    }

    async fn get_org(
        &self,
        request: Request<v1::GetOrgRequest>,
    ) -> Result<Response<v1::GetOrgResponse>, Status> {
        let Context { caller, .. } = self.forward.context(&request)?;
        let org = convert::org(&request.get_ref().org)?;
        rights::get_org(&caller, &org)?;
        let no_such_org = || AdminError::NotFound(format!("org: there is no org {org}"));
        let (entry, changes) = self.forward.node().get_org(&org).ok_or_else(no_such_org)?;
        let entry = Some(wire::org_entry(entry));
        let changes = changes.into_iter().map(wire::change).collect();
        let mut response = v1::GetOrgResponse { entry, changes };
        rights::cut_org(&caller, &mut response);
        Ok(Response::new(response))
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
        request: Request<v1::GetClusterRequest>,
    ) -> Result<Response<v1::GetClusterResponse>, Status> {
        rights::cluster(&self.forward.context(&request)?.caller)?;
        Ok(Response::new(wire::cluster(self.forward.node().cluster())))
    }

    async fn list_changes(
        &self,
        request: Request<v1::ListChangesRequest>,
    ) -> Result<Response<v1::ListChangesResponse>, Status> {
        let Context { caller, .. } = self.forward.context(&request)?;
        let limit = wire::changes_page(request.get_ref())?;
        let may_show = |org: &OrgId| rights::may_see_changes(&caller, org);
        let (changes, more) = self.forward.node().list_changes(limit, may_show);
        Ok(Response::new(wire::changes(changes, more)))
    }

    async fn get_catalogue(
        &self,
        request: Request<v1::GetCatalogueRequest>,
    ) -> Result<Response<v1::GetCatalogueResponse>, Status> {
        rights::catalogue(&self.forward.context(&request)?.caller)?;
        Ok(Response::new(wire::catalogue(&self.forward.node().config())))
    }

    async fn replay_demand(
        &self,
        request: Request<v1::ReplayDemandRequest>,
    ) -> Result<Response<v1::ReplayDemandResponse>, Status> {
        let context = self.forward.context(&request)?;
        self.forward.decide(&ReplayDemand::new(request.into_inner())?, &context).await
    }
}
