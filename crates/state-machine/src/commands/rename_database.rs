//! Gives a database another name. What is in it is found by its id, and so stays.

use crate::catalog::{DEFAULT_DATABASE, Target, bounds, find, show};
use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::keys::VersionedTable;
use quorate_model::MetaError;
use quorate_wire::quorate::v1::{Database, RenameDatabaseRequest};

#[derive(Clone, PartialEq, prost::Message)]
pub struct RenameDatabase {
    #[prost(string, tag = "1")]
    pub instance_id: String,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(string, tag = "3")]
    pub new_name: String,
}

impl Prepare for RenameDatabase {
    type Request = RenameDatabaseRequest;

    fn prepare(request: RenameDatabaseRequest, _: &PrepareContext<'_>) -> Result<RenameDatabase, MetaError> {
        let RenameDatabaseRequest {
            instance_id,
            name,
            new_name,
        } = request;
        bounds::check_instance(&instance_id)?;
        let name = bounds::database_name(name)?;
        bounds::check_name("new database", &new_name)?;
        if name == DEFAULT_DATABASE {
            return Err(MetaError::invalid("database \"default\" cannot be renamed: an absent name means it; create another one"));
        }
        Ok(RenameDatabase {
            instance_id,
            name,
            new_name,
        })
    }
}

impl Command for RenameDatabase {
    type Reply = Database;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<Database, ApplyError> {
        let target = Target::of(context.reader(), &self.instance_id)?;
        let mut found = find::find_database(context.reader(), &target.lineage, &self.name)?;
        if find::look_up_database(context.reader(), &target.lineage, &self.new_name)?.is_some() {
            return Err(MetaError::exists(format!("database {:?} exists", self.new_name)).into());
        }
        target.end(context, VersionedTable::Database, self.name.as_bytes())?;
        target.put(context, VersionedTable::Database, self.new_name.as_bytes(), &found.record)?;
        found.name.clone_from(&self.new_name);
        found.revision = context.revision();
        Ok(show::database(&found))
    }
}
