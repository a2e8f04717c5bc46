use super::*;
use crate::catalog_fixture::*;
use crate::commands::{CancelJob, CommitSnapshot, CreateCollection, CreateRestore, CreateSnapshot, DropSnapshot};
use crate::storage_fixture::change;
use crate::testing::{Bench, INSTANCE, OTHER_INSTANCE};
use quorate_wire::doris::{ObjectStoreInfoPb, SnapshotPb, StorageVaultPb};
use quorate_wire::quorate::v1::{CreateCollectionRequest, CreateSnapshotRequest, DropSnapshotRequest, RestoreSnapshotRequest, SnapshotRef};

fn known(bench: &Bench) -> Vec<(KnownKind, String)> {
    let (mut found, mut token) = (Vec::new(), String::new());
    loop {
        let page = scan_vault(&bench.store, INSTANCE, "", &token).expect("scans");
        found.extend(page.known.into_iter().map(|known| (known.kind, known.path)));
        token = page.next_page_token;
        if token.is_empty() {
            return found;
        }
    }
}

#[test]
fn everything_that_is_kept_written_or_deleted_is_known() {
    let mut bench = bench_with_collection();
    create_collection(&mut bench, OTHER_INSTANCE, "o", &[]).expect("creates");
    let kept = add_segments(&mut bench, INSTANCE, "c", "p", 1_500 / 2).expect("adds");
    let pinned = add_segments(&mut bench, INSTANCE, "c", "q", 900).expect("adds");
    let others = add_segments(&mut bench, OTHER_INSTANCE, "o", "", 1).expect("adds");
    let snapshot = pin(&mut bench, 1);
    drop_segments(&mut bench, INSTANCE, "c", "q", &pinned).expect("drops");
    let short = add_segments(&mut bench, INSTANCE, "c", "p", 2).expect("adds");
    drop_segments(&mut bench, INSTANCE, "c", "p", &short).expect("drops");
    collect_later(&mut bench);
    let upload = prepare_segments(&mut bench, INSTANCE, "c", "p", 1).expect("prepares");
    let found = known(&bench);
    let of = |kind| found.iter().filter(|(other, _)| *other == kind).count();
    assert_eq!((of(KnownKind::Upload), of(KnownKind::Condemned)), (1, 2));
    assert_eq!(
        of(KnownKind::Segment),
        kept.len() + pinned.len() + others.len(),
        "the local directory is one store for all"
    );
    assert!(found.contains(&(KnownKind::Upload, upload.segments[0].path.clone())));
    bench.run(&snapshot).expect("releases");
    collect_all(&mut bench);
    let found = known(&bench);
    let condemned = found.iter().filter(|(kind, _)| *kind == KnownKind::Condemned).count();
    assert_eq!(condemned, 2 + pinned.len());
    assert!(scan_vault(&bench.store, "nobody", "", "").is_err());
    assert!(scan_vault(&bench.store, INSTANCE, "nowhere", "").is_err());
    assert!(scan_vault(&bench.store, INSTANCE, "", "x").is_err());
}

fn snapshot_of_c() -> Option<SnapshotRef> {
    Some(SnapshotRef {
        collection: "c".into(),
        name: "s".into(),
        ..SnapshotRef::default()
    })
}

#[test]
fn the_files_of_snapshots_are_known_until_they_are_gone() {
    let mut bench = bench_with_collection();
    add_segments(&mut bench, INSTANCE, "c", "p", 1).expect("adds");
    let request = CreateSnapshotRequest {
        instance_id: INSTANCE.into(),
        collection: "c".into(),
        name: "s".into(),
        ..CreateSnapshotRequest::default()
    };
    let snapshot = call::<CreateSnapshot>(&mut bench, request)
        .expect("creates")
        .snapshot
        .expect("is shown");
    let (collection, revision) = (snapshot.collection_id, snapshot.revision);
    let places = |kind| {
        [
            (kind, format!("snapshots/{collection}/metadata")),
            (kind, format!("snapshots/{collection}/manifests/{revision}")),
        ]
    };
    let has = |bench: &Bench, kind| {
        let found = known(bench);
        places(kind).iter().all(|place| found.contains(place))
    };
    assert!(has(&bench, KnownKind::Upload), "being made: nothing must be there yet");
    let commit = CommitSnapshot {
        scope: 1,
        revision,
        location: "l".into(),
        manifests_listed: false,
    };
    bench.run(&commit).expect("commits");
    assert!(has(&bench, KnownKind::Snapshot));
    let page = scan_vault(&bench.store, INSTANCE, "", "").expect("scans");
    let metadata = page.known.iter().find(|known| known.path.ends_with("/metadata")).expect("is known");
    assert_eq!(metadata.files[0].name, format!("{revision}.json"));
    let request = DropSnapshotRequest {
        instance_id: INSTANCE.into(),
        snapshot: snapshot_of_c(),
    };
    call::<DropSnapshot>(&mut bench, request).expect("drops");
    assert!(has(&bench, KnownKind::Condemned), "being deleted: nothing must be there any more");
}

#[test]
fn the_image_of_a_snapshot_that_doris_made_is_known() {
    let mut bench = Bench::new();
    let snapshot = Snapshot {
        scope: ScopeId(1),
        revision: Revision(9),
        record: SnapshotRecord {
            name: "l".into(),
            state: SnapshotState::Committed as i32,
            doris: Some(SnapshotPb::default()),
            ..SnapshotRecord::default()
        },
    };
    let directory = lifecycle::image_directory(&snapshot);
    change(&mut bench, |context| snapshots::save(context, &snapshot).expect("saves"));
    assert_eq!(known(&bench), [(KnownKind::Snapshot, directory)]);
}

#[test]
fn the_directory_of_a_job_is_known_until_it_has_ended_and_been_cleaned_up() {
    let mut bench = bench_with_collection();
    let request = CreateSnapshotRequest {
        instance_id: INSTANCE.into(),
        collection: "c".into(),
        name: "s".into(),
        ..CreateSnapshotRequest::default()
    };
    let revision = call::<CreateSnapshot>(&mut bench, request)
        .expect("creates")
        .snapshot
        .expect("is shown")
        .revision;
    let commit = CommitSnapshot {
        scope: 1,
        revision,
        location: "l".into(),
        manifests_listed: true,
    };
    bench.run(&commit).expect("commits");
    let request = RestoreSnapshotRequest {
        instance_id: INSTANCE.into(),
        snapshot: snapshot_of_c(),
        target_collection: "copy".into(),
        ..RestoreSnapshotRequest::default()
    };
    let job = call::<CreateRestore>(&mut bench, request).expect("starts").job_id;
    let directory = format!("s1/j{job}");
    assert!(known(&bench).contains(&(KnownKind::Upload, directory.clone())));
    let cancel = CancelJob {
        job,
        reason: String::new(),
    };
    bench.run(&cancel).expect("cancels");
    let found = known(&bench);
    assert!(!found.contains(&(KnownKind::Upload, directory.clone())), "{found:?}");
    assert!(found.contains(&(KnownKind::Condemned, directory)), "{found:?}");
}

/// Gives an instance a vault under the next id.
fn add_vault(bench: &mut Bench, instance_id: &str, name: &str, bucket: &str) {
    let mut instance = instances::find(&bench.store, instance_id).expect("reads").expect("is there");
    let vault = StorageVaultPb {
        name: Some(name.into()),
        obj_info: Some(ObjectStoreInfoPb {
            bucket: Some(bucket.into()),
            ..ObjectStoreInfoPb::default()
        }),
        ..StorageVaultPb::default()
    };
    let vault = crate::vaults::register(&bench.counters(), &mut instance.info, &vault, 1, false);
    change(bench, |context| {
        instances::put(context, &instance);
        context.put_record(crate::vaults::key(instance.scope, vault.id()), &vault);
    });
}

#[test]
fn instances_that_share_a_store_are_known_to_each_others_check() {
    let mut bench = Bench::new();
    add_vault(&mut bench, INSTANCE, "main", "shared");
    add_vault(&mut bench, OTHER_INSTANCE, "own", "another");
    add_vault(&mut bench, OTHER_INSTANCE, "main", "shared");
    for (instance, vault) in [
        (INSTANCE, "main"),
        (OTHER_INSTANCE, "main"),
        (OTHER_INSTANCE, "own"),
        (INSTANCE, ""),
    ] {
        let name = format!("in_{vault}");
        let request = CreateCollectionRequest {
            instance_id: instance.into(),
            name: name.clone(),
            vault: vault.into(),
            ..CreateCollectionRequest::default()
        };
        call::<CreateCollection>(&mut bench, request).expect("creates");
        add_segments(&mut bench, instance, &name, "", 1).expect("adds");
    }
    let scopes = |instance: &str, vault: &str| -> Vec<String> {
        let page = scan_vault(&bench.store, instance, vault, "").expect("scans");
        page.known.into_iter().map(|known| known.path[..2].to_owned()).collect()
    };
    assert_eq!(scopes(INSTANCE, "main"), ["s1", "s2"]);
    assert_eq!(scopes(OTHER_INSTANCE, "main"), ["s1", "s2"]);
    assert_eq!(scopes(OTHER_INSTANCE, "own"), ["s2"]);
    assert_eq!(scopes(OTHER_INSTANCE, ""), ["s1"]);
}
