//! An upstream's reply, taken in: headers cleaned, body read when it is small.

use std::borrow::Cow;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::response::Parts;
use http::{HeaderValue, header};
use http_body::Body;
use http_body_util::BodyExt;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use tokio::time::{Instant, timeout_at};

use super::streaming::Source;
use super::{BodyTimes, Reply};
use crate::audit::EnvelopeFacts;
use crate::body::Scrub;
use crate::entry::Entry;
use crate::upstream::{Inbound, UpstreamError};
use crate::vault::inject::{Injected, end_hop_by_hop, take_out};

/// Replies up to this size are read whole before they are sent, bytes.
const WHOLE: u64 = 64 * 1024;
/// How long a reply of unknown length is waited for to be whole: small ones mostly come in one piece.
const GRACE: Duration = Duration::from_millis(20);

/// Takes an upstream's reply in: hop-by-hop headers end here, the real key is cut out, an encoded reply is refused.
pub async fn take_in(
    mut inbound: Inbound,
    injected: &Injected,
    times: BodyTimes,
    entry: &mut Entry,
) -> Result<Reply, UpstreamError> {
    let mut head = std::mem::replace(&mut inbound.head, http::Response::new(()).into_parts().0);
    refuse_encoded(&head)?;
    head.version = http::Version::HTTP_11;
    head.extensions.clear();
    end_hop_by_hop(&mut head.headers);
    // What the gate says of itself is said by nobody else.
    take_out(&mut head.headers, |name| name.as_str().starts_with("keygate-"));
    entry.scrubbed(scrub_headers(&mut head, injected));
    let (start, ended) = gather(&mut inbound, times).await?;
    if !ended {
        let scrub = Scrub::new(injected.scrubber.clone());
        return Ok(Reply { head, content: super::Content::Stream(Box::new(Source { start, inbound, scrub, times })) });
    }
    let (body, scrubbed) = injected.scrubber.whole(start);
    entry.scrubbed(scrubbed);
    if is_json(&head) {
        entry.record.envelope = envelope(&body);
    }
    Ok(Reply { head, content: super::Content::Whole(body) })
}

fn refuse_encoded(head: &Parts) -> Result<(), UpstreamError> {
    let encodings = head.headers.get_all(header::CONTENT_ENCODING);
    match encodings.iter().find(|v| !v.as_bytes().eq_ignore_ascii_case(b"identity")) {
        Some(value) => {
            Err(UpstreamError::Encoded(String::from_utf8_lossy(value.as_bytes()).chars().take(40).collect()))
        }
        None => Ok(()),
    }
}

fn scrub_headers(head: &mut Parts, injected: &Injected) -> u32 {
    let mut count = 0;
    for value in head.headers.values_mut().filter(|v| injected.scrubber.finds(v.as_bytes())) {
        let (clean, found) = injected.scrubber.whole(Bytes::copy_from_slice(value.as_bytes()));
        // What was a header value before is one with some bytes turned into `x`.
        *value = HeaderValue::from_maybe_shared(clean).unwrap_or_else(|_| HeaderValue::from_static("x"));
        count += found;
    }
    count
}

/// Reads the beginning of a body: all of it when it is small and comes at once. The flag says that it was all.
async fn gather(inbound: &mut Inbound, times: BodyTimes) -> Result<(Bytes, bool), UpstreamError> {
    let known = inbound.body.size_hint().exact();
    if known.is_some_and(|size| size > WHOLE) {
        return Ok((Bytes::new(), false));
    }
    let grace = if known.is_some() { times.pause } else { GRACE };
    let mut until = times.deadline.min(Instant::now() + grace);
    let (mut first, mut all) = (Bytes::new(), BytesMut::new());
    while !inbound.body.is_end_stream() {
        let data = match timeout_at(until, inbound.body.frame()).await {
            Err(_) if known.is_some() => return Err(times.late()),
            Err(_) => return Ok((joined(first, all), false)),
            Ok(None) => break,
            Ok(Some(frame)) => match frame.map_err(UpstreamError::Broken)?.into_data() {
                Ok(data) => data,
                // Trailers end at the gate.
                Err(_) => continue,
            },
        };
        if first.is_empty() && all.is_empty() {
            first = data;
        } else {
            all.extend_from_slice(&std::mem::take(&mut first));
            all.extend_from_slice(&data);
        }
        if (first.len() + all.len()) as u64 > WHOLE {
            return Ok((joined(first, all), false));
        }
        if known.is_some() {
            until = times.deadline.min(Instant::now() + grace);
        }
    }
    Ok((joined(first, all), true))
}

fn joined(first: Bytes, all: BytesMut) -> Bytes {
    if all.is_empty() { first } else { all.freeze() }
}

fn is_json(head: &Parts) -> bool {
    let kind = head.headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    memchr::memmem::find(kind, b"json").is_some()
}

/// What the reply's own envelope says: ChannelEngine answers 200 and hides failures inside.
fn envelope(body: &[u8]) -> Option<EnvelopeFacts> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Outer {
        success: Option<bool>,
        log_id: Option<Handle>,
        request_id: Option<Handle>,
        #[serde(default)]
        content: Content,
    }
    let outer: Outer = serde_json::from_slice(body).ok()?;
    let facts = EnvelopeFacts {
        success: outer.success,
        log_id: outer.log_id.and_then(|handle| handle.0),
        request_id: outer.request_id.and_then(|handle| handle.0),
        rejected: outer.content.rejected,
    };
    (facts != EnvelopeFacts::default()).then_some(facts)
}

/// A support handle of the merchant API: text or a number; anything else is passed over.
struct Handle(Option<String>);

impl<'de> Deserialize<'de> for Handle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(HandleVisitor)
    }
}

struct HandleVisitor;

impl<'de> Visitor<'de> for HandleVisitor {
    type Value = Handle;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("anything")
    }

    fn visit_str<E>(self, text: &str) -> Result<Handle, E> {
        let end = text.char_indices().nth(64).map_or(text.len(), |(at, _)| at);
        Ok(Handle(Some(text[..end].to_owned())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Handle, E> {
        Ok(Handle(Some(number.to_string())))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Handle, E> {
        Ok(Handle(Some(number.to_string())))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Handle, E> {
        Ok(Handle(Some(number.to_string())))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Handle, E> {
        Ok(Handle(None))
    }

    fn visit_unit<E>(self) -> Result<Handle, E> {
        Ok(Handle(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Handle, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Handle(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Handle, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Handle(None))
    }
}

/// `Content` is a list, a number or text as often as an object; of an object, `RejectedCount` is looked at. Nothing of
/// the rest is built: on most replies this is all there is to read.
#[derive(Default)]
struct Content {
    rejected: Option<u64>,
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Content, A::Error> {
        let mut content = Content::default();
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            if name == "RejectedCount" {
                content.rejected = map.next_value::<serde_json::Value>()?.as_u64();
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(content)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Content, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Content::default())
    }

    fn visit_unit<E>(self) -> Result<Content, E> {
        Ok(Content::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Content, E> {
        Ok(Content::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Content, E> {
        Ok(Content::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Content, E> {
        Ok(Content::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Content, E> {
        Ok(Content::default())
    }

    fn visit_str<E>(self, _: &str) -> Result<Content, E> {
        Ok(Content::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_envelope_is_read_whatever_its_content_is() {
        for content in ["[]", "[{\"a\":[1]}]", "null", "true", "-1", "1.5", "\"text\"", "{\"Other\":{}}"] {
            let body = format!(
                "{{\"Content\":{content},\"Success\":true,\"LogId\":\"L-1\",\"RequestId\":7,\"Message\":null}}"
            );
            let facts = envelope(body.as_bytes()).unwrap();
            assert_eq!((facts.success, facts.rejected), (Some(true), None), "{content}");
            assert_eq!((facts.log_id.as_deref(), facts.request_id.as_deref()), (Some("L-1"), Some("7")));
        }
        let bulk = br#"{"Content":{"ProductMessages":[],"RejectedCount":3},"Success":true,"LogId":null}"#;
        let facts = envelope(bulk).unwrap();
        assert_eq!((facts.success, facts.rejected, facts.log_id), (Some(true), Some(3), None));
        for (handle, told) in
            [("true", None), ("[[1],{}]", None), ("{\"a\":[1]}", None), ("-7", Some("-7")), ("1.5", Some("1.5"))]
        {
            let body = format!("{{\"Success\":false,\"LogId\":{handle},\"RequestId\":\"{}\"}}", "é".repeat(70));
            let facts = envelope(body.as_bytes()).unwrap();
            assert_eq!((facts.log_id.as_deref(), facts.request_id), (told, Some("é".repeat(64))));
        }
        assert_eq!(envelope(b"[1,2]"), None);
        assert_eq!(envelope(b"{\"Success\":"), None);
    }
}
