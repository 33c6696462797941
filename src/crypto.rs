//! The cipher suites of both sides of the gate, in the order they are preferred.

use std::sync::Arc;

use rustls::CipherSuite;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;

/// All suites of the TLS library, AES-128-GCM with SHA-256 first. It is as good as unbreakable as the others are, is the one
/// suite that every TLS 1.3 implementation must have, and its key schedule costs a fraction: processors hash SHA-256 in
/// hardware, and SHA-384 not.
pub fn provider() -> Arc<CryptoProvider> {
    let mut provider = default_provider();
    provider.cipher_suites.sort_by_key(|suite| !is_first(suite.suite()));
    Arc::new(provider)
}

fn is_first(suite: CipherSuite) -> bool {
    matches!(
        suite,
        CipherSuite::TLS13_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cheapest_suites_come_first_and_none_is_lost() {
        let (ours, theirs) = (provider(), default_provider());
        assert!(ours.cipher_suites[..3].iter().all(|suite| is_first(suite.suite())));
        assert_eq!(ours.cipher_suites.len(), theirs.cipher_suites.len());
        assert!(theirs.cipher_suites.iter().all(|suite| ours.cipher_suites.contains(suite)));
    }
}
