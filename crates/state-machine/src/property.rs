//! How hard properties are tried.

use proptest::test_runner::Config as ProptestConfig;

/// Tries a property this often, or as the environment's `PROPTEST_CASES` says.
pub fn cases(usual: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => default,
        None => ProptestConfig { cases: usual, ..default },
    }
}
