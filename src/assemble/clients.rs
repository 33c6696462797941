//! The upstreams' clients: everything that can be wrong with one is found before a worker builds its own.

use std::sync::Arc;

use http::HeaderValue;

use crate::cli::report::Failure;
use crate::config::{self, Config};
use crate::gateway::Upstream;
use crate::upstream::{Client, Connector, Service, client_config};

/// What a worker needs to build its own client of an upstream.
pub(super) struct ClientParts {
    upstream: config::Upstream,
    tls: Arc<rustls::ClientConfig>,
    host: HeaderValue,
    max_head: u32,
}

/// Everything that can be wrong with an upstream is found here, once, before a worker builds its client.
pub(super) fn upstreams(config: &Config) -> Result<Vec<ClientParts>, Failure> {
    let one = |upstream: &config::Upstream| {
        let failed = || Failure::new(format!("cannot use upstream `{}`", upstream.name));
        let tls = client_config(upstream.trust_roots.as_deref())
            .map_err(|error| failed().because(error).hint("`trust_roots` names a PEM file with CA certificates"))?;
        let host = HeaderValue::from_str(&upstream.base_url.authority()).map_err(|error| failed().because(error))?;
        let parts = ClientParts { upstream: upstream.clone(), tls, host, max_head: config.listen.max_head };
        parts.try_build().ok_or_else(|| failed().hint("its host is no name that a certificate can hold"))?;
        Ok(parts)
    };
    config.upstreams.iter().map(one).collect()
}

impl ClientParts {
    fn try_build(&self) -> Option<Upstream> {
        let connector = Connector::new(&self.upstream, self.tls.clone())?;
        let times = connector.times;
        let client = Client::new(connector, &self.upstream.base_url.authority(), self.max_head)?;
        Some(Upstream {
            name: self.upstream.name.clone(),
            base_path: self.upstream.base_url.path.clone(),
            host: self.host.clone(),
            times,
            service: Service::Client(Box::new(client)),
        })
    }

    #[allow(clippy::expect_used, reason = "`upstreams` has built it once already, from the same parts")]
    pub(super) fn build(&self) -> Upstream {
        self.try_build().expect("built before")
    }
}
