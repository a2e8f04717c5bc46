//! Has an instance's object stores encrypt on their side from now on. The opposite of `disable_instance_sse`.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::instances::{self, ServerSideEncryption};
use quorate_model::MetaError;
use quorate_wire::doris::AlterInstanceRequest;

#[derive(Clone, PartialEq, prost::Message)]
pub struct EnableInstanceSse {
    #[prost(string, tag = "1")]
    pub instance_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct EnableInstanceSseReply {}

impl Prepare for EnableInstanceSse {
    type Request = AlterInstanceRequest;

    fn prepare(request: AlterInstanceRequest, _: &PrepareContext<'_>) -> Result<EnableInstanceSse, MetaError> {
        let instance_id = instances::given_id(&request)?;
        Ok(EnableInstanceSse { instance_id })
    }
}

impl Command for EnableInstanceSse {
    type Reply = EnableInstanceSseReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<EnableInstanceSseReply, ApplyError> {
        instances::switch_encryption(context, &self.instance_id, ServerSideEncryption::On)?;
        Ok(EnableInstanceSseReply {})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::DisableInstanceSse;
    use crate::resource_fixture::{START_SECONDS, World};
    use quorate_model::ErrorCode::{InvalidArgument, NotFound};
    use quorate_wire::doris::ObjectStoreInfoPb;

    fn of(instance_id: &str) -> AlterInstanceRequest {
        AlterInstanceRequest {
            instance_id: Some(instance_id.to_owned()),
            ..Default::default()
        }
    }

    #[test]
    fn instance_and_stores_are_switched_on_and_off_together() {
        let mut world = World::with_instance();
        let store = |id: &str| ObjectStoreInfoPb {
            id: Some(id.to_owned()),
            ..Default::default()
        };
        world.change_instance("i", |info| info.obj_info = vec![store("1"), store("2")]);
        let shown = |world: &World| {
            let info = world.instance("i");
            let stores: Vec<_> = info.obj_info.iter().map(|store| (store.sse_enabled(), store.mtime())).collect();
            (info.sse_enabled(), info.mtime(), stores)
        };
        world.now_seconds += 5;
        world.run::<EnableInstanceSse>(of("i")).expect("switched");
        let at = START_SECONDS + 5;
        assert_eq!(shown(&world), (true, at, vec![(true, at), (true, at)]));
        world.now_seconds += 5;
        world.run::<DisableInstanceSse>(of("i")).expect("switched");
        let at = START_SECONDS + 10;
        assert_eq!(shown(&world), (false, at, vec![(false, at), (false, at)]));
    }

    #[test]
    fn what_is_so_already_and_what_is_not_there_is_refused() {
        let mut world = World::with_instance();
        let text = "failed to disable sse, instance has disabled sse";
        world.refuse::<DisableInstanceSse>(of("i"), InvalidArgument, text);
        world.run::<EnableInstanceSse>(of("i")).expect("switched");
        let text = "failed to enable sse, instance has enabled sse";
        world.refuse::<EnableInstanceSse>(of("i"), InvalidArgument, text);
        let text = "instance not existed, instance_id=j, err=KeyNotFound";
        world.refuse::<EnableInstanceSse>(of("j"), NotFound, text);
        world.refuse::<DisableInstanceSse>(of("j"), NotFound, text);
        world.refuse::<EnableInstanceSse>(of(""), InvalidArgument, "instance id not set");
        world.refuse::<DisableInstanceSse>(of(""), InvalidArgument, "instance id not set");
    }
}
