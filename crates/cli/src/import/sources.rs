//! The files to be imported: which there are, which of them make a segment, and which segments make a batch.

use anyhow::{Context as _, bail};
use quorate_model::file_names::{MAX_FILE_NAME_BYTES, is_file_name};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Segments prepared together. They are committed together too, all being well.
const SEGMENTS_PER_BATCH: usize = 64;
/// Bytes of their files, unless one segment alone has more: what is prepared is kept for a day, and written in vain if it takes longer.
const BYTES_PER_BATCH: u64 = 16 << 30;
/// Bytes of one segment's content: the cluster takes 64 KiB.
const SEGMENT_BYTES: usize = 56 << 10;
/// What a file takes of these beside its name.
const FILE_BYTES: usize = 40;

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
    if !is_file_name(name) {
        bail!(
            "{file:?} has a name that no segment takes: one with a control character or a backslash, or with a part .quorate-vault or \
             *.quorate-partial, which are the vault's own; rename it"
        );
    }
    Ok(())
}

/// Groups of at most `count` files that a segment can describe.
pub(super) fn by_count(sources: Vec<Source>, count: usize) -> Vec<Vec<Source>> {
    let mut groups: Vec<Vec<Source>> = Vec::new();
    let mut described = 0;
    for source in sources {
        let takes = source.name.len() + FILE_BYTES;
        match groups.last_mut() {
            Some(group) if group.len() < count && described + takes <= SEGMENT_BYTES => {
                described += takes;
                group.push(source);
            }
            _ => {
                described = takes;
                groups.push(vec![source]);
            }
        }
    }
    groups
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
        let described: usize = group.iter().map(|source| source.name.len() + FILE_BYTES).sum();
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
    let mut batches = Vec::new();
    let mut rest = groups;
    while !rest.is_empty() {
        let (mut count, mut bytes) = (0, 0u64);
        for group in rest.iter().take(SEGMENTS_PER_BATCH) {
            bytes = group.iter().map(|source| source.size).fold(bytes, u64::saturating_add);
            if count > 0 && bytes > BYTES_PER_BATCH {
                break;
            }
            count += 1;
        }
        let (batch, left) = rest.split_at(count);
        batches.push(batch);
        rest = left;
    }
    batches
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
        let three = by_count(vec![source("a"), source("b"), source("c")], 2);
        assert_eq!(names(&three), [vec!["a", "b"], vec!["c"]]);
        let long: Vec<Source> = (0..600).map(|n| source(&format!("{n:0200}"))).collect();
        let groups = by_count(long, 1_000);
        assert!(groups.len() > 1 && groups.iter().all(|group| group.len() * 240 <= SEGMENT_BYTES));
        assert_eq!(groups.iter().map(Vec::len).sum::<usize>(), 600);
    }

    #[test]
    fn a_directory_is_a_segment_and_files_beside_them_are_another() {
        let groups = by_directory(["a/1", "a/b/2", "c/1", "top"].map(source).to_vec()).expect("small");
        assert_eq!(names(&groups), [vec!["a/1", "a/b/2"], vec!["c/1"], vec!["top"]]);
        assert!(by_directory((0..1_001).map(|n| source(&format!("a/{n}"))).collect()).is_err());
    }

    #[test]
    fn batches_end_before_they_have_too_many_segments_or_bytes() {
        let of = |sizes: &[u64]| -> Vec<Vec<Source>> {
            let group = |size: &u64| Source {
                size: *size,
                ..source("a")
            };
            sizes.iter().map(|size| vec![group(size)]).collect()
        };
        let lengths = |groups: &[Vec<Source>]| batches(groups).iter().map(|batch| batch.len()).collect::<Vec<_>>();
        assert_eq!(lengths(&of(&[1; 130])), [64, 64, 2]);
        let large = BYTES_PER_BATCH / 2;
        assert_eq!(lengths(&of(&[large, large, 1, large])), [2, 2]);
        let larger = BYTES_PER_BATCH + 1;
        assert_eq!(lengths(&of(&[larger, larger, 1, u64::MAX, u64::MAX])), [1, 1, 1, 1, 1]);
        assert!(lengths(&[]).is_empty());
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
        assert!(error.to_string().contains("link is neither a file nor a directory"), "{error}");
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
            ("a\nb", "a\\nb\""),
            ("a\\b", "a\\\\b\""),
            ("d/x.quorate-partial", "d/x.quorate-partial\""),
            (".quorate-vault", ".quorate-vault\""),
        ] {
            let told = refusal(name);
            assert!(told.contains(shown) && told.contains("no segment takes"), "{name}: {told}");
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
