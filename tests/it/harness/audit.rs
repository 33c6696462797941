//! Reading the audit log as an auditor does, with the identity that `init` made: JSON lines, found by record id.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use keygate::audit::{Follow, Identity};
use serde_json::Value;

use super::Reply;

/// The audit folder of one gate.
pub struct Audit {
    directory: PathBuf,
}

/// One line of the log.
#[derive(Clone, Debug)]
pub struct Line(pub Value);

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Line {
    /// A field's text, or empty: `kind`, `refusal`, `tls.version`.
    pub fn text(&self, field: &str) -> &str {
        self.field(field).as_str().unwrap_or_default()
    }

    /// A field's number.
    pub fn number(&self, field: &str) -> u64 {
        self.field(field).as_u64().unwrap_or_else(|| panic!("`{field}` is no number in {self}"))
    }

    /// A field, or null; dots go inwards.
    pub fn field(&self, field: &str) -> &Value {
        field.split('.').try_fold(&self.0, |value, part| value.get(part)).unwrap_or(&Value::Null)
    }
}

impl Audit {
    /// The log in this folder.
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// Where it lies.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The segments, oldest first.
    pub fn segments(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten().map(|e| e.path());
        let mut segments: Vec<_> =
            entries.filter(|p| p.extension().is_some_and(|e| e == "jsonl" || e == "sealed")).collect();
        segments.sort();
        segments
    }

    /// What opens it.
    fn identity(&self) -> Option<Identity> {
        let path = self.directory.with_file_name("audit-identity.txt");
        path.exists().then(|| Identity::read(&path).unwrap())
    }

    /// Everything in it that can be read: lines, opened.
    pub fn bytes(&self) -> Vec<u8> {
        let mut follow = Follow::from_start(&self.directory, self.identity().as_ref());
        let mut bytes = Vec::new();
        while let Ok(Some(line)) = follow.next_line() {
            bytes.extend(line);
            bytes.push(b'\n');
        }
        bytes
    }

    /// Everything in it as it lies on the disk.
    pub fn raw(&self) -> Vec<u8> {
        self.segments().iter().flat_map(|s| fs::read(s).unwrap()).collect()
    }

    /// Every whole line. The last one may still be on its way when the gate runs.
    pub fn lines(&self) -> Vec<Line> {
        let bytes = self.bytes();
        let lines = bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| Line(serde_json::from_slice(line).expect("a line of the log is JSON"))).collect()
    }

    /// The lines of one kind: `call`, `intent`, `connection`, `gate`.
    pub fn of_kind(&self, kind: &str) -> Vec<Line> {
        self.lines().into_iter().filter(|line| line.text("kind") == kind).collect()
    }

    /// The record of a call by its id, if it is there now.
    pub fn find(&self, id: &str) -> Option<Line> {
        self.of_kind("call").into_iter().find(|line| line.text("id") == id)
    }

    /// The record of a complete reply. It must be there at once: the last byte waits for it.
    pub fn of(&self, reply: &Reply) -> Line {
        let id = reply.record();
        self.find(id).unwrap_or_else(|| panic!("the reply is complete and its record `{id}` is not in the log"))
    }
}
