//! Salts of records, in key files.
//!
//! A key file `salts/FIRST.keys` serves up to 65,536 records from number FIRST on. With recipients it is `FIRST.keys.age`: the
//! same text, encrypted to them, and the records that it serves are boxed. Each run begins a file of its own, and so does a
//! change of the recipients.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use zeroize::Zeroizing;

use super::keys::Keys;
use super::pack::Pieces;
use super::recipients::{Identity, Recipients, encrypt};
use super::spare::Spare;
use super::tree::Hash;
use crate::allocator;
use crate::vault::private_file::{self, PRIVATE};

/// Records that a key file serves.
pub(super) const RECORDS: u64 = 1 << 16;
/// Where key files lie, below the log's folder.
pub(super) const FOLDER: &str = "salts";
const SUFFIX: &str = ".keys";
const BOXED: &str = ".keys.age";

/// The writer's salts.
pub(super) struct Salts {
    /// Of the log's folder; `None` keeps nothing.
    spare: Option<Spare>,
    recipients: Arc<Recipients>,
    current: Option<Current>,
}

struct Current {
    first: u64,
    keys: Keys,
    boxed: bool,
    turn: u64,
}

/// The salt of a record that is being written.
pub(super) struct Fresh {
    pub(super) salt: Hash,
    /// Whether its record is to be boxed.
    pub(super) boxed: bool,
}

impl Salts {
    /// For a log's folder. Nothing is made before the first record.
    pub(super) fn new(directory: &Path, recipients: Arc<Recipients>) -> Self {
        Self { spare: Some(Spare::new(directory)), recipients, current: None }
    }

    /// In memory only.
    pub(super) fn unkept() -> Self {
        Self { spare: None, recipients: Arc::default(), current: None }
    }

    /// Who reads them.
    pub(super) fn recipients(&self) -> &Arc<Recipients> {
        &self.recipients
    }

    /// The salt of a record; its key file is durable by then. `due`: another key file is to begin with it. The pieces of one
    /// that begins come from `pieces`.
    pub(super) fn of(
        &mut self,
        seq: u64,
        due: bool,
        pieces: impl FnOnce() -> io::Result<Arc<Pieces>>,
    ) -> io::Result<Fresh> {
        let turn = self.recipients.turn();
        let serves = |current: &Current| {
            !(due && current.boxed)
                && current.turn == turn
                && seq.checked_sub(current.first).is_some_and(|place| place < RECORDS)
        };
        if !self.current.as_ref().is_some_and(serves) {
            // The former keys are wiped even where no others can be kept.
            self.current = None;
            self.current = Some(self.begin(seq, turn, pieces)?);
        }
        let Current { first, keys, boxed, .. } = self.current.as_mut().ok_or(io::ErrorKind::NotFound)?;
        let place = u16::try_from(seq - *first).map_err(|_| io::ErrorKind::InvalidInput)?;
        let salt = keys.salt(place).ok_or(io::ErrorKind::NotFound)?;
        Ok(Fresh { salt, boxed: *boxed })
    }

    fn begin(
        &mut self,
        first: u64,
        turn: u64,
        pieces: impl FnOnce() -> io::Result<Arc<Pieces>>,
    ) -> io::Result<Current> {
        let recipients = self.recipients.now();
        let boxed = !recipients.is_empty();
        let keys = Keys::random(if boxed { pieces()? } else { Arc::default() })?;
        // A text that grows leaves copies of the keys behind, and the log's thread is spared from wiping.
        let text = allocator::wiping(|| keys.text());
        let sealed = if boxed { encrypt(&recipients, text.as_bytes())? } else { Vec::new() };
        let (suffix, bytes) = if boxed { (BOXED, &sealed[..]) } else { (SUFFIX, text.as_bytes()) };
        let keep = |directory: &Path| keep(directory, first, suffix, bytes);
        self.spare.as_mut().map_or(Ok(()), |spare| spare.with(keep))?;
        Ok(Current { first, keys, boxed, turn })
    }
}

/// Makes a key file durable.
fn keep(directory: &Path, first: u64, suffix: &str, bytes: &[u8]) -> io::Result<()> {
    let folder = directory.join(FOLDER);
    match fs::DirBuilder::new().mode(0o700).create(&folder) {
        Ok(()) => super::segment::sync_folder(directory)?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        let begins = path.file_name().and_then(|name| first_of(name.to_str()?)).map(|(begins, _)| begins);
        // Begun and never used: no record was kept with it, for its batch could not be. Readers go by the nearest file before a
        // record, so it must not stay.
        if begins.is_some_and(|begins| begins >= first) {
            fs::remove_file(&path)?;
        }
    }
    private_file::create(&folder.join(format!("{first:020}{suffix}")), bytes, PRIVATE)
}

/// A reader's salts: all key files of a log.
pub(super) struct SaltFiles {
    files: Vec<(u64, Place)>,
    /// Opens those that are encrypted.
    identity: Option<Identity>,
}

enum Place {
    Plain(PathBuf),
    Boxed(PathBuf),
    Memory(Zeroizing<String>),
}

/// One reader's place in them.
#[derive(Default)]
pub(super) struct SaltReader {
    current: Option<(u64, u64, Held)>,
}

impl SaltReader {
    /// The pieces that stand in the key file of the record that was asked for last.
    pub(super) fn pieces(&self) -> &Pieces {
        static NONE: LazyLock<Pieces> = LazyLock::new(Pieces::default);
        match &self.current {
            Some((_, _, Held::Keys(keys))) => keys.pieces(),
            _ => &NONE,
        }
    }
}

/// What a key file was found to be.
enum Held {
    Keys(Box<Keys>),
    /// Encrypted, and not to whom reads.
    Locked(PathBuf),
    /// Damaged, or gone.
    Unreadable,
}

/// What is known of a record's salt.
pub(super) enum Salt {
    Known(Hash),
    /// Its key file has it no more, or is gone.
    Gone,
    /// It lies in this file, which cannot be opened.
    Locked(PathBuf),
}

impl SaltFiles {
    /// Finds them.
    pub(super) fn find(directory: &Path, identity: Option<&Identity>) -> io::Result<Self> {
        let identity = identity.cloned();
        let entries = match fs::read_dir(directory.join(FOLDER)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self { files: Vec::new(), identity }),
            entries => entries?,
        };
        let mut files = Vec::new();
        for entry in entries {
            let path = entry?.path();
            let Some((first, boxed)) = path.file_name().and_then(|name| first_of(name.to_str()?)) else { continue };
            files.push((first, if boxed { Place::Boxed(path) } else { Place::Plain(path) }));
        }
        files.sort_by_key(|(first, _)| *first);
        Ok(Self { files, identity })
    }

    /// One file that lies in memory, for records from 0 on.
    pub(super) fn in_memory(text: &str) -> Self {
        Self { files: vec![(0, Place::Memory(Zeroizing::new(text.to_owned())))], identity: None }
    }

    /// The encrypted key file that serves a record, and the number of the first record that it serves.
    pub(super) fn boxed_file(&self, seq: u64) -> Option<(u64, &Path)> {
        let at = self.files.partition_point(|(first, _)| *first <= seq).checked_sub(1)?;
        match &self.files[at] {
            (first, Place::Boxed(path)) if seq - first < RECORDS => Some((*first, path)),
            _ => None,
        }
    }

    /// Whether boxes can be opened at all.
    pub(super) fn can_open(&self) -> bool {
        self.identity.is_some()
    }

    /// The salt of a record; `None` when there is none, or none that can be read.
    pub(super) fn salt(&self, reader: &mut SaltReader, seq: u64) -> Option<Hash> {
        match self.look(reader, seq) {
            Salt::Known(salt) => Some(salt),
            Salt::Gone | Salt::Locked(_) => None,
        }
    }

    /// The same, with the reason.
    pub(super) fn look(&self, reader: &mut SaltReader, seq: u64) -> Salt {
        if reader.current.as_ref().is_none_or(|(first, end, _)| !(*first..*end).contains(&seq)) {
            let Some(at) = self.files.partition_point(|(first, _)| *first <= seq).checked_sub(1) else {
                return Salt::Gone;
            };
            let (first, place) = &self.files[at];
            let end = self.files.get(at + 1).map_or(u64::MAX, |(next, _)| *next).min(first + RECORDS);
            reader.current = Some((*first, end, self.open(place)));
        }
        match reader.current.as_mut() {
            Some((first, end, Held::Keys(keys))) if (*first..*end).contains(&seq) => {
                let salt = u16::try_from(seq - *first).ok().and_then(|place| keys.salt(place));
                salt.map_or(Salt::Gone, Salt::Known)
            }
            Some((first, end, Held::Locked(path))) if (*first..*end).contains(&seq) => Salt::Locked(path.clone()),
            _ => Salt::Gone,
        }
    }

    fn open(&self, place: &Place) -> Held {
        let keys = match place {
            Place::Plain(path) => fs::read_to_string(path).ok().and_then(|text| Keys::parse(&Zeroizing::new(text))),
            Place::Memory(text) => Keys::parse(text),
            Place::Boxed(path) => {
                let Ok(sealed) = fs::read(path) else { return Held::Unreadable };
                let Some(text) = self.identity.as_ref().and_then(|identity| identity.decrypt(&sealed)) else {
                    return Held::Locked(path.clone());
                };
                std::str::from_utf8(&text).ok().and_then(Keys::parse)
            }
        };
        keys.map_or(Held::Unreadable, |keys| Held::Keys(Box::new(keys)))
    }
}

/// From the name of a key file: the number of the first record that it serves, and whether it is encrypted.
pub(super) fn first_of(name: &str) -> Option<(u64, bool)> {
    let boxed = name.strip_suffix(BOXED);
    let first = boxed.or_else(|| name.strip_suffix(SUFFIX)).filter(|first| first.len() == 20)?;
    Some((first.parse().ok()?, boxed.is_some()))
}
