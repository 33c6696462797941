//! The client side's TLS: 1.2 and 1.3, always verified, no switch to turn that off.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::crypto;

/// Why trust roots cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsSetupError {
    /// Not readable, or not PEM.
    #[error("cannot read certificates from `{path}`")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// Readable, no certificate in it.
    #[error("`{0}` holds no certificate")]
    Empty(String),
    /// A certificate that is no trust root.
    #[error("`{path}` holds a certificate that cannot be a trust root")]
    NoRoot {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// The TLS library refuses its own defaults.
    #[error("cannot set up TLS")]
    Setup(#[from] rustls::Error),
}

/// TLS towards an upstream: Mozilla's roots, or those of a PEM file instead.
pub fn client_config(trust_roots: Option<&Path>) -> Result<Arc<ClientConfig>, TlsSetupError> {
    let mut config = client_builder(trust_roots)?.with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// What all TLS of ours towards others has in common; whether we show a certificate, too, is still open.
pub fn client_builder(
    trust_roots: Option<&Path>,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, TlsSetupError> {
    let roots = match trust_roots {
        Some(path) => read_roots(path)?,
        None => webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect(),
    };
    Ok(ClientConfig::builder_with_provider(crypto::provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_root_certificates(roots))
}

fn read_roots(path: &Path) -> Result<RootCertStore, TlsSetupError> {
    let name = path.display().to_string();
    let unreadable = |source| TlsSetupError::Unreadable { path: name.clone(), source };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
        let certificate = certificate.map_err(unreadable)?;
        roots.add(certificate).map_err(|source| TlsSetupError::NoRoot { path: name.clone(), source })?;
    }
    if roots.is_empty() { Err(TlsSetupError::Empty(name)) } else { Ok(roots) }
}
