//! The day: what a check of every change has no time to try at once, it tries a part of each day, and which part follows from
//! the day alone.

use std::time::SystemTime;

const SECONDS: u64 = 86_400;

/// Days since 1970, in UTC.
pub fn today() -> u64 {
    of(SystemTime::now())
}

pub fn of(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() / SECONDS)
}

/// `day 20780 (2026-11-23)`.
pub fn name(day: u64) -> String {
    // Of its last second: the calendar takes the first second of all for a time that nobody noted.
    let last = day.saturating_mul(SECONDS).saturating_add(SECONDS - 1);
    format!("day {day} ({})", crate::report::day(last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_day_is_that_of_the_calendar() {
        let at = |seconds| of(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!((at(86_399), at(86_400), at(1_795_382_238)), (0, 1, 20_779));
        assert_eq!(
            (name(0), name(20_779)),
            ("day 0 (1970-01-01)".to_owned(), "day 20779 (2026-11-22)".to_owned())
        );
    }
}
