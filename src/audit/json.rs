//! A record written field by field. In JSON, the same bytes as its `Serialize` gives (a test holds it), at a fraction of the cost:
//! nothing here is generic but over what is written with, and what TLS agreed on is written once per connection.

use std::io::Write;
use std::net::IpAddr;

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use uuid::Uuid;

use super::{EnvelopeFacts, Event, Http, KeyedHash, Kind, Outcome, Proof, Record, Steps, Verdict};

pub(super) type Done = serde_json::Result<()>;
type Pairs = [(std::sync::Arc<str>, KeyedHash)];

/// What a record is written with: JSON, or the parts that it is packed from (`pack/parts.rs`).
pub(super) trait Ink {
    /// Signs and names of fields, and words of which there are few.
    fn text(&mut self, text: &[u8]);
    /// The record's beginning: `{"time":"…","id":"…"`.
    fn head(&mut self, time: Timestamp, id: &Uuid) -> Done;
    /// A name that the configuration gave, in quotes.
    fn word(&mut self, word: &str) -> Done;
    /// What somebody else said, in quotes.
    fn value(&mut self, value: &str) -> Done;
    /// A hash, without quotes.
    fn hash(&mut self, hash: KeyedHash);
    /// A number that differs from call to call.
    fn number(&mut self, number: u64);
    /// An address, in quotes.
    fn address(&mut self, address: IpAddr) -> Done;
    /// Ends a part: who called and how, what was called, what was decided, how it ended.
    fn cut(&mut self);
}

impl Record {
    /// Appends the record's JSON.
    pub(super) fn write(&self, out: &mut Vec<u8>) -> Done {
        self.write_with(out)
    }

    /// Writes it with whatever ink.
    #[inline]
    pub(super) fn write_with(&self, ink: &mut impl Ink) -> Done {
        self.write_origin(ink)?;
        ink.cut();
        self.write_call(ink)?;
        ink.cut();
        self.write_verdict(ink)?;
        ink.cut();
        self.write_end(ink)?;
        ink.text(b"}");
        ink.cut();
        Ok(())
    }

    fn write_origin(&self, ink: &mut impl Ink) -> Done {
        ink.head(self.time, &self.id)?;
        said(ink, b",\"kind\":\"", kind(self.kind));
        word(ink, b",\"integration\":", self.integration.as_deref())?;
        if let Some(how) = self.proof {
            said(ink, b",\"proof\":\"", proof(how));
        }
        if let Some(address) = self.peer {
            ink.text(b",\"peer\":");
            ink.address(address)?;
        }
        if let Some(tls) = &self.tls {
            ink.text(b",\"tls\":");
            ink.text(tls.json());
        }
        if let Some(version) = self.http {
            said(ink, b",\"http\":\"", http(version));
        }
        Ok(())
    }

    fn write_call(&self, ink: &mut impl Ink) -> Done {
        word(ink, b",\"method\":", self.method.as_deref())?;
        word(ink, b",\"endpoint\":", self.endpoint.as_deref())?;
        pairs(ink, b",\"params\":[", &self.params, Ink::word)?;
        pairs(ink, b",\"query\":[", &self.query, Ink::value)
    }

    fn write_verdict(&self, ink: &mut impl Ink) -> Done {
        if let Some(how) = self.verdict {
            said(ink, b",\"verdict\":\"", verdict(how));
        }
        word(ink, b",\"rule\":", self.rule.as_deref())?;
        word(ink, b",\"refusal\":", self.refusal)?;
        value(ink, b",\"detail\":", self.detail.as_deref())?;
        code(ink, b",\"status\":", self.status.map(u64::from));
        word(ink, b",\"upstream\":", self.upstream.as_deref())?;
        code(ink, b",\"upstream_status\":", self.upstream_status.map(u64::from));
        key(ink, b",\"credential\":[", self.credential.as_ref())?;
        key(ink, b",\"retried_with\":[", self.retried_with.as_ref())?;
        optional(ink, b",\"limit_left\":", self.limit_left.map(u64::from));
        Ok(())
    }

    fn write_end(&self, ink: &mut impl Ink) -> Done {
        number(ink, b",\"bytes_in\":", self.bytes_in);
        number(ink, b",\"bytes_out\":", self.bytes_out);
        if self.scrubbed > 0 {
            number(ink, b",\"scrubbed\":", self.scrubbed.into());
        }
        if let Some(facts) = &self.envelope {
            ink.text(b",\"envelope\":{");
            envelope(ink, facts)?;
        }
        if let Some(how) = self.outcome {
            said(ink, b",\"outcome\":\"", outcome(how));
        }
        if let Some(steps) = &self.micros {
            micros(ink, steps);
        }
        if let Some(Event { code, detail }) = &self.event {
            ink.text(b",\"event\":{\"code\":");
            ink.word(code)?;
            ink.text(b",\"detail\":");
            ink.value(detail)?;
            ink.text(b"}");
        }
        Ok(())
    }
}

fn key(ink: &mut impl Ink, before: &[u8], key: Option<&(std::sync::Arc<str>, u64)>) -> Done {
    let Some((name, version)) = key else { return Ok(()) };
    ink.text(before);
    ink.word(name)?;
    code(ink, b",", Some(*version));
    ink.text(b"]");
    Ok(())
}

/// A word that needs no escape, and the quote behind it.
fn said(ink: &mut impl Ink, before: &[u8], word: &str) {
    ink.text(before);
    ink.text(word.as_bytes());
    ink.text(b"\"");
}

fn word(ink: &mut impl Ink, before: &[u8], word: Option<&str>) -> Done {
    word.map_or(Ok(()), |word| {
        ink.text(before);
        ink.word(word)
    })
}

fn value(ink: &mut impl Ink, before: &[u8], value: Option<&str>) -> Done {
    value.map_or(Ok(()), |value| {
        ink.text(before);
        ink.value(value)
    })
}

fn number(ink: &mut impl Ink, before: &[u8], value: u64) {
    ink.text(before);
    ink.number(value);
}

fn optional(ink: &mut impl Ink, before: &[u8], value: Option<u64>) {
    if let Some(value) = value {
        number(ink, before, value);
    }
}

/// A number of which there are few.
fn code(ink: &mut impl Ink, before: &[u8], value: Option<u64>) {
    if let Some(value) = value {
        ink.text(before);
        let (digits, at) = super::line::digits(value);
        ink.text(&digits[at..]);
    }
}

fn pairs<I: Ink>(ink: &mut I, before: &[u8], pairs: &Pairs, name: impl Fn(&mut I, &str) -> Done) -> Done {
    if pairs.is_empty() {
        return Ok(());
    }
    ink.text(before);
    for (n, (called, hash)) in pairs.iter().enumerate() {
        ink.text(if n == 0 { b"[" } else { b",[" });
        name(ink, called)?;
        ink.text(b",\"");
        ink.hash(*hash);
        ink.text(b"\"]");
    }
    ink.text(b"]");
    Ok(())
}

fn envelope(ink: &mut impl Ink, facts: &EnvelopeFacts) -> Done {
    let EnvelopeFacts { success, log_id, request_id, rejected } = facts;
    let mut comma: &[u8] = b"";
    let mut next = |ink: &mut _, name: &[u8]| {
        Ink::text(ink, std::mem::replace(&mut comma, b","));
        Ink::text(ink, name);
    };
    if let Some(success) = success {
        next(ink, if *success { b"\"success\":true" } else { b"\"success\":false" });
    }
    if let Some(id) = log_id {
        next(ink, b"\"log_id\":");
        ink.value(id)?;
    }
    if let Some(id) = request_id {
        next(ink, b"\"request_id\":");
        ink.value(id)?;
    }
    if let Some(rejected) = rejected {
        next(ink, b"\"rejected\":");
        ink.number(*rejected);
    }
    ink.text(b"}");
    Ok(())
}

fn micros(ink: &mut impl Ink, steps: &Steps) {
    number(ink, b",\"micros\":{\"decide\":", steps.decide.into());
    number(ink, b",\"intent\":", steps.intent.into());
    number(ink, b",\"upstream\":", steps.upstream.into());
    number(ink, b",\"body\":", steps.body.into());
    ink.text(b"}");
}

/// JSON.
impl Ink for Vec<u8> {
    fn text(&mut self, text: &[u8]) {
        self.extend_from_slice(text);
    }

    fn head(&mut self, time: Timestamp, id: &Uuid) -> Done {
        let failed = |error: jiff::Error| serde::ser::Error::custom(error);
        self.text(b"{\"time\":\"");
        DateTimePrinter::new().print_timestamp(&time, jiff::fmt::StdIoWrite(&mut *self)).map_err(failed)?;
        self.text(b"\",\"id\":\"");
        self.text(id.hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes());
        self.text(b"\"");
        Ok(())
    }

    fn word(&mut self, word: &str) -> Done {
        if needs_escape(word) {
            return serde_json::to_writer(self, word);
        }
        self.push(b'"');
        self.text(word.as_bytes());
        self.push(b'"');
        Ok(())
    }

    fn value(&mut self, value: &str) -> Done {
        self.word(value)
    }

    fn hash(&mut self, hash: KeyedHash) {
        self.text(&hash.hex());
    }

    fn number(&mut self, number: u64) {
        super::line::push_digits(self, number);
    }

    fn address(&mut self, address: IpAddr) -> Done {
        write!(self, "\"{address}\"").map_err(serde::ser::Error::custom)
    }

    fn cut(&mut self) {}
}

/// Whether text cannot stand in JSON as it is. Most can; what cannot is left to the library.
#[allow(clippy::needless_bitwise_bool, reason = "without a way out of the loop, many bytes are looked at together")]
pub(super) fn needs_escape(text: &str) -> bool {
    text.bytes().fold(false, |found, byte| found | (byte < b' ') | (byte == b'"') | (byte == b'\\'))
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Call => "call",
        Kind::Intent => "intent",
        Kind::Connection => "connection",
        Kind::Gate => "gate",
    }
}

fn proof(proof: Proof) -> &'static str {
    match proof {
        Proof::Header => "header",
        Proof::Query => "query",
        Proof::Bearer => "bearer",
    }
}

fn http(version: Http) -> &'static str {
    match version {
        Http::H1 => "http/1.1",
        Http::H2 => "h2",
    }
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allowed => "allowed",
        Verdict::Refused => "refused",
    }
}

fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Complete => "complete",
        Outcome::ClientGone => "client-gone",
        Outcome::UpstreamCut => "upstream-cut",
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::super::{EnvelopeFacts, Event, ParamHasher, TlsFacts};
    use super::*;

    pub(in crate::audit) fn texts() -> impl Strategy<Value = String> {
        prop_oneof!["[a-z /{}]{0,12}", "[\\x00-\\x7f\u{80}-\u{2fff}]{0,12}"]
    }

    pub(in crate::audit) fn full(text: &str, n: u64, ipv6: bool) -> Record {
        let hash = ParamHasher::new(&[7; 32]).hash("a", text.as_bytes());
        let pairs = vec![(text.into(), hash), ("b".into(), hash)];
        #[allow(clippy::cast_possible_truncation, reason = "any number will do")]
        let small = n as u32;
        let tls = TlsFacts { version: Some("1.3"), sni: Some(text.to_owned()), ..TlsFacts::default() };
        Record {
            integration: Some(text.into()),
            proof: Some([Proof::Header, Proof::Query, Proof::Bearer][small as usize % 3]),
            peer: Some(if ipv6 {
                std::net::Ipv6Addr::from(u128::from(n) << 40).into()
            } else {
                IpAddr::from(small.to_be_bytes())
            }),
            tls: Some(tls.into()),
            http: Some([Http::H1, Http::H2][small as usize % 2]),
            method: Some(text.to_owned().into()),
            endpoint: Some(text.into()),
            params: pairs.clone(),
            query: pairs,
            verdict: Some([Verdict::Allowed, Verdict::Refused][small as usize % 2]),
            rule: Some(text.into()),
            refusal: Some("code"),
            detail: Some(text.to_owned()),
            status: Some(200),
            upstream: Some(text.into()),
            upstream_status: Some(404),
            credential: Some((text.into(), small.into())),
            retried_with: Some((text.into(), n)),
            limit_left: Some(small),
            bytes_in: n,
            bytes_out: n / 3,
            scrubbed: small % 2,
            envelope: Some(EnvelopeFacts { log_id: Some(text.to_owned()), ..EnvelopeFacts::default() }),
            outcome: Some([Outcome::Complete, Outcome::ClientGone, Outcome::UpstreamCut][small as usize % 3]),
            micros: Some(Steps { decide: small, intent: 0, upstream: 1, body: 2 }),
            event: Some(Event { code: "x", detail: text.to_owned() }),
            ..Record::new(
                [Kind::Call, Kind::Intent, Kind::Connection, Kind::Gate][small as usize % 4],
                Timestamp::now(),
            )
        }
    }

    fn both(record: &Record) -> (String, String) {
        let mut written = Vec::new();
        record.write(&mut written).unwrap();
        (String::from_utf8(written).unwrap(), serde_json::to_string(record).unwrap())
    }

    proptest! {
        #[test]
        fn a_record_is_written_as_serde_writes_it(text in texts(), n in any::<u64>(), ipv6 in any::<bool>()) {
            let (written, expected) = both(&full(&text, n, ipv6));
            prop_assert_eq!(written, expected);
        }
    }

    #[test]
    fn an_empty_record_is_written_as_serde_writes_it() {
        for time in [Timestamp::UNIX_EPOCH, Timestamp::MIN, Timestamp::MAX, Timestamp::now()] {
            let (written, expected) = both(&Record::new(Kind::Gate, time));
            assert_eq!(written, expected);
        }
    }
}
