//! Marks nodes as out of service: they hold no work any more and can be dropped. What nodes a request means, and the tests,
//! are those of `decommission_node`.

use super::decommission_node::set_status;
use crate::cluster_request::{ClusterRequest, NameRule};
use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use quorate_model::MetaError;
use quorate_wire::doris::{AlterClusterRequest, NodeStatusPb};

#[derive(Clone, PartialEq, prost::Message)]
pub struct NotifyDecommissioned {
    #[prost(message, required, tag = "1")]
    pub request: ClusterRequest,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct NotifyDecommissionedReply {}

impl Prepare for NotifyDecommissioned {
    type Request = AlterClusterRequest;

    fn prepare(request: AlterClusterRequest, context: &PrepareContext<'_>) -> Result<NotifyDecommissioned, MetaError> {
        let request = ClusterRequest::new(request, context.settings)?;
        if let Some(cluster) = request.cluster_before_state()? {
            request.check_type_and_name(cluster, NameRule::Optional)?;
        }
        Ok(NotifyDecommissioned { request })
    }
}

impl Command for NotifyDecommissioned {
    type Reply = NotifyDecommissionedReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<NotifyDecommissionedReply, ApplyError> {
        set_status(context, &self.request, NodeStatusPb::NodeStatusDecommissioned)?;
        Ok(NotifyDecommissionedReply {})
    }
}
