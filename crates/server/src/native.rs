//! The native gRPC API, package `quorate.v1`, on the public port.

pub mod admin;
pub mod metadata;
pub mod reply;
