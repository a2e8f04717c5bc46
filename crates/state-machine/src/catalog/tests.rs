//! What commands about the catalog do and refuse, seen through its queries.

mod clones;
mod dropping;
mod objects;
mod segments;
