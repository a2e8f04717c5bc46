//! Creates a collection with its partitions, and the database `default` if it is the first thing there.

use crate::catalog::{DEFAULT_PARTITION, FoundCollection, Target, bounds, create, row_keys, show, storage};
use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::instances::{self, Route};
use crate::keys::VersionedTable;
use crate::record::{CollectionRecord, NameRecord};
use crate::{object_ids, text_bounds};
use bytes::Bytes;
use quorate_model::MetaError;
use quorate_wire::quorate::v1::{Collection, CreateCollectionRequest};
use std::collections::BTreeMap;

#[derive(Clone, PartialEq, prost::Message)]
pub struct CreateCollection {
    #[prost(string, tag = "1")]
    pub instance_id: String,
    #[prost(string, tag = "2")]
    pub database: String,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(bytes = "bytes", tag = "4")]
    pub schema: Bytes,
    #[prost(btree_map = "string, string", tag = "5")]
    pub properties: BTreeMap<String, String>,
    /// As named by the caller; empty: the peers' local directory.
    #[prost(string, tag = "6")]
    pub vault: String,
    #[prost(string, repeated, tag = "7")]
    pub partitions: Vec<String>,
}

impl Prepare for CreateCollection {
    type Request = CreateCollectionRequest;

    fn prepare(request: CreateCollectionRequest, _: &PrepareContext<'_>) -> Result<CreateCollection, MetaError> {
        let CreateCollectionRequest {
            instance_id,
            database,
            name,
            schema,
            properties,
            vault,
            mut partitions,
        } = request;
        bounds::check_instance(&instance_id)?;
        let database = bounds::database_name(database)?;
        bounds::check_name("collection", &name)?;
        bounds::check_schema(&schema)?;
        bounds::check_properties(&properties)?;
        text_bounds::check_text("vault", &vault)?;
        bounds::check_partitions(&partitions)?;
        if partitions.is_empty() {
            partitions.push(DEFAULT_PARTITION.to_owned());
        }
        let command = CreateCollection {
            instance_id,
            database,
            name,
            schema,
            properties,
            vault,
            partitions,
        };
        text_bounds::check_command_size("create_collection", &command)?;
        Ok(command)
    }
}

impl Command for CreateCollection {
    type Reply = Collection;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<Collection, ApplyError> {
        let target = Target::of(context.reader(), &self.instance_id)?;
        let instance = instances::require(context.reader(), &self.instance_id, Route::Read)?;
        let store = storage::resolve_usable(context.reader(), &instance, &self.vault)?;
        let database_id = create::database_to_use(context, &target, &self.database)?;
        create::check_collection_name_free(context.reader(), &target, &self.database, database_id, &self.name)?;
        let id = object_ids::next(context);
        let record = CollectionRecord {
            database_id,
            name: self.name.clone(),
            schema: self.schema.clone(),
            properties: self.properties.clone(),
            vault: store.id().to_owned(),
            created_ms: context.now().0,
            partitions: self.partitions.len() as u64,
            created_at: context.revision().0,
        };
        let name_key = row_keys::collection_name(database_id, &self.name);
        target.put(context, VersionedTable::CollectionName, &name_key, &NameRecord { id })?;
        target.put_new(context, VersionedTable::Collection, &row_keys::collection(id), &record);
        for partition in &self.partitions {
            create::add_partition(context, &target, id, partition)?;
        }
        let revision = context.revision();
        let found = FoundCollection { id, record, revision };
        Ok(Collection {
            vault: storage::display_name(&instance, store.id()),
            ..show::collection(&self.database, &found)
        })
    }
}
