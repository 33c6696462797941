//! One reading of a request target. What two programs could read in two ways is refused, never repaired.
//!
//! A path that passes has one meaning: the decoded segments, which are judged, and the canonical spelling, which is
//! sent. A fragment (`#` and what is behind it) never comes here: the HTTP library ends a target in front of it. The query
//! is split once; its pairs go upstream as they came, minus the key's slots.

use std::borrow::Cow;

/// Why a target is refused. `code` is stable; the text is for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ambiguous {
    /// `%2F`
    #[error("the path holds an encoded slash (%2F)")]
    EncodedSlash,
    /// `\` or `%5C`
    #[error("the path holds a backslash")]
    Backslash,
    /// `.` or `..` as a segment, plain or encoded
    #[error("the path holds a dot segment (`.` or `..`)")]
    DotSegment,
    /// `%25` before two hex digits
    #[error("the path is percent-encoded twice")]
    DoubleEncoding,
    /// `//`, or a slash at the end
    #[error("the path holds an empty segment (`//`, or a slash at its end)")]
    EmptySegment,
    /// `;`
    #[error("the target holds a semicolon")]
    Semicolon,
    /// Percent-encoded bytes that are no UTF-8
    #[error("the target is not valid UTF-8 once decoded")]
    NotUtf8,
    /// Bytes below 0x20, or 0x7F
    #[error("the target holds a control character")]
    Control,
    /// `%` without two hex digits behind it
    #[error("the target holds a percent sign without two hex digits behind it")]
    BadEscape,
    /// A byte that must be percent-encoded and is not
    #[error("the target holds a character that must be percent-encoded")]
    BadByte,
    /// A scoped key where it would go upstream
    #[error("the target holds a scoped key where no key belongs")]
    KeyMisplaced,
    /// More segments or pairs than any endpoint has use for
    #[error("the target has too many parts")]
    TooManyParts,
}

impl Ambiguous {
    /// The stable refusal code.
    pub fn code(self) -> &'static str {
        match self {
            Self::EncodedSlash => "target_encoded_slash",
            Self::Backslash => "target_backslash",
            Self::DotSegment => "target_dot_segment",
            Self::DoubleEncoding => "target_double_encoding",
            Self::EmptySegment => "target_empty_segment",
            Self::Semicolon => "target_semicolon",
            Self::NotUtf8 => "target_not_utf8",
            Self::Control => "target_control",
            Self::BadEscape => "target_bad_escape",
            Self::BadByte => "target_bad_byte",
            Self::KeyMisplaced => "key_misplaced",
            Self::TooManyParts => "target_too_many_parts",
        }
    }
}

/// More segments than any profile's templates have.
const MAX_SEGMENTS: usize = 32;
/// More pairs than any client sends; a query is read pair by pair.
const MAX_PAIRS: usize = 1024;

/// One path segment: what it means, and how it is sent. Most stand for themselves, so a segment is no more than that.
#[derive(Clone, Debug)]
pub struct Segment<'a> {
    raw: &'a str,
    /// When it had to be looked at more closely: it has escapes, or begins with a dot.
    read: Option<Box<Read>>,
}

/// What a segment is read as.
#[derive(Clone, Debug)]
struct Read {
    decoded: String,
    canonical: String,
}

impl Segment<'_> {
    /// Percent-decoded; this is what is judged.
    pub fn decoded(&self) -> &str {
        self.read.as_ref().map_or(self.raw, |read| &read.decoded)
    }

    /// Canonical spelling; this is what is sent.
    pub fn canonical(&self) -> &str {
        self.read.as_ref().map_or(self.raw, |read| &read.canonical)
    }
}

/// As it is judged.
impl AsRef<str> for Segment<'_> {
    fn as_ref(&self) -> &str {
        self.decoded()
    }
}

/// Reads a path (it starts with `/`) into its segments. `/` alone has none.
pub fn read_path(path: &str) -> Result<Vec<Segment<'_>>, Ambiguous> {
    let rest = path.strip_prefix('/').ok_or(Ambiguous::BadByte)?;
    if rest.is_empty() {
        return Ok(Vec::new());
    }
    let mut segments = Vec::with_capacity(8);
    let (bytes, mut begin) = (rest.as_bytes(), 0);
    loop {
        // Segments are short: one walk over the bytes costs less than a search for each slash.
        let (mut at, mut plain) = (begin, true);
        while at < bytes.len() && bytes[at] != b'/' {
            plain &= is_plain(bytes[at]);
            at += 1;
        }
        if segments.len() == MAX_SEGMENTS {
            return Err(Ambiguous::TooManyParts);
        }
        let raw = &rest[begin..at];
        // There is nothing to decode in most segments.
        let stands_for_itself = plain && at > begin && bytes[begin] != b'.';
        segments.push(Segment { raw, read: if stands_for_itself { None } else { Some(read_segment(raw)?) } });
        if at == bytes.len() {
            return Ok(segments);
        }
        begin = at + 1;
    }
}

fn read_segment(raw: &str) -> Result<Box<Read>, Ambiguous> {
    if raw.is_empty() {
        return Err(Ambiguous::EmptySegment);
    }
    let read = decode_segment(raw)?;
    if matches!(&*read.decoded, "." | "..") {
        return Err(Ambiguous::DotSegment);
    }
    Ok(Box::new(read))
}

fn decode_segment(raw: &str) -> Result<Read, Ambiguous> {
    let bytes = raw.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut canonical = String::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        if byte == b'%' {
            let value = escape(bytes, at).ok_or(Ambiguous::BadEscape)?;
            judge_escaped(value, &bytes[at + 3..])?;
            decoded.push(value);
            push_canonical(&mut canonical, value);
            at += 3;
        } else {
            judge_raw(byte)?;
            decoded.push(byte);
            canonical.push(char::from(byte));
            at += 1;
        }
    }
    let decoded = text_of(decoded)?;
    Ok(Read { decoded, canonical })
}

fn judge_escaped(value: u8, rest: &[u8]) -> Result<(), Ambiguous> {
    match value {
        b'/' => Err(Ambiguous::EncodedSlash),
        b'\\' => Err(Ambiguous::Backslash),
        b';' => Err(Ambiguous::Semicolon),
        b'%' if starts_like_an_escape(rest) => Err(Ambiguous::DoubleEncoding),
        0..0x20 | 0x7f => Err(Ambiguous::Control),
        _ => Ok(()),
    }
}

/// Whether what follows a decoded `%` reads as two hex digits, themselves plain or percent-encoded.
fn starts_like_an_escape(rest: &[u8]) -> bool {
    let mut at = 0;
    for _ in 0..2 {
        let (byte, len) = match rest.get(at) {
            Some(b'%') => match escape(rest, at) {
                Some(value) => (value, 3),
                None => return false,
            },
            Some(&byte) => (byte, 1),
            None => return false,
        };
        if !byte.is_ascii_hexdigit() {
            return false;
        }
        at += len;
    }
    true
}

fn judge_raw(byte: u8) -> Result<(), Ambiguous> {
    match byte {
        b'\\' => Err(Ambiguous::Backslash),
        b';' => Err(Ambiguous::Semicolon),
        0..0x20 | 0x7f => Err(Ambiguous::Control),
        byte if is_plain(byte) => Ok(()),
        _ => Err(Ambiguous::BadByte),
    }
}

/// RFC 3986 `pchar` without percent-escapes and without `;`.
fn is_plain(byte: u8) -> bool {
    PLAIN[usize::from(byte)]
}

/// A table: this is asked for every byte of every path.
static PLAIN: [bool; 256] = plain();

const fn plain() -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 0x80 {
        table[byte as usize] = is_unreserved(byte)
            || matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@');
        byte += 1;
    }
    table
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// The byte that `%XX` at this place stands for.
fn escape(bytes: &[u8], at: usize) -> Option<u8> {
    let high = char::from(*bytes.get(at + 1)?).to_digit(16)?;
    let low = char::from(*bytes.get(at + 2)?).to_digit(16)?;
    u8::try_from(high * 16 + low).ok()
}

/// Unreserved characters stand for themselves, everything else stays encoded, in upper case.
fn push_canonical(out: &mut String, value: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    if is_unreserved(value) {
        out.push(char::from(value));
    } else {
        out.push('%');
        out.push(char::from(DIGITS[usize::from(value >> 4)]));
        out.push(char::from(DIGITS[usize::from(value & 15)]));
    }
}

/// One `name=value` of a query. `raw` is what goes upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair<'a> {
    /// Decoded name (`+` is a space).
    pub name: Cow<'a, str>,
    /// Decoded value (`+` is a space); empty when there is no `=`.
    pub value: Cow<'a, str>,
    /// The pair as it came.
    pub raw: &'a str,
}

/// Reads a query (without its `?`) into pairs. Empty pairs (`a&&b`) are dropped: they carry nothing.
pub fn read_query(query: &str) -> Result<Vec<Pair<'_>>, Ambiguous> {
    let mut pairs = Vec::new();
    for raw in query.split('&').filter(|raw| !raw.is_empty()) {
        if pairs.len() == MAX_PAIRS {
            return Err(Ambiguous::TooManyParts);
        }
        let (name, value) = raw.split_once('=').unwrap_or((raw, ""));
        pairs.push(Pair { name: decode_form(name)?, value: decode_form(value)?, raw });
    }
    Ok(pairs)
}

fn decode_form(text: &str) -> Result<Cow<'_, str>, Ambiguous> {
    if text.bytes().all(|b| is_plain(b) && b != b'+') {
        return Ok(Cow::Borrowed(text));
    }
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'%' => {
                let value = escape(bytes, at).ok_or(Ambiguous::BadEscape)?;
                if value < 0x20 || value == 0x7f {
                    return Err(Ambiguous::Control);
                }
                decoded.push(value);
                at += 2;
            }
            b'+' => decoded.push(b' '),
            b'/' | b'?' | b'[' | b']' | b'|' => decoded.push(bytes[at]),
            byte => {
                judge_raw(byte)?;
                decoded.push(byte);
            }
        }
        at += 1;
    }
    text_of(decoded).map(Cow::Owned)
}

/// C1 controls exist only as two bytes of UTF-8, so they are seen here and not byte by byte.
fn text_of(decoded: Vec<u8>) -> Result<String, Ambiguous> {
    let text = String::from_utf8(decoded).map_err(|_| Ambiguous::NotUtf8)?;
    if text.chars().any(char::is_control) { Err(Ambiguous::Control) } else { Ok(text) }
}

#[cfg(test)]
mod tests;
