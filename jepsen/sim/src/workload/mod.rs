//! What clients do. Those of [`lists`] call a peer's node directly, with commands of several keys; those of [`registers`] are
//! the product's own client on the product's own native front; the [`operator`] changes who leads and who belongs.

pub mod lists;
pub mod operator;
pub mod registers;

pub use lists::answer;

/// The instance whose attributes everybody writes.
pub const INSTANCE: &str = "warehouse";
