//! `quorate snapshot`: states of a collection or a whole instance that are kept.

use crate::amounts::{counted, distance, number, seconds};
use crate::api::{deleting, path};
use crate::collection::content;
use crate::confirm::{self, ConfirmArguments};
use crate::context::Context;
use crate::doris::{Connection, ROUND_PAUSE, is_not_found};
use crate::job;
use crate::names;
use crate::output::{self, Sheet, list, text};
use anyhow::bail;
use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};
use std::process::ExitCode;
use tokio::time::Instant;

/// Digits of a snapshot's id.
const ID_DIGITS: usize = 20;
/// The exit code of a snapshot that is made and cannot be used yet.
const NOT_YET: u8 = 2;

#[derive(Subcommand)]
pub enum SnapshotVerb {
    /// Keep the state of a collection, or of the whole instance, as it is now. Nothing is copied; the exit code is 2 when the snapshot is
    /// made and cannot be used yet.
    Create(CreateArguments),
    /// Show a snapshot, with the pins and clones that keep it.
    Describe {
        instance: String,
        #[command(flatten)]
        which: Which,
    },
    /// List snapshots, also those that are left of a dropped instance.
    List {
        instance: String,
        /// Only those of the collection that has this name now, whatever it was called when they were made; while there is none, of
        /// collections that had it then.
        #[arg(long, short, default_value = "")]
        collection: String,
        /// Database of the collection; when absent `default`, and any of a collection that is not there now.
        #[arg(long, short, default_value = "", requires = "collection")]
        database: String,
    },
    /// Drop a snapshot that nothing uses; what only it kept is deleted. With --collection only one of the collection that has that name now
    /// is dropped; one of a collection that was dropped or renamed goes by its id.
    Drop {
        instance: String,
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        confirm: ConfirmArguments,
    },
    /// Keep a snapshot from being dropped, and print the pin's id.
    Pin {
        instance: String,
        #[command(flatten)]
        which: Which,
        /// End the pin by itself after this long: a number with s, m, h or d, such as 12h, up to 30d; without a letter seconds.
        /// It stays until it is taken away when absent.
        #[arg(long, value_parser = seconds)]
        ttl: Option<u64>,
    },
    /// Take a pin away.
    Unpin {
        instance: String,
        #[arg(value_parser = clap::value_parser!(u64).range(1..))]
        pin_id: u64,
    },
    /// Copy a snapshot of a collection, or one collection of a snapshot of the whole instance, into a new collection, which appears when all
    /// is copied and verified.
    Restore(RestoreArguments),
}

#[derive(Args)]
pub struct CreateArguments {
    instance: String,
    /// Unique among the snapshots of the collection.
    name: String,
    /// Collection; the whole instance when absent.
    #[arg(long, short, default_value = "")]
    collection: String,
    /// Database of the collection; `default` when absent.
    #[arg(long, short, default_value = "", requires = "collection")]
    database: String,
    #[arg(long, default_value = "")]
    description: String,
    /// Drop it by itself after this long: a number with s, m, h or d, such as 90s, 12h or 30d, up to 3650d; without a letter seconds.
    /// It is kept until it is dropped when absent.
    #[arg(long, value_parser = seconds)]
    ttl: Option<u64>,
}

#[derive(Args)]
pub struct RestoreArguments {
    instance: String,
    /// Id, or name.
    snapshot: String,
    /// Collection to restore, as the snapshot names it; with the name of a snapshot of the collection, also by the name that it has now.
    /// Needed for a snapshot of the whole instance, and if several collections have a snapshot of that name. A snapshot of the collection
    /// itself is taken before one of the whole instance with the same name.
    #[arg(long, short, default_value = "")]
    collection: String,
    /// Database of the collection; when absent `default`, and any for a snapshot of a collection that is not there now.
    #[arg(long, short, default_value = "")]
    database: String,
    /// Name of the new collection.
    #[arg(long)]
    to: String,
    /// Database of the new collection.
    #[arg(long, default_value = "default")]
    to_database: String,
    /// Instance of the new collection; the same when absent.
    #[arg(long, default_value = "")]
    to_instance: String,
    /// Vault for its files; the source collection's when absent, in another instance that one's default.
    #[arg(long, default_value = "")]
    to_vault: String,
    /// Give up after this long: a number with s, m, h or d, such as 90m; without a letter seconds. 24h when absent.
    #[arg(long, value_parser = seconds)]
    give_up_after: Option<u64>,
    /// Watch it until it has ended; the exit code is its outcome.
    #[arg(long)]
    wait: bool,
}

/// Which snapshot.
#[derive(Args)]
pub struct Which {
    /// Id, or name.
    snapshot: String,
    /// Collection of a snapshot that is named, by the name that it has now, or else by the one that it had when the snapshot was made;
    /// needed only if several collections have one of that name.
    #[arg(long, short, default_value = "")]
    collection: String,
    /// Database of the collection; when absent `default`, and any for the name that it had then.
    #[arg(long, short, default_value = "")]
    database: String,
}

pub async fn run(verb: SnapshotVerb, context: &Context) -> anyhow::Result<ExitCode> {
    let connection = context.open_with_token_if_any()?;
    match verb {
        SnapshotVerb::Create(arguments) => return create(arguments, &connection, context).await,
        SnapshotVerb::Describe { instance, which } => {
            let shown = find(&connection, &instance, &which).await?;
            output::show(&context.output, shown, describe);
        }
        SnapshotVerb::List {
            instance,
            collection,
            database,
        } => {
            let found = listed(&connection, &instance, &collection, &database).await?;
            output::show(&context.output, Json::Array(found), |found| list_sheet(&instance, found));
        }
        SnapshotVerb::Drop { instance, which, confirm } => drop_snapshot(&instance, &which, &confirm, &connection, context).await?,
        SnapshotVerb::Pin { instance, which, ttl } => pin(&instance, &which, ttl, &connection, context).await?,
        SnapshotVerb::Unpin { instance, pin_id } => {
            let change = deleting(&path(&["instances", &instance, "pins", &pin_id.to_string()]));
            let answer = connection.perform(&change).await?;
            confirm::found(&answer, &format!("pin {pin_id}"))?;
            output::done(&context.output, &format!("pin {pin_id} taken away"), &answer);
        }
        SnapshotVerb::Restore(arguments) => return restore(arguments, &connection, context).await,
    }
    Ok(ExitCode::SUCCESS)
}

async fn create(arguments: CreateArguments, connection: &Connection, context: &Context) -> anyhow::Result<ExitCode> {
    let instance = &arguments.instance;
    let body = json!({
        "name": arguments.name, "collection": arguments.collection, "database": arguments.database,
        "description": arguments.description, "ttl_seconds": arguments.ttl.unwrap_or_default()
    });
    let made = connection.post(&path(&["instances", instance, "snapshots"]), &body).await?.result;
    let made = until_committed(connection, instance, made).await?;
    let is_usable = text(&made, "state") == "COMMITTED";
    output::show(&context.output, made, describe);
    Ok(if is_usable { ExitCode::SUCCESS } else { ExitCode::from(NOT_YET) })
}

async fn drop_snapshot(
    instance: &str,
    which: &Which,
    confirm: &ConfirmArguments,
    connection: &Connection,
    context: &Context,
) -> anyhow::Result<()> {
    let shown = find_to_drop(connection, instance, which).await?;
    let (pins, clones) = (number(&shown, "pins"), clones(&shown).len() as u64);
    let refused = match pins + clones {
        0 => String::new(),
        _ => format!(
            " It has {} and {}, and is not dropped before these are gone.",
            counted(pins, "pin"),
            counted(clones, "clone")
        ),
    };
    let what = format!(
        "This drops {}, made {}.{refused}",
        title(&shown),
        distance(number(&shown, "created_ms"))
    );
    let id = text(&shown, "snapshot_id");
    let change = deleting(&path(&["instances", instance, "snapshots", &id]));
    let answer = confirm::change(connection, confirm, &what, change).await?;
    confirm::found(&answer, &format!("snapshot {id}"))?;
    output::done(&context.output, &format!("snapshot {id} dropped"), &answer);
    Ok(())
}

async fn pin(instance: &str, which: &Which, ttl: Option<u64>, connection: &Connection, context: &Context) -> anyhow::Result<()> {
    let id = text(&find(connection, instance, which).await?, "snapshot_id");
    let body = json!({"ttl_seconds": ttl.unwrap_or_default()});
    let pins = path(&["instances", instance, "snapshots", &id, "pins"]);
    let answer = connection.post(&pins, &body).await?;
    output::show(&context.output, answer.result, |pin| {
        let until = match number(pin, "expires_ms") {
            0 => "until it is taken away".to_owned(),
            expires_ms => format!("and ends {}", distance(expires_ms)),
        };
        (format!("Pin {} keeps snapshot {id} {until}.", text(pin, "pin_id")), Sheet::new([]))
    });
    Ok(())
}

async fn restore(arguments: RestoreArguments, connection: &Connection, context: &Context) -> anyhow::Result<ExitCode> {
    let which = Which {
        snapshot: arguments.snapshot,
        collection: arguments.collection,
        database: arguments.database,
    };
    let found = find_to_restore(connection, &arguments.instance, &which).await?;
    let id = text(&found, "snapshot_id");
    let mut body = json!({
        "target_collection": arguments.to, "target_database": arguments.to_database, "target_instance_id": arguments.to_instance,
        "target_vault": arguments.to_vault, "timeout_seconds": arguments.give_up_after.unwrap_or_default()
    });
    // A snapshot of one collection that was found by the collection's name shows no other, and may know it under a former name.
    if !which.collection.is_empty() && (is_id(&which.snapshot) || text(&found, "collection").is_empty()) {
        body["source_collection"] = json!(which.collection);
        body["source_database"] = json!(which.database);
    }
    let path = path(&["instances", &arguments.instance, "snapshots", &id, "restore"]);
    let started = connection.anew().post(&path, &body).await?.result;
    job::show_or_wait(connection, context, started, arguments.wait).await
}

/// The server answers when the snapshot is committed, or with its state when its time is over.
async fn until_committed(connection: &Connection, instance: &str, made: Json) -> anyhow::Result<Json> {
    let id = text(&made, "snapshot_id");
    let (mut shown, connection) = (made, connection.anew());
    while text(&shown, "state") == "PENDING" {
        if Instant::now() + ROUND_PAUSE >= connection.deadline {
            eprintln!(
                "the snapshot is made, and its metadata file is not written yet; `quorate snapshot describe` tells when it is, \
                 and `quorate status` what keeps it from being written"
            );
            break;
        }
        tokio::time::sleep(ROUND_PAUSE).await;
        shown = connection.get(&path(&["instances", instance, "snapshots", &id]), &[]).await?;
    }
    Ok(shown)
}

fn is_id(text: &str) -> bool {
    text.len() == ID_DIGITS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// All snapshots of an instance.
async fn all(connection: &Connection, instance: &str) -> anyhow::Result<Vec<Json>> {
    let snapshots = path(&["instances", instance, "snapshots"]);
    connection.all(&snapshots, &[], "snapshots").await
}

/// Those of the collection that has the name now, whatever it was called when they were made. There must be one.
async fn of_collection(connection: &Connection, instance: &str, collection: &str, database: &str) -> anyhow::Result<Vec<Json>> {
    let snapshots = path(&["instances", instance, "snapshots"]);
    let named = [("collection", collection.to_owned()), ("database", database.to_owned())];
    connection.all(&snapshots, &named, "snapshots").await
}

/// Whether a snapshot was made of a collection that had these names then; an empty one is any.
fn was_of(snapshot: &Json, collection: &str, database: &str) -> bool {
    let fits = |wanted: &str, member: &str| wanted.is_empty() || text(snapshot, member) == wanted;
    fits(collection, "collection") && fits(database, "database")
}

/// All snapshots of an instance, or those of a collection; while none has that name, those of collections that had it when they were made.
async fn listed(connection: &Connection, instance: &str, collection: &str, database: &str) -> anyhow::Result<Vec<Json>> {
    if collection.is_empty() {
        return all(connection, instance).await;
    }
    match of_collection(connection, instance, collection, database).await {
        Err(error) if is_not_found(&error) => {
            let mut former = all(connection, instance).await?;
            former.retain(|snapshot| was_of(snapshot, collection, database));
            // A collection that has none must at least be there.
            if former.is_empty() { Err(error) } else { Ok(former) }
        }
        found => found,
    }
}

/// The id of a snapshot of an instance that is named by it, or by its name.
pub async fn id_of(connection: &Connection, instance: &str, snapshot: &str) -> anyhow::Result<String> {
    let which = Which {
        snapshot: snapshot.to_owned(),
        collection: String::new(),
        database: String::new(),
    };
    Ok(text(&find(connection, instance, &which).await?, "snapshot_id"))
}

async fn find(connection: &Connection, instance: &str, which: &Which) -> anyhow::Result<Json> {
    let name = &which.snapshot;
    if is_id(name) {
        return connection.get(&path(&["instances", instance, "snapshots", name]), &[]).await;
    }
    match of_present_collection(connection, instance, which).await? {
        Some(found) => Ok(found),
        None => by_names_then(connection, instance, which).await,
    }
}

/// The snapshot that the collection which is named has, if one is named and is there now. A collection's snapshots differ in name.
async fn of_present_collection(connection: &Connection, instance: &str, which: &Which) -> anyhow::Result<Option<Json>> {
    if which.collection.is_empty() {
        return Ok(None);
    }
    match of_collection(connection, instance, &which.collection, &which.database).await {
        Err(error) if is_not_found(&error) => Ok(None),
        found => Ok(found?.into_iter().find(|snapshot| text(snapshot, "name") == which.snapshot)),
    }
}

/// A snapshot by its name and by those that its collection had when it was made.
async fn by_names_then(connection: &Connection, instance: &str, which: &Which) -> anyhow::Result<Json> {
    let mut found = all(connection, instance).await?;
    found.retain(|snapshot| text(snapshot, "name") == which.snapshot && was_of(snapshot, &which.collection, &which.database));
    only_one(found, instance, &which.snapshot)
}

/// As [`find`], but by the name of a collection only what the collection has that is called so now, as the cluster has it for who drops by
/// name: what was made of another one may be somebody's backup.
async fn find_to_drop(connection: &Connection, instance: &str, which: &Which) -> anyhow::Result<Json> {
    if is_id(&which.snapshot) || which.collection.is_empty() {
        return find(connection, instance, which).await;
    }
    if let Some(found) = of_present_collection(connection, instance, which).await? {
        return Ok(found);
    }
    let then = by_names_then(connection, instance, which).await?;
    let database = if which.database.is_empty() {
        names::DEFAULT_DATABASE
    } else {
        &which.database
    };
    bail!(
        "no collection {database}.{} has a snapshot {} now; that of what was {}.{} then may be somebody's backup: to drop it, name it by \
         its id {}, or its collection and database as they are called now",
        which.collection,
        which.snapshot,
        text(&then, "database"),
        text(&then, "collection"),
        text(&then, "snapshot_id")
    )
}

/// As [`find`], and if the collection has no snapshot of that name, one of the whole instance.
async fn find_to_restore(connection: &Connection, instance: &str, which: &Which) -> anyhow::Result<Json> {
    if is_id(&which.snapshot) || which.collection.is_empty() {
        return find(connection, instance, which).await;
    }
    if let Some(found) = of_present_collection(connection, instance, which).await? {
        return Ok(found);
    }
    let found = all(connection, instance).await?;
    only_one(to_restore(found, which), instance, &which.snapshot)
}

/// Which of all snapshots of an instance show a collection that was named so then, under the name of a snapshot.
fn to_restore(mut found: Vec<Json>, which: &Which) -> Vec<Json> {
    found.retain(|snapshot| text(snapshot, "name") == which.snapshot);
    let (of_instance, mut of_collection): (Vec<Json>, Vec<Json>) =
        found.into_iter().partition(|snapshot| text(snapshot, "collection").is_empty());
    of_collection.retain(|snapshot| was_of(snapshot, &which.collection, &which.database));
    if of_collection.is_empty() { of_instance } else { of_collection }
}

fn only_one(mut found: Vec<Json>, instance: &str, name: &str) -> anyhow::Result<Json> {
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => bail!("instance {instance} has no snapshot {name}; `quorate snapshot list {instance}` shows all"),
        count => bail!("{count} collections have a snapshot {name}; say which with --collection, or pass the snapshot's id"),
    }
}

/// The clones that keep a snapshot, with a word about those that were dropped and wait to be collected.
fn clones(snapshot: &Json) -> Vec<String> {
    let named = |field| list(snapshot, field).iter().filter_map(Json::as_str);
    let alive = named("clones").map(str::to_owned);
    alive
        .chain(named("dropped_clones").map(|clone| format!("{clone} (dropped)")))
        .collect()
}

/// The pins that keep a snapshot, each with how long it does or for whom, and how many are not shown.
fn pins(snapshot: &Json) -> String {
    let shown = list(snapshot, "pinned_by");
    let named = |pin: &Json| {
        let id = text(pin, "pin_id");
        match (number(pin, "job_id"), number(pin, "expires_ms")) {
            (0, 0) => format!("{id} (until it is taken away)"),
            (0, expires_ms) => format!("{id} (ends {})", distance(expires_ms)),
            (job, _) => format!("{id} (of job {job})"),
        }
    };
    let mut pins: Vec<String> = shown.iter().map(named).collect();
    match number(snapshot, "pins").saturating_sub(shown.len() as u64) {
        0 => {}
        further => pins.push(format!("{further} more")),
    }
    pins.join(", ")
}

fn title(snapshot: &Json) -> String {
    let (name, collection) = (text(snapshot, "name"), text(snapshot, "collection"));
    // Nobody counts what a whole instance holds: no sums would be better than sums of nothing.
    match collection.is_empty() {
        true => format!("snapshot {name} of the whole instance"),
        false => format!(
            "snapshot {name} of {}.{collection} with {}",
            text(snapshot, "database"),
            content(snapshot)
        ),
    }
}

fn describe(shown: &Json) -> (String, Sheet) {
    let sentence = format!("{} is {}.", capitalized(&title(shown)), text(shown, "state").to_lowercase());
    let mut sheet = Sheet::new(["WHAT", "VALUE"]);
    let expires = match number(shown, "expires_ms") {
        0 => "no".to_owned(),
        expires_ms => distance(expires_ms),
    };
    for (what, value) in [
        ("id", text(shown, "snapshot_id")),
        ("description", text(shown, "description")),
        ("revision", text(shown, "revision")),
        ("created", distance(number(shown, "created_ms"))),
        ("expires", expires),
        ("metadata file", text(shown, "location")),
        ("manifests", manifests(shown)),
        ("pins", pins(shown)),
        ("clones", clones(shown).join(", ")),
    ] {
        if !value.is_empty() {
            sheet.row([what.to_owned(), value]);
        }
    }
    (sentence, sheet)
}

/// How many are written. The segments of a whole instance are known once the first manifests have been.
fn manifests(shown: &Json) -> String {
    match text(shown, "collection").is_empty() && number(shown, "segments") == 0 {
        true => "none, or not counted yet".to_owned(),
        false => format!("{} of {}", text(shown, "manifests"), text(shown, "segments")),
    }
}

fn capitalized(sentence: &str) -> String {
    let mut letters = sentence.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn list_sheet(instance: &str, found: &Json) -> (String, Sheet) {
    let found = found.as_array().map_or(&[][..], Vec::as_slice);
    let mut sheet = Sheet::new(["ID", "SNAPSHOT", "COLLECTION", "STATE", "CREATED", "SEGMENTS", "BYTES", "USED BY"]);
    for snapshot in found {
        let mut users = Vec::new();
        if number(snapshot, "pins") > 0 {
            users.push(counted(number(snapshot, "pins"), "pin"));
        }
        users.extend(clones(snapshot).iter().map(|clone| format!("clone {clone}")));
        // Nobody counts what is in all collections of an instance.
        let is_of_instance = text(snapshot, "collection").is_empty();
        let counts = |count: String| if is_of_instance { "-".to_owned() } else { count };
        let collection = match text(snapshot, "collection") {
            collection if collection.is_empty() => "(instance)".to_owned(),
            collection => format!("{}.{collection}", text(snapshot, "database")),
        };
        sheet.row([
            text(snapshot, "snapshot_id"),
            text(snapshot, "name"),
            collection,
            text(snapshot, "state").to_lowercase(),
            distance(number(snapshot, "created_ms")),
            counts(text(snapshot, "segments")),
            counts(crate::amounts::bytes(number(snapshot, "bytes"))),
            users.join(", "),
        ]);
    }
    (
        format!("Instance {instance} has {}.", counted(found.len() as u64, "snapshot")),
        sheet,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doris::fake_peer::{FakePeer, Said, connection};
    use quorate_model::ErrorCode;
    use std::time::Duration;

    /// Time that only a test that fails uses up.
    const LONG: Duration = Duration::from_secs(60);
    const ID: &str = "00000000000000070000";

    fn which(snapshot: &str, collection: &str, database: &str) -> Which {
        Which {
            snapshot: snapshot.to_owned(),
            collection: collection.to_owned(),
            database: database.to_owned(),
        }
    }

    /// A page with the snapshot `nightly`, which was made of `default.orders`.
    fn with_nightly() -> Said {
        let nightly = json!({"snapshot_id": ID, "name": "nightly", "database": "default", "collection": "orders"});
        Said::plain(200, &json!({"snapshots": [nightly]}).to_string())
    }

    fn with_none() -> Said {
        Said::plain(200, r#"{"snapshots": []}"#)
    }

    fn id_of_found(found: anyhow::Result<Json>) -> Result<String, String> {
        found
            .map(|snapshot| text(&snapshot, "snapshot_id"))
            .map_err(|error| format!("{error:#}"))
    }

    #[tokio::test]
    async fn a_snapshot_of_a_renamed_collection_is_dropped_by_the_name_that_it_has_now_or_by_its_id() {
        let peer = FakePeer::start([with_nightly()]).await;
        let renamed = find_to_drop(&connection(&[&peer.address], LONG), "i", &which("nightly", "older", "d")).await;
        assert_eq!(id_of_found(renamed), Ok(ID.to_owned()));
        assert_eq!(
            peer.queries(),
            ["collection=older&database=d"],
            "the cluster knows whose name that is now"
        );

        for first in [with_none(), Said::error(ErrorCode::NotFound)] {
            let peer = FakePeer::start([first, with_nightly()]).await;
            let former = find_to_drop(&connection(&[&peer.address], LONG), "i", &which("nightly", "orders", "")).await;
            let told = id_of_found(former).expect_err("another collection has the name, or none");
            for part in ["no collection default.orders has a snapshot nightly now", ID] {
                assert!(told.contains(part), "{told}");
            }
            assert_eq!(peer.queries(), ["collection=orders", ""]);
        }

        let peer = FakePeer::start([Said::error(ErrorCode::InvalidArgument), with_nightly()]).await;
        let unknown = find_to_drop(&connection(&[&peer.address], LONG), "i", &which("nightly", "orders", "")).await;
        assert!(
            id_of_found(unknown)
                .expect_err("who cannot say has not said no")
                .contains("so said the peer")
        );
        assert_eq!(peer.calls().len(), 1);
    }

    #[tokio::test]
    async fn a_snapshot_is_found_by_the_name_its_collection_has_now_and_else_by_the_one_it_had() {
        for (answers, collection, queries) in [
            (vec![with_nightly()], "older", &["collection=older"][..]),
            (vec![with_none(), with_nightly()], "orders", &["collection=orders", ""]),
            (
                vec![Said::error(ErrorCode::NotFound), with_nightly()],
                "orders",
                &["collection=orders", ""],
            ),
            (vec![with_nightly()], "", &[""]),
        ] {
            let which = which("nightly", collection, "");
            let peer = FakePeer::start(answers.clone()).await;
            let found = find(&connection(&[&peer.address], LONG), "i", &which).await;
            assert_eq!(id_of_found(found), Ok(ID.to_owned()));
            assert_eq!(peer.queries(), queries);
            let peer = FakePeer::start(answers).await;
            let found = find_to_restore(&connection(&[&peer.address], LONG), "i", &which).await;
            assert_eq!(id_of_found(found), Ok(ID.to_owned()));
            assert_eq!(peer.queries(), queries);
        }
    }

    #[tokio::test]
    async fn a_list_is_of_the_collection_that_has_the_name_and_of_former_ones_while_none_has() {
        let ids = async |answers: Vec<Said>, collection: &str| {
            let peer = FakePeer::start(answers).await;
            let found = listed(&connection(&[&peer.address], LONG), "i", collection, "").await;
            let found = found.map_err(|error| format!("{error:#}"))?;
            Ok::<_, String>(found.iter().map(|snapshot| text(snapshot, "snapshot_id")).collect::<Vec<_>>())
        };
        let missing = || Said::error(ErrorCode::NotFound);
        assert_eq!(ids(vec![with_nightly()], "older").await, Ok(vec![ID.to_owned()]));
        assert_eq!(
            ids(vec![with_none(), with_nightly()], "orders").await,
            Ok(vec![]),
            "it is another one's"
        );
        assert_eq!(ids(vec![missing(), with_nightly()], "orders").await, Ok(vec![ID.to_owned()]));
        let never = ids(vec![missing(), with_nightly()], "never").await;
        assert!(never.expect_err("nothing was called so").contains("not_found"));
    }

    #[test]
    fn ids_are_told_from_names() {
        assert!(is_id("0123456789abcdef0000"));
        for name in ["0123456789ABCDEF0000", "0123456789abcdef000", "nightly", "0123456789abcdef00000"] {
            assert!(!is_id(name), "{name}");
        }
    }

    #[test]
    fn pins_are_shown_with_who_holds_them() {
        let shown = json!({"pins": 3, "pinned_by": [{"pin_id": "7"}, {"pin_id": "9", "job_id": "5"}]});
        assert_eq!(pins(&shown), "7 (until it is taken away), 9 (of job 5), 1 more");
        assert_eq!(pins(&json!({})), "");
    }

    #[test]
    fn a_collection_is_restored_from_its_own_snapshot_before_the_instance_s() {
        let snapshot = |id: &str, name: &str, collection: &str| json!({"snapshot_id": id, "name": name, "collection": collection, "database": "default"});
        let all = [
            snapshot("1", "n", ""),
            snapshot("2", "n", "c"),
            snapshot("3", "n", "d"),
            snapshot("4", "m", ""),
            snapshot("5", "m", "d"),
        ];
        let ids = |name: &str, collection: &str, database: &str| {
            let found = to_restore(all.to_vec(), &which(name, collection, database));
            found.iter().map(|snapshot| text(snapshot, "snapshot_id")).collect::<Vec<_>>()
        };
        assert_eq!(ids("n", "c", ""), ["2"]);
        assert_eq!(ids("n", "c", "default"), ["2"]);
        assert_eq!(ids("n", "c", "other"), ["1"], "only the whole instance's can show that one");
        assert_eq!(ids("m", "c", ""), ["4"]);
        assert_eq!(ids("x", "c", ""), Vec::<String>::new());
    }

    #[test]
    fn a_snapshot_reads_as_a_sentence() {
        let shown = json!({
            "name": "n", "database": "default", "collection": "c", "state": "COMMITTED", "segments": "1", "rows": "2", "files": "3",
            "bytes": "2048"
        });
        assert_eq!(
            describe(&shown).0,
            "Snapshot n of default.c with 1 segment, 2 rows, 2.0 KiB in 3 files is committed."
        );
        assert!(title(&json!({"name": "n"})).starts_with("snapshot n of the whole instance"));
    }
}
