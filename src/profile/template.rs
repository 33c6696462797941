//! The small languages inside a profile's file: path templates, scope names, kinds of personal data.

use std::sync::Arc;

use super::Segment;

/// Deepest path; the matcher recurses once per segment.
const MAX_SEGMENTS: usize = 16;

/// Why a value was refused, and what to write instead.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) what: String,
    pub(super) remedy: String,
}

impl Wrong {
    pub(super) fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: remedy.into() }
    }
}

/// Takes a path template apart: its segments, and the names of its parameters in order.
pub(super) fn parse(path: &str) -> Result<(Vec<Segment>, Vec<Arc<str>>), Wrong> {
    let bad = |why: &str, remedy: &str| Wrong::new(format!("path `{path}` {why}"), remedy);
    let Some(below) = path.strip_prefix('/') else {
        return Err(bad("does not begin with `/`", "write it from the base URL on: `/v2/orders`"));
    };
    let mut segments = Vec::new();
    let mut params: Vec<Arc<str>> = Vec::new();
    if below.is_empty() {
        // The root itself.
        return Ok((segments, params));
    }
    for text in below.split('/') {
        let segment = segment(text).map_err(|why| {
            bad(&why, "segments are fixed words (letters, digits, `-._~`) or one `{name}`, separated by single `/`")
        })?;
        if let Segment::Param(name) = &segment {
            if params.contains(name) {
                return Err(bad(&format!("has two parameters `{name}`"), "give each its own name"));
            }
            params.push(name.clone());
        }
        segments.push(segment);
    }
    if segments.len() > MAX_SEGMENTS {
        return Err(bad("is too deep", "16 segments are the most"));
    }
    Ok((segments, params))
}

/// The error says what the path has or holds.
fn segment(text: &str) -> Result<Segment, String> {
    if let Some(inner) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        let named = inner.starts_with(|c: char| c.is_ascii_alphabetic())
            && inner.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        return if named {
            Ok(Segment::Param(inner.into()))
        } else {
            Err(format!("has a parameter named `{inner}`, which is no name"))
        };
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    match text {
        "" => Err("has an empty segment".to_owned()),
        "." | ".." => Err(format!("has a segment `{text}`")),
        _ if text.bytes().all(plain) => Ok(Segment::Literal(text.into())),
        _ => Err(format!("has a segment `{text}`, which is neither a fixed word nor one parameter")),
    }
}

/// `orders:read`, or one word.
pub(super) fn scope(text: &str) -> Result<(), Wrong> {
    if text.splitn(2, ':').all(is_word) {
        return Ok(());
    }
    Err(Wrong::new(
        format!("scope `{text}` is no scope name"),
        "lower case, as in `orders:read` or `purchase-orders:write`",
    ))
}

/// `response:customer`, `query:email`.
pub(super) fn personal_data(text: &str) -> Result<(), Wrong> {
    match text.split_once(':') {
        Some(("request" | "response" | "query" | "path", kind)) if is_word(kind) => Ok(()),
        _ => Err(Wrong::new(
            format!("personal data `{text}` is not understood"),
            "write where and what: `response:customer`, `request:free-text`, `query:email`",
        )),
    }
}

/// A lower-case name such as `channelengine`.
pub(super) fn word(text: &str, what: &str) -> Result<(), Wrong> {
    if is_word(text) {
        return Ok(());
    }
    Err(Wrong::new(format!("`{text}` is no {what}"), "lower-case letters, digits and `-`"))
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}
