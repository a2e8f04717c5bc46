//! Keys and values of the meta-service's store, as upstream's tools name them (spec/doris-http.md 14).
//!
//! Our state has other keys. These routes translate: a key of theirs is only a name for a record of ours, so tools and habits
//! go on working. Records that do not exist here are not found.

pub mod codec;
mod key_types;
mod picture;

use super::call::{Call, Success};
use super::query_string::QueryString;
use super::read::{at_one_revision_large, success, wait_until_fresh};
use codec::{Field, VERSIONSTAMP_BYTES, decode, encode, from_hex, hex};
use futures::future::BoxFuture;
use picture::{Style, draw};
use quorate_model::{ErrorCode, MetaError, Revision};
use quorate_state_machine::Reader;
use quorate_state_machine::queries::{QueryError, stored_records};
use serde_json::Value as Json;
use std::convert::identity;

/// Bytes of a key that is drawn: upstream's longest have two texts of a kilobyte.
const MAX_DRAWN_BYTES: usize = 4 << 10;
/// Fields of one: upstream's have no more than ten. A picture is as large as the product of both.
const MAX_DRAWN_FIELDS: usize = 64;

/// Explains a key.
pub fn decode_key(call: Call) -> BoxFuture<'static, Result<Success, MetaError>> {
    Box::pin(async move {
        let key = call.query.text("key");
        if key.is_empty() {
            return Err(MetaError::invalid("no key to decode"));
        }
        let bytes = from_hex(&key).unwrap_or_default();
        let Some(fields) = decode(&bytes) else {
            return Err(MetaError::invalid(format!("failed to decode key, key={key}")));
        };
        Ok(text(call.node.applied().revision, picture_of(&bytes, &fields, &key, &call.query)?))
    })
}

/// Builds a key from its parameters and explains it.
pub fn encode_key(call: Call) -> BoxFuture<'static, Result<Success, MetaError>> {
    Box::pin(async move {
        let key = key_of(&call.query)?;
        let fields = decode(&key).ok_or_else(|| MetaError::internal("a key that was encoded here does not decode"))?;
        let escaped: String = key.iter().map(|byte| format!("\\x{byte:02x}")).collect();
        let picture = picture_of(&key, &fields, &hex(&key), &call.query)?;
        Ok(text(call.node.applied().revision, format!("{picture}{escaped}\n")))
    })
}

/// The value of a key as JSON; secrets stay encrypted.
pub fn get_value(call: Call) -> BoxFuture<'static, Result<Success, MetaError>> {
    Box::pin(async move {
        let (layout, key) = wanted_value(&call.query)?;
        let missing = |what: &str| MetaError::new(ErrorCode::KeyMissing, format!("{what}, key={}", hex(&key)));
        let fields = decode(&key).ok_or_else(|| missing("failed to get kv"))?;
        let fields: Vec<Field> = fields.into_iter().map(|(_, field)| field).collect();
        let names = key_types::texts(layout, &fields).ok_or_else(|| missing("kv not found"))?;
        let names: Vec<String> = names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        wait_until_fresh(&call).await?;
        // An instance's value has all its nodes.
        let query = move |reader: &dyn Reader| -> Result<Option<String>, QueryError> {
            match names.as_slice() {
                [instance_id] if key_types::layout("InstanceKey") == Some(layout) => stored_records::instance(reader, instance_id),
                [instance_id, vault_id] if key_types::layout("StorageVaultKey") == Some(layout) => {
                    stored_records::vault(reader, instance_id, vault_id)
                }
                _ => Ok(None),
            }
        };
        let (revision, found) = at_one_revision_large(&call, query, identity).await?;
        let value = found.ok_or_else(|| missing("kv not found"))?;
        Ok(text(revision, format!("{value}\n")))
    })
}

/// Counts shards of a store that is not ours.
pub fn show_meta_ranges(_: Call) -> BoxFuture<'static, Result<Success, MetaError>> {
    Box::pin(async { Err(MetaError::invalid("this method only support fdb txn kv")) })
}

/// A reply without envelope. The routes of this module have the form that shows it so.
fn text(revision: Revision, text: String) -> Success {
    success(revision, Json::String(text).into())
}

/// The picture of a key under its text `shown`, unless it would be too large.
fn picture_of(key: &[u8], fields: &[(usize, Field)], shown: &str, query: &QueryString) -> Result<String, MetaError> {
    let (bytes, count) = (key.len(), fields.len());
    if bytes > MAX_DRAWN_BYTES || count > MAX_DRAWN_FIELDS {
        return Err(MetaError::invalid(format!(
            "the key has {bytes} bytes and {count} fields, limits {MAX_DRAWN_BYTES} and {MAX_DRAWN_FIELDS}; no kind of key needs more"
        )));
    }
    Ok(draw(fields, shown, style(query)))
}

fn style(query: &QueryString) -> Style {
    match query.bytes("unicode") {
        b"false" => Style::Plain,
        _ => Style::Unicode,
    }
}

fn key_type(query: &QueryString) -> Result<&'static str, MetaError> {
    let name = query.text("key_type");
    key_types::layout(&name).ok_or_else(|| {
        let shown = if name.is_empty() { "(empty)" } else { &name };
        MetaError::invalid(format!("key_type not supported: {shown}"))
    })
}

fn key_of(query: &QueryString) -> Result<Vec<u8>, MetaError> {
    let layout = key_type(query)?;
    let fields = key_types::fields(layout, |name| query.bytes(name).to_vec());
    let mut fields = fields.map_err(|name| MetaError::invalid(format!("{name} is not given or empty")))?;
    let stamp = query.text("versionstamp");
    if !stamp.is_empty() {
        let bytes = from_hex(&stamp).and_then(|bytes| <[u8; VERSIONSTAMP_BYTES]>::try_from(bytes).ok());
        let bytes = bytes.filter(|_| stamp.len() == 2 * VERSIONSTAMP_BYTES);
        fields.push(Field::Versionstamp(
            bytes.ok_or_else(|| MetaError::invalid(format!("versionstamp {stamp} is not 20 hex digits")))?,
        ));
    }
    Ok(encode(&fields))
}

/// The kind of the key, and the key: as it is given, or else from its parameters.
pub fn wanted_value(query: &QueryString) -> Result<(&'static str, Vec<u8>), MetaError> {
    let layout = key_type(query)?;
    let given = query.text("key");
    if given.is_empty() {
        return Ok((layout, key_of(query)?));
    }
    let malformed = || MetaError::new(ErrorCode::KeyMissing, format!("failed to get kv, key={given}"));
    Ok((layout, from_hex(&given).ok_or_else(malformed)?))
}
