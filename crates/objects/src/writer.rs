//! One object being written, wherever it goes.

use crate::error::Result;
use crate::local::LocalWriter;
use crate::path::ObjectPath;
use crate::s3::S3Writer;
use crate::vault::{Existing, Inner, Vault, Written};

/// Takes an object's bytes in pieces, with the memory of a buffer (local) or of a few parts (S3) whatever the object's size.
pub struct ObjectWriter(Kind);

enum Kind {
    Local(LocalWriter),
    S3(S3Writer),
}

impl ObjectWriter {
    pub(crate) async fn begin(vault: &Vault, path: &ObjectPath, existing: Existing, expected_bytes: Option<u64>) -> Result<ObjectWriter> {
        Ok(ObjectWriter(match &vault.0 {
            Inner::Local(vault) => Kind::Local(LocalWriter::begin(vault.clone(), path, existing).await?),
            Inner::S3(vault) => Kind::S3(S3Writer::begin(vault.clone(), path, existing, expected_bytes)?),
        }))
    }

    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.0 {
            Kind::Local(writer) => writer.write(bytes).await,
            Kind::S3(writer) => writer.write(bytes).await,
        }
    }

    /// Gives the object its name. When this returns, it is whole and durable.
    pub async fn finish(self) -> Result<Written> {
        match self.0 {
            Kind::Local(writer) => writer.finish().await,
            Kind::S3(writer) => writer.finish().await,
        }
    }
}
