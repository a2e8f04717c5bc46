//! Gives an instance another name. Names are for people: they need not be unique, and ids stay as they are.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::instances::{self, Route};
use crate::text_bounds;
use quorate_model::MetaError;
use quorate_wire::doris::AlterInstanceRequest;

#[derive(Clone, PartialEq, prost::Message)]
pub struct RenameInstance {
    #[prost(string, tag = "1")]
    pub instance_id: String,
    #[prost(string, tag = "2")]
    pub name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct RenameInstanceReply {}

impl Prepare for RenameInstance {
    type Request = AlterInstanceRequest;

    fn prepare(request: AlterInstanceRequest, _: &PrepareContext<'_>) -> Result<RenameInstance, MetaError> {
        let instance_id = instances::given_id(&request)?;
        text_bounds::check_texts(&[("name", &request.name)])?;
        Ok(RenameInstance {
            instance_id,
            name: request.name.unwrap_or_default(),
        })
    }
}

impl Command for RenameInstance {
    type Reply = RenameInstanceReply;

    /// A missing instance is reported before a missing name, so both are decided here. `mtime` stays (spec/doris-http.md 11.1).
    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<RenameInstanceReply, ApplyError> {
        let mut instance = instances::require(context.reader(), &self.instance_id, Route::AlterInstance)?;
        if self.name.is_empty() {
            return Err(MetaError::invalid("rename instance name, but not set").into());
        }
        instance.info.name = Some(self.name.clone());
        instances::put(context, &instance);
        Ok(RenameInstanceReply {})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::DropInstance;
    use crate::resource_fixture::World;
    use quorate_model::ErrorCode::{InvalidArgument, NotFound};

    fn rename(instance_id: &str, name: &str) -> AlterInstanceRequest {
        AlterInstanceRequest {
            instance_id: Some(instance_id.to_owned()),
            name: Some(name.to_owned()),
            ..Default::default()
        }
    }

    #[test]
    fn the_name_alone_changes() {
        let mut world = World::with_instance();
        let before = world.instance("i");
        assert_eq!(world.run::<RenameInstance>(rename("i", "new")).expect("renamed"), 1);
        let expected = quorate_wire::doris::InstanceInfoPb {
            name: Some("new".to_owned()),
            ..before
        };
        assert_eq!(world.instance("i"), expected);
        world.run::<RenameInstance>(rename("i", "new")).expect("the same name is no fault");
    }

    #[test]
    fn faults_are_reported_in_order() {
        let mut world = World::with_instance();
        world.refuse::<RenameInstance>(rename("", ""), InvalidArgument, "instance id not set");
        world.refuse::<RenameInstance>(AlterInstanceRequest::default(), InvalidArgument, "instance id not set");
        world.refuse::<RenameInstance>(rename("j", ""), NotFound, "instance not existed, instance_id=j, err=KeyNotFound");
        world.refuse::<RenameInstance>(rename("i", ""), InvalidArgument, "rename instance name, but not set");
        let long = "n".repeat(1_025);
        world.refuse::<RenameInstance>(rename("i", &long), InvalidArgument, "name is 1025 bytes, limit 1024 bytes; shorten it");
    }

    #[test]
    fn a_dropped_instance_can_be_renamed() {
        let mut world = World::with_instance();
        world.run::<DropInstance>(rename("i", "")).expect("dropped");
        world.run::<RenameInstance>(rename("i", "gone")).expect("renamed");
        assert_eq!(world.instance("i").name(), "gone");
    }
}
