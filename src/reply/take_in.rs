//! An upstream's reply, taken in: headers cleaned, body read when it is small.

use std::borrow::Cow;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::response::Parts;
use http::{HeaderMap, HeaderValue, header};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroize;

use super::streaming::Source;
use super::{BodyTimes, Reply};
use crate::audit::EnvelopeFacts;
use crate::body::{Scrub, Scrubber};
use crate::entry::Entry;
use crate::upstream::{Inbound, InboundBody, UpstreamError};
use crate::vault::inject::{Injected, end_hop_by_hop, take_out};

/// Replies up to this size are read whole before they are sent, bytes.
const WHOLE: usize = 64 * 1024;
/// How long a reply of unknown length is waited for to be whole: small ones mostly come in one piece.
const GRACE: Duration = Duration::from_millis(20);

/// Takes an upstream's reply in: the real key is cut out, an encoded reply is refused, hop-by-hop headers end here.
pub async fn take_in(
    inbound: &mut Inbound,
    injected: &Injected,
    times: BodyTimes,
    entry: &mut Entry,
) -> Result<Reply, UpstreamError> {
    let mut head = std::mem::replace(&mut inbound.head, http::Response::new(()).into_parts().0);
    // In front of everything that reads headers: what a refusal says of them goes to client, log and record.
    entry.scrubbed(scrub_headers(&mut head.headers, &injected.scrubber));
    // In front of what ends headers: `Connection` may name this one.
    refuse_encoded(&head)?;
    head.version = http::Version::HTTP_11;
    head.extensions.clear();
    end_hop_by_hop(&mut head.headers);
    // What the gate says of itself is said by nobody else.
    take_out(&mut head.headers, |name| name.as_str().starts_with("keygate-"));
    let (start, ended) = gather(inbound, times).await?;
    if !ended {
        let scrub = Scrub::new(injected.scrubber.clone());
        let body = std::mem::replace(&mut inbound.body, InboundBody::Whole(Full::default()));
        return Ok(Reply { head, content: super::Content::Stream(Box::new(Source { start, body, scrub, times })) });
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

/// Cuts the key out of headers, and says how often it was there. One that has it in its name goes as a whole.
fn scrub_headers(headers: &mut HeaderMap, scrubber: &Scrubber) -> u32 {
    let mut count = 0;
    while let Some(name) = headers.keys().find(|name| scrubber.finds(name.as_str().as_bytes())).cloned() {
        headers.remove(name);
        count += 1;
    }
    for value in headers.values_mut().filter(|v| scrubber.finds(v.as_bytes())) {
        let (clean, found) = scrubber.whole(Bytes::copy_from_slice(value.as_bytes()));
        // What was a header value before is one with some bytes turned into `x`.
        *value = HeaderValue::from_maybe_shared(clean).unwrap_or_else(|_| HeaderValue::from_static("x"));
        count += found;
    }
    count
}

/// Reads the beginning of a body: all of it when it is small and comes at once. The flag says that it was all.
async fn gather(inbound: &mut Inbound, times: BodyTimes) -> Result<(Bytes, bool), UpstreamError> {
    let known = inbound.body.size_hint().exact();
    if known.is_some_and(|size| size > WHOLE as u64) {
        return Ok((Bytes::new(), false));
    }
    let grace = if known.is_some() { times.pause } else { GRACE };
    // Most small replies are there with their head: a timer is for those that are not.
    let mut until: Option<Instant> = None;
    let (mut first, mut all) = (Bytes::new(), BytesMut::new());
    while !inbound.body.is_end_stream() {
        let frame = if let Some(frame) = at_hand(&mut inbound.body).await {
            Ok(frame)
        } else {
            let until = *until.get_or_insert_with(|| times.deadline.min(Instant::now() + grace));
            // Boxed: most replies are at hand.
            Box::pin(timeout_at(until, inbound.body.frame())).await
        };
        let data = match frame {
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
            let size = known.and_then(|size| usize::try_from(size).ok());
            let room = size.unwrap_or(WHOLE + first.len() + data.len());
            append(&mut all, &std::mem::take(&mut first), room);
            append(&mut all, &data, room);
        }
        if first.len() + all.len() > WHOLE {
            return Ok((joined(first, all), false));
        }
        if known.is_some() {
            until = None;
        }
    }
    Ok((joined(first, all), true))
}

/// The next piece of a body, if it need not be waited for.
async fn at_hand<B: Body + Unpin>(body: &mut B) -> Option<Option<Result<Frame<B::Data>, B::Error>>> {
    poll_fn(|cx| match Pin::new(&mut *body).poll_frame(cx) {
        Poll::Ready(frame) => Poll::Ready(Some(frame)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Appends to what has that much room from its beginning on. The key may be in it, and a buffer that grows by itself would
/// leave a copy behind.
fn append(all: &mut BytesMut, bytes: &[u8], room: usize) {
    if all.capacity() - all.len() < bytes.len() {
        let mut larger = BytesMut::with_capacity(room.max(all.len() + bytes.len()));
        larger.extend_from_slice(all);
        all[..].zeroize();
        *all = larger;
    }
    all.extend_from_slice(bytes);
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
    struct Outer<'a> {
        success: Option<bool>,
        #[serde(borrow)]
        log_id: Option<&'a RawValue>,
        #[serde(borrow)]
        request_id: Option<&'a RawValue>,
        #[serde(default)]
        content: Content,
    }
    let outer: Outer<'_> = serde_json::from_slice(body).ok()?;
    let facts = EnvelopeFacts {
        success: outer.success,
        log_id: outer.log_id.and_then(handle),
        request_id: outer.request_id.and_then(handle),
        rejected: outer.content.rejected,
    };
    (facts != EnvelopeFacts::default()).then_some(facts)
}

/// A support handle of the merchant API: text or a number, cut short; anything else is passed over.
fn handle(value: &RawValue) -> Option<String> {
    let json = value.get();
    let text: Cow<'_, str> = match json.as_bytes().first()? {
        // As most are: nothing in it stands for something else.
        b'"' if memchr::memchr(b'\\', json.as_bytes()).is_none() => json[1..json.len() - 1].into(),
        b'"' => serde_json::from_str(json).ok()?,
        b'-' | b'0'..=b'9' => json.into(),
        _ => return None,
    };
    let end = match text.as_bytes().get(..64) {
        None => text.len(),
        Some(start) if start.is_ascii() => 64,
        Some(_) => text.char_indices().nth(64).map_or(text.len(), |(end, _)| end),
    };
    Some(text[..end].to_owned())
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

    const KEY: &str = "5f2b6c9e0a1d4c3b8e7f60718293a4b5c6d7e8f9";

    #[test]
    fn a_header_loses_the_key_in_its_value_and_goes_when_it_has_it_in_its_name() {
        let scrubber = Scrubber::new(&[KEY.as_bytes()], Bytes::copy_from_slice).unwrap();
        let mut headers = HeaderMap::new();
        let (capitals, escaped) = (format!("x-{}", KEY.to_uppercase()), format!("%35{}", &KEY[1..]));
        for (name, value) in [
            ("content-encoding", KEY),
            (KEY, "told"),
            (KEY, "told again"),
            (capitals.as_str(), "told"),
            (escaped.as_str(), escaped.as_str()),
            ("x-other", "kept"),
        ] {
            let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        assert_eq!(scrub_headers(&mut headers, &scrubber), 4);
        assert_eq!(headers.len(), 2);
        assert_eq!(headers["content-encoding"], "x".repeat(40));
        assert_eq!(headers["x-other"], "kept");
    }

    #[test]
    fn what_is_joined_stays_where_it_is_while_there_is_room_and_is_whole_when_there_is_none() {
        let mut all = BytesMut::new();
        append(&mut all, b"ab", 8);
        let begins = all.as_ptr();
        append(&mut all, b"cdef", 8);
        append(&mut all, b"gh", 8);
        assert_eq!((all.as_ptr(), &all[..]), (begins, &b"abcdefgh"[..]));
        let more = vec![b'i'; 100];
        append(&mut all, &more, 8);
        assert_eq!(all, [&b"abcdefgh"[..], &more[..]].concat());
    }

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
