//! What a failpoint does that is told to fail: `site=return(ENOSPC)`.
//!
//! A site that can fail as well as die stands where a call of the operating system or of RocksDB could fail, and returns
//! what that call would. Sites that can only die are named by `fail_point!` without a function.

use std::io;

/// The error a site was told to return; the argument is the name of an errno or any text.
pub fn error(what: Option<String>) -> io::Error {
    let what = what.unwrap_or_else(|| "EIO".to_owned());
    let kind = match what.as_str() {
        "ENOSPC" => io::ErrorKind::StorageFull,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, format!("injected {what}"))
}

/// As a result, for `fail_point!`.
pub fn fail<T>(what: Option<String>) -> io::Result<T> {
    Err(error(what))
}
