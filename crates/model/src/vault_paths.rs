//! Where a cluster's files are in a vault. A vault may hold files of others as well, such as Doris's own data or what is below the prefix
//! of another vault: so every directory gets its name here, beside the rule that tells what may be a cluster's from what is not.
//!
//! ```text
//! s<scope>/c<collection>/p<partition>/g<segment>/...           an uploaded segment
//! s<scope>/j<job>/...                                          what a job's tasks copy
//! snapshots/<collection>/metadata/<revision>.json              of a snapshot, in Milvus's places
//! snapshots/<collection>/manifests/<revision>/<segment>.avro
//! snapshot/<id of the snapshot, 20 hex digits>/...             an image of Doris's frontends
//! ```
//!
//! Ids are never used again, and so no path is.

use crate::{Revision, ScopeId};

/// Digits of a snapshot's id.
const SNAPSHOT_ID_DIGITS: usize = 20;

/// Of the files of an uploaded segment.
pub fn segment_directory(scope: ScopeId, collection_id: u64, partition_id: u64, segment_id: u64) -> String {
    format!("s{scope}/c{collection_id}/p{partition_id}/g{segment_id}")
}

/// Of all files that the tasks of a job copy into this scope.
pub fn job_directory(scope: ScopeId, job: u64) -> String {
    format!("s{scope}/j{job}")
}

/// Of the metadata files of all snapshots of a collection; of those of whole instances it is collection 0.
pub fn metadata_directory(collection_id: u64) -> String {
    format!("snapshots/{collection_id}/metadata")
}

/// Of all manifests of a snapshot of a collection.
pub fn manifests_directory(collection_id: u64, snapshot: Revision) -> String {
    format!("snapshots/{collection_id}/manifests/{snapshot}")
}

/// Of the image of a snapshot that a frontend of Doris has begun; `snapshot_id` as callers see it.
pub fn image_directory(snapshot_id: &str) -> String {
    format!("snapshot/{snapshot_id}")
}

/// Whether a file of this path, from the vault's root, can be in one of these directories. No other file is a cluster's, whatever it is.
pub fn is_of_a_cluster(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    match parts[..] {
        ["snapshots", collection, "metadata", file] => is_number(collection) && file.strip_suffix(".json").is_some_and(is_number),
        ["snapshots", collection, "manifests", revision, file] => {
            is_number(collection) && is_number(revision) && file.strip_suffix(".avro").is_some_and(is_number)
        }
        ["snapshot", id, _, ..] => id.len() == SNAPSHOT_ID_DIGITS && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
        [scope, collection, partition, segment, _, ..] if is_numbered('c', collection) => {
            is_numbered('s', scope) && is_numbered('p', partition) && is_numbered('g', segment)
        }
        [scope, job, _, ..] => is_numbered('s', scope) && is_numbered('j', job),
        _ => false,
    }
}

/// Whether a name is this letter with a number behind it.
fn is_numbered(letter: char, name: &str) -> bool {
    name.strip_prefix(letter).is_some_and(is_number)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_where_they_always_were() {
        let scope = ScopeId(1);
        for (made, file, path) in [
            (
                segment_directory(scope, 2, 3, u64::MAX),
                "a/b.parquet",
                "s1/c2/p3/g18446744073709551615/a/b.parquet",
            ),
            (job_directory(scope, 7), "t1-f2/g9/a", "s1/j7/t1-f2/g9/a"),
            (metadata_directory(0), "5.json", "snapshots/0/metadata/5.json"),
            (manifests_directory(2, Revision(5)), "4.avro", "snapshots/2/manifests/5/4.avro"),
            (
                image_directory("00000000000000ab0000"),
                "image",
                "snapshot/00000000000000ab0000/image",
            ),
        ] {
            assert_eq!(format!("{made}/{file}"), path);
            assert!(is_of_a_cluster(path), "{path}");
        }
    }

    #[test]
    fn files_of_others_are_told_apart() {
        for path in [
            "",
            "stray",
            "data/10005/020000000000002a_0.dat",
            "other/s1/c2/p3/g4/a",
            "other/snapshots/2/metadata/5.json",
            "s1/c2/p3/g4",
            "s1/c2/p3/a",
            "s1/c2/p3/gx/a",
            "s/c2/p3/g4/a",
            "s1/j7",
            "s1/jobs/a",
            "s1/stray",
            "sx/j7/a",
            "snapshots/2/metadata/5.json.old",
            "snapshots/2/metadata/5.json/a",
            "snapshots/2/manifests/4.avro",
            "snapshots/nightly/metadata/5.json",
            "snapshot/nightly/image",
            "snapshot/00000000000000ab0000",
        ] {
            assert!(!is_of_a_cluster(path), "{path}");
        }
    }
}
