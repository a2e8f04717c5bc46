//! Secrets inside commands that compare them with what is stored.
//!
//! The contract wants "unchanged" answered, and `apply` has no key. So sealing gives equal ciphertext for equal secrets under
//! one root key, and begins each ciphertext with a keyed hash of the secret. A command carries the secret sealed under the
//! newest root key of the peer that received it, and that hash alone under each older one: whichever of them sealed the
//! stored secret, the given one can be compared with it, also after the root key was rotated. An old key, which may be old
//! because it leaked, decrypts nothing that is sent after a new one is in use.
//!
//! ```text
//! store.sk, store.encryption_info   sealed under the newest key: what is stored if the command succeeds
//! older_marks                       keyed hashes of the same secret under each older key: compared, never stored
//! older                             the secret sealed under each older key: only in logs written before there were marks
//! ```
//!
//! A peer that has not been given the newest root key yet cannot recognise a secret sealed under it, and takes it for
//! changed: the same secret is then stored again, which is harmless.

use crate::command::{SealSecret, SealedSecret, SecretMark};
use crate::object_stores;
use quorate_model::MetaError;
use quorate_wire::doris::{EncryptionInfoPb, ObjectStoreInfoPb, RamUserPb};

/// An object store whose `sk` is ciphertext.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SealedStore {
    #[prost(message, required, tag = "1")]
    pub store: ObjectStoreInfoPb,
    #[prost(message, repeated, tag = "2")]
    pub older: Vec<SealedSecret>,
    #[prost(message, repeated, tag = "3")]
    pub older_marks: Vec<SecretMark>,
}

/// A cloud account whose `sk` is ciphertext.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SealedUser {
    #[prost(message, required, tag = "1")]
    pub user: RamUserPb,
    #[prost(message, repeated, tag = "2")]
    pub older: Vec<SealedSecret>,
    #[prost(message, repeated, tag = "3")]
    pub older_marks: Vec<SecretMark>,
}

impl SealedStore {
    pub fn seal(secrets: &dyn SealSecret, mut store: ObjectStoreInfoPb) -> Result<SealedStore, MetaError> {
        let older_marks = older_marks(secrets, store.sk())?;
        object_stores::seal_store(secrets, &mut store)?;
        Ok(SealedStore {
            store,
            older: Vec::new(),
            older_marks,
        })
    }

    /// Whether a stored object store has these keys.
    pub fn has_keys_of(&self, stored: &ObjectStoreInfoPb) -> bool {
        self.store.ak() == stored.ak()
            && is_same_secret(
                &form(&self.store.sk, &self.store.encryption_info),
                &self.older,
                &self.older_marks,
                &form(&stored.sk, &stored.encryption_info),
            )
    }

    /// Gives these keys to a stored object store; a role it had is no longer used.
    pub fn give_keys_to(&self, stored: &mut ObjectStoreInfoPb) {
        let given = &self.store;
        (stored.ak, stored.sk) = (given.ak.clone(), given.sk.clone());
        stored.encryption_info = given.encryption_info.clone();
        object_stores::clear_role(stored);
    }
}

impl SealedUser {
    pub fn seal(secrets: &dyn SealSecret, mut user: RamUserPb) -> Result<SealedUser, MetaError> {
        let older_marks = older_marks(secrets, user.sk())?;
        object_stores::seal_user(secrets, &mut user)?;
        Ok(SealedUser {
            user,
            older: Vec::new(),
            older_marks,
        })
    }

    /// Whether a stored account has these keys.
    pub fn has_keys_of(&self, stored: &RamUserPb) -> bool {
        self.has_keys(&stored.ak, &stored.sk, &stored.encryption_info)
    }

    /// Whether a stored object store has these keys.
    pub fn has_keys_of_store(&self, stored: &ObjectStoreInfoPb) -> bool {
        self.has_keys(&stored.ak, &stored.sk, &stored.encryption_info)
    }

    fn has_keys(&self, ak: &Option<String>, sk: &Option<String>, info: &Option<EncryptionInfoPb>) -> bool {
        let given = form(&self.user.sk, &self.user.encryption_info);
        let is_same = is_same_secret(&given, &self.older, &self.older_marks, &form(sk, info));
        self.user.ak() == ak.as_deref().unwrap_or_default() && is_same
    }

    /// Gives the account's keys to an object store; a role it had is no longer used.
    pub fn give_keys_to(&self, store: &mut ObjectStoreInfoPb) {
        (store.ak, store.sk) = (self.user.ak.clone(), self.user.sk.clone());
        store.encryption_info = self.user.encryption_info.clone();
        object_stores::clear_role(store);
    }

    /// Whether user id, ak and sk are all there.
    pub fn is_complete(&self) -> bool {
        !(self.user.user_id().is_empty() || self.user.ak().is_empty() || self.user.sk().is_empty())
    }
}

fn older_marks(secrets: &dyn SealSecret, plain: &str) -> Result<Vec<SecretMark>, MetaError> {
    if plain.is_empty() {
        return Ok(Vec::new());
    }
    secrets.marks_under_older_keys(plain)
}

fn form(sk: &Option<String>, info: &Option<EncryptionInfoPb>) -> SealedSecret {
    SealedSecret {
        ciphertext: sk.clone().unwrap_or_default(),
        key_id: info.as_ref().map_or(0, EncryptionInfoPb::key_id),
    }
}

fn is_same_secret(newest: &SealedSecret, older: &[SealedSecret], marks: &[SecretMark], stored: &SealedSecret) -> bool {
    newest == stored || older.contains(stored) || marks.iter().any(|mark| mark.is_of(stored))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource_fixture::{Reversed, Rotated};

    fn store(ak: &str, sk: &str) -> ObjectStoreInfoPb {
        ObjectStoreInfoPb {
            ak: Some(ak.to_owned()),
            sk: Some(sk.to_owned()),
            ..Default::default()
        }
    }

    #[test]
    fn keys_are_recognised_under_the_root_key_that_sealed_them_and_under_newer_ones() {
        let stored = SealedStore::seal(&Reversed, store("ak", "secret")).expect("sealed").store;
        let given = |secrets: &dyn SealSecret, ak, sk| SealedStore::seal(secrets, store(ak, sk)).expect("sealed");
        assert!(given(&Reversed, "ak", "secret").has_keys_of(&stored));
        let rotated = given(&Rotated, "ak", "secret");
        assert_ne!(rotated.store.sk, stored.sk, "the newest key seals");
        assert!(rotated.has_keys_of(&stored));
        assert!(rotated.has_keys_of(&rotated.store));
        for (ak, sk) in [("other", "secret"), ("ak", "other"), ("ak", "")] {
            assert!(!given(&Rotated, ak, sk).has_keys_of(&stored), "{ak} {sk}");
        }
    }

    #[test]
    fn a_secret_travels_under_the_newest_key_only() {
        let rotated = SealedStore::seal(&Rotated, store("ak", "secret")).expect("sealed");
        let old = SealedStore::seal(&Reversed, store("ak", "secret")).expect("sealed").store;
        assert_eq!(rotated.older, [], "nothing that an older key decrypts");
        assert_eq!(rotated.older_marks.len(), 1);
        assert!(rotated.older_marks[0].mark.len() < old.sk().len(), "a mark is not the ciphertext");
    }

    #[test]
    fn commands_of_older_logs_keep_their_meaning() {
        let stored = SealedStore::seal(&Reversed, store("ak", "secret")).expect("sealed").store;
        let mut logged = SealedStore::seal(&Rotated, store("ak", "secret")).expect("sealed");
        logged.older_marks.clear();
        assert!(!logged.has_keys_of(&stored));
        logged.older = vec![form(&stored.sk, &stored.encryption_info)];
        assert!(logged.has_keys_of(&stored));
    }

    #[test]
    fn a_ciphertext_sent_as_a_secret_is_not_taken_for_what_it_hides() {
        let stored = SealedStore::seal(&Reversed, store("ak", "secret")).expect("sealed").store;
        let replayed = SealedStore::seal(&Reversed, store("ak", stored.sk())).expect("sealed");
        assert!(!replayed.has_keys_of(&stored));
    }

    #[test]
    fn a_missing_secret_is_like_an_empty_one_only() {
        let nothing = ObjectStoreInfoPb::default();
        assert!(SealedStore::seal(&Rotated, store("", "")).expect("sealed").has_keys_of(&nothing));
        assert!(
            !SealedStore::seal(&Rotated, store("", "secret"))
                .expect("sealed")
                .has_keys_of(&nothing)
        );
    }
}
