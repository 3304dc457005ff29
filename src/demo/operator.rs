//! The one who watches the service, and raises a cap that keeps events waiting.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::time::{Instant, timeout};
use tonic::transport::{Channel, Endpoint};

use super::{
    picture::Side,
    world::{RAISE, World},
};
use crate::{
    proto::{
        admin::v1::{
            PutWorkspaceRequest, Workspace as Declaration, admin_service_client::AdminServiceClient,
        },
        v1::{
            ClassRunState, ClassState, GetUsageRequest, OrgUsage, TrafficClass,
            quota_service_client::QuotaServiceClient,
        },
    },
    quota::Class,
};

/// What only the service knows, and a hand at its settings.
pub(super) struct Operator {
    world: Arc<World>,
    quota: QuotaServiceClient<Channel>,
    admin: AdminServiceClient<Channel>,
    /// How long events wait before somebody acts.
    hesitation: Duration,
    paused_since: Option<Instant>,
    has_raised: bool,
}

/// The service answers in a millisecond; a machine that is busy may take longer.
const PATIENCE: Duration = Duration::from_secs(1);

impl Operator {
    pub(super) async fn connect(
        addr: SocketAddr,
        world: &Arc<World>,
        hesitation: Duration,
    ) -> anyhow::Result<Self> {
        let channel = Endpoint::from_shared(format!("http://{addr}"))?.connect().await?;
        Ok(Self {
            world: Arc::clone(world),
            quota: QuotaServiceClient::new(channel.clone()),
            admin: AdminServiceClient::new(channel),
            hesitation,
            paused_since: None,
            has_raised: false,
        })
    }

    /// Adds what the service knows to what was seen from outside. If it does
    /// not answer, that is left out; the callers' figures show what is wrong.
    pub(super) async fn look(&mut self, side: &mut Side) {
        let request = GetUsageRequest { org: self.world.org.to_string() };
        let answer = timeout(PATIENCE, self.quota.get_usage(request)).await;
        let Ok(Ok(response)) = answer else { return };
        let usage = response.into_inner().usage.unwrap_or_default();
        let OrgUsage { limits, workspaces, last_reading, .. } = usage;
        // The org's total is the first of its limits.
        side.foreign_estimate =
            limits.first().filter(|_| last_reading.is_some()).map(|total| total.foreign);
        for bar in &mut side.workspaces {
            let Some(usage) = workspaces.iter().find(|usage| usage.workspace == bar.name) else {
                continue;
            };
            if let Some(cap) = usage.limits.first() {
                bar.used = cap.used_by_caller;
            }
            if let Some(state) = &usage.class_state {
                bar.paused = Class::PAUSABLE
                    .into_iter()
                    .filter_map(|class| Some((class, is_paused(state, class)?)))
                    .collect();
            }
        }
    }

    /// Raises the cap of the first workspace whose events have been paused for
    /// a while; once.
    pub(super) async fn act(&mut self, side: &Side) -> anyhow::Result<()> {
        let waits = |name: &str| {
            let bar = side.workspaces.iter().find(|bar| bar.name == name);
            bar.is_some_and(|bar| bar.paused.contains(&(Class::Event, true)))
        };
        let world = Arc::clone(&self.world);
        let workspace = world.workspaces.iter().find(|workspace| waits(workspace.id.as_str()));
        let Some((workspace, cap)) =
            workspace.and_then(|workspace| Some((workspace, workspace.cap()?)))
        else {
            self.paused_since = None;
            return Ok(());
        };
        let since = *self.paused_since.get_or_insert_with(Instant::now);
        if self.has_raised || since.elapsed() < self.hesitation {
            return Ok(());
        }
        let raised = cap * RAISE;
        let request = PutWorkspaceRequest {
            org: world.org.to_string(),
            workspace: Some(Declaration {
                id: workspace.id.to_string(),
                daily_calls: raised,
                ..Declaration::default()
            }),
            ..PutWorkspaceRequest::default()
        };
        // Declaring again what stands already changes nothing: who gets no
        // answer in time tries again.
        let Ok(answer) = timeout(PATIENCE, self.admin.put_workspace(request)).await else {
            return Ok(());
        };
        answer.context("raising a cap")?;
        self.has_raised = true;
        // Each pod is told as well.
        workspace.set_cap(raised);
        Ok(())
    }
}

/// `None` where the class has no thresholds.
fn is_paused(state: &ClassState, class: Class) -> Option<bool> {
    let status =
        state.classes.iter().find(|status| class_of(status.traffic_class()) == Some(class))?;
    Some(status.state() == ClassRunState::Paused)
}

const fn class_of(class: TrafficClass) -> Option<Class> {
    match class {
        TrafficClass::Unspecified => None,
        TrafficClass::Bulk => Some(Class::Bulk),
        TrafficClass::Event => Some(Class::Event),
        TrafficClass::Interactive => Some(Class::Interactive),
        TrafficClass::Control => Some(Class::Control),
    }
}
