//! What a checker says. Unknown is a failure: a run that proves nothing is not a run that passed.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// Ordered from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Validity {
    Valid,
    Unknown,
    Invalid,
}

/// What one checker found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Verdict {
    pub checker: String,
    pub valid: Validity,
    /// One sentence: what was proved over how much, or the violated rule.
    pub what: String,
    /// Index of the operation at which the rule was first seen broken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_bad: Option<u64>,
    /// Figures and samples for the report.
    #[serde(default, skip_serializing_if = "Json::is_null")]
    pub details: Json,
}

impl Verdict {
    pub fn valid(checker: &str, what: impl Into<String>) -> Verdict {
        Verdict::new(checker, Validity::Valid, what)
    }

    pub fn unknown(checker: &str, what: impl Into<String>) -> Verdict {
        Verdict::new(checker, Validity::Unknown, what)
    }

    pub fn invalid(checker: &str, first_bad: Option<u64>, what: impl Into<String>) -> Verdict {
        Verdict {
            first_bad,
            ..Verdict::new(checker, Validity::Invalid, what)
        }
    }

    pub fn with(mut self, details: Json) -> Verdict {
        self.details = details;
        self
    }

    fn new(checker: &str, valid: Validity, what: impl Into<String>) -> Verdict {
        Verdict {
            checker: checker.to_owned(),
            valid,
            what: what.into(),
            first_bad: None,
            details: Json::Null,
        }
    }
}
