//! Batches as HTTP requests, signed as [Standard Webhooks](https://www.standardwebhooks.com/) has it: HMAC-SHA256 over the
//! message's id, a timestamp and the body. The libraries of that specification check it.

use std::path::Path;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request};
use http_body_util::Full;
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::batch::Batch;
use super::courier::request;
use crate::vault::private_file;

/// What a secret begins with.
const PREFIX: &str = "whsec_";
/// Bytes of a secret, as the specification has them.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

pub(super) struct Webhook {
    name: String,
    key: hmac::Key,
}

impl Webhook {
    pub(super) fn open(name: &str, file: &Path) -> Result<Self, String> {
        let text = private_file::read(file).map_err(|error| crate::causes::chain(&error))?;
        let form = || format!("`{}` must hold `{PREFIX}` and 24 to 64 bytes in Base64", file.display());
        let text = std::str::from_utf8(&text).map_err(|_| form())?.trim();
        let digits = text.strip_prefix(PREFIX).ok_or_else(form)?;
        let secret = Zeroizing::new(STANDARD.decode(digits).map_err(|_| form())?);
        if !LENGTHS.contains(&secret.len()) {
            return Err(form());
        }
        Ok(Self { name: name.to_owned(), key: hmac::Key::new(hmac::HMAC_SHA256, &secret) })
    }

    /// The same batch has the same id each time it is sent: whoever gets it twice knows it by that.
    pub(super) fn request(&self, batch: &Batch) -> Result<Request<Full<Bytes>>, String> {
        let id = format!("{}_{}_{}", self.name.replace('.', "-"), batch.first(), batch.next() - 1);
        let time = Timestamp::now().as_second().to_string();
        let body = batch.lines();
        let signed = [id.as_bytes(), b".", time.as_bytes(), b".", &body].concat();
        let signature = format!("v1,{}", STANDARD.encode(hmac::sign(&self.key, &signed)));
        let mut request = request("application/x-ndjson", body);
        for (name, value) in [("webhook-id", id), ("webhook-timestamp", time), ("webhook-signature", signature)] {
            let value = HeaderValue::from_str(&value).map_err(|error| error.to_string())?;
            request.headers_mut().insert(HeaderName::from_static(name), value);
        }
        Ok(request)
    }
}
