//! The tree on disk: tiles, the newest checkpoint, and the history of checkpoints.
//!
//! Everything here follows from the records, so none of it holds a reply up. A checkpoint is put in place when all that it
//! rests on is durable: who finds it finds its tiles.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{Advice, fadvise};

use super::Leaf;
use super::merkle::Edge;
use super::note::{Checkpoint, SigningKey};
use super::tiles::{self, Kind, Stored};
use crate::audit::segment::{list, number, sync_folder};
use crate::descriptors::ran_out;
use crate::vault::private_file::{PRIVATE, replace};

/// The newest checkpoint, as tlog-tiles names it.
pub(in crate::audit) const CHECKPOINT: &str = "checkpoint";
/// Checkpoints of earlier times, each followed by an empty line.
pub(in crate::audit) const HISTORY: &str = "checkpoints";
/// The history takes one in this often, and the last one of each run.
const NOTED: Duration = Duration::from_secs(60);
/// So many tiles are on their way to the disk at most; each keeps a descriptor.
const TOGETHER: usize = 16;

/// The tree of a log's folder, while it grows.
pub(in crate::audit) struct Store {
    directory: PathBuf,
    key: Arc<SigningKey>,
    edge: Edge,
    /// The bundle that is not full yet.
    bundle: Vec<u8>,
    /// Full tiles that are not on the disk yet. When there are no descriptors they wait here.
    queue: VecDeque<(PathBuf, Vec<u8>)>,
    /// Tiles on their way to the disk.
    leaving: Vec<File>,
    /// One of them did not come there.
    lost: bool,
    /// Folders to sync.
    folders: BTreeSet<PathBuf>,
    /// Index and width of the partial tiles that were written last.
    partial: BTreeMap<Kind, (u64, usize)>,
    /// Folders of partial tiles whose full ones are written.
    outdated: Vec<PathBuf>,
    signed: u64,
    noted: Option<Instant>,
    /// Whether the records are not synced yet when they come here, and the first of the segment from which on.
    unsynced: Option<u64>,
}

impl Store {
    /// The tree of no records, with its checkpoint.
    pub(in crate::audit) fn init(directory: &Path, key: Arc<SigningKey>) -> io::Result<()> {
        Self::empty(directory, key).publish(false)
    }

    /// A tree without records, to be built anew.
    pub(in crate::audit) fn empty(directory: &Path, key: Arc<SigningKey>) -> Self {
        Self {
            directory: directory.to_owned(),
            key,
            edge: Edge::default(),
            bundle: Vec::new(),
            queue: VecDeque::new(),
            leaving: Vec::new(),
            lost: false,
            folders: BTreeSet::new(),
            partial: BTreeMap::new(),
            outdated: Vec::new(),
            signed: 0,
            noted: None,
            unsynced: None,
        }
    }

    /// The tree of a checkpoint, from its tiles. An error when they do not hash to it.
    pub(in crate::audit) fn load(directory: &Path, key: Arc<SigningKey>, signed: &Checkpoint) -> io::Result<Self> {
        let tiles = Stored { directory, size: signed.size };
        let mut partial = BTreeMap::new();
        let edge = Edge::load(signed.size, |level, index, width| {
            partial.insert(Kind::Level(level), (index, width));
            tiles.tile(level, index)
        })?;
        let mut bundle = Vec::new();
        if let Some((index, width)) = partial.get(&Kind::Level(0)).copied() {
            partial.insert(Kind::Entries, (index, width));
            tiles.entries(index)?.iter().for_each(|entry| tiles::push_entry(&mut bundle, entry));
        }
        if edge.root() != signed.root {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the tiles do not hash to the checkpoint"));
        }
        Ok(Self { edge, bundle, partial, signed: signed.size, ..Self::empty(directory, key) })
    }

    /// Whether records come here that only the system has yet: then they are synced before a checkpoint is signed for them.
    pub(in crate::audit) fn syncs_records(&mut self, wanted: bool) {
        self.unsynced = wanted.then_some(0);
    }

    /// Syncs the segments that may hold records which are not on the disk.
    fn sync_records(&mut self) -> io::Result<()> {
        let Some(from) = self.unsynced else { return Ok(()) };
        for path in list(&self.directory)?.iter().filter(|path| number(path) >= from) {
            match File::open(path) {
                // It was sealed meanwhile, and a sealed one is on the disk.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                file => file?.sync_data()?,
            }
            self.unsynced = Some(number(path));
        }
        Ok(())
    }

    /// The tree so far.
    pub(in crate::audit) fn edge(&self) -> &Edge {
        &self.edge
    }

    /// Who signs it.
    pub(in crate::audit) fn key(&self) -> &Arc<SigningKey> {
        &self.key
    }

    /// Whether a checkpoint is due.
    pub(in crate::audit) fn is_unsigned(&self) -> bool {
        self.edge.size() > self.signed
    }

    /// Takes a record in.
    pub(in crate::audit) fn push(&mut self, leaf: Leaf) -> io::Result<()> {
        let Self { edge, bundle, queue, partial, outdated, .. } = self;
        tiles::push_entry(bundle, &leaf.entry);
        edge.push(leaf.hash, |level, index, row| {
            let mut full = |kind, bytes| {
                if partial.remove(&kind).is_some_and(|(partial, _)| partial == index) {
                    outdated.push(tiles::partial_folder(kind, index));
                }
                queue.push_back((tiles::path(kind, index), bytes));
            };
            if level == 0 {
                full(Kind::Entries, std::mem::take(bundle));
            }
            full(Kind::Level(level), row.as_flattened().to_vec());
            Ok(())
        })
    }

    /// Writes what is full. Begins with what was not written the last time.
    pub(in crate::audit) fn flush(&mut self) -> io::Result<()> {
        while let Some((path, bytes)) = self.queue.pop_front() {
            if let Err(error) = self.write(&path, &bytes) {
                self.queue.push_front((path, bytes));
                return Err(error);
            }
        }
        Ok(())
    }

    fn write(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let path = self.directory.join(path);
        let open = || OpenOptions::new().write(true).create(true).truncate(true).mode(PRIVATE).open(&path);
        let mut file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.make_folder(path.parent().unwrap_or(&path))?;
                open()?
            }
            Err(error) if ran_out(&error) => {
                self.wait_for_tiles()?;
                open()?
            }
            opened => opened?,
        };
        file.write_all(bytes)?;
        self.folders.extend(path.parent().map(Path::to_owned));
        // Not to be read again soon; to say so also has the system begin to write it out. To sync many files that are on their
        // way takes half of what it takes to sync each when it is written. Where the advice is not taken it is slower.
        let _ = fadvise(&file, 0, None, Advice::DontNeed);
        self.leaving.push(file);
        if self.leaving.len() < TOGETHER { Ok(()) } else { self.wait_for_tiles() }
    }

    /// Waits until the tiles that were written are on the disk. After one that is not there will be no checkpoint any more: what the
    /// system has thrown away it does not tell twice.
    fn wait_for_tiles(&mut self) -> io::Result<()> {
        if self.lost {
            return Err(io::Error::other("a tile could not be written to the disk"));
        }
        let synced = self.leaving.drain(..).try_for_each(|file| file.sync_data());
        self.lost = synced.is_err();
        synced
    }

    /// Makes a folder below the log's. That one is never made: it may be a disk that is not mounted any more.
    fn make_folder(&mut self, folder: &Path) -> io::Result<()> {
        if folder == self.directory {
            return Err(io::ErrorKind::NotFound.into());
        }
        let parent = folder.parent().unwrap_or(&self.directory).to_owned();
        match fs::create_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.make_folder(&parent)?;
                fs::create_dir(folder)?;
            }
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        self.folders.insert(parent);
        Ok(())
    }

    fn sync_folders(&mut self) -> io::Result<()> {
        while let Some(folder) = self.folders.pop_first() {
            if let Err(error) = sync_folder(&folder) {
                self.folders.insert(folder);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Writes what is not full yet, makes all of it durable, and signs a checkpoint over it. The last one of a run goes
    /// into the history as well. After an error it may be called again.
    pub(in crate::audit) fn publish(&mut self, last: bool) -> io::Result<()> {
        // First, for they keep descriptors.
        self.wait_for_tiles()?;
        self.sync_records()?;
        self.flush()?;
        self.write_partial()?;
        self.wait_for_tiles()?;
        self.sync_folders()?;
        let (size, root) = (self.edge.size(), self.edge.root());
        let checkpoint = Checkpoint { origin: self.key.verifier().name().to_owned(), size, root };
        let note = self.key.note(&checkpoint.text());
        replace(&self.directory.join(CHECKPOINT), note.as_bytes())?;
        self.signed = size;
        if size > 0 && (last || self.noted.is_none_or(|noted| noted.elapsed() >= NOTED)) {
            self.note(&note)?;
        }
        for folder in self.outdated.drain(..) {
            // What stays there is in nobody's way.
            let _ = fs::remove_dir_all(self.directory.join(folder));
        }
        Ok(())
    }

    fn write_partial(&mut self) -> io::Result<()> {
        let edge = std::mem::take(&mut self.edge);
        let bundle = std::mem::take(&mut self.bundle);
        let written = edge.partial().try_for_each(|(level, index, row)| {
            if level == 0 {
                self.partial(Kind::Entries, index, row.len(), &bundle)?;
            }
            self.partial(Kind::Level(level), index, row.len(), row.as_flattened())
        });
        (self.edge, self.bundle) = (edge, bundle);
        written
    }

    fn partial(&mut self, kind: Kind, index: u64, width: usize, bytes: &[u8]) -> io::Result<()> {
        if self.partial.get(&kind) != Some(&(index, width)) {
            self.write(&tiles::partial_path(kind, index, width), bytes)?;
            self.partial.insert(kind, (index, width));
        }
        Ok(())
    }

    fn note(&mut self, note: &str) -> io::Result<()> {
        let path = self.directory.join(HISTORY);
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(PRIVATE).open(&path)?;
        if self.noted.is_none() {
            // What a crash cut is no checkpoint.
            let whole = notes(&fs::read_to_string(&path)?).map(str::len).sum::<usize>();
            file.set_len(whole as u64)?;
            sync_folder(&self.directory)?;
        }
        file.write_all(format!("{note}\n").as_bytes())?;
        file.sync_data()?;
        self.noted = Some(Instant::now());
        Ok(())
    }
}

/// The notes of a history, each with the empty line behind it. What is not whole at its end is none.
pub(in crate::audit) fn notes(history: &str) -> impl Iterator<Item = &str> {
    let mut rest = history;
    std::iter::from_fn(move || {
        let text = rest.find("\n\n")? + 2;
        let end = text + rest[text..].find("\n\n")? + 2;
        let (note, behind) = rest.split_at(end);
        rest = behind;
        Some(note)
    })
}
