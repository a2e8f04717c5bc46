//! The kinds of keys that can be named, with their parameters and layout (spec/doris-http.md 14.2, 14.5).
//!
//! A layout is the key's space, then its fields: a word is a text, `$name` a parameter that is a text, `#name` one that is a
//! number. Parameters are asked for in the order in which they stand in the key.

use super::codec::Field;

/// Name and layout.
pub const KEY_TYPES: &[(&str, &str)] = &[
    ("InstanceKey", "1 instance $instance_id"),
    ("TxnLabelKey", "1 txn $instance_id txn_label #db_id $label"),
    ("TxnInfoKey", "1 txn $instance_id txn_info #db_id #txn_id"),
    ("TxnIndexKey", "1 txn $instance_id txn_index #txn_id"),
    ("TxnRunningKey", "1 txn $instance_id txn_running #db_id #txn_id"),
    (
        "PartitionVersionKey",
        "1 version $instance_id partition #db_id #tbl_id #partition_id",
    ),
    ("TableVersionKey", "1 version $instance_id table #db_id #tbl_id"),
    ("MetaRowsetKey", "1 meta $instance_id rowset #tablet_id #version"),
    ("MetaRowsetTmpKey", "1 meta $instance_id rowset_tmp #txn_id #tablet_id"),
    (
        "MetaTabletKey",
        "1 meta $instance_id tablet #table_id #index_id #part_id #tablet_id",
    ),
    ("MetaTabletIdxKey", "1 meta $instance_id tablet_index #tablet_id"),
    ("RecycleIndexKey", "1 recycle $instance_id index #index_id"),
    ("RecyclePartKey", "1 recycle $instance_id partition #part_id"),
    ("RecycleRowsetKey", "1 recycle $instance_id rowset #tablet_id $rowset_id"),
    ("RecycleTxnKey", "1 recycle $instance_id txn #db_id #txn_id"),
    ("RecycleStageKey", "1 recycle $instance_id stage $stage_id"),
    (
        "StatsTabletKey",
        "1 stats $instance_id tablet #table_id #index_id #part_id #tablet_id",
    ),
    ("JobTabletKey", "1 job $instance_id tablet #table_id #index_id #part_id #tablet_id"),
    // Upstream's name says recycle, its key says check.
    ("JobRecycleKey", "1 job $instance_id check"),
    ("CopyJobKey", "1 copy $instance_id job $stage_id #table_id $copy_id #group_id"),
    (
        "CopyFileKey",
        "1 copy $instance_id loading_file $stage_id #table_id $obj_key $obj_etag",
    ),
    ("MetaSchemaKey", "1 meta $instance_id schema #index_id #schema_version"),
    ("MetaSchemaPBDictionaryKey", "1 meta $instance_id tablet_schema_pb_dict #index_id"),
    // The misspelt parameter is upstream's.
    (
        "MetaDeleteBitmap",
        "1 meta $instance_id delete_bitmap #tablet_id $rowest_id #version #seg_id",
    ),
    (
        "MetaDeleteBitmapUpdateLock",
        "1 meta $instance_id delete_bitmap_lock #table_id #partition_id",
    ),
    ("MetaPendingDeleteBitmap", "1 meta $instance_id delete_bitmap_pending #tablet_id"),
    ("PackedFileKey", "1 meta $instance_id packed_file $packed_file_path"),
    ("RLJobProgressKey", "1 job $instance_id routine_load_progress #db_id #job_id"),
    ("StorageVaultKey", "1 storage_vault $instance_id vault $vault_id"),
    ("MetaServiceRegistryKey", "2 system meta-service registry"),
    ("MetaServiceArnInfoKey", "2 system meta-service arn_info"),
    ("MetaServiceEncryptionKey", "2 system meta-service encryption_key_info"),
    ("VersionedPartitionVersionKey", "3 version $instance_id partition #partition_id"),
    ("VersionedTableVersionKey", "3 version $instance_id table #table_id"),
    ("VersionedPartitionIndexKey", "3 index $instance_id partition #partition_id"),
    (
        "VersionedPartitionInvertedIndexKey",
        "3 index $instance_id partition_inverted #db_id #table_id #partition_id",
    ),
    ("VersionedTabletIndexKey", "3 index $instance_id tablet #tablet_id"),
    (
        "VersionedTabletInvertedIndexKey",
        "3 index $instance_id tablet_inverted #db_id #table_id #index_id #partition_id #tablet_id",
    ),
    ("VersionedIndexIndexKey", "3 index $instance_id index #index_id"),
    (
        "VersionedIndexInvertedKey",
        "3 index $instance_id index_inverted #db_id #table_id #index_id",
    ),
    ("VersionedTabletLoadStatsKey", "3 stats $instance_id tablet_load #tablet_id"),
    ("VersionedTabletCompactStatsKey", "3 stats $instance_id tablet_compact #tablet_id"),
    ("VersionedMetaPartitionKey", "3 meta $instance_id partition #partition_id"),
    ("VersionedMetaIndexKey", "3 meta $instance_id index #index_id"),
    ("VersionedMetaTabletKey", "3 meta $instance_id tablet #tablet_id"),
    ("VersionedMetaSchemaKey", "3 meta $instance_id schema #index_id #schema_version"),
    ("VersionedMetaRowsetLoadKey", "3 meta $instance_id rowset_load #tablet_id #version"),
    (
        "VersionedMetaRowsetCompactKey",
        "3 meta $instance_id rowset_compact #tablet_id #version",
    ),
    (
        "VersionedMetaDeleteBitmapKey",
        "3 meta $instance_id delete_bitmap #tablet_id $rowset_id",
    ),
    (
        "VersionedDataRowsetRefCountKey",
        "3 data $instance_id rowset_ref_count #tablet_id $rowset_id",
    ),
];

/// The layout of a kind of key.
pub fn layout(name: &str) -> Option<&'static str> {
    KEY_TYPES.iter().find(|(other, _)| *other == name).map(|(_, layout)| *layout)
}

/// The fields of a key, or the name of the first parameter that is empty.
pub fn fields(layout: &'static str, parameter: impl Fn(&str) -> Vec<u8>) -> Result<Vec<Field>, &'static str> {
    let mut words = layout.split(' ');
    let space = words.next().and_then(|space| space.parse().ok()).unwrap_or_default();
    let mut fields = vec![Field::Space(space)];
    for word in words {
        let Some((name, is_number)) = parameter_of(word) else {
            fields.push(Field::Text(word.as_bytes().to_vec()));
            continue;
        };
        let value = parameter(name);
        if value.is_empty() {
            return Err(name);
        }
        fields.push(match is_number {
            true => Field::Integer(leading_integer(&value)),
            false => Field::Text(value),
        });
    }
    Ok(fields)
}

/// The texts that a key has where its layout has text parameters; `None` when it is a key of another kind.
pub fn texts(layout: &'static str, fields: &[Field]) -> Option<Vec<Vec<u8>>> {
    let words: Vec<&str> = layout.split(' ').collect();
    if words.len() != fields.len() {
        return None;
    }
    let mut found = Vec::new();
    for (word, field) in words.into_iter().zip(fields) {
        match (parameter_of(word), field) {
            (None, Field::Space(space)) if space.to_string() == word => {}
            (None, Field::Text(text)) if text == word.as_bytes() => {}
            (Some((_, true)), Field::Integer(_)) => {}
            (Some((_, false)), Field::Text(text)) => found.push(text.clone()),
            _ => return None,
        }
    }
    Some(found)
}

/// A parameter's name, and whether it is a number.
fn parameter_of(word: &str) -> Option<(&str, bool)> {
    match word.split_at_checked(1)? {
        ("$", name) => Some((name, false)),
        ("#", name) => Some((name, true)),
        _ => None,
    }
}

/// The decimal a text begins with, as C's `atoll` reads it; 0 if there is none, the nearest number if it is too large.
fn leading_integer(text: &[u8]) -> i64 {
    let text = text.trim_ascii_start();
    let (sign, digits) = match text {
        [b'-', digits @ ..] => (-1, digits),
        [b'+', digits @ ..] => (1, digits),
        digits => (1, digits),
    };
    let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0_i64, |number, digit| {
        number.saturating_mul(10).saturating_add(sign * i64::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_named_once_and_its_keys_are_told_from_all_others() {
        let value = |name: &str| if name.ends_with("id") { b"7".to_vec() } else { b"8".to_vec() };
        for (name, own) in KEY_TYPES {
            assert_eq!(KEY_TYPES.iter().filter(|(other, _)| other == name).count(), 1, "{name}");
            let key = fields(own, value).expect("all given");
            let alike: Vec<&str> = KEY_TYPES
                .iter()
                .filter(|(_, other)| texts(other, &key).is_some())
                .map(|(name, _)| *name)
                .collect();
            assert_eq!(alike, [*name]);
        }
        assert_eq!(KEY_TYPES.len(), 50);
    }

    #[test]
    fn the_first_missing_parameter_is_named() {
        let layout = layout("MetaRowsetKey").expect("known");
        let given = |names: &'static [&str]| move |name: &str| if names.contains(&name) { b"1".to_vec() } else { Vec::new() };
        assert_eq!(fields(layout, given(&[])), Err("instance_id"));
        assert_eq!(fields(layout, given(&["instance_id", "version"])), Err("tablet_id"));
        assert!(fields(layout, given(&["instance_id", "tablet_id", "version"])).is_ok());
    }

    #[test]
    fn numbers_are_read_as_far_as_they_go() {
        for (text, expected) in [
            ("12", 12),
            (" -12x", -12),
            ("+3", 3),
            ("x", 0),
            ("", 0),
            ("99999999999999999999", i64::MAX),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(leading_integer(text.as_bytes()), expected, "{text}");
        }
    }
}
