//! `quorate vault`: where an instance's data rests.

use crate::confirm::{self, ConfirmArguments};
use crate::context::{Context, caller_of};
use crate::doris::{Answer, Connection};
use crate::output::{self, Sheet, list, text};
use crate::store::{AccessArguments, StoreArguments};
use anyhow::{Context as _, bail};
use clap::Subcommand;
use serde_json::{Map, Value as Json, json};

#[derive(Subcommand)]
pub enum VaultVerb {
    /// List an instance's vaults.
    List { instance: String },
    /// Show one vault.
    Show { instance: String, name: String },
    /// Add a vault in an object store.
    AddS3 {
        instance: String,
        name: String,
        #[command(flatten)]
        store: Box<StoreArguments>,
        /// Make it the default for new tables.
        #[arg(long)]
        default: bool,
    },
    /// Add a vault in HDFS.
    AddHdfs {
        instance: String,
        name: String,
        /// Name node, as `hdfs://host:port`.
        #[arg(long)]
        fs_name: String,
        /// Directory; a random suffix is added, so that no two vaults share one.
        #[arg(long, default_value = "")]
        prefix: String,
        /// User of HDFS.
        #[arg(long)]
        user: Option<String>,
        /// A setting of the HDFS client, as `key=value`; may be repeated.
        #[arg(long = "conf", value_parser = key_and_value)]
        confs: Vec<(String, String)>,
        /// Make it the default for new tables.
        #[arg(long)]
        default: bool,
    },
    /// Rename an S3 vault, or change how it is accessed. Its place never changes.
    AlterS3 {
        instance: String,
        name: String,
        /// New name.
        #[arg(long)]
        rename: Option<String>,
        #[command(flatten)]
        access: AccessArguments,
    },
    /// Remove an HDFS vault from the instance. An S3 vault cannot be removed; no data is deleted.
    Drop {
        instance: String,
        name: String,
        #[command(flatten)]
        confirm: ConfirmArguments,
    },
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("is not `key=value`".to_owned()),
    }
}

/// What the instance keeps its data in.
pub async fn read(connection: &Connection, instance: &str) -> anyhow::Result<Json> {
    let body = json!({"cloud_unique_id": caller_of(instance)?});
    Ok(connection.read("get_obj_store_info", &body).await?.result)
}

fn find(stores: &Json, instance: &str, name: &str) -> anyhow::Result<Json> {
    let mut vaults = list(stores, "storage_vault").iter();
    let found = vaults.find(|vault| text(vault, "name") == name).cloned();
    found.with_context(|| format!("instance {instance} has no vault {name}; `quorate vault list {instance}` shows those it has"))
}

pub async fn run(verb: VaultVerb, context: &Context) -> anyhow::Result<()> {
    let connection = context.open()?;
    let (route, instance, vault, default, sentence) = match verb {
        VaultVerb::List { instance } => {
            output::show(&context.output, read(&connection, &instance).await?, |stores| {
                let vaults = list(stores, "storage_vault");
                let sentence = format!("Instance {instance} has {} vaults.", vaults.len());
                (sentence, sheet(vaults, &text(stores, "default_storage_vault_id")))
            });
            return Ok(());
        }
        VaultVerb::Show { instance, name } => {
            let stores = read(&connection, &instance).await?;
            let vault = find(&stores, &instance, &name)?;
            output::show(&context.output, vault, |vault| {
                let sheet = sheet(std::slice::from_ref(vault), &text(&stores, "default_storage_vault_id"));
                (format!("Vault {name} of instance {instance}."), sheet)
            });
            return Ok(());
        }
        VaultVerb::AddS3 {
            instance,
            name,
            store,
            default,
        } => {
            let store = store
                .message()?
                .context("a vault needs at least --bucket, --store-endpoint, --region and --provider")?;
            let vault = json!({"name": name, "obj_info": store});
            ("add_s3_vault", instance, vault, default, format!("vault {name} added"))
        }
        VaultVerb::AddHdfs {
            instance,
            name,
            fs_name,
            prefix,
            user,
            confs,
            default,
        } => {
            let vault = json!({"name": name, "hdfs_info": hdfs(&fs_name, &prefix, user, &confs)});
            ("add_hdfs_vault", instance, vault, default, format!("vault {name} added"))
        }
        VaultVerb::AlterS3 {
            instance,
            name,
            rename,
            access,
        } => {
            let vault = altered(&name, rename, &access)?;
            ("alter_s3_vault", instance, vault, false, format!("vault {name} altered"))
        }
        VaultVerb::Drop { instance, name, confirm } => {
            let answer = drop_vault(&connection, &instance, &name, &confirm).await?;
            output::done(&context.output, &format!("vault {name} dropped"), &answer);
            return Ok(());
        }
    };
    let mut body = json!({"cloud_unique_id": caller_of(&instance)?, "vault": vault});
    if default {
        body["set_as_default_storage_vault"] = json!(true);
    }
    let answer = connection.write(route, &body).await?;
    output::done(&context.output, &sentence, &answer);
    Ok(())
}

fn altered(name: &str, rename: Option<String>, access: &AccessArguments) -> anyhow::Result<Json> {
    let access = access.message()?;
    if rename.is_none() && access.is_empty() {
        bail!("nothing to change: give --rename, --ak, --role-arn or --path-style");
    }
    let mut vault = json!({"name": name, "obj_info": access});
    if let Some(rename) = rename {
        vault["alter_name"] = json!(rename);
    }
    Ok(vault)
}

/// Drops a vault when that was agreed to; an S3 vault is sent to its own route, which says why it stays.
async fn drop_vault(connection: &Connection, instance: &str, name: &str, confirm: &ConfirmArguments) -> anyhow::Result<Answer> {
    let stores = read(connection, instance).await?;
    let vault = find(&stores, instance, name)?;
    let what = what_goes(instance, &vault, &stores);
    let is_s3 = vault.get("obj_info").is_some();
    let route = if is_s3 { "drop_s3_vault" } else { "drop_hdfs_vault" };
    let body = json!({"cloud_unique_id": caller_of(instance)?, "vault": vault});
    confirm::change(connection, confirm, &what, connection.writing(route, &body)).await
}

fn hdfs(fs_name: &str, prefix: &str, user: Option<String>, confs: &[(String, String)]) -> Json {
    let mut conf = Map::new();
    conf.insert("fs_name".to_owned(), json!(fs_name));
    if let Some(user) = user {
        conf.insert("user".to_owned(), json!(user));
    }
    let confs: Vec<Json> = confs.iter().map(|(key, value)| json!({"key": key, "value": value})).collect();
    conf.insert("hdfs_confs".to_owned(), Json::Array(confs));
    json!({"build_conf": conf, "prefix": prefix})
}

fn what_goes(instance: &str, vault: &Json, stores: &Json) -> String {
    let is_default = vault["id"] == stores["default_storage_vault_id"];
    format!(
        "This removes vault {} ({}){} from instance {instance}: tables in it can no longer be read. Its files stay.",
        text(vault, "name"),
        place(vault),
        if is_default { ", the default," } else { "" },
    )
}

fn place(vault: &Json) -> String {
    let store = &vault["obj_info"];
    if store.is_object() {
        return format!("{} {}/{}", text(store, "provider"), text(store, "bucket"), text(store, "prefix"));
    }
    let hdfs = &vault["hdfs_info"];
    format!("HDFS {}/{}", text(&hdfs["build_conf"], "fs_name"), text(hdfs, "prefix"))
}

fn sheet(vaults: &[Json], default_id: &str) -> Sheet {
    let mut sheet = Sheet::new(["ID", "NAME", "PLACE", "ACCESS", "DEFAULT"]);
    for vault in vaults {
        let store = &vault["obj_info"];
        let access = match (text(store, "ak"), text(store, "role_arn")) {
            (ak, _) if !ak.is_empty() => format!("key {ak}"),
            (_, role) if !role.is_empty() => format!("role {role}"),
            _ => text(&vault["hdfs_info"]["build_conf"], "user"),
        };
        let id = text(vault, "id");
        let default = if id == default_id { "yes" } else { "" };
        sheet.row([id, text(vault, "name"), place(vault), access, default.to_owned()]);
    }
    sheet
}
