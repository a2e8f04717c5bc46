//! Upstream's encoding of keys (spec/doris-http.md 14.1).
//!
//! ```text
//! key           space u8 | field | field | ...
//! text          10 | bytes, 00 written 00 ff | 00 01
//! integer       12 (>= 0) or 11 (negative) | absolute value u64, big-endian
//! versionstamp  13 | 10 bytes | ff when it ends the key
//! ```

/// Bytes of a versionstamp.
pub const VERSIONSTAMP_BYTES: usize = 10;

const TEXT: u8 = 0x10;
const NEGATIVE: u8 = 0x11;
const INTEGER: u8 = 0x12;
const VERSIONSTAMP: u8 = 0x13;
const VERSIONSTAMP_END: u8 = 0xff;

/// One field of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    Space(u8),
    Text(Vec<u8>),
    Integer(i64),
    Versionstamp([u8; VERSIONSTAMP_BYTES]),
}

impl Field {
    /// As pictures show it.
    pub fn shown(&self) -> String {
        match self {
            Field::Space(space) => format!("key space: {space}"),
            Field::Text(text) => String::from_utf8_lossy(text).into_owned(),
            Field::Integer(number) => number.to_string(),
            Field::Versionstamp(stamp) => hex(stamp),
        }
    }
}

/// Writes a key. A versionstamp belongs at its end.
pub fn encode(fields: &[Field]) -> Vec<u8> {
    let mut key = Vec::new();
    for field in fields {
        match field {
            Field::Space(space) => key.push(*space),
            Field::Text(text) => {
                key.push(TEXT);
                for byte in text {
                    key.push(*byte);
                    if *byte == 0 {
                        key.push(0xff);
                    }
                }
                key.extend([0x00, 0x01]);
            }
            Field::Integer(number) => {
                key.push(if *number < 0 { NEGATIVE } else { INTEGER });
                key.extend(number.unsigned_abs().to_be_bytes());
            }
            Field::Versionstamp(stamp) => {
                key.push(VERSIONSTAMP);
                key.extend(stamp);
                key.push(VERSIONSTAMP_END);
            }
        }
    }
    key
}

/// Reads a key: each field with the position of its first byte. `None` for what is no key.
pub fn decode(key: &[u8]) -> Option<Vec<(usize, Field)>> {
    let (space, mut rest) = key.split_first()?;
    let mut fields = vec![(0, Field::Space(*space))];
    while let Some((tag, body)) = rest.split_first() {
        let position = key.len() - rest.len();
        let (field, behind) = match *tag {
            TEXT => take_text(body)?,
            INTEGER | NEGATIVE => take_integer(*tag, body)?,
            VERSIONSTAMP => take_versionstamp(body)?,
            _ => return None,
        };
        fields.push((position, field));
        rest = behind;
    }
    Some(fields)
}

fn take_text(mut body: &[u8]) -> Option<(Field, &[u8])> {
    let mut text = Vec::new();
    loop {
        match body {
            [0x00, 0x01, behind @ ..] => return Some((Field::Text(text), behind)),
            [0x00, 0xff, behind @ ..] => {
                text.push(0);
                body = behind;
            }
            [0x00, ..] | [] => return None,
            [byte, behind @ ..] => {
                text.push(*byte);
                body = behind;
            }
        }
    }
}

fn take_integer(tag: u8, body: &[u8]) -> Option<(Field, &[u8])> {
    let (number, behind) = body.split_first_chunk::<8>()?;
    let number = i128::from(u64::from_be_bytes(*number));
    let signed = if tag == NEGATIVE { -number } else { number };
    Some((Field::Integer(i64::try_from(signed).ok()?), behind))
}

fn take_versionstamp(body: &[u8]) -> Option<(Field, &[u8])> {
    let (stamp, behind) = body.split_first_chunk::<VERSIONSTAMP_BYTES>()?;
    let behind = if behind == [VERSIONSTAMP_END] { &[] } else { behind };
    Some((Field::Versionstamp(*stamp), behind))
}

/// Lower-case digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads digits of either case; an odd last one is dropped, as upstream does. `None` for other characters.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let pairs = text.as_bytes().chunks_exact(2);
    pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_texts_have_upstreams_bytes() {
        let bytes = |field| hex(&encode(&[field]));
        assert_eq!(bytes(Field::Integer(10_086)), "120000000000002766");
        assert_eq!(bytes(Field::Integer(-1_001_011)), "1100000000000f4633");
        assert_eq!(bytes(Field::Integer(i64::MIN)), "118000000000000000");
        assert_eq!(bytes(Field::Text(b"a\0b".to_vec())), "106100ff620001");
        assert_eq!(bytes(Field::Versionstamp([1; 10])), "1301010101010101010101ff");
    }

    #[test]
    fn keys_come_back_with_the_places_of_their_fields() {
        let fields = [
            Field::Space(3),
            Field::Text(b"x\0".to_vec()),
            Field::Integer(i64::MIN),
            Field::Integer(i64::MAX),
            Field::Text(Vec::new()),
            Field::Versionstamp([7; 10]),
        ];
        let decoded = decode(&encode(&fields)).expect("a key");
        let positions: Vec<usize> = decoded.iter().map(|(position, _)| *position).collect();
        assert_eq!(positions, [0, 1, 7, 16, 25, 28]);
        assert!(decoded.into_iter().map(|(_, field)| field).eq(fields));
    }

    #[test]
    fn what_is_cut_or_mangled_is_no_key() {
        let whole = encode(&[
            Field::Space(1),
            Field::Text(b"ab".to_vec()),
            Field::Integer(5),
            Field::Versionstamp([0; 10]),
        ]);
        let ends = [1, 6, 15, whole.len() - 1, whole.len()];
        for length in 0..=whole.len() {
            assert_eq!(decode(&whole[..length]).is_some(), ends.contains(&length), "{length}");
        }
        for text in ["01ff", "010100", "01100002", "0112ffffffffffffffff", "0111ffffffffffffffff"] {
            assert!(decode(&from_hex(text).expect("hex")).is_none(), "{text}");
        }
    }

    #[test]
    fn hex_is_read_in_either_case() {
        assert_eq!(from_hex("0aFf0"), Some(vec![0x0a, 0xff]));
        assert_eq!(from_hex("0"), Some(Vec::new()));
        assert_eq!(from_hex("0g"), None);
        assert_eq!(from_hex("é"), None);
    }
}
