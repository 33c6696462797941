//! Which keys may be written where. Unknown keys are reported and taken out before the file is read into its types, so
//! that they hide nothing; keys of other programs and of common sense are explained.

use serde::de::{Deserialize, Deserializer, Error as _, Visitor, value::Error};
use serde::forward_to_deserialize_any;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::Wrong;
use super::desk::Desk;
use super::field::article;
use super::file::{AdminFile, AuditFile, FileConfig, IntegrationFile, ListenFile, SinkFile, UpstreamFile, VaultFile};
use super::nearest::{nearest, quoted};

/// The keys of a struct, as its `Deserialize` names them: one definition for reading, checking and the schema.
pub(super) fn keys_of<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    let mut names: &'static [&'static str] = &[];
    // The answer comes through `names`; as nothing is read, the result is always an error.
    drop(T::deserialize(Names(&mut names)));
    names
}

/// Reads nothing and keeps the names of a struct's fields.
struct Names<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Names<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("only names"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        *self.0 = fields;
        Err(Error::custom("only names"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// What to say about a key that is not ours but that one can understand.
enum Advice {
    /// The key has another name here (in the same section).
    Renamed(&'static str),
    /// Something else must be done.
    Explain(&'static str),
}
use Advice::{Explain, Renamed};

const NO_KEYS: &str = "keys never stand in this file: put the real key into the vault with `keygate credential put`; \
                       scoped keys come from `keygate integration add`";
const NO_DISABLING: &str = "the upstream's certificate is always verified; name the roots to trust in `trust_roots`";
const TLS_FIXED: &str = "TLS 1.2 and 1.3 with forward secrecy are always on and nothing older ever is: remove the line";

/// Section, key, advice. `*` stands for any section.
const ADVICE: [(&str, &str, Advice); 49] = [
    ("*", "api_key", Explain(NO_KEYS)),
    ("*", "apikey", Explain(NO_KEYS)),
    ("*", "scoped_key", Explain(NO_KEYS)),
    ("*", "secret", Explain(NO_KEYS)),
    ("*", "token", Explain(NO_KEYS)),
    ("*", "password", Explain(NO_KEYS)),
    ("upstream", "key", Explain(NO_KEYS)),
    ("integration", "key", Explain(NO_KEYS)),
    ("*", "tls_versions", Explain(TLS_FIXED)),
    ("*", "ssl_protocols", Explain(TLS_FIXED)),
    ("*", "min_tls_version", Explain(TLS_FIXED)),
    ("*", "ciphers", Explain(TLS_FIXED)),
    ("*", "insecure", Explain(NO_DISABLING)),
    ("*", "verify", Explain(NO_DISABLING)),
    ("*", "skip_verify", Explain(NO_DISABLING)),
    ("*", "port", Explain("the port is part of `address`: `127.0.0.1:8443`")),
    ("listen", "cert", Renamed("certificate")),
    ("listen", "key", Renamed("private_key")),
    ("listen", "bind", Renamed("address")),
    ("listen", "threads", Renamed("workers")),
    (
        "vault",
        "secret_id",
        Explain("a secret id never stands in this file: name the file that holds it in `secret_id_file`"),
    ),
    ("vault", "url", Renamed("address")),
    ("vault", "ca", Renamed("trust_roots")),
    ("vault", "ca_file", Renamed("trust_roots")),
    ("vault", "method", Renamed("auth")),
    ("vault", "dir", Renamed("directory")),
    ("vault", "kind", Renamed("type")),
    ("upstream", "url", Renamed("base_url")),
    ("upstream", "ca", Renamed("trust_roots")),
    ("upstream", "ca_file", Renamed("trust_roots")),
    ("upstream", "api", Renamed("profile")),
    ("upstream", "rate_limit", Renamed("limit")),
    ("upstream", "timeout", Renamed("total_timeout")),
    ("integration", "key_hash", Renamed("key_sha256")),
    ("integration", "scopes", Renamed("allow")),
    ("integration", "permissions", Renamed("allow")),
    ("integration", "rate_limit", Renamed("limit")),
    ("integration", "expiry", Renamed("expires")),
    ("integration", "contact", Renamed("owner")),
    ("audit", "path", Renamed("directory")),
    ("audit", "dir", Renamed("directory")),
    ("audit", "retention", Renamed("keep_for")),
    ("audit", "max_size", Renamed("keep_size")),
    ("audit", "recipient", Renamed("recipients")),
    ("audit", "encrypt_to", Renamed("recipients")),
    ("sink", "url", Renamed("address")),
    ("sink", "ca_file", Renamed("trust_roots")),
    ("sink", "kind", Renamed("type")),
    ("admin", "socket", Renamed("address")),
];

/// Sections under other names.
const SECTION_ADVICE: [(&str, Advice); 9] = [
    ("server", Renamed("listen")),
    ("listener", Renamed("listen")),
    ("upstreams", Renamed("upstream")),
    ("backend", Renamed("upstream")),
    ("integrations", Renamed("integration")),
    ("client", Renamed("integration")),
    ("log", Renamed("audit")),
    ("metrics", Renamed("admin")),
    ("sinks", Renamed("sink")),
];

/// Takes out of the file everything that has no place in it, reporting each, so that what is left can be read.
pub(super) fn prune(desk: &mut Desk<'_>, table: &mut DeTable<'_>) {
    let sections = keys_of::<FileConfig>();
    retain(table, |key, value| {
        let name = &**key.get_ref();
        if !sections.contains(&name) {
            let advice = SECTION_ADVICE.iter().find(|(known, _)| *known == name).map(|(_, advice)| advice);
            unknown(desk, "", key.span(), name, sections, advice);
            return false;
        }
        let keys = match name {
            "listen" => keys_of::<ListenFile>(),
            "vault" => keys_of::<VaultFile>(),
            "audit" => keys_of::<AuditFile>(),
            "admin" => keys_of::<AdminFile>(),
            "sink" => return named(desk, name, value, keys_of::<SinkFile>()),
            "upstream" => return named(desk, name, value, keys_of::<UpstreamFile>()),
            _ => return named(desk, name, value, keys_of::<IntegrationFile>()),
        };
        section(desk, name, name, value, keys)
    });
}

/// `[upstream.NAME]`, `[integration.NAME]` and `[sink.NAME]`
fn named(desk: &mut Desk<'_>, kind: &str, value: &mut Spanned<DeValue<'_>>, keys: &[&str]) -> bool {
    let remedy = format!("give each its own table: `[{kind}.NAME]`");
    let Some(tables) = as_table(desk, kind, value, &remedy) else { return false };
    retain(tables, |name, value| section(desk, kind, &format!("{kind}.{}", name.get_ref()), value, keys));
    true
}

/// One table with known keys; `kind` is how the advice calls it, `path` how the file does.
fn section(desk: &mut Desk<'_>, kind: &str, path: &str, value: &mut Spanned<DeValue<'_>>, keys: &[&str]) -> bool {
    let remedy = format!("write it as a table: `[{path}]`");
    let Some(table) = as_table(desk, path, value, &remedy) else { return false };
    retain(table, |key, value| {
        let name = &**key.get_ref();
        if !keys.contains(&name) {
            let fits = |(section, known, _): &&(&str, &str, Advice)| *known == name && ["*", kind].contains(section);
            let advice = ADVICE.iter().find(fits).map(|(_, _, advice)| advice);
            unknown(desk, path, key.span(), name, keys, advice);
            return false;
        }
        if !fits_a_number(value.get_ref()) {
            let wrong = Wrong::new(format!("the number of `{path}.{name}` is far too large"), "write a smaller one");
            desk.report(value.span(), &format!("{path}.{name}"), wrong);
            return false;
        }
        let remedy = "write one line for each endpoint: `limits.\"PUT /v2/offer\" = \"10/min\"`";
        name != "limits" || as_table(desk, &format!("{path}.limits"), value, remedy).is_some()
    });
    true
}

/// TOML's reader gives up on numbers beyond 64 bits; one of them must not hide other problems.
fn fits_a_number(value: &DeValue<'_>) -> bool {
    let DeValue::Integer(number) = value else { return true };
    i64::from_str_radix(number.as_str(), number.radix()).is_ok()
}

/// Keeps the entries that `keep` says yes to.
fn retain<'i>(
    table: &mut DeTable<'i>,
    mut keep: impl FnMut(&Spanned<DeString<'i>>, &mut Spanned<DeValue<'i>>) -> bool,
) {
    let entries = std::mem::take(table).into_iter();
    *table = entries.filter_map(|(key, mut value)| keep(&key, &mut value).then_some((key, value))).collect();
}

fn as_table<'a, 'i>(
    desk: &mut Desk<'_>,
    path: &str,
    value: &'a mut Spanned<DeValue<'i>>,
    remedy: &str,
) -> Option<&'a mut DeTable<'i>> {
    let span = value.span();
    let found = value.get_ref().type_str();
    if let DeValue::Table(table) = value.get_mut() {
        return Some(table);
    }
    desk.report(span, path, Wrong::new(format!("`{path}` is a table, found {}", article(found)), remedy));
    None
}

fn unknown(
    desk: &mut Desk<'_>,
    path: &str,
    span: std::ops::Range<usize>,
    name: &str,
    known: &[&str],
    advice: Option<&Advice>,
) {
    let place = if path.is_empty() { "at the top of the file".to_owned() } else { format!("in `[{path}]`") };
    let near = nearest(name, known.iter().copied());
    let remedy = match (advice, near) {
        (Some(Renamed(now)), _) => format!("it is called `{now}` here"),
        (Some(Explain(how)), _) => (*how).to_owned(),
        (None, Some(near)) => format!("did you mean `{near}`?"),
        (None, None) => format!("known {place}: {}", quoted(known)),
    };
    let meant = if let Some(Renamed(now)) = advice { Some(*now) } else { near };
    if let Some(meant) = meant {
        desk.excuse(&if path.is_empty() { meant.to_owned() } else { format!("{path}.{meant}") });
    }
    let key = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    desk.report(span, &key, Wrong::new(format!("unknown key `{name}` {place}"), remedy));
}
