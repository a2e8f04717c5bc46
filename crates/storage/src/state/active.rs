//! The file `ACTIVE`, which says what generation of the state is in use.
//!
//! ```text
//! generation 3
//! begins               only while that generation is made for the first time: whatever is in it holds nothing yet
//! crc32c 1a2b3c4d      of the lines before
//! ```
//! It decides which directory is read and which others go, so a number that is not the one that was written is noticed. Older
//! versions wrote the number alone; that is read, and written anew once its generation has been opened.

use super::damage::damaged;
use crate::checked_text;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub(super) const NAME: &str = "ACTIVE";
const GENERATION: &str = "gen-";

/// The generation in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Active {
    pub number: u64,
    pub stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It is being made and holds nothing yet.
    Begins,
    /// It was made, so it must be there.
    Made,
    /// The same, as older versions wrote it.
    MadeByOlder,
}

impl Active {
    /// Of a directory without a state.
    pub(super) const FIRST: Active = Active {
        number: 1,
        stage: Stage::Begins,
    };

    pub(super) fn made(number: u64) -> Active {
        Active {
            number,
            stage: Stage::Made,
        }
    }

    /// What the file in `dir` says; `None` if there has never been a state.
    pub(super) fn read(dir: &Path) -> io::Result<Option<Active>> {
        let path = dir.join(NAME);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return match generations(dir)?.is_empty() {
                    true => Ok(None),
                    false => Err(damaged(&path, "is missing beside existing generations")),
                };
            }
            Err(error) => return Err(io::Error::other(format!("{} cannot be read: {error}", path.display()))),
        };
        let parsed = std::str::from_utf8(&bytes).ok().and_then(parse);
        parsed
            .map(Some)
            .ok_or_else(|| damaged(&path, "does not say which generation is in use"))
    }

    /// Replaces the file durably: the old one or the new one is there after a crash.
    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        let temporary = dir.join("ACTIVE.new");
        let mut file = File::create(&temporary)?;
        file.write_all(self.render().as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, dir.join(NAME))?;
        File::open(dir)?.sync_all()
    }

    fn render(&self) -> String {
        let number = self.number;
        match self.stage {
            Stage::Begins => checked_text::sealed(format!("generation {number}\nbegins\n")),
            Stage::Made => checked_text::sealed(format!("generation {number}\n")),
            Stage::MadeByOlder => format!("{number}\n"),
        }
    }
}

/// Only what is written so to the last byte: what is cut, or names a number in another way, was not written here.
fn parse(text: &str) -> Option<Active> {
    let first = text.lines().next()?;
    let number = first.strip_prefix("generation ").unwrap_or(first).parse().ok()?;
    [Stage::Made, Stage::Begins, Stage::MadeByOlder]
        .into_iter()
        .map(|stage| Active { number, stage })
        .find(|active| active.render() == text)
}

/// Directory of a generation.
pub(super) fn generation_dir(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{GENERATION}{number}"))
}

/// Directories of all generations there are.
pub(super) fn generations(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(GENERATION) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_and_what_older_versions_wrote_is_read() {
        let dir = tempfile::tempdir().expect("temporary directory");
        assert_eq!(Active::read(dir.path()).expect("nothing there"), None);
        for active in [Active::FIRST, Active::made(12)] {
            active.write(dir.path()).expect("written");
            assert_eq!(Active::read(dir.path()).expect("read"), Some(active));
        }
        let older = Active {
            number: 12,
            stage: Stage::MadeByOlder,
        };
        assert_eq!(parse("12\n"), Some(older));
        for bad in ["", "\n", "12", "+12\n", "012\n", "12\n\n", "generation 12\n", "one\n"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn every_damage_is_noticed() {
        for active in [Active::FIRST, Active::made(10)] {
            let text = active.render();
            for position in 0..text.len() {
                for bit in 0..8 {
                    let mut bytes = text.clone().into_bytes();
                    bytes[position] ^= 1 << bit;
                    let found = String::from_utf8(bytes).ok().and_then(|text| parse(&text));
                    assert_eq!(found, None, "bit {bit} of byte {position}");
                }
                assert_eq!(parse(&text[..position]), None, "cut at {position}");
            }
        }
    }
}
