//! The real key never reaches an integration, not even when the upstream echoes it.
//!
//! A [`Scrubber`] knows the spellings of one key: raw (in either case), JSON-escaped, percent-encoded (reserved bytes only or every byte, in
//! either case, and any mixture of the two), and Base64 in both alphabets at each of the three alignments. What matches is
//! overwritten with `x`, so lengths stay as announced. A [`Scrub`] is the state of one stream: it finds spellings that lie across chunk borders.

use std::sync::Arc;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use bytes::{Bytes, BytesMut};
use zeroize::Zeroizing;

/// Knows the spellings of one key.
pub struct Scrubber {
    searcher: AhoCorasick,
    spellings: Vec<Zeroizing<Vec<u8>>>,
    /// Whether a byte begins a spelling.
    first: [bool; 256],
    longest: usize,
    /// Finds the key in text whose percent-escapes were undone, whatever bytes of it were escaped.
    plain: AhoCorasick,
    key: Zeroizing<Vec<u8>>,
}

/// A text with its percent-escapes undone.
struct Unescaped {
    bytes: Vec<u8>,
    /// Where each byte began, and at the end where the text ends.
    starts: Vec<usize>,
}

impl Unescaped {
    fn new(text: &[u8]) -> Self {
        let (mut bytes, mut starts) = (Vec::with_capacity(text.len()), Vec::with_capacity(text.len() + 1));
        let mut at = 0;
        while at < text.len() {
            starts.push(at);
            let value = (text[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten().and_then(hex_pair);
            bytes.push(value.unwrap_or(text[at]));
            at += if value.is_some() { 3 } else { 1 };
        }
        starts.push(at);
        Self { bytes, starts }
    }
}

fn hex_pair(pair: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()
}

impl Scrubber {
    /// For one key. `None` when the key is too short to be told from ordinary text; the vault takes no such key.
    pub fn new(key: &[u8]) -> Option<Self> {
        if key.len() < 8 {
            return None;
        }
        let spellings = spellings(key);
        let longest = spellings.iter().map(|s| s.len()).max().unwrap_or(0);
        let mut first = [false; 256];
        spellings.iter().filter_map(|s| s.first()).for_each(|&byte| first[usize::from(byte)] = true);
        let searcher = AhoCorasick::builder()
            .kind(Some(AhoCorasickKind::DFA))
            .match_kind(MatchKind::LeftmostLongest)
            .ascii_case_insensitive(false)
            .build(spellings.iter().map(|s| s.as_slice()))
            .ok()?;
        let plain = AhoCorasick::builder().ascii_case_insensitive(true).build([key]).ok()?;
        Some(Self {
            searcher,
            spellings,
            first,
            longest: longest.max(key.len() * 3),
            plain,
            key: Zeroizing::new(key.to_vec()),
        })
    }

    /// Whether these bytes hold the key in one of its spellings.
    pub fn finds(&self, bytes: &[u8]) -> bool {
        self.searcher.is_match(bytes) || self.finds_escaped(bytes)
    }

    fn finds_escaped(&self, bytes: &[u8]) -> bool {
        memchr::memchr(b'%', bytes).is_some() && self.plain.is_match(&Unescaped::new(bytes).bytes)
    }

    /// Overwrites every spelling in a whole text; says how many there were. Untouched bytes are not copied.
    pub fn whole(&self, bytes: Bytes) -> (Bytes, u32) {
        if !self.finds(&bytes) {
            return (bytes, 0);
        }
        let mut copy = BytesMut::from(&bytes[..]);
        let count = self.overwrite(&mut copy);
        (copy.freeze(), count)
    }

    fn overwrite(&self, bytes: &mut [u8]) -> u32 {
        let found: Vec<_> = self.searcher.find_iter(&*bytes).map(|m| m.range()).collect();
        for range in &found {
            bytes[range.clone()].fill(b'x');
        }
        let mut count = found.len();
        if self.finds_escaped(bytes) {
            let text = Unescaped::new(bytes);
            for found in self.plain.find_iter(&text.bytes) {
                bytes[text.starts[found.start()]..text.starts[found.end()]].fill(b'x');
                count += 1;
            }
        }
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// How many bytes at the end could be the beginning of a spelling.
    fn open_end(&self, bytes: &[u8]) -> usize {
        let from = bytes.len().saturating_sub(self.longest.saturating_sub(1));
        let literal = (from..bytes.len()).find(|&at| {
            let tail = &bytes[at..];
            self.first[usize::from(tail[0])]
                && self.spellings.iter().any(|s| s.len() > tail.len() && s.starts_with(tail))
        });
        let escaped = memchr::memchr(b'%', &bytes[from..]).and_then(|_| self.open_escaped(&bytes[from..]));
        let open = literal.into_iter().chain(escaped.map(|at| from + at)).min();
        open.map_or(0, |at| bytes.len() - at)
    }

    /// Where the beginning of a partly escaped key, or of an escape, stands at the end.
    fn open_escaped(&self, tail: &[u8]) -> Option<usize> {
        // An escape that is cut in two says nothing yet: what stands before it is judged, and it is carried along.
        let near = tail.len().saturating_sub(2);
        let cut = memchr::memchr(b'%', &tail[near..]).map_or(tail.len(), |at| near + at);
        let text = Unescaped::new(&tail[..cut]);
        let begins = |at: &usize| {
            let rest = &text.bytes[*at..];
            self.key
                .get(..rest.len())
                .is_some_and(|start| rest.len() < self.key.len() && start.eq_ignore_ascii_case(rest))
        };
        let open = (0..text.bytes.len()).find(begins).map(|at| text.starts[at]);
        open.or((cut < tail.len()).then_some(cut))
    }
}

/// The state of one reply stream.
pub struct Scrub {
    scrubber: Arc<Scrubber>,
    /// The end of what came last, which could begin a spelling.
    carried: Bytes,
    count: u32,
}

/// What is known to be clean, in order. Mostly one of the two is empty.
pub type Clean = [Bytes; 2];

impl Scrub {
    /// At the beginning of a stream.
    pub fn new(scrubber: Arc<Scrubber>) -> Self {
        Self { scrubber, carried: Bytes::new(), count: 0 }
    }

    /// Takes a chunk in, gives back what is known to be clean (perhaps nothing yet). A clean chunk is not copied.
    pub fn next(&mut self, chunk: Bytes) -> Clean {
        let [before, mut clean] = self.join(chunk);
        let open = self.scrubber.open_end(&clean);
        self.carried = clean.split_off(clean.len() - open);
        [before, clean]
    }

    /// What was carried when the stream ended: the beginning of a spelling that was none.
    pub fn end(&mut self) -> Bytes {
        std::mem::take(&mut self.carried)
    }

    /// How often the key was cut out so far.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// What was carried, and the chunk behind it: apart where no spelling lies across their border, else as one.
    fn join(&mut self, chunk: Bytes) -> Clean {
        let carried = std::mem::take(&mut self.carried);
        if carried.is_empty() {
            return [carried, self.cut_out(chunk)];
        }
        let near = chunk.len().min(self.scrubber.longest);
        let border = [&carried[..], &chunk[..near]].concat();
        if near == chunk.len() || self.scrubber.finds(&border) {
            let whole = [&carried[..], &chunk[..]].concat();
            return [Bytes::new(), self.cut_out(whole.into())];
        }
        [carried, self.cut_out(chunk)]
    }

    fn cut_out(&mut self, bytes: Bytes) -> Bytes {
        let (clean, count) = self.scrubber.whole(bytes);
        self.count = self.count.saturating_add(count);
        clean
    }
}

fn spellings(key: &[u8]) -> Vec<Zeroizing<Vec<u8>>> {
    // A key of hex digits is as often written in capitals.
    let mut all = vec![key.to_vec(), key.to_ascii_uppercase(), key.to_ascii_lowercase()];
    all.extend([json_escaped(key, false), json_escaped(key, true), dotnet_escaped(key)]);
    for escape_all in [false, true] {
        for upper in [false, true] {
            all.push(percent(key, escape_all, upper));
        }
    }
    for shift in 0..3 {
        all.push(base64_core(key, shift, &STANDARD_NO_PAD));
        all.push(base64_core(key, shift, &URL_SAFE_NO_PAD));
    }
    all.sort();
    all.dedup();
    all.into_iter().map(Zeroizing::new).collect()
}

fn json_escaped(key: &[u8], slash: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + 8);
    for &byte in key {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'/' if slash => out.extend_from_slice(b"\\/"),
            _ => out.push(byte),
        }
    }
    out
}

/// As .NET's own JSON writer does by default.
fn dotnet_escaped(key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + 16);
    for &byte in key {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'"' | b'&' | b'\'' | b'+' | b'<' | b'>' | b'`' => {
                out.extend_from_slice(format!("\\u{byte:04X}").as_bytes());
            }
            _ => out.push(byte),
        }
    }
    out
}

fn percent(key: &[u8], escape_all: bool, upper: bool) -> Vec<u8> {
    let digits: &[u8; 16] = if upper { b"0123456789ABCDEF" } else { b"0123456789abcdef" };
    let mut out = Vec::with_capacity(key.len() * 3);
    for &byte in key {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        if plain && !escape_all {
            out.push(byte);
        } else {
            out.extend_from_slice(&[b'%', digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]);
        }
    }
    out
}

/// The Base64 characters that depend on the key alone when `shift` other bytes stand before it in its group of three.
fn base64_core(key: &[u8], shift: usize, engine: &impl Engine) -> Vec<u8> {
    let mut padded = Zeroizing::new(vec![0; shift]);
    padded.extend_from_slice(key);
    let encoded = Zeroizing::new(engine.encode(&*padded).into_bytes());
    // Of `shift` bytes, the first `shift * 8 / 6` characters and one mixed one depend on what stands before.
    let first = (shift * 8).div_ceil(6);
    let whole = padded.len() * 8 / 6;
    encoded[first..whole].to_vec()
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::*;

    const KEY: &[u8] = b"5f2b6c9e0a1d4c3b8e7f60718293a4b5c6d7e8f9";

    fn stream(scrubber: &Arc<Scrubber>, chunks: &[&[u8]]) -> (Vec<u8>, u32) {
        let mut scrub = Scrub::new(scrubber.clone());
        let mut out = Vec::new();
        for chunk in chunks {
            out.extend(scrub.next(Bytes::copy_from_slice(chunk)).concat());
        }
        out.extend(scrub.end());
        (out, scrub.count())
    }

    #[test]
    fn every_spelling_is_found_at_every_chunk_border() {
        for key in [KEY, b"a+b/c\"d\\e f%g-1234"] {
            let scrubber = Arc::new(Scrubber::new(key).unwrap());
            let mut texts = vec![key.to_vec(), percent(key, false, true), percent(key, true, false)];
            texts.extend((0..3).map(|n| STANDARD.encode([&b"abc"[..n], key, b"rest"].concat()).into_bytes()));
            let mixed: String = key
                .iter()
                .enumerate()
                .map(|(n, b)| if n % 3 == 0 { format!("%{b:02x}") } else { char::from(*b).to_string() })
                .collect();
            texts.push(mixed.into_bytes());
            texts.push(dotnet_escaped(key));
            texts.push(serde_json::to_vec(std::str::from_utf8(key).unwrap()).unwrap());
            for text in texts {
                // Long enough behind the key that a chunk is looked at near its border only.
                let whole = [b"{\"Message\":\"API key is unknown: ", &text[..], b"\"}", &[b' '; 400]].concat();
                for at in 0..=whole.len() {
                    let (clean, count) = stream(&scrubber, &[&whole[..at], &whole[at..]]);
                    assert_eq!((clean.len(), count), (whole.len(), 1), "{at}: {}", String::from_utf8_lossy(&whole));
                    assert!(!scrubber.finds(&clean));
                }
            }
        }
    }

    #[test]
    fn a_short_key_has_no_scrubber() {
        assert!(Scrubber::new(b"1234567").is_none());
    }

    proptest! {
        #[test]
        fn text_without_the_key_passes_unchanged_and_with_it_is_clean(
            parts in proptest::collection::vec("[a-f0-9]{0,30}", 1..8),
            cuts in proptest::collection::vec(0usize..400, 0..6),
        ) {
            let scrubber = Arc::new(Scrubber::new(KEY).unwrap());
            let joined = parts.join(std::str::from_utf8(KEY).unwrap()).into_bytes();
            let mut cuts: Vec<_> = cuts.into_iter().map(|c| c.min(joined.len())).collect();
            cuts.push(joined.len());
            cuts.sort_unstable();
            let mut from = 0;
            let chunks: Vec<_> = cuts.iter().map(|&to| { let c = &joined[from..to]; from = to; c }).collect();
            let (clean, count) = stream(&scrubber, &chunks);
            prop_assert_eq!(clean.len(), joined.len());
            prop_assert!(count as usize >= parts.len() - 1);
            prop_assert!(!scrubber.finds(&clean));
        }
    }
}
