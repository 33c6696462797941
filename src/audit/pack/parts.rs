//! A call's record taken apart into what is the same for many calls and what is not.
//!
//! Four parts: who called and how, what was called, what was decided, how it ended. Of each the text with marks, and the bytes
//! that the marks stand for. What stays in a text may be kept beside the keys of many records (`pieces.rs`) and outlives a
//! record that is forgotten. So only fields that tell of the operation may: each is named here, and everything else becomes
//! bytes, or the record is none that is taken apart.

use std::net::Ipv4Addr;

use super::marks::{ADDRESS, HEAD, NUMBER, SIXTEEN, TEXT, head, hex, push_number};

const COUNT: usize = 4;
/// A longer text between two quotes is not worth it: the record is compressed.
const LONGEST: usize = 64;

/// The parts of the last record.
#[derive(Default)]
pub(super) struct Parts {
    texts: Vec<u8>,
    bytes: Vec<u8>,
    /// Where each ends, in both.
    ends: [(usize, usize); COUNT],
    /// Whether its method is GET or HEAD.
    gets: bool,
    /// Whether time was spent on an intent.
    intended: bool,
}

impl Parts {
    /// Takes a record apart. `None` when it is not that of a call to an endpoint by an integration, or has a field that cannot be
    /// taken apart.
    pub(super) fn take(&mut self, json: &[u8]) -> Option<()> {
        self.texts.clear();
        self.bytes.clear();
        // Unless it says that there was none.
        self.intended = true;
        let mut taking = Taking { json, at: 0, copied: 0, parts: self };
        taking.who()?;
        taking.cut(0);
        taking.what()?;
        taking.cut(1);
        taking.verdict()?;
        taking.cut(2);
        taking.end()?;
        taking.cut(3);
        (taking.at == json.len()).then_some(())
    }

    /// Whether the last record, when it could be taken apart, is that of a call that had no intent.
    pub(super) fn is_read(&self) -> bool {
        self.gets && !self.intended
    }

    /// Each text, and its bytes.
    pub(super) fn each(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut from = (0, 0);
        self.ends.iter().map(move |to| {
            let part = (&self.texts[from.0..to.0], &self.bytes[from.1..to.1]);
            from = *to;
            part
        })
    }
}

struct Taking<'a> {
    json: &'a [u8],
    /// What was read so far.
    at: usize,
    /// What of it is in a text, or among the bytes.
    copied: usize,
    parts: &'a mut Parts,
}

impl Taking<'_> {
    fn who(&mut self) -> Option<()> {
        let (head, behind) = head(self.json)?;
        self.parts.bytes.extend_from_slice(&head);
        self.hole(HEAD, self.json.len() - behind.len());
        (self.eats(b",\"kind\":\"call\"") || self.eats(b",\"kind\":\"intent\"")).then_some(())?;
        self.needs(b",\"integration\":\"")?;
        self.word()?;
        self.optional_word(b",\"proof\":\"")?;
        if self.eats(b",\"peer\":\"") {
            self.address()?;
        }
        if self.eats(b",\"tls\":{") {
            self.at += memchr::memchr(b'}', &self.json[self.at..])? + 1;
        }
        self.optional_word(b",\"http\":\"")
    }

    fn what(&mut self) -> Option<()> {
        self.needs(b",\"method\":\"")?;
        let from = self.at;
        self.word()?;
        self.parts.gets = matches!(&self.json[from..self.at], b"GET\"" | b"HEAD\"");
        // What is no endpoint may have any method.
        self.needs(b",\"endpoint\":\"")?;
        self.word()?;
        if self.eats(b",\"params\":[") {
            while !self.eats(b"]") {
                self.eats(b",");
                self.needs(b"[\"")?;
                self.word()?;
                self.needs(b",\"")?;
                self.value()?;
                self.needs(b"]")?;
            }
        }
        if self.eats(b",\"query\":[") {
            while !self.eats(b"]") {
                self.eats(b",");
                self.needs(b"[\"")?;
                // Its name is the client's.
                self.value()?;
                self.needs(b",\"")?;
                self.value()?;
                self.needs(b"]")?;
            }
        }
        Some(())
    }

    fn verdict(&mut self) -> Option<()> {
        self.optional_word(b",\"verdict\":\"")?;
        self.optional_word(b",\"rule\":\"")?;
        self.optional_word(b",\"refusal\":\"")?;
        if self.eats(b",\"status\":") {
            self.digits();
        }
        self.optional_word(b",\"upstream\":\"")?;
        if self.eats(b",\"upstream_status\":") {
            self.digits();
        }
        if self.eats(b",\"credential\":[\"") {
            self.credential()?;
        }
        if self.eats(b",\"retried_with\":[\"") {
            self.credential()?;
        }
        self.optional_number(b",\"limit_left\":")
    }

    fn credential(&mut self) -> Option<()> {
        self.word()?;
        self.needs(b",")?;
        self.digits();
        self.needs(b"]")
    }

    fn end(&mut self) -> Option<()> {
        self.optional_number(b",\"bytes_in\":")?;
        self.optional_number(b",\"bytes_out\":")?;
        self.optional_number(b",\"scrubbed\":")?;
        if self.eats(b",\"envelope\":{") {
            self.envelope()?;
        }
        self.optional_word(b",\"outcome\":\"")?;
        if self.eats(b",\"micros\":{\"decide\":") {
            self.number()?;
            self.needs(b",\"intent\":")?;
            self.parts.intended = self.number()? > 0;
            self.needs(b",\"upstream\":")?;
            self.number()?;
            self.needs(b",\"body\":")?;
            self.number()?;
            self.needs(b"}")?;
        }
        self.needs(b"}")
    }

    fn envelope(&mut self) -> Option<()> {
        while !self.eats(b"}") {
            self.eats(b",");
            if self.eats(b"\"success\":") {
                (self.eats(b"true") || self.eats(b"false")).then_some(())?;
            } else if self.eats(b"\"log_id\":\"") || self.eats(b"\"request_id\":\"") {
                self.value()?;
            } else {
                self.needs(b"\"rejected\":")?;
                self.number()?;
            }
        }
        Some(())
    }

    fn eats<const N: usize>(&mut self, text: &[u8; N]) -> bool {
        // Of a known length, so that no function is called for it.
        let there = self.json[self.at..].first_chunk() == Some(text);
        self.at += if there { N } else { 0 };
        there
    }

    fn needs<const N: usize>(&mut self, text: &[u8; N]) -> Option<()> {
        self.eats(text).then_some(())
    }

    /// Keeps a text up to its quote, and the quote.
    fn word(&mut self) -> Option<()> {
        self.at += memchr::memchr(b'"', &self.json[self.at..])? + 1;
        Some(())
    }

    fn optional_word<const N: usize>(&mut self, before: &[u8; N]) -> Option<()> {
        if self.eats(before) { self.word() } else { Some(()) }
    }

    /// Keeps digits.
    fn digits(&mut self) {
        self.at += self.json[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    }

    /// Takes a text up to its quote out, and passes over the quote.
    fn value(&mut self) -> Option<()> {
        let rest = &self.json[self.at..];
        if rest.get(32) == Some(&b'"')
            && let Some(bytes) = hex::<16>(&rest[..32])
        {
            self.parts.bytes.extend_from_slice(&bytes);
            self.hole(SIXTEEN, 32);
        } else {
            let length = memchr::memchr(b'"', rest).filter(|length| *length <= LONGEST)?;
            push_number(&mut self.parts.bytes, length as u64);
            self.parts.bytes.extend_from_slice(&rest[..length]);
            self.hole(TEXT, length);
        }
        self.needs(b"\"")
    }

    fn address(&mut self) -> Option<()> {
        let rest = &self.json[self.at..];
        let text = rest.get(..rest.iter().take(16).position(|byte| *byte == b'"').unwrap_or(0))?;
        let Some(address) = std::str::from_utf8(text).ok().and_then(|text| text.parse::<Ipv4Addr>().ok()) else {
            return self.value();
        };
        self.parts.bytes.extend_from_slice(&address.octets());
        self.hole(ADDRESS, text.len());
        self.needs(b"\"")
    }

    /// Takes a number out.
    fn number(&mut self) -> Option<u64> {
        let rest = &self.json[self.at..];
        let (mut number, mut length) = (0, 0);
        // One spelling, and 64 bits.
        while let Some(digit) = rest.get(length).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
            if length == 19 || length == 1 && number == 0 {
                return None;
            }
            (number, length) = (number * 10 + u64::from(digit), length + 1);
        }
        if length == 0 {
            return None;
        }
        push_number(&mut self.parts.bytes, number);
        self.hole(NUMBER, length);
        Some(number)
    }

    fn optional_number<const N: usize>(&mut self, before: &[u8; N]) -> Option<()> {
        if self.eats(before) { self.number().map(drop) } else { Some(()) }
    }

    /// Puts a mark in the place of the next so many bytes.
    fn hole(&mut self, mark: u8, length: usize) {
        self.parts.texts.extend_from_slice(&self.json[self.copied..self.at]);
        self.parts.texts.push(mark);
        self.at += length;
        self.copied = self.at;
    }

    /// Ends a part.
    fn cut(&mut self, n: usize) {
        self.parts.texts.extend_from_slice(&self.json[self.copied..self.at]);
        self.copied = self.at;
        self.parts.ends[n] = (self.parts.texts.len(), self.parts.bytes.len());
    }
}
