//! Files for jobs to copy, and `cp` to copy them beside.

use crate::random::Random;
use anyhow::Context;
use quorate_wire::quorate::v1::{FileKind, IndexFile, SegmentFile};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Files of one size, divided into segments.
#[derive(Clone, Copy, Debug)]
pub struct Tree {
    pub files: u64,
    pub file_bytes: u64,
    files_per_segment: u64,
    /// What the description of a segment takes at least.
    row_bytes: usize,
}

/// More than half of what the rows of one task may take (96 KiB): two such segments do not fit into one.
const ROW_BYTES_OF_A_TASK: usize = 50_000;
/// Segments of a tree whose segments are tasks: as many as one call prepares.
const TASKS: u64 = 1_000;

impl Tree {
    /// Files of 64 KiB, a hundred to a segment.
    pub fn small(files: u64) -> Tree {
        Tree {
            files,
            file_bytes: 64 << 10,
            files_per_segment: 100,
            row_bytes: 0,
        }
    }

    /// The same files in 1,000 segments, or in as many as there are files, each a task of its own: what describes a segment is as
    /// long as the rows of a task usually are.
    pub fn small_tasks(files: u64) -> Tree {
        Tree {
            files_per_segment: files.div_ceil(TASKS).max(1),
            row_bytes: ROW_BYTES_OF_A_TASK,
            ..Tree::small(files)
        }
    }

    /// Files of 256 MiB, each a segment.
    pub fn large(files: u64) -> Tree {
        Tree {
            files,
            file_bytes: 256 << 20,
            files_per_segment: 1,
            row_bytes: 0,
        }
    }

    pub fn segments(&self) -> u64 {
        self.files.div_ceil(self.files_per_segment)
    }

    /// Writes the files of one segment below `directory`; says what they are.
    pub fn write_segment(&self, number: u64, directory: &Path) -> anyhow::Result<Vec<SegmentFile>> {
        fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
        let first = number * self.files_per_segment;
        let mut content = vec![0; self.file_bytes as usize];
        let mut files = Vec::new();
        for file in first..(first + self.files_per_segment).min(self.files) {
            Random::new(file).fill(&mut content);
            let name = format!("{file}.data");
            fs::write(directory.join(&name), &content)?;
            files.push(SegmentFile {
                checksum: crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, &content),
                name,
                size_bytes: self.file_bytes,
                kind: FileKind::Data.into(),
                rows: 1,
                ..Default::default()
            });
        }
        if let Some(first) = files.first_mut().filter(|_| self.row_bytes > 0) {
            first.index = Some(IndexFile {
                index_name: "x".repeat(self.row_bytes),
                ..Default::default()
            });
        }
        Ok(files)
    }

    /// A file that is only spoken of.
    pub fn nominal_file() -> SegmentFile {
        SegmentFile {
            name: "0.data".to_owned(),
            size_bytes: 64 << 20,
            checksum: 1,
            kind: FileKind::Data.into(),
            rows: 1_000,
            ..Default::default()
        }
    }
}

/// Seconds of `cp -r DIRECTORIES TARGET && sync -f TARGET`; the copy is removed afterwards.
pub fn copy_with_cp(directories: &[PathBuf], target: &Path) -> anyhow::Result<f64> {
    fs::create_dir_all(target)?;
    let started = Instant::now();
    let run = |command: &mut Command| -> anyhow::Result<()> {
        let status = command.status().context("cp and sync are there")?;
        anyhow::ensure!(status.success(), "{command:?} ended with {status}");
        Ok(())
    };
    run(Command::new("cp").arg("-r").arg("--").args(directories).arg(target))?;
    run(Command::new("sync").arg("-f").arg(target))?;
    let took = started.elapsed().as_secs_f64();
    fs::remove_dir_all(target)?;
    Ok(took)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    #[test]
    fn every_file_is_written_once_and_is_what_is_said() {
        let dir = tempfile::tempdir().expect("a directory");
        let tree = Tree {
            files: 5,
            file_bytes: 1_000,
            files_per_segment: 2,
            row_bytes: 0,
        };
        let mut names = std::collections::BTreeSet::new();
        for segment in 0..tree.segments() {
            let directory = dir.path().join(segment.to_string());
            for file in tree.write_segment(segment, &directory).expect("written") {
                let content = fs::read(directory.join(&file.name)).expect("it is there");
                assert_eq!(content.len() as u64, file.size_bytes);
                assert_eq!(crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, &content), file.checksum);
                assert!(names.insert(file.name));
            }
        }
        assert_eq!(names.len(), 5);
    }

    #[test]
    fn a_segment_that_is_a_task_leaves_no_room_for_another_and_can_be_committed() {
        let dir = tempfile::tempdir().expect("a directory");
        let tree = Tree::small_tasks(2_000);
        assert_eq!((tree.segments(), tree.files_per_segment), (1_000, 2));
        assert_eq!(Tree::small_tasks(10).segments(), 10);
        let files = tree.write_segment(0, dir.path()).expect("written");
        let described: usize = files.iter().map(Message::encoded_len).sum();
        assert!((48 << 10..60 << 10).contains(&described), "{described}");
    }
}
