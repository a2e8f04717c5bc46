//! Generated messages and a descriptor set; nothing else.
//!
//! Everything here is written by `build.rs` from the `.proto` files in `proto/` at the root of the workspace, one module
//! per package: `doris.cloud` is [`doris`], `quorate.v1` is `quorate::v1`, and so on. `bytes` fields are
//! [`prost::bytes::Bytes`] and maps are ordered, so encoding the same message twice gives the same bytes.
//!
//! Refuses to contain logic: what a message means belongs to `model`, `state-machine` and `server`. Messages may hold
//! secrets (`sk`) and print them in their `Debug` output, so they are never logged whole.

// Documentation and layout of generated code follow the `.proto` files and the generators, not our lints.
#[allow(
    clippy::all,
    clippy::pedantic,
    rustdoc::all,
    missing_docs,
    unused_qualifications,
    non_camel_case_types
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/modules.rs"));
}

pub use generated::doris::cloud as doris;
pub use generated::*;

/// Serialized `google.protobuf.FileDescriptorSet` of all packages, imports included, comments left out.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor_set.bin"));

/// The same with the comments of the `.proto` files, for documents made from them.
pub const DOCUMENTED_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/documented_descriptor_set.bin"));
