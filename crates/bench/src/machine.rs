//! What the kernel says about processes, CPU time and resident memory, and about files.

use anyhow::Context;
use serde::Serialize;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::{fs, io};

/// Resident memory of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// All of it, mapped files included.
    pub rss_bytes: u64,
    /// Without mapped files, which are cache.
    pub anonymous_bytes: u64,
}

/// CPU seconds, user and system, that the processes have used so far. A process that is gone counts nothing.
pub fn cpu_seconds(pids: &[u32]) -> f64 {
    let ticks: u64 = pids
        .iter()
        .filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/stat")).ok())
        .filter_map(|stat| cpu_ticks(&stat))
        .sum();
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// `utime` and `stime` of a line of /proc/<pid>/stat. The name in its second field may contain blanks and brackets.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let after_name = &stat[stat.rfind(')')? + 1..];
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Resident memory of a process.
pub fn memory(pid: u32) -> anyhow::Result<Memory> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    parse_memory(&status).with_context(|| format!("{path} has no VmRSS and RssAnon"))
}

fn parse_memory(status: &str) -> Option<Memory> {
    let kilobytes = |name: &str| -> Option<u64> {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_ascii_whitespace().nth(1)?.parse().ok()
    };
    Some(Memory {
        rss_bytes: kilobytes("VmRSS:")? << 10,
        anonymous_bytes: kilobytes("RssAnon:")? << 10,
    })
}

/// Bytes of all files below a directory in which others write. A file with several names, as a checkpoint gives it, counts once, and one
/// that goes meanwhile not at all.
pub fn file_bytes(directory: &Path) -> anyhow::Result<u64> {
    anyhow::ensure!(directory.is_dir(), "{} is no directory", directory.display());
    let mut bytes_by_inode = BTreeMap::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        let Some(entries) = unless_gone(fs::read_dir(&directory))? else {
            continue;
        };
        for entry in entries {
            let entry = entry?;
            let Some(metadata) = unless_gone(entry.metadata())? else { continue };
            if metadata.is_dir() {
                directories.push(entry.path());
            } else {
                bytes_by_inode.insert((metadata.dev(), metadata.ino()), metadata.len());
            }
        }
    }
    Ok(bytes_by_inode.values().sum())
}

fn unless_gone<T>(looked: io::Result<T>) -> io::Result<Option<T>> {
    match looked {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        looked => looked.map(Some),
    }
}

/// The machine in one line, for the report.
pub fn describe() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("", |line| line.trim_start_matches(['\t', ':', ' ']));
    format!("{cores} cores, {model}, Linux {}", kernel.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_ticks_are_found_behind_a_name_with_blanks_and_brackets() {
        let line = "42 (a (b) c) S 1 42 42 0 -1 4194304 100 0 0 0 7 5 0 0 20 0 3 0 100 1000 10 18446744073709551615";
        assert_eq!(cpu_ticks(line), Some(12));
        assert_eq!(cpu_ticks("nothing"), None);
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let status = "Name:\tx\nVmRSS:\t    2048 kB\nRssAnon:\t    1024 kB\nRssFile:\t 1024 kB\n";
        assert_eq!(
            parse_memory(status),
            Some(Memory {
                rss_bytes: 2 << 20,
                anonymous_bytes: 1 << 20
            })
        );
        assert_eq!(parse_memory("Name: x\n"), None);
    }

    #[test]
    fn this_process_has_memory_and_has_used_cpu() {
        assert!(memory(std::process::id()).expect("we exist").anonymous_bytes > 0);
        assert_eq!(cpu_seconds(&[u32::MAX]), 0.0);
    }

    #[test]
    fn a_file_counts_once_however_many_names_it_has() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let (generation, checkpoint) = (directory.path().join("generation"), directory.path().join("checkpoint"));
        fs::create_dir(&generation).expect("a directory");
        fs::create_dir(&checkpoint).expect("a directory");
        fs::write(generation.join("one"), [0u8; 1_000]).expect("a file");
        fs::write(generation.join("two"), [0u8; 100]).expect("a file");
        fs::hard_link(generation.join("one"), checkpoint.join("one")).expect("a second name");
        assert_eq!(file_bytes(directory.path()).expect("it is there"), 1_100);
        assert!(file_bytes(&directory.path().join("nothing")).is_err());
    }
}
