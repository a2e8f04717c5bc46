//! Vaults that could not be used, as the work of this process has met them: for those who look after the cluster.

use crate::settings::TROUBLE_REMEMBERED;
use quorate_objects::ObjectError;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::Instant;

/// What is wrong with a vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The vault is named within the instance of this scope.
    pub scope: u64,
    /// Empty: the peers' own directory.
    pub vault: String,
    /// Since when nothing has succeeded.
    pub lasts: Duration,
    /// In the words of the store.
    pub reason: String,
}

/// Kept until the vault has been used again, or nobody has tried for some minutes.
#[derive(Debug, Default)]
pub struct VaultHealth {
    troubles: Mutex<BTreeMap<(u64, String), Met>>,
}

#[derive(Debug)]
struct Met {
    since: Instant,
    last: Instant,
    reason: String,
}

impl VaultHealth {
    pub fn failed(&self, scope: u64, vault: &str, error: &ObjectError) {
        let now = Instant::now();
        let mut troubles = self.lock();
        let met = troubles.entry((scope, vault.to_owned())).or_insert_with(|| Met {
            since: now,
            last: now,
            reason: String::new(),
        });
        met.last = now;
        met.reason.clone_from(&error.message);
    }

    pub fn worked(&self, scope: u64, vault: &str) {
        self.lock().remove(&(scope, vault.to_owned()));
    }

    /// Forgets all: who does not work on vaults any more hears of none that has come back. What a worker meets it notes anew.
    pub fn forget(&self) {
        self.lock().clear();
    }

    /// Notes that a vault could not be opened. That one could is no sign yet: an object store is not asked before the first call.
    pub fn opened<T>(&self, scope: u64, vault: &str, outcome: &Result<T, ObjectError>) {
        if let Err(error) = outcome {
            self.failed(scope, vault, error);
        }
    }

    /// Notes what the outcome of a call says of a vault. Whatever does not concern the vault as a whole shows that it answers.
    pub fn note<T>(&self, scope: u64, vault: &str, outcome: &Result<T, ObjectError>) {
        match outcome {
            Err(error) if error.concerns_the_vault() => self.failed(scope, vault, error),
            _ => self.worked(scope, vault),
        }
    }

    pub fn troubles(&self) -> Vec<Trouble> {
        let now = Instant::now();
        let mut troubles = self.lock();
        troubles.retain(|_, met| now.duration_since(met.last) < TROUBLE_REMEMBERED);
        let trouble = |((scope, vault), met): (&(u64, String), &Met)| Trouble {
            scope: *scope,
            vault: vault.clone(),
            lasts: now.duration_since(met.since),
            reason: met.reason.clone(),
        };
        troubles.iter().map(trouble).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(u64, String), Met>> {
        self.troubles.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_objects::ObjectErrorKind;

    #[tokio::test(start_paused = true)]
    async fn trouble_is_told_until_the_vault_answers_or_nobody_asks_any_more() {
        let health = VaultHealth::default();
        let down = Err::<(), _>(ObjectError::new(ObjectErrorKind::StoreDown, "no route"));
        let missing = Err::<(), _>(ObjectError::new(ObjectErrorKind::NotFound, "no such object"));
        health.note(1, "v", &missing);
        assert!(health.troubles().is_empty(), "a store that says so answers");
        health.note(1, "v", &down);
        tokio::time::advance(Duration::from_secs(40)).await;
        health.note(1, "v", &down);
        let told = health.troubles();
        assert_eq!((told.len(), told[0].lasts.as_secs(), told[0].reason.as_str()), (1, 40, "no route"));
        health.opened(1, "v", &Ok(()));
        assert_eq!(health.troubles().len(), 1, "nothing was asked of it yet");
        health.note(1, "v", &Ok(()));
        assert!(health.troubles().is_empty());
        health.note(1, "v", &down);
        tokio::time::advance(TROUBLE_REMEMBERED).await;
        assert!(health.troubles().is_empty());
    }
}
