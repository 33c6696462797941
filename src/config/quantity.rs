//! Quantities with units: durations `10s`, sizes `64KiB`, quotas `60/min burst 10`.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use super::{Quota, Wrong};

/// Longest duration: a bit over ten years. Nothing here needs more, and sums with it never overflow.
const MAX_DURATION: Duration = Duration::from_secs(4000 * DAY);

/// Longest period of a quota; limits live in memory and begin anew with the program.
const MAX_PERIOD: Duration = Duration::from_secs(31 * DAY);

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Units of durations in milliseconds, the largest first; the first name of each is the one that is written.
const DURATION_UNITS: [(u64, &[&str]); 5] = [
    (DAY * 1000, &["d", "day", "days"]),
    (HOUR * 1000, &["h", "hour", "hours"]),
    (MINUTE * 1000, &["m", "min", "minute", "minutes"]),
    (1000, &["s", "sec", "second", "seconds"]),
    (1, &["ms"]),
];

/// Units of sizes in bytes, the largest first.
const SIZE_UNITS: [(u64, &str); 4] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B")];

/// Reads `500ms`, `10s`, `5m`, `24h`, `180d`: one whole number and one unit, more than zero.
pub fn parse_duration(text: &str) -> Result<Duration, Wrong> {
    let remedy = "write a whole number and a unit: `500ms`, `10s`, `5m`, `24h`, `180d`";
    let wrong = || Wrong::new(format!("`{text}` is no duration"), remedy);
    let (number, unit) = split(text);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let millis = number.checked_mul(duration_unit(unit).ok_or_else(wrong)?).ok_or_else(wrong)?;
    match Duration::from_millis(millis) {
        Duration::ZERO => Err(Wrong::new(format!("`{text}` is no time at all"), remedy)),
        duration if duration > MAX_DURATION => Err(Wrong::new(format!("`{text}` is too long"), "4000d is the most")),
        duration => Ok(duration),
    }
}

/// The duration as [`parse_duration`] reads it, in the largest unit that needs no fraction. Below one millisecond
/// nothing is shown.
pub fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let fits = |(unit, _): &&(u64, &[&str])| millis.is_multiple_of(u128::from(*unit));
    let (unit, names) = DURATION_UNITS.iter().find(fits).unwrap_or(&DURATION_UNITS[4]);
    format!("{}{}", millis / u128::from(*unit), names[0])
}

/// `1 record`, `2 records`.
pub fn show_count(count: u64, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

/// Reads `512B`, `64KiB`, `10MiB`, `1GiB`: bytes, more than zero.
pub fn parse_size(text: &str) -> Result<u64, Wrong> {
    let remedy = "write a whole number and a unit of 1024: `512B`, `64KiB`, `10MiB`, `1GiB`";
    let wrong = || Wrong::new(format!("`{text}` is no size"), remedy);
    let (number, unit) = split(text);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let (factor, _) = SIZE_UNITS.iter().find(|(_, name)| *name == unit).ok_or_else(wrong)?;
    match number.checked_mul(*factor).filter(|bytes| *bytes <= 1 << 50) {
        Some(0) => Err(Wrong::new(format!("`{text}` is nothing at all"), remedy)),
        Some(bytes) => Ok(bytes),
        None => Err(Wrong::new(format!("`{text}` is too much"), "1048576GiB is the most")),
    }
}

/// The size as [`parse_size`] reads it.
pub fn show_size(bytes: u64) -> String {
    let (unit, name) = SIZE_UNITS.iter().find(|(unit, _)| bytes.is_multiple_of(*unit)).unwrap_or(&SIZE_UNITS[3]);
    format!("{}{name}", bytes / unit)
}

/// Reads `60/min`, `60/min burst 10`, `10000/15min`, `10 per s`.
pub fn parse_quota(text: &str) -> Result<Quota, Wrong> {
    let remedy = "write calls per period, and how many may come at once: `60/min burst 10`, `10/s`, `10000/15min`";
    let wrong = || Wrong::new(format!("`{text}` is no limit"), remedy);
    let (rate, burst) = match text.split_once("burst") {
        Some((rate, burst)) => (rate.trim(), Some(burst.trim())),
        None => (text.trim(), None),
    };
    let (count, period) = rate.split_once('/').or_else(|| rate.split_once(" per ")).ok_or_else(wrong)?;
    let count: NonZeroU32 = count.trim().parse().map_err(|_| wrong())?;
    let period = parse_period(period.trim()).ok_or_else(wrong)?;
    if period > MAX_PERIOD {
        return Err(Wrong::new(format!("the period of `{text}` is too long"), "31d is the most"));
    }
    let burst = burst.map_or(Ok(count), str::parse).map_err(|_| wrong())?;
    Ok(Quota { count, period, burst })
}

/// A bare unit (`min`), or a duration (`15min`); never below one second.
fn parse_period(text: &str) -> Option<Duration> {
    let duration = match duration_unit(text) {
        Some(millis) => Duration::from_millis(millis),
        None => parse_duration(text).ok()?,
    };
    (duration >= Duration::from_secs(1)).then_some(duration)
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let period = show_duration(self.period);
        let period = match period.strip_suffix('m') {
            Some(minutes) => format!("{minutes}min"),
            None => period,
        };
        let one = period.strip_prefix('1').filter(|rest| rest.starts_with(|c: char| c.is_ascii_alphabetic()));
        write!(f, "{}/{}", self.count, one.unwrap_or(&period))?;
        if self.burst == self.count { Ok(()) } else { write!(f, " burst {}", self.burst) }
    }
}

/// Digits, and what follows them.
fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim_start())
}

fn duration_unit(name: &str) -> Option<u64> {
    DURATION_UNITS.iter().find(|(_, names)| names.contains(&name)).map(|(millis, _)| *millis)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_have_one_number_and_one_unit() {
        let millis = |text| parse_duration(text).unwrap().as_millis();
        assert_eq!(millis("500ms"), 500);
        assert_eq!(millis("10s"), 10_000);
        assert_eq!(millis("5m"), 300_000);
        assert_eq!(millis("24h"), 86_400_000);
        assert_eq!(millis("180d"), 180 * 86_400_000);
        for bad in ["", "5", "s", "-1s", "1.5s", "1h30m", "0s", "5 parsecs", "99999999999999999999s", "9999d", "１s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(parse_size("64KiB").unwrap(), 65_536);
        assert_eq!(parse_size("10MiB").unwrap(), 10_485_760);
        for bad in ["", "64", "64KB", "64k", "0B", "99999999999GiB", "18446744073709551615GiB"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn quotas_are_read_in_every_spelling() {
        let quota = |text| {
            let quota = parse_quota(text).unwrap();
            (quota.count.get(), quota.period.as_secs(), quota.burst.get())
        };
        assert_eq!(quota("60/min burst 10"), (60, 60, 10));
        assert_eq!(quota("10/s"), (10, 1, 10));
        assert_eq!(quota("10000/15min"), (10_000, 900, 10_000));
        assert_eq!(quota("5 per hour"), (5, 3600, 5));
        assert_eq!(quota("100/day burst 1"), (100, 86_400, 1));
        assert_eq!(quota("3/sec"), (3, 1, 3));
        for bad in ["", "60", "0/min", "60/min burst 0", "60/fortnight", "60/100ms", "60/min burst", "-1/s", "1/90d"] {
            assert!(parse_quota(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back_the_same(count in 1u32.., period in 1u64..2_678_400, burst in 1u32.., bytes in 1u64..1 << 50) {
            let (Some(count), Some(burst)) = (NonZeroU32::new(count), NonZeroU32::new(burst)) else { unreachable!() };
            let quota = Quota { count, period: Duration::from_secs(period), burst };
            prop_assert_eq!(parse_quota(&quota.to_string()).unwrap(), quota);
            prop_assert_eq!(parse_duration(&show_duration(quota.period)).unwrap(), quota.period);
            prop_assert_eq!(parse_size(&show_size(bytes)).unwrap(), bytes);
        }

        #[test]
        fn no_text_makes_a_reader_panic(text in "\\PC{0,30}") {
            drop((parse_duration(&text), parse_size(&text), parse_quota(&text)));
        }
    }

    #[test]
    fn common_quotas_are_shown_as_people_write_them() {
        for text in ["60/min burst 10", "10/s", "10000/15min", "5/h", "7/d", "3/90s"] {
            assert_eq!(parse_quota(text).unwrap().to_string(), text);
        }
    }
}
