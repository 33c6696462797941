//! What is looked for.

use aho_corasick::{AhoCorasick, Input};
use jiff::Timestamp;
use uuid::Uuid;

use super::seen::{Field, Seen, Shape, Token};
use crate::audit::KeyedHash;

/// A record that is asked for by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// What the reply carried as `keygate-record`; an intent has the same one as its outcome.
    Id(Uuid),
    /// Its number, `seq`.
    Number(u64),
}

/// What a record must be like to be found: one of each that is not empty.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// One of these values.
    pub fields: Vec<(Field, Vec<String>)>,
    /// One of these records.
    pub records: Vec<Named>,
    /// One of these peers.
    pub peers: Vec<std::net::IpAddr>,
    /// Of each of these, one of the hashes.
    pub params: Vec<Vec<KeyedHash>>,
    /// Begun then or later.
    pub since: Option<Timestamp>,
    /// Begun before.
    pub until: Option<Timestamp>,
}

/// The same, ready for use.
pub struct Query {
    fields: Vec<(Field, Vec<String>)>,
    records: Vec<Named>,
    peers: Vec<String>,
    params: Vec<Vec<String>>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    /// The same peers and parameters as an index has them.
    tokens: Vec<Vec<Token>>,
    /// Finds bytes that every record stands for has; none where nothing of the kind is known.
    search: Option<AhoCorasick>,
}

impl Query {
    /// Prepares a search.
    pub fn new(wanted: Wanted) -> Self {
        let params = wanted.params.iter().map(|any| any.iter().map(ToString::to_string).collect()).collect();
        let mut query = Self {
            fields: wanted.fields.into_iter().filter(|(_, any)| !any.is_empty()).collect(),
            records: wanted.records,
            peers: wanted.peers.iter().map(ToString::to_string).collect(),
            params,
            since: wanted.since,
            until: wanted.until,
            tokens: Vec::new(),
            search: None,
        };
        query.tokens = query.params.iter().map(|any| any.iter().map(|hash| Token::of_param(hash)).collect()).collect();
        if !query.peers.is_empty() {
            query.tokens.push(query.peers.iter().map(|peer| Token::of_peer(peer)).collect());
        }
        // Short and few patterns always make an automaton; without one every record is read.
        query.search = query.needles().and_then(|needles| AhoCorasick::new(needles).ok());
        query
    }

    /// Bytes of which every record that is found has some: of what is asked for, that which few records are likely to have.
    fn needles(&self) -> Option<Vec<String>> {
        if !self.records.is_empty() {
            let needle = |named: &Named| match named {
                Named::Id(id) => format!("\"id\":\"{id}\""),
                Named::Number(number) => format!(",\"seq\":{number},"),
            };
            return Some(self.records.iter().map(needle).collect());
        }
        if let Some(any) = self.params.first() {
            return Some(any.iter().map(|hash| format!("\"{hash}\"")).collect());
        }
        if !self.peers.is_empty() {
            return Some(self.peers.iter().map(|peer| format!("\"peer\":\"{peer}\"")).collect());
        }
        // The rarest first.
        let order = [
            Field::Event,
            Field::Refusal,
            Field::Status,
            Field::Outcome,
            Field::Integration,
            Field::Endpoint,
            Field::Upstream,
            Field::Verdict,
            Field::Method,
            Field::Kind,
        ];
        let (field, any) = order.iter().find_map(|field| self.fields.iter().find(|(asked, _)| asked == field))?;
        any.iter().map(|value| needle(*field, value)).collect()
    }

    /// The records among these lines, in order.
    pub(super) fn each<'t>(&self, text: &'t [u8], mut hit: impl FnMut(&'t [u8])) {
        let mut at = 0;
        while at < text.len() {
            if let Some(search) = &self.search {
                let Some(found) = search.find(Input::new(text).range(at..)) else { return };
                at = memchr::memrchr(b'\n', &text[at..found.start()]).map_or(at, |before| at + before + 1);
            }
            let end = memchr::memchr(b'\n', &text[at..]).map_or(text.len(), |length| at + length);
            if self.finds(&text[at..end]) {
                hit(&text[at..end]);
            }
            at = end + 1;
        }
    }

    /// Whether this line is a record that is looked for.
    pub(super) fn finds(&self, line: &[u8]) -> bool {
        !self.is_of_another_time(line) && Seen::read(line).is_some_and(|seen| self.fits(&seen))
    }

    fn fits(&self, seen: &Seen<'_>) -> bool {
        self.fits_record(seen)
            && self.fits_shape(&seen.shape())
            && any_or_all(&self.peers, |peer| seen.peer() == Some(peer))
            && self.params.iter().all(|any| seen.params().any(|hash| any.iter().any(|wanted| wanted == hash)))
            && self.fits_time(seen)
    }

    fn fits_record(&self, seen: &Seen<'_>) -> bool {
        any_or_all(&self.records, |named| match named {
            Named::Id(id) => seen.id() == Some(*id),
            Named::Number(number) => seen.seq == *number,
        })
    }

    /// The same as far as the beginning of the line tells, which costs a tenth of reading it.
    fn is_of_another_time(&self, line: &[u8]) -> bool {
        if self.since.is_none() && self.until.is_none() {
            return false;
        }
        let time = line.strip_prefix(b"{\"time\":\"").and_then(|rest| rest.get(..memchr::memchr(b'"', rest)?));
        let time = time.and_then(|time| std::str::from_utf8(time).ok()?.parse().ok());
        time.is_some_and(|time| !self.is_within(time))
    }

    fn fits_time(&self, seen: &Seen<'_>) -> bool {
        if self.since.is_none() && self.until.is_none() {
            return true;
        }
        seen.time().is_some_and(|time| self.is_within(time))
    }

    fn is_within(&self, time: Timestamp) -> bool {
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time < until)
    }

    /// Whether records with these values may be among those that are looked for.
    pub(super) fn fits_shape<T: AsRef<str>>(&self, shape: &Shape<T>) -> bool {
        self.fields.iter().all(|(field, any)| {
            let value = shape[*field as usize].as_ref().map(AsRef::as_ref);
            value.is_some_and(|value| any.iter().any(|wanted| is_meant(*field, wanted, value)))
        })
    }

    /// Whether records of these times, milliseconds since 1970, may be.
    pub(super) fn fits_times(&self, times: Option<(i64, i64)>) -> bool {
        if self.since.is_none() && self.until.is_none() {
            return true;
        }
        times.is_some_and(|(first, last)| {
            self.since.is_none_or(|since| last >= since.as_millisecond())
                && self.until.is_none_or(|until| first <= until.as_millisecond())
        })
    }

    /// Whether a block of records may have one, as far as what is special to a record tells: `has` is asked for its tokens,
    /// `numbers` are its first and last.
    pub(super) fn fits_block(&self, numbers: (u64, u64), has: impl Fn(Token) -> bool) -> bool {
        any_or_all(&self.records, |named| match named {
            Named::Id(id) => has(Token::of_id(*id)),
            Named::Number(number) => (numbers.0..=numbers.1).contains(number),
        }) && self.tokens.iter().all(|any| any.iter().any(|token| has(*token)))
    }

    /// Whether a record of that number may be one.
    pub(super) fn fits_number(&self, number: u64) -> bool {
        any_or_all(&self.records, |named| match named {
            Named::Id(_) => true,
            Named::Number(wanted) => *wanted == number,
        })
    }

    /// Whether it is asked for what a record's marks tell of.
    pub(super) fn asks_for_marks(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// Whether a record with these marks may be one.
    pub(super) fn fits_marks(&self, marks: &[u8]) -> bool {
        self.tokens.iter().all(|any| any.iter().any(|token| marks.contains(&token.mark())))
    }
}

/// Whether one of them is; nothing asked for is as good as all.
fn any_or_all<T>(asked: &[T], is: impl Fn(&T) -> bool) -> bool {
    asked.is_empty() || asked.iter().any(is)
}

/// `4xx`: how such a status begins.
fn class(wanted: &str) -> Option<&str> {
    wanted.strip_suffix("xx")
}

fn is_meant(field: Field, wanted: &str, value: &str) -> bool {
    match class(wanted).filter(|_| field == Field::Status) {
        Some(class) => value.len() == class.len() + 2 && value.starts_with(class),
        None => wanted == value,
    }
}

/// How a value stands in a line: the writer has one way to write it. None when that cannot be told.
fn needle(field: Field, value: &str) -> Option<String> {
    let name = match field {
        Field::Kind => "kind",
        Field::Integration => "integration",
        Field::Method => "method",
        Field::Endpoint => "endpoint",
        Field::Verdict => "verdict",
        Field::Refusal => "refusal",
        Field::Status => return Some(format!("\"status\":{}", class(value).unwrap_or(value))),
        Field::Upstream => "upstream",
        Field::Outcome => "outcome",
        Field::Event => "code",
    };
    let value = serde_json::to_string(value).ok()?;
    Some(format!("\"{name}\":{value}"))
}
