//! The HTTP working group's cases for HTTP/2, run by httpwg-cli. It speaks cleartext, so a tunnel stands before the gate:
//! it puts TLS on and shows a scoped key, as an integration would, and changes nothing else.

use std::io;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::thread;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use crate::harness::command::run;
use crate::harness::frames::{PREFACE, field, frame, kind};
use crate::harness::{Merchant, Proxy, Target, have};

/// What must pass, of 107. The best of the other proxies that were measured passes 101.
const ENOUGH: usize = 102;

/// An API of one endpoint, which is the one that the cases call.
const PROFILE: &str = r#"name = "root"
title = "The root alone"
envelope = "problem"
slots = { headers = ["x-ce-key"], queries = [] }
inject = [{ header = "x-ce-key", template = "{key}" }]
endpoints = [
  { method = "POST", path = "/", scope = "root:read", effect = "read", purpose = "Everything" },
]
"#;

#[test]
fn more_cases_of_the_http_working_group_pass_than_with_any_peer() {
    let tool = std::env::var_os("KEYGATE_TEST_HTTPWG");
    if !have("httpwg", tool.is_some()) {
        return;
    }
    let merchant = Merchant::content();
    let target = Target { base_path: String::new(), ..merchant.target() };
    let proxy = Proxy::start(&target, |setup| {
        setup.integration("webshop", &["--allow", "orders:read"]).edit(|config, folder| {
            std::fs::write(folder.join("root.toml"), PROFILE).unwrap();
            config["upstream"]["acme"]["profile"] = toml_edit::value("root.toml");
            config["integration"]["webshop"]["allow"] = toml_edit::value(toml_edit::Array::from_iter(["root:read"]));
        });
    });
    let address = tunnel(&proxy);
    let mut command = Command::new(tool.unwrap());
    command.args(["-a", &address.to_string(), "--connect-timeout", "10000", "--frame-timeout", "3000"]);
    command.args(["--", "sleep", "60"]);
    let ran = run(command, b"");
    let named = |mark: &str| -> Vec<String> {
        let lines = ran.stderr.lines().filter_map(|line| line.split_once(mark));
        lines.map(|(_, name)| name.trim().to_owned()).collect()
    };
    let (passed, failed) = (named("Test passed:"), named("Test failed:"));
    println!("httpwg: {} of {} passed; failed:\n{}", passed.len(), passed.len() + failed.len(), failed.join("\n"));
    // A case whose own code gave up, as when a gate hangs up on a client that said goodbye, is in neither list.
    assert!(passed.len() >= ENOUGH, "{} passed, failed:\n{}\n{ran}", passed.len(), failed.join("\n"));
}

/// A tunnel to the gate; it lives as long as the test's process.
fn tunnel(proxy: &Proxy) -> SocketAddr {
    let (gate, tls) = (proxy.address(), Arc::new(proxy.anonymous().h2()));
    let key = field("x-ce-key", proxy.key("webshop"));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    thread::spawn(move || {
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::spawn(carry(tcp, gate, tls.clone(), key.clone()));
            }
        });
    });
    address
}

async fn carry(tcp: TcpStream, gate: SocketAddr, tls: Arc<ClientConfig>, key: Vec<u8>) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let out = TcpStream::connect(gate).await?;
    out.set_nodelay(true)?;
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    let (mut from_gate, to_gate) = split(TlsConnector::from(tls).connect(name, out).await?);
    let (from_client, mut to_client) = split(tcp);
    let back = async {
        // The end is passed on, however the gate put it.
        let _ = tokio::io::copy(&mut from_gate, &mut to_client).await;
        to_client.shutdown().await
    };
    tokio::try_join!(forth(from_client, to_gate, &key), back).map(drop)
}

/// From the client to the gate: frame by frame, the key behind each request's header block.
async fn forth(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, key: &[u8]) -> io::Result<()> {
    let (mut buffer, mut begun, mut highest) = (Vec::new(), false, 0);
    while from.read_buf(&mut buffer).await? > 0 {
        if !begun && buffer.len() >= PREFACE.len() {
            if !buffer.starts_with(PREFACE) {
                break;
            }
            to.write_all(&buffer.drain(..PREFACE.len()).collect::<Vec<_>>()).await?;
            begun = true;
        }
        while begun && buffer.len() >= 9 {
            let length = u32::from_be_bytes([0, buffer[0], buffer[1], buffer[2]]) as usize;
            if length > 16_384 {
                to.write_all(&std::mem::take(&mut buffer)).await?;
                to.flush().await?;
                tokio::io::copy(&mut from, &mut to).await?;
                return to.shutdown().await;
            }
            if buffer.len() < 9 + length {
                break;
            }
            let one: Vec<u8> = buffer.drain(..9 + length).collect();
            to.write_all(&with_key(one, key, &mut highest)).await?;
        }
        to.flush().await?;
    }
    to.write_all(&buffer).await?;
    to.flush().await?;
    // What was no HTTP/2 at all is waited on, as its client does, until the gate hangs up.
    tokio::io::copy(&mut from, &mut to).await?;
    to.shutdown().await
}

/// A frame, with the key behind it when it begins a request that can be read: not padded, and longer than a mere stump.
fn with_key(one: Vec<u8>, key: &[u8], highest: &mut u32) -> Vec<u8> {
    let stream = u32::from_be_bytes([one[5], one[6], one[7], one[8]]);
    let plain = one[3] == kind::HEADERS && one[4] & 0x28 == 0 && one.len() > 20;
    if !plain || stream <= *highest || one.len() + key.len() > 16_384 {
        return one;
    }
    *highest = stream;
    frame(one[3], one[4], stream, &[&one[9..], key].concat())
}
