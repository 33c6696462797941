//! Forgetting records of an encrypted log: their keys are destroyed, and nothing but key files is written anew.
//!
//! What is left of a forgotten record is its line: a box that nobody can open, and its entry in the tree. That it was
//! forgotten is put on record by the gate, which takes the file `erasure` up when it is there; until then it lies there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use age::x25519::Recipient;
use serde::{Deserialize, Serialize};

use super::keys::Keys;
use super::recipients::{Identity, Recipients, encrypt};
use super::salt::{FOLDER, SaltFiles};
use super::segment::{list, number, sync_folder};
use super::{Follow, KeyedHash, ReadError};
use crate::config::show_count;
use crate::vault::private_file;

/// What was forgotten and is not on record yet.
pub(super) const ERASURE: &str = "erasure";
/// What is being forgotten: found when that was interrupted.
const BEGUN: &str = "erasure.begun";
/// What tells of a segment's contents and lies beside it.
pub(super) const INDEXES: [&str; 2] = ["find", "find.age"];
/// So many runs of numbers are told in one record.
const RUNS: usize = 200;

/// What is looked for.
#[derive(Default)]
pub struct Wanted {
    /// Records with one of these ids.
    pub ids: BTreeSet<String>,
    /// Records with one of these parameters, of path or query, by the keyed hash of the value.
    pub params: Vec<(String, KeyedHash)>,
}

/// A record that was found.
#[derive(Debug)]
pub struct Match {
    /// Its number.
    pub seq: u64,
    /// `intent`, `call`, ….
    pub kind: String,
    /// When it began.
    pub time: String,
    /// What was called.
    pub endpoint: String,
    /// Whether its key can be destroyed.
    pub boxed: bool,
}

/// The fields that are looked at.
#[derive(Deserialize)]
struct Looked {
    #[serde(default)]
    time: String,
    #[serde(default)]
    id: String,
    kind: String,
    seq: u64,
    #[serde(default)]
    endpoint: String,
    #[serde(default)]
    params: Vec<(String, String)>,
    #[serde(default)]
    query: Vec<(String, String)>,
}

impl Wanted {
    fn has(&self, record: &Looked) -> bool {
        let named = |(name, hash): &(String, String)| {
            self.params
                .iter()
                .any(|(wanted, value)| wanted.eq_ignore_ascii_case(name) && value.hex() == hash.as_bytes())
        };
        self.ids.contains(&record.id) || record.params.iter().any(named) || record.query.iter().any(named)
    }
}

/// Finds the records, and those that share an id with them: an intent and its outcome are forgotten together.
pub fn find(directory: &Path, identity: &Identity, wanted: &Wanted) -> Result<Vec<Match>, ReadError> {
    let mut ids = BTreeSet::new();
    each(directory, identity, |record| {
        if wanted.has(&record) {
            ids.insert(record.id);
        }
    })?;
    let mut found = Vec::new();
    if !ids.is_empty() {
        each(directory, identity, |record| {
            if ids.contains(&record.id) {
                let Looked { seq, kind, time, endpoint, .. } = record;
                found.push(Match { seq, kind, time, endpoint, boxed: false });
            }
        })?;
    }
    let salts = SaltFiles::find(directory, Some(identity));
    let salts = salts.map_err(|source| ReadError { path: directory.join(FOLDER), source })?;
    for one in &mut found {
        one.boxed = salts.boxed_file(one.seq).is_some();
    }
    Ok(found)
}

fn each(directory: &Path, identity: &Identity, mut see: impl FnMut(Looked)) -> Result<(), ReadError> {
    let mut follow = Follow::from_start(directory, Some(identity));
    while let Some(line) = follow.next_line()? {
        // What is no record is `verify`'s to tell.
        if let Ok(record) = serde_json::from_slice(&line) {
            see(record);
        }
    }
    Ok(())
}

/// What is put on record of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Erasure {
    /// Why, in words that name nobody.
    reason: String,
    /// First and last number of each run.
    runs: Vec<(u64, u64)>,
}

impl Erasure {
    /// Of these numbers, in their order.
    pub fn new(reason: &str, seqs: impl IntoIterator<Item = u64>) -> Self {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for seq in seqs {
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == seq => *last = seq,
                _ => runs.push((seq, seq)),
            }
        }
        Self { reason: reason.to_owned(), runs }
    }

    fn seqs(&self) -> impl Iterator<Item = u64> {
        self.runs.iter().flat_map(|(first, last)| *first..=*last)
    }

    /// What the records of it say.
    pub fn told(&self) -> Vec<String> {
        let one = |runs: &[(u64, u64)]| {
            let count: u64 = runs.iter().map(|(first, last)| last - first + 1).sum();
            let (were, numbers) = if count == 1 { ("was", "its number") } else { ("were", "their numbers") };
            let mut text =
                format!("{} {were} forgotten, reason: {}; {numbers}:", show_count(count, "record"), self.reason);
            for (first, last) in runs {
                let _ = if first == last { write!(text, " {first}") } else { write!(text, " {first}-{last}") };
            }
            text
        };
        self.runs.chunks(RUNS).map(one).collect()
    }
}

/// What an interrupted command had begun to forget.
pub fn begun(directory: &Path) -> io::Result<Option<Erasure>> {
    erasure(&directory.join(BEGUN))
}

/// What was forgotten and is not on record yet.
pub fn unrecorded(directory: &Path) -> io::Result<Option<Erasure>> {
    erasure(&directory.join(ERASURE))
}

/// It is on record now.
pub fn recorded(directory: &Path) -> io::Result<()> {
    fs::remove_file(directory.join(ERASURE))?;
    sync_folder(directory)
}

fn erasure(path: &Path) -> io::Result<Option<Erasure>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        text => serde_json::from_slice(&text?).map(Some).map_err(io::Error::other),
    }
}

/// Destroys the keys of records. Key files are encrypted anew to the recipients and to the identity's own. What is to be put on
/// record of it lies in the folder then. May be called again after it was interrupted.
pub fn destroy(directory: &Path, identity: &Identity, recipients: &Recipients, what: &Erasure) -> io::Result<()> {
    let folder = directory.join(FOLDER);
    let _lock = private_file::lock_folder(&folder.join(ERASURE))?;
    let text = serde_json::to_vec(what).map_err(io::Error::other)?;
    private_file::replace(&directory.join(BEGUN), &text)?;
    let mut to: Vec<Recipient> = recipients.now().to_vec();
    for own in identity.recipients() {
        if to.iter().all(|known| known.to_string() != own.to_string()) {
            to.push(own);
        }
    }
    let salts = SaltFiles::find(directory, Some(identity))?;
    let mut files: BTreeMap<(u64, PathBuf), Gone> = BTreeMap::new();
    for seq in what.seqs() {
        if let Some((first, path)) = salts.boxed_file(seq) {
            let place = u16::try_from(seq - first).map_err(io::Error::other)?;
            files.entry((first, path.to_owned())).or_default().places.push(place);
        }
    }
    // What a crash tore and a start put aside was encrypted with keys of the file before it.
    for seq in torn(directory)? {
        if let Some((first, path)) = seq.checked_sub(1).and_then(|before| salts.boxed_file(before)) {
            files.entry((first, path.to_owned())).or_default().from = u16::try_from(seq - first).ok();
        }
    }
    for ((_, path), gone) in &files {
        rewrite(path, identity, &to, gone)?;
    }
    without_indexes(directory, what)?;
    fs::rename(directory.join(BEGUN), directory.join(ERASURE))?;
    sync_folder(directory)
}

/// What a key file loses.
#[derive(Default)]
struct Gone {
    places: Vec<u16>,
    /// This place and all behind it.
    from: Option<u16>,
}

/// Numbers of the records before which bytes were torn.
fn torn(directory: &Path) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let digits: Option<u64> = name.to_str().and_then(|name| name.strip_prefix("torn-")?.get(..20)?.parse().ok());
        found.extend(digits);
    }
    Ok(found)
}

/// Puts a key file without these keys in the place of the one that has them, and writes over that one.
fn rewrite(path: &Path, identity: &Identity, to: &[Recipient], gone: &Gone) -> io::Result<()> {
    let damaged = || io::Error::other(format!("`{}` cannot be opened with this identity", path.display()));
    let text = identity.decrypt(&fs::read(path)?).ok_or_else(damaged)?;
    let mut keys = std::str::from_utf8(&text).ok().and_then(Keys::parse).ok_or_else(damaged)?;
    gone.places.iter().for_each(|place| keys.forget(*place));
    if let Some(place) = gone.from {
        keys.forget_from(place);
    }
    let old = OpenOptions::new().read(true).write(true).open(path)?;
    private_file::replace(path, &encrypt(to, keys.text().as_bytes())?)?;
    // Its name leads to the new one; the bytes of the old one are still there for who reads the disk.
    let length = usize::try_from(old.metadata()?.len()).unwrap_or(0);
    old.write_all_at(&vec![0; length], 0)?;
    old.sync_all()
}

/// Removes what tells of the contents of records beside their segments; it is made anew without the forgotten ones.
fn without_indexes(directory: &Path, what: &Erasure) -> io::Result<()> {
    let segments = list(directory)?;
    let of = |seq: &u64| segments.iter().rfind(|path| number(path) <= *seq);
    let touched: BTreeSet<&PathBuf> = what.seqs().filter_map(|seq| of(&seq)).collect();
    for path in touched {
        for index in INDEXES {
            match fs::remove_file(path.with_extension(index)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}
