//! Days of the calendar, for times in seconds since 1970.

const SECONDS_PER_DAY: u64 = 86_400;
/// From the first of March of the year 0, when leap days come last, to 1970.
const DAYS_BEFORE_1970: u64 = 719_468;
/// The calendar repeats itself after 400 years.
const DAYS_PER_ERA: u64 = 146_097;

/// In UTC: `2026-11-22`; nothing of a time that nobody noted.
pub fn day(seconds: u64) -> String {
    if seconds == 0 {
        return String::new();
    }
    let days = seconds / SECONDS_PER_DAY + DAYS_BEFORE_1970;
    let (era, of_era) = (days / DAYS_PER_ERA, days % DAYS_PER_ERA);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March on have 153 days in each five.
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = 400 * era + year_of_era + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02}")
}

/// The beginning of a commit's name, and the mark behind it.
pub fn short(commit: &str) -> String {
    let (name, mark) = commit.split_at(commit.find('-').unwrap_or(commit.len()));
    format!("{}{mark}", name.get(..10).unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_keeps_its_mark() {
        assert_eq!(short("0123456789abcdef"), "0123456789");
        assert_eq!(short("0123456789abcdef-dirty"), "0123456789-dirty");
        assert_eq!((short("c3"), short("")), ("c3".to_owned(), String::new()));
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!(day(0), "");
        assert_eq!(day(1), "1970-01-01");
        assert_eq!(day(951_782_399), "2000-02-28");
        assert_eq!(day(951_782_400), "2000-02-29");
        assert_eq!(day(951_868_800), "2000-03-01");
        assert_eq!(day(1_795_382_238), "2026-11-22");
        assert_eq!(day(1_798_761_599), "2026-12-31");
        assert_eq!(day(1_798_761_600), "2027-01-01");
    }
}
