//! More connections: memory of each, after its handshake and one call that is refused.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};

use super::gate::Place;

/// A connection of a client.
pub type Tls = StreamOwned<ClientConnection, TcpStream>;

/// What clients trust.
pub fn trust(ca: &Path) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

/// A connection after its handshake.
pub fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> Tls {
    let tcp = TcpStream::connect(address).unwrap();
    tcp.set_nodelay(true).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(ClientConnection::new(config.clone(), name).unwrap(), tcp)
}

/// One call, its reply read whole; the status.
pub fn call(connection: &mut Tls, path: &str, key: &str) -> u16 {
    let request = format!("GET /api{path} HTTP/1.1\r\nhost: localhost\r\nx-ce-key: {key}\r\n\r\n");
    connection.write_all(request.as_bytes()).unwrap();
    let (mut reply, mut chunk) = (Vec::new(), [0; 16 * 1024]);
    loop {
        let n = connection.read(&mut chunk).unwrap();
        assert!(n > 0, "the gate closed the connection");
        reply.extend_from_slice(&chunk[..n]);
        let Some(end) = reply.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(&reply[..end]).unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if reply.len() >= end + 4 + length.parse::<usize>().unwrap() {
            return head[9..12].parse().unwrap();
        }
    }
}

/// Prints the table.
pub fn run() {
    println!("\n### More connections\n");
    println!("| connections | memory, MiB | of each connection, KiB |\n| ---: | ---: | ---: |");
    raise_descriptors();
    for count in [100, 1_000, 5_000] {
        let place = Place::new(1);
        let gate = place.start();
        let config = trust(&place.home().join("ca.pem"));
        let mut first = connect(gate.address, &config);
        call(&mut first, "/v2/orders", "none");
        let before = gate.memory();
        let open: Vec<Tls> = (0..count)
            .map(|_| {
                let mut connection = connect(gate.address, &config);
                assert_eq!(call(&mut connection, "/v2/orders", "none"), 401);
                connection
            })
            .collect();
        let memory = gate.memory();
        let each = (memory - before) as f64 / f64::from(count);
        println!("| {count} | {:.1} | {each:.1} |", memory as f64 / 1024.0);
        drop(open);
    }
}

fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).unwrap();
}
