//! Keys that change hands without anybody in between seeing them, with the real `age` on the other side.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::command::{Ran, found, run};
use crate::harness::{Merchant, Proxy, have, random_hex, until};

fn age(args: &[&str], stdin: &[u8]) -> Ran {
    let mut command = Command::new(args[0]);
    command.args(&args[1..]);
    run(command, stdin)
}

fn has_age() -> bool {
    have("age", found("age") && found("age-keygen"))
}

/// What `credential request` printed, as a merchant would use it: the command with the key on its standard input.
fn seal(printed: &str, key: &str, folder: &Path) -> String {
    let line = printed.lines().find_map(|line| line.strip_prefix("command")).unwrap().trim();
    let mut words: Vec<&str> = line.split(' ').collect();
    let file = folder.join(words.pop().unwrap()).to_str().unwrap().to_owned();
    words.push(&file);
    let sealed = age(&words, key.as_bytes());
    assert_eq!(sealed.code, Some(0), "{sealed}");
    file
}

#[test]
fn a_sealed_key_is_taken_once_and_then_used() {
    if !has_age() {
        return;
    }
    let merchant = Merchant::content();
    let mut proxy = Proxy::start(&merchant.target(), |setup| {
        setup.integration("webshop", &["--allow", "orders:read"]).set(&["vault", "refresh"], "1s");
    });
    let folder = tempfile::tempdir().unwrap();
    let fresh = random_hex(40);
    let printed = proxy.keygate(&["credential", "request", "acme"], b"").ok();
    let file = seal(&printed, &format!("{fresh}\n"), folder.path());
    assert!(!fs::read_to_string(&file).unwrap().contains(&fresh));
    let listed = proxy.keygate(&["credential", "list"], b"");
    assert!(listed.stderr.contains("is asked for"), "{listed}");
    let put = proxy.keygate(&["credential", "put", "acme", "--sealed", &file], b"");
    assert!(put.code == Some(0) && put.stderr.contains("version 2"), "{put}");
    until("the sealed key in use", || {
        proxy.client("webshop").get("/v2/orders").must_be(200);
        merchant.seen().last().filter(|seen| seen.header("x-ce-key") == fresh).map(drop)
    });
    let again = proxy.keygate(&["credential", "put", "acme", "--sealed", &file], b"");
    assert!(again.code == Some(1) && again.stderr.contains("no open request"), "{again}");
    assert!(!proxy.keygate(&["credential", "list"], b"").stderr.contains("asked for"));
}

#[test]
fn a_key_that_was_sealed_for_somebody_else_is_refused_and_the_request_stays_open() {
    if !has_age() {
        return;
    }
    let merchant = Merchant::content();
    let mut proxy = Proxy::open(&merchant.target());
    let folder = tempfile::tempdir().unwrap();
    let former = proxy.keygate(&["credential", "request", "acme"], b"").ok();
    let former = seal(&former, &random_hex(40), folder.path());
    let present = proxy.keygate(&["credential", "request", "acme"], b"").ok();
    let refused = proxy.keygate(&["credential", "put", "acme", "--sealed", &former], b"");
    assert!(refused.code == Some(1) && refused.stderr.contains("sealed to the recipient"), "{refused}");
    for (name, bytes) in
        [("empty", &b""[..]), ("text", b"not sealed at all"), ("vault", &fs::read(proxy.vault()).unwrap())]
    {
        let ran = proxy.keygate(&["credential", "put", "acme", "--sealed", "-"], bytes);
        assert!(ran.code == Some(1) && ran.stderr.contains("sealed to the recipient"), "{name}: {ran}");
    }
    // What can be no key is refused after it was opened; the merchant may try again.
    let unfit = seal(&present, "short", folder.path());
    let ran = proxy.keygate(&["credential", "put", "acme", "--sealed", &unfit], b"");
    assert!(ran.code == Some(2) && ran.stderr.contains("shorter"), "{ran}");
    fs::remove_file(unfit).unwrap();
    let right = seal(&present, &random_hex(40), folder.path());
    proxy.keygate(&["credential", "put", "acme", "--sealed", &right], b"").ok();
}

#[test]
fn a_request_ends_with_its_time() {
    if !has_age() {
        return;
    }
    let merchant = Merchant::content();
    let mut proxy = Proxy::open(&merchant.target());
    let folder = tempfile::tempdir().unwrap();
    let printed = proxy.keygate(&["credential", "request", "acme", "--valid", "1s"], b"").ok();
    let file = seal(&printed, &random_hex(40), folder.path());
    let ended = until("the end of the request", || {
        let ran = proxy.keygate(&["credential", "request", "acme", "--valid", "1s"], b"");
        drop(ran);
        let ran = proxy.keygate(&["credential", "put", "acme", "--sealed", &file], b"");
        assert_eq!(ran.code, Some(1), "{ran}");
        Some(ran)
    });
    assert!(ended.stderr.contains("sealed to the recipient"), "{ended}");
    let over = until("the end of the request", || {
        let ran = proxy.keygate(&["credential", "put", "acme", "--sealed", "-"], b"x");
        ran.stderr.contains("ended on").then_some(ran)
    });
    assert_eq!(over.code, Some(1), "{over}");
}

#[test]
fn a_scoped_key_is_printed_sealed_and_opens_with_age() {
    if !has_age() {
        return;
    }
    let merchant = Merchant::content();
    let mut proxy = Proxy::open(&merchant.target());
    let folder = tempfile::tempdir().unwrap();
    let identity = folder.path().join("id.txt").to_str().unwrap().to_owned();
    assert_eq!(age(&["age-keygen", "-o", &identity], b"").code, Some(0));
    let recipient = age(&["age-keygen", "-y", &identity], b"").ok().trim().to_owned();
    let add = ["integration", "add", "pim", "--upstream", "acme", "--allow", "orders:read", "--seal-to", &recipient];
    let sealed = proxy.keygate(&add, b"").ok();
    assert!(sealed.starts_with("-----BEGIN AGE ENCRYPTED FILE-----") && !sealed.contains("kg_"), "{sealed}");
    let opened = age(&["age", "--decrypt", "--identity", &identity], sealed.as_bytes()).ok();
    let first = opened.trim().to_owned();
    proxy.anonymous().with("x-ce-key", &first).get("/v2/orders").must_be(200);
    let sealed = proxy.keygate(&["integration", "rotate", "pim", "--seal-to", &recipient], b"").ok();
    let second = age(&["age", "--decrypt", "--identity", &identity], sealed.as_bytes()).ok();
    assert_ne!(second.trim(), first);
    proxy.anonymous().with("x-ce-key", second.trim()).get("/v2/orders").must_be(200);
}

#[test]
fn a_recipient_that_is_none_changes_nothing() {
    let merchant = Merchant::content();
    let mut proxy = Proxy::open(&merchant.target());
    let before = fs::read_to_string(proxy.config()).unwrap();
    for args in [
        &["integration", "add", "pim", "--upstream", "acme", "--allow", "orders:read", "--seal-to", "age1no"][..],
        &["integration", "rotate", "webshop", "--seal-to", "ssh-ed25519 AAAA"],
    ] {
        let ran = proxy.keygate(args, b"");
        assert!(ran.code == Some(2) && ran.stderr.contains("no age recipient") && ran.stdout.is_empty(), "{ran}");
    }
    assert_eq!(fs::read_to_string(proxy.config()).unwrap(), before);
}
