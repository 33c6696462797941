//! Credentials that are exchanged for an access token first (OAuth 2.0, client credentials or a refresh token): what the profile's placements
//! put into a request is the token.
//!
//! The exchange is made by whoever fetches credentials, which is one thread: there is one exchange at a time, before the
//! token ends, and no call ever waits for it. Id and secret go to the token endpoint and nowhere else.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body_util::Full;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::age_file::Key;
use super::arena::Locked;
use super::https::{Answer, Https};
use super::prepared::push_encoded;
use super::{Credential, Secret, Vault, VaultError};
use crate::config::Upstream;
use crate::profile::{ClientProof, Grant, TokenSource};
use crate::upstream::{TlsSetupError, client_builder};

/// Time for one exchange.
const LIMIT: Duration = Duration::from_secs(10);

/// How long a token lives that comes without a time; RFC 6749 leaves it open.
const USUAL_LIFE: u64 = 300;

/// A year: whatever an endpoint says, times stay within what can be counted.
const LONGEST_LIFE: u64 = 365 * 24 * 60 * 60;

/// After a failed exchange the next one waits this long at least.
const AGAIN: Duration = Duration::from_secs(5);

/// A vault whose credentials are exchanged where their upstream's profile says so.
pub struct Exchanging {
    vault: Box<dyn Vault>,
    desks: HashMap<Arc<str>, Desk>,
    tokens: RefCell<HashMap<Arc<str>, Token>>,
}

/// Where one credential is exchanged.
struct Desk {
    source: TokenSource,
    https: Https,
}

/// A token, as long as it is good.
struct Token {
    version: u64,
    secret: Secret,
    ends: Timestamp,
    /// When another one should be there.
    due: Instant,
    /// What the last exchange said, when it gave none.
    trouble: Option<Trouble>,
}

/// Why there is no other token.
#[derive(Clone)]
struct Trouble {
    why: String,
    may_pass: bool,
}

/// Why a token endpoint cannot even be asked.
#[derive(Debug, thiserror::Error)]
pub enum TokenSetup {
    /// Trust roots.
    #[error("cannot set up TLS towards it")]
    Tls(#[from] TlsSetupError),
    /// Its host is no name.
    #[error("its host is no name that a certificate can hold")]
    Host,
    /// No runtime.
    #[error("cannot start")]
    Runtime(#[from] std::io::Error),
}

impl Exchanging {
    /// Wraps a vault when an upstream's profile wants tokens, and hands it back as it is when none does.
    pub fn around(vault: Box<dyn Vault>, upstreams: &[Upstream]) -> Result<Box<dyn Vault>, TokenSetup> {
        let mut desks = HashMap::new();
        for upstream in upstreams {
            let Some(source) = &upstream.profile.token else { continue };
            for id in &upstream.credentials {
                let tls = client_builder(upstream.trust_roots.as_deref())?.with_no_client_auth();
                let https = Https::new(&source.url, tls)?.ok_or(TokenSetup::Host)?;
                desks.insert(id.clone(), Desk { source: source.clone(), https });
            }
        }
        if desks.is_empty() {
            return Ok(vault);
        }
        Ok(Box::new(Self { vault, desks, tokens: RefCell::default() }))
    }
}

impl Vault for Exchanging {
    fn fetch(&self, id: &str) -> Result<Credential, VaultError> {
        let credential = self.vault.fetch(id)?;
        let Some(desk) = self.desks.get(id) else { return Ok(credential) };
        let mut tokens = self.tokens.borrow_mut();
        let known = tokens.get_mut(id).filter(|token| token.version == credential.version);
        let due = known.as_ref().is_none_or(|token| token.due <= Instant::now());
        let trouble = match (known, due) {
            (Some(token), false) => token.trouble.clone(),
            (known, _) => match (desk.exchange(&credential), known) {
                (Ok(token), _) => {
                    tokens.insert(credential.id.clone(), token);
                    None
                }
                (Err(trouble), known) => {
                    // Until the next try the answer stays what it was.
                    if let Some(token) = known {
                        (token.trouble, token.due) = (Some(trouble.clone()), Instant::now() + AGAIN);
                    }
                    Some(trouble)
                }
            },
        };
        match (trouble, tokens.get(id)) {
            (None, Some(token)) => Ok(token.in_place_of(credential)),
            (trouble, _) => {
                let Trouble { why, may_pass } = trouble.unwrap_or_else(|| Trouble::lasting("there is none"));
                Err(VaultError::NoToken { place: desk.https.place(), id: id.to_owned(), why, may_pass })
            }
        }
    }

    fn version(&self, id: &str) -> Result<Option<u64>, VaultError> {
        let wanting = |token: &Token| token.trouble.is_some() || token.due <= Instant::now();
        if self.tokens.borrow().get(id).is_some_and(wanting) { Ok(None) } else { self.vault.version(id) }
    }

    fn tend(&self) -> Option<Duration> {
        let tokens = self.tokens.borrow();
        let due = tokens.values().map(|token| token.due.saturating_duration_since(Instant::now()));
        due.chain(self.vault.tend()).min()
    }

    fn news(&self) -> Vec<String> {
        self.vault.news()
    }
}

impl Token {
    /// What is put into requests, instead of the credential itself.
    fn in_place_of(&self, credential: Credential) -> Credential {
        let until = credential.until.map_or(self.ends, |until| until.min(self.ends));
        // A second key would have to be exchanged as well; as it is, it must go into no request.
        let (secret, other) = (Secret::from_locked(Locked::copy_of(self.secret.expose())), None);
        Credential { secret, until: Some(until), other, ..credential }
    }
}

impl Trouble {
    fn lasting(why: impl Into<String>) -> Self {
        Self { why: why.into(), may_pass: false }
    }

    fn passing(why: impl Into<String>) -> Self {
        Self { why: why.into(), may_pass: true }
    }
}

impl Desk {
    fn exchange(&self, credential: &Credential) -> Result<Token, Trouble> {
        #[derive(Deserialize)]
        struct Granted {
            access_token: Key,
            #[serde(default)]
            expires_in: Option<u64>,
        }
        if credential.token_url.as_ref() != Some(&self.https.place()) {
            return Err(Trouble::lasting("the credential does not name it as its `token_url`"));
        }
        let form = match self.source.grant {
            Grant::ClientCredentials => "`id:secret`",
            Grant::RefreshToken => "`id:secret:refresh-token`",
        };
        let request = self
            .request(credential)
            .ok_or_else(|| Trouble::lasting(format!("the credential is not of the form {form}")))?;
        let answer = self.https.ask(request, LIMIT).map_err(|error| match error {
            VaultError::Away { why, .. } => Trouble::passing(why),
            error => Trouble::lasting(error.to_string()),
        })?;
        let status = answer.status.as_u16();
        if answer.status.is_server_error() || status == 429 {
            return Err(Trouble::passing(format!("status {status}")));
        }
        if !answer.status.is_success() {
            return Err(Trouble::lasting(format!("status {status}{}", reason(&answer))));
        }
        let Granted { access_token, expires_in } =
            serde_json::from_slice(&answer.body).map_err(|_| Trouble::lasting("its answer holds no token"))?;
        let life = expires_in.unwrap_or(USUAL_LIFE).clamp(1, LONGEST_LIFE);
        let ends = SignedDuration::from_secs(i64::try_from(life).unwrap_or(i64::MAX));
        Ok(Token {
            version: credential.version,
            secret: Secret::from_locked(access_token.0),
            ends: Timestamp::now().saturating_add(ends).unwrap_or(Timestamp::MAX),
            due: Instant::now() + Duration::from_secs(life) * 2 / 3,
            trouble: None,
        })
    }

    /// `None` when the credential has not the form that the grant needs.
    fn request(&self, credential: &Credential) -> Option<Request<Full<Bytes>>> {
        let all = credential.secret.expose();
        let (pair, refresh, grant) = match self.source.grant {
            Grant::ClientCredentials => (all, None, &b"grant_type=client_credentials"[..]),
            Grant::RefreshToken => {
                let (pair, refresh) = parted(all, all.iter().rposition(|byte| *byte == b':')?);
                (pair, Some(refresh), &b"grant_type=refresh_token"[..])
            }
        };
        let (id, secret) = parted(pair, pair.iter().position(|byte| *byte == b':')?);
        let mut body = Locked::copy_of(grant);
        let mut add = |name: &str, value: &[u8]| {
            body.push('&');
            push_encoded(&mut body, name.as_bytes());
            body.push('=');
            push_encoded(&mut body, value);
        };
        if self.source.client == ClientProof::Body {
            add("client_id", id);
            add("client_secret", secret);
        }
        if let Some(refresh) = refresh {
            add("refresh_token", refresh);
        }
        self.source.parameters.iter().for_each(|(name, value)| add(name, value.as_bytes()));
        let mut request = Request::post(self.https.path())
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json");
        if self.source.client == ClientProof::Basic {
            let encoded = Secret::new(STANDARD.encode(pair).into_bytes());
            let mut value = HeaderValue::from_maybe_shared(encoded.to_shared("Basic {key}")).ok()?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        request.body(Full::new(Bytes::from_owner(body))).ok()
    }
}

/// What stands before a colon, and what behind it.
fn parted(text: &[u8], colon: usize) -> (&[u8], &[u8]) {
    (&text[..colon], &text[colon + 1..])
}

/// The endpoint's own word for what is wrong, if it is one of those that RFC 6749 knows.
fn reason(answer: &Answer) -> String {
    #[derive(Deserialize)]
    struct Wrong {
        error: String,
    }
    const KNOWN: [&str; 6] = [
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
    ];
    let wrong = serde_json::from_slice::<Wrong>(&answer.body).ok();
    let known = wrong.and_then(|wrong| KNOWN.into_iter().find(|word| *word == wrong.error));
    known.map_or_else(String::new, |word| format!(": {word}"))
}
