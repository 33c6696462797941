//! One reading of a request target. What two programs could read in two ways is refused, never repaired.
//!
//! A path that passes has one meaning: the decoded segments, which are judged, and the canonical spelling, which is
//! sent. The query is split once; its pairs go upstream as they came, minus the key's slots.

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

/// One path segment: what it means, and how it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Percent-decoded; this is what is judged.
    pub decoded: Cow<'a, str>,
    /// Canonical spelling; this is what is sent.
    pub canonical: Cow<'a, str>,
}

/// As it is judged.
impl AsRef<str> for Segment<'_> {
    fn as_ref(&self) -> &str {
        &self.decoded
    }
}

/// Reads a path (it starts with `/`) into its segments. `/` alone has none.
pub fn read_path(path: &str) -> Result<Vec<Segment<'_>>, Ambiguous> {
    let rest = path.strip_prefix('/').ok_or(Ambiguous::BadByte)?;
    if rest.is_empty() {
        return Ok(Vec::new());
    }
    let mut segments = Vec::with_capacity(8);
    let (mut begin, mut plain) = (0, true);
    // Segments are short: one walk over the bytes costs less than a search for each slash.
    for (at, byte) in rest.bytes().chain([b'/']).enumerate() {
        if byte != b'/' {
            plain &= is_plain(byte);
            continue;
        }
        if segments.len() == MAX_SEGMENTS {
            return Err(Ambiguous::TooManyParts);
        }
        let raw = &rest[begin..at];
        // Made in its place: there is nothing to decode in most segments.
        segments.push(if plain && !raw.starts_with('.') && !raw.is_empty() {
            Segment { decoded: Cow::Borrowed(raw), canonical: Cow::Borrowed(raw) }
        } else {
            read_segment(raw)?
        });
        (begin, plain) = (at + 1, true);
    }
    Ok(segments)
}

fn read_segment(raw: &str) -> Result<Segment<'_>, Ambiguous> {
    if raw.is_empty() {
        return Err(Ambiguous::EmptySegment);
    }
    let segment = decode_segment(raw)?;
    if matches!(&*segment.decoded, "." | "..") {
        return Err(Ambiguous::DotSegment);
    }
    Ok(segment)
}

fn decode_segment(raw: &str) -> Result<Segment<'_>, Ambiguous> {
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
    let decoded = String::from_utf8(decoded).map_err(|_| Ambiguous::NotUtf8)?;
    // C1 controls only exist as two bytes of UTF-8, so they are seen here and not above.
    if decoded.chars().any(char::is_control) {
        return Err(Ambiguous::Control);
    }
    Ok(Segment { decoded: Cow::Owned(decoded), canonical: Cow::Owned(canonical) })
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
    String::from_utf8(decoded).map(Cow::Owned).map_err(|_| Ambiguous::NotUtf8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(path: &str) -> Result<Vec<String>, Ambiguous> {
        Ok(read_path(path)?.into_iter().map(|s| s.decoded.into_owned()).collect())
    }

    fn canonical(path: &str) -> Result<String, Ambiguous> {
        Ok(read_path(path)?.iter().fold(String::new(), |out, s| out + "/" + &s.canonical))
    }

    #[test]
    fn what_is_ambiguous_is_refused_with_its_reason() {
        for (path, why) in [
            ("/v2/a%2Fb", Ambiguous::EncodedSlash),
            ("/v2/a%2fb", Ambiguous::EncodedSlash),
            ("/v2/a\\b", Ambiguous::Backslash),
            ("/v2/a%5cb", Ambiguous::Backslash),
            ("/v2/../v2", Ambiguous::DotSegment),
            ("/v2/.", Ambiguous::DotSegment),
            ("/v2/%2e%2E/v2", Ambiguous::DotSegment),
            ("/v2/.%2e", Ambiguous::DotSegment),
            ("/v2/%252e", Ambiguous::DoubleEncoding),
            ("/v2/%25%32%65", Ambiguous::DoubleEncoding),
            ("/v2//orders", Ambiguous::EmptySegment),
            ("/v2/orders/", Ambiguous::EmptySegment),
            ("//", Ambiguous::EmptySegment),
            ("/v2/orders;a=b", Ambiguous::Semicolon),
            ("/v2/orders%3Ba", Ambiguous::Semicolon),
            ("/v2/%ff", Ambiguous::NotUtf8),
            ("/v2/%c0%af", Ambiguous::NotUtf8),
            ("/v2/%00", Ambiguous::Control),
            ("/v2/%0d%0a", Ambiguous::Control),
            ("/v2/%7F", Ambiguous::Control),
            ("/v2/%C2%85", Ambiguous::Control),
            ("/v2/%", Ambiguous::BadEscape),
            ("/v2/%4", Ambiguous::BadEscape),
            ("/v2/%zz", Ambiguous::BadEscape),
            ("/v2/%+1", Ambiguous::BadEscape),
            ("/v2/a|b", Ambiguous::BadByte),
            ("/v2/a\"b", Ambiguous::BadByte),
            ("/v2/ä", Ambiguous::BadByte),
            ("v2", Ambiguous::BadByte),
        ] {
            assert_eq!(decoded(path), Err(why), "{path}");
        }
    }

    #[test]
    fn encoded_unreserved_characters_become_plain_and_the_rest_upper_case() {
        assert_eq!(canonical("/v2/%6frders/M%2d1/%c3%a4").unwrap(), "/v2/orders/M-1/%C3%A4");
        assert_eq!(canonical("/v2/a%40b/a@b").unwrap(), "/v2/a%40b/a@b");
        assert_eq!(decoded("/v2/50%25off").unwrap(), ["v2", "50%off"]);
    }

    #[test]
    fn a_query_is_split_once_and_keeps_its_spelling() {
        let pairs = read_query("statuses=NEW&&statuses=IN+PROGRESS&%61piKey=x&flag").unwrap();
        let names: Vec<_> = pairs.iter().map(|p| (&*p.name, &*p.value, p.raw)).collect();
        assert_eq!(
            names,
            [
                ("statuses", "NEW", "statuses=NEW"),
                ("statuses", "IN PROGRESS", "statuses=IN+PROGRESS"),
                ("apiKey", "x", "%61piKey=x"),
                ("flag", "", "flag"),
            ]
        );
        assert_eq!(read_query("a=1;apikey=2"), Err(Ambiguous::Semicolon));
        assert_eq!(read_query("a=%00"), Err(Ambiguous::Control));
        assert_eq!(read_query("a=%f"), Err(Ambiguous::BadEscape));
    }

    /// Re-encodes every byte that `mask` selects.
    fn reencode(path: &str, mask: &[bool]) -> String {
        path.bytes()
            .zip(mask.iter().cycle())
            .map(|(b, on)| if *on && b != b'/' { format!("%{b:02x}") } else { char::from(b).to_string() })
            .collect()
    }

    proptest! {
        #[test]
        fn reading_the_canonical_form_again_changes_nothing(path in "(/[ -~]{0,12}){1,6}") {
            if let Ok(once) = canonical(&path) && !once.is_empty() {
                prop_assert_eq!(canonical(&once).unwrap(), once.clone());
                prop_assert_eq!(decoded(&once).unwrap(), decoded(&path).unwrap());
            }
        }

        #[test]
        fn a_reencoded_path_is_refused_or_means_the_same(
            path in "(/[a-zA-Z0-9._~%;@!-]{1,12}){1,6}",
            mask in proptest::collection::vec(any::<bool>(), 1..40),
        ) {
            let again = reencode(&path, &mask);
            if let (Ok(first), Ok(second)) = (decoded(&path), decoded(&again)) {
                // An escape that was itself re-encoded is a double encoding and must not get here with another meaning.
                if !path.contains('%') {
                    prop_assert_eq!(first, second);
                }
            }
        }

        #[test]
        fn no_accepted_segment_holds_what_a_second_decoder_would_change(path in "(/[ -~]{1,16}){1,5}") {
            for segment in decoded(&path).unwrap_or_default() {
                prop_assert!(!segment.contains(['/', '\\', ';']));
                prop_assert!(segment != "." && segment != ".." && !segment.is_empty());
                let twice = read_path(&format!("/{}", segment.replace(' ', "%20"))).map(|s| s[0].decoded.clone().into_owned());
                if segment.contains('%') && let Ok(twice) = twice {
                    prop_assert_eq!(twice, segment.clone());
                }
            }
        }
    }
}
