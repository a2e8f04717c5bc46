//! Writes the manifest of each segment of a snapshot. Their places are the same for everybody who writes them, and so is their
//! content: to write one again is to write the same, until a compaction moves files (`jobs/rewriting.rs` in state-machine). No fence keeps
//! a worker from them that lost its claim and does not know: it keeps away by itself, when it could not renew the claim for its lease.

use super::{Done, Failure, Work};
use crate::settings::MANIFESTS_TOGETHER;
use crate::vaults::Vaults;
use crate::work_source::WorkSource;
use bytes::Bytes;
use quorate_objects::manifest::{Binlog, FieldBinlog, IndexFilePathInfo, ManifestEntry};
use quorate_objects::{ObjectPath, Vault};
use quorate_state_machine::jobs::translate::{ids_of, segment_of};
use quorate_state_machine::record::SegmentRecord;
use quorate_state_machine::snapshots::lifecycle::manifest_name;
use quorate_wire::quorate::v1::{FileKind, SegmentFile, SourceRow};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

pub(super) async fn write<S: WorkSource, V: Vaults>(work: &Work<S, V>, rows: &[SourceRow]) -> Result<Done, Failure> {
    let health = &work.counters.vaults;
    let open = async || {
        let opened = work.vaults.open(work.task.target_scope, &work.task.target_vault).await;
        health.opened(work.task.target_scope, &work.task.target_vault, &opened);
        opened.map_err(Failure::of_vault)
    };
    let vault = open().await?;
    fail::fail_point!("job_manifests_before", |_| Err(Failure::for_good("injected".to_owned())));
    if let Err(mut failure) = write_all(work, &vault, rows).await {
        if failure.is_of_the_vault
            && let Some(row) = rows.first()
        {
            // Or of this manifest alone. To open a store again does not ask it.
            let asked = vault.head(&path_of(&work.task.target_path, row)?).await;
            health.note(work.task.target_scope, &work.task.target_vault, &asked);
            failure.is_of_the_vault = asked.is_err_and(|error| error.concerns_the_vault());
        }
        // A share that has gone away looks like a file that cannot be made.
        open().await?;
        return Err(failure);
    }
    health.worked(work.task.target_scope, &work.task.target_vault);
    fail::fail_point!("job_manifests_after", |_| Err(Failure::for_good("injected".to_owned())));
    Ok(Done {
        rows: Vec::new(),
        files: work.task.files,
        bytes: work.task.bytes,
    })
}

/// Writes the manifests in parts, and tells after each how many files they list. One manifest may take a slow store longer than half a
/// minute, and a part as long as a task may be silent: so each manifest counts as a sign of life.
async fn write_all<S, V>(work: &Work<S, V>, vault: &Vault, rows: &[SourceRow]) -> Result<(), Failure> {
    let may_write = work.may_write();
    for part in rows.chunks(MANIFESTS_TOGETHER) {
        let (mut objects, mut files) = (Vec::with_capacity(part.len()), 0);
        for row in part {
            let [_, partition_id, segment_id] = ids_of(&row.key)?;
            let segment = segment_of(row)?;
            let entry = manifest(partition_id, segment_id, &segment).encode()?;
            objects.push((path_of(&work.task.target_path, row)?, Bytes::from(entry)));
            files += segment.files.len() as u64;
        }
        let progress = &work.progress;
        let written = || {
            progress.signs_of_life.fetch_add(1, Ordering::Relaxed);
        };
        let replaced = vault.replace_all(objects, &written, &may_write).await;
        replaced.map_err(|error| Failure {
            is_of_the_vault: error.concerns_the_vault(),
            ..error.into()
        })?;
        work.progress.files.fetch_add(files, Ordering::Relaxed);
    }
    Ok(())
}

fn path_of(directory: &str, row: &SourceRow) -> Result<ObjectPath, Failure> {
    let [.., segment_id] = ids_of(&row.key)?;
    Ok(ObjectPath::new(format!("{directory}/{}", manifest_name(segment_id)))?)
}

/// A segment in the words of a manifest. Ids there are signed; ours never reach the sign.
pub fn manifest(partition_id: u64, segment_id: u64, segment: &SegmentRecord) -> ManifestEntry {
    let of_kind = |kind: FileKind| segment.files.iter().filter(move |file| file.kind() == kind);
    ManifestEntry {
        segment_id: segment_id as i64,
        partition_id: partition_id as i64,
        num_of_rows: segment.rows as i64,
        binlog_files: by_field(segment, of_kind(FileKind::Data).chain(of_kind(FileKind::Unspecified))),
        deltalog_files: by_field(segment, of_kind(FileKind::Deletes)),
        statslog_files: by_field(segment, of_kind(FileKind::Statistics)),
        index_files: indexes(segment_id, segment, of_kind(FileKind::Index)),
        ..ManifestEntry::default()
    }
}

fn by_field<'a>(segment: &SegmentRecord, files: impl Iterator<Item = &'a SegmentFile>) -> Vec<FieldBinlog> {
    let mut fields: BTreeMap<i64, Vec<Binlog>> = BTreeMap::new();
    for file in files {
        fields.entry(file.field_id).or_default().push(Binlog {
            entries_num: file.rows as i64,
            log_path: format!("{}/{}", segment.path, file.name),
            log_size: file.size_bytes as i64,
            memory_size: file.size_bytes as i64,
            ..Binlog::default()
        });
    }
    let field = |(field_id, binlogs)| FieldBinlog {
        field_id,
        binlogs,
        ..FieldBinlog::default()
    };
    fields.into_iter().map(field).collect()
}

/// One entry for each index, with all its files.
fn indexes<'a>(segment_id: u64, segment: &SegmentRecord, files: impl Iterator<Item = &'a SegmentFile>) -> Vec<IndexFilePathInfo> {
    let mut indexes: BTreeMap<(i64, i64, i64), IndexFilePathInfo> = BTreeMap::new();
    for file in files {
        let index = file.index.clone().unwrap_or_default();
        let entry = indexes
            .entry((file.field_id, index.index_id, index.build_id))
            .or_insert_with(|| IndexFilePathInfo {
                segment_id: segment_id as i64,
                field_id: file.field_id,
                index_id: index.index_id,
                build_id: index.build_id,
                index_name: index.index_name.clone(),
                num_rows: segment.rows as i64,
                ..IndexFilePathInfo::default()
            });
        entry.index_file_paths.push(format!("{}/{}", segment.path, file.name));
        entry.serialized_size += file.size_bytes as i64;
        entry.mem_size += file.size_bytes as i64;
    }
    indexes.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work_source::Wanted;
    use crate::worker::held::{Held, keep_alive};
    use prost::Message;
    use quorate_model::{ErrorCode, MetaError};
    use quorate_objects::{LocalPlace, MARKER_NAME, Patience, VaultPlace};
    use quorate_wire::quorate::v1::{ClaimProgress, CompleteTaskRequest, FailTaskRequest, TaskAssignment};
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    /// What a worker asks for when it has its rows: nothing but renewals, which it may be cut off from.
    #[derive(Clone, Default)]
    struct Nobody {
        is_cut_off: Arc<AtomicBool>,
    }

    impl WorkSource for Nobody {
        async fn claim(&self, _: Wanted) -> Result<Vec<TaskAssignment>, MetaError> {
            Ok(Vec::new())
        }

        async fn renew(&self, _: &str, _: Vec<ClaimProgress>) -> Result<Vec<ClaimProgress>, MetaError> {
            match self.is_cut_off.load(Ordering::Relaxed) {
                true => Err(MetaError::new(ErrorCode::NoLeader, "no peer answers")),
                false => Ok(Vec::new()),
            }
        }

        async fn read(&self, _: &TaskAssignment) -> Result<Vec<SourceRow>, MetaError> {
            Ok(Vec::new())
        }

        async fn complete(&self, _: CompleteTaskRequest) -> Result<bool, MetaError> {
            Ok(true)
        }

        async fn fail(&self, _: FailTaskRequest) -> Result<bool, MetaError> {
            Ok(true)
        }
    }

    /// Opens as an S3 store does whose marker is trusted: without asking it.
    #[derive(Clone)]
    struct Trusted(Vault);

    impl Vaults for Trusted {
        async fn open(&self, _: u64, _: &str) -> quorate_objects::Result<Vault> {
            Ok(self.0.clone())
        }
    }

    const LEASE: Duration = Duration::from_secs(60);

    /// A task of writing manifests into a vault at `root`.
    async fn work_in(root: &Path) -> Work<Nobody, Trusted> {
        let place = LocalPlace {
            root: root.to_owned(),
            cluster_id: "c".to_owned(),
            vault_id: "v".to_owned(),
        };
        Vault::create_marker(&place).await.expect("marked");
        let vault = Vault::open(&VaultPlace::Local(place), Patience::default()).await.expect("opened");
        Work {
            source: Nobody::default(),
            vaults: Trusted(vault),
            task: TaskAssignment {
                target_path: "snapshots/1".to_owned(),
                lease_ms: LEASE.as_millis() as u64,
                ..TaskAssignment::default()
            },
            progress: Arc::default(),
            counters: Arc::default(),
            complaints: Arc::default(),
            began: tokio::time::Instant::now(),
        }
    }

    /// A segment without files.
    fn row(segment: u64) -> SourceRow {
        SourceRow {
            key: [1u64, 2, segment].iter().flat_map(|id| id.to_be_bytes()).collect::<Vec<_>>().into(),
            value: SegmentRecord::default().encode_to_vec().into(),
            ..SourceRow::default()
        }
    }

    #[tokio::test]
    async fn each_manifest_is_a_sign_of_life() {
        let root = tempfile::tempdir().expect("a directory");
        let work = work_in(root.path()).await;
        let rows = [3, 4, 5].map(row);
        assert!(write(&work, &rows).await.is_ok());
        assert_eq!(work.progress.signs_of_life.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn a_store_that_goes_away_while_manifests_are_written_costs_no_attempt() {
        let root = tempfile::tempdir().expect("a directory");
        let work = work_in(root.path()).await;
        let rows = [row(3)];
        let (marker, away) = (root.path().join(MARKER_NAME), root.path().join("away"));
        std::fs::rename(&marker, &away).expect("moved");
        let failure = write(&work, &rows).await.err().expect("it is away");
        assert!(failure.is_of_the_vault && failure.can_retry, "{failure:?}");
        assert_eq!(work.counters.vaults.troubles().len(), 1, "and status says so");

        std::fs::rename(&away, &marker).expect("moved back");
        std::fs::write(root.path().join("snapshots"), b"in the way").expect("written");
        let failure = write(&work, &rows).await.err().expect("no place for it");
        assert!(!failure.is_of_the_vault, "{failure:?}");
        std::fs::remove_file(root.path().join("snapshots")).expect("removed");
        assert!(write(&work, &rows).await.is_ok());
        assert!(work.counters.vaults.troubles().is_empty());
    }

    #[tokio::test]
    async fn a_worker_that_cannot_renew_writes_no_manifest_after_its_lease() {
        let root = tempfile::tempdir().expect("a directory");
        let work = work_in(root.path()).await;
        tokio::time::pause();
        let held = Held::default();
        let task = tokio::spawn(std::future::pending::<()>()).abort_handle();
        held.add((0, 0, 0), &work.task, work.progress.clone(), task);
        let renewals = keep_alive("w".to_owned(), work.source.clone(), held, Arc::default(), Arc::default());
        let renewals = tokio::spawn(renewals);
        tokio::time::sleep(2 * LEASE).await;
        let first = write(&work, &[row(3)]).await;
        assert!(first.is_ok(), "its claim was renewed all the time");

        work.source.is_cut_off.store(true, Ordering::Relaxed);
        tokio::time::sleep(LEASE / 2).await;
        assert!(write(&work, &[row(4)]).await.is_ok(), "nobody else can have it yet");
        tokio::time::sleep(LEASE / 2).await;
        let failure = write(&work, &[row(5)]).await.err().expect("others may have it");
        assert!(
            failure.can_retry && failure.is_of_this_machine && !failure.is_of_the_vault,
            "{failure:?}"
        );
        assert!(failure.reason.contains("could not be renewed"), "{failure:?}");
        let written = std::fs::read_dir(root.path().join("snapshots/1")).expect("reads");
        assert_eq!(written.count(), 2, "nor is anything left of what it had begun");

        work.source.is_cut_off.store(false, Ordering::Relaxed);
        tokio::time::sleep(LEASE / 2).await;
        assert!(write(&work, &[row(5)]).await.is_ok(), "it was heard of before anybody took it");
        renewals.abort();
    }
}
