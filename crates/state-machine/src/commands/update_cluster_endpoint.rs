//! Replaces the addresses at which a cluster is reached: the private one must be given, the public one may go.

use crate::cluster_request::ClusterRequest;
use crate::clusters;
use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use quorate_model::{ErrorCode, MetaError};
use quorate_wire::doris::{AlterClusterRequest, ClusterPb};

#[derive(Clone, PartialEq, prost::Message)]
pub struct UpdateClusterEndpoint {
    #[prost(message, required, tag = "1")]
    pub request: ClusterRequest,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct UpdateClusterEndpointReply {}

impl Prepare for UpdateClusterEndpoint {
    type Request = AlterClusterRequest;

    fn prepare(request: AlterClusterRequest, context: &PrepareContext<'_>) -> Result<UpdateClusterEndpoint, MetaError> {
        let request = ClusterRequest::about_existing(request, context.settings, |cluster| ClusterPb {
            public_endpoint: cluster.public_endpoint,
            private_endpoint: cluster.private_endpoint,
            ..ClusterPb::default()
        })?;
        Ok(UpdateClusterEndpoint { request })
    }
}

impl Command for UpdateClusterEndpoint {
    type Reply = UpdateClusterEndpointReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<UpdateClusterEndpointReply, ApplyError> {
        let (instance_id, wanted) = self.request.resolve(context.reader())?;
        let (instance, mut cluster) = clusters::find_to_update(context.reader(), &instance_id, wanted)?;
        if wanted.private_endpoint().is_empty() {
            return Err(MetaError::new(ErrorCode::EndpointMissing, "missing private endpoint").into());
        }
        cluster.record.info.public_endpoint = Some(wanted.public_endpoint().to_owned());
        cluster.record.info.private_endpoint = Some(wanted.private_endpoint().to_owned());
        cluster.record.info.mtime = Some(context.now().seconds());
        clusters::put(context, instance.scope, &cluster);
        Ok(UpdateClusterEndpointReply {})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::AddCluster;
    use crate::resource_fixture::{START_SECONDS, World, cluster, on_instance};
    use quorate_model::ErrorCode::{EndpointMissing, InvalidArgument};
    use quorate_wire::doris::cluster_pb::Type;

    fn endpoints(id: &str, public: Option<&str>, private: Option<&str>) -> AlterClusterRequest {
        on_instance(ClusterPb {
            cluster_id: Some(id.to_owned()),
            public_endpoint: public.map(str::to_owned),
            private_endpoint: private.map(str::to_owned),
            ..Default::default()
        })
    }

    #[test]
    fn both_endpoints_are_replaced_and_an_absent_public_one_becomes_empty() {
        let mut world = World::with_instance();
        world
            .run::<AddCluster>(on_instance(cluster(Type::Compute, "c", Vec::new())))
            .expect("added");
        world.now_seconds += 7;
        let rows = world
            .run::<UpdateClusterEndpoint>(endpoints("c", Some("p.example:1"), Some("10.0.0.9:1")))
            .expect("replaced");
        assert_eq!(rows, 1);
        let shown = |world: &World| {
            let cluster = world.instance("i").clusters.remove(0);
            (cluster.public_endpoint, cluster.private_endpoint, cluster.mtime)
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(shown(&world), (text("p.example:1"), text("10.0.0.9:1"), Some(START_SECONDS + 7)));
        world
            .run::<UpdateClusterEndpoint>(endpoints("c", None, Some("10.0.0.8:1")))
            .expect("replaced");
        assert_eq!(shown(&world), (text(""), text("10.0.0.8:1"), Some(START_SECONDS + 7)));
    }

    #[test]
    fn faults_are_reported_in_order() {
        let mut world = World::with_instance();
        world
            .run::<AddCluster>(on_instance(cluster(Type::Compute, "c", Vec::new())))
            .expect("added");
        world.refuse::<UpdateClusterEndpoint>(endpoints("", None, None), InvalidArgument, "missing cluster_id=");
        let elsewhere = AlterClusterRequest {
            instance_id: Some("x".to_owned()),
            ..endpoints("c", None, None)
        };
        let text = "failed to get instance, instance_id=x err=KeyNotFound";
        world.refuse::<UpdateClusterEndpoint>(elsewhere, InvalidArgument, text);
        let text = "failed to find cluster to update, instance_id=i cluster_id=z cluster_name=";
        world.refuse::<UpdateClusterEndpoint>(endpoints("z", None, None), InvalidArgument, text);
        for private in [None, Some("")] {
            let request = endpoints("c", Some("p"), private);
            world.refuse::<UpdateClusterEndpoint>(request, EndpointMissing, "missing private endpoint");
        }
    }
}
