//! Protobuf messages as the JSON and the text that Doris clients send and expect.
//!
//! ```text
//! request body --reader--> Json --parse--> DynamicMessage --render--> serde_json::Value --envelope--> reply body
//!                                                         \--text--> error texts, text replies
//! ```
//!
//! Clients rely on the exact leniency and layout of the C++ protobuf and rapidjson libraries (spec/doris-http.md 4 and 5),
//! which no JSON crate reproduces, so both directions are written here against descriptors.
//!
//! Invariants: no input makes anything here panic; nesting is bounded by [`MAX_NESTING`], memory by the body's size.
//! Messages may hold secrets, and so may every text made from them: nothing here logs.

mod envelope;
mod parse;
mod reader;
mod render;
pub mod text;

use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, MapKey, MessageDescriptor, Value};

pub use envelope::envelope;
pub use parse::{parse, parse_into};
pub use reader::MAX_NESTING;
pub use render::{compact, render, render_message, render_whole, to_dynamic};

/// Why a request body was refused, in the words of the protobuf JSON parser. May quote values of the body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct ParseFailure {
    pub text: String,
}

impl ParseFailure {
    fn new(text: impl Into<String>) -> ParseFailure {
        ParseFailure { text: text.into() }
    }
}

/// Descriptors of every message this build knows.
pub fn descriptors() -> &'static DescriptorPool {
    static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
        DescriptorPool::decode(quorate_wire::FILE_DESCRIPTOR_SET).expect("the descriptor set was checked by the compiler that wrote it")
    });
    &POOL
}

/// Message names are constants of the program, so one that is missing is a misspelling that its first use shows.
fn descriptor(message_full_name: &str) -> MessageDescriptor {
    descriptors()
        .get_message_by_name(message_full_name)
        .unwrap_or_else(|| panic!("{message_full_name} is not a message of the descriptor set"))
}

/// The entries of a map value ordered by key, so that equal messages give equal output; none of any other value.
fn sorted_entries(value: &Value) -> Vec<(&MapKey, &Value)> {
    let mut entries: Vec<_> = value.as_map().into_iter().flatten().collect();
    entries.sort_by_key(|(key, _)| *key);
    entries
}

#[cfg(test)]
mod tests;
