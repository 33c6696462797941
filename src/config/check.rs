//! From the file's text to a [`Config`], or to every problem with it. Pure: nothing is opened, no clock is read; the
//! text of a profile's file comes through a closure.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::Path;
use std::str::FromStr;

use serde::Deserialize;
use toml::de::{DeTable, Deserializer};

use super::defaults::{self, LAST_WORDS};
use super::desk::Desk;
use super::file::{AdminFile, AuditFile, FileConfig, ListenFile};
use super::quantity::{parse_duration, parse_size, show_size};
use super::{Admin, Audit, Config, Durability, Listen, OnFailure, Problems, Wrong};
use super::{integration, known, nearest, sink, upstream, url, vault};

/// Gives the text of a profile's file (the path is joined to `base_dir` already), or why there is none.
pub type ReadProfile<'a> = &'a dyn Fn(&Path) -> Result<String, String>;

/// Checks a configuration. `file_name` is only shown; relative paths are joined to `base_dir`; `read_profile` is asked
/// for each `profile` that ends in `.toml`. On failure the list is not empty.
pub fn check(text: &str, file_name: &str, base_dir: &Path, read_profile: ReadProfile<'_>) -> Result<Config, Problems> {
    let mut desk = Desk::new(file_name, text, base_dir);
    let (mut table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let remedy = "the file is TOML: `key = \"value\"` below a `[section]`";
        desk.report(error.span().unwrap_or(0..0), "", Wrong::new(one_line(error.message()), remedy));
    }
    if !errors.is_empty() {
        // What a broken text means is a guess, and problems with a guess would only mislead.
        return Err(desk.into_problems());
    }
    known::prune(&mut desk, table.get_mut());
    match FileConfig::deserialize(Deserializer::from(table)) {
        Ok(file) => {
            let config = config(&mut desk, file, read_profile);
            desk.close(config)
        }
        Err(error) => {
            let wrong = Wrong::new(one_line(error.message()), "see config/reference.toml for the form");
            desk.report(error.span().unwrap_or(0..0), "", wrong);
            Err(desk.into_problems())
        }
    }
}

fn one_line(message: &str) -> String {
    message.lines().collect::<Vec<_>>().join(", ")
}

fn config(desk: &mut Desk<'_>, file: FileConfig, read_profile: ReadProfile<'_>) -> Config {
    let listen = listen(desk, file.listen);
    let vault = vault::vault(desk, file.vault);
    let tenants = upstream::all(desk, file.upstream, read_profile);
    let integrations = integration::all(desk, file.integration, &tenants);
    let audit = audit(desk, file.audit);
    let sinks = sink::all(desk, file.sink, !audit.recipients.is_empty());
    let admin = admin(desk, file.admin);
    Config { listen, vault, upstreams: tenants.into_known(), integrations, audit, sinks, admin }
}

fn listen(desk: &mut Desk<'_>, file: ListenFile) -> Listen {
    let max_head = desk.read("listen.max_head", file.max_head, defaults::MAX_HEAD, small_size);
    let target_span = file.max_target.as_ref().map(|field| field.span.clone());
    let max_target = desk.read("listen.max_target", file.max_target, defaults::MAX_TARGET.min(max_head), small_size);
    if let Some(span) = target_span.filter(|_| max_target > max_head) {
        let what = format!("`listen.max_target` is above `listen.max_head` ({})", show_size(max_head.into()));
        desk.report(
            span,
            "listen.max_target",
            Wrong::new(what, "the target is part of the head: raise `max_head` too"),
        );
    }
    let duration = parse_duration;
    Listen {
        address: desk.read("listen.address", file.address, defaults::ADDRESS, url::listen_address),
        certificate: desk.path("listen.certificate", file.certificate, defaults::CERTIFICATE),
        private_key: desk.path("listen.private_key", file.private_key, defaults::PRIVATE_KEY),
        workers: desk.optional("listen.workers", file.workers).and_then(|at| NonZeroU32::new(at.value)),
        max_connections: desk.positive("listen.max_connections", file.max_connections, defaults::MAX_CONNECTIONS),
        max_connections_per_source: desk.positive(
            "listen.max_connections_per_source",
            file.max_connections_per_source,
            defaults::MAX_CONNECTIONS_PER_SOURCE,
        ),
        max_in_flight: desk.positive("listen.max_in_flight", file.max_in_flight, defaults::MAX_IN_FLIGHT),
        max_head,
        max_target,
        max_body: desk.read("listen.max_body", file.max_body, defaults::MAX_BODY, parse_size),
        handshake_timeout: desk.read(
            "listen.handshake_timeout",
            file.handshake_timeout,
            defaults::HANDSHAKE_TIMEOUT,
            duration,
        ),
        idle_timeout: desk.read("listen.idle_timeout", file.idle_timeout, defaults::IDLE_TIMEOUT, duration),
        head_timeout: desk.read("listen.head_timeout", file.head_timeout, defaults::HEAD_TIMEOUT, duration),
        body_timeout: desk.read("listen.body_timeout", file.body_timeout, defaults::BODY_TIMEOUT, duration),
        send_timeout: desk.read("listen.send_timeout", file.send_timeout, defaults::SEND_TIMEOUT, duration),
        min_rate: desk.read("listen.min_rate", file.min_rate, defaults::MIN_RATE, rate),
        drain_timeout: desk.read("listen.drain_timeout", file.drain_timeout, defaults::DRAIN_TIMEOUT, duration),
    }
}

/// A size from 1 KiB (no request fits into less) to 1 MiB (it is held in memory for every connection).
fn small_size(text: &str) -> Result<u32, Wrong> {
    let bytes = parse_size(text)?;
    let fits = u32::try_from(bytes).ok().filter(|bytes| (1 << 10..=1 << 20).contains(bytes));
    fits.ok_or_else(|| {
        Wrong::new(format!("`{text}` is not between 1KiB and 1MiB"), "heads are held in memory: 32KiB is ample")
    })
}

/// Bytes per second, or `none`. Nobody means to cut whoever is slower than a megabyte per second.
fn rate(text: &str) -> Result<Option<NonZeroU32>, Wrong> {
    if text == "none" {
        return Ok(None);
    }
    let fits = u32::try_from(parse_size(text)?).ok().filter(|bytes| *bytes <= 1 << 20).and_then(NonZeroU32::new);
    let wrong =
        || Wrong::new(format!("`{text}` is more than 1MiB a second"), "500B is the default; `none` turns it off");
    fits.map(Some).ok_or_else(wrong)
}

fn audit(desk: &mut Desk<'_>, file: AuditFile) -> Audit {
    let segment_size = |text: &str| match parse_size(text)? {
        bytes if bytes >= 1 << 16 => Ok(bytes),
        _ => Err(Wrong::new(format!("`{text}` is too small for a segment"), "64KiB is the least, 64MiB the default")),
    };
    let reserve = |text: &str| if text == "none" { Ok(None) } else { parse_size(text).map(NonZeroU64::new) };
    let keep_for = |text: &str| if text == "none" { Ok(None) } else { parse_duration(text).map(Some) };
    let keep_size = |text: &str| if text == "none" { Ok(None) } else { parse_size(text).map(NonZeroU64::new) };
    let durability = |text: &str| match text {
        "sync" => Ok(Durability::Sync),
        "os" => Ok(Durability::Os),
        _ => Err(Wrong::new(format!("`{text}` is no durability"), "write `sync` or `os`")),
    };
    let recipients = desk.list("audit.recipients", file.recipients).into_iter();
    let recipients =
        recipients.filter_map(|at| desk.keep(at.span, "audit.recipients", recipient(&at.value).map(|()| at.value)));
    let recipients = recipients.collect();
    let reserve = desk.read("audit.reserve", file.reserve, NonZeroU64::new(defaults::RESERVE), reserve);
    let on_failure = |text: &str| match text {
        "stop" => Ok(OnFailure::Stop),
        "reads-only" if reserve.is_some_and(|size| size.get() >= 2 * LAST_WORDS) => Ok(OnFailure::ReadsOnly),
        "reads-only" => Err(Wrong::new(
            "`reads-only` needs a reserve: the records of reads are kept in it",
            "set `[audit] reserve` to 128KiB at least; 1MiB has room for some 1,500 reads",
        )),
        _ => Err(Wrong::new(format!("`{text}` is not known"), "write `stop` or `reads-only`")),
    };
    Audit {
        recipients,
        directory: desk.path("audit.directory", file.directory, defaults::AUDIT_DIRECTORY),
        hash_key: desk.path("audit.hash_key", file.hash_key, defaults::AUDIT_HASH_KEY),
        signing_key: desk.path("audit.signing_key", file.signing_key, defaults::AUDIT_SIGNING_KEY),
        segment_size: desk.read("audit.segment_size", file.segment_size, defaults::SEGMENT_SIZE, segment_size),
        reserve,
        on_failure: desk.read("audit.on_failure", file.on_failure, OnFailure::default(), on_failure),
        keep_for: desk.read("audit.keep_for", file.keep_for, None, keep_for),
        keep_size: desk.read("audit.keep_size", file.keep_size, None, keep_size),
        durability: desk.read("audit.durability", file.durability, Durability::default(), durability),
    }
}

/// Somebody whom age can encrypt to.
fn recipient(text: &str) -> Result<(), Wrong> {
    if age::x25519::Recipient::from_str(text).is_ok() {
        return Ok(());
    }
    if text.starts_with("AGE-SECRET-KEY-") {
        // Not quoted: the text is a secret.
        let remedy = "the file of an identity has the recipient in it, as `# public key: age1…`; make another identity, this one is known now";
        return Err(Wrong::new("this is an identity, which must not stand here", remedy));
    }
    let remedy =
        "write the public key of an identity, as `age-keygen` and `keygate init` print it: `age1…`, 62 characters";
    Err(Wrong::new(format!("`{}` is no age recipient", text.escape_debug()), remedy))
}

fn admin(desk: &mut Desk<'_>, file: AdminFile) -> Option<Admin> {
    let at = desk.optional("admin.address", file.address)?;
    let socket = url::admin_address(&at.value, |path| desk.join(path));
    let socket = desk.keep(at.span, "admin.address", socket)??;
    Some(Admin { socket })
}

/// A name of an upstream or an integration: it stands in records, metrics and refusals.
pub(super) fn name(text: &str) -> Result<(), Wrong> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.len() <= 64 && text.bytes().all(plain) {
        return Ok(());
    }
    let remedy = "letters, digits, `-`, `_` and `.`, beginning with a letter or a digit, 64 at most";
    Err(Wrong::new(format!("`{}` is no good name", text.escape_debug()), remedy))
}

/// The known names of a map, for suggestions.
pub(super) fn suggest<T>(word: &str, known: &BTreeMap<String, T>) -> String {
    let names: Vec<&str> = known.keys().map(String::as_str).collect();
    nearest::suggestion(word, &names)
}
