//! Finds scoped keys and values that look like API keys in a stream of bytes, whatever else the bytes are.
//!
//! Most bytes are never looked at: a run of 40 hex digits must cover one of every 40 positions, so only those are tested, and
//! scoped keys are found by their first three characters. A stream is taken in pieces of any size; memory does not grow
//! with it.

use std::io::{self, Read};

use memchr::{memchr_iter, memmem, memrchr};

use crate::policy::scoped_key;

/// Length of an API key as ChannelEngine makes them: hex digits.
pub(super) const HEX: usize = 40;
/// Read at once, bytes.
const PIECE: usize = 256 * 1024;
/// What must lie behind a place before it can be judged: the longest key and one more byte.
const AHEAD: usize = 64;
/// What of the past is kept for the words before a value.
const BEHIND: usize = 160;

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    /// A scoped key of a gate; its checksum fits.
    ScopedKey,
    /// Forty hex digits.
    ApiKey,
    /// Forty hex digits where the words around them say that they are the hash of something.
    Hash,
}

/// A value that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hit {
    pub(super) kind: Kind,
    /// Counted from 1.
    pub(super) line: u64,
    /// In bytes, counted from 1.
    pub(super) column: u64,
    /// What may be shown of it.
    pub(super) masked: String,
    /// SHA-256 of it, and for hex digits of their small form: enough to tell whose it is.
    pub(super) sha256: [u8; 32],
}

/// Words near forty hex digits that say that they are no key. Compared in lower case.
const HASH_WORDS: [&str; 12] =
    ["sha1", "sha-1", "commit", "revision", "checksum", "digest", "etag", "integrity", "blob", "tree", "parent", "git"];
/// Words that say that they are one; they beat the others.
const KEY_WORDS: [&str; 7] = ["key", "token", "secret", "auth", "credential", "password", "channelengine"];

/// Looks through a stream to its end. Hands the count of bytes back.
pub(super) fn look_through(source: &mut impl Read, buffer: &mut Vec<u8>, hit: &mut dyn FnMut(Hit)) -> io::Result<u64> {
    let (mut state, mut length, mut total) = (State::default(), 0, 0_u64);
    buffer.resize(PIECE + AHEAD + BEHIND, 0);
    loop {
        let count = match source.read(&mut buffer[length..]) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        length += count;
        total += count as u64;
        let decided = if count == 0 { length } else { length.saturating_sub(AHEAD) };
        state.judge(&buffer[..length], decided, hit);
        if count == 0 {
            return Ok(total);
        }
        let keep = decided.saturating_sub(BEHIND);
        state.forget(&buffer[..keep]);
        buffer.copy_within(keep..length, 0);
        length -= keep;
    }
}

#[derive(Default)]
struct State {
    /// Where in the buffer the undecided part begins.
    from: usize,
    /// Lines that ended before the buffer.
    lines: u64,
    /// Bytes of the present line before the buffer.
    before: u64,
}

impl State {
    /// Reports what begins between `self.from` and `decided`, in order.
    fn judge(&mut self, bytes: &[u8], decided: usize, hit: &mut dyn FnMut(Hit)) {
        let mut found = scoped_keys(bytes, self.from, decided);
        found.extend(hex_runs(bytes, self.from, decided));
        found.sort_unstable_by_key(|(at, ..)| *at);
        for (at, length, kind) in found {
            hit(self.describe(bytes, at, length, kind));
        }
        self.from = decided;
    }

    /// These bytes leave the buffer's front.
    fn forget(&mut self, bytes: &[u8]) {
        self.from -= bytes.len();
        self.lines += memchr_iter(b'\n', bytes).count() as u64;
        self.before = match memrchr(b'\n', bytes) {
            Some(last) => (bytes.len() - last - 1) as u64,
            None => self.before + bytes.len() as u64,
        };
    }

    fn describe(&self, bytes: &[u8], at: usize, length: usize, kind: Kind) -> Hit {
        let value = &bytes[at..at + length];
        let column = match memrchr(b'\n', &bytes[..at]) {
            Some(last) => (at - last) as u64,
            None => self.before + at as u64 + 1,
        };
        // Whose it is, is told by the form in which keys are stored.
        let small = if kind == Kind::ScopedKey { value.to_vec() } else { value.to_ascii_lowercase() };
        let shown = if kind == Kind::ScopedKey { 7 } else { 4 };
        Hit {
            kind,
            line: self.lines + memchr_iter(b'\n', &bytes[..at]).count() as u64 + 1,
            column,
            masked: format!("{}…", String::from_utf8_lossy(&value[..shown])),
            sha256: scoped_key::sha256(&small),
        }
    }
}

type Found = (usize, usize, Kind);

fn scoped_keys(bytes: &[u8], from: usize, decided: usize) -> Vec<Found> {
    let end = bytes.len().min(decided + scoped_key::LENGTH);
    let places = memmem::find_iter(&bytes[from..end], b"kg_").map(|at| from + at).filter(|at| *at < decided);
    let whole = |at: &usize| bytes.get(*at..at + scoped_key::LENGTH).is_some_and(|it| scoped_key::check(it).is_ok());
    places.filter(whole).map(|at| (at, scoped_key::LENGTH, Kind::ScopedKey)).collect()
}

/// Runs of exactly forty hex digits that are no part of a longer word.
fn hex_runs(bytes: &[u8], from: usize, decided: usize) -> Vec<Found> {
    let mut found = Vec::new();
    // The last of the first forty: if it is no hex digit, no run begins before it that reaches beyond.
    let mut at = from + HEX - 1;
    while at < bytes.len() && at < decided + HEX - 1 {
        if !is_hex(bytes[at]) {
            at += HEX;
            continue;
        }
        let (mut start, mut end) = (at, at + 1);
        // Further back it is longer than a key, wherever it begins.
        while start > 0 && at - start <= HEX && is_hex(bytes[start - 1]) {
            start -= 1;
        }
        while end < bytes.len() && is_hex(bytes[end]) {
            end += 1;
        }
        let alone = |byte: Option<&u8>| byte.is_none_or(|byte| !byte.is_ascii_alphanumeric());
        let fits = end - start == HEX && (from..decided).contains(&start);
        if fits && alone(start.checked_sub(1).and_then(|at| bytes.get(at))) && alone(bytes.get(end)) {
            found.push((start, HEX, what_hex_is(bytes, start)));
        }
        at = end + HEX;
    }
    found
}

/// By a table: whether a digit or a letter comes next is a guess that processors lose every other time.
fn is_hex(byte: u8) -> bool {
    const TABLE: [bool; 256] = {
        let mut table = [false; 256];
        let mut byte = 0_u8;
        while byte < 128 {
            table[byte as usize] = byte.is_ascii_hexdigit();
            byte += 1;
        }
        table
    };
    TABLE[usize::from(byte)]
}

/// By the words before it in its line. Without a word it counts as a key: better one look too many.
fn what_hex_is(bytes: &[u8], at: usize) -> Kind {
    let before = &bytes[at.saturating_sub(BEHIND / 2)..at];
    let line = &before[memrchr(b'\n', before).map_or(0, |last| last + 1)..];
    let words = line.to_ascii_lowercase();
    let has = |list: &[&str]| list.iter().any(|word| memmem::find(&words, word.as_bytes()).is_some());
    if !has(&KEY_WORDS) && has(&HASH_WORDS) { Kind::Hash } else { Kind::ApiKey }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::scoped_key::ScopedKey;

    const KEY: &str = "5f2b6c9e0a1d4c3b8e7f60718293a4b5c6d7e8f9";

    /// A reader that hands out so many bytes at a time.
    struct Drops<'a>(&'a [u8], usize);

    impl Read for Drops<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let count = self.0.len().min(self.1).min(into.len());
            let (now, later) = self.0.split_at(count);
            into[..count].copy_from_slice(now);
            self.0 = later;
            Ok(count)
        }
    }

    fn found(bytes: &[u8], at_once: usize) -> Vec<Hit> {
        let mut all = Vec::new();
        let read = look_through(&mut Drops(bytes, at_once), &mut Vec::new(), &mut |hit| all.push(hit)).unwrap();
        assert_eq!(read, bytes.len() as u64);
        all
    }

    #[test]
    fn each_value_is_told_with_its_place_and_never_shown() {
        let scoped = ScopedKey::from_random([7; 32]);
        let text = format!("first\nkey={KEY}&x\n\u{e9}: {}\n{}", scoped.expose(), KEY.to_uppercase());
        let all = found(text.as_bytes(), usize::MAX);
        let places: Vec<_> = all.iter().map(|hit| (hit.kind, hit.line, hit.column)).collect();
        assert_eq!(places, [(Kind::ApiKey, 2, 5), (Kind::ScopedKey, 3, 5), (Kind::ApiKey, 4, 1)]);
        assert_eq!(all[1].masked, format!("{}…", &scoped.expose()[..7]));
        assert_eq!(all[1].sha256, scoped.sha256());
        assert!(all[0].sha256 == all[2].sha256, "capitals make no difference to whose it is");
    }

    #[test]
    fn what_is_longer_shorter_or_part_of_a_word_is_no_key() {
        let scoped = ScopedKey::from_random([7; 32]);
        for text in [
            format!("{KEY}0"),
            KEY[1..].to_owned(),
            format!("g{KEY}"),
            format!("{KEY}z"),
            scoped.expose().to_lowercase(),
            scoped.expose()[..51].to_owned(),
            "kg_".repeat(100),
            "f".repeat(100_000),
        ] {
            assert_eq!(found(text.as_bytes(), 1000), [], "{text}");
        }
    }

    #[test]
    fn the_words_before_forty_digits_tell_a_hash_from_a_key() {
        for (text, kind) in [
            ("commit ", Kind::Hash),
            ("sha1:", Kind::Hash),
            ("\"etag\": \"", Kind::Hash),
            ("apikey=", Kind::ApiKey),
            ("git config key ", Kind::ApiKey),
            ("", Kind::ApiKey),
            ("commit\n", Kind::ApiKey),
        ] {
            assert_eq!(found(format!("{text}{KEY}").as_bytes(), 7)[0].kind, kind, "{text}");
        }
    }

    proptest! {
        #[test]
        fn where_a_stream_is_cut_changes_nothing(
            parts in proptest::collection::vec(("[a-z0-9 \n]{0,300}", any::<bool>()), 1..12), at_once in 1_usize..700,
        ) {
            let scoped = ScopedKey::from_random([9; 32]);
            let mut bytes = Vec::new();
            let mut planted = 0;
            for (text, hex) in &parts {
                bytes.extend_from_slice(text.as_bytes());
                bytes.extend_from_slice(format!("\u{ff}({})\0", if *hex { KEY } else { scoped.expose() }).as_bytes());
                planted += 1;
            }
            let whole = found(&bytes, usize::MAX);
            prop_assert!(whole.len() >= planted);
            prop_assert_eq!(found(&bytes, at_once), whole);
        }
    }
}
