//! curl as a client: the tool that most people reach for first, and the one here that speaks HTTP/2.

use std::fs;
use std::process::Command;

use super::command::{Ran, run};
use super::{Proxy, Reply};

/// A call by curl.
pub struct Curl<'a> {
    proxy: &'a Proxy,
    args: Vec<String>,
}

impl<'a> Curl<'a> {
    /// A call of this gate; HTTP/1.1 unless told otherwise.
    pub fn new(proxy: &'a Proxy) -> Self {
        Self { proxy, args: vec!["--http1.1".into()] }
    }

    /// HTTP/2.
    pub fn h2(mut self) -> Self {
        self.args[0] = "--http2".into();
        self
    }

    /// HEAD in the place of GET.
    pub fn head(self) -> Self {
        self.with(&["--head"])
    }

    /// More arguments.
    pub fn with(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|a| (*a).to_owned()));
        self
    }

    /// Shows an integration's scoped key in `x-ce-key`.
    pub fn key(self, integration: &str) -> Self {
        let header = format!("x-ce-key: {}", self.proxy.key(integration));
        self.with(&["-H", &header])
    }

    /// Calls a path below the base path and fails unless a whole reply came.
    #[track_caller]
    pub fn call(self, path: &str) -> Reply {
        let folder = tempfile::tempdir().unwrap();
        let (head, body) = (folder.path().join("head"), folder.path().join("body"));
        let (ran, asked) = self.go(path, &["-D", head.to_str().unwrap(), "-o", body.to_str().unwrap()]);
        assert_eq!(ran.code, Some(0), "{ran}");
        let head = fs::read_to_string(head).unwrap();
        // Of a HEAD curl writes the head there.
        let body = if asked.starts_with("HEAD ") { Vec::new() } else { fs::read(body).unwrap_or_default() };
        let reply = parse(&asked, &head, body);
        assert!(ran.stdout.starts_with(if asked.contains("--http2") { "2" } else { "1" }), "another version: {ran}");
        reply.check(self.proxy.secrets());
        reply
    }

    /// Calls and tells what curl said.
    pub fn go(&self, path: &str, more: &[&str]) -> (Ran, String) {
        let port = self.proxy.address().port();
        let url = format!("https://localhost:{port}{}{path}", self.proxy.base_path());
        let mut command = Command::new("curl");
        command.args(["--disable", "-sS", "--max-time", "30", "--path-as-is", "--noproxy", "*"]);
        command.arg("--cacert").arg(self.proxy.directory().join("ca.pem"));
        command.args(["--resolve", &format!("localhost:{port}:127.0.0.1"), "-w", "%{http_version} %{http_code}"]);
        command.args(&self.args).args(more).arg(url);
        let plain = if self.args.iter().any(|a| a == "--head") { "HEAD" } else { "GET" };
        let method = self.args.iter().position(|a| a == "-X").map_or(plain, |at| &self.args[at + 1]);
        (run(command, b""), format!("{method} {path} (curl {})", self.args[0]))
    }
}

/// The last head of those that curl dumped (1xx replies come before it).
fn parse(asked: &str, dump: &str, body: Vec<u8>) -> Reply {
    let mut heads = dump.split("\r\n\r\n").filter(|head| !head.is_empty()).collect::<Vec<_>>();
    let head = heads.pop().unwrap_or_default();
    let status = |head: &str| head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    let lines = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    let headers = lines.map(|(n, v)| (n.to_owned(), v.trim().to_owned())).collect();
    let interim = heads.iter().map(|h| status(h)).collect();
    let raw = [dump.as_bytes(), &body].concat();
    Reply { asked: asked.into(), status: status(head), headers, body, interim, raw }
}
