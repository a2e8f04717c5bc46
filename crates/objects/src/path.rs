//! Names of objects within a vault.

use crate::error::{ObjectError, Result};
use crate::limits::PATH_BYTES;
use quorate_model::file_names::why_not_a_path;
use std::fmt;

/// A path relative to a vault: names joined by `/`, none of them empty, `.` or `..`. Whoever has one cannot leave the vault.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectPath(String);

impl ObjectPath {
    pub fn new(path: impl Into<String>) -> Result<ObjectPath> {
        let path = path.into();
        if path.is_empty() || path.len() > PATH_BYTES {
            return Err(ObjectError::invalid(format!(
                "object path of {} bytes: must have 1 to {PATH_BYTES}",
                path.len()
            )));
        }
        if let Some(reason) = why_not_a_path(&path) {
            return Err(ObjectError::invalid(format!("object path {path:?} {reason}")));
        }
        Ok(ObjectPath(path))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// This path below `self`.
    pub fn join(&self, below: &str) -> Result<ObjectPath> {
        ObjectPath::new(format!("{}/{below}", self.0))
    }

    /// The path without its last name; none for a single name.
    pub fn parent(&self) -> Option<ObjectPath> {
        self.0.rsplit_once('/').map(|(parent, _)| ObjectPath(parent.to_owned()))
    }
}

impl fmt::Display for ObjectPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_within_the_vault() {
        for good in ["a", "a/b.avro", "snapshots/1/metadata/2.json", "dot.dot/..a", "ä b+c%/x"] {
            assert_eq!(ObjectPath::new(good).expect("good").as_str(), good);
        }
        let long = "x/".repeat(PATH_BYTES / 2) + "y";
        let long_name = "x".repeat(256);
        for bad in [
            "",
            "/a",
            "a/",
            "a//b",
            "..",
            "a/../b",
            "./a",
            "a\\b",
            "a\nb",
            "a/.quorate-vault",
            "a.quorate-partial",
            &long,
            &long_name,
        ] {
            assert!(ObjectPath::new(bad).is_err(), "{bad}");
        }
    }
}
