//! Raises the cluster's level ([`quorate_state_machine::level`]) when every member's build knows the next one.
//!
//! Nothing is remembered here: what builds know comes with the health that peers exchange, and the level is a row of the state.
//! A member that was put back to an older build at the wrong moment meets a level it does not know, and ends: it never applies an
//! entry otherwise than the others.

use crate::node::{Core, Node};
use crate::settings::HELLO_INTERVAL;
use quorate_model::{ErrorCode, MetaError};
use quorate_state_machine::commands::RaiseLevel;
use quorate_state_machine::level::FIRST;
use tokio::time::Instant;

impl Node {
    /// The cluster's level, as far as this peer has applied the log.
    pub fn level(&self) -> u32 {
        self.applied().level
    }

    /// Refuses a newcomer whose build says that it knows levels up to `said`, if that is below the cluster's. Who gets in while the
    /// level is being raised ends when it applies that.
    pub(crate) fn admit_build(&self, said: u32) -> Result<(), MetaError> {
        let (level, known) = (self.level(), known(said));
        if known >= level {
            return Ok(());
        }
        let text = format!("the cluster is at level {level}, the newcomer's build knows up to {known}; install a newer build there");
        Err(MetaError::new(ErrorCode::PreconditionFailed, text))
    }
}

/// What a build knows that has said this much: one from before there were levels says nothing.
pub(crate) fn known(said: u32) -> u32 {
    said.max(FIRST)
}

/// Looks once, after an exchange of health; at the leader.
pub(crate) async fn raise(node: &Node) {
    if !node.is_leader() {
        return;
    }
    let core = node.core();
    let builds = core.members().into_iter().map(|(peer, _)| known_by(core, peer));
    let Some(level) = next(node.level(), builds) else { return };
    match node.execute(&RaiseLevel { level }, None, Instant::now() + HELLO_INTERVAL).await {
        Ok(_) => tracing::info!(to = level, "the cluster's level is raised: every member's build knows it"),
        Err(error) => tracing::info!(to = level, %error, "the cluster's level was not raised; it is tried again"),
    }
}

/// The level a member's build knows; `None` when it did not answer the latest question.
fn known_by(core: &Core, peer: u64) -> Option<u32> {
    if peer == core.peer {
        return Some(core.settings.level);
    }
    core.health.answering(peer).map(|hello| known(hello.level))
}

/// The level after `level`, if the builds of all members, learners too, are known to know it.
fn next(level: u32, mut builds: impl Iterator<Item = Option<u32>>) -> Option<u32> {
    builds.all(|known| known.is_some_and(|known| known > level)).then_some(level + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_level_is_one_that_every_member_knows() {
        let next = |level, builds: &[Option<u32>]| super::next(level, builds.iter().copied());
        assert_eq!(next(1, &[Some(2), Some(2), Some(2)]), Some(2));
        assert_eq!(next(1, &[Some(4), Some(3), Some(5)]), Some(2), "one at a time");
        assert_eq!(next(2, &[Some(4), Some(3), Some(5)]), Some(3));
        assert_eq!(next(3, &[Some(4), Some(3), Some(5)]), None, "one is older");
        assert_eq!(next(1, &[Some(2), None, Some(2)]), None, "one is silent");
        assert_eq!(next(2, &[Some(2), Some(1), Some(2)]), None, "there is no way back");
        assert_eq!(known(0), FIRST, "a build from before there were levels");
    }
}
