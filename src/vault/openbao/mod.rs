//! A server with the API of OpenBao and HashiCorp Vault; credentials lie in its KV engine, version 2.
//!
//! The credential `acme` is the secret `PATH/acme` below the engine's mount, with the fields of a [`Document`]. The token
//! that a login gives is kept, renewed when two thirds of its life are over, and replaced by another login when the server
//! takes it no more. Credentials themselves are never kept here.

mod api;
mod http;
mod login;

use std::cell::RefCell;
use std::time::Duration;

use ::http::{Method, StatusCode};
use rustls::ClientConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::document::Document;
use super::https::Answer;
use super::{Credential, Vault, VaultError, is_plain, private_file};
use crate::config::{self, Login};
use crate::upstream::{TlsSetupError, client_builder};
use api::{json, judge, words};
use http::{Question, Server};
use login::{LOOK_UP, Session, Unwrapped, login, looked_up};

/// No question about a token more often than this.
const CALM: Duration = Duration::from_secs(1);

/// Credentials in a server.
pub struct OpenBao {
    server: Server,
    config: config::OpenBao,
    state: RefCell<State>,
}

/// What is kept between questions.
#[derive(Default)]
struct State {
    session: Option<Session>,
    unwrapped: Unwrapped,
    /// The token may not read metadata: versions are not asked for.
    blind: bool,
    news: Vec<String>,
}

/// Why a server cannot even be asked.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Trust roots, or the TLS library itself.
    #[error("cannot set up TLS towards it")]
    Tls(#[from] TlsSetupError),
    /// The client certificate's key is no private file.
    #[error("cannot use the client certificate's key")]
    Key(#[source] VaultError),
    /// Not PEM.
    #[error("`{path}` holds no {what}")]
    Pem {
        /// The file.
        path: String,
        /// What should be in it.
        what: &'static str,
        /// Why.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// Certificate and key do not fit.
    #[error("the client certificate and its key cannot be used together")]
    Pair(#[source] rustls::Error),
    /// Its host is no name.
    #[error("its host is no name that a certificate can hold")]
    Host,
    /// No runtime.
    #[error("cannot start")]
    Runtime(#[from] std::io::Error),
}

impl OpenBao {
    /// Prepares to ask; nothing is asked yet.
    pub fn new(config: &config::OpenBao) -> Result<Self, SetupError> {
        let server = Server::new(config, tls(config)?)?.ok_or(SetupError::Host)?;
        Ok(Self { server, config: config.clone(), state: RefCell::default() })
    }

    /// Whether the wrapping token is a good one, without using it up. `None` when nothing is wrapped: then a login is what
    /// shows whether all is well.
    pub fn wrapping(&self) -> Option<Result<(), VaultError>> {
        let Login::AppRole { mount, secret_id_file, wrapped: true, .. } = &self.config.login else { return None };
        Some(login::read(secret_id_file).and_then(|token| looked_up(&self.server, mount, &token)))
    }

    fn path(&self, what: &str, id: &str) -> String {
        format!("{}/{what}/{}/{id}", self.config.mount, self.config.path)
    }

    /// Asks with a token. A token that is not taken is replaced once: it may have been withdrawn, or have come to its end.
    fn read(&self, path: &str) -> Result<Answer, VaultError> {
        let mut state = self.state.borrow_mut();
        let mut fresh = state.ready(&self.server, &self.config.login)?;
        loop {
            let token = state.session.as_ref().map(|session| &session.token);
            let question = Question { method: Method::GET, path, token, body: Zeroizing::default() };
            let answer = self.server.ask(question)?;
            // That the token is good and may not do this is an answer; that it is not good is none.
            if answer.status != StatusCode::FORBIDDEN || fresh || state.token_is_good(&self.server)? {
                return Ok(answer);
            }
            state.session = None;
            fresh = state.ready(&self.server, &self.config.login)?;
        }
    }

    fn missing(&self, id: &str) -> VaultError {
        #[derive(Deserialize)]
        struct Listed {
            data: Keys,
        }
        #[derive(Deserialize)]
        struct Keys {
            keys: Vec<String>,
        }
        let path = format!("{}/metadata/{}?list=true", self.config.mount, self.config.path);
        let listed = self.read(&path).and_then(|answer| {
            judge(&self.server, &answer, "a list")?;
            json::<Listed>(&self.server, &answer)
        });
        // Most policies do not let the gate list, and it needs it for a hint only.
        let known = listed.map(|listed| listed.data.keys).unwrap_or_default();
        VaultError::Missing { id: id.to_owned(), known }
    }
}

impl State {
    /// Sees to it that there is a token; whether it is one that was made just now.
    fn ready(&mut self, server: &Server, how: &Login) -> Result<bool, VaultError> {
        if self.session.as_ref().is_some_and(|session| !session.is_over()) {
            return Ok(false);
        }
        self.session = None;
        self.log_in(server, how)?;
        Ok(true)
    }

    fn token_is_good(&self, server: &Server) -> Result<bool, VaultError> {
        let token = self.session.as_ref().map(|session| &session.token);
        let question = Question { method: Method::GET, path: LOOK_UP, token, body: Zeroizing::default() };
        Ok(server.ask(question)?.status.is_success())
    }

    fn log_in(&mut self, server: &Server, how: &Login) -> Result<(), VaultError> {
        let session = login(server, how, &mut self.unwrapped)?;
        let by = match how {
            Login::Token { .. } => "the token of `token_file` is taken",
            Login::AppRole { wrapped: true, .. } => "logged in by approle, with a secret id that was unwrapped",
            Login::AppRole { .. } => "logged in by approle",
            Login::Jwt { .. } => "logged in by JWT",
            Login::Certificate { .. } => "logged in by certificate",
        };
        self.news.push(format!("{}: {by}; {}", server.place(), session.told()));
        (self.session, self.blind) = (Some(session), false);
        Ok(())
    }
}

impl Vault for OpenBao {
    fn fetch(&self, id: &str) -> Result<Credential, VaultError> {
        #[derive(Deserialize)]
        struct Read {
            data: Data,
        }
        #[derive(Deserialize)]
        struct Data {
            data: Option<Document>,
            metadata: Facts,
        }
        #[derive(Deserialize)]
        struct Facts {
            version: u64,
        }
        if !is_plain(id) {
            return Err(self.missing(id));
        }
        let path = self.path("data", id);
        let answer = self.read(&path)?;
        if answer.status == StatusCode::NOT_FOUND && words(&answer).is_none() {
            return Err(self.missing(id));
        }
        judge(&self.server, &answer, &format!("to read `{path}`"))?;
        let Read { data } = json(&self.server, &answer)?;
        let place = format!("{} {path}", self.server.place());
        let Some(document) = data.data else { return Err(self.missing(id)) };
        if document.version.is_some() {
            let why = format!("`{id}` has a field `version`; the vault counts versions itself");
            return Err(VaultError::Damaged { place, why });
        }
        document.into_credential(id, data.metadata.version, &place)
    }

    fn version(&self, id: &str) -> Result<Option<u64>, VaultError> {
        #[derive(Deserialize)]
        struct Read {
            data: Data,
        }
        #[derive(Deserialize)]
        struct Data {
            current_version: u64,
            versions: std::collections::BTreeMap<String, Facts>,
        }
        #[derive(Deserialize)]
        struct Facts {
            deletion_time: String,
            destroyed: bool,
        }
        if self.state.borrow().blind {
            return Ok(None);
        }
        let answer = self.read(&self.path("metadata", id))?;
        if answer.status == StatusCode::FORBIDDEN {
            self.state.borrow_mut().blind = true;
        }
        if answer.status.is_client_error() && answer.status != StatusCode::TOO_MANY_REQUESTS {
            // Not ours to see, or not there: reading the credential itself will tell.
            return Ok(None);
        }
        judge(&self.server, &answer, "to read metadata")?;
        let Read { data } = json(&self.server, &answer)?;
        let current = data.versions.get(&data.current_version.to_string());
        // A deletion may lie ahead; then too it is the credential itself that is asked for.
        let stands = current.is_some_and(|facts| facts.deletion_time.is_empty() && !facts.destroyed);
        Ok(stands.then_some(data.current_version))
    }

    fn tend(&self) -> Option<Duration> {
        let mut state = self.state.borrow_mut();
        let session = state.session.as_mut()?;
        if session.due()? > Duration::ZERO {
            return session.due().map(|due| due.max(CALM));
        }
        match session.renew(&self.server) {
            Ok(true) => tracing::debug!("the vault's token was renewed"),
            // Its end is near, and it cannot be moved: another login, while the old token still serves.
            Ok(false) => drop(state.log_in(&self.server, &self.config.login)),
            Err(error) => tracing::debug!(%error, "the vault's token could not be renewed"),
        }
        state.session.as_ref()?.due().map(|due| due.max(CALM))
    }

    fn news(&self) -> Vec<String> {
        std::mem::take(&mut self.state.borrow_mut().news)
    }
}

impl Drop for OpenBao {
    fn drop(&mut self) {
        if let Some(session) = self.state.get_mut().session.take() {
            session.end(&self.server);
        }
    }
}

/// TLS towards the server: 1.2 or 1.3, always verified; with a certificate of our own when that is how we log in.
fn tls(bao: &config::OpenBao) -> Result<ClientConfig, SetupError> {
    let builder = client_builder(bao.trust_roots.as_deref())?;
    let Login::Certificate { certificate, key, .. } = &bao.login else { return Ok(builder.with_no_client_auth()) };
    let no_pem = |path: &std::path::Path, what| {
        let path = path.display().to_string();
        move |source| SetupError::Pem { path, what, source }
    };
    let chain: Result<Vec<CertificateDer<'static>>, _> =
        CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
    let chain = chain.map_err(no_pem(certificate, "certificate"))?;
    let (pem, _) = private_file::read_mounted(key).map_err(SetupError::Key)?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(no_pem(key, "private key"))?;
    builder.with_client_auth_cert(chain, key).map_err(SetupError::Pair)
}
