//! Creates a database.

use crate::catalog::{FoundDatabase, Target, bounds, create, find, show};
use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use quorate_model::MetaError;
use quorate_wire::quorate::v1::{CreateDatabaseRequest, Database};
use std::collections::BTreeMap;

#[derive(Clone, PartialEq, prost::Message)]
pub struct CreateDatabase {
    #[prost(string, tag = "1")]
    pub instance_id: String,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(btree_map = "string, string", tag = "3")]
    pub properties: BTreeMap<String, String>,
}

impl Prepare for CreateDatabase {
    type Request = CreateDatabaseRequest;

    fn prepare(request: CreateDatabaseRequest, _: &PrepareContext<'_>) -> Result<CreateDatabase, MetaError> {
        let CreateDatabaseRequest {
            instance_id,
            name,
            properties,
        } = request;
        bounds::check_instance(&instance_id)?;
        bounds::check_name("database", &name)?;
        bounds::check_properties(&properties)?;
        Ok(CreateDatabase {
            instance_id,
            name,
            properties,
        })
    }
}

impl Command for CreateDatabase {
    type Reply = Database;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<Database, ApplyError> {
        let target = Target::of(context.reader(), &self.instance_id)?;
        if find::look_up_database(context.reader(), &target.lineage, &self.name)?.is_some() {
            return Err(MetaError::exists(format!("database {:?} exists", self.name)).into());
        }
        let record = create::add_database(context, &target, &self.name, self.properties.clone())?;
        Ok(show::database(&FoundDatabase {
            name: self.name.clone(),
            record,
            revision: context.revision(),
        }))
    }
}
