//! Opens the lines of an encrypted log. Whoever reads records reads them through here, whatever lies on the disk.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::boxed::Unboxer;
use super::line::{Line, push_end};
use super::recipients::Identity;
use super::salt::{FOLDER, Salt, SaltFiles, SaltReader};

/// Coarser than the clock of any file system.
const SETTLED: Duration = Duration::from_secs(3);

/// Why a line cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Shut {
    /// It is boxed, and nobody said what opens it.
    #[error("record {0} is encrypted")]
    NoIdentity(u64),
    /// The identity is not one of those that its key file was encrypted to.
    #[error("record {seq} is encrypted, and `{file}` is not encrypted to this identity, or was changed")]
    Locked {
        /// The record.
        seq: u64,
        /// Its key file.
        file: PathBuf,
    },
    /// Its key does not open it.
    #[error("record {0} cannot be opened with its key: it or its key file was changed")]
    Damaged(u64),
    /// Key files cannot be read.
    #[error("the log's key files cannot be read")]
    Io(#[from] io::Error),
}

impl Shut {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoIdentity(_) => {
                "name the auditor's identity with `--identity FILE`; `keygate init` makes `audit-identity.txt`"
            }
            Self::Locked { .. } => {
                "key files are encrypted to the `[audit] recipients` of their time: name a file with the identity of one"
            }
            Self::Damaged(_) | Self::Io(_) => "`keygate audit verify` shows what is wrong",
        }
    }
}

/// Opens lines of one log, cheapest in their order.
pub struct Opener {
    directory: PathBuf,
    identity: Option<Identity>,
    salts: Option<SaltFiles>,
    listed: Option<Listed>,
    reader: SaltReader,
    unboxer: Option<Unboxer>,
    line: Vec<u8>,
}

/// When key files were listed, and when their folder had last changed by then.
#[derive(Clone, Copy)]
struct Listed {
    at: SystemTime,
    changed: SystemTime,
}

impl Listed {
    fn is_of(self, changed: SystemTime) -> bool {
        // What changed at the very time of the listing may be missing in it.
        let settled = self.at.duration_since(self.changed).is_ok_and(|age| age > SETTLED);
        settled && self.changed == changed
    }
}

impl Opener {
    /// For the log in this folder. Without an identity it opens no boxed line.
    pub fn new(directory: &Path, identity: Option<&Identity>) -> Self {
        Self {
            directory: directory.to_owned(),
            identity: identity.cloned(),
            salts: None,
            listed: None,
            reader: SaltReader::default(),
            unboxer: None,
            line: Vec::new(),
        }
    }

    /// The line as it would be in a log that is not encrypted: the record's JSON with `seq` and `entry`. A line that is not
    /// boxed comes back as it is; of a record that was forgotten there is `{"kind":"forgotten","seq":N,"entry":"…"}`.
    pub fn open<'a>(&'a mut self, text: &'a [u8]) -> Result<Cow<'a, [u8]>, Shut> {
        let Some(line) = Line::parse(text).filter(Line::is_boxed) else { return Ok(Cow::Borrowed(text)) };
        let Some(identity) = self.identity.clone() else { return Err(Shut::NoIdentity(line.seq)) };
        self.line.clear();
        // A key file may have come since they were listed.
        if self.unboxed(&line)? || self.list_again(&identity)? && self.unboxed(&line)? {
            return Ok(Cow::Borrowed(&self.line));
        }
        match self.salts.as_ref().map(|salts| salts.look(&mut self.reader, line.seq)) {
            Some(Salt::Known(_)) => Err(Shut::Damaged(line.seq)),
            Some(Salt::Locked(file)) => Err(Shut::Locked { seq: line.seq, file }),
            Some(Salt::Gone) | None => {
                self.line.extend_from_slice(b"{\"kind\":\"forgotten\"");
                push_end(&mut self.line, line.seq, &line.entry);
                Ok(Cow::Borrowed(&self.line))
            }
        }
    }

    /// Lists the key files, unless they are the same as before.
    fn list_again(&mut self, identity: &Identity) -> io::Result<bool> {
        let at = SystemTime::now();
        let changed = match std::fs::metadata(self.directory.join(FOLDER)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => SystemTime::UNIX_EPOCH,
            facts => facts?.modified()?,
        };
        if self.listed.is_some_and(|listed| listed.is_of(changed)) {
            return Ok(false);
        }
        self.listed = Some(Listed { at, changed });
        self.salts = Some(SaltFiles::find(&self.directory, Some(identity))?);
        self.reader = SaltReader::default();
        Ok(true)
    }

    /// Opens it into `line`, if its key is known.
    fn unboxed(&mut self, line: &Line<'_>) -> io::Result<bool> {
        let salt = self.salts.as_ref().and_then(|salts| salts.salt(&mut self.reader, line.seq));
        let Some(salt) = salt else { return Ok(false) };
        if self.unboxer.is_none() {
            self.unboxer = Some(Unboxer::new()?);
        }
        let opened = self.unboxer.as_mut().and_then(|unboxer| unboxer.open(line, &salt, self.reader.pieces()));
        self.line.extend_from_slice(opened.unwrap_or_default());
        Ok(opened.is_some())
    }
}
