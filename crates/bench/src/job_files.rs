//! Files for jobs to copy, and `cp` to copy them beside.

use crate::random::Random;
use anyhow::Context;
use quorate_wire::quorate::v1::{FileKind, SegmentFile};
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
}

/// Segments of a tree whose segments are tasks: as many as one call prepares.
const TASKS: u64 = 1_000;

impl Tree {
    /// Files of 64 KiB, a hundred to a segment.
    pub fn small(files: u64) -> Tree {
        Tree {
            files,
            file_bytes: 64 << 10,
            files_per_segment: 100,
        }
    }

    /// The same files in 1,000 segments, or in as many as there are files.
    pub fn small_tasks(files: u64) -> Tree {
        Tree {
            files_per_segment: files.div_ceil(TASKS).max(1),
            ..Tree::small(files)
        }
    }

    /// Files of 256 MiB, each a segment.
    pub fn large(files: u64) -> Tree {
        Tree {
            files,
            file_bytes: 256 << 20,
            files_per_segment: 1,
        }
    }

    pub fn segments(&self) -> u64 {
        self.files.div_ceil(self.files_per_segment)
    }

    /// Of the files of one segment, unless it is the last.
    pub fn segment_bytes(&self) -> u64 {
        self.files_per_segment * self.file_bytes
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

    #[test]
    fn every_file_is_written_once_and_is_what_is_said() {
        let dir = tempfile::tempdir().expect("a directory");
        let tree = Tree {
            files: 5,
            file_bytes: 1_000,
            files_per_segment: 2,
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
    fn there_are_a_thousand_small_tasks_or_as_many_as_files() {
        let tree = Tree::small_tasks(2_000);
        assert_eq!((tree.segments(), tree.segment_bytes()), (1_000, 2 * tree.file_bytes));
        assert_eq!(Tree::small_tasks(10).segments(), 10);
    }
}
