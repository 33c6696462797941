//! A call's record taken apart into what is the same for many calls and what is not.
//!
//! Four parts: who called and how, what was called, what was decided, how it ended. Of each the text with marks, and the bytes
//! that the marks stand for. What stays in a text may be kept beside the keys of many records (`pieces.rs`) and outlives a
//! record that is forgotten. So only fields that tell of the operation may, and a record with other fields is none that is
//! taken apart.

use std::io::Write;
use std::net::IpAddr;

use http::Method;
use jiff::Timestamp;
use uuid::Uuid;

use super::marks::{ADDRESS, HEAD, NUMBER, SIXTEEN, TEXT, fill, head_of, hex, push_number};
use crate::audit::json::{Done, Ink, needs_escape};
use crate::audit::{KeyedHash, Kind, Record};

const COUNT: usize = 4;
/// A longer text between two quotes is not worth it: the record is compressed.
const LONGEST: usize = 64;

/// Where the parts of a record end.
#[derive(Default)]
pub(in crate::audit) struct Cuts {
    /// In texts and bytes.
    ends: [(usize, usize); COUNT],
    /// Whether it is an intent.
    intent: bool,
    /// Whether it is a call that had none.
    read: bool,
}

/// A record in its parts.
#[derive(Clone, Copy)]
pub(in crate::audit) struct Parts<'a> {
    texts: &'a [u8],
    bytes: &'a [u8],
    cuts: &'a Cuts,
}

impl<'a> Parts<'a> {
    /// What [`take`] appended, and gave.
    pub(in crate::audit) fn new(texts: &'a [u8], bytes: &'a [u8], cuts: &'a Cuts) -> Self {
        Self { texts, bytes, cuts }
    }

    /// Each text, and its bytes.
    pub(super) fn each(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let mut from = (0, 0);
        self.cuts.ends.iter().map(move |to| {
            let part = (&self.texts[from.0..to.0], &self.bytes[from.1..to.1]);
            from = *to;
            part
        })
    }

    /// Appends the record's JSON.
    pub(in crate::audit) fn push_json(self, out: &mut Vec<u8>) {
        // The bytes are those of the marks, so they fit.
        let _ = fill(self.texts, self.bytes, out);
    }

    /// Whether it is an intent.
    pub(in crate::audit) fn is_intent(self) -> bool {
        self.cuts.intent
    }

    /// Whether it is a call that had no intent.
    pub(in crate::audit) fn is_read(self) -> bool {
        self.cuts.read
    }

    /// The record's id.
    pub(in crate::audit) fn id(self) -> Uuid {
        Uuid::from_bytes(*self.bytes.first_chunk().unwrap_or(&[0; 16]))
    }
}

/// Appends a record in its parts. `None`, with something appended or not, when it is not that of a call to an endpoint by an integration,
/// or has a field that cannot be taken apart.
pub(in crate::audit) fn take(record: &Record, texts: &mut Vec<u8>, bytes: &mut Vec<u8>) -> Option<Cuts> {
    let Record { kind, integration, method, endpoint, detail, event, micros, .. } = record;
    let calls = matches!(kind, Kind::Call | Kind::Intent) && integration.is_some() && endpoint.is_some();
    // What is no endpoint may have any method.
    let method = method.as_deref().filter(|_| calls && detail.is_none() && event.is_none())?;
    let reads = [Method::GET.as_str(), Method::HEAD.as_str()].contains(&method);
    let cuts = Cuts {
        intent: *kind == Kind::Intent,
        // Unless it says that there was none.
        read: *kind == Kind::Call && reads && micros.is_some_and(|steps| steps.intent == 0),
        ..Cuts::default()
    };
    let from = (texts.len(), bytes.len());
    let mut taking = Taking { texts, bytes, from, cuts, cut: 0, unfit: false };
    record.write_with(&mut taking).ok()?;
    (!taking.unfit).then_some(taking.cuts)
}

struct Taking<'a> {
    texts: &'a mut Vec<u8>,
    bytes: &'a mut Vec<u8>,
    /// Where the record begins.
    from: (usize, usize),
    cuts: Cuts,
    /// How many parts have ended.
    cut: usize,
    /// It has something that cannot be taken apart.
    unfit: bool,
}

impl Taking<'_> {
    /// What stands between two quotes, as it stands in JSON.
    fn take(&mut self, text: &[u8]) {
        self.unfit |= text.len() > LONGEST;
        push_number(self.bytes, text.len() as u64);
        self.bytes.extend_from_slice(text);
        self.texts.extend_from_slice(&[b'"', TEXT, b'"']);
    }
}

impl Ink for Taking<'_> {
    fn text(&mut self, text: &[u8]) {
        self.texts.extend_from_slice(text);
    }

    fn head(&mut self, time: Timestamp, id: &Uuid) -> Done {
        match head_of(time, id) {
            Some(head) => self.bytes.extend_from_slice(&head),
            None => self.unfit = true,
        }
        self.texts.push(HEAD);
        Ok(())
    }

    fn word(&mut self, word: &str) -> Done {
        self.unfit |= needs_escape(word);
        self.texts.push(b'"');
        self.texts.extend_from_slice(word.as_bytes());
        self.texts.push(b'"');
        Ok(())
    }

    fn value(&mut self, value: &str) -> Done {
        self.unfit |= needs_escape(value);
        match hex::<16>(value.as_bytes()) {
            Some(bytes) => {
                self.bytes.extend_from_slice(&bytes);
                self.texts.extend_from_slice(&[b'"', SIXTEEN, b'"']);
            }
            None => self.take(value.as_bytes()),
        }
        Ok(())
    }

    fn hash(&mut self, hash: KeyedHash) {
        self.bytes.extend_from_slice(hash.bytes());
        self.texts.push(SIXTEEN);
    }

    fn number(&mut self, number: u64) {
        push_number(self.bytes, number);
        self.texts.push(NUMBER);
    }

    fn address(&mut self, address: IpAddr) -> Done {
        match address {
            IpAddr::V4(address) => {
                self.bytes.extend_from_slice(&address.octets());
                self.texts.extend_from_slice(&[b'"', ADDRESS, b'"']);
            }
            IpAddr::V6(address) => {
                let mut text = [0; LONGEST];
                let mut room = &mut text[..];
                write!(room, "{address}").map_err(serde::ser::Error::custom)?;
                let length = LONGEST - room.len();
                self.take(&text[..length]);
            }
        }
        Ok(())
    }

    fn cut(&mut self) {
        if let Some(end) = self.cuts.ends.get_mut(self.cut) {
            *end = (self.texts.len() - self.from.0, self.bytes.len() - self.from.1);
        }
        self.cut += 1;
    }
}
