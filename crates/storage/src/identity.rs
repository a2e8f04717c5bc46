//! Who this data directory is. Written and synced before the first vote, checked at every start.
//!
//! A peer that comes back without its data must not come back under its old id: it would vote again in terms it has
//! already voted in. The random incarnation makes the difference visible to the other peers.

use crate::checked_text;
use crate::log::{FileLog, FileLogOptions, OpenError};
use crate::state::RocksState;
use quorate_model::{ClusterId, Incarnation, PeerId};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// First line of the file: format of the whole data directory.
const FORMAT: &str = "quorate-data 2";

/// Why an identity file says nothing.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error("has format \"{0}\"; this version reads \"{FORMAT}\"")]
    OtherFormat(String),
    #[error("{0}")]
    Damaged(&'static str),
}

impl From<&'static str> for Unreadable {
    fn from(what: &'static str) -> Unreadable {
        Unreadable::Damaged(what)
    }
}

/// Present in a directory whose peer id must not be used again; holds the reason.
const RETIRED: &str = "retired";

/// Identity of a data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub incarnation: Incarnation,
    /// Cluster and id, once the peer belongs to one.
    pub member: Option<(ClusterId, PeerId)>,
    /// The member has begun its log: one that is gone is lost, not new. Older versions did not write this.
    pub log_begun: bool,
}

impl Identity {
    /// Reads the identity of `data_dir`; `None` if the directory holds none. Refuses a directory that was retired.
    pub fn load(data_dir: &Path) -> io::Result<Option<Identity>> {
        refuse_retired(data_dir)?;
        let path = data_dir.join("identity");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return refuse_orphaned_data(data_dir).map(|()| None),
            Err(error) => return Err(io::Error::other(format!("{} cannot be read: {error}", path.display()))),
        };
        parse(&text).map(Some).map_err(|why| {
            let advice = match why {
                Unreadable::OtherFormat(_) => "start the version that wrote it; a directory is not converted",
                Unreadable::Damaged(_) => "this peer must rejoin under a new id: move the data directory away and start it with --replace",
            };
            io::Error::other(format!("{} {why}; {advice}", path.display()))
        })
    }

    /// Writes and syncs the identity.
    pub fn store(&self, data_dir: &Path) -> io::Result<()> {
        self.write(data_dir)
            .map_err(|error| cannot_be_written(data_dir, "identity", &error))
    }

    fn write(&self, data_dir: &Path) -> io::Result<()> {
        fs::create_dir_all(data_dir)?;
        let temporary = data_dir.join("identity.new");
        let mut file = File::create(&temporary)?;
        file.write_all(self.render().as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, data_dir.join("identity"))?;
        File::open(data_dir)?.sync_all()
    }

    /// Opens the log of `data_dir`. Begins one only where none can have been: whoever has voted in a log that is gone would
    /// vote again in the same terms.
    pub fn open_log(&self, data_dir: &Path, options: FileLogOptions) -> Result<FileLog, OpenError> {
        let dir = data_dir.join("log");
        // The state is opened after the log, so it tells about a log where an older version wrote the identity.
        if self.log_begun || RocksState::exists(&data_dir.join("state")) {
            FileLog::open_begun(dir, options)
        } else {
            FileLog::open(dir, options)
        }
    }

    /// Remembers durably that the log has begun; to be called before the first vote.
    pub fn remember_log(&self, data_dir: &Path) -> io::Result<()> {
        if self.log_begun {
            return Ok(());
        }
        Identity { log_begun: true, ..*self }.store(data_dir)
    }

    /// Ends the use of `data_dir` for good: its peer id may neither vote nor acknowledge any more, for the reason given.
    pub fn retire(data_dir: &Path, reason: &str) -> io::Result<()> {
        let write = || {
            let mut file = File::create(data_dir.join(RETIRED))?;
            writeln!(file, "{reason}")?;
            file.sync_all()?;
            File::open(data_dir)?.sync_all()
        };
        write().map_err(|error| cannot_be_written(data_dir, RETIRED, &error))
    }

    fn render(&self) -> String {
        let mut text = format!("{FORMAT}\nincarnation {}\n", self.incarnation);
        if let Some((cluster, peer)) = self.member {
            text += &format!("cluster {cluster}\npeer {peer}\n");
        }
        if self.log_begun {
            text += "log begun\n";
        }
        checked_text::sealed(text)
    }
}

fn cannot_be_written(data_dir: &Path, name: &str, error: &io::Error) -> io::Error {
    let text = format!("{} cannot be written: {}", data_dir.join(name).display(), with_advice(error));
    io::Error::new(error.kind(), text)
}

/// Why something in a data directory could not be made, with what to do.
pub fn with_advice(error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free space there",
        io::ErrorKind::PermissionDenied => "the user that runs this peer must own its data directory",
        io::ErrorKind::ReadOnlyFilesystem => "mount it for writing, or name another data directory",
        _ => "name a data directory that this peer can write",
    };
    format!("{error}; {advice}")
}

fn refuse_retired(data_dir: &Path) -> io::Result<()> {
    let reason = match fs::read_to_string(data_dir.join(RETIRED)) {
        Ok(reason) => reason,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(io::Error::other(format!(
                "{} cannot be read: {error}",
                data_dir.join(RETIRED).display()
            )));
        }
    };
    let advice = "this peer must rejoin under a new id: move the data directory away and start it with --replace";
    Err(io::Error::other(format!(
        "{} may not be used any more: {}; {advice}",
        data_dir.display(),
        reason.trim()
    )))
}

/// A log or state without an identity is a directory somebody damaged: starting it as new would forget its votes.
fn refuse_orphaned_data(data_dir: &Path) -> io::Result<()> {
    for name in ["log", "state"] {
        let dir = data_dir.join(name);
        if fs::read_dir(&dir).is_ok_and(|mut entries| entries.next().is_some()) {
            let advice = "restore the file, or move the data directory away and start this peer with --replace";
            return Err(io::Error::other(format!(
                "{} holds data but {} has no identity file; {advice}",
                dir.display(),
                data_dir.display()
            )));
        }
    }
    Ok(())
}

fn parse(text: &str) -> Result<Identity, Unreadable> {
    let (body, crc_line) = text.strip_suffix('\n').and_then(|text| text.rsplit_once('\n')).ok_or("is cut")?;
    let body = format!("{body}\n");
    let crc = crc_line
        .strip_prefix("crc32c ")
        .and_then(|hex| u32::from_str_radix(hex, 16).ok())
        .ok_or("is cut")?;
    if crc != crc32c::crc32c(body.as_bytes()) {
        return Err("is damaged: its checksum does not match".into());
    }
    let mut lines = body.lines();
    let format = lines.next().unwrap_or_default();
    if format != FORMAT {
        return Err(Unreadable::OtherFormat(format.to_owned()));
    }
    let mut field = |name: &str| {
        lines
            .next()
            .and_then(|line| line.strip_prefix(name))
            .map(|rest| rest.trim().to_owned())
    };
    let incarnation = field("incarnation")
        .and_then(|hex| u64::from_str_radix(&hex, 16).ok())
        .ok_or("has no incarnation")?;
    let cluster = field("cluster").and_then(|hex| u128::from_str_radix(&hex, 16).ok());
    let peer = field("peer").and_then(|number| number.parse().ok());
    let member = match (cluster, peer) {
        (Some(cluster), Some(peer)) => Some((ClusterId(cluster), PeerId(peer))),
        (None, None) => None,
        _ => return Err("names a cluster without a peer id".into()),
    };
    let log_begun = field("log").is_some_and(|word| word == "begun");
    Ok(Identity {
        incarnation: Incarnation(incarnation),
        member,
        log_begun,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            incarnation: Incarnation(0xab),
            member: Some((ClusterId(0x1234), PeerId(3))),
            log_begun: true,
        }
    }

    #[test]
    fn identity_comes_back_and_has_golden_text() {
        let dir = tempfile::tempdir().expect("temporary directory");
        assert_eq!(Identity::load(dir.path()).expect("an empty directory is fine"), None);
        identity().store(dir.path()).expect("stored");
        assert_eq!(Identity::load(dir.path()).expect("loads"), Some(identity()));
        let golden = "quorate-data 2\nincarnation 00000000000000ab\ncluster 00000000000000000000000000001234\npeer 3\n";
        let begun = identity().render();
        assert!(begun.starts_with(&format!("{golden}log begun\ncrc32c ")), "{begun}");
        let older = Identity {
            log_begun: false,
            ..identity()
        };
        assert!(older.render().starts_with(&format!("{golden}crc32c ")), "{}", older.render());
        assert_eq!(parse(&older.render()).expect("what older versions wrote"), older);
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_named_with_what_to_do() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let file = dir.path().join("file");
        fs::write(&file, "no directory").expect("written");
        let told = [identity().store(&file), Identity::retire(&file, "lost")].map(|outcome| outcome.expect_err("a file").to_string());
        for (told, name) in told
            .iter()
            .zip(["file/identity cannot be written: ", "file/retired cannot be written: "])
        {
            assert!(
                told.contains(name) && told.ends_with("; name a data directory that this peer can write"),
                "{told}"
            );
        }
        let full = cannot_be_written(&file, "identity", &io::Error::from(io::ErrorKind::StorageFull));
        assert!(
            full.to_string().ends_with("; free space there") && full.kind() == io::ErrorKind::StorageFull,
            "{full}"
        );
    }

    #[test]
    fn a_log_is_begun_once_and_missed_when_it_is_gone() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let options = || FileLogOptions {
            segment_bytes: 64 << 10,
            ..FileLogOptions::default()
        };
        let open = |identity: Identity| identity.open_log(dir.path(), options());
        let missed = |identity: Identity| open(identity).err().expect("refused").to_string();
        let fresh = Identity {
            log_begun: false,
            ..identity()
        };
        drop(open(fresh).expect("begun"));
        drop(open(fresh).expect("a crash before it was remembered"));
        fresh.remember_log(dir.path()).expect("stored");
        let known = Identity::load(dir.path()).expect("loads").expect("there");
        assert_eq!(known, identity());
        drop(open(known).expect("there"));

        fs::remove_dir_all(dir.path().join("log")).expect("removed");
        let said = missed(known);
        assert!(said.contains("log is missing") && said.contains("--replace"), "{said}");
        assert!(!dir.path().join("log").exists(), "where it was it can be put back");
        fs::create_dir_all(dir.path().join("log")).expect("an empty mount point, say");
        assert!(missed(known).contains("is missing"));
        fs::create_dir_all(dir.path().join("state")).expect("made");
        fs::write(dir.path().join("state/ACTIVE"), "1\n").expect("written");
        assert!(missed(fresh).contains("is missing"), "a state does not come before its log");
    }

    #[test]
    fn every_damage_is_refused() {
        let text = identity().render();
        for position in 0..text.len() {
            let mut damaged = text.clone().into_bytes();
            damaged[position] ^= 1;
            assert!(
                String::from_utf8(damaged)
                    .map_err(|_| ())
                    .and_then(|text| parse(&text).map_err(|_| ()))
                    .is_err(),
                "byte {position}"
            );
            assert!(parse(&text[..position]).is_err(), "cut at {position}");
            let mut zeroed = text.clone().into_bytes();
            let end = text.len().min(position + 8);
            zeroed[position..end].fill(0);
            assert!(
                parse(&String::from_utf8(zeroed).expect("zeros are text")).is_err(),
                "zeros from {position}"
            );
        }
    }

    #[test]
    fn data_without_identity_is_refused() {
        let dir = tempfile::tempdir().expect("temporary directory");
        fs::create_dir_all(dir.path().join("log")).expect("made");
        fs::write(dir.path().join("log/segment"), b"x").expect("written");
        let error = Identity::load(dir.path()).expect_err("refused");
        assert!(error.to_string().contains("has no identity file"), "{error}");
    }
}
