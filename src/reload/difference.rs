//! What differs between the configuration in force and another one: which integrations, and what needs a restart. Pure.

use std::collections::HashMap;
use std::fmt::Write;

use crate::config::{Admin, Audit, Config, Integration, Listen, Sink, Upstream, Vault};

/// More names than these are counted, not told: a record is a line that people read.
const NAMES: usize = 20;

/// What a running gate takes over.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) added: Vec<String>,
    pub(super) removed: Vec<String>,
    pub(super) changed: Vec<String>,
    /// Upstreams whose limit is another.
    pub(super) limits: Vec<String>,
    /// How many read the log from now on, when they are others.
    pub(super) recipients: Option<usize>,
}

/// The keys of a section whose values differ, of those that need a restart. Every key of the section must be named: a new
/// one does not compile until it is said what a reload does with it.
macro_rules! keys {
    ($old:expr, $new:expr, $section:ident { restart: $($key:ident),+; live: $($live:ident),* }) => {{
        let $section { $($key: _,)+ $($live: _,)* } = $old;
        let differ = [$((stringify!($key), $old.$key != $new.$key)),+];
        differ.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key)
    }};
}

/// What needs a restart: `[listen] address`. Empty when the rest can be taken over.
pub(super) fn needs_restart(old: &Config, new: &Config) -> Vec<String> {
    let Config { listen, vault, upstreams: _, integrations: _, audit, sinks, admin } = old;
    let same_kind = vault_keys(vault, &new.vault);
    let audit = keys!(audit, new.audit, Audit { restart: directory, hash_key, signing_key, segment_size, durability, keep_for, keep_size, reserve, on_failure; live: recipients });
    let listen = listen_keys(listen, &new.listen);
    let socket = |admin: &Option<Admin>| admin.as_ref().map(|Admin { socket }| socket.clone());
    let admin = (socket(admin) != socket(&new.admin)).then_some("address");
    let sections =
        [("listen", listen), ("vault", same_kind), ("audit", audit.collect()), ("admin", admin.into_iter().collect())];
    let keys = sections.into_iter().flat_map(|(name, keys)| keys.into_iter().map(move |key| format!("[{name}] {key}")));
    keys.chain(upstreams(&old.upstreams, &new.upstreams)).chain(changed_sinks(sinks, &new.sinks)).collect()
}

/// Of a vault's own keys only that something in it differs is told: they are many, and all need a restart.
fn vault_keys(old: &Vault, new: &Vault) -> Vec<&'static str> {
    keys!(old, new, Vault { restart: place, refresh, stale_for, former_for, start_wait; live: })
        .map(|key| if key == "place" { "(where it is, or how it is opened)" } else { key })
        .collect()
}

fn listen_keys(old: &Listen, new: &Listen) -> Vec<&'static str> {
    let keys = keys!(old, new, Listen {
        restart: address, workers, max_connections, max_connections_per_source, max_in_flight, max_head, max_target, max_body,
            handshake_timeout, idle_timeout, head_timeout, body_timeout, send_timeout, min_rate, drain_timeout;
        live: certificate, private_key
    });
    keys.collect()
}

/// Sinks that were added, removed or changed in any way.
fn changed_sinks(old: &[Sink], new: &[Sink]) -> Vec<String> {
    let changed = |all: &[Sink], sink: &Sink| !all.contains(sink);
    let mut names: Vec<&str> = old.iter().filter(|sink| changed(new, sink)).map(|sink| &*sink.name).collect();
    names.extend(new.iter().filter(|sink| changed(old, sink)).map(|sink| &*sink.name));
    names.sort_unstable();
    names.dedup();
    names.into_iter().map(|name| format!("[sink.{name}]")).collect()
}

fn upstreams(old: &[Upstream], new: &[Upstream]) -> Vec<String> {
    let mut found = Vec::new();
    for former in old {
        let Some(now) = new.iter().find(|upstream| upstream.name == former.name) else {
            found.push(format!("[upstream.{}] (removed)", former.name));
            continue;
        };
        let keys = keys!(former, now, Upstream {
            restart: profile, base_url, credentials, trust_roots, addresses, connect_timeout, head_timeout, body_timeout,
                total_timeout;
            live: name, limit, rotate_after
        });
        let written = |key| if key == "credentials" { "credential" } else { key };
        found.extend(keys.map(|key| format!("[upstream.{}] {}", former.name, written(key))));
    }
    let added = new.iter().filter(|now| old.iter().all(|former| former.name != now.name));
    found.extend(added.map(|now| format!("[upstream.{}] (added)", now.name)));
    found
}

/// Brings the upstreams into the order of the configuration in force, which has the same ones: workers, ring and clients
/// know them by position.
pub(super) fn in_running_order(running: &Config, mut new: Config) -> Config {
    let place = |upstream: &Upstream| running.upstreams.iter().position(|known| known.name == upstream.name);
    let places: Vec<usize> = new.upstreams.iter().map(|upstream| place(upstream).unwrap_or(usize::MAX)).collect();
    for integration in &mut new.integrations {
        integration.upstream = places[integration.upstream];
    }
    new.upstreams.sort_by_key(|upstream| place(upstream));
    new
}

/// What differs of what can be taken over. Both have the same upstreams in the same order.
pub(super) fn between(old: &Config, new: &Config) -> Difference {
    let (former, now) = (by_name(old), by_name(new));
    let names = |config: &Config, wanted: &dyn Fn(&Integration) -> bool| {
        config.integrations.iter().filter(|it| wanted(it)).map(|it| it.name.to_string()).collect()
    };
    let pairs = old.upstreams.iter().zip(&new.upstreams);
    Difference {
        added: names(new, &|it| !former.contains_key(&*it.name)),
        removed: names(old, &|it| !now.contains_key(&*it.name)),
        changed: names(new, &|it| former.get(&*it.name).is_some_and(|old| *old != it)),
        limits: pairs.filter(|(old, new)| old.limit != new.limit).map(|(old, _)| old.name.to_string()).collect(),
        recipients: (old.audit.recipients != new.audit.recipients).then_some(new.audit.recipients.len()),
    }
}

fn by_name(config: &Config) -> HashMap<&str, &Integration> {
    config.integrations.iter().map(|it| (&*it.name, it)).collect()
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { added, removed, changed, limits, recipients } = self;
        let groups = [
            ("integrations added", added),
            ("removed", removed),
            ("changed", changed),
            ("limits of upstreams changed", limits),
        ];
        let told = groups.iter().filter(|(_, names)| !names.is_empty()).map(|(what, names)| list(what, names));
        let readers = recipients.map(|count| match count {
            0 => "the log is not encrypted any more".to_owned(),
            count => format!("recipients of the log changed, {count} now"),
        });
        let told: Vec<_> = told.chain(readers).collect();
        if told.is_empty() { write!(f, "integrations are as they were") } else { write!(f, "{}", told.join("; ")) }
    }
}

fn list(what: &str, names: &[String]) -> String {
    let mut text = format!("{what}: {}", names[..names.len().min(NAMES)].join(", "));
    if names.len() > NAMES {
        let _ = write!(text, " and {} more", names.len() - NAMES);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const BASE: &str = r#"
        [upstream.a]
        profile = "channelengine"
        base_url = "https://a.example/api"
        credential = "a"
        [upstream.b]
        profile = "channelengine"
        base_url = "https://b.example/api"
        credential = "b"
    "#;

    fn integration(name: &str, upstream: &str, allow: &str) -> String {
        let hash = name.bytes().fold(String::new(), |hash, byte| format!("{hash}{byte:02x}"));
        format!(
            "[integration.{name}]\nupstream = \"{upstream}\"\nkey_sha256 = \"{hash:0>64}\"\nallow = [\"{allow}\"]\n"
        )
    }

    fn config(text: &str) -> Config {
        let no_profile = |_: &Path| Err("no file".to_owned());
        crate::config::check(text, "keygate.toml", Path::new("/gate"), &no_profile).unwrap_or_else(|p| panic!("{p}"))
    }

    #[test]
    fn integrations_are_told_apart_by_name() {
        let old =
            config(&[BASE, &integration("x", "a", "orders:read"), &integration("y", "a", "orders:read")].concat());
        let new =
            config(&[BASE, &integration("y", "a", "offers:read"), &integration("z", "b", "orders:read")].concat());
        assert_eq!(needs_restart(&old, &new), [""; 0]);
        let difference = between(&old, &new);
        assert_eq!(difference.to_string(), "integrations added: z; removed: x; changed: y");
        assert_eq!(between(&new, &new).to_string(), "integrations are as they were");
    }

    #[test]
    fn the_order_of_upstreams_in_the_file_changes_nothing() {
        let (a, b) = BASE.split_at(BASE.find("[upstream.b]").unwrap());
        let old = config(&[a, b, &integration("x", "b", "orders:read")].concat());
        let new = config(&[b, "\n", a, &integration("x", "b", "orders:read")].concat());
        assert_eq!(new.upstreams[new.integrations[0].upstream].name, "b".into());
        assert_eq!(needs_restart(&old, &new), [""; 0]);
        let new = in_running_order(&old, new);
        let names = |config: &Config| config.upstreams.iter().map(|it| it.name.to_string()).collect::<Vec<_>>();
        assert_eq!(names(&new), names(&old));
        assert_eq!(between(&old, &new), Difference::default());
    }

    #[test]
    fn upstreams_that_come_go_or_move_need_a_restart() {
        let (a, b) = BASE.split_at(BASE.find("[upstream.b]").unwrap());
        let (both, one) = (config(&[a, b].concat()), config(a));
        assert_eq!(needs_restart(&both, &one), ["[upstream.b] (removed)"]);
        assert_eq!(needs_restart(&one, &both), ["[upstream.b] (added)"]);
        let moved =
            config(&[a, b].concat().replace("b.example", "c.example").replace("\"channelengine\"", "\"mirakl\""));
        let told = ["[upstream.a] profile", "[upstream.b] profile", "[upstream.b] base_url"];
        assert_eq!(needs_restart(&both, &moved), told);
    }

    #[test]
    fn a_long_list_of_names_is_counted() {
        let names: Vec<String> = (0..25).map(|n| format!("it-{n}")).collect();
        let told = Difference { added: names, ..Difference::default() }.to_string();
        assert!(told.starts_with("integrations added: it-0, it-1, ") && told.ends_with("it-19 and 5 more"), "{told}");
    }
}
