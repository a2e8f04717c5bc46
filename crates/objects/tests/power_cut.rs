//! Real power cuts under a local vault, on a file system of its own: copies that were reported are there afterwards, with all their bytes.
//! A file beside them that nobody synced shows that something was lost. Needs what `loop_disk` needs; says loudly when it cannot run.

#[path = "../../storage/tests/support/loop_disk.rs"]
mod loop_disk;

use loop_disk::Disk;
use quorate_objects::limits::SYNC_EACH_UP_TO_FILES;
use quorate_objects::{CopyOptions, Existing, FileCopy, LocalPlace, ObjectPath, Patience, ReadBack, Vault, VaultPlace, copy_files};
use std::path::Path;
use tempfile::TempDir;

const FILE_BYTES: usize = 3_000;

#[tokio::test]
async fn copies_survive_a_power_cut() {
    // Few files are synced one by one, many together.
    for count in [3, SYNC_EACH_UP_TO_FILES + 1] {
        let dir = TempDir::new().expect("directory");
        let disk = match Disk::new(dir.path()) {
            Ok(disk) => disk,
            Err(reason) => {
                eprintln!("SKIPPED, NO POWER WAS CUT: {reason}");
                return;
            }
        };
        let root = disk.mount.join("vault");
        let source = create(&dir.path().join("source"), "v1").await;
        let target = create(&root, "v2").await;
        let files = put(&source, count).await;
        // Reading back writes out what it reads, and would hide a sync that is missing.
        let options = CopyOptions {
            read_back: ReadBack::Off,
            ..CopyOptions::default()
        };
        copy_files(&source, &target, &files, options, &|_| {}).await.expect("copied");
        // At once: the kernel writes by itself what is seconds old.
        std::fs::write(root.join("unsynced"), content(0)).expect("written");
        disk.cut_power().expect("ext4 can be shut down");
        disk.detach().expect("nothing uses the disk any more");
        disk.attach().expect("ext4 recovers");
        let has = |name: &str, bytes: &[u8]| std::fs::read(root.join(name)).is_ok_and(|read| read == bytes);
        for (number, file) in files.iter().enumerate() {
            let name = file.target_path.as_str();
            assert!(has(name, &content(number)), "{name}, of {count} files, was reported and is lost");
        }
        assert!(!has("unsynced", &content(0)), "no power was cut");
    }
}

async fn create(root: &Path, vault_id: &str) -> Vault {
    let place = LocalPlace {
        root: root.to_owned(),
        cluster_id: "c1".to_owned(),
        vault_id: vault_id.to_owned(),
    };
    Vault::create_marker(&place).await.expect("marker");
    Vault::open(&VaultPlace::Local(place), Patience::default()).await.expect("vault")
}

/// Files in several directories, and how they are to be copied.
async fn put(vault: &Vault, count: usize) -> Vec<FileCopy> {
    let mut files = Vec::new();
    for number in 0..count {
        let name = format!("d{}/{number}", number % 7);
        let source_path = ObjectPath::new(name.as_str()).expect("a path");
        let written = vault
            .put(&source_path, content(number).into(), Existing::Refuse)
            .await
            .expect("put");
        files.push(FileCopy {
            source_path,
            target_path: ObjectPath::new(format!("copied/{name}")).expect("a path"),
            size: written.size,
            checksum: Some(written.checksum),
        });
    }
    files
}

fn content(number: usize) -> Vec<u8> {
    (0..FILE_BYTES + number)
        .map(|position| (position * 7 + number * 13) as u8)
        .collect()
}
