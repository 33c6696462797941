//! The configuration, in two steps: `file.rs` is what may be written, `check.rs` turns it into [`Config`], what the
//! program runs on. Both are pure; what only the disk can tell is asked by `assemble.rs`.

mod check;
mod defaults;
mod desk;
mod edit;
mod field;
mod file;
mod integration;
mod known;
mod minimal;
mod nearest;
mod problem;
mod quantity;
mod rules;
mod sink;
mod upstream;
mod url;
mod vault;

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::profile::Profile;

pub use check::{ReadProfile, check};
pub use defaults::LAST_WORDS;
pub use edit::{EditError, Editor, NewIntegration};
pub use file::{FileConfig, schema};
pub use integration::parse_moment;
pub use minimal::minimal;
pub use nearest::nearest;
pub use problem::{Problem, Problems, Wrong};
pub use quantity::{parse_duration, parse_quota, parse_size, show_count, show_duration, show_size};
pub use rules::resolve_scopes;
pub use sink::{Sink, SinkPlace};
pub use url::base_url;

/// Everything the program runs on. Paths are absolute or relative to the configuration file's folder, already joined.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where integrations connect.
    pub listen: Listen,
    /// Where credentials lie.
    pub vault: Vault,
    /// The tenants that may be called; integrations point here by index.
    pub upstreams: Vec<Upstream>,
    /// Who may call.
    pub integrations: Vec<Integration>,
    /// The audit log.
    pub audit: Audit,
    /// Where records go as they come.
    pub sinks: Vec<Sink>,
    /// Health and metrics, when wanted.
    pub admin: Option<Admin>,
}

/// `[listen]`
#[derive(Clone, Debug)]
pub struct Listen {
    /// Address and port; port 0 lets the system choose.
    pub address: SocketAddr,
    /// PEM file: the certificate chain, leaf first.
    pub certificate: PathBuf,
    /// PEM file: the private key.
    pub private_key: PathBuf,
    /// Worker threads; one per core by default.
    pub workers: Option<NonZeroU32>,
    /// Connections open at once, in all.
    pub max_connections: u32,
    /// Connections open at once from one source.
    pub max_connections_per_source: u32,
    /// Calls under way at once, in all; one more is refused with 503.
    pub max_in_flight: u32,
    /// Largest request head, bytes.
    pub max_head: u32,
    /// Longest request target (path and query), bytes.
    pub max_target: u32,
    /// Largest request body, bytes.
    pub max_body: u64,
    /// Time for the hello and the TLS handshake.
    pub handshake_timeout: Duration,
    /// How long a connection is kept on which no call is under way.
    pub idle_timeout: Duration,
    /// Time for a request's head, from its first byte on.
    pub head_timeout: Duration,
    /// Longest pause inside a request body.
    pub body_timeout: Duration,
    /// Longest pause of a client that takes its reply.
    pub send_timeout: Duration,
    /// Bytes per second below which a client is too slow, either way.
    pub min_rate: Option<NonZeroU32>,
    /// Time that calls under way get when the gate stops.
    pub drain_timeout: Duration,
}

/// `[vault]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vault {
    /// Which kind of vault, and where it is.
    pub place: VaultPlace,
    /// How often it is asked for changes.
    pub refresh: Duration,
    /// How long the last good credential is used while the vault does not answer.
    pub stale_for: Duration,
    /// How long a version that was replaced answers for reads that the new one is refused.
    pub former_for: Option<Duration>,
    /// How long the gate waits at its start for a vault that does not answer.
    pub start_wait: Option<Duration>,
}

/// A kind of vault with what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VaultPlace {
    /// An age-encrypted file.
    Age {
        /// The encrypted file.
        file: PathBuf,
        /// The identity that opens it; must be readable by its owner only.
        identity: PathBuf,
    },
    /// A server with the API of OpenBao and HashiCorp Vault, engine KV version 2.
    OpenBao(OpenBao),
    /// A folder with one file for each credential.
    Directory {
        /// The folder.
        directory: PathBuf,
    },
    /// A program that prints a credential.
    Exec(Exec),
}

/// A server with the API of OpenBao and HashiCorp Vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenBao {
    /// Where it is.
    pub address: BaseUrl,
    /// The namespace in it.
    pub namespace: Option<String>,
    /// Where the KV engine is mounted.
    pub mount: String,
    /// The path in it below which credentials lie.
    pub path: String,
    /// PEM file of trusted roots; the Mozilla roots when absent.
    pub trust_roots: Option<PathBuf>,
    /// How the gate proves who it is.
    pub login: Login,
    /// Time for one question.
    pub timeout: Duration,
}

/// How the gate proves to a server who it is. Secrets are named by their files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// A token that somebody else keeps in a file.
    Token {
        /// The file.
        file: PathBuf,
    },
    /// A role's id, and a secret id from a file.
    AppRole {
        /// Where the method is mounted.
        mount: String,
        /// The role's id.
        role_id: String,
        /// The file with the secret id, or with the token that unwraps it.
        secret_id_file: PathBuf,
        /// Whether it is wrapped.
        wrapped: bool,
    },
    /// A signed token, such as Kubernetes gives to a service account.
    Jwt {
        /// Where the method is mounted.
        mount: String,
        /// The role to log in to.
        role: String,
        /// The file with the token.
        file: PathBuf,
    },
    /// The certificate that the gate shows in TLS.
    Certificate {
        /// Where the method is mounted.
        mount: String,
        /// The role to log in to; the server chooses when absent.
        role: Option<String>,
        /// PEM file with the chain, leaf first.
        certificate: PathBuf,
        /// PEM file with its private key.
        key: PathBuf,
    },
}

/// A program that prints a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    /// Its absolute path, and its arguments.
    pub command: Vec<String>,
    /// Names of variables that it gets to see.
    pub environment: Vec<String>,
    /// Time for one run.
    pub timeout: Duration,
}

/// The base URL of an upstream, always `https`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    /// Host name or address, lower case, no brackets.
    pub host: String,
    /// Port, 443 by default.
    pub port: u16,
    /// Path without a trailing slash: `/api`, or empty.
    pub path: String,
}

impl std::fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "https://{}{}", self.authority(), self.path)
    }
}

impl BaseUrl {
    /// `host` or `host:port`, as it goes into `Host`; IPv6 addresses in brackets.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == 443 { host } else { format!("{host}:{}", self.port) }
    }
}

/// `[upstream.NAME]`
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Its name in the file.
    pub name: Arc<str>,
    /// The merchant API it speaks.
    pub profile: Arc<Profile>,
    /// Where it is.
    pub base_url: BaseUrl,
    /// The ids of its credentials in the vault.
    pub credentials: Vec<Arc<str>>,
    /// How old a key of it may become before the operator is told.
    pub rotate_after: Option<Duration>,
    /// PEM file of trusted roots; the Mozilla roots when absent.
    pub trust_roots: Option<PathBuf>,
    /// Where to connect instead of asking DNS; empty asks DNS.
    pub addresses: Vec<SocketAddr>,
    /// Limit over all integrations.
    pub limit: Option<Quota>,
    /// Time to connect, TLS included.
    pub connect_timeout: Duration,
    /// Time from the request's end to the reply's head.
    pub head_timeout: Duration,
    /// Longest pause inside a reply body.
    pub body_timeout: Duration,
    /// Time for the whole call.
    pub total_timeout: Duration,
}

/// `[integration.NAME]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Integration {
    /// Its name in the file.
    pub name: Arc<str>,
    /// Index into [`Config::upstreams`].
    pub upstream: usize,
    /// Hashes of the scoped keys that identify it: the present one, and a former one for as long as it may still be used.
    pub keys: Vec<KeyHash>,
    /// Whom to ask; shown in refusals.
    pub owner: Option<String>,
    /// From when on its keys are refused.
    pub expires: Option<Timestamp>,
    /// Its keys are refused, with a code that says so.
    pub revoked: bool,
    /// What it may do, in the order of the file.
    pub allow: Vec<Rule>,
    /// What it may not do; beats `allow`.
    pub deny: Vec<Rule>,
    /// Limit over all its calls.
    pub limit: Option<Quota>,
    /// Limits for single endpoints: index into the profile's endpoints.
    pub limits: Vec<(usize, Quota)>,
}

/// SHA-256 of a scoped key, with the time from which it is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyHash {
    /// SHA-256 of the whole token.
    pub sha256: [u8; 32],
    /// From when on this key alone is refused (a rotated key).
    pub until: Option<Timestamp>,
}

/// One entry of `allow` or `deny`, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// As written: `orders:read`, `POST /v2/shipments`.
    pub text: Arc<str>,
    /// Indexes of the endpoints it names.
    pub endpoints: Vec<usize>,
}

/// How often, and how many at once: `60/min burst 10`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    /// Calls per period.
    pub count: NonZeroU32,
    /// The period.
    pub period: Duration,
    /// Calls at once; the count when not written.
    pub burst: NonZeroU32,
}

/// `[audit]`
#[derive(Clone, Debug)]
pub struct Audit {
    /// Folder of the log; must exist (`init` makes it).
    pub directory: PathBuf,
    /// File with the key of the keyed hashes.
    pub hash_key: PathBuf,
    /// File with the key that signs checkpoints.
    pub signing_key: PathBuf,
    /// Whom records are encrypted to, as age writes recipients; none of them: they are not encrypted.
    pub recipients: Vec<String>,
    /// A segment is closed and a new one begun at this size, bytes.
    pub segment_size: u64,
    /// When a record counts as kept.
    pub durability: Durability,
    /// How long records are kept; none for ever.
    pub keep_for: Option<Duration>,
    /// How many bytes of segments are kept; none for all.
    pub keep_size: Option<NonZeroU64>,
    /// Room that lets the log say that the disk is full, bytes; none for none.
    pub reserve: Option<NonZeroU64>,
    /// What is still served when the disk is full.
    pub on_failure: OnFailure,
}

/// What is still served when the log's disk is full. Nothing is when records cannot be kept at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// Nothing.
    #[default]
    Stop,
    /// Reads, for as long as what lay in reserve takes their records.
    ReadsOnly,
}

/// When a record counts as kept, and its reply may end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// On the disk: it outlives a power cut.
    #[default]
    Sync,
    /// With the operating system: it outlives the gate, and a power cut only from the next checkpoint on.
    Os,
}

impl Audit {
    /// File with the key that others check checkpoints with.
    pub fn verifier_key(&self) -> PathBuf {
        self.signing_key.with_extension("pub")
    }
}

/// `[admin]`
#[derive(Clone, Debug)]
pub struct Admin {
    /// A Unix socket path, written `unix:PATH`. There is no plain HTTP over TCP anywhere.
    pub socket: PathBuf,
}

#[cfg(test)]
mod tests;
