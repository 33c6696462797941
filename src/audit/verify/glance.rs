//! What a line is about, without parsing it: the writer gives fields a fixed order.

use memchr::memmem;

use crate::audit::boxed::BEGINS;
use crate::audit::instant::millis;

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

/// `{"time":"…","id":"…","kind":"…"`, or `{"box":"…"` and its mark.
pub(in crate::audit) fn glance(line: &[u8]) -> Option<Glance<'_>> {
    if let Some((_, rest)) = quoted(line, BEGINS) {
        return mark(rest);
    }
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

/// What a boxed line shows of its record.
fn mark(rest: &[u8]) -> Option<Glance<'_>> {
    let Some((name, rest)) = quoted(rest, b",\"").filter(|(name, _)| *name != b"seq") else {
        return Some(Glance::Other);
    };
    let (value, _) = quoted(rest, b":\"")?;
    let value = std::str::from_utf8(value).ok()?;
    Some(match (name, value) {
        (b"intent", id) => Glance::Intent(id),
        (b"call", id) => Glance::Call(id),
        (b"gate", "began") => Glance::Began,
        (b"gate", "stopped") => Glance::Stopped,
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
