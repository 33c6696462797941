//! The demo, as a newcomer meets it: every command it prints works, from any folder; what must not be, is told.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

struct Demo {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Demo {
    fn start(folder: &Path, more: &[&str]) -> Self {
        let mut command = keygate(folder, more);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdout }
    }

    /// Lines up to the one that begins with `last`.
    fn read_until(&mut self, last: &str) -> Vec<String> {
        let mut lines = Vec::new();
        for line in self.stdout.by_ref().lines() {
            lines.push(line.unwrap());
            if lines.last().unwrap().starts_with(last) {
                return lines;
            }
        }
        panic!("the demo ended without `{last}`: {lines:#?}");
    }

    /// Ctrl-C; the exit code.
    fn stop(mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // After `stop` it has ended already; after a failure it must not stay.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn keygate(folder: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keygate"));
    command.args(["demo", "--dir"]).arg(folder).args(more);
    command
}

fn shell(line: &str) -> String {
    let Output { status, stdout, stderr } = Command::new("sh").args(["-c", line]).current_dir("/").output().unwrap();
    assert!(status.success(), "{line}\n{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

/// The commands below a heading.
fn below<'a>(lines: &'a [String], heading: &str) -> Vec<&'a str> {
    let at = lines.iter().position(|line| line.starts_with(heading)).unwrap_or_else(|| panic!("no `{heading}`"));
    lines[at + 1..].iter().map_while(|line| line.strip_prefix("  ")).collect()
}

#[test]
fn every_printed_command_works_from_any_folder() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(&folder.path().join("it's a demo"), &["--port", "0"]);
    let lines = demo.read_until("Ctrl-C");
    let one = |heading: &str| shell(below(&lines, heading)[0]);
    let allowed = one("an allowed call");
    assert!(allowed.contains("\"Success\":true"), "{allowed}");
    let refused = one("a call to an endpoint not allowed");
    assert!(refused.contains("403") && refused.contains("keygate-refusal: endpoint_not_allowed"), "{refused}");
    assert_eq!(one("into the rate limit"), "200\n200\n200\n429\n429\n");
    let record = below(&lines, "the record of it all");
    let tail = shell(record[0]);
    assert!(tail.contains("webshop") && tail.contains("limit_endpoint"), "{tail}");
    assert!(shell(record[1]).contains("intact"), "{}", record[1]);
    assert_eq!(demo.stop(), Some(0));
}

#[test]
fn the_folder_is_used_again_with_new_keys_and_described_as_json() {
    let folder = tempfile::tempdir().unwrap();
    let mut seen = Vec::new();
    for _ in 0..2 {
        let mut demo = Demo::start(folder.path(), &["--port", "0", "--json"]);
        let ready: serde_json::Value = serde_json::from_str(&demo.read_until("{")[0]).unwrap();
        assert_eq!(ready["pid"], demo.child.id());
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let key = text(&ready["keys"]["webshop"]);
        let call = format!(
            "curl -sS --cacert {} -H 'X-CE-KEY: {key}' {}/v2/orders",
            text(&ready["ca"]),
            text(&ready["base_url"])
        );
        assert!(shell(&call).contains("\"Success\":true"));
        let here = Command::new("grep").args(["-rq", &key]).arg(folder.path()).status().unwrap();
        assert!(!here.success(), "a scoped key is kept in the folder");
        seen.push((key, std::fs::read(text(&ready["ca"])).unwrap()));
        assert_eq!(demo.stop(), Some(0));
    }
    assert_ne!(seen[0].0, seen[1].0, "keys are new at each start");
    assert_eq!(seen[0].1, seen[1].1, "the CA stays");
    let config = folder.path().join("keygate.toml");
    let verify =
        Command::new(env!("CARGO_BIN_EXE_keygate")).arg("--config").arg(config).args(["audit", "verify"]).output();
    assert!(verify.unwrap().status.success(), "two starts make one whole log");
}

#[test]
fn a_second_demo_in_the_same_folder_or_on_the_same_port_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(folder.path(), &["--port", "0", "--json"]);
    demo.read_until("{");
    let said = |output: Output| (output.status.code(), String::from_utf8(output.stderr).unwrap());
    let (code, text) = said(keygate(folder.path(), &["--port", "0"]).output().unwrap());
    assert_eq!(code, Some(1));
    let running = format!("already (process {})", demo.child.id());
    assert!(text.contains(&running) && text.contains("hint: "), "{text}");
    assert_eq!(demo.stop(), Some(0));

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (code, text) = said(keygate(folder.path(), &["--port", &port]).output().unwrap());
    assert_eq!(code, Some(1));
    assert!(text.contains("--port N") && text.contains("address already in use"), "{text}");
}

#[test]
fn demo_once_makes_the_calls_and_finds_all_as_promised() {
    let folder = tempfile::tempdir().unwrap();
    let output = keygate(folder.path(), &["--port", "0", "--once"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("all as promised") && !text.contains("kg_0"), "{text}");
    for shown in ["403 endpoint_not_allowed", "429 limit_endpoint", "intact"] {
        assert!(text.contains(shown), "no `{shown}`: {text}");
    }
}
