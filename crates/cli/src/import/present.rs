//! Which of the files to be imported a partition has already: an import that was cut off goes on where it ended.
//!
//! A file is there if a segment has one of the same name, size and checksum. Each that is there stands for one of those to be imported, so
//! that files of one name and content from two directories are both imported.

use super::sources::Source;
use crate::amounts::number;
use crate::output::{list, text};
use anyhow::Context as _;
use quorate_objects::{Crc64, Crc64Hasher};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::Path;

/// Bytes read at once for a checksum.
const BUFFER_BYTES: usize = 1 << 20;

/// What is there, by name and size; then by checksum, with the segments that have it.
type Known = BTreeMap<(String, u64), BTreeMap<u64, Vec<String>>>;

/// The files of a partition.
#[derive(Default)]
pub(super) struct Present {
    known: Known,
    /// Files that were found to be there, and in which segments.
    pub files: usize,
    pub segments: BTreeSet<String>,
}

impl Present {
    /// Reads the list of a partition's segments.
    pub fn of(segments: &[Json]) -> Present {
        let mut known = Known::new();
        for segment in segments {
            for file in list(segment, "files") {
                let of_name = known.entry((text(file, "name"), number(file, "size_bytes"))).or_default();
                let of_content = of_name.entry(number(file, "checksum")).or_default();
                of_content.push(text(segment, "segment_id"));
            }
        }
        Present {
            known,
            ..Present::default()
        }
    }

    /// Whether a file of this name and size is there, whatever it holds.
    pub fn has_like(&self, source: &Source) -> bool {
        self.known.contains_key(&(source.name.clone(), source.size))
    }

    /// The files that are not there yet. Only those whose name and size are there are read.
    pub fn leave_out(&mut self, sources: Vec<Source>) -> anyhow::Result<Vec<Source>> {
        let mut missing = Vec::with_capacity(sources.len());
        for source in sources {
            let found = match self.known.get_mut(&(source.name.clone(), source.size)) {
                None => None,
                Some(contents) => {
                    let checksum = checksum(&source.file).with_context(|| format!("file {}", source.file.display()))?;
                    contents.get_mut(&checksum.0).and_then(Vec::pop)
                }
            };
            match found {
                None => missing.push(source),
                Some(segment) => {
                    self.files += 1;
                    self.segments.insert(segment);
                }
            }
        }
        Ok(missing)
    }
}

fn checksum(file: &Path) -> std::io::Result<Crc64> {
    let mut opened = std::fs::File::open(file)?;
    let mut hasher = Crc64Hasher::default();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match opened.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            count => hasher.update(&buffer[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn files_of_the_same_name_size_and_content_are_left_out_once_each() {
        let dir = tempfile::tempdir().expect("a directory");
        let source = |name: &str, content: &str| {
            let file = dir.path().join(format!("{name}-{content}"));
            std::fs::write(&file, content).expect("written");
            Source {
                file,
                name: name.to_owned(),
                size: content.len() as u64,
                ..Source::default()
            }
        };
        let checksum_of = |content: &str| Crc64::of(content.as_bytes()).0.to_string();
        let file =
            |name: &str, content: &str| json!({"name": name, "size_bytes": content.len().to_string(), "checksum": checksum_of(content)});
        let segments = [
            json!({"segment_id": "7", "files": [file("a", "one"), file("b", "two")]}),
            json!({"segment_id": "8", "files": [file("a", "one")]}),
        ];
        let mut present = Present::of(&segments);
        let sources = vec![
            source("a", "one"),
            source("a", "one"),
            source("a", "one"),
            source("b", "2wo"),
            source("c", "one"),
        ];
        let missing = present.leave_out(sources).expect("readable");
        let left: Vec<String> = missing.iter().map(|source| source.file.display().to_string()).collect();
        assert_eq!(left.len(), 3, "the third of a name, other content, another name: {left:?}");
        assert!(left[1].ends_with("b-2wo") && left[2].ends_with("c-one"), "{left:?}");
        assert_eq!(present.files, 2);
        assert_eq!(present.segments.into_iter().collect::<Vec<_>>(), ["7", "8"]);
        let gone = Source {
            file: dir.path().join("gone"),
            name: "b".to_owned(),
            size: 3,
            ..Source::default()
        };
        let error = Present::of(&segments).leave_out(vec![gone]).expect_err("cannot be read");
        assert!(format!("{error:#}").contains("gone"), "{error:#}");
    }
}
