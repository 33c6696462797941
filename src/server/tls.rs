//! The server side's TLS: 1.2 and 1.3, ECDHE with AEAD ciphers, post-quantum key exchange offered.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert, ServerSessionMemoryCache};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, ServerConnection};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::hello::Hello;
use crate::audit::TlsFacts;
use crate::crypto;

/// Why the certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The file cannot be read, or is no PEM of the kind.
    #[error("cannot read {what} from `{path}`")]
    Unreadable {
        /// `certificates`, `the private key`.
        what: &'static str,
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// No certificate in the file.
    #[error("`{0}` holds no certificate")]
    Empty(String),
    /// They do not fit together, or are of a kind that cannot be served.
    #[error("the certificate and the private key cannot be used together")]
    Unusable(#[source] rustls::Error),
}

/// A certificate chain with its private key: they fit together.
pub struct Pair(Arc<CertifiedKey>);

/// The certificate that is shown; another one takes its place without touching a connection.
#[derive(Debug)]
pub struct Certificate(ArcSwap<CertifiedKey>);

impl Certificate {
    /// Shows this one at first.
    pub fn new(pair: Pair) -> Self {
        Self(ArcSwap::new(pair.0))
    }

    /// Shows this one to whoever connects from now on.
    pub fn show(&self, pair: Pair) {
        self.0.store(pair.0);
    }

    /// Whether this is the one that is shown.
    pub fn shows(&self, pair: &Pair) -> bool {
        self.0.load().cert == pair.0.cert
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// TLS towards integrations.
pub fn server_config(certificate: Arc<Certificate>) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(crypto::provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // The order of suites is the gate's: clients that ask for SHA-384 first pay for it here.
    config.ignore_client_order = true;
    // Tickets are sealed with a key that lives in this process and rotates; the cache serves TLS 1.2 session ids.
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
    config.session_storage = ServerSessionMemoryCache::new(4096);
    // One ticket is enough for a client that comes back; each costs a key derivation and a write.
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

/// Reads a certificate chain, leaf first, and its private key.
pub fn read_certificate(certificate: &Path, private_key: &Path) -> Result<Pair, CertificateError> {
    let unreadable = |what, path: &Path| {
        let path = path.display().to_string();
        move |source| CertificateError::Unreadable { what, path, source }
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(unreadable("certificates", certificate))?;
    if chain.is_empty() {
        return Err(CertificateError::Empty(certificate.display().to_string()));
    }
    let key = PrivateKeyDer::from_pem_file(private_key).map_err(unreadable("the private key", private_key))?;
    let pair = CertifiedKey::from_der(chain, key, &crypto::provider()).map_err(CertificateError::Unusable)?;
    Ok(Pair(Arc::new(pair)))
}

/// What was agreed on, for the record.
pub fn facts(connection: &ServerConnection, hello: Hello) -> TlsFacts {
    TlsFacts {
        version: match connection.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => Some("1.3"),
            Some(rustls::ProtocolVersion::TLSv1_2) => Some("1.2"),
            _ => None,
        },
        cipher: connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()),
        group: connection.negotiated_key_exchange_group().and_then(|group| group.name().as_str()),
        sni: hello.sni,
        offered: Vec::new(),
        ja4: hello.ja4,
    }
}

/// What was offered and refused, for the record.
pub fn offered(hello: Hello) -> TlsFacts {
    TlsFacts { sni: hello.sni, offered: hello.versions, ja4: hello.ja4, ..TlsFacts::default() }
}
