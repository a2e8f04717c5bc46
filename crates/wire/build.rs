//! Compiles every `.proto` of the workspace into Rust code and one descriptor set, without an installed `protoc`.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let proto_root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo::rerun-if-changed={}", proto_root.display());

    let mut proto_files = Vec::new();
    collect_proto_files(&proto_root, &mut proto_files)?;
    // The directory order differs between machines; the descriptor set must not.
    proto_files.sort();

    let mut compiler = protox::Compiler::new([&proto_root])?;
    compiler.include_imports(true).include_source_info(true);
    for file in &proto_files {
        compiler.open_file(file)?;
    }

    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    let with_comments = compiler.file_descriptor_set();
    fs::write(out_dir.join("documented_descriptor_set.bin"), compiler.encode_file_descriptor_set())?;
    compiler.include_source_info(false);
    fs::write(out_dir.join("descriptor_set.bin"), compiler.encode_file_descriptor_set())?;

    let mut config = prost_build::Config::new();
    // Maps are ordered so that equal messages always encode to equal bytes: digests and replicas depend on it.
    // Type names let callers write `M::full_name()` instead of repeating a message name as a string.
    config.bytes(["."]).btree_map(["."]).enable_type_names().include_file("modules.rs");
    tonic_prost_build::configure().compile_fds_with_config(with_comments, config)?;
    Ok(())
}

fn collect_proto_files(directory: &Path, found: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            collect_proto_files(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            found.push(path);
        }
    }
    Ok(())
}
