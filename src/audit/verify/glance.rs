//! What a line is about, without parsing it: the writer gives fields a fixed order.

use memchr::memmem;

/// What a line is about.
pub(in crate::audit) enum Glance<'a> {
    /// The intent of a write, with its id.
    Intent(&'a str),
    /// A call's outcome, with its id.
    Call(&'a str),
    /// The gate began: `started`, or `recovered` before it.
    Began,
    /// The gate stopped in good order.
    Stopped,
    /// Anything else.
    Other,
}

/// `{"time":"…","id":"…","kind":"…"`
pub(in crate::audit) fn glance(line: &[u8]) -> Option<Glance<'_>> {
    let head = &line[..line.len().min(160)];
    let id = after(head, b"\"id\":\"")?;
    let kind = after(head, b"\"kind\":\"")?;
    Some(match kind {
        "intent" => Glance::Intent(id),
        "call" => Glance::Call(id),
        "gate" => match after(line, b"\"event\":{\"code\":\"") {
            Some("stopped") => Glance::Stopped,
            Some("started" | "recovered") => Glance::Began,
            _ => Glance::Other,
        },
        _ => Glance::Other,
    })
}

fn after<'a>(text: &'a [u8], mark: &[u8]) -> Option<&'a str> {
    let from = memmem::find(text, mark)? + mark.len();
    let to = from + memchr::memchr(b'"', &text[from..])?;
    std::str::from_utf8(&text[from..to]).ok()
}

/// When a record was written, milliseconds since 1970. Its `time` is when the call began, and calls end in another order;
/// with the time spent it is when the call ended. `None` when that cannot be told: the time of an intent's writing is not
/// on record, and a step's time has a ceiling.
pub(super) fn written_at(line: &[u8], kind: &Glance<'_>) -> Option<i64> {
    let text = line.strip_prefix(b"{\"time\":\"")?;
    let begun = millis(&text[..memchr::memchr(b'"', text)?])?;
    match kind {
        Glance::Intent(_) => None,
        Glance::Call(_) => Some(begun + spent(line)? / 1000),
        _ => Some(begun),
    }
}

/// Reads `2026-11-25T13:30:37.123456789Z`. Millions of them are read, so not with a library for all forms there are.
fn millis(text: &[u8]) -> Option<i64> {
    let number = |from: usize, to: usize| {
        text.get(from..to)?
            .iter()
            .try_fold(0i64, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
    };
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if marks.iter().any(|(at, mark)| text.get(*at) != Some(mark)) || text.last() != Some(&b'Z') {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let seconds = number(11, 13)? * 3600 + number(14, 16)? * 60 + number(17, 19)?;
    let fraction = match text.len() - 1 {
        19 => 0,
        end @ 21.. if text[19] == b'.' => number(20, end.min(23))? * [100, 10, 1][end.min(23) - 21],
        _ => return None,
    };
    // Days from civil: years begin in March, so that the leap day is a year's last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year.div_euclid(400) * 146_097 + year.rem_euclid(400) * 365 + year.rem_euclid(400) / 4
        - year.rem_euclid(400) / 100
        + (153 * month + 2) / 5
        + day
        - 1
        - 719_468;
    Some((days * 86_400 + seconds) * 1000 + fraction)
}

/// The sum of a record's `micros`; 0 when it has none.
fn spent(line: &[u8]) -> Option<i64> {
    const MICROS: &[u8] = b",\"micros\":{";
    let Some(at) = memmem::rfind(line, MICROS) else { return Some(0) };
    let fields = &line[at + MICROS.len()..];
    let fields = std::str::from_utf8(&fields[..memchr::memchr(b'}', fields)?]).ok()?;
    let mut sum = 0;
    for field in fields.split(',') {
        let micros: u32 = field.split_once(':')?.1.parse().ok()?;
        sum += i64::from((micros < u32::MAX).then_some(micros)?);
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::millis;

    proptest! {
        #[test]
        fn times_are_read_as_the_library_reads_them(nanos in 0i128..4_102_444_800_000_000_000, digits in 0u32..=9) {
            let step = 10i128.pow(9 - digits);
            let time = jiff::Timestamp::from_nanosecond(nanos / step * step).unwrap();
            prop_assert_eq!(millis(time.to_string().as_bytes()), Some(time.as_millisecond()));
        }
    }
}
