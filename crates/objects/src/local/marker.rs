//! The file that says whose directory this is: without it, an unmounted share would look like a vault that has lost everything.

use super::durable::{Durable, write_durable};
use crate::error::{ObjectError, ObjectErrorKind, Result};
use crate::place::LocalPlace;
use quorate_model::file_names::MARKER_NAME;
use std::io::ErrorKind;

/// What the marker of this vault says. Two lines of `name = value`, for people too.
fn text(place: &LocalPlace) -> String {
    format!("cluster = {}\nvault = {}\n", place.cluster_id, place.vault_id)
}

fn validate(place: &LocalPlace) -> Result<()> {
    for (name, id) in [("cluster id", &place.cluster_id), ("vault id", &place.vault_id)] {
        if id.is_empty() || id.len() > 255 || id.chars().any(char::is_control) {
            return Err(ObjectError::invalid(format!(
                "{name} of a local vault must have 1 to 255 bytes and no control characters"
            )));
        }
    }
    if !place.root.is_absolute() {
        return Err(ObjectError::invalid(format!(
            "local vault {}: must be an absolute path",
            place.root.display()
        )));
    }
    Ok(())
}

/// Writes the marker, creating the directory if need be. Refuses the directory of another vault; repeating is fine.
pub(super) fn create(place: &LocalPlace) -> Result<()> {
    validate(place)?;
    std::fs::create_dir_all(&place.root).map_err(|error| ObjectError::io("create", place.root.display(), &error))?;
    let marker = place.root.join(MARKER_NAME);
    match write_durable(&place.root, &marker, text(place).as_bytes(), Durable::CreateOnly) {
        Err(error) if error.kind == ObjectErrorKind::AlreadyExists => check(place),
        outcome => outcome,
    }
}

/// Puts our marker in the place of one of a cluster that this one was recovered from, so that what is left of that cluster finds itself
/// shut out. Leaves any other, and none, as it is.
pub(super) fn take_over(place: &LocalPlace, former_clusters: &[String]) -> Result<()> {
    validate(place)?;
    let marker = place.root.join(MARKER_NAME);
    let Ok(found) = std::fs::read_to_string(&marker) else {
        return Ok(());
    };
    let text_of = |cluster: &String| {
        text(&LocalPlace {
            cluster_id: cluster.clone(),
            ..place.clone()
        })
    };
    if former_clusters.iter().map(text_of).any(|former| former == found) {
        write_durable(&place.root, &marker, text(place).as_bytes(), Durable::Replace)?;
    }
    Ok(())
}

/// Refuses unless the marker is there and names this cluster and vault.
pub(super) fn check(place: &LocalPlace) -> Result<()> {
    validate(place)?;
    let marker = place.root.join(MARKER_NAME);
    let wrong = |message: String| Err(ObjectError::new(ObjectErrorKind::WrongMarker, message));
    match std::fs::read_to_string(&marker) {
        Ok(found) if found == text(place) => Ok(()),
        Ok(found) => wrong(format!(
            "{} belongs to another vault ({}), not to cluster {}, vault {}; mount or name the right directory",
            place.root.display(),
            found.trim_end().chars().take(600).collect::<String>().replace('\n', ", "),
            place.cluster_id,
            place.vault_id
        )),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => wrong(format!(
            "{} has no marker file of vault {}; mount the vault's directory, or create the vault there",
            place.root.display(),
            place.vault_id
        )),
        Err(error) => Err(ObjectError::io("read", marker.display(), &error)),
    }
}
