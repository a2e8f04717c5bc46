//! Copies the files of a task's segments, verified, and works out the rows that name the copies.

use super::{Done, Failure, Work};
use crate::vaults::Vaults;
use crate::work_source::WorkSource;
use quorate_objects::{CopiedBytes, CopyOptions, Crc64, FileCopy, ObjectError, ObjectErrorKind, ObjectPath, ReadBack, copy_files};
use quorate_state_machine::jobs::translate::{SegmentCopy, translate};
use quorate_wire::quorate::v1::{SegmentFile, SourceRow, TaskAssignment};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

pub(super) async fn perform<S: WorkSource, V: Vaults>(work: &Work<S, V>, rows: &[SourceRow]) -> Result<Done, Failure> {
    let translation = translate(&work.task, rows)?;
    copy_all(work, &translation.copies).await?;
    Ok(Done {
        rows: translation.rows,
        files: translation.stats.files,
        bytes: translation.stats.bytes,
    })
}

/// Source by source: files of one task may belong to several vaults when a clone's chain is copied.
async fn copy_all<S: WorkSource, V: Vaults>(work: &Work<S, V>, segments: &[SegmentCopy]) -> Result<(), Failure> {
    if segments.is_empty() {
        return Ok(());
    }
    fail::fail_point!("job_copy_start", |_| Err(Failure::for_good("injected".to_owned())));
    let mut by_source: BTreeMap<(u64, &str), Vec<FileCopy>> = BTreeMap::new();
    for segment in segments {
        let files = by_source.entry((segment.owner_scope, &segment.vault)).or_default();
        for file in &segment.files {
            files.push(file_copy(segment, file)?);
        }
    }
    let health = &work.counters.vaults;
    let open = async |scope, name: &str| {
        let opened = work.vaults.open(scope, name).await;
        health.opened(scope, name, &opened);
        opened.map_err(Failure::of_vault)
    };
    let target = open(work.task.target_scope, &work.task.target_vault).await?;
    let mut before = CopiedBytes::default();
    for ((scope, name), files) in by_source {
        let source = open(scope, name).await?;
        let progress = |copied: CopiedBytes| {
            if copied.files > 0 {
                fail::fail_point!("job_file_copied");
            }
            work.progress.files.store(before.files + copied.files, Ordering::Relaxed);
            work.progress.bytes.store(before.bytes + copied.bytes, Ordering::Relaxed);
        };
        if let Err(error) = copy_files(&source, &target, &files, options_of(&work.task), &progress).await {
            let mut is_of_the_vault = false;
            if error.concerns_the_vault() {
                // The error does not say which of the two, nor whether it is this object alone.
                let found = source.head(&files[0].source_path).await;
                health.note(scope, name, &found);
                let written = target.head(&files[0].target_path).await;
                health.note(work.task.target_scope, &work.task.target_vault, &written);
                let is_away = |outcome: &Result<_, ObjectError>| outcome.as_ref().is_err_and(ObjectError::concerns_the_vault);
                is_of_the_vault = is_away(&found) || is_away(&written);
            }
            // A share that has gone away looks like files that are missing.
            open(scope, name).await?;
            open(work.task.target_scope, &work.task.target_vault).await?;
            return Err(match error.kind {
                ObjectErrorKind::NotFound if has_moved(work, segments).await? => Failure::moved(error),
                _ => Failure {
                    is_of_the_vault,
                    ..error.into()
                },
            });
        }
        health.worked(scope, name);
        health.worked(work.task.target_scope, &work.task.target_vault);
        before.files += files.len() as u64;
        before.bytes += files.iter().map(|file| file.size).sum::<u64>();
    }
    #[cfg(feature = "failpoints")]
    held().await?;
    Ok(())
}

/// Where tests hold a task whose files are copied, on a thread of its own: one of the runtime's that is held keeps what nobody else can
/// take from it, the peer's connections among it.
#[cfg(feature = "failpoints")]
async fn held() -> Result<(), Failure> {
    let site = || {
        fail::fail_point!("job_copy_synced", |_| Err(Failure::for_good("injected".to_owned())));
        Ok(())
    };
    match tokio::task::spawn_blocking(site)
        .await
        .map_err(tokio::task::JoinError::try_into_panic)
    {
        Ok(passed) => passed,
        Err(Ok(died)) => std::panic::resume_unwind(died),
        // The runtime ends.
        Err(Err(_)) => Ok(()),
    }
}

/// Whether the files lie elsewhere by now than where this claim was told to look. While the claim worked, a clone that it reads through may
/// have been compacted and decoupled, and the files it was told of deleted: the state is asked again, and knows of it.
async fn has_moved<S: WorkSource, V: Vaults>(work: &Work<S, V>, segments: &[SegmentCopy]) -> Result<bool, Failure> {
    let rows = work.source.read(&work.task).await?;
    let now = translate(&work.task, &rows)?.copies;
    let place = |segment: &SegmentCopy| (segment.owner_scope, segment.vault.clone(), segment.path.clone());
    Ok(!now.iter().map(place).eq(segments.iter().map(place)))
}

fn file_copy(segment: &SegmentCopy, file: &SegmentFile) -> Result<FileCopy, Failure> {
    let path = |directory: &str| ObjectPath::new(format!("{directory}/{}", file.name));
    Ok(FileCopy {
        source_path: path(&segment.path)?,
        target_path: path(&segment.target_path)?,
        size: file.size_bytes,
        // A writer that recorded no checksum left 0, which is also that of no bytes.
        checksum: (file.checksum != 0 || file.size_bytes == 0).then_some(Crc64(file.checksum)),
    })
}

/// How the claim wants its files copied.
fn options_of(task: &TaskAssignment) -> CopyOptions {
    CopyOptions {
        read_back: match task.skip_read_back {
            true => ReadBack::Off,
            false => ReadBack::On,
        },
        ..CopyOptions::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_read_back_unless_the_claim_says_otherwise() {
        let mut task = TaskAssignment::default();
        assert_eq!(
            options_of(&task).read_back,
            ReadBack::On,
            "what a peer says that knows no other way"
        );
        task.skip_read_back = true;
        assert_eq!(options_of(&task).read_back, ReadBack::Off);
    }
}
