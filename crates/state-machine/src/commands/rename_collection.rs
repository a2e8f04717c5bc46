//! Gives a collection another name, in its database or in another one. What is in it is found by its id, and so stays.

use crate::catalog::{FoundCollection, Target, bounds, create, find, row_keys, show, storage};
use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::instances::{self, Route};
use crate::keys::VersionedTable;
use crate::record::NameRecord;
use quorate_model::MetaError;
use quorate_wire::quorate::v1::{Collection, RenameCollectionRequest};

#[derive(Clone, PartialEq, prost::Message)]
pub struct RenameCollection {
    #[prost(string, tag = "1")]
    pub instance_id: String,
    #[prost(string, tag = "2")]
    pub database: String,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(string, tag = "4")]
    pub new_name: String,
    #[prost(string, tag = "5")]
    pub new_database: String,
}

impl Prepare for RenameCollection {
    type Request = RenameCollectionRequest;

    fn prepare(request: RenameCollectionRequest, _: &PrepareContext<'_>) -> Result<RenameCollection, MetaError> {
        let RenameCollectionRequest {
            instance_id,
            database,
            name,
            new_name,
            new_database,
        } = request;
        bounds::check_instance(&instance_id)?;
        let database = bounds::database_name(database)?;
        bounds::check_name("collection", &name)?;
        bounds::check_name("new collection", &new_name)?;
        let new_database = if new_database.is_empty() { database.clone() } else { new_database };
        bounds::check_name("new database", &new_database)?;
        Ok(RenameCollection {
            instance_id,
            database,
            name,
            new_name,
            new_database,
        })
    }
}

impl Command for RenameCollection {
    type Reply = Collection;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<Collection, ApplyError> {
        let target = Target::of(context.reader(), &self.instance_id)?;
        let FoundCollection { id, mut record, .. } =
            find::find_collection(context.reader(), &target.lineage, &self.database, &self.name)?;
        let database_id = create::database_to_use(context, &target, &self.new_database)?;
        create::check_collection_name_free(context.reader(), &target, &self.new_database, database_id, &self.new_name)?;
        let old_name = row_keys::collection_name(record.database_id, &record.name);
        target.end(context, VersionedTable::CollectionName, &old_name)?;
        record.database_id = database_id;
        record.name.clone_from(&self.new_name);
        let new_name = row_keys::collection_name(database_id, &self.new_name);
        target.put(context, VersionedTable::CollectionName, &new_name, &NameRecord { id })?;
        target.put(context, VersionedTable::Collection, &row_keys::collection(id), &record)?;
        let instance = instances::require(context.reader(), &self.instance_id, Route::Read)?;
        let revision = context.revision();
        let found = FoundCollection { id, record, revision };
        Ok(Collection {
            vault: storage::display_name(&instance, &found.record.vault),
            ..show::collection(&self.new_database, &found)
        })
    }
}
