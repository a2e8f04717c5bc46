//! Jobs against a model of what callers saw: whatever is repeated, late or out of order, a task counts once, a job ends once, and
//! every row beside a record is what the record implies.

pub(crate) mod fixture;
pub(crate) mod invariants;
mod model;
mod rewriting;
mod rules;
mod settings;
