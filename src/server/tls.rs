//! The server side's TLS: 1.2 and 1.3, ECDHE with AEAD ciphers, post-quantum key exchange offered.

use std::path::Path;
use std::sync::Arc;

use rustls::server::ServerSessionMemoryCache;
use rustls::{ServerConfig, ServerConnection};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::hello::Hello;
use crate::audit::TlsFacts;

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

/// TLS towards integrations.
pub fn server_config(certificate: &Path, private_key: &Path) -> Result<Arc<ServerConfig>, CertificateError> {
    let (chain, key) = read_pair(certificate, private_key)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(CertificateError::Unusable)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // Tickets are sealed with a key that lives in this process and rotates; the cache serves TLS 1.2 session ids.
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(CertificateError::Unusable)?;
    config.session_storage = ServerSessionMemoryCache::new(4096);
    // One ticket is enough for a client that comes back; each costs a key derivation and a write.
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

fn read_pair(
    certificate: &Path,
    private_key: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), CertificateError> {
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
    Ok((chain, key))
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
