//! Numbers for people: bytes, times, and how many of what.

use serde_json::Value as Json;
use std::time::{SystemTime, UNIX_EPOCH};

/// A number member; 64-bit numbers are texts in the API's JSON. 0 when absent.
pub fn number(data: &Json, name: &str) -> u64 {
    match &data[name] {
        Json::Number(number) => number.as_u64().unwrap_or_default(),
        Json::String(text) => text.parse().unwrap_or_default(),
        _ => 0,
    }
}

/// `1.5 GiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1_024 {
        return format!("{count} B");
    }
    let mut scaled = count as f64 / 1_024.0;
    let mut unit = 0;
    while scaled >= 1_023.95 && unit + 1 < UNITS.len() {
        scaled /= 1_024.0;
        unit += 1;
    }
    format!("{scaled:.1} {}", UNITS[unit])
}

/// `1 file`, `2 files`.
pub fn counted(count: u64, one: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {one}s"),
    }
}

/// This machine's time as the cluster stamps it.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

/// How long ago a stamped time was, or how far ahead it is; empty for 0.
pub fn distance(stamped_ms: u64) -> String {
    let now_ms = now_ms();
    match stamped_ms {
        0 => String::new(),
        past if past <= now_ms => format!("{} ago", span((now_ms - past) / 1_000)),
        ahead => format!("in {}", span((ahead - now_ms) / 1_000)),
    }
}

/// The largest unit that fits, rounded down.
pub fn span(seconds: u64) -> String {
    match seconds {
        0..60 => counted(seconds, "second"),
        60..3_600 => counted(seconds / 60, "minute"),
        3_600..86_400 => counted(seconds / 3_600, "hour"),
        _ => counted(seconds / 86_400, "day"),
    }
}

/// Seconds of `90s`, `30m`, `12h`, `7d`, or a plain number of seconds.
pub fn seconds(text: &str) -> Result<u64, String> {
    let (digits, factor) = match text.as_bytes().last() {
        Some(b's') => (&text[..text.len() - 1], 1),
        Some(b'm') => (&text[..text.len() - 1], 60),
        Some(b'h') => (&text[..text.len() - 1], 3_600),
        Some(b'd') => (&text[..text.len() - 1], 86_400),
        _ => (text, 1),
    };
    let count: u64 = digits.parse().map_err(|_| "it must be a number with s, m, h or d, such as 12h")?;
    count.checked_mul(factor).ok_or_else(|| "it is too long".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn amounts_read_well_at_every_size() {
        for (count, text) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            (1_048_575, "1.0 MiB"),
            (3 << 29, "1.5 GiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
        assert_eq!(bytes(u64::MAX), "16384.0 PiB");
        assert_eq!(
            (counted(1, "file"), counted(0, "file")),
            ("1 file".to_owned(), "0 files".to_owned())
        );
        assert_eq!(
            (span(59), span(3_599), span(86_400)),
            ("59 seconds".to_owned(), "59 minutes".to_owned(), "1 day".to_owned())
        );
        assert_eq!(distance(0), "");
    }

    #[test]
    fn times_and_numbers_are_read() {
        assert_eq!((seconds("90s"), seconds("2h"), seconds("7")), (Ok(90), Ok(7_200), Ok(7)));
        for bad in ["", "h", "1.5h", "1w", "99999999999999999999", "9999999999999999999d"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
        let data = json!({"text": "7", "number": 8, "neither": "x"});
        assert_eq!(
            ["text", "number", "neither", "absent"].map(|name| number(&data, name)),
            [7, 8, 0, 0]
        );
    }
}
