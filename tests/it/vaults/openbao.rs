//! A real OpenBao server: each way to log in, tokens that end, what the server refuses.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use keygate::config::{self, Login};
use keygate::vault::{OpenBao, Vault, VaultError};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair};
use serde_json::{Value, json};

use super::contract::{BOUND, Place, chain, contract, fetched};
use super::directory::document;
use crate::harness::bao::Bao;
use crate::harness::{Merchant, until};

const KEY: &str = "0123456789abcdef0123456789abcdef01234567";

/// A vault in this server, with credentials below `path`.
pub(super) fn configured(bao: &Bao, path: &str, login: Login) -> config::OpenBao {
    config::OpenBao {
        address: config::base_url(&bao.address()).unwrap(),
        namespace: None,
        mount: "secret".into(),
        path: path.into(),
        trust_roots: Some(bao.ca()),
        login,
        timeout: Duration::from_secs(20),
    }
}

#[track_caller]
fn vault(bao: &Bao, path: &str, login: Login) -> OpenBao {
    OpenBao::new(&configured(bao, path, login)).unwrap_or_else(|error| panic!("{}", chain(&error)))
}

#[track_caller]
fn trouble(vault: &dyn Vault) -> VaultError {
    let Err(error) = vault.fetch("acme") else { panic!("a credential was handed out") };
    error
}

fn keeps_the_contract(bao: &Bao, path: &str, login: Login) -> OpenBao {
    let vault = vault(bao, path, login);
    contract(&Place {
        vault: &vault,
        put: &|id, terms, key| bao.put(&format!("{path}/{id}"), &document(&terms, key)),
        remove: &|id| drop(bao.api("DELETE", &format!("secret/data/{path}/{id}"), &Value::Null)),
    });
    vault
}

/// A token with the gate's policy.
fn token(bao: &Bao, settings: &Value) -> String {
    let mut wanted = json!({"policies": ["keygate"]});
    wanted.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    bao.api("POST", "auth/token/create", &wanted)["auth"]["client_token"].as_str().unwrap().to_owned()
}

fn token_login(bao: &Bao, token: &str) -> Login {
    Login::Token { file: bao.secret_file("token", token) }
}

pub(super) fn approle(role_id: String, secret_id_file: PathBuf, wrapped: bool) -> Login {
    Login::AppRole { mount: "approle".into(), role_id, secret_id_file, wrapped }
}

#[test]
fn a_server_keeps_the_contract_with_a_token_and_with_an_approle_wrapped_or_not() {
    let Some(bao) = Bao::start() else { return };
    let by_token = keeps_the_contract(&bao, "keygate/token", token_login(&bao, &token(&bao, &json!({}))));
    assert!(by_token.news()[0].contains("the token of `token_file` is taken"));
    let (role_id, secret_id) = bao.approle(&json!({"token_ttl": "1h"}));
    let file = bao.secret_file("secret-id", &format!("{secret_id}\n"));
    let vault = keeps_the_contract(&bao, "keygate/approle", approle(role_id.clone(), file, false));
    let news = vault.news();
    assert_eq!(news.len(), 1, "one login serves all questions: {news:?}");
    assert!(news[0].contains("logged in by approle; it lives 3600 s and can be renewed"), "{news:?}");
    let wrapped = bao.secret_file("wrapped", &bao.wrapped("auth/approle/role/keygate/secret-id"));
    let vault = keeps_the_contract(&bao, "keygate/wrapped", approle(role_id, wrapped, true));
    assert!(vault.news()[0].contains("unwrapped"));
}

/// A Kubernetes API that knows one service account.
fn kubernetes() -> Merchant {
    Merchant::start(|exchange| {
        let user = json!({"username": "system:serviceaccount:default:keygate", "uid": "u-1", "groups": []});
        let status = json!({"authenticated": true, "user": user});
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status});
        exchange.json(200, &review.to_string())
    })
}

/// A service account's token, as far as the server reads it itself; whether it is genuine it asks Kubernetes.
fn service_account() -> String {
    use base64::Engine as _;
    let part = |value: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value);
    let claims = json!({
        "iss": "kubernetes/serviceaccount", "sub": "system:serviceaccount:default:keygate", "iat": 1_700_000_000, "nbf": 1_700_000_000,
        "exp": 4_102_444_800_u64,
        "kubernetes.io": {"namespace": "default", "serviceaccount": {"name": "keygate", "uid": "u-1"}},
    });
    format!("{}.{}.{}", part(r#"{"alg":"RS256","typ":"JWT"}"#), part(&claims.to_string()), part("signature"))
}

#[test]
fn a_server_keeps_the_contract_with_a_service_account_and_with_a_certificate() {
    let Some(bao) = Bao::start() else { return };
    let api = kubernetes();
    bao.api("POST", "sys/auth/kubernetes", &json!({"type": "kubernetes"}));
    let host = format!("https://127.0.0.1:{}", api.target().port);
    let settings = json!({"kubernetes_host": host, "kubernetes_ca_cert": api.target().ca_pem, "token_reviewer_jwt": "a.b.c",
        "disable_local_ca_jwt": true});
    bao.api("POST", "auth/kubernetes/config", &settings);
    let role = json!({"bound_service_account_names": "keygate", "bound_service_account_namespaces": "default",
        "token_policies": "keygate", "token_ttl": "1h"});
    bao.api("POST", "auth/kubernetes/role/keygate", &role);
    let file = bao.secret_file("jwt", &service_account());
    let login = Login::Jwt { mount: "kubernetes".into(), role: "keygate".into(), file };
    let vault = keeps_the_contract(&bao, "keygate/kubernetes", login);
    assert!(vault.news()[0].contains("logged in by JWT"));
    assert_eq!(api.seen().len(), 1, "the server asked Kubernetes once");

    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["keygate".to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.self_signed(&key).unwrap().pem();
    bao.api("POST", "sys/auth/cert", &json!({"type": "cert"}));
    bao.api("POST", "auth/cert/certs/keygate", &json!({"certificate": certificate, "token_policies": "keygate"}));
    std::fs::write(bao.path("client.pem"), certificate).unwrap();
    let key = bao.secret_file("client.key", &key.serialize_pem());
    for (path, role) in [("keygate/cert", Some("keygate".to_owned())), ("keygate/cert-any", None)] {
        let (certificate, key) = (bao.path("client.pem"), key.clone());
        let login = Login::Certificate { mount: "cert".into(), role, certificate, key };
        let vault = keeps_the_contract(&bao, path, login);
        assert!(vault.news()[0].contains("logged in by certificate"));
    }
}

#[test]
fn a_namespace_is_a_world_of_its_own() {
    let Some(bao) = Bao::start() else { return };
    bao.api("POST", "sys/namespaces/team", &Value::Null);
    bao.api("POST", "team/sys/mounts/kv", &json!({"type": "kv", "options": {"version": "2"}}));
    let fields = json!({"data": {"key": KEY, "bound_to": BOUND}});
    until("the KV engine", || bao.try_api("POST", "team/kv/data/shop/acme", &fields).ok());
    let within = |namespace: Option<&str>| {
        let login = token_login(&bao, bao.root());
        let config = configured(&bao, "shop", login);
        let config = config::OpenBao { namespace: namespace.map(str::to_owned), mount: "kv".into(), ..config };
        OpenBao::new(&config).unwrap_or_else(|error| panic!("{}", chain(&error)))
    };
    assert!(fetched(&within(Some("team")), "acme").secret.expose() == KEY.as_bytes());
    let error = trouble(&within(None));
    assert!(matches!(error, VaultError::Refused { .. }), "there is no such engine outside: {error}");
}

#[test]
fn a_token_is_renewed_and_when_it_cannot_be_any_more_there_is_another_login() {
    let Some(bao) = Bao::start() else { return };
    bao.put("keygate/acme", &json!({"key": KEY, "bound_to": BOUND}));
    let (role_id, secret_id) = bao.approle(&json!({"token_ttl": "3s", "token_max_ttl": "6s"}));
    let file = bao.secret_file("secret-id", &secret_id);
    let vault = vault(&bao, "keygate", approle(role_id, file, false));
    fetched(&vault, "acme");
    assert_eq!(vault.news().len(), 1);
    let begun = Instant::now();
    // Two renewals carry it to its longest life; then it takes another login. At no time is it without a token.
    until("another login, when the token has come to its longest life", || {
        assert!(vault.tend().is_some_and(|due| due <= Duration::from_secs(2)));
        fetched(&vault, "acme");
        vault.news().iter().find(|news| news.contains("logged in by approle")).map(|_| ())
    });
    assert!(begun.elapsed() > Duration::from_secs(3), "without a renewal it would have ended sooner");
}

#[test]
fn a_token_that_was_withdrawn_is_replaced_within_the_same_question() {
    let Some(bao) = Bao::start() else { return };
    bao.put("keygate/acme", &json!({"key": KEY, "bound_to": BOUND}));
    let (role_id, secret_id) = bao.approle(&json!({}));
    let file = bao.secret_file("secret-id", &secret_id);
    let by_role = vault(&bao, "keygate", approle(role_id, file, false));
    fetched(&by_role, "acme");
    bao.api("POST", "sys/leases/revoke-prefix/auth/approle/login", &json!({}));
    fetched(&by_role, "acme");
    assert_eq!(by_role.news().len(), 2, "two logins");

    let (old, new) = (token(&bao, &json!({})), token(&bao, &json!({})));
    let by_token = vault(&bao, "keygate", token_login(&bao, &old));
    fetched(&by_token, "acme");
    bao.api("POST", "auth/token/revoke", &json!({"token": old}));
    let error = trouble(&by_token);
    assert!(matches!(error, VaultError::Refused { .. }), "{error}");
    assert!(!chain(&error).contains(&old), "{error}");
    bao.secret_file("token", &new);
    fetched(&by_token, "acme");
}

#[test]
fn a_token_that_was_issued_is_given_back_and_one_from_a_file_is_not() {
    let Some(bao) = Bao::start() else { return };
    bao.put("keygate/acme", &json!({"key": KEY, "bound_to": BOUND}));
    let (role_id, secret_id) = bao.approle(&json!({}));
    let file = bao.secret_file("secret-id", &secret_id);
    let count =
        || bao.api("GET", "auth/token/accessors?list=true", &Value::Null)["data"]["keys"].as_array().unwrap().len();
    let token = token(&bao, &json!({}));
    let before = count();
    for login in [approle(role_id, file, false), token_login(&bao, &token)] {
        let vault = vault(&bao, "keygate", login);
        fetched(&vault, "acme");
        drop(vault);
        assert_eq!(count(), before);
    }
}

#[test]
fn a_wrapped_secret_id_opens_once_and_only_when_its_role_made_it() {
    let Some(bao) = Bao::start() else { return };
    bao.put("keygate/acme", &json!({"key": KEY, "bound_to": BOUND}));
    let (role_id, _) = bao.approle(&json!({}));
    let wrapping = bao.wrapped("auth/approle/role/keygate/secret-id");
    let file = bao.secret_file("wrapped", &wrapping);
    let open = || vault(&bao, "keygate", approle(role_id.clone(), bao.path("wrapped"), true));
    let first = open();
    assert!(matches!(first.wrapping(), Some(Ok(()))), "to look at it does not use it up");
    fetched(&first, "acme");
    bao.api("POST", "sys/leases/revoke-prefix/auth/approle/login", &json!({}));
    fetched(&first, "acme");
    let error = trouble(&open());
    assert!(chain(&error).contains("somebody else has"), "{error}");
    assert!(!chain(&error).contains(&wrapping), "{error}");
    assert!(matches!(first.wrapping(), Some(Err(_))));
    // A running gate takes a fresh one, when the former secret id is not good any more.
    bao.secret_file("wrapped", &bao.wrapped("auth/approle/role/keygate/secret-id"));
    bao.api("POST", "sys/leases/revoke-prefix/auth/approle/login", &json!({}));
    fetched(&first, "acme");
    // Whoever took it could wrap something of his own.
    bao.secret_file("wrapped", &bao.wrapped("sys/wrapping/wrap"));
    let error = trouble(&open());
    assert!(chain(&error).contains("does not wrap a secret id"), "{error}");
    assert!(file.exists());
}

#[test]
fn what_the_server_refuses_is_told_with_its_own_words_and_without_a_secret() {
    let Some(bao) = Bao::start() else { return };
    bao.put("keygate/acme", &json!({"key": KEY, "bound_to": BOUND}));
    bao.put("elsewhere/acme", &json!({"key": KEY, "bound_to": BOUND}));
    let (role_id, secret_id) = bao.approle(&json!({}));
    let file = bao.secret_file("secret-id", &secret_id);
    let good = approle(role_id.clone(), file, false);
    let bad = approle(role_id, bao.secret_file("wrong", "11111111-2222-3333-4444-555555555555"), false);
    let told = |path: &str, login: &Login| chain(&trouble(&vault(&bao, path, login.clone())));
    let denied = told("elsewhere", &good);
    assert!(
        denied.contains("refuses to read `secret/data/elsewhere/acme`") && denied.contains("permission denied"),
        "{denied}"
    );
    let refused = told("keygate", &bad);
    assert!(refused.contains("refuses the login by approle"), "{refused}");
    assert!(!refused.contains("11111111-2222"), "{refused}");
    bao.put("keygate/acme", &json!({"key": KEY, "bound_to": BOUND, "note": KEY}));
    let odd = told("keygate", &good);
    assert!(odd.contains("is damaged") && !odd.contains(KEY), "{odd}");
    // A policy that does not show metadata: the credential itself is asked for its version.
    let rules = "path \"secret/data/keygate/*\" { capabilities = [\"read\"] }";
    bao.api("POST", "sys/policies/acl/keygate", &json!({"policy": rules}));
    bao.put("keygate/acme", &json!({"key": KEY, "bound_to": BOUND}));
    let blind = vault(&bao, "keygate", good);
    assert!(matches!(blind.version("acme"), Ok(None)));
    assert_eq!(fetched(&blind, "acme").version, 3);
    assert!(matches!(blind.version("acme"), Ok(None)));
    assert_eq!(blind.news().len(), 1, "one login: the token is good, it only may not see metadata");
}

#[test]
fn a_server_that_is_sealed_silent_gone_or_somebody_else_does_not_answer() {
    let Some(mut bao) = Bao::start() else { return };
    bao.put("keygate/acme", &json!({"key": KEY, "bound_to": BOUND}));
    let login = token_login(&bao, &token(&bao, &json!({})));
    let known = vault(&bao, "keygate", login.clone());
    fetched(&known, "acme");
    let away = |vault: &OpenBao, why: &str| {
        let error = trouble(vault);
        assert!(matches!(error, VaultError::Away { .. }), "{error}");
        assert!(chain(&error).contains(why), "`{why}`: {}", chain(&error));
    };
    bao.seal();
    away(&known, "status 503: Vault is sealed");
    bao.unseal();
    fetched(&known, "acme");

    let mut impatient = configured(&bao, "keygate", login.clone());
    impatient.timeout = Duration::from_millis(300);
    bao.signal("STOP");
    away(&OpenBao::new(&impatient).unwrap(), "no answer within 300ms");
    bao.signal("CONT");
    fetched(&known, "acme");

    let mut stranger = configured(&bao, "keygate", login);
    stranger.trust_roots = None;
    away(&OpenBao::new(&stranger).unwrap(), "invalid peer certificate");
    bao.end();
    away(&known, "onnection refused");
}
