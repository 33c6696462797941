//! What may be used in named files only, each with its reason, and what may not be depended on at all.

use std::collections::BTreeSet;

use super::source::{Source, files, root};
use super::{Complaints, holds};

/// Words, the files that may use them, and why no other may.
const BANS: [(&[&str], &[&str], &str); 4] = [
    (
        &["process::exit", "process::abort"],
        &["src/assemble.rs"],
        "it runs no destructor: records that wait and keys that are to be wiped would be lost",
    ),
    (
        &["env::set_var", "env::remove_var", "env::var", "env::var_os", "env::vars"],
        &["src/cli/", "src/vault/exec.rs"],
        "what the gate does is in its configuration, which is checked and recorded; the environment is neither",
    ),
    (
        &[concat!("thread::", "sleep")],
        &["src/cli/", "src/assemble.rs"],
        "a thread of the gate waits for what ends it, too: a channel, a condition, a timer of the runtime",
    ),
    (
        &["fs::write", "File::create"],
        &["src/stand_in/"],
        "a file of secrets or evidence is made private, whole or not at all, and durable: `private_file`, or the log's own way",
    ),
];

/// TLS in another library than rustls would be TLS by other rules.
const FOREIGN: [&str; 6] = ["native-tls", "openssl", "openssl-sys", "schannel", "security-framework", "boring"];

fn uses_what_is_banned(source: &Source) -> Complaints {
    // Unit tests in files of their own.
    if source.path.contains("/tests/") {
        return vec![];
    }
    let bans = BANS.iter().filter(|(_, homes, _)| !homes.iter().any(|home| source.path.starts_with(home)));
    bans.flat_map(|(words, _, why)| {
        source.lines_with(words).map(move |(line, word)| format!("{line}: `{word}`: {why}"))
    })
    .collect()
}

/// Names and sources of all packages of a lock file.
fn packages(lock: &str) -> Vec<(&str, &str)> {
    let field = |package: &str, name: &str| {
        let begin = package.find(&format!("\n{name} = \""))? + name.len() + 5;
        Some(begin..begin + package[begin..].find('"')?)
    };
    lock.split("[[package]]")
        .skip(1)
        .filter_map(|package| {
            Some((&package[field(package, "name")?], field(package, "source").map_or("", |range| &package[range])))
        })
        .collect()
}

#[test]
fn what_is_banned_is_used_in_named_files_only() {
    holds(uses_what_is_banned, &files("src", "rs"));
    for (words, homes, _) in BANS {
        let text = format!("//! A file.\nfn f() {{ std::{}(x) }}\n", words[0]);
        assert_eq!(uses_what_is_banned(&Source::planted("src/gateway.rs", &text)).len(), 1, "{}", words[0]);
        assert_eq!(uses_what_is_banned(&Source::planted(homes[0], &text)).len(), 0, "{}", words[0]);
    }
}

#[test]
fn there_is_one_library_for_tls_and_one_place_that_packages_come_from() {
    for name in ["Cargo.lock", "fuzz/Cargo.lock"] {
        let lock = std::fs::read_to_string(root().join(name)).unwrap();
        let packages = packages(&lock);
        assert!(packages.len() > 100, "{name}: the packages are no longer found");
        let foreign: Vec<_> = packages.iter().filter(|(package, _)| FOREIGN.contains(package)).collect();
        assert!(foreign.is_empty(), "{name}: {foreign:?}");
        assert_eq!(packages.iter().filter(|(package, _)| *package == "rustls").count(), 1, "{name}");
        let sources: BTreeSet<_> = packages.iter().map(|(_, source)| *source).filter(|s| !s.is_empty()).collect();
        assert_eq!(sources.len(), 1, "{name}: {sources:?}");
        assert!(!sources.iter().any(|source| source.starts_with("git+")), "{name}: {sources:?}");
    }
}
