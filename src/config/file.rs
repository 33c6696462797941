//! What may be written in the configuration file. The doc comments here are the descriptions in its JSON Schema; the
//! defaults stand in `defaults.rs`, what the values mean is decided by `check.rs`.

use std::collections::BTreeMap;

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema};
use serde::Deserialize;
use toml::Spanned;

use super::field::{Field, List, Moment, Names};

/// Keygate's configuration file, as written.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FileConfig {
    /// Where integrations connect.
    pub(super) listen: ListenFile,
    /// Where credentials lie.
    pub(super) vault: VaultFile,
    /// The tenants of merchant APIs that may be called, by name.
    #[schemars(with = "BTreeMap<String, UpstreamFile>")]
    pub(super) upstream: BTreeMap<Spanned<String>, Spanned<UpstreamFile>>,
    /// The programs that may call, by name.
    #[schemars(with = "BTreeMap<String, IntegrationFile>")]
    pub(super) integration: BTreeMap<Spanned<String>, Spanned<IntegrationFile>>,
    /// The audit log.
    pub(super) audit: AuditFile,
    /// Where records go as they come, by name.
    #[schemars(with = "BTreeMap<String, SinkFile>")]
    pub(super) sink: BTreeMap<Spanned<String>, Spanned<SinkFile>>,
    /// Health and metrics.
    pub(super) admin: AdminFile,
}

/// `[listen]`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ListenFile {
    /// IP address and port: `127.0.0.1:8443`. Port 0 lets the system choose.
    pub(super) address: Option<Field<String>>,
    /// PEM file with the certificate chain, leaf first.
    pub(super) certificate: Option<Field<String>>,
    /// PEM file with the certificate's private key.
    pub(super) private_key: Option<Field<String>>,
    /// Worker threads; 0 means one per core.
    pub(super) workers: Option<Field<u32>>,
    /// Connections open at once, in all.
    pub(super) max_connections: Option<Field<u32>>,
    /// Connections open at once from one address (IPv6: from one /64); one more is closed at once.
    pub(super) max_connections_per_source: Option<Field<u32>>,
    /// Calls under way at once, in all; one more is refused with 503.
    pub(super) max_in_flight: Option<Field<u32>>,
    /// Largest request head: `32KiB`.
    pub(super) max_head: Option<Field<String>>,
    /// Longest request target, path and query: `8KiB`.
    pub(super) max_target: Option<Field<String>>,
    /// Largest request body: `32MiB`.
    pub(super) max_body: Option<Field<String>>,
    /// Time for the TLS handshake: `10s`.
    pub(super) handshake_timeout: Option<Field<String>>,
    /// How long a connection is kept on which no call is under way: `60s`.
    pub(super) idle_timeout: Option<Field<String>>,
    /// Time for a request's head, from its first byte on: `10s`.
    pub(super) head_timeout: Option<Field<String>>,
    /// Longest pause inside a request body, and how long it may stay below `min_rate`: `15s`.
    pub(super) body_timeout: Option<Field<String>>,
    /// Longest pause of a client that takes its reply, and how long it may stay below `min_rate`: `30s`.
    pub(super) send_timeout: Option<Field<String>>,
    /// Bytes per second that a client must send of its body and take of its reply: `500B`, or `none`.
    pub(super) min_rate: Option<Field<String>>,
    /// Time that calls under way get when the gate stops: `30s`.
    pub(super) drain_timeout: Option<Field<String>>,
}

/// `[vault]`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct VaultFile {
    /// The kind of vault: `age`, `openbao`, `directory` or `exec`.
    #[serde(rename = "type")]
    pub(super) kind: Option<Field<String>>,
    /// age: the encrypted file.
    pub(super) file: Option<Field<String>>,
    /// age: the identity file that opens it; must be readable by its owner only.
    pub(super) identity: Option<Field<String>>,
    /// How often the vault is asked for changes: `10s`.
    pub(super) refresh: Option<Field<String>>,
    /// How long the last good credential is used while the vault does not answer: `24h`.
    pub(super) stale_for: Option<Field<String>>,
    /// openbao, directory, exec: how long a key that was replaced answers for reads that the new one is refused: `10m`, or `none`.
    pub(super) former_for: Option<Field<String>>,
    /// How long the gate waits at its start for a vault that does not answer: `60s`, or `none`.
    pub(super) start_wait: Option<Field<String>>,
    /// openbao, exec: time for one question: `5s`.
    pub(super) timeout: Option<Field<String>>,
    /// openbao, required: where the server is: `https://vault.internal:8200`.
    pub(super) address: Option<Field<String>>,
    /// openbao: the namespace, or `none`.
    pub(super) namespace: Option<Field<String>>,
    /// openbao: where the KV engine, version 2, is mounted.
    pub(super) mount: Option<Field<String>>,
    /// openbao: the path in it below which credentials lie.
    pub(super) path: Option<Field<String>>,
    /// openbao: PEM file of the roots to trust, or `mozilla`.
    pub(super) trust_roots: Option<Field<String>>,
    /// openbao, required: how the gate logs in: `token`, `approle`, `kubernetes` or `cert`.
    pub(super) auth: Option<Field<String>>,
    /// approle, kubernetes, cert: where the method is mounted; its own name by default.
    pub(super) auth_mount: Option<Field<String>>,
    /// token, required: the file with the token.
    pub(super) token_file: Option<Field<String>>,
    /// approle, required: the role's id.
    pub(super) role_id: Option<Field<String>>,
    /// approle, required: the file with the secret id.
    pub(super) secret_id_file: Option<Field<String>>,
    /// approle: the file holds a wrapping token, which is unwrapped once.
    pub(super) secret_id_wrapped: Option<Field<bool>>,
    /// kubernetes (required), cert: the role to log in to.
    pub(super) role: Option<Field<String>>,
    /// kubernetes: the file with the service account's token.
    pub(super) jwt_file: Option<Field<String>>,
    /// cert, required: PEM file with the client certificate's chain, leaf first.
    pub(super) client_certificate: Option<Field<String>>,
    /// cert, required: PEM file with its private key.
    pub(super) client_key: Option<Field<String>>,
    /// directory, required: the folder with one file for each credential.
    pub(super) directory: Option<Field<String>>,
    /// exec, required: the program with its arguments; the credential's name is added as the last.
    pub(super) command: Option<List>,
    /// exec: names of variables that the program gets to see; all others are taken away.
    pub(super) environment: Option<List>,
}

/// `[upstream.NAME]`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UpstreamFile {
    /// Required. A built-in profile's name, or a profile's file (ends in `.toml`).
    #[schemars(required)]
    pub(super) profile: Option<Field<String>>,
    /// Required. `https://TENANT.channelengine.net/api`
    #[schemars(required)]
    pub(super) base_url: Option<Field<String>>,
    /// Required. The name of its credential in the vault; several as a list.
    #[schemars(required)]
    pub(super) credential: Option<Field<Names>>,
    /// How old its key may become before `check` and `doctor` warn: `90d`, or `none`.
    pub(super) rotate_after: Option<Field<String>>,
    /// PEM file of the roots to trust, or `mozilla`.
    pub(super) trust_roots: Option<Field<String>>,
    /// Where to connect instead of asking DNS: IP or IP:port.
    pub(super) addresses: Option<List>,
    /// Limit over all integrations: `10000/15min`, or `none`.
    pub(super) limit: Option<Field<String>>,
    /// Time to connect, TLS included: `5s`.
    pub(super) connect_timeout: Option<Field<String>>,
    /// Time from the request's end to the reply's head: `60s`.
    pub(super) head_timeout: Option<Field<String>>,
    /// Longest pause inside a reply body: `30s`.
    pub(super) body_timeout: Option<Field<String>>,
    /// Time for the whole call: `5m`.
    pub(super) total_timeout: Option<Field<String>>,
}

/// `[integration.NAME]`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct IntegrationFile {
    /// Required. The upstream that it may call.
    #[schemars(required)]
    pub(super) upstream: Option<Field<String>>,
    /// Required. SHA-256 of its scoped key, 64 hexadecimal digits.
    #[schemars(required)]
    pub(super) key_sha256: Option<Field<String>>,
    /// SHA-256 of the key it had before, or `none`.
    pub(super) previous_key_sha256: Option<Field<String>>,
    /// Until when the previous key still works, or `never`.
    #[schemars(with = "Option<String>")]
    pub(super) previous_key_until: Option<Field<Moment>>,
    /// Whom to ask; refusals show it.
    pub(super) owner: Option<Field<String>>,
    /// From when on its keys are refused: a date, a time, or `never`.
    #[schemars(with = "Option<String>")]
    pub(super) expires: Option<Field<Moment>>,
    /// Refuses its keys from now on.
    pub(super) revoked: Option<Field<bool>>,
    /// Required. What it may do: `orders:read`, `orders:*`, `POST /v2/shipments`.
    #[schemars(required)]
    pub(super) allow: Option<List>,
    /// What it may not do; beats `allow`.
    pub(super) deny: Option<List>,
    /// Limit over all its calls: `60/min burst 10`, or `none`.
    pub(super) limit: Option<Field<String>>,
    /// Limits of single endpoints: `"PUT /v2/offer" = "10/min"`.
    #[schemars(with = "BTreeMap<String, String>")]
    #[serde(default)]
    pub(super) limits: BTreeMap<Spanned<String>, Field<String>>,
}

/// `[audit]`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AuditFile {
    /// Folder of the log; must exist.
    pub(super) directory: Option<Field<String>>,
    /// File with the key of the keyed hashes.
    pub(super) hash_key: Option<Field<String>>,
    /// File with the key that signs checkpoints; the verifier key lies beside it, ending in `.pub`.
    pub(super) signing_key: Option<Field<String>>,
    /// Whom records are encrypted to: age recipients, `age1…`. None of them: records are not encrypted.
    pub(super) recipients: Option<List>,
    /// A segment is closed and a new one begun at this size: `64MiB`.
    pub(super) segment_size: Option<Field<String>>,
    /// Segments whose records are all older than this are removed: `400d`, or `none`.
    pub(super) keep_for: Option<Field<String>>,
    /// The oldest segments are removed when all of them take more than this: `20GiB`, or `none`.
    pub(super) keep_size: Option<Field<String>>,
    /// Room on the disk that lets the log say that the disk is full: `1MiB`, or `none`.
    pub(super) reserve: Option<Field<String>>,
    /// What is still served when the disk is full: `stop`, nothing; `reads-only`, reads, in what lies in reserve.
    pub(super) on_failure: Option<Field<String>>,
    /// When a record counts as kept: `sync`, on the disk; `os`, handed to the system.
    pub(super) durability: Option<Field<String>>,
}

/// `[sink.NAME]`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SinkFile {
    /// Required. The kind of sink: `syslog`, `webhook` or `otlp`.
    #[serde(rename = "type")]
    #[schemars(required)]
    pub(super) kind: Option<Field<String>>,
    /// Required. syslog: `tls://HOST:PORT` or `unix:/dev/log`; webhook, otlp: `https://HOST/PATH`.
    #[schemars(required)]
    pub(super) address: Option<Field<String>>,
    /// PEM file of the roots to trust, or `mozilla`.
    pub(super) trust_roots: Option<Field<String>>,
    /// webhook, required: the file with the secret that signs requests, `whsec_…`, mode 0600.
    pub(super) secret_file: Option<Field<String>>,
    /// otlp: the file with the value of the `authorization` header, mode 0600.
    pub(super) authorization_file: Option<Field<String>>,
    /// The identity file that opens an encrypted log for this sink, mode 0600.
    pub(super) identity: Option<Field<String>>,
    /// Where a sink without a cursor begins: `first`, with the log's first record, or `now`.
    pub(super) begin: Option<Field<String>>,
    /// Records in one batch, 5000 at most.
    pub(super) batch: Option<Field<u32>>,
    /// Time for one delivery: `10s`.
    pub(super) timeout: Option<Field<String>>,
    /// For how long it may not have caught up before that is told: `1m`.
    pub(super) behind_after: Option<Field<String>>,
}

/// `[admin]`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AdminFile {
    /// `unix:PATH`, or `off`.
    pub(super) address: Option<Field<String>>,
}

/// The JSON Schema (draft 2020-12) of the file.
pub fn schema() -> Schema {
    let settings = SchemaSettings::draft2020_12().with_transform(RecursiveTransform(no_null));
    settings.into_generator().into_root_schema_for::<FileConfig>()
}

/// A key that may be absent is not one that may be null: TOML has no null.
fn no_null(schema: &mut Schema) {
    let Some(types) = schema.get_mut("type").and_then(|types| types.as_array_mut()) else { return };
    types.retain(|name| name != "null");
    if let [only] = types.as_slice() {
        let only = only.clone();
        schema.insert("type".to_owned(), only);
    }
}
