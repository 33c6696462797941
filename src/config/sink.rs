//! `[sink.NAME]`: where records go as they come.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;

use super::check::name;
use super::desk::Desk;
use super::file::SinkFile;
use super::nearest::{nearest, quoted};
use super::quantity::parse_duration;
use super::upstream::{in_order, trust_roots};
use super::{BaseUrl, Wrong, defaults, url};

/// The kinds of sink, as `type` names them.
const KINDS: [&str; 3] = ["syslog", "webhook", "otlp"];

/// `[sink.NAME]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sink {
    /// Its name in the file.
    pub name: Arc<str>,
    /// Where records go, and in which form.
    pub place: SinkPlace,
    /// PEM file of trusted roots; the Mozilla roots when absent.
    pub trust_roots: Option<PathBuf>,
    /// The file with the identity that opens an encrypted log, 0600.
    pub identity: Option<PathBuf>,
    /// Whether a sink without a cursor begins with the log's first record; else with the next one.
    pub from_first: bool,
    /// Records in one batch, at most.
    pub batch: u32,
    /// Time for one delivery.
    pub timeout: Duration,
    /// For how long it may not have caught up before that is told.
    pub behind_after: Duration,
}

/// A kind of sink with what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkPlace {
    /// Syslog (RFC 5424) over TLS (RFC 5425).
    SyslogTls {
        /// Host name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// Syslog (RFC 5424) to a datagram socket on this machine.
    SyslogUnix {
        /// The socket.
        path: PathBuf,
    },
    /// HTTP requests with records, signed.
    Webhook {
        /// Where they go.
        url: BaseUrl,
        /// The file with the secret that signs them, 0600.
        secret_file: PathBuf,
    },
    /// OTLP logs over HTTP.
    Otlp {
        /// Where they go.
        url: BaseUrl,
        /// The file with the value of the `authorization` header, 0600.
        authorization_file: Option<PathBuf>,
    },
}

/// Checks them in the order of the file.
pub(super) fn all(
    desk: &mut Desk<'_>,
    file: BTreeMap<Spanned<String>, Spanned<SinkFile>>,
    encrypted: bool,
) -> Vec<Sink> {
    in_order(file).into_iter().filter_map(|(key, file)| one(desk, &key, file, encrypted)).collect()
}

fn one(desk: &mut Desk<'_>, key: &Spanned<String>, file: Spanned<SinkFile>, encrypted: bool) -> Option<Sink> {
    let path = format!("sink.{}", key.get_ref());
    let key_of = |name: &str| format!("{path}.{name}");
    let home = file.span();
    let mut file = file.into_inner();
    let named = desk.keep(key.span(), &path, name(key.get_ref()));
    let place = place(desk, &path, &home, &mut file);
    let trust_roots = trust_roots(desk, &key_of("trust_roots"), file.trust_roots);
    if encrypted && file.identity.is_none() {
        let remedy = "the log is encrypted, and the gate cannot read what it wrote: make an identity with `age-keygen`, add its \
                      recipient to `[audit] recipients`, and name its file (mode 0600): `identity = \"siem-identity.txt\"`";
        desk.missing(&key_of("identity"), &home, remedy);
    }
    let identity = desk.optional(&key_of("identity"), file.identity);
    let identity = identity.and_then(|at| {
        let joined = desk.join(&at.value);
        desk.keep(at.span, &key_of("identity"), joined)
    });
    let from_first = desk.read(&key_of("begin"), file.begin, true, |text| match text {
        "first" => Ok(true),
        "now" => Ok(false),
        _ => Err(Wrong::new(format!("a sink does not begin `{text}`"), "write `first` or `now`")),
    });
    let duration = parse_duration;
    let sink = Sink {
        name: key.get_ref().as_str().into(),
        place: place?,
        trust_roots,
        identity,
        from_first,
        batch: desk.positive(&key_of("batch"), file.batch, defaults::SINK_BATCH).min(defaults::SINK_LARGEST_BATCH),
        timeout: desk.read(&key_of("timeout"), file.timeout, defaults::SINK_TIMEOUT, duration),
        behind_after: desk.read(&key_of("behind_after"), file.behind_after, defaults::SINK_BEHIND_AFTER, duration),
    };
    named.map(|()| sink)
}

fn place(desk: &mut Desk<'_>, path: &str, home: &Range<usize>, file: &mut SinkFile) -> Option<SinkPlace> {
    let key_of = |name: &str| format!("{path}.{name}");
    let kind =
        desk.required(&key_of("type"), file.kind.take(), home, &format!("`type = …`; known: {}", quoted(&KINDS)));
    let kind = kind.and_then(|at| desk.keep(at.span, &key_of("type"), kind_of(&at.value)))?;
    let remedy = match kind {
        "syslog" => "`address = \"tls://logs.internal:6514\"` or `address = \"unix:/dev/log\"`",
        "webhook" => "`address = \"https://hooks.internal/keygate\"`",
        _ => "`address = \"https://collector.internal:4318\"`",
    };
    strays(desk, path, kind, file);
    let (secret, authorization) = (file.secret_file.take(), file.authorization_file.take());
    let address = desk.required(&key_of("address"), file.address.take(), home, remedy);
    let path_of = |desk: &mut Desk<'_>, name: &str, field: Option<super::field::Field<String>>| {
        let at = desk.optional(&key_of(name), field)?;
        let joined = desk.join(&at.value);
        desk.keep(at.span, &key_of(name), joined)
    };
    match kind {
        "webhook" => {
            if secret.is_none() {
                desk.missing(
                    &key_of("secret_file"),
                    home,
                    "`secret_file = \"hook.secret\"`: `whsec_` and Base64, mode 0600",
                );
            }
            let secret_file = path_of(desk, "secret_file", secret);
            let at = address?;
            let url = desk.keep(at.span, &key_of("address"), server(&at.value, remedy))?;
            Some(SinkPlace::Webhook { url, secret_file: secret_file? })
        }
        "otlp" => {
            let authorization_file = path_of(desk, "authorization_file", authorization);
            let at = address?;
            let mut url = desk.keep(at.span, &key_of("address"), server(&at.value, remedy))?;
            if url.path.is_empty() {
                // As the OTLP specification has it for a base address.
                "/v1/logs".clone_into(&mut url.path);
            }
            Some(SinkPlace::Otlp { url, authorization_file })
        }
        _ => {
            let at = address?;
            let place = syslog(&at.value, remedy, |text| desk.join(text));
            desk.keep(at.span, &key_of("address"), place)
        }
    }
}

/// A key that has no meaning here was meant for something: it is not passed over.
fn strays(desk: &mut Desk<'_>, path: &str, kind: &str, file: &SinkFile) {
    let known =
        [("secret_file", &file.secret_file, "webhook"), ("authorization_file", &file.authorization_file, "otlp")];
    for (name, field, home) in known {
        if let Some(field) = field.as_ref().filter(|_| home != kind) {
            let what = format!("`{name}` has no meaning for a sink of type `{kind}`");
            let wrong = Wrong::new(what, format!("remove the line; `{name}` belongs to `{home}`"));
            desk.report(field.span.clone(), &format!("{path}.{name}"), wrong);
        }
    }
}

fn kind_of(text: &str) -> Result<&'static str, Wrong> {
    KINDS.into_iter().find(|kind| *kind == text).ok_or_else(|| {
        let remedy = nearest(text, KINDS)
            .map_or_else(|| format!("known: {}", quoted(&KINDS)), |near| format!("did you mean `{near}`?"));
        Wrong::new(format!("there is no sink of type `{text}`"), remedy)
    })
}

/// A server that is spoken to over HTTPS. There is no plain HTTP, loopback or not.
fn server(text: &str, remedy: &str) -> Result<BaseUrl, Wrong> {
    url::base_url(text).map_err(|wrong| Wrong::new(wrong.what.replace("the base URL", "the sink's address"), remedy))
}

/// `tls://HOST:PORT`, port 6514 when left out, or `unix:PATH`.
fn syslog(text: &str, remedy: &str, join: impl FnOnce(&str) -> Result<PathBuf, Wrong>) -> Result<SinkPlace, Wrong> {
    if let Some(path) = text.strip_prefix("unix:") {
        return join(path).map(|path| SinkPlace::SyslogUnix { path });
    }
    let no_address = || Wrong::new(format!("`{}` is no address of a syslog server", text.escape_debug()), remedy);
    let rest = text.strip_prefix("tls://").ok_or_else(no_address)?;
    let url = url::base_url(&format!("https://{rest}")).map_err(|_| no_address())?;
    if !url.path.is_empty() {
        return Err(no_address());
    }
    // Of a web server the port would be 443 when left out; here it is that of RFC 5425.
    let port = if rest.ends_with(&format!(":{}", url.port)) { url.port } else { defaults::SYSLOG_PORT };
    Ok(SinkPlace::SyslogTls { host: url.host, port })
}
