//! `[vault]`: which kind of vault, and what that kind needs.

use std::ops::Range;
use std::path::PathBuf;

use super::desk::{At, Desk};
use super::field::{Field, Leaf, List};
use super::file::VaultFile;
use super::nearest::{nearest, quoted};
use super::quantity::parse_duration;
use super::{BaseUrl, Exec, Login, OpenBao, Vault, VaultPlace, Wrong, defaults, url};

/// The kinds of vault, as `type` names them.
const KINDS: [&str; 4] = ["age", "openbao", "directory", "exec"];

/// The ways to prove to an OpenBao server who one is, as `auth` names them.
const AUTHS: [&str; 4] = ["token", "approle", "kubernetes", "cert"];

/// Which keys have a meaning for which kind of vault, or for which way to log in there. Keys that are not here have one
/// for every kind.
const BELONGS: [(&str, &[&str]); 22] = [
    ("former_for", &["openbao", "directory", "exec"]),
    ("timeout", &["openbao", "exec"]),
    ("file", &["age"]),
    ("identity", &["age"]),
    ("address", &["openbao"]),
    ("namespace", &["openbao"]),
    ("mount", &["openbao"]),
    ("path", &["openbao"]),
    ("trust_roots", &["openbao"]),
    ("auth", &["openbao"]),
    ("auth_mount", &["approle", "kubernetes", "cert"]),
    ("token_file", &["token"]),
    ("role_id", &["approle"]),
    ("secret_id_file", &["approle"]),
    ("secret_id_wrapped", &["approle"]),
    ("role", &["kubernetes", "cert"]),
    ("jwt_file", &["kubernetes"]),
    ("client_certificate", &["cert"]),
    ("client_key", &["cert"]),
    ("directory", &["directory"]),
    ("command", &["exec"]),
    ("environment", &["exec"]),
];

/// Checks the section.
pub(super) fn vault(desk: &mut Desk<'_>, mut file: VaultFile) -> Vault {
    let home = file.kind.as_ref().map_or(0..0, |field| field.span.clone());
    let kind = desk.read("vault.type", file.kind.take(), KINDS[0], |text| one_of(text, &KINDS, "vault of type"));
    let auth = desk.optional("vault.auth", file.auth.clone()).filter(|_| kind == "openbao");
    let auth = auth.and_then(|at| desk.keep(at.span, "vault.auth", one_of(&at.value, &AUTHS, "way to log in called")));
    strays(desk, kind, auth, &file);
    let (refresh, stale_for) = (file.refresh.take(), file.stale_for.take());
    let start_wait = file.start_wait.take();
    let former_for = desk.read("vault.former_for", file.former_for.take(), Some(defaults::VAULT_FORMER_FOR), or_none);
    let timeout = desk.read("vault.timeout", file.timeout.take(), defaults::VAULT_TIMEOUT, parse_duration);
    let age = |desk: &mut Desk<'_>, file: VaultFile| VaultPlace::Age {
        file: desk.path("vault.file", file.file, defaults::VAULT_FILE),
        identity: desk.path("vault.identity", file.identity, defaults::VAULT_IDENTITY),
    };
    let place = match kind {
        "openbao" => openbao(desk, &home, auth, file).map(|bao| VaultPlace::OpenBao(OpenBao { timeout, ..bao })),
        "directory" => directory(desk, &home, file),
        "exec" => exec(desk, &home, file).map(|exec| VaultPlace::Exec(Exec { timeout, ..exec })),
        _ => Some(age(desk, file)),
    };
    Vault {
        // Without a place there is a problem, and nothing is made of what is handed back.
        place: place.unwrap_or_else(|| age(desk, VaultFile::default())),
        refresh: desk.read("vault.refresh", refresh, defaults::VAULT_REFRESH, parse_duration),
        stale_for: desk.read("vault.stale_for", stale_for, defaults::VAULT_STALE_FOR, parse_duration),
        // A key that is put over another in the age file is gone; `credential rotate` is the way to keep both for a while.
        former_for: former_for.filter(|_| kind != "age"),
        start_wait: desk.read("vault.start_wait", start_wait, None, or_none),
    }
}

fn or_none(text: &str) -> Result<Option<std::time::Duration>, Wrong> {
    if text == "none" { Ok(None) } else { parse_duration(text).map(Some) }
}

fn one_of<'a>(text: &str, known: &[&'a str], what: &str) -> Result<&'a str, Wrong> {
    known.iter().copied().find(|word| *word == text).ok_or_else(|| {
        let remedy = match text {
            "vault" | "hashicorp" | "bao" => {
                "write `openbao`: HashiCorp Vault and OpenBao speak the same API".to_owned()
            }
            "jwt" | "k8s" => "write `kubernetes`; `auth_mount = \"jwt\"` sends the same to a `jwt` mount".to_owned(),
            "tls" | "certificate" => "write `cert`".to_owned(),
            _ => nearest(text, known.iter().copied())
                .map_or_else(|| format!("known: {}", quoted(known)), |near| format!("did you mean `{near}`?")),
        };
        Wrong::new(format!("there is no {what} `{text}`"), remedy)
    })
}

/// A key that has no meaning here was meant for something: it is not passed over.
fn strays(desk: &mut Desk<'_>, kind: &str, auth: Option<&str>, file: &VaultFile) {
    for (key, span) in given(file) {
        let Some((_, homes)) = BELONGS.iter().find(|(known, _)| *known == key) else { continue };
        let fits = homes.iter().any(|home| *home == kind || Some(*home) == auth);
        // Without a way to log in there is a problem of its own, and what belongs to it cannot be known.
        let unknown = kind == "openbao" && auth.is_none() && AUTHS.contains(&homes[0]);
        if fits || unknown {
            continue;
        }
        let here = auth.map_or_else(|| format!("of type `{kind}`"), |auth| format!("with `auth = \"{auth}\"`"));
        let wrong = Wrong::new(
            format!("`{key}` has no meaning for a vault {here}"),
            format!("remove the line; `{key}` belongs to {}", quoted(homes)),
        );
        desk.report(span, &format!("vault.{key}"), wrong);
    }
}

/// The keys that stand in the file, with their places.
fn given(file: &VaultFile) -> Vec<(&'static str, Range<usize>)> {
    fn at<T: Leaf>(field: Option<&Field<T>>) -> Option<Range<usize>> {
        field.map(|field| field.span.clone())
    }
    let list = |list: Option<&List>| list.map(|list| list.span.clone());
    let all = [
        ("former_for", at(file.former_for.as_ref())),
        ("timeout", at(file.timeout.as_ref())),
        ("file", at(file.file.as_ref())),
        ("identity", at(file.identity.as_ref())),
        ("address", at(file.address.as_ref())),
        ("namespace", at(file.namespace.as_ref())),
        ("mount", at(file.mount.as_ref())),
        ("path", at(file.path.as_ref())),
        ("trust_roots", at(file.trust_roots.as_ref())),
        ("auth", at(file.auth.as_ref())),
        ("auth_mount", at(file.auth_mount.as_ref())),
        ("token_file", at(file.token_file.as_ref())),
        ("role_id", at(file.role_id.as_ref())),
        ("secret_id_file", at(file.secret_id_file.as_ref())),
        ("secret_id_wrapped", at(file.secret_id_wrapped.as_ref())),
        ("role", at(file.role.as_ref())),
        ("jwt_file", at(file.jwt_file.as_ref())),
        ("client_certificate", at(file.client_certificate.as_ref())),
        ("client_key", at(file.client_key.as_ref())),
        ("directory", at(file.directory.as_ref())),
        ("command", list(file.command.as_ref())),
        ("environment", list(file.environment.as_ref())),
    ];
    all.into_iter().filter_map(|(key, span)| Some((key, span?))).collect()
}

fn openbao(desk: &mut Desk<'_>, home: &Range<usize>, auth: Option<&str>, mut file: VaultFile) -> Option<OpenBao> {
    let address =
        desk.required("vault.address", file.address.take(), home, "`address = \"https://vault.internal:8200\"`");
    let address = address.and_then(|at| desk.keep(at.span, "vault.address", server(&at.value)));
    let namespace = desk.read("vault.namespace", file.namespace.take(), None, |text| match text {
        "none" => Ok(None),
        text => below_v1(text).map(Some),
    });
    let mount = desk.read("vault.mount", file.mount.take(), defaults::VAULT_MOUNT.to_owned(), below_v1);
    let path = desk.read("vault.path", file.path.take(), defaults::VAULT_PATH.to_owned(), below_v1);
    let trust_roots = desk.optional("vault.trust_roots", file.trust_roots.take()).filter(|at| at.value != "mozilla");
    let trust_roots = trust_roots.and_then(|at| {
        let joined = desk.join(&at.value);
        desk.keep(at.span, "vault.trust_roots", joined)
    });
    if auth.is_none() && file.auth.is_none() {
        let remedy = format!("say how the gate logs in: `auth = \"approle\"`; known: {}", quoted(&AUTHS));
        desk.missing("vault.auth", home, &remedy);
    }
    let login = login(desk, home, auth?, file);
    Some(OpenBao {
        address: address?,
        namespace,
        mount,
        path,
        trust_roots,
        login: login?,
        timeout: defaults::VAULT_TIMEOUT,
    })
}

/// The server's address. Its certificate is always verified, and there is no plain HTTP, loopback or not.
fn server(text: &str) -> Result<BaseUrl, Wrong> {
    let remedy = "write `https://vault.internal:8200`; a server on this machine has a certificate too, and \
                  `trust_roots` names who signed it";
    url::base_url(text).map_err(|wrong| Wrong::new(wrong.what.replace("the base URL", "the vault's address"), remedy))
}

/// A mount, a path or a namespace: plain words separated by single slashes.
fn below_v1(text: &str) -> Result<String, Wrong> {
    let trimmed = text.trim_matches('/');
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let word = |word: &str| !["", ".", ".."].contains(&word) && word.bytes().all(plain);
    if trimmed.split('/').all(word) {
        return Ok(trimmed.to_owned());
    }
    let remedy = "plain words (letters, digits, `-._~`) separated by single `/`, without `v1`, `data` or a query";
    Err(Wrong::new(format!("`{}` is no path in a vault", text.escape_debug()), remedy))
}

fn login(desk: &mut Desk<'_>, home: &Range<usize>, auth: &str, file: VaultFile) -> Option<Login> {
    let mount = desk.read("vault.auth_mount", file.auth_mount, auth.to_owned(), below_v1);
    match auth {
        "approle" => {
            let role_id =
                desk.required("vault.role_id", file.role_id, home, "`role_id = \"…\"`, as the role's owner gives it");
            let secret_id = needed_path(
                desk,
                "vault.secret_id_file",
                file.secret_id_file,
                home,
                "`secret_id_file = \"vault-secret-id\"`",
            );
            let wrapped = desk.optional("vault.secret_id_wrapped", file.secret_id_wrapped).is_some_and(|at| at.value);
            Some(Login::AppRole { mount, role_id: role_id?.value, secret_id_file: secret_id?, wrapped })
        }
        "kubernetes" => {
            let role =
                desk.required("vault.role", file.role, home, "`role = \"keygate\"`, as the server's operator named it");
            let file = desk.path("vault.jwt_file", file.jwt_file, defaults::VAULT_JWT_FILE);
            Some(Login::Jwt { mount, role: role?.value, file })
        }
        "cert" => {
            let certificate = needed_path(
                desk,
                "vault.client_certificate",
                file.client_certificate,
                home,
                "`client_certificate = \"vault-client.pem\"`, the chain, leaf first",
            );
            let key =
                needed_path(desk, "vault.client_key", file.client_key, home, "`client_key = \"vault-client.key\"`");
            let role = desk.optional("vault.role", file.role).map(|at| at.value).filter(|role| role != "none");
            Some(Login::Certificate { mount, role, certificate: certificate?, key: key? })
        }
        _ => {
            let file = needed_path(desk, "vault.token_file", file.token_file, home, "`token_file = \"vault-token\"`");
            Some(Login::Token { file: file? })
        }
    }
}

fn needed_path(
    desk: &mut Desk<'_>,
    key: &str,
    field: Option<Field<String>>,
    home: &Range<usize>,
    remedy: &str,
) -> Option<PathBuf> {
    let At { value, span } = desk.required(key, field, home, remedy)?;
    let joined = desk.join(&value);
    desk.keep(span, key, joined)
}

fn directory(desk: &mut Desk<'_>, home: &Range<usize>, file: VaultFile) -> Option<VaultPlace> {
    let remedy = "`directory = \"/run/credentials/keygate.service\"`: one file for each credential";
    let directory = needed_path(desk, "vault.directory", file.directory, home, remedy)?;
    Some(VaultPlace::Directory { directory })
}

fn exec(desk: &mut Desk<'_>, home: &Range<usize>, file: VaultFile) -> Option<Exec> {
    let remedy =
        "`command = [\"/usr/local/bin/helper\", \"--profile\", \"shop\"]`; the credential's name is added as last";
    if file.command.is_none() {
        desk.missing("vault.command", home, remedy);
    }
    let span = file.command.as_ref().map_or_else(|| home.clone(), |list| list.span.clone());
    let was_list = file.command.as_ref().is_some_and(|list| list.entries.is_ok());
    let command: Vec<String> = desk.list("vault.command", file.command).into_iter().map(|at| at.value).collect();
    let environment = desk.list("vault.environment", file.environment).into_iter().map(|at| at.value).collect();
    if !was_list {
        return None;
    }
    let absolute = command.first().is_some_and(|program| program.starts_with('/'));
    if !absolute || command.iter().any(|word| word.contains('\0')) {
        let what = "`vault.command` does not begin with the absolute path of a program";
        desk.report(span, "vault.command", Wrong::new(what, format!("{remedy}; there is no shell and no search path")));
        return None;
    }
    Some(Exec { command, environment, timeout: defaults::VAULT_TIMEOUT })
}
