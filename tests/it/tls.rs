//! TLS on the client's side: what is spoken, what is refused, and that refusals are on record too.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use crate::harness::command::{Ran, found, run};
use crate::harness::pki::Pki;
use crate::harness::{Curl, Line, Merchant, PATIENCE, Proxy, have, until};

/// Tells the client to offer what it would by itself no longer offer. Without it the client ends the handshake and the
/// test shows nothing.
const OLD: [&str; 2] = ["-cipher", "DEFAULT@SECLEVEL=0"];

fn s_client(port: u16, args: &[&str]) -> Ran {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &format!("127.0.0.1:{port}"), "-servername", "localhost"]).args(args);
    run(command, b"")
}

/// A server that speaks TLS 1.0, so that a refused client is known to have been able to speak it.
struct OldServer(Child, u16);

impl OldServer {
    fn start(version: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let leaf = Pki::new().leaf(&["localhost"]);
        let (certificate, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
        std::fs::write(&certificate, leaf.certificate).unwrap();
        std::fs::write(&key, leaf.key).unwrap();
        let mut command = Command::new("openssl");
        command.args(["s_server", "-accept", "127.0.0.1:0", version, "-cipher", "ALL:@SECLEVEL=0", "-naccept", "1"]);
        command.arg("-cert").arg(certificate).arg("-key").arg(key);
        command.args(["-no_ign_eof"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let ready = lines.into_iter().find(|line| line.starts_with("ACCEPT"));
        let port = ready.as_deref().and_then(|line| line.trim().rsplit(':').next()).and_then(|p| p.parse().ok());
        Self(child, port.unwrap_or_else(|| panic!("openssl s_server said: {ready:?}")))
    }
}

impl Drop for OldServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn connection_record(proxy: &Proxy, refusal: &str) -> Line {
    until(&format!("a record of the refused connection with `{refusal}`"), || {
        proxy.audit().of_kind("connection").into_iter().find(|line| line.text("refusal") == refusal)
    })
}

fn an_old_client_is_refused_and_on_record(version: &str, name: &str) {
    if !have("openssl", found("openssl")) {
        return;
    }
    let merchant = Merchant::content();
    let proxy = Proxy::open(&merchant.target());
    let ran = s_client(proxy.address().port(), &[&[version], &OLD[..]].concat());
    assert_ne!(ran.code, Some(0), "{ran}");
    assert!(ran.stderr.contains("alert protocol version"), "{ran}");
    let record = connection_record(&proxy, "tls_version");
    let offered: Vec<_> = record.field("tls.offered").as_array().unwrap().iter().filter_map(|v| v.as_str()).collect();
    assert_eq!(offered.first(), Some(&name), "{record}");
    assert_eq!(record.text("tls.sni"), "localhost", "{record}");
    assert_eq!(record.text("peer"), "127.0.0.1", "{record}");
    let control = OldServer::start(version);
    let ran = s_client(control.1, &[&[version], &OLD[..]].concat());
    assert!(
        ran.stdout.contains("Cipher is") && !ran.stderr.contains("alert"),
        "the client cannot speak it at all: {ran}"
    );
}

#[test]
fn a_client_that_offers_only_tls_1_0_is_refused_and_on_record() {
    an_old_client_is_refused_and_on_record("-tls1", "TLS 1.0");
}

#[test]
fn a_client_that_offers_only_tls_1_1_is_refused_and_on_record() {
    an_old_client_is_refused_and_on_record("-tls1_1", "TLS 1.1");
}

#[test]
fn tls_1_2_and_1_3_are_spoken_with_forward_secrecy_only() {
    if !have("openssl", found("openssl")) {
        return;
    }
    let merchant = Merchant::content();
    let proxy = Proxy::open(&merchant.target());
    let port = proxy.address().port();
    let ca = proxy.directory().join("ca.pem");
    let good = ["-CAfile", ca.to_str().unwrap(), "-verify_return_error", "-verify_hostname", "localhost"];
    for version in ["-tls1_2", "-tls1_3"] {
        let ran = s_client(port, &[&[version], &good[..]].concat());
        assert!(ran.stdout.contains("Verify return code: 0"), "{version}: {ran}");
    }
    for cipher in ["AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES256-SHA"] {
        let ran = s_client(port, &["-tls1_2", "-cipher", &format!("{cipher}:@SECLEVEL=0")]);
        assert!(ran.stderr.contains("alert handshake failure"), "{cipher}: {ran}");
    }
}

#[test]
fn the_post_quantum_group_is_offered_and_on_record() {
    let merchant = Merchant::content();
    let proxy = Proxy::open(&merchant.target());
    let reply = proxy.client("webshop").get("/v2/orders");
    let record = proxy.record(reply.must_be(200));
    assert_eq!(record.text("tls.version"), "1.3", "{record}");
    assert_eq!(record.text("tls.group"), "X25519MLKEM768", "{record}");
    assert_eq!(record.text("tls.sni"), "localhost", "{record}");
    assert!(
        record.text("tls.cipher").starts_with("TLS13_") || record.text("tls.cipher").starts_with("TLS_"),
        "{record}"
    );
}

#[test]
fn a_session_is_resumed() {
    let merchant = Merchant::content();
    let proxy = Proxy::open(&merchant.target());
    let client = proxy.client("webshop");
    client.get("/v2/orders").must_be(200);
    assert!(client.connect().resumed(), "the second connection makes a full handshake");
}

#[test]
fn http_2_and_http_1_are_chosen_by_alpn() {
    if !have("curl", found("curl")) {
        return;
    }
    let merchant = Merchant::content();
    let proxy = Proxy::open(&merchant.target());
    let one = Curl::new(&proxy).key("webshop").call("/v2/orders");
    assert_eq!(proxy.record(one.must_be(200)).text("http"), "http/1.1");
    let two = Curl::new(&proxy).h2().key("webshop").call("/v2/orders");
    assert_eq!(proxy.record(two.must_be(200)).text("http"), "h2");
}

#[test]
fn plain_http_on_the_port_is_told_to_use_https_and_on_record() {
    let merchant = Merchant::content();
    let proxy = Proxy::open(&merchant.target());
    let mut tcp = TcpStream::connect(proxy.address()).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    tcp.write_all(b"GET /api/v2/orders HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut reply = String::new();
    tcp.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 400 "), "{reply}");
    assert!(reply.contains("https://"), "{reply}");
    assert!(reply.len() < 1000, "{reply}");
    connection_record(&proxy, "plain_http");
    assert!(merchant.seen().is_empty());
}

#[test]
fn a_client_that_never_finishes_its_handshake_is_cut_off() {
    let merchant = Merchant::content();
    let proxy = Proxy::start(&merchant.target(), |setup| {
        setup.integration("webshop", &["--allow", "orders:read"]).set(&["listen", "handshake_timeout"], "300ms");
    });
    let mut silent = TcpStream::connect(proxy.address()).unwrap();
    let mut halting = TcpStream::connect(proxy.address()).unwrap();
    halting.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).unwrap();
    for tcp in [&mut silent, &mut halting] {
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut rest = Vec::new();
        // Either way of ending a connection is right; to go on waiting is not.
        let waited = tcp.read_to_end(&mut rest).err().map(|e| e.kind());
        assert!(!matches!(waited, Some(std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)), "not cut off");
    }
}

#[test]
fn bytes_that_are_neither_tls_nor_http_do_no_harm() {
    let merchant = Merchant::content();
    let proxy = Proxy::open(&merchant.target());
    for junk in [
        &b"\x00\x01\x02\x03\x04\x05\x06\x07"[..],
        b"\x80\x2e\x01\x00\x02",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x16\x03\x01\xff\xff\xff\xff\xff\xff",
    ] {
        let mut tcp = TcpStream::connect(proxy.address()).unwrap();
        tcp.write_all(junk).unwrap();
        tcp.shutdown(std::net::Shutdown::Write).unwrap();
        let _ = tcp.read_to_end(&mut Vec::new());
    }
    proxy.client("webshop").get("/v2/orders").must_be(200);
}
