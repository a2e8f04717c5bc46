//! What a command is, and what it may touch while it is applied.

use crate::changes::ChangeList;
use crate::level;
use crate::record::Counters;
use crate::store::{Reader, StoreError};
use crate::view::View;
use bytes::Bytes;
use quorate_model::{MetaError, Revision, StampedTime};

/// A change of the state that travels through the log.
///
/// `apply` first decides, then writes: it reads through [`ApplyContext`] and puts rows into its change list, which joins
/// the group only if it returns `Ok`. Everything that depends on the state is decided here, the same on every peer.
pub trait Command: prost::Message + Default {
    /// What a caller gets back.
    type Reply: prost::Message + Default;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<Self::Reply, ApplyError>;
}

/// A command that is made from a request by the peer that receives it.
///
/// `prepare` does not see the state, so it may refuse only what is wrong whatever the state is. It puts everything into
/// the command that may differ between peers: random values, ciphertext, settings.
pub trait Prepare: Command + Sized {
    type Request;

    fn prepare(request: Self::Request, context: &PrepareContext<'_>) -> Result<Self, MetaError>;

    /// What Doris's fronts say beside a success of this kind; empty for nearly all.
    fn note(_reply: &Self::Reply) -> &'static str {
        ""
    }
}

/// What `prepare` may use.
pub struct PrepareContext<'a> {
    pub secrets: &'a dyn SealSecret,
    pub settings: &'a PrepareSettings,
}

/// Switches of the contract that the receiving peer's configuration decides (spec/doris-http.md 6).
#[derive(Clone, Debug)]
pub struct PrepareSettings {
    pub check_cluster_name: bool,
    pub check_instance_id: bool,
    /// FE nodes younger than this many seconds are not dropped.
    pub frontend_drop_safe_seconds: u64,
    /// New instances have MULTI_VERSION_READ_WRITE, and snapshots may be switched on.
    pub multi_version_instances: bool,
    /// Their snapshots are switched on; counts only beside `multi_version_instances`.
    pub snapshot_instances: bool,
    /// Most snapshots an instance may ask to keep.
    pub snapshot_max_reserved: i64,
    /// Shortest time between two snapshots an instance may ask for.
    pub snapshot_min_interval_seconds: i64,
}

impl Default for PrepareSettings {
    fn default() -> PrepareSettings {
        PrepareSettings {
            check_cluster_name: false,
            check_instance_id: true,
            frontend_drop_safe_seconds: 300,
            multi_version_instances: false,
            snapshot_instances: false,
            snapshot_max_reserved: 35,
            snapshot_min_interval_seconds: 3_600,
        }
    }
}

/// Encrypts a secret before it enters a command, so that log, state and checkpoints hold ciphertext only.
pub trait SealSecret {
    /// Equal secrets under the same key give equal ciphertext, so that "unchanged" can be decided without the key.
    fn seal(&self, secret: &str) -> Result<SealedSecret, MetaError>;

    /// A mark of the secret under each root key but the newest, for comparison with what was stored before the key was
    /// rotated: what every ciphertext of it under that key begins with, and of no other secret's. It cannot be decrypted.
    fn marks_under_older_keys(&self, secret: &str) -> Result<Vec<SecretMark>, MetaError>;
}

/// A secret at rest.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SealedSecret {
    /// Base64 of the ciphertext; empty for an empty secret.
    #[prost(string, tag = "1")]
    pub ciphertext: String,
    #[prost(int64, tag = "2")]
    pub key_id: i64,
}

/// What tells whether a stored ciphertext hides a given secret, without hiding the secret itself.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SecretMark {
    /// The keyed hash with which the ciphertext begins; not empty.
    #[prost(string, tag = "1")]
    pub mark: String,
    #[prost(int64, tag = "2")]
    pub key_id: i64,
}

impl SecretMark {
    /// Whether a stored secret is the marked one.
    pub fn is_of(&self, stored: &SealedSecret) -> bool {
        !self.mark.is_empty() && self.key_id == stored.key_id && stored.ciphertext.starts_with(&self.mark)
    }
}

/// Why a command did not succeed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ApplyError {
    /// The state says no: the same on every peer, remembered for the caller's retry. So its code must be one of class `Never`: the same
    /// call gets the same answer later. (A session is opened in none, and nothing is remembered of that.)
    #[error(transparent)]
    Refused(#[from] MetaError),
    /// This peer cannot read its state: it must stop, not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// One command's outcome as its caller gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The command's revision if it wrote, else the state's.
    pub revision: Revision,
    pub body: Result<Bytes, MetaError>,
}

/// What a command sees and may change.
pub struct ApplyContext<'a, 'base> {
    view: &'a View<'base>,
    pub(crate) changes: ChangeList,
    /// Drawn from by commands that give out ids; kept only on success.
    pub counters: Counters,
    revision: Revision,
    now: StampedTime,
}

impl<'a, 'base> ApplyContext<'a, 'base> {
    pub(crate) fn new(view: &'a View<'base>, counters: Counters, now: StampedTime) -> ApplyContext<'a, 'base> {
        let revision = Revision(counters.revision + 1);
        ApplyContext {
            view,
            changes: ChangeList::default(),
            counters,
            revision,
            now,
        }
    }

    /// The revision this command gets if it writes anything.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The entry's stamped time: never goes back along the log.
    pub fn now(&self) -> StampedTime {
        self.now
    }

    /// What a later build does otherwise, it does from a level on.
    pub fn level(&self) -> Result<u32, StoreError> {
        level::of(self.view)
    }

    /// The state before this command.
    pub fn reader(&self) -> &'a View<'base> {
        self.view
    }

    /// The changes this command makes.
    pub fn changes(&mut self) -> &mut ChangeList {
        &mut self.changes
    }

    /// Reads and decodes one row.
    pub fn record<M: prost::Message + Default>(&self, key: &[u8]) -> Result<Option<M>, StoreError> {
        read_record(self.view, key)
    }

    /// Encodes and writes one row.
    pub fn put_record<M: prost::Message>(&mut self, key: Bytes, record: &M) {
        self.changes.put(key, record.encode_to_vec());
    }
}

/// Reads and decodes one row of any reader.
pub fn read_record<M: prost::Message + Default>(reader: &dyn Reader, key: &[u8]) -> Result<Option<M>, StoreError> {
    let mut record = Ok(None);
    reader.look_at(key, &mut |value| record = value.map(|value| decode_record(key, value)).transpose())?;
    record
}

/// Decodes a row's value; one that does not decode is damage.
pub fn decode_record<M: prost::Message + Default>(key: &[u8], value: impl bytes::Buf) -> Result<M, StoreError> {
    M::decode(value).map_err(|error| StoreError(format!("row {key:02x?} does not decode as {}: {error}", std::any::type_name::<M>())))
}
