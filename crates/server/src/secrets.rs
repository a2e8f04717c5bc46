//! Root keys, and secrets encrypted under them.
//!
//! A secret is sealed by the peer that receives it, before it becomes part of a command, so log, state, checkpoints and
//! backups hold ciphertext only; it is unsealed in the few replies that show it.
//!
//! ```text
//! ciphertext = base64( nonce, 12 bytes | AES-256-GCM-SIV of the secret | tag, 16 bytes )
//! nonce      = first 12 bytes of HMAC-SHA-256(nonce key, secret)
//! ```
//!
//! Equal secrets under one key give equal ciphertext: `apply` decides "unchanged" without a key, and a call repeated at
//! another peer is the same command. Each root key is used only to derive keys for one purpose each. A generated key has
//! a random id, so that two files made apart never call different keys by one name.

use aes_gcm_siv::aead::{Aead, KeyInit, Payload};
use aes_gcm_siv::{Aes256GcmSiv, Nonce};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, Mac};
use quorate_model::{ErrorCode, MetaError};
use quorate_state_machine::command::{SealSecret, SealedSecret, SecretMark};
use quorate_state_machine::limits;
use quorate_state_machine::object_stores::UnsealSecret;
use quorate_storage::identity::with_advice;
use sha2::Sha256;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use tokio::sync::watch;

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
/// Bits of the mode by which others than the owner get at a file.
const OTHERS: u32 = 0o077;

/// Root keys that cannot be used. Never quotes a key.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct RootKeyError {
    place: String,
    problem: String,
}

impl RootKeyError {
    fn new(path: &Path, problem: impl fmt::Display) -> RootKeyError {
        RootKeyError {
            place: format!("root keys file {}", path.display()),
            problem: problem.to_string(),
        }
    }
}

/// Root keys, oldest first. The last one seals; all unseal.
pub struct SecretBox {
    older: Vec<RootKey>,
    newest: RootKey,
    /// Nothing is sealed until the keys are known to be the cluster's.
    held: watch::Sender<bool>,
}

struct RootKey {
    id: i64,
    cipher: Aes256GcmSiv,
    nonce_key: [u8; KEY_BYTES],
    fingerprint_key: [u8; KEY_BYTES],
    /// Tells whether another peer means the same key by this id.
    check_value: String,
}

impl SecretBox {
    /// Reads a file with one `id base64` a line, newest last; blank lines and lines that start with `#` are skipped.
    pub fn load(path: &Path) -> Result<SecretBox, RootKeyError> {
        let text = fs::read_to_string(path).map_err(|error| RootKeyError::new(path, error))?;
        let open = fs::metadata(path).is_ok_and(|facts| facts.permissions().mode() & OTHERS != 0);
        if open {
            tracing::warn!(path = %path.display(), "other users of this machine may read the root keys; run chmod 600 on the file");
        }
        parse(&text).map_err(|problem| RootKeyError::new(path, problem))
    }

    /// Reads the same lines out of the value of an environment variable, in which a comma ends a line too.
    pub fn of_variable(name: &str, value: &str) -> Result<SecretBox, RootKeyError> {
        parse(&value.replace(',', "\n")).map_err(|problem| RootKeyError {
            place: name.to_owned(),
            problem,
        })
    }

    /// Reads the file, or makes one with a new key if there is none.
    pub fn load_or_create(path: &Path) -> Result<SecretBox, RootKeyError> {
        let exists = path.try_exists().map_err(|error| RootKeyError::new(path, error))?;
        if !exists {
            create(path).map_err(|error| RootKeyError::new(path, with_advice(&error)))?;
        }
        SecretBox::load(path)
    }

    /// From now on nothing is sealed, until [`SecretBox::release`].
    pub fn hold(&self) {
        self.held.send_replace(true);
    }

    /// The keys are the cluster's.
    pub fn release(&self) {
        self.held.send_replace(false);
    }

    /// Ends when nothing is held.
    pub async fn released(&self) {
        let mut held = self.held.subscribe();
        let _ = held.wait_for(|held| !*held).await;
    }

    /// An error while it is not known whether other peers could read what is sealed here.
    pub fn check_released(&self) -> Result<(), MetaError> {
        match *self.held.borrow() {
            true => {
                let text = "this peer has not compared its root keys with the cluster's yet";
                Err(MetaError::new(ErrorCode::NotReady, text))
            }
            false => Ok(()),
        }
    }

    /// The id of the key that seals.
    pub fn newest_key_id(&self) -> i64 {
        self.newest.id
    }

    /// Ids of all keys, oldest first.
    pub fn key_ids(&self) -> impl Iterator<Item = i64> {
        self.older.iter().chain([&self.newest]).map(|key| key.id)
    }

    /// What may be stored in the open to notice later that an id stands for another key; `None` for an id not known here.
    pub fn check_value(&self, key_id: i64) -> Option<&str> {
        self.key(key_id).map(|key| key.check_value.as_str())
    }

    /// What a caller asked, as keyed hashes, newest key first: peers that have one root key in common agree on one of them,
    /// and without a key nobody can try out which secret a request held.
    pub fn fingerprints(&self, request: &[u8]) -> Vec<u64> {
        let keys = [&self.newest].into_iter().chain(self.older.iter().rev());
        keys.take(limits::MAX_FINGERPRINTS).map(|key| key.fingerprint(request)).collect()
    }

    fn key(&self, key_id: i64) -> Option<&RootKey> {
        self.older.iter().chain([&self.newest]).find(|key| key.id == key_id)
    }
}

impl fmt::Debug for SecretBox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<i64> = self.key_ids().collect();
        f.debug_struct("SecretBox").field("key_ids", &ids).finish_non_exhaustive()
    }
}

impl SealSecret for SecretBox {
    fn seal(&self, secret: &str) -> Result<SealedSecret, MetaError> {
        if !secret.is_empty() {
            self.check_released()?;
        }
        self.newest.seal(secret)
    }

    fn marks_under_older_keys(&self, secret: &str) -> Result<Vec<SecretMark>, MetaError> {
        Ok(self.older.iter().map(|key| key.mark(secret)).collect())
    }
}

impl UnsealSecret for SecretBox {
    fn unseal(&self, secret: &SealedSecret) -> Result<String, MetaError> {
        if secret.ciphertext.is_empty() {
            return Ok(String::new());
        }
        let id = secret.key_id;
        let Some(key) = self.key(id) else {
            return Err(unreadable(format!("failed to decrypt: this peer has no root key {id}")));
        };
        let damaged = || {
            unreadable(format!(
                "failed to decrypt: root key {id} of this peer is not the one the secret was encrypted with"
            ))
        };
        let bytes = BASE64_STANDARD.decode(&secret.ciphertext).map_err(|_| damaged())?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_BYTES).ok_or_else(damaged)?;
        let bound_to = id.to_be_bytes();
        let opened = key
            .cipher
            .decrypt(
                Nonce::from_slice(nonce),
                Payload {
                    msg: sealed,
                    aad: &bound_to,
                },
            )
            .map_err(|_| damaged())?;
        String::from_utf8(opened).map_err(|_| damaged())
    }
}

fn unreadable(message: String) -> MetaError {
    MetaError::new(ErrorCode::SecretUnreadable, message)
}

impl RootKey {
    fn new(id: i64, root: &[u8; KEY_BYTES]) -> RootKey {
        let derived = |purpose: &str| mac(root, purpose.as_bytes());
        let check = mac(&derived("quorate root key check v1"), &id.to_be_bytes());
        RootKey {
            id,
            cipher: Aes256GcmSiv::new(&derived("quorate secret encryption v1").into()),
            nonce_key: derived("quorate secret nonce v1"),
            fingerprint_key: derived("quorate request fingerprint v1"),
            check_value: BASE64_STANDARD.encode(check),
        }
    }

    fn nonce(&self, secret: &str) -> [u8; NONCE_BYTES] {
        let digest = mac(&self.nonce_key, secret.as_bytes());
        *digest.first_chunk().expect("32 bytes are more than 12")
    }

    /// The nonce alone: base64 turns its 12 bytes into 16 characters whatever follows.
    fn mark(&self, secret: &str) -> SecretMark {
        SecretMark {
            mark: BASE64_STANDARD.encode(self.nonce(secret)),
            key_id: self.id,
        }
    }

    fn fingerprint(&self, request: &[u8]) -> u64 {
        let digest = mac(&self.fingerprint_key, request);
        u64::from_be_bytes(*digest.first_chunk().expect("32 bytes are more than 8"))
    }

    fn seal(&self, secret: &str) -> Result<SealedSecret, MetaError> {
        if secret.is_empty() {
            return Ok(SealedSecret {
                ciphertext: String::new(),
                key_id: self.id,
            });
        }
        let nonce = &self.nonce(secret);
        let bound_to = self.id.to_be_bytes();
        let sealed = self.cipher.encrypt(
            Nonce::from_slice(nonce),
            Payload {
                msg: secret.as_bytes(),
                aad: &bound_to,
            },
        );
        let sealed = sealed.map_err(|_| MetaError::invalid("failed to encrypt"))?;
        Ok(SealedSecret {
            ciphertext: BASE64_STANDARD.encode([nonce.as_slice(), &sealed].concat()),
            key_id: self.id,
        })
    }
}

fn mac(key: &[u8; KEY_BYTES], message: &[u8]) -> [u8; KEY_BYTES] {
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

fn parse(text: &str) -> Result<SecretBox, String> {
    let mut keys: Vec<RootKey> = Vec::new();
    for (position, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let key = parse_line(line).map_err(|problem| format!("line {}: {problem}", position + 1))?;
        if keys.iter().any(|other| other.id == key.id) {
            return Err(format!("line {}: key id {} is used twice", position + 1, key.id));
        }
        keys.push(key);
    }
    let newest = keys.pop().ok_or("has no key; write one `id base64` a line, newest last")?;
    Ok(SecretBox {
        older: keys,
        newest,
        held: watch::Sender::default(),
    })
}

fn parse_line(line: &str) -> Result<RootKey, String> {
    let mut words = line.split_whitespace();
    let (Some(id), Some(key), None) = (words.next(), words.next(), words.next()) else {
        return Err("is not `id base64`".to_owned());
    };
    let id: i64 = id.parse().ok().filter(|id| *id > 0).ok_or("the id is not a number above 0")?;
    let key = BASE64_STANDARD.decode(key).map_err(|_| "the key is not base64")?;
    let bytes = key.len();
    let key: [u8; KEY_BYTES] = key
        .try_into()
        .map_err(|_| format!("the key is {bytes} bytes, not {KEY_BYTES}; make one with `openssl rand -base64 32`"))?;
    Ok(RootKey::new(id, &key))
}

/// Writes a file with one new key so that a crash leaves all of it or none.
fn create(path: &Path) -> io::Result<()> {
    let mut random = [0; KEY_BYTES + 4];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    let (id, key) = random.split_at(4);
    // Positive, and short enough to be read aloud.
    let id = id.iter().fold(0, |id, byte| id << 8 | i64::from(*byte)).max(1);
    let unfinished = path.with_extension("unfinished");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    writeln!(file, "{id} {}", BASE64_STANDARD.encode(key))?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_line(id: i64, byte: u8) -> String {
        format!("{id} {}\n", BASE64_STANDARD.encode([byte; KEY_BYTES]))
    }

    fn boxed(lines: &[(i64, u8)]) -> SecretBox {
        let text: String = lines.iter().map(|(id, byte)| key_line(*id, *byte)).collect();
        parse(&text).expect("well-formed")
    }

    #[test]
    fn a_secret_comes_back_and_is_not_in_its_ciphertext() {
        let secrets = boxed(&[(1, 7)]);
        let sealed = secrets.seal("Hx60p12123af").expect("sealed");
        assert_eq!(sealed.key_id, 1);
        assert!(
            !BASE64_STANDARD
                .decode(&sealed.ciphertext)
                .expect("base64")
                .windows(4)
                .any(|part| part == b"Hx60")
        );
        assert_eq!(secrets.unseal(&sealed).expect("unsealed"), "Hx60p12123af");
    }

    #[test]
    fn the_form_at_rest_is_fixed() {
        // The state of a running cluster holds it: a change of this text makes every stored secret unreadable.
        let secrets = boxed(&[(1, 7)]);
        assert_eq!(
            secrets.seal("sk").expect("sealed").ciphertext,
            "ZTPJTtOjPnwfrghE6Wt8EoOaIWUTb4H4+u9LHi2f"
        );
        assert_eq!(secrets.check_value(1), Some("Mvkparf7Ds0b+1GqMkBlQD1uBBayvvHztzVnOqX8y2Y="));
    }

    #[test]
    fn equal_secrets_seal_equally_under_one_key_and_differently_under_another() {
        let (one, same, other) = (boxed(&[(1, 7)]), boxed(&[(1, 7)]), boxed(&[(1, 8)]));
        let sealed = one.seal("sk").expect("sealed");
        assert_eq!(sealed, same.seal("sk").expect("sealed"));
        assert_ne!(sealed, other.seal("sk").expect("sealed"));
        assert_ne!(sealed, one.seal("sk2").expect("sealed"));
    }

    #[test]
    fn nothing_is_sealed_while_it_is_held() {
        let secrets = boxed(&[(1, 7)]);
        let sealed = secrets.seal("sk").expect("sealed");
        secrets.hold();
        assert_eq!(secrets.seal("sk").expect_err("held").code, ErrorCode::NotReady);
        secrets.seal("").expect("nothing to seal");
        assert_eq!(secrets.unseal(&sealed).expect("unsealed"), "sk");
        secrets.release();
        assert_eq!(secrets.seal("sk").expect("sealed"), sealed);
    }

    #[test]
    fn an_empty_secret_stays_empty() {
        let secrets = boxed(&[(1, 7)]);
        let sealed = secrets.seal("").expect("sealed");
        assert_eq!(sealed.ciphertext, "");
        assert_eq!(secrets.unseal(&sealed).expect("unsealed"), "");
    }

    #[test]
    fn the_newest_key_seals_and_older_ones_still_unseal() {
        let before = boxed(&[(1, 7)]);
        let after = boxed(&[(1, 7), (9, 8)]);
        let old = before.seal("sk").expect("sealed");
        assert_eq!(after.seal("sk").expect("sealed").key_id, 9);
        assert_eq!(after.unseal(&old).expect("unsealed"), "sk");
        assert_eq!(before.marks_under_older_keys("sk").expect("marked"), []);
        assert_eq!(after.key_ids().collect::<Vec<_>>(), [1, 9]);
    }

    #[test]
    fn what_an_older_key_marks_is_recognised_and_cannot_be_decrypted() {
        let (before, after) = (boxed(&[(1, 7)]), boxed(&[(1, 7), (9, 8)]));
        for length in 1..40 {
            let secret = "s".repeat(length);
            let marks = after.marks_under_older_keys(&secret).expect("marked");
            let [mark] = &marks[..] else { panic!("{marks:?}") };
            let stored = before.seal(&secret).expect("sealed");
            assert!(mark.is_of(&stored), "{length}");
            assert!(!mark.is_of(&before.seal(&"s".repeat(length + 1)).expect("sealed")), "{length}");
            assert!(!mark.is_of(&SealedSecret { key_id: 9, ..stored }), "{length}");
            let carried = SealedSecret {
                ciphertext: mark.mark.clone(),
                key_id: mark.key_id,
            };
            assert!(after.unseal(&carried).is_err(), "{length}");
        }
    }

    #[test]
    fn peers_with_one_key_in_common_agree_on_what_was_asked() {
        let hashes = |keys: &[(i64, u8)], request: &str| boxed(keys).fingerprints(request.as_bytes());
        let agree = |one: &[u64], other: &[u64]| one.iter().any(|hash| other.contains(hash));
        let first = hashes(&[(1, 7)], "request");
        assert!(agree(&first, &hashes(&[(9, 8), (1, 7)], "request")), "a key was added");
        assert!(agree(&first, &hashes(&[(1, 7), (9, 8)], "request")), "it encrypts");
        assert!(
            agree(&hashes(&[(1, 7), (9, 8)], "request"), &hashes(&[(9, 8)], "request")),
            "the first one is gone"
        );
        assert!(!agree(&first, &hashes(&[(1, 7)], "another")));
        assert!(!agree(&first, &hashes(&[(1, 8)], "request")));
        let many: Vec<(i64, u8)> = (1..=20).map(|id| (id, id as u8)).collect();
        assert_eq!(hashes(&many, "request").len(), limits::MAX_FINGERPRINTS);
        assert!(
            agree(&hashes(&many, "request"), &hashes(&[(20, 20)], "request")),
            "the newest key is among them"
        );
    }

    #[test]
    fn another_key_and_damage_are_errors_that_name_the_key() {
        let sealed = boxed(&[(1, 7)]).seal("sk").expect("sealed");
        let refusal = |secrets: &SecretBox, sealed: &SealedSecret| secrets.unseal(sealed).expect_err("refused");
        let missing = refusal(&boxed(&[(2, 7)]), &sealed);
        assert_eq!(
            (missing.code, missing.message.as_str()),
            (ErrorCode::SecretUnreadable, "failed to decrypt: this peer has no root key 1")
        );
        assert!(
            refusal(&boxed(&[(1, 8)]), &sealed)
                .message
                .contains("root key 1 of this peer is not the one")
        );
        for ciphertext in ["*", "AAAA", &sealed.ciphertext[4..]] {
            let damaged = SealedSecret {
                ciphertext: ciphertext.to_owned(),
                key_id: 1,
            };
            assert_eq!(refusal(&boxed(&[(1, 7)]), &damaged).code, ErrorCode::SecretUnreadable);
        }
    }

    #[test]
    fn check_values_tell_keys_apart_and_reveal_none() {
        let (one, same, other) = (boxed(&[(1, 7)]), boxed(&[(1, 7)]), boxed(&[(1, 8)]));
        assert_eq!(one.check_value(1), same.check_value(1));
        assert_ne!(one.check_value(1), other.check_value(1));
        assert_eq!(one.check_value(2), None);
    }

    #[test]
    fn debug_output_shows_ids_only() {
        assert_eq!(format!("{:?}", boxed(&[(1, 7), (9, 8)])), "SecretBox { key_ids: [1, 9], .. }");
    }

    #[test]
    fn a_bad_file_is_refused_without_quoting_it() {
        let secret = BASE64_STANDARD.encode([7; 16]);
        for (text, problem) in [
            (String::new(), "has no key; write one `id base64` a line, newest last".to_owned()),
            (
                format!("# old\n1 {secret}\n"),
                "line 2: the key is 16 bytes, not 32; make one with `openssl rand -base64 32`".to_owned(),
            ),
            (format!("{secret}\n"), "line 1: is not `id base64`".to_owned()),
            (format!("x {secret}\n"), "line 1: the id is not a number above 0".to_owned()),
            ("1 ***\n".to_owned(), "line 1: the key is not base64".to_owned()),
            (key_line(1, 7) + &key_line(1, 8), "line 2: key id 1 is used twice".to_owned()),
        ] {
            assert_eq!(parse(&text).expect_err("refused"), problem);
        }
    }

    #[test]
    fn a_variable_has_the_lines_of_a_file() {
        let (older, newest) = (key_line(3, 7), key_line(5, 8));
        for value in [format!("{older}{newest}"), format!("{},{}", older.trim(), newest.trim())] {
            let keys = SecretBox::of_variable("KEYS", &value).expect("keys");
            assert_eq!((keys.key_ids().collect::<Vec<_>>(), keys.newest_key_id()), (vec![3, 5], 5));
        }
        let error = SecretBox::of_variable("KEYS", "1 hunter-2").expect_err("refused").to_string();
        assert_eq!(error, "KEYS: line 1: the key is not base64");
    }

    #[test]
    fn a_new_file_is_private_and_read_again_as_the_same_key() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("root-keys");
        let error = SecretBox::load(&path).expect_err("there is none");
        assert!(error.to_string().contains("root-keys"), "{error}");
        let made = SecretBox::load_or_create(&path).expect("made");
        assert_eq!(fs::metadata(&path).expect("exists").permissions().mode() & 0o777, 0o600);
        let again = SecretBox::load_or_create(&path).expect("read");
        assert_eq!(made.seal("sk").expect("sealed"), again.seal("sk").expect("sealed"));
        assert_eq!(made.check_value(made.newest_key_id()), again.check_value(made.newest_key_id()));
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 1);
    }
}
