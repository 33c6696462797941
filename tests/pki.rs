//! The local CA in the hands of other people's tools: `openssl` and `curl` accept what it signed for this machine, and
//! refuse whatever else might be signed with its key.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

fn keygate(folder: &Path, args: &[&str]) -> Output {
    let init = ["init", "gate", "--upstream", "https://acme.channelengine.net/api"];
    Command::new(env!("CARGO_BIN_EXE_keygate")).args(init).args(args).current_dir(folder).output().unwrap()
}

fn openssl(folder: &Path, line: &str) -> (bool, String) {
    let output =
        Command::new("openssl").args(line.split_whitespace()).current_dir(folder.join("gate")).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn openssl_accepts_the_server_certificate_for_this_machine_and_for_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    assert!(keygate(folder.path(), &["--name", "gate.internal", "--name", "10.1.2.3"]).status.success());
    let good = [
        "-verify_hostname localhost",
        "-verify_ip 127.0.0.1",
        "-verify_ip ::1",
        "-verify_hostname gate.internal",
        "-verify_ip 10.1.2.3",
    ];
    for name in good {
        let (accepted, said) =
            openssl(folder.path(), &format!("verify -x509_strict -purpose sslserver -CAfile ca.pem {name} server.pem"));
        assert!(accepted, "{name}: {said}");
    }
    for name in ["-verify_hostname example.com", "-verify_ip 127.0.0.2", "-verify_hostname other.internal"] {
        assert!(!openssl(folder.path(), &format!("verify -CAfile ca.pem {name} server.pem")).0, "{name}");
    }
}

#[test]
fn nothing_that_the_ca_signs_for_other_names_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    assert!(keygate(folder.path(), &["--keep-ca-key"]).status.success());
    for (name, permitted) in [("DNS:localhost", true), ("DNS:example.com", false), ("IP:10.0.0.1", false)] {
        let request =
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /O=other -keyout other.key -out other.csr";
        assert!(openssl(folder.path(), request).0);
        fs::write(folder.path().join("gate/ext.cnf"), format!("subjectAltName={name}\n")).unwrap();
        let sign =
            "x509 -req -in other.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext.cnf -out other.pem";
        assert!(openssl(folder.path(), sign).0);
        let (accepted, said) = openssl(folder.path(), "verify -CAfile ca.pem other.pem");
        assert_eq!(accepted, permitted, "{name}: {said}");
        assert!(permitted || said.contains("permitted subtree violation"), "{name}: {said}");
    }
}

#[test]
fn the_ca_key_is_thrown_away_and_what_is_secret_is_private() {
    let folder = tempfile::tempdir().unwrap();
    assert!(keygate(folder.path(), &[]).status.success());
    let gate = folder.path().join("gate");
    assert!(!gate.join("ca.key").exists());
    let mode = |name: &str| fs::metadata(gate.join(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(""), 0o700);
    for private in ["server.key", "vault.age", "vault-identity.txt", "audit-hash.key"] {
        assert_eq!(mode(private), 0o600, "{private}");
    }
    assert_eq!(mode("audit"), 0o700);
}

#[test]
fn the_certificates_live_as_long_as_clients_accept() {
    let folder = tempfile::tempdir().unwrap();
    assert!(keygate(folder.path(), &[]).status.success());
    let days = |count: u32| count * 24 * 60 * 60;
    let lives =
        |file: &str, seconds: u32| openssl(folder.path(), &format!("x509 -in {file} -noout -checkend {seconds}")).0;
    assert!(lives("server.pem", days(820)) && !lives("server.pem", days(825)));
    assert!(lives("ca.pem", days(3640)) && !lives("ca.pem", days(3660)));
}
