//! What the state says about the fronts themselves: their settings and rate limits, at hand for every call.
//!
//! Read from the local state when that has changed, at most every 50 ms, so that calls do not pay for it. A change made
//! through this peer holds at once here, and within 50 ms after it was applied at the others.

use crate::app::unreadable;
use crate::rate_limiter::RateLimiter;
use quorate_consensus::Node;
use quorate_model::{ErrorCode, MetaError};
use quorate_state_machine::command::PrepareSettings;
use quorate_state_machine::front_settings::FrontSettings;
use quorate_state_machine::instances;
use quorate_state_machine::rate_limits::RateLimits;
use quorate_state_machine::{Reader, StoreError};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::{Arc, RwLock};
use std::time::Duration;
use tokio::time::Instant;

/// Longest time for which what was read counts as current while the state changes.
const MAX_AGE: Duration = Duration::from_millis(50);

/// As of one revision.
pub struct Current {
    pub prepare: PrepareSettings,
    limits: RateLimits,
    limits_calls: bool,
    revision: u64,
    read_at: Instant,
}

impl Current {
    fn load(reader: &dyn Reader, revision: u64, read_at: Instant) -> Result<Current, StoreError> {
        let settings = FrontSettings::load(reader)?;
        Ok(Current {
            prepare: settings.prepare(),
            limits: RateLimits::load(reader, &settings)?,
            limits_calls: settings.limits_calls(),
            revision,
            read_at,
        })
    }
}

/// Who calls what: calls are counted by both.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sender<'a> {
    /// Upstream's name of the RPC.
    pub rpc: &'static str,
    pub instance_id: &'a str,
    /// Stands for the instance when its id is not given.
    pub cloud_unique_id: &'a str,
    /// The call is of no instance: all such calls are counted together.
    pub is_of_cluster: bool,
}

impl<'a> Sender<'a> {
    /// Id of the instance; empty when the call names none.
    fn instance(&self, node: &Node) -> Cow<'a, str> {
        if !self.instance_id.is_empty() {
            return Cow::Borrowed(self.instance_id);
        }
        if let Some(instance_id) = instances::id_within(self.cloud_unique_id) {
            return Cow::Borrowed(instance_id);
        }
        let registered = node.read(|reader| instances::resolve(reader, self.cloud_unique_id));
        Cow::Owned(registered.unwrap_or_default())
    }
}

/// One peer's copy, and the calls it has counted.
#[derive(Default)]
pub struct ClusterSettings {
    current: RwLock<Option<Arc<Current>>>,
    limiter: RateLimiter,
}

impl ClusterSettings {
    /// The settings that hold now.
    pub fn current(&self, node: &Node) -> Result<Arc<Current>, MetaError> {
        let revision = node.applied().revision.0;
        let now = Instant::now();
        let known = self.current.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        if let Some(known) = known
            && (known.revision == revision || now.saturating_duration_since(known.read_at) < MAX_AGE)
        {
            return Ok(known);
        }
        // The revision was taken before the rows are read: they are of it or newer, and looked at again if newer.
        let loaded = node.read(|reader| Current::load(reader, revision, now));
        let loaded = loaded.map_err(|error| unreadable(node, &error))?;
        let loaded = Arc::new(loaded);
        *self.current.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(loaded.clone());
        Ok(loaded)
    }

    /// Has the next call read them again: they were changed through this peer.
    pub fn forget(&self) {
        *self.current.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = None;
    }

    /// Counts a call; refused when its instance has made too many within a second. Whether the instance exists does not
    /// matter, and a call that names none is not counted.
    pub fn admit(&self, node: &Node, sender: Sender<'_>) -> Result<(), MetaError> {
        let current = self.current(node)?;
        if !current.limits_calls {
            return Ok(());
        }
        match sender.is_of_cluster {
            true => self.count(&current, sender.rpc, ""),
            false => self.count_unless_unnamed(&current, sender.rpc, &sender.instance(node)),
        }
    }

    /// As [`ClusterSettings::admit`], for a call about several instances: it counts once for each of them.
    pub fn admit_for_each<'a>(&self, node: &Node, senders: impl Iterator<Item = Sender<'a>>) -> Result<(), MetaError> {
        let current = self.current(node)?;
        if !current.limits_calls {
            return Ok(());
        }
        let named: BTreeSet<_> = senders.map(|sender| (sender.rpc, sender.instance(node))).collect();
        named
            .into_iter()
            .try_for_each(|(rpc, instance_id)| self.count_unless_unnamed(&current, rpc, &instance_id))
    }

    fn count_unless_unnamed(&self, current: &Current, rpc: &'static str, instance_id: &str) -> Result<(), MetaError> {
        match instance_id {
            "" => Ok(()),
            instance_id => self.count(current, rpc, instance_id),
        }
    }

    fn count(&self, current: &Current, rpc: &'static str, instance_id: &str) -> Result<(), MetaError> {
        let limit = current.limits.of(rpc, instance_id);
        match self.limiter.admit(rpc, instance_id, limit, Instant::now()) {
            true => Ok(()),
            false => Err(MetaError::new(ErrorCode::RateLimited, "reach max qps limit")),
        }
    }
}
