//! A record as JSON, written field by field into the batch. The same bytes as its `Serialize` gives (a test holds it),
//! at a fraction of the cost: nothing here is generic, and what TLS agreed on is written once per connection.

use std::io::Write;
use std::net::IpAddr;

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use serde::Serialize;
use uuid::Uuid;

use super::{Http, KeyedHash, Kind, Outcome, Proof, Record, Steps, Verdict};

type Done = serde_json::Result<()>;
type Pairs = [(std::sync::Arc<str>, KeyedHash)];

impl Record {
    /// Appends the record's JSON.
    pub(super) fn write(&self, out: &mut Vec<u8>) -> Done {
        self.write_origin(out)?;
        self.write_call(out)?;
        self.write_verdict(out)?;
        self.write_end(out)?;
        out.push(b'}');
        Ok(())
    }

    fn write_origin(&self, out: &mut Vec<u8>) -> Done {
        out.extend_from_slice(b"{\"time\":\"");
        time(out, self.time)?;
        out.extend_from_slice(b"\",\"id\":\"");
        id(out, &self.id);
        word(out, b"\",\"kind\":\"", kind(self.kind));
        out.push(b'"');
        text(out, b",\"integration\":", self.integration.as_deref())?;
        if let Some(how) = self.proof {
            word(out, b",\"proof\":\"", proof(how));
            out.push(b'"');
        }
        if let Some(address) = self.peer {
            peer(out, address)?;
        }
        if let Some(tls) = &self.tls {
            out.extend_from_slice(b",\"tls\":");
            out.extend_from_slice(tls.json());
        }
        if let Some(version) = self.http {
            word(out, b",\"http\":\"", http(version));
            out.push(b'"');
        }
        Ok(())
    }

    fn write_call(&self, out: &mut Vec<u8>) -> Done {
        text(out, b",\"method\":", self.method.as_deref())?;
        text(out, b",\"endpoint\":", self.endpoint.as_deref())?;
        pairs(out, b",\"params\":[", &self.params)?;
        pairs(out, b",\"query\":[", &self.query)
    }

    fn write_verdict(&self, out: &mut Vec<u8>) -> Done {
        if let Some(said) = self.verdict {
            word(out, b",\"verdict\":\"", verdict(said));
            out.push(b'"');
        }
        text(out, b",\"rule\":", self.rule.as_deref())?;
        text(out, b",\"refusal\":", self.refusal)?;
        text(out, b",\"detail\":", self.detail.as_deref())?;
        optional(out, b",\"status\":", self.status);
        text(out, b",\"upstream\":", self.upstream.as_deref())?;
        optional(out, b",\"upstream_status\":", self.upstream_status);
        key(out, b",\"credential\":[", self.credential.as_ref())?;
        key(out, b",\"retried_with\":[", self.retried_with.as_ref())?;
        optional(out, b",\"limit_left\":", self.limit_left);
        Ok(())
    }

    fn write_end(&self, out: &mut Vec<u8>) -> Done {
        number(out, b",\"bytes_in\":", self.bytes_in);
        number(out, b",\"bytes_out\":", self.bytes_out);
        if self.scrubbed > 0 {
            number(out, b",\"scrubbed\":", self.scrubbed.into());
        }
        nested(out, b",\"envelope\":", self.envelope.as_ref())?;
        if let Some(how) = self.outcome {
            word(out, b",\"outcome\":\"", outcome(how));
            out.push(b'"');
        }
        if let Some(steps) = &self.micros {
            micros(out, steps);
        }
        nested(out, b",\"event\":", self.event.as_ref())
    }
}

fn key(out: &mut Vec<u8>, before: &[u8], key: Option<&(std::sync::Arc<str>, u64)>) -> Done {
    let Some((name, version)) = key else { return Ok(()) };
    out.extend_from_slice(before);
    string(out, name)?;
    number(out, b",", *version);
    out.push(b']');
    Ok(())
}

fn time(out: &mut Vec<u8>, time: Timestamp) -> Done {
    let failed = |error: jiff::Error| serde::ser::Error::custom(error);
    DateTimePrinter::new().print_timestamp(&time, jiff::fmt::StdIoWrite(out)).map_err(failed)
}

fn id(out: &mut Vec<u8>, id: &Uuid) {
    let mut buffer = Uuid::encode_buffer();
    out.extend_from_slice(id.hyphenated().encode_lower(&mut buffer).as_bytes());
}

fn word(out: &mut Vec<u8>, before: &[u8], word: &str) {
    out.extend_from_slice(before);
    out.extend_from_slice(word.as_bytes());
}

fn text(out: &mut Vec<u8>, before: &[u8], value: Option<&str>) -> Done {
    value.map_or(Ok(()), |value| {
        out.extend_from_slice(before);
        string(out, value)
    })
}

/// Most text needs no escape; what does is left to the library.
fn string(out: &mut Vec<u8>, value: &str) -> Done {
    if value.bytes().any(|byte| byte < b' ' || byte == b'"' || byte == b'\\') {
        return serde_json::to_writer(out, value);
    }
    out.push(b'"');
    out.extend_from_slice(value.as_bytes());
    out.push(b'"');
    Ok(())
}

fn nested(out: &mut Vec<u8>, before: &[u8], value: Option<&impl Serialize>) -> Done {
    value.map_or(Ok(()), |value| {
        out.extend_from_slice(before);
        serde_json::to_writer(out, value)
    })
}

fn number(out: &mut Vec<u8>, before: &[u8], value: u64) {
    out.extend_from_slice(before);
    super::line::push_digits(out, value);
}

fn optional(out: &mut Vec<u8>, before: &[u8], value: Option<impl Into<u64>>) {
    if let Some(value) = value {
        number(out, before, value.into());
    }
}

fn pairs(out: &mut Vec<u8>, before: &[u8], pairs: &Pairs) -> Done {
    if pairs.is_empty() {
        return Ok(());
    }
    out.extend_from_slice(before);
    for (n, (name, hash)) in pairs.iter().enumerate() {
        out.extend_from_slice(if n == 0 { b"[" } else { b",[" });
        string(out, name)?;
        out.extend_from_slice(b",\"");
        out.extend_from_slice(&hash.hex());
        out.extend_from_slice(b"\"]");
    }
    out.push(b']');
    Ok(())
}

fn peer(out: &mut Vec<u8>, address: IpAddr) -> Done {
    out.extend_from_slice(b",\"peer\":\"");
    write!(out, "{address}").map_err(serde::ser::Error::custom)?;
    out.push(b'"');
    Ok(())
}

fn micros(out: &mut Vec<u8>, steps: &Steps) {
    number(out, b",\"micros\":{\"decide\":", steps.decide.into());
    number(out, b",\"intent\":", steps.intent.into());
    number(out, b",\"upstream\":", steps.upstream.into());
    number(out, b",\"body\":", steps.body.into());
    out.push(b'}');
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
mod tests {
    use proptest::prelude::*;

    use super::super::{EnvelopeFacts, Event, ParamHasher, TlsFacts};
    use super::*;

    fn texts() -> impl Strategy<Value = String> {
        prop_oneof!["[a-z /{}]{0,12}", "[\\x00-\\x7f\u{80}-\u{2fff}]{0,12}"]
    }

    fn full(text: &str, n: u64, ipv6: bool) -> Record {
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
