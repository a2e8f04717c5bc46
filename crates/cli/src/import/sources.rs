//! The files to be imported: which there are, which of them make a segment, and which segments make a batch.

use super::parts::parts;
use anyhow::{Context as _, bail};
use quorate_model::file_names::{MAX_FILE_NAME_BYTES, why_not_a_path};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Segments prepared together. They are committed together too, all being well.
const SEGMENTS_PER_BATCH: usize = 64;
/// Bytes of their files, unless one segment alone has more: what is prepared is kept for a day, and written in vain if it takes longer.
const BYTES_PER_BATCH: u64 = 16 << 30;
/// Bytes of one segment's content: the cluster takes 64 KiB.
const SEGMENT_BYTES: u64 = 56 << 10;
/// What a file takes of these beside its name.
const FILE_BYTES: u64 = 40;

/// A file to be imported, as it was when it was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Source {
    pub file: PathBuf,
    /// Below the segment's directory.
    pub name: String,
    pub size: u64,
    /// When it was last written: seconds and nanoseconds.
    pub modified: (i64, i64),
}

impl Source {
    fn new(file: PathBuf, name: String, found: &Metadata) -> Source {
        Source {
            file,
            name,
            size: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
        }
    }

    /// Whether nobody has written it since. Inodes are not compared: some file systems number a file anew hours later.
    pub fn is_still(&self, metadata: &Metadata) -> bool {
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        (metadata.len(), modified) == (self.size, self.modified)
    }
}

/// All files below each directory.
pub(super) fn below(directories: &[PathBuf]) -> anyhow::Result<Vec<Vec<Source>>> {
    let mut all = Vec::new();
    for directory in directories {
        let mut sources = Vec::new();
        walk(directory, directory, &mut sources)?;
        if sources.is_empty() {
            bail!("there is no file below {}", directory.display());
        }
        all.push(sources);
    }
    Ok(all)
}

/// All files below a directory, by name. What is neither file nor directory is refused: it would be missing without a word.
fn walk(top: &Path, directory: &Path, found: &mut Vec<Source>) -> anyhow::Result<()> {
    let read = std::fs::read_dir(directory).with_context(|| format!("directory {}", directory.display()))?;
    let mut entries = read
        .collect::<Result<Vec<_>, _>>()
        .with_context(|| format!("directory {}", directory.display()))?;
    entries.sort_by_key(|entry| entry.file_name());
    for entry in entries {
        let file = entry.path();
        let metadata = std::fs::symlink_metadata(&file).with_context(|| format!("file {}", file.display()))?;
        if metadata.is_dir() {
            walk(top, &file, found)?;
            continue;
        }
        if metadata.is_symlink() {
            bail!("{} is a symbolic link; put the file itself there, or leave it out", file.display());
        }
        if !metadata.is_file() {
            bail!("{} is neither a file nor a directory; leave it out", file.display());
        }
        let name = file.strip_prefix(top).ok().and_then(Path::to_str).map(str::to_owned);
        let name = name.with_context(|| format!("the name of {} is not UTF-8; rename it", file.display()))?;
        check_name(&file, &name)?;
        found.push(Source::new(file, name, &metadata));
    }
    Ok(())
}

/// Refuses what the cluster refuses only when all of a batch is written.
fn check_name(file: &Path, name: &str) -> anyhow::Result<()> {
    if name.len() > MAX_FILE_NAME_BYTES {
        let bytes = name.len();
        bail!(
            "{file:?} has {bytes} bytes in its path below the directory that is imported, limit {MAX_FILE_NAME_BYTES}; \
             shorten it, or import a directory further down"
        );
    }
    match why_not_a_path(name) {
        Some(reason) => bail!("{file:?} {reason}"),
        None => Ok(()),
    }
}

/// Groups of at most `count` files that a segment can describe.
pub(super) fn by_count(sources: &[Source], count: usize) -> Vec<Vec<Source>> {
    let groups = parts(sources, count, SEGMENT_BYTES, described);
    groups.into_iter().map(<[Source]>::to_vec).collect()
}

/// Bytes by which a segment's content describes a file.
fn described(source: &Source) -> u64 {
    source.name.len() as u64 + FILE_BYTES
}

/// One group for each first part of the names, and one for those without.
pub(super) fn by_directory(sources: Vec<Source>) -> anyhow::Result<Vec<Vec<Source>>> {
    let mut groups: Vec<(Option<String>, Vec<Source>)> = Vec::new();
    for source in sources {
        let first = source.name.split_once('/').map(|(first, _)| first.to_owned());
        match groups.iter_mut().find(|(of, _)| *of == first) {
            Some((_, group)) => group.push(source),
            None => groups.push((first, vec![source])),
        }
    }
    for (directory, group) in &groups {
        let described: u64 = group.iter().map(described).sum();
        if group.len() > 1_000 || described > SEGMENT_BYTES {
            let name = directory.as_deref().unwrap_or("the top directory");
            bail!(
                "{name} has {} files, more than a segment can have; use --files-per-segment",
                group.len()
            );
        }
    }
    Ok(groups.into_iter().map(|(_, group)| group).collect())
}

/// Groups that are prepared together, in their order: so few and so small that little is lost when one of them fails.
pub(super) fn batches(groups: &[Vec<Source>]) -> Vec<&[Vec<Source>]> {
    let bytes = |group: &Vec<Source>| group.iter().map(|source| source.size).fold(0, u64::saturating_add);
    parts(groups, SEGMENTS_PER_BATCH, BYTES_PER_BATCH, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str) -> Source {
        Source {
            name: name.to_owned(),
            size: 1,
            ..Source::default()
        }
    }

    fn names(groups: &[Vec<Source>]) -> Vec<Vec<&str>> {
        groups
            .iter()
            .map(|group| group.iter().map(|source| source.name.as_str()).collect())
            .collect()
    }

    #[test]
    fn groups_are_no_larger_than_a_segment_may_be() {
        let three = by_count(&["a", "b", "c"].map(source), 2);
        assert_eq!(names(&three), [vec!["a", "b"], vec!["c"]]);
        let long: Vec<Source> = (0..600).map(|n| source(&format!("{n:0200}"))).collect();
        let groups = by_count(&long, 1_000);
        assert!(groups.len() > 1 && groups.iter().all(|group| group.len() as u64 * 240 <= SEGMENT_BYTES));
        assert_eq!(groups.iter().map(Vec::len).sum::<usize>(), 600);
    }

    #[test]
    fn a_directory_is_a_segment_and_files_beside_them_are_another() {
        let groups = by_directory(["a/1", "a/b/2", "c/1", "top"].map(source).to_vec()).expect("small");
        assert_eq!(names(&groups), [vec!["a/1", "a/b/2"], vec!["c/1"], vec!["top"]]);
        assert!(by_directory((0..1_001).map(|n| source(&format!("a/{n}"))).collect()).is_err());
    }

    #[test]
    fn a_batch_is_as_large_as_the_files_of_its_groups() {
        let of = |sizes: &[u64]| -> Vec<Source> {
            sizes
                .iter()
                .map(|size| Source {
                    size: *size,
                    ..source("a")
                })
                .collect()
        };
        let half = BYTES_PER_BATCH / 2;
        let groups = [of(&[half, half]), of(&[1]), of(&[half]), of(&[u64::MAX, u64::MAX])];
        let lengths: Vec<usize> = batches(&groups).iter().map(|batch| batch.len()).collect();
        assert_eq!(lengths, [1, 2, 1]);
        let lengths: Vec<usize> = batches(&vec![of(&[1]); 130]).iter().map(|batch| batch.len()).collect();
        assert_eq!(lengths, [64, 64, 2]);
    }

    #[test]
    fn a_walk_finds_files_in_order_and_refuses_what_is_none() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("b")).expect("made");
        for name in ["b/x", "a", "c"] {
            std::fs::write(dir.path().join(name), name).expect("written");
        }
        let found = below(&[dir.path().to_owned()]).expect("walked").concat();
        assert_eq!(
            found.iter().map(|source| source.name.as_str()).collect::<Vec<_>>(),
            ["a", "b/x", "c"]
        );
        std::os::unix::fs::symlink("a", dir.path().join("link")).expect("made");
        let error = below(&[dir.path().to_owned()]).expect_err("a link");
        assert!(error.to_string().contains("link is a symbolic link"), "{error}");
    }

    #[test]
    fn a_walk_refuses_names_that_the_cluster_would() {
        let dir = tempfile::tempdir().expect("a directory");
        let refusal = |name: &str| {
            let file = dir.path().join(name);
            std::fs::create_dir_all(file.parent().expect("has one")).expect("made");
            std::fs::write(&file, b"x").expect("written");
            let refused = below(&[dir.path().to_owned()]).err();
            std::fs::remove_file(&file).expect("removed");
            refused.map(|error| error.to_string()).unwrap_or_default()
        };
        let long = format!("{0}/{0}", "n".repeat(127));
        assert_eq!(refusal(&long), "", "{} bytes", long.len());
        let too_long = refusal(&format!("{long}n"));
        assert!(
            too_long.contains("nnn\" has 256 bytes") && too_long.contains("limit 255"),
            "{too_long}"
        );
        for (name, shown) in [
            ("a\nb", "a\\nb\" has a control character"),
            ("a\\b", "a\\\\b\" has a control character or a backslash"),
            ("d/x.quorate-partial", "d/x.quorate-partial\" has a name that ends like"),
            (".quorate-vault", ".quorate-vault\" has the name of the vault's marker"),
        ] {
            let told = refusal(name);
            assert!(told.contains(shown), "{name}: {told}");
        }
    }

    #[test]
    fn a_source_is_another_when_it_is_written_and_not_when_its_inode_is_another() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("a");
        std::fs::write(&file, b"old").expect("written");
        let found = below(&[dir.path().to_owned()]).expect("walked").concat();
        let found = found.first().expect("one file");
        let is_still = || found.is_still(&std::fs::metadata(&file).expect("is there"));
        assert!(is_still());
        let before = std::fs::metadata(&file).and_then(|metadata| metadata.modified()).expect("a time");
        let set_modified = |file: &Path, time| {
            let opened = std::fs::File::options().write(true).open(file).expect("opens");
            opened.set_modified(time).expect("set");
        };
        set_modified(&file, before + std::time::Duration::from_micros(1));
        assert!(!is_still(), "written a microsecond later");
        set_modified(&file, before);
        assert!(is_still());
        let other = dir.path().join("other");
        std::fs::write(&other, b"new").expect("written");
        set_modified(&other, before);
        std::fs::rename(&other, &file).expect("renamed");
        assert!(is_still(), "its inode is another");
        std::fs::write(&file, b"longer").expect("written");
        set_modified(&file, before);
        assert!(!is_still(), "of another size");
    }
}
