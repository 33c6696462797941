//! Times as records have them: `2026-11-25T13:30:37.123456789Z`. Millions of them are read, so not with a library for all
//! forms there are.

/// Nanoseconds since 1970.
pub(super) fn nanos(text: &[u8]) -> Option<i64> {
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
        end @ 21..=29 if text[19] == b'.' => number(20, end)? * 10i64.pow(29 - u32::try_from(end).ok()?),
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
    (days * 86_400 + seconds).checked_mul(1_000_000_000)?.checked_add(fraction)
}

/// The same in milliseconds.
pub(super) fn millis(text: &[u8]) -> Option<i64> {
    nanos(text).map(|nanos| nanos.div_euclid(1_000_000))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn times_are_read_as_the_library_reads_them(nanos in 0i64..4_102_444_800_000_000_000, digits in 0u32..=9) {
            let step = 10i64.pow(9 - digits);
            let time = jiff::Timestamp::from_nanosecond((nanos / step * step).into()).unwrap();
            prop_assert_eq!(super::nanos(time.to_string().as_bytes()), Some(nanos / step * step));
            prop_assert_eq!(millis(time.to_string().as_bytes()), Some(time.as_millisecond()));
        }
    }
}
