//! The files under `config/` agree with the code, and edits change only what they say.

use std::path::Path;

use jiff::Timestamp;
use proptest::prelude::*;

use super::file::{AdminFile, AuditFile, FileConfig, IntegrationFile, ListenFile, SinkFile, UpstreamFile, VaultFile};
use super::known::keys_of;
use super::{Config, EditError, Editor, NewIntegration, Problems, VaultPlace, check, minimal, parse_moment, schema};
use crate::profile::BUILTIN_NAMES;

const REFERENCE: &str = include_str!("../../config/reference.toml");
const MINIMAL: &str = include_str!("../../config/minimal.toml");
const RECIPIENT: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
const HASH: &str = "0000000000000000000000000000000000000000000000000000000000000001";

fn checked(text: &str) -> Result<Config, Problems> {
    check(text, "keygate.toml", Path::new("/etc/keygate"), &|path| Err(format!("{} is not here", path.display())))
}

fn good(text: &str) -> Config {
    checked(text).unwrap_or_else(|problems| panic!("{problems}"))
}

/// The problems' texts, without places.
fn what(text: &str) -> Vec<String> {
    checked(text).unwrap_err().0.into_iter().map(|problem| problem.what).collect()
}

/// One upstream and one integration, with whatever a case adds to the latter.
fn with_integration(lines: &str) -> String {
    format!(
        "[upstream.acme]\nprofile = \"channelengine\"\nbase_url = \"https://a.example/api\"\ncredential = \"acme\"\n\
         [integration.web]\nupstream = \"acme\"\nkey_sha256 = \"{HASH}\"\n{lines}\n"
    )
}

#[test]
fn the_reference_states_exactly_the_defaults() {
    let required = with_integration("allow = [\"orders:read\", \"POST /v2/shipments\"]")
        .replace("https://a.example/api", "https://acme.channelengine.net/api")
        .replace("integration.web", "integration.webshop")
        + "[sink.siem]\ntype = \"webhook\"\naddress = \"https://siem.example/keygate\"\nsecret_file = \"siem.secret\"\n";
    assert_eq!(format!("{:#?}", good(REFERENCE)), format!("{:#?}", good(&required)));
}

/// The sections of other kinds of vault, which stand in the reference as comments.
fn other_vaults() -> Vec<String> {
    let lines = REFERENCE.lines().filter_map(|line| line.strip_prefix("#: "));
    let mut found: Vec<String> = Vec::new();
    for line in lines {
        if line == "[vault]" {
            found.push(String::new());
        }
        let text = found.last_mut().expect("a section begins with its name");
        text.push_str(line);
        text.push('\n');
    }
    found
}

#[test]
fn the_reference_states_the_defaults_of_other_vaults_too() {
    let required: [&[&str]; 6] = [
        &["type", "address", "auth", "role_id", "secret_id_file"],
        &["type", "address", "auth", "role"],
        &["type", "address", "auth", "client_certificate", "client_key"],
        &["type", "address", "auth", "token_file"],
        &["type", "directory"],
        &["type", "command"],
    ];
    let rest = with_integration("allow = [\"orders:read\"]");
    let vaults = other_vaults();
    assert_eq!(vaults.len(), required.len());
    for (text, required) in vaults.iter().zip(required) {
        let needed =
            |line: &&str| line.starts_with('[') || required.iter().any(|key| line.starts_with(&format!("{key} =")));
        let short: Vec<&str> = text.lines().filter(needed).collect();
        assert_eq!(short.len(), required.len() + 1, "{text}");
        let (full, short) = (good(&format!("{text}{rest}")), good(&format!("{}\n{rest}", short.join("\n"))));
        assert_eq!(full.vault, short.vault);
    }
}

#[test]
fn every_key_stands_in_the_reference() {
    let reference: toml::Table = toml::from_str(REFERENCE).unwrap();
    let below = |section: &str, name: Option<&str>, keys: &[&str]| {
        let table = &reference[section];
        let table = name.map_or(table, |name| &table[name]);
        for key in keys {
            assert!(table.get(key).is_some(), "`{key}` of [{section}] is missing in config/reference.toml");
        }
    };
    for section in keys_of::<FileConfig>() {
        assert!(reference.contains_key(*section), "[{section}] is missing in config/reference.toml");
    }
    below("listen", None, keys_of::<ListenFile>());
    let vaults: Vec<toml::Table> = other_vaults().iter().map(|text| toml::from_str(text).unwrap()).collect();
    for key in keys_of::<VaultFile>() {
        let stands = std::iter::once(&reference).chain(&vaults).any(|file| file["vault"].get(key).is_some());
        assert!(stands, "`{key}` of [vault] is missing in config/reference.toml");
    }
    below("audit", None, keys_of::<AuditFile>());
    below("admin", None, keys_of::<AdminFile>());
    // What has no meaning for this kind of sink stands there as a comment.
    let sinks: Vec<&str> =
        keys_of::<SinkFile>().iter().copied().filter(|key| !["authorization_file", "identity"].contains(key)).collect();
    below("sink", Some("siem"), &sinks);
    assert!(REFERENCE.contains("\n# authorization_file = ") && REFERENCE.contains("\n# identity = "));
    below("upstream", Some("acme"), keys_of::<UpstreamFile>());
    below("integration", Some("webshop"), keys_of::<IntegrationFile>());
}

#[test]
fn the_schema_describes_every_key_and_refuses_others() {
    let schema = schema().to_value();
    assert_eq!(schema["additionalProperties"], false);
    let upstream = &schema["$defs"]["UpstreamFile"];
    for key in keys_of::<UpstreamFile>() {
        assert!(upstream["properties"][key]["description"].is_string(), "{key}");
    }
    let required = schema["$defs"]["IntegrationFile"]["required"].as_array().unwrap();
    assert_eq!(required, &["upstream", "key_sha256", "allow"]);
    assert!(!schema.to_string().contains("null"), "TOML has no null");
    assert_eq!(schema["$defs"]["ListenFile"]["properties"]["workers"]["type"], "integer");
    assert_eq!(schema["$defs"]["IntegrationFile"]["properties"]["allow"]["items"]["type"], "string");
}

#[test]
fn the_minimal_file_is_what_init_writes_and_it_is_good() {
    assert_eq!(minimal("acme", "https://acme.channelengine.net/api", "channelengine", RECIPIENT), MINIMAL);
    let config = good(MINIMAL);
    assert_eq!(config.upstreams.len(), 1);
    assert!(config.integrations.is_empty());
    let VaultPlace::Age { file, .. } = config.vault.place else { panic!("{:?}", config.vault) };
    assert_eq!(file, Path::new("/etc/keygate/vault.age"));
}

#[test]
fn the_minimal_file_takes_any_names() {
    for profile in BUILTIN_NAMES {
        let config = good(&minimal("shop", "https://acme.example:8443/channelengine", profile, RECIPIENT));
        let upstream = &config.upstreams[0];
        assert_eq!(upstream.base_url.to_string(), "https://acme.example:8443/channelengine");
        assert_eq!((&*upstream.name, &*upstream.credentials[0], &*upstream.profile.name), ("shop", "shop", profile));
        assert_eq!(upstream.limit.is_some(), profile == "channelengine");
    }
}

#[test]
fn scopes_groups_and_endpoints_become_endpoints() {
    let config = good(&with_integration(
        "allow = [\"orders:*\", \"post /V2/shipments\"]\ndeny = [\"PUT /v2/orders/comment\"]\nlimits.\"GET /v2/orders\" = \"10/min\"",
    ));
    let integration = &config.integrations[0];
    assert_eq!(integration.allow[0].endpoints.len(), 5);
    assert_eq!(integration.allow[1].endpoints.len(), 1);
    assert_eq!(&*integration.deny[0].text, "PUT /v2/orders/comment");
    let (index, quota) = integration.limits[0];
    assert_eq!(&*config.upstreams[0].profile.endpoints()[index].name, "GET /v2/orders");
    assert_eq!(quota.to_string(), "10/min");
}

#[test]
fn a_rotated_key_and_an_end_are_read_as_dates_or_texts() {
    let lines = |quote: &str| {
        format!(
            "allow = [\"orders:read\"]\nexpires = {quote}2027-01-31{quote}\nprevious_key_sha256 = \"{}\"\n\
             previous_key_until = {quote}2026-12-24T18:00:00+01:00{quote}",
            HASH.replace('1', "2")
        )
    };
    for quote in ["", "\""] {
        let config = good(&with_integration(&lines(quote)));
        let integration = &config.integrations[0];
        assert_eq!(integration.expires, Some("2027-01-31T00:00:00Z".parse().unwrap()));
        assert_eq!(integration.keys.len(), 2);
        assert_eq!(integration.keys[1].until, Some("2026-12-24T17:00:00Z".parse().unwrap()));
        assert_eq!(integration.keys[1].sha256[31], 2);
    }
}

#[test]
fn a_moment_needs_its_offset() {
    for bad in ["2027-01-31T12:00:00", "2027-02-30", "31.01.2027", "2027", "", "2027-01-31\n", "20270131T1"] {
        assert!(parse_moment(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_misspelt_required_key_is_not_missed_a_second_time() {
    let text = with_integration("allow = [\"orders:read\"]")
        .replace("credential", "credentail")
        .replace("key_sha256", "key_hash");
    assert_eq!(
        what(&text),
        ["unknown key `credentail` in `[upstream.acme]`", "unknown key `key_hash` in `[integration.web]`"]
    );
}

#[test]
fn problems_of_a_profiles_own_file_are_shown_in_that_file() {
    let text = with_integration("allow = [\"a:read\"]").replace("\"channelengine\"", "\"mine.toml\"");
    let problems = check(&text, "keygate.toml", Path::new("/etc/keygate"), &|path| {
        assert_eq!(path, Path::new("/etc/keygate/mine.toml"));
        Ok("name = \"mine\"\nenvelope = 3\n".to_owned())
    })
    .unwrap_err();
    assert_eq!((problems.0[0].file.as_str(), problems.0[0].line), ("mine.toml", 2));
}

proptest! {
    #[test]
    fn no_text_makes_the_check_panic(text in "\\PC{0,200}") {
        drop(checked(&text));
    }

    #[test]
    fn no_change_to_the_reference_makes_the_check_panic(at in 0usize..4000, cut in 0usize..40, put in "[\\[\\]{}=\"'a-z0-9.\n #]{0,8}") {
        let characters: Vec<char> = REFERENCE.chars().collect();
        let at = at % characters.len();
        let end = (at + cut).min(characters.len());
        let text: String = characters[..at].iter().copied().chain(put.chars()).chain(characters[end..].iter().copied()).collect();
        if let Err(problems) = checked(&text) {
            prop_assert!(!problems.0.is_empty());
            prop_assert!(!problems.to_string().is_empty());
        }
    }
}

fn webshop() -> NewIntegration {
    NewIntegration {
        name: "webshop".to_owned(),
        upstream: "acme".to_owned(),
        key_sha256: [7; 32],
        owner: Some("shop@example.com".to_owned()),
        expires: Some("2027-01-31T00:00:00Z".parse().unwrap()),
        allow: vec!["orders:read".to_owned(), "POST /v2/shipments".to_owned()],
        deny: Vec::new(),
        limit: Some("60/min burst 10".to_owned()),
    }
}

#[test]
fn an_added_integration_stands_at_the_end_and_nothing_else_changes() {
    let mut editor = Editor::open(MINIMAL).unwrap();
    editor.add_integration(&webshop()).unwrap();
    let text = editor.to_string();
    let hash = "07".repeat(32);
    let expected = format!(
        "{MINIMAL}\n[integration.webshop]\nupstream = \"acme\"\nkey_sha256 = \"{hash}\"\nowner = \"shop@example.com\"\n\
         expires = 2027-01-31T00:00:00Z\nallow = [\"orders:read\", \"POST /v2/shipments\"]\nlimit = \"60/min burst 10\"\n"
    );
    assert_eq!(text, expected);
    let integration = &good(&text).integrations[0];
    assert_eq!(integration.keys[0].sha256, [7; 32]);
    assert_eq!(integration.limit.unwrap().to_string(), "60/min burst 10");
}

#[test]
fn many_rules_are_written_one_a_line_and_odd_texts_are_quoted() {
    let mut new = webshop();
    new.name = "web.shop".to_owned();
    new.owner = Some("\"A\" \\ B\n".to_owned());
    new.allow =
        ["orders:*", "shipments:*", "returns:*", "products:*", "offers:*", "stock:*", "settlements:*", "reports:*"]
            .map(str::to_owned)
            .to_vec();
    let mut editor = Editor::open(MINIMAL).unwrap();
    editor.add_integration(&new).unwrap();
    let config = good(&editor.to_string());
    assert_eq!(&*config.integrations[0].name, "web.shop");
    assert_eq!(config.integrations[0].owner, new.owner);
    assert!(editor.to_string().contains("allow = [\n    \"orders:*\",\n"), "{editor}");
}

#[test]
fn a_name_that_is_taken_or_unknown_is_refused_with_a_hint() {
    let mut editor = Editor::open(REFERENCE).unwrap();
    let taken = editor.add_integration(&webshop()).unwrap_err();
    assert_eq!(taken.to_string(), "there is an integration `webshop` already");
    let unknown = editor.revoke("webshpo").unwrap_err();
    assert!(matches!(unknown, EditError::Unknown { .. }));
    assert_eq!(unknown.hint(), "did you mean `webshop`?");
    assert_eq!(editor.to_string(), REFERENCE);
    assert!(Editor::open("a = = b").is_err());
    let mut inline = Editor::open("integration = {}\n").unwrap();
    assert!(matches!(inline.add_integration(&webshop()), Err(EditError::NoTable { .. })));
}

#[test]
fn rotating_keeps_the_old_key_for_as_long_as_wanted_and_every_comment() {
    let start = with_integration("allow = [\"orders:read\"] # read only").replace("1\"\n", "1\" # the key\n");
    let until: Timestamp = "2026-12-24T18:00:00.5Z".parse().unwrap();
    let mut editor = Editor::open(&start).unwrap();
    editor.rotate("web", &[9; 32], Some(until)).unwrap();
    let rotated = start.replace(HASH, &"09".repeat(32)).trim_end().to_owned()
        + &format!("\nprevious_key_sha256 = \"{HASH}\"\nprevious_key_until = 2026-12-24T18:00:00Z\n");
    assert_eq!(editor.to_string(), rotated);
    assert_eq!(good(&editor.to_string()).integrations[0].keys.len(), 2);
    editor.rotate("web", &[8; 32], None).unwrap();
    assert_eq!(editor.to_string(), start.replace(HASH, &"08".repeat(32)));
}

#[test]
fn rotating_the_reference_keeps_its_explanations() {
    let mut editor = Editor::open(REFERENCE).unwrap();
    editor.rotate("webshop", &[9; 32], None).unwrap();
    assert_eq!(editor.to_string(), REFERENCE.replace(HASH, &"09".repeat(32)));
}

#[test]
fn revoking_says_so_in_the_file() {
    let mut editor = Editor::open(REFERENCE).unwrap();
    editor.revoke("webshop").unwrap();
    assert_eq!(editor.to_string(), REFERENCE.replace("revoked = false", "revoked = true"));
    assert!(good(&editor.to_string()).integrations[0].revoked);
}
