//! `quorate key`: the keys that open an instance's object stores, and those of the account that peers work under.

use crate::context::{Context, caller_of};
use crate::output::{self, Sheet, list, text};
use crate::secret::KeyArguments;
use crate::{doris::Connection, vault};
use clap::Subcommand;
use serde_json::{Value as Json, json};

#[derive(Subcommand)]
pub enum KeyVerb {
    /// List an instance's keys and the root keys that encrypt them.
    List { instance: String },
    /// Give one object store new keys.
    SetStore {
        instance: String,
        /// Id of the object store.
        id: String,
        #[command(flatten)]
        keys: KeyArguments,
    },
    /// Give new keys to every object store of an account.
    SetUser {
        instance: String,
        /// Id of the account.
        user_id: String,
        #[command(flatten)]
        keys: KeyArguments,
        /// The account is the instance's own, not that of its object stores.
        #[arg(long)]
        own: bool,
    },
    /// Set the account that peers work under, for all instances.
    SetAccount {
        /// Id of the account.
        account_id: String,
        #[command(flatten)]
        keys: KeyArguments,
    },
}

pub async fn run(verb: KeyVerb, context: &Context) -> anyhow::Result<()> {
    let connection = context.open()?;
    let (route, body, sentence) = match verb {
        KeyVerb::List { instance } => {
            let keys = read(&connection, &instance).await?;
            output::show(&context.output, keys, |keys| sheet(&instance, keys));
            return Ok(());
        }
        KeyVerb::SetStore { instance, id, keys } => {
            let (ak, sk) = keys.required()?;
            let body = json!({"cloud_unique_id": caller_of(&instance)?, "obj": {"id": id, "ak": ak, "sk": sk}});
            ("alter_obj_info", body, format!("object store {id} has new keys"))
        }
        KeyVerb::SetUser {
            instance,
            user_id,
            keys,
            own,
        } => {
            let (ak, sk) = keys.required()?;
            let user = json!({"user_id": user_id, "ak": ak, "sk": sk});
            let body = match own {
                true => json!({"instance_id": instance, "ram_user": user}),
                false => json!({"instance_id": instance, "internal_bucket_user": [user]}),
            };
            ("update_ak_sk", body, format!("account {user_id} has new keys"))
        }
        KeyVerb::SetAccount { account_id, keys } => {
            let (ak, sk) = keys.required()?;
            let body = json!({"account_id": account_id, "ak": ak, "sk": sk});
            ("alter_iam", body, format!("peers work under account {account_id}"))
        }
    };
    let answer = connection.write(route, &body).await?;
    let sentence = match answer.message.as_str() {
        "" => sentence,
        message => message.to_owned(),
    };
    output::done(&context.output, &sentence, &answer);
    Ok(())
}

/// Everything of the instance that has keys.
async fn read(connection: &Connection, instance: &str) -> anyhow::Result<Json> {
    let stores = vault::read(connection, instance).await?;
    let shown = connection.read_query("get_instance", &[("instance_id", instance)]).await?.result;
    let mut keys = Vec::new();
    for store in list(&stores, "obj_info") {
        keys.push(entry("object store", &text(store, "id"), store));
    }
    for vault in list(&stores, "storage_vault").iter().filter(|vault| vault["obj_info"].is_object()) {
        keys.push(entry("vault", &text(vault, "name"), &vault["obj_info"]));
    }
    for (what, name) in [("instance account", "ram_user"), ("peer account", "iam_user")] {
        if !text(&shown[name], "user_id").is_empty() {
            keys.push(entry(what, &text(&shown[name], "user_id"), &shown[name]));
        }
    }
    Ok(Json::Array(keys))
}

fn entry(what: &str, id: &str, holder: &Json) -> Json {
    json!({
        "of": what, "id": id, "ak": text(holder, "ak"), "sk": text(holder, "sk"), "role_arn": text(holder, "role_arn"),
        "root_key_id": text(&holder["encryption_info"], "key_id")
    })
}

fn sheet(instance: &str, keys: &Json) -> (String, Sheet) {
    let keys = keys.as_array().map_or(&[][..], Vec::as_slice);
    let mut sheet = Sheet::new(["OF", "ID", "ACCESS KEY", "SECRET", "ROLE", "ROOT KEY"]);
    for key in keys {
        sheet.row(["of", "id", "ak", "sk", "role_arn", "root_key_id"].map(|name| text(key, name)));
    }
    (format!("Instance {instance} has {} keys.", keys.len()), sheet)
}
