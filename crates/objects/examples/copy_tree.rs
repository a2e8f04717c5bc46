//! Copies a directory tree between two local vaults and prints how fast that was, with and without reading back.
//!
//! `cargo run --release -p quorate-objects --example copy_tree -- SRC DST`, to compare with `cp -r SRC DST && sync -f DST`. DST is made a vault
//! and must not hold copies yet; SRC gets a marker file for as long as it takes.

use quorate_objects::{CopyOptions, FileCopy, LocalPlace, ObjectPath, Patience, ReadBack, Vault, VaultPlace, copy_files};
use std::path::{Path, PathBuf};
use std::time::Instant;

type Failure = Box<dyn std::error::Error>;

async fn vault(root: &Path, vault_id: &str) -> Result<Vault, Failure> {
    let place = LocalPlace {
        root: std::path::absolute(root)?,
        cluster_id: "copy-tree".to_owned(),
        vault_id: vault_id.to_owned(),
    };
    Vault::create_marker(&place).await?;
    Ok(Vault::open(&VaultPlace::Local(place), Patience::default()).await?)
}

async fn copy(source: &Vault, target: &Vault, below: &str, read_back: ReadBack) -> Result<(), Failure> {
    let mut files = Vec::new();
    for info in source.list_all(None).await? {
        files.push(FileCopy {
            target_path: ObjectPath::new(format!("{below}/{}", info.path))?,
            source_path: ObjectPath::new(info.path)?,
            size: info.size,
            checksum: None,
        });
    }
    let options = CopyOptions {
        read_back,
        ..CopyOptions::default()
    };
    let started = Instant::now();
    let copied = copy_files(source, target, &files, options, &|_| {}).await?;
    let seconds = started.elapsed().as_secs_f64();
    let megabytes = copied.iter().map(|file| file.size).sum::<u64>() as f64 / 1e6;
    println!(
        "{below}: {} files, {megabytes:.0} MB in {seconds:.2} s: {:.0} MB/s, {:.0} files/s",
        copied.len(),
        megabytes / seconds,
        copied.len() as f64 / seconds
    );
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [from, to] = arguments.as_slice() else {
        return Err("usage: copy_tree SRC DST".into());
    };
    let (source, target) = (vault(from, "source").await?, vault(to, "target").await?);
    let mut outcome = copy(&source, &target, "read-back", ReadBack::On).await;
    if outcome.is_ok() {
        outcome = copy(&source, &target, "no-read-back", ReadBack::Off).await;
    }
    std::fs::remove_file(from.join(".quorate-vault"))?;
    outcome
}
