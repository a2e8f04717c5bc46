//! Deliberate defects, to test the tests: with the feature `mutants`, and only then, `QUORATE_MUTANT` chooses one of
//! [`NAMES`] for the life of the process, or `none`. `jepsen/mutants.toml` says what each breaks and what must notice it.
//!
//! In every other build [`mutant!`](crate::mutant) is the constant `false`. A name that is not in the list does not compile.

/// All of them. The order means nothing.
pub const NAMES: &[&str] = &[
    "apply-without-overlay",
    "blind-compare-and-set",
    "checkpoint-at-mixed-revision",
    "checkpoint-index-remembered",
    "condemned-too-early",
    "copies-without-sync",
    "damaged-tail-accepted",
    "deleted-without-condemning",
    "drop-in-use",
    "elected-by-pre-vote-default",
    "emptied-disk-under-old-id",
    "end-of-log-not-checked",
    "expired-session-executes",
    "gone-row-subtracted-twice",
    "hard-link-copies",
    "install-not-atomic",
    "job-published-early",
    "keeps-a-lost-lease",
    "leader-local-reads",
    "leader-restore",
    "lease-read-after-transfer",
    "lease-reads",
    "log-without-sync",
    "lost-entries-not-noticed",
    "min-revision-ignored",
    "no-pre-vote",
    "no-quorum-probe",
    "no-request-dedup",
    "one-answer-for-two",
    "peer-id-reused",
    "place-before-commit",
    "purge-beyond-checkpoint",
    "purge-during-transfer",
    "refuses-from-stale-state",
    "reply-before-sync",
    "serves-before-caught-up",
    "sessions-missing-from-checkpoint",
    "stale-fence-accepted",
    "succeeds-without-pre-vote",
    "unknown-reported-as-refused",
    "vote-without-sync",
    "wall-clock-leases",
];

/// The place of a name in the list.
pub const fn number(name: &str) -> usize {
    let mut at = 0;
    while at < NAMES.len() {
        if same(NAMES[at].as_bytes(), name.as_bytes()) {
            return at;
        }
        at += 1;
    }
    panic!("no such mutant in NAMES")
}

/// `==` is not constant.
const fn same(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}

/// Whether a defect is chosen; `false` in builds without the feature.
#[macro_export]
macro_rules! mutant {
    ($name:literal) => {{
        const NUMBER: usize = $crate::mutants::number($name);
        $crate::mutants::is_chosen(NUMBER)
    }};
}

#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub const fn is_chosen(_number: usize) -> bool {
    false
}

#[cfg(feature = "mutants")]
pub use chosen::{VARIABLE, check, is_chosen};

#[cfg(feature = "mutants")]
mod chosen {
    use super::NAMES;
    use std::sync::OnceLock;

    /// Names the defect, or `none` for the control.
    pub const VARIABLE: &str = "QUORATE_MUTANT";
    const NONE: &str = "none";
    static CHOSEN: OnceLock<Option<usize>> = OnceLock::new();

    pub fn is_chosen(number: usize) -> bool {
        let chosen = CHOSEN.get_or_init(|| match read() {
            Ok(chosen) => chosen,
            // Nobody may take such a build for the product.
            Err(why) => {
                eprintln!("{why}");
                std::process::exit(2);
            }
        });
        *chosen == Some(number)
    }

    /// To be asked at the start: an error if nothing, or nothing known, is chosen.
    pub fn check() -> Result<(), String> {
        read().map(drop)
    }

    fn read() -> Result<Option<usize>, String> {
        let name = std::env::var(VARIABLE).unwrap_or_default();
        match NAMES.iter().position(|known| *known == name) {
            None if name == NONE => Ok(None),
            None => Err(format!(
                "this build has deliberate defects: set {VARIABLE} to `{NONE}`, or to one of: {}",
                NAMES.join(", ")
            )),
            chosen => Ok(chosen),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_told_apart() {
        assert!(NAMES.is_sorted_by(|a, b| a < b));
        for (place, name) in NAMES.iter().enumerate() {
            assert_eq!(number(name), place);
        }
    }

    #[cfg(not(feature = "mutants"))]
    #[test]
    fn without_the_feature_there_is_no_defect() {
        const NEVER: bool = crate::mutant!("no-request-dedup");
        assert!(NAMES.iter().all(|name| !is_chosen(number(name))) && !NEVER);
    }
}
