//! Where files are: a vault is named within the instance that owns a scope.

use quorate_objects::{Result, Vault};
use std::future::Future;

/// Opens vaults. An empty name is the peers' own directory.
pub trait Vaults: Clone + Send + Sync + 'static {
    /// The vault of this name of the scope's instance; of a base layer's scope, that of its clone. Fails closed: without its marker a
    /// directory is not taken for a vault.
    fn open(&self, scope: u64, vault: &str) -> impl Future<Output = Result<Vault>> + Send;
}
