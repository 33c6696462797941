//! One question to the server, as its API wants it put.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request};
use http_body_util::Full;
use rustls::ClientConfig;
use zeroize::Zeroizing;

use crate::config;
use crate::vault::https::{Answer, Https};
use crate::vault::{Secret, VaultError};

/// A server, and how it is asked.
pub(super) struct Server {
    https: Https,
    namespace: Option<HeaderValue>,
    /// Time for one question.
    limit: Duration,
}

/// A question.
pub(super) struct Question<'a> {
    /// `GET` or `POST`.
    pub(super) method: Method,
    /// Path and query below `/v1/`.
    pub(super) path: &'a str,
    /// The token to show.
    pub(super) token: Option<&'a Secret>,
    /// What is sent along, JSON.
    pub(super) body: Zeroizing<Vec<u8>>,
}

impl Server {
    /// `None` when its host is no name that a certificate can hold, or the namespace nothing that a header can.
    pub(super) fn new(bao: &config::OpenBao, tls: ClientConfig) -> std::io::Result<Option<Self>> {
        let namespace = bao.namespace.as_deref().map(HeaderValue::from_str).transpose().ok();
        let Some((https, namespace)) = Https::new(&bao.address, tls)?.zip(namespace) else { return Ok(None) };
        Ok(Some(Self { https, namespace, limit: bao.timeout }))
    }

    /// Its address, for people.
    pub(super) fn place(&self) -> String {
        self.https.place()
    }

    /// A server that does not answer.
    pub(super) fn away(&self, why: impl Into<String>) -> VaultError {
        self.https.away(why)
    }

    /// Asks.
    pub(super) fn ask(&self, question: Question<'_>) -> Result<Answer, VaultError> {
        self.ask_within(question, self.limit)
    }

    /// Asks with another time limit.
    pub(super) fn ask_within(&self, question: Question<'_>, limit: Duration) -> Result<Answer, VaultError> {
        let request = self.request(question).map_err(|error| self.away(error.to_string()))?;
        self.https.ask(request, limit)
    }

    fn request(&self, question: Question<'_>) -> Result<Request<Full<Bytes>>, http::Error> {
        let Question { method, path, token, body } = question;
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}/v1/{path}", self.https.path()))
            // What keeps the server's own proxies from answering to a page that a browser has open.
            .header("x-vault-request", "true");
        if let Some(namespace) = &self.namespace {
            request = request.header("x-vault-namespace", namespace);
        }
        if let Some(token) = token {
            let mut value = HeaderValue::from_maybe_shared(token.to_shared("{key}"))?;
            value.set_sensitive(true);
            request = request.header("x-vault-token", value);
        }
        request.body(Full::new(Bytes::from_owner(body)))
    }
}
