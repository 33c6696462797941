//! Every default, once, with its unit and its reason. `config/reference.toml` repeats them for people; a test holds the
//! two together.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::time::Duration;

/// Loopback only: a gate beside its integrations. A wider address is a decision to be written down.
pub(super) const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8443);

/// As `init` names them.
pub(super) const CERTIFICATE: &str = "server.pem";
pub(super) const PRIVATE_KEY: &str = "server.key";

/// Connections. Each costs some tens of KiB; more than a shop's backend ever opens.
pub(super) const MAX_CONNECTIONS: u32 = 4096;

/// Connections. As many as calls may be under way: one source has no use for more, and leaves three quarters to others.
pub(super) const MAX_CONNECTIONS_PER_SOURCE: u32 = 1024;

/// Calls. Beyond this the merchant API is the bottleneck and waiting only hides it.
pub(super) const MAX_IN_FLIGHT: u32 = 1024;

/// Bytes. Four times what common servers take, for long cookies and tracing headers.
pub(super) const MAX_HEAD: u32 = 32 << 10;

/// Bytes. ChannelEngine takes some 1,000 characters, other merchant APIs up to 8 KiB.
pub(super) const MAX_TARGET: u32 = 8 << 10;

/// Bytes. Bulk product calls and uploaded documents are a few MiB.
pub(super) const MAX_BODY: u64 = 32 << 20;

/// A handshake is two round trips; ten seconds forgive the worst line.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Clients' own pools keep connections for 30 to 90 s. When slots run short, the oldest idle goes sooner.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// A head is a packet or two; ten seconds forgive retransmissions on the worst line.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// A client that pauses longer inside its own request is stuck, or drips on purpose.
pub(super) const BODY_TIMEOUT: Duration = Duration::from_secs(15);

/// A client that takes nothing for longer does not want its reply. Longer than the pause in a body: the kernel's buffers
/// hide a slow reader's progress for a while.
pub(super) const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes per second. What Apache's `mod_reqtimeout` ships with; a modem of 1995 was seven times faster.
pub(super) const MIN_RATE: Option<NonZeroU32> = NonZeroU32::new(500);

/// Service managers commonly kill after 90 s; this leaves time to seal the log.
pub(super) const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// As `init` names them.
pub(super) const VAULT_FILE: &str = "vault.age";
pub(super) const VAULT_IDENTITY: &str = "vault-identity.txt";

/// One look at a small file, or one small question; a rotated key is in use this much later.
pub(super) const VAULT_REFRESH: Duration = Duration::from_secs(10);

/// A day: long enough for any outage that somebody mends, short enough that a withdrawn key does not live on for ever.
pub(super) const VAULT_STALE_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// A key that works for a minute works; ten forgive a merchant API that takes a new key up slowly.
pub(super) const VAULT_FORMER_FOR: Duration = Duration::from_secs(10 * 60);

/// One question, login included. A vault in the same data centre answers in milliseconds.
pub(super) const VAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// As both servers' own documents have them.
pub(super) const VAULT_MOUNT: &str = "secret";
pub(super) const VAULT_PATH: &str = "keygate";

/// Where Kubernetes puts it.
pub(super) const VAULT_JWT_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// TCP and TLS to a public host.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Merchant APIs make documents and reports while the caller waits.
pub(super) const UPSTREAM_HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// Inside a reply that has begun, a longer pause means a dead connection.
pub(super) const UPSTREAM_BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The whole call, large downloads included.
pub(super) const TOTAL_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// As `init` names them.
pub(super) const AUDIT_DIRECTORY: &str = "audit";
pub(super) const AUDIT_HASH_KEY: &str = "audit-hash.key";
pub(super) const AUDIT_SIGNING_KEY: &str = "audit-signing.key";

/// Bytes. Hundreds of records: room for the log's last words, and some to begin with again.
pub(super) const RESERVE: u64 = 1 << 20;

/// Bytes of the reserve that are kept for the last words while reads live on the rest: a segment, its keys, tiles and a checkpoint.
pub const LAST_WORDS: u64 = 64 << 10;

/// Records: some 300 KiB, and a delivery each second keeps up with 500 calls a second.
pub(super) const SINK_BATCH: u32 = 500;

/// Records. A batch lies in memory, and is sent again as a whole.
pub(super) const SINK_LARGEST_BATCH: u32 = 5000;

/// A receiver that stores a batch answers in milliseconds.
pub(super) const SINK_TIMEOUT: Duration = Duration::from_secs(10);

/// A receiver that is restarted is back by then.
pub(super) const SINK_BEHIND_AFTER: Duration = Duration::from_secs(60);

/// RFC 5425.
pub(super) const SYSLOG_PORT: u16 = 6514;

/// Bytes. Some 60,000 calls: small enough to copy, verify and ship in one go.
pub(super) const SEGMENT_SIZE: u64 = 64 << 20;
