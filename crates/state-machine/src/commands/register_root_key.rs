//! Remembers a check value of each root key, so that a peer that was given another key under the same id is found out
//! before it encrypts anything the others cannot read.

use crate::command::{ApplyContext, ApplyError, Command};
use crate::keys::{RecordTable, record_prefix};
use bytes::BufMut;
use quorate_model::MetaError;

#[derive(Clone, PartialEq, prost::Message)]
pub struct RegisterRootKey {
    #[prost(int64, tag = "1")]
    pub key_id: i64,
    /// Keyed hash of a fixed text; says nothing about the key.
    #[prost(bytes = "vec", tag = "2")]
    pub check_value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct RegisterRootKeyReply {}

impl Command for RegisterRootKey {
    type Reply = RegisterRootKeyReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<RegisterRootKeyReply, ApplyError> {
        let mut key = record_prefix(RecordTable::RootKey);
        key.put_i64(self.key_id);
        let key = key.freeze();
        match context.record::<RegisterRootKey>(&key)? {
            Some(known) if known.check_value == self.check_value => {}
            Some(_) => {
                let text = format!("root key {} differs from the cluster's; give every peer the same root key file", self.key_id);
                return Err(MetaError::exists(text).into());
            }
            None => context.put_record(key, self),
        }
        Ok(RegisterRootKeyReply {})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;
    use quorate_model::ErrorCode;

    #[test]
    fn a_key_is_known_again_and_another_under_its_id_is_refused() {
        let mut bench = Bench::new();
        let key = |key_id, check_value: &[u8]| RegisterRootKey {
            key_id,
            check_value: check_value.to_vec(),
        };
        bench.run(&key(1, b"one")).expect("the first of its id");
        let rows = bench.store.rows.len();
        bench.run(&key(1, b"one")).expect("the same");
        let error = bench.run(&key(1, b"other")).expect_err("another key");
        assert_eq!(error.code, ErrorCode::AlreadyExists);
        assert_eq!(error.message, "root key 1 differs from the cluster's; give every peer the same root key file");
        assert_eq!(bench.store.rows.len(), rows);
        bench.run(&key(2, b"other")).expect("another id");
        bench.check_content();
    }
}
