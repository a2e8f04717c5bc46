//! A recovery as a new cluster that was begun in a data directory: present from its first change to its last.

use crate::checked_text;
use quorate_model::ClusterId;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

const NAME: &str = "recovery";

/// From which cluster to which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery {
    pub cluster: ClusterId,
    pub parent: ClusterId,
}

impl Recovery {
    /// The recovery that was begun in `data_dir` and has not ended.
    pub fn load(data_dir: &Path) -> io::Result<Option<Recovery>> {
        let path = data_dir.join(NAME);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io::Error::other(format!("{} cannot be read: {error}", path.display()))),
        };
        let damaged = || {
            io::Error::other(format!(
                "{} is damaged; put the data directory back as it was before the recovery",
                path.display()
            ))
        };
        parse(&text).map(Some).ok_or_else(damaged)
    }

    /// An error while a recovery has not ended: half of its changes may be made.
    pub fn refuse_unfinished(data_dir: &Path) -> io::Result<()> {
        match Recovery::load(data_dir)? {
            None => Ok(()),
            Some(recovery) => Err(io::Error::other(format!(
                "{}: the recovery as cluster {} has not ended; run `quorate recover --as-new-cluster` again",
                data_dir.display(),
                recovery.cluster
            ))),
        }
    }

    /// Writes and syncs it.
    pub fn store(&self, data_dir: &Path) -> io::Result<()> {
        let temporary = data_dir.join("recovery.new");
        let mut file = File::create(&temporary)?;
        file.write_all(self.render().as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, data_dir.join(NAME))?;
        File::open(data_dir)?.sync_all()
    }

    /// The recovery has ended.
    pub fn remove(data_dir: &Path) -> io::Result<()> {
        fs::remove_file(data_dir.join(NAME))?;
        File::open(data_dir)?.sync_all()
    }

    fn render(&self) -> String {
        checked_text::sealed(format!("cluster {}\nparent {}\n", self.cluster, self.parent))
    }
}

fn parse(text: &str) -> Option<Recovery> {
    let mut lines = text.lines();
    let mut id = |name: &str| u128::from_str_radix(lines.next()?.strip_prefix(name)?, 16).ok();
    let recovery = Recovery {
        cluster: ClusterId(id("cluster ")?),
        parent: ClusterId(id("parent ")?),
    };
    (recovery.render() == text).then_some(recovery)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_refuses_a_start_and_goes() {
        let dir = tempfile::tempdir().expect("temporary directory");
        Recovery::refuse_unfinished(dir.path()).expect("nothing was begun");
        let recovery = Recovery {
            cluster: ClusterId(2),
            parent: ClusterId(1),
        };
        recovery.store(dir.path()).expect("stored");
        assert_eq!(Recovery::load(dir.path()).expect("read"), Some(recovery));
        let error = Recovery::refuse_unfinished(dir.path()).expect_err("refused");
        assert!(
            error
                .to_string()
                .contains("has not ended; run `quorate recover --as-new-cluster` again"),
            "{error}"
        );
        Recovery::remove(dir.path()).expect("removed");
        assert_eq!(Recovery::load(dir.path()).expect("read"), None);
    }

    #[test]
    fn every_damage_is_refused() {
        let text = Recovery {
            cluster: ClusterId(2),
            parent: ClusterId(1),
        }
        .render();
        for position in 0..text.len() {
            let mut damaged = text.clone().into_bytes();
            damaged[position] ^= 1;
            assert_eq!(String::from_utf8(damaged).ok().as_deref().and_then(parse), None, "byte {position}");
            assert_eq!(parse(&text[..position]), None, "cut at {position}");
        }
    }
}
