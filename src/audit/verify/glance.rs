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
    let (_, rest) = quoted(line, b"{\"time\":\"")?;
    let (id, rest) = quoted(rest, b",\"id\":\"")?;
    let (kind, rest) = quoted(rest, b",\"kind\":\"")?;
    let id = std::str::from_utf8(id).ok()?;
    Some(match kind {
        b"intent" => Glance::Intent(id),
        b"call" => Glance::Call(id),
        b"gate" => match event(rest) {
            Some(b"stopped") => Glance::Stopped,
            Some(b"started" | b"recovered") => Glance::Began,
            _ => Glance::Other,
        },
        _ => Glance::Other,
    })
}

/// What stands behind a mark up to the next quote, and what stands behind that.
fn quoted<'a>(text: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let text = text.strip_prefix(mark)?;
    let end = memchr::memchr(b'"', text)?;
    Some((&text[..end], &text[end + 1..]))
}

fn event(text: &[u8]) -> Option<&[u8]> {
    const EVENT: &[u8] = b"\"event\":{\"code\":\"";
    let at = memmem::find(text, EVENT)?;
    quoted(&text[at..], EVENT).map(|(code, _)| code)
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

/// The sum of a record's `micros`; 0 when it has none. No other object stands behind it in a call's record.
fn spent(line: &[u8]) -> Option<i64> {
    let Some(at) = memchr::memrchr(b'{', line).filter(|at| line[..*at].ends_with(b",\"micros\":")) else {
        return Some(0);
    };
    let (mut sum, mut number, mut digits) = (0i64, 0i64, false);
    for byte in &line[at + 1..] {
        match byte {
            b'0'..=b'9' => (number, digits) = (number.saturating_mul(10).saturating_add(i64::from(byte - b'0')), true),
            _ if digits => {
                sum = sum.saturating_add(Some(number).filter(|number| *number < i64::from(u32::MAX))?);
                (number, digits) = (0, false);
            }
            _ => {}
        }
        if *byte == b'}' {
            return Some(sum);
        }
    }
    None
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
