//! Replaces the users whose default cluster this is. An empty list is a list: it clears (spec/doris-http.md 12.17).

use crate::cluster_request::ClusterRequest;
use crate::clusters;
use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use quorate_model::MetaError;
use quorate_wire::doris::{AlterClusterRequest, ClusterPb};

#[derive(Clone, PartialEq, prost::Message)]
pub struct UpdateClusterMysqlUserName {
    #[prost(message, required, tag = "1")]
    pub request: ClusterRequest,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct UpdateClusterMysqlUserNameReply {}

impl Prepare for UpdateClusterMysqlUserName {
    type Request = AlterClusterRequest;

    fn prepare(request: AlterClusterRequest, context: &PrepareContext<'_>) -> Result<UpdateClusterMysqlUserName, MetaError> {
        let request = ClusterRequest::about_existing(request, context.settings, |cluster| ClusterPb {
            mysql_user_name: cluster.mysql_user_name,
            ..ClusterPb::default()
        })?;
        Ok(UpdateClusterMysqlUserName { request })
    }
}

impl Command for UpdateClusterMysqlUserName {
    type Reply = UpdateClusterMysqlUserNameReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<UpdateClusterMysqlUserNameReply, ApplyError> {
        let (instance_id, wanted) = self.request.resolve(context.reader())?;
        let (instance, mut cluster) = clusters::find_to_update(context.reader(), &instance_id, wanted)?;
        cluster.record.info.mysql_user_name = wanted.mysql_user_name.clone();
        cluster.record.info.mtime = Some(context.now().seconds());
        clusters::put(context, instance.scope, &cluster);
        Ok(UpdateClusterMysqlUserNameReply {})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::AddCluster;
    use crate::resource_fixture::{START_SECONDS, World, cluster, on_instance};
    use quorate_model::ErrorCode::InvalidArgument;
    use quorate_wire::doris::cluster_pb::Type;

    fn users(id: &str, names: &[&str]) -> AlterClusterRequest {
        on_instance(ClusterPb {
            cluster_id: Some(id.to_owned()),
            mysql_user_name: names.iter().map(|name| (*name).to_owned()).collect(),
            ..Default::default()
        })
    }

    #[test]
    fn the_list_is_replaced_and_an_empty_one_clears_it() {
        let mut world = World::with_instance();
        world
            .run::<AddCluster>(on_instance(cluster(Type::Compute, "c", Vec::new())))
            .expect("added");
        for names in [&["jack", "rose"][..], &["jill"], &[]] {
            world.now_seconds += 1;
            assert_eq!(world.run::<UpdateClusterMysqlUserName>(users("c", names)).expect("replaced"), 1);
            assert_eq!(world.instance("i").clusters[0].mysql_user_name, names);
        }
        assert_eq!(world.instance("i").clusters[0].mtime(), START_SECONDS + 3);
    }

    #[test]
    fn faults_are_reported_in_order() {
        let mut world = World::with_instance();
        world.refuse::<UpdateClusterMysqlUserName>(users("", &["u"]), InvalidArgument, "missing cluster_id=");
        let elsewhere = AlterClusterRequest {
            instance_id: Some("x".to_owned()),
            ..users("c", &["u"])
        };
        let text = "failed to get instance, instance_id=x err=KeyNotFound";
        world.refuse::<UpdateClusterMysqlUserName>(elsewhere, InvalidArgument, text);
        let text = "failed to find cluster to update, instance_id=i cluster_id=c cluster_name=";
        world.refuse::<UpdateClusterMysqlUserName>(users("c", &["u"]), InvalidArgument, text);
        let many = vec!["u"; 1_001];
        let text = "mysql_user_name has 1001 entries, limit 1000; send fewer";
        world.refuse::<UpdateClusterMysqlUserName>(users("c", &many), InvalidArgument, text);
    }
}
