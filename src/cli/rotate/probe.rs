//! What an upstream says to a key: a harmless read of this command's own.

use http::Method;

use crate::assemble;
use crate::cli::report::Failure;
use crate::config::{Config, Upstream};
use crate::profile::{Effect, Endpoint, Found};
use crate::vault::{Covers, Credential, Prepared};

/// What the upstream says to a key.
pub enum Said {
    /// It answers.
    Takes,
    /// It does not know the key, or lets it do nothing.
    Refuses(u16),
    /// It says something else, or nothing.
    Unclear(String),
}

/// Asks.
pub fn ask(config: &Config, upstream: usize, credential: &Credential, path: &str) -> Said {
    match assemble::try_key(config, upstream, credential, path) {
        Ok(200..=299) => Said::Takes,
        Ok(status @ (401 | 403)) => Said::Refuses(status),
        Ok(status) => Said::Unclear(format!("`GET {path}` is answered with {status}")),
        Err(failure) => Said::Unclear(failure.chain()),
    }
}

/// The path to ask with: the one that is wanted, or else a read of the profile without parameters, where there is one that
/// tells nothing of people, the shortest. It must be one that the credential covers.
pub fn read_path(upstream: &Upstream, credential: &Credential, wanted: Option<&str>) -> Result<String, Failure> {
    let (slot, covers) = Prepared::covered(credential, upstream);
    let covers = match (slot, covers) {
        (Ok(_), Some(covers)) => covers,
        (Err(why), _) => return Err(Failure::new(why.to_string())),
        (Ok(_), None) => return Err(Failure::new(format!("credential `{}` covers nothing", credential.id))),
    };
    match wanted {
        Some(path) => named(upstream, &covers, path),
        None => harmless(upstream, &covers).ok_or_else(|| {
            Failure::new(format!(
                "the profile `{}` has no read without parameters that the key covers",
                upstream.profile.name
            ))
            .hint("`--probe PATH` names a read to ask with")
        }),
    }
}

fn harmless(upstream: &Upstream, covers: &Covers) -> Option<String> {
    let fits = |(index, endpoint): &(usize, &std::sync::Arc<Endpoint>)| {
        let read = endpoint.method == Method::GET && endpoint.effect == Effect::Read;
        read && endpoint.params.is_empty() && covers.has(*index)
    };
    let reads = upstream.profile.endpoints().iter().enumerate().filter(fits).map(|(_, endpoint)| endpoint);
    let best = reads.min_by_key(|endpoint| (!endpoint.personal_data.is_empty(), endpoint.template.len()));
    best.map(|endpoint| endpoint.template.to_string())
}

fn named(upstream: &Upstream, covers: &Covers, path: &str) -> Result<String, Failure> {
    let wrong = |what: String| Failure::usage(what).hint("a path below the base URL, such as `/v2/settings`");
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    if !path.starts_with('/') || !path.bytes().all(plain) || segments.iter().any(|s| ["", ".", ".."].contains(s)) {
        return Err(wrong(format!("`{}` is no plain path", path.escape_debug())));
    }
    let Found::Endpoint(index) = upstream.profile.find(&Method::GET, &segments) else {
        return Err(wrong(format!("`GET {path}` is no endpoint of the profile `{}`", upstream.profile.name)));
    };
    let endpoint = &upstream.profile.endpoints()[index];
    if endpoint.effect != Effect::Read || !covers.has(index) {
        return Err(wrong(format!("`{}` is no read that the credential may serve", endpoint.name)));
    }
    Ok(path.to_owned())
}
