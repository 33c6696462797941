//! The rules that keep the house in shape. Each is one small function with its reason; each is shown to be able to
//! fail on a planted file, so that a rule that has gone blind is noticed.

mod bans;
mod source;

use source::{Source, files, root};

/// What a rule finds wrong in one file; empty when it holds.
type Complaints = Vec<String>;

/// A rule looks at one file.
type Rule = fn(&Source) -> Complaints;

/// Modules by tier, lowest first. A module may use its own tier and lower ones.
const TIERS: [&[&str]; 4] = [
    &["profile", "config", "policy", "body", "causes"],
    &["audit", "sink", "vault", "limit", "upstream", "crypto", "descriptors", "allocator", "process", "metrics"],
    &["refusal", "live", "entry", "reply", "gateway"],
    &["server", "admin", "signals", "running", "reload", "assemble", "cli", "main"],
];

/// Crates that compute and nothing else: what the pure tier may use.
const PURE_CRATES: [&str; 22] = [
    "std",
    "crate",
    "self",
    "super",
    "http",
    "http_body",
    "bytes",
    "serde",
    "serde_json",
    "toml",
    "toml_edit",
    "thiserror",
    "jiff",
    "aho_corasick",
    "memchr",
    "strsim",
    "schemars",
    "base64",
    "zeroize",
    "aws_lc_rs",
    // Whether a text is a recipient; files are read and written elsewhere.
    "age",
    // A glob over an enum's variants starts with the enum's own name, which begins with a capital and is let through.
    "core",
];

/// What reads a clock, a disk, a socket, the environment, or waits.
const IMPURE: [&str; 23] = [
    "std::fs",
    "io::stdin",
    "io::stdout",
    "std::env",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "Instant::now",
    "SystemTime",
    "Timestamp::now",
    "Zoned::now",
    "now_v7",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "ToSocketAddrs",
    "UnixStream",
    "File::open",
    "tokio",
    "async",
    ".await",
    "aws_lc_rs::rand",
];

fn tier(module: &str) -> Option<usize> {
    TIERS.iter().position(|modules| modules.contains(&module))
}

fn is_pure(source: &Source) -> bool {
    tier(source.module()) == Some(0)
}

/// A reader must know from the first line what a file is for.
fn opens_with_its_purpose(source: &Source) -> Complaints {
    if source.text.starts_with("//! ") { vec![] } else { vec!["does not open with `//!` and its purpose".into()] }
}

/// A file that is longer has two purposes.
fn is_short(source: &Source) -> Complaints {
    let lines = source.text.lines().count();
    if lines <= 400 { vec![] } else { vec![format!("has {lines} lines, 400 are allowed")] }
}

/// A function that is longer cannot be read in one go.
fn has_short_functions(source: &Source) -> Complaints {
    let long = source.functions().into_iter().filter(|f| f.length > 50);
    long.map(|f| format!("{}: `{}` has {} lines, 50 are allowed", f.line, f.name, f.length)).collect()
}

/// Arrows point downwards only, so a lower module can be understood, tested and changed without the upper ones.
fn follows_the_tiers(source: &Source) -> Complaints {
    let Some(own) = tier(source.module()) else { return vec![] };
    let upward = source.crate_paths().into_iter().filter(|(_, name)| tier(name).is_some_and(|other| other > own));
    upward.map(|(line, name)| format!("{line}: uses `crate::{name}`, which is in a higher tier")).collect()
}

/// A file outside the tiers would be free of every rule.
fn belongs_to_a_tier(source: &Source) -> Complaints {
    let module = source.module();
    let known = tier(module).is_some() || ["lib", "stand_in"].contains(&module);
    if known { vec![] } else { vec![format!("`{module}` is in no tier: add it to the list in this test")] }
}

/// The stand-in must behave as the merchant API does, not as Keygate thinks it does.
fn stand_in_knows_nothing_of_keygate(source: &Source) -> Complaints {
    if source.module() != "stand_in" {
        return vec![];
    }
    let foreign = source.crate_paths().into_iter().filter(|(_, name)| name != "stand_in");
    foreign.map(|(line, name)| format!("{line}: the stand-in uses `crate::{name}`")).collect()
}

/// Only the commands start the stand-in; the gate's own way must not depend on it.
fn only_the_commands_know_the_stand_in(source: &Source) -> Complaints {
    if ["cli", "stand_in", "lib", "main"].contains(&source.module()) {
        return vec![];
    }
    let uses = source.crate_paths().into_iter().filter(|(_, name)| name == "stand_in");
    uses.map(|(line, _)| format!("{line}: uses the stand-in")).collect()
}

/// The pure tier decides; what it decides on is handed to it. A short list of crates keeps I/O from slipping in.
fn pure_files_use_pure_crates(source: &Source) -> Complaints {
    if !is_pure(source) {
        return vec![];
    }
    let local = |name: &str| name.starts_with(char::is_uppercase) || declares_module(source, name);
    let foreign = source.uses().into_iter().filter(|(_, name)| !PURE_CRATES.contains(&name.as_str()) && !local(name));
    foreign.map(|(line, name)| format!("{line}: the pure tier may not use `{name}`")).collect()
}

fn declares_module(source: &Source, name: &str) -> bool {
    source.code().any(|(_, line)| line.trim_start_matches("pub ").trim_end() == format!("mod {name};"))
}

/// No clock, disk, network, environment or waiting in the pure tier, by whatever path it is named.
fn pure_files_touch_nothing(source: &Source) -> Complaints {
    if !is_pure(source) {
        return vec![];
    }
    source.lines_with(&IMPURE).map(|(line, word)| format!("{line}: the pure tier may not touch `{word}`")).collect()
}

/// Sockets are opened where TLS is put on them, nowhere else.
fn sockets_stay_at_the_edges(source: &Source) -> Complaints {
    let edge = ["src/server/", "src/upstream/", "src/vault/https.rs", "src/stand_in/", "src/cli/demo"];
    if edge.iter().any(|place| source.path.starts_with(place)) {
        return vec![];
    }
    source.lines_with(&["TcpStream"]).map(|(line, word)| format!("{line}: `{word}` outside the edges")).collect()
}

/// One place chooses backends; everything else speaks to the trait. The commands write to the vault themselves.
fn backends_are_named_in_one_place(source: &Source) -> Complaints {
    let homes: [(&str, &[&str]); 2] =
        [("AgeFile", &["src/vault/", "src/assemble", "src/cli/"]), ("SegmentFile", &["src/audit/", "src/assemble"])];
    let abroad = homes.iter().filter(|(_, homes)| !homes.iter().any(|home| source.path.starts_with(home)));
    let found = abroad
        .flat_map(|(name, _)| source.code().filter(|(_, line)| names(line, name)).map(move |(line, _)| (line, *name)));
    found.map(|(line, name)| format!("{line}: names `{name}`; `assemble.rs` alone chooses backends")).collect()
}

fn names(line: &str, word: &str) -> bool {
    line.split(|c: char| !c.is_alphanumeric()).any(|w| w == word)
}

/// Written in two, so that this file may be looked at too.
const UNSAFE: &str = concat!("uns", "afe");

/// What the compiler cannot check must fit into one reader's head.
fn what_the_compiler_cannot_check_stays_in_one_module(source: &Source) -> Complaints {
    if source.path == "src/allocator.rs" || source.path.starts_with("src/allocator/") {
        return vec![];
    }
    let found = source.code().filter(|(_, line)| names(line, UNSAFE) || line.contains(concat!("uns", "afe_code")));
    found.map(|(line, _)| format!("{line}: `{UNSAFE}` outside src/allocator.rs")).collect()
}

/// A test that does not run shows nothing, and a promise in the code is not code.
fn leaves_nothing_for_later(source: &Source) -> Complaints {
    let marks = [
        concat!("#[", "ignore"),
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
    ];
    let lines = source.text.lines().enumerate();
    let found = lines.flat_map(|(n, line)| marks.iter().filter(move |m| line.contains(**m)).map(move |m| (n + 1, m)));
    found.map(|(line, mark)| format!("{line}: `{mark}` leaves something for later")).collect()
}

/// A clone of the repository must be whole: nothing in it may point to the machine it was written on or outside of it.
fn points_nowhere_else(source: &Source) -> Complaints {
    let places = [
        concat!("/ho", "me/"),
        concat!("/ro", "ot/"),
        concat!("/Us", "ers/"),
        concat!("/wo", "rk/"),
        concat!("../sha", "red"),
    ];
    let lines = source.text.lines().enumerate();
    let found = lines.flat_map(|(n, line)| places.iter().filter(move |p| line.contains(**p)).map(move |p| (n + 1, p)));
    found.map(|(line, place)| format!("{line}: names `{place}`, which is not in the repository")).collect()
}

/// A wait of fixed length is either too short or too long; the harness waits for facts, in one place.
fn waits_for_facts(source: &Source) -> Complaints {
    if source.path == "tests/it/harness/mod.rs" {
        return vec![];
    }
    let naps = [concat!("thread::", "sleep"), concat!("time.", "sleep(")];
    let lines = source.text.lines().enumerate();
    let found = lines.flat_map(|(n, line)| naps.iter().filter(move |s| line.contains(**s)).map(move |s| (n + 1, s)));
    found.map(|(line, nap)| format!("{line}: `{nap}`; wait for a fact with `until`")).collect()
}

/// Runs a rule over files and fails with everything it finds, not only the first.
fn holds(rule: Rule, files: &[Source]) {
    assert!(!files.is_empty(), "the rule looked at no file");
    let all: Vec<String> = files.iter().flat_map(|f| rule(f).into_iter().map(|c| format!("{}: {c}", f.path))).collect();
    assert!(all.is_empty(), "\n{}\n", all.join("\n"));
}

fn rust_sources() -> Vec<Source> {
    ["src", "tests", "benches"].iter().flat_map(|folder| files(folder, "rs")).collect()
}

fn everything_readable() -> Vec<Source> {
    let mut all = rust_sources();
    for folder in ["src", "tests", "benches", "docs", "config"] {
        for extension in ["md", "toml", "py", "sh", "txt", "lua"] {
            all.extend(files(folder, extension));
        }
    }
    for name in [
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "Cargo.toml",
        "clippy.toml",
        "tests/all",
        ".ci/run",
        "benches/compare/run",
        "deploy/build",
        "deploy/keygate.service",
    ] {
        if let Ok(text) = std::fs::read_to_string(root().join(name)) {
            all.push(Source::planted(name, &text));
        }
    }
    all
}

#[test]
fn every_file_opens_with_its_purpose() {
    holds(opens_with_its_purpose, &rust_sources());
}

#[test]
fn files_and_functions_stay_short() {
    holds(is_short, &rust_sources());
    holds(has_short_functions, &rust_sources());
}

#[test]
fn every_arrow_points_downwards() {
    let sources = files("src", "rs");
    holds(belongs_to_a_tier, &sources);
    holds(follows_the_tiers, &sources);
    holds(only_the_commands_know_the_stand_in, &sources);
    holds(stand_in_knows_nothing_of_keygate, &sources);
    holds(backends_are_named_in_one_place, &sources);
    holds(sockets_stay_at_the_edges, &sources);
}

#[test]
fn the_pure_tier_touches_neither_clock_nor_disk_nor_network() {
    let sources = files("src", "rs");
    holds(pure_files_use_pure_crates, &sources);
    holds(pure_files_touch_nothing, &sources);
}

#[test]
fn what_the_compiler_cannot_check_is_in_one_module() {
    holds(what_the_compiler_cannot_check_stays_in_one_module, &rust_sources());
}

#[test]
fn nothing_is_left_for_later_and_nothing_points_outside() {
    let all = everything_readable();
    holds(leaves_nothing_for_later, &all);
    holds(points_nowhere_else, &all);
}

/// The refusal codes: what functions named `code` can return, wherever a step has one.
fn refusal_codes() -> Vec<String> {
    let steps = ["src/refusal", "src/policy/", "src/limit/", "src/upstream/", "src/vault/", "src/server/"];
    let sources = files("src", "rs").into_iter().filter(|s| steps.iter().any(|step| s.path.starts_with(step)));
    let mut codes: Vec<String> = sources.flat_map(|source| source.returned_by("code")).collect();
    // A fault of the gate itself; whoever finds a way to cause it has found what to mend.
    codes.retain(|code| code != "internal");
    codes.sort();
    codes.dedup();
    codes
}

/// A refusal that nobody can look up, or that nobody has ever seen, is none.
#[test]
fn every_refusal_code_is_documented_and_seen_in_a_test() {
    let codes = refusal_codes();
    assert!(codes.contains(&"key_missing".to_owned()), "the codes are no longer found: {codes:?}");
    let docs = std::fs::read_to_string(root().join("docs/refusals.md")).unwrap_or_default();
    let mut tests = files("tests/calls", "toml");
    tests.extend(files("tests/it", "rs").into_iter().filter(|s| !s.path.contains("architecture")));
    // Hostile cases name status and code in one word.
    let hostile = files("tests/hostile", "toml");
    let seen = |code: &str| {
        tests.iter().any(|t| t.text.contains(&format!("\"{code}\"")))
            || hostile.iter().any(|t| t.text.contains(&format!(" {code}'")))
    };
    let undocumented = codes
        .iter()
        .filter(|code| !docs.contains(&format!("`{code}`")))
        .map(|c| format!("`{c}` is not in docs/refusals.md"));
    let unseen = codes.iter().filter(|code| !seen(code)).map(|c| format!("`{c}` is in no test"));
    let wrong: Vec<String> = undocumented.chain(unseen).collect();
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn tests_wait_for_facts() {
    let mut tests = files("tests", "rs");
    tests.extend(files("tests", "py"));
    holds(waits_for_facts, &tests);
}

#[test]
fn each_rule_can_fail() {
    let long_file = "//! Long.\n".repeat(401);
    let long_function = format!("//! Long.\nfn long() {{\n{}}}\n", "    work();\n".repeat(50));
    let nap = format!("//! Nap.\nfn f() {{ std::{}(d) }}\n", concat!("thread::", "sleep"));
    let place = format!("//! See {}x.\n", concat!("/ho", "me/"));
    let later = format!("//! Later.\n{}]\nfn f() {{}}\n", concat!("#[", "ignore"));
    let planted: [(Rule, &str, &str); 17] = [
        (opens_with_its_purpose, "src/a.rs", "use std::io;\n"),
        (is_short, "src/a.rs", &long_file),
        (has_short_functions, "src/a.rs", &long_function),
        (follows_the_tiers, "src/policy/a.rs", "use crate::gateway::serve;\n"),
        (follows_the_tiers, "src/audit/a.rs", "use crate::{config, cli};\n"),
        (belongs_to_a_tier, "src/helpers.rs", "//! Misc.\n"),
        (stand_in_knows_nothing_of_keygate, "src/stand_in/a.rs", "use crate::policy::Call;\n"),
        (only_the_commands_know_the_stand_in, "src/gateway.rs", "use crate::stand_in::start;\n"),
        (pure_files_use_pure_crates, "src/config/a.rs", "use hyper::Request;\n"),
        (pure_files_touch_nothing, "src/config/a.rs", "fn f() { let t = std::fs::read(p); }\n"),
        (pure_files_touch_nothing, "src/policy/a.rs", "async fn f() {}\n"),
        (sockets_stay_at_the_edges, "src/gateway.rs", "use tokio::net::TcpStream;\n"),
        (backends_are_named_in_one_place, "src/gateway.rs", "use crate::vault::AgeFile;\n"),
        (
            what_the_compiler_cannot_check_stays_in_one_module,
            "src/vault/a.rs",
            concat!("fn f() { uns", "afe { g() } }\n"),
        ),
        (leaves_nothing_for_later, "src/a.rs", &later),
        (points_nowhere_else, "docs/a.md", &place),
        (waits_for_facts, "tests/it/a.rs", &nap),
    ];
    for (rule, path, text) in planted {
        assert!(!rule(&Source::planted(path, text)).is_empty(), "a rule let pass in {path}:\n{text}");
    }
}
