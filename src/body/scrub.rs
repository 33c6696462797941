//! The real key never reaches an integration, not even when the upstream echoes it.
//!
//! A [`Scrubber`] knows the spellings of a key, or of several secrets: raw (in either case), JSON-escaped, percent-encoded (reserved bytes only or every byte, in
//! either case, and any mixture of the two), and Base64 in both alphabets at each of the three alignments. What matches is
//! overwritten with `x`, so lengths stay as announced. A [`Scrub`] is the state of one stream: it finds spellings that lie across chunk borders.
//!
//! The automaton that looks through replies knows the first bytes of each spelling and no more; the rest is compared with
//! the spellings themselves, which lie where the caller keeps secrets. So the key stands in no automaton, in no form.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, AhoCorasickKind, Input, MatchKind};
use bytes::{Bytes, BytesMut};

use super::sieve::{self, Sieve};
use super::spellings::{Text, room, spellings};

/// How much of a spelling the automaton knows, bytes: as much as its fast search looks at, so that more would gain nothing.
const BEGINNING: usize = 4;

/// Knows the spellings of a key, or of several secrets.
pub struct Scrubber {
    /// Finds where spellings may begin.
    searcher: AhoCorasick,
    /// Tells where they cannot be; there is none when a key is short.
    sieve: Option<Sieve>,
    spellings: Vec<Bytes>,
    shortest: usize,
    /// Whether a byte begins a spelling.
    first: [bool; 256],
    longest: usize,
    /// Finds where the key may begin in text whose percent-escapes were undone, whatever bytes of it were escaped.
    plain: AhoCorasick,
    keys: Vec<Bytes>,
}

/// A text with its percent-escapes undone. The key may be in it.
struct Unescaped {
    bytes: Text,
    /// Where each byte began, and at the end where the text ends.
    starts: Vec<usize>,
}

impl Unescaped {
    fn new(text: &[u8]) -> Self {
        let (mut bytes, mut starts) = (room(text.len()), Vec::with_capacity(text.len() + 1));
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
    /// For a key, or for several secrets none of which may be seen. `keep` copies bytes to where secrets are kept. `None` when
    /// one is too short to be told from ordinary text; the vault takes no such key.
    pub fn new(keys: &[&[u8]], keep: impl FnOnce(&[u8]) -> Bytes) -> Option<Self> {
        if keys.is_empty() || keys.iter().any(|key| key.len() < 8) {
            return None;
        }
        let texts: Vec<Text> = keys.iter().flat_map(|key| spellings(key)).collect();
        let lengths = || texts.iter().map(|s| s.len());
        let (shortest, longest) = (lengths().min().unwrap_or(0), lengths().max().unwrap_or(0));
        let mut first = [false; 256];
        texts.iter().filter_map(|s| s.first()).for_each(|&byte| first[usize::from(byte)] = true);
        let beginnings: BTreeSet<&[u8]> = texts.iter().filter_map(|s| s.get(..BEGINNING)).collect();
        let searcher = AhoCorasick::builder()
            .kind(Some(AhoCorasickKind::DFA))
            .match_kind(MatchKind::LeftmostFirst)
            .build(beginnings)
            .ok()?;
        let starts = keys.iter().map(|key| &key[..BEGINNING]);
        let plain = AhoCorasick::builder().ascii_case_insensitive(true).build(starts).ok()?;
        let longest_key = keys.iter().map(|key| key.len()).max().unwrap_or(0);
        let Kept { keys, spellings, sieve } = kept(keys, &texts, keep);
        let longest = longest.max(longest_key * 3);
        Some(Self { searcher, sieve, spellings, shortest, first, longest, plain, keys })
    }

    /// Whether these bytes hold the key in one of its spellings.
    pub fn finds(&self, bytes: &[u8]) -> bool {
        self.spelling(bytes, 0).is_some() || self.finds_escaped(bytes)
    }

    fn finds_escaped(&self, bytes: &[u8]) -> bool {
        memchr::memchr(b'%', bytes).is_some() && self.key(&Unescaped::new(bytes).bytes, 0).is_some()
    }

    /// The first spelling at or behind `from`, the longest of those that begin there.
    fn spelling(&self, bytes: &[u8], from: usize) -> Option<Range<usize>> {
        if bytes.len() < from + self.shortest {
            return None;
        }
        let Some(sieve) = &self.sieve else { return self.spelling_within(bytes, from) };
        let mut next = from;
        while let Some(word) = sieve.next(bytes, next) {
            // Whatever has this word in it stands in here. What begins behind it has a word of its own.
            let begin = from.max((word + 1).saturating_sub(self.longest));
            let end = bytes.len().min(word + self.longest);
            let found = self.spelling_within(&bytes[..end], begin).filter(|found| found.start <= word);
            if found.is_some() {
                return found;
            }
            next = sieve.behind(word);
        }
        None
    }

    /// The same, by a look at every byte.
    fn spelling_within(&self, bytes: &[u8], from: usize) -> Option<Range<usize>> {
        candidates(&self.searcher, bytes, from).find_map(|at| {
            let rest = &bytes[at..];
            let fitting = self.spellings.iter().filter(|spelling| rest.starts_with(spelling));
            fitting.map(Bytes::len).max().map(|length| at..at + length)
        })
    }

    /// The first key at or behind `from`, in either case; the longest of those that begin there.
    fn key(&self, bytes: &[u8], from: usize) -> Option<Range<usize>> {
        candidates(&self.plain, bytes, from).find_map(|at| {
            let stands = |key: &&Bytes| bytes.get(at..at + key.len()).is_some_and(|it| it.eq_ignore_ascii_case(key));
            self.keys.iter().filter(stands).map(Bytes::len).max().map(|length| at..at + length)
        })
    }

    /// Overwrites every spelling in a whole text; says how many there were. Untouched bytes are not copied.
    pub fn whole(&self, bytes: Bytes) -> (Bytes, u32) {
        if !self.finds(&bytes) {
            return (bytes, 0);
        }
        // In place where nobody else holds it, so that no other copy of the key is left behind.
        let mut copy = bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        let count = self.overwrite(&mut copy);
        (copy.freeze(), count)
    }

    fn overwrite(&self, bytes: &mut [u8]) -> u32 {
        let (mut count, mut from) = (0, 0);
        while let Some(found) = self.spelling(bytes, from) {
            from = found.end;
            bytes[found].fill(b'x');
            count += 1;
        }
        if self.finds_escaped(bytes) {
            let text = Unescaped::new(bytes);
            let mut from = 0;
            while let Some(found) = self.key(&text.bytes, from) {
                from = found.end;
                bytes[text.starts[found.start]..text.starts[found.end]].fill(b'x');
                count += 1;
            }
        }
        count
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
            let mut longer = self.keys.iter().filter(|key| rest.len() < key.len());
            longer.any(|key| key[..rest.len()].eq_ignore_ascii_case(rest))
        };
        let open = (0..text.bytes.len()).find(begins).map(|at| text.starts[at]);
        open.or((cut < tail.len()).then_some(cut))
    }
}

/// Where something may begin.
fn candidates(by: &AhoCorasick, bytes: &[u8], mut from: usize) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let found = by.find(Input::new(bytes).range(from..))?;
        from = found.start() + 1;
        Some(found.start())
    })
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
        let mut border = room(carried.len() + near);
        border.extend_from_slice(&carried);
        border.extend_from_slice(&chunk[..near]);
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

/// What stands where secrets are kept.
struct Kept {
    keys: Vec<Bytes>,
    spellings: Vec<Bytes>,
    sieve: Option<Sieve>,
}

/// Keys, spellings and the sieve's set, side by side in one piece of that memory.
fn kept(keys: &[&[u8]], spellings: &[Text], keep: impl FnOnce(&[u8]) -> Bytes) -> Kept {
    let stride = sieve::stride(spellings);
    let set = stride.map_or_else(|| room(0), |stride| sieve::set(spellings, stride));
    let all: Vec<&[u8]> = keys.iter().copied().chain(spellings.iter().map(|s| s.as_slice())).collect();
    let mut side_by_side = room(all.iter().map(|text| text.len()).sum::<usize>() + set.len());
    for text in all.iter().chain([&&set[..]]) {
        side_by_side.extend_from_slice(text);
    }
    let mut rest = keep(&side_by_side);
    let mut parts: Vec<Bytes> = all.iter().map(|text| rest.split_to(text.len())).collect();
    let spellings = parts.split_off(keys.len());
    Kept { keys: parts, spellings, sieve: stride.map(|stride| Sieve::new(rest, stride)) }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::super::spellings::{dotnet_escaped, percent};
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
            let scrubber = Arc::new(Scrubber::new(&[key], Bytes::copy_from_slice).unwrap());
            let mut texts = vec![key.to_vec(), percent(key, false, true).to_vec(), percent(key, true, false).to_vec()];
            texts.extend((0..3).map(|n| STANDARD.encode([&b"abc"[..n], key, b"rest"].concat()).into_bytes()));
            let mixed: String = key
                .iter()
                .enumerate()
                .map(|(n, b)| if n % 3 == 0 { format!("%{b:02x}") } else { char::from(*b).to_string() })
                .collect();
            texts.push(mixed.into_bytes());
            texts.push(dotnet_escaped(key).to_vec());
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
    fn each_of_several_secrets_is_cut_out_alone_and_together() {
        let (user, password) = ("ck_0123456789abcdef", "cs_fedcba9876543210");
        let pair = format!("{user}:{password}");
        let scrubber =
            Arc::new(Scrubber::new(&[pair.as_bytes(), password.as_bytes()], Bytes::copy_from_slice).unwrap());
        for secret in [pair, password.to_owned(), password.replace('_', "%5F"), STANDARD.encode(password)] {
            let whole = format!("a {secret} b {}", " ".repeat(400)).into_bytes();
            for at in 0..=whole.len() {
                let (clean, count) = stream(&scrubber, &[&whole[..at], &whole[at..]]);
                assert_eq!((clean.len(), count), (whole.len(), 1), "{at}: {secret}");
                assert!(!scrubber.finds(&clean));
            }
        }
        assert!(Scrubber::new(&[b"long enough", b"short"], Bytes::copy_from_slice).is_none());
    }

    #[test]
    fn a_short_key_has_no_scrubber() {
        assert!(Scrubber::new(&[b"1234567"], Bytes::copy_from_slice).is_none());
    }

    proptest! {
        /// What the sieve lets pass must be found wherever it begins, and nothing else.
        #[test]
        fn the_sieve_misses_nothing_that_a_look_at_every_byte_finds(
            key in "[a-zA-Z0-9+/%\"-]{8,60}", parts in proptest::collection::vec("[a-f0-9 \"%]{0,70}", 1..6), choice in any::<usize>(),
            from in 0usize..80,
        ) {
            let scrubber = Scrubber::new(&[key.as_bytes()], Bytes::copy_from_slice).unwrap();
            let spelling = &scrubber.spellings[choice % scrubber.spellings.len()];
            let text = parts.iter().map(String::as_bytes).collect::<Vec<_>>().join(&spelling[..]);
            prop_assert_eq!(scrubber.spelling(&text, from), scrubber.spelling_within(&text, from.min(text.len())));
            if parts.len() > 1 {
                prop_assert!(scrubber.spelling(&text, 0).is_some());
            }
        }

        #[test]
        fn text_without_the_key_passes_unchanged_and_with_it_is_clean(
            parts in proptest::collection::vec("[a-f0-9]{0,30}", 1..8),
            cuts in proptest::collection::vec(0usize..400, 0..6),
        ) {
            let scrubber = Arc::new(Scrubber::new(&[KEY], Bytes::copy_from_slice).unwrap());
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
