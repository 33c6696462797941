//! Tiles on disk, as C2SP tlog-tiles lays them out: `tile/LEVEL/INDEX` and `tile/entries/INDEX`, partial ones with
//! `.p/WIDTH` behind.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Leaf;
use super::merkle::{Hash, Hashes, WIDTH};

/// What a tile holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::audit) enum Kind {
    /// Hashes of a level.
    Level(u8),
    /// The entries themselves.
    Entries,
}

/// One entry in its bundle: its length in two bytes, and itself.
const FRAMED: usize = 2 + 32;

/// Where a full tile lies, below the log's folder.
pub(in crate::audit) fn path(kind: Kind, index: u64) -> PathBuf {
    let mut path = PathBuf::from("tile");
    match kind {
        Kind::Level(level) => path.push(level.to_string()),
        Kind::Entries => path.push("entries"),
    }
    let digits = index.to_string();
    let groups = format!("{index:0width$}", width = digits.len().next_multiple_of(3));
    let (groups, _) = groups.as_bytes().as_chunks::<3>();
    for (n, group) in groups.iter().enumerate() {
        let more = if n + 1 < groups.len() { "x" } else { "" };
        path.push(format!("{more}{}", String::from_utf8_lossy(group)));
    }
    path
}

/// Where a partial one lies.
pub(in crate::audit) fn partial_path(kind: Kind, index: u64, width: usize) -> PathBuf {
    partial_folder(kind, index).join(width.to_string())
}

/// Where all partial ones of a tile lie.
pub(in crate::audit) fn partial_folder(kind: Kind, index: u64) -> PathBuf {
    path(kind, index).with_extension("p")
}

/// Appends an entry to its bundle.
pub(in crate::audit) fn push_entry(bundle: &mut Vec<u8>, entry: &Hash) {
    bundle.extend_from_slice(&[0, 32]);
    bundle.extend_from_slice(entry);
}

/// The tiles of a log's folder, for a tree of a known size.
pub(in crate::audit) struct Stored<'a> {
    /// The log's folder.
    pub(in crate::audit) directory: &'a Path,
    /// How many leaves: says which tiles are partial, and how wide.
    pub(in crate::audit) size: u64,
}

impl Stored<'_> {
    /// The bytes of a tile that has `width` things, which may stand in a fuller one.
    fn read(&self, kind: Kind, index: u64, width: usize, each: usize) -> io::Result<Vec<u8>> {
        let full = fs::read(self.directory.join(path(kind, index)));
        let mut bytes = match full {
            Ok(bytes) if bytes.len() >= width * each => bytes,
            // A fuller one that a crash cut was written behind the tree's size.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ if width < WIDTH => fs::read(self.directory.join(partial_path(kind, index, width)))?,
            cut => cut?,
        };
        if bytes.len() < width * each {
            let what = format!("`{}` is too short", path(kind, index).display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        bytes.truncate(width * each);
        Ok(bytes)
    }

    /// How many things the tile has in this tree.
    fn width(&self, kind: Kind, index: u64) -> usize {
        let shift = if let Kind::Level(level) = kind { 8 * u32::from(level) } else { 0 };
        let all = self.size.checked_shr(shift).unwrap_or(0);
        usize::try_from(all.saturating_sub(index * WIDTH as u64)).map_or(WIDTH, |width| width.min(WIDTH))
    }

    /// The tile's hashes.
    pub(in crate::audit) fn tile(&self, level: u8, index: u64) -> io::Result<Vec<Hash>> {
        let kind = Kind::Level(level);
        Ok(self.read(kind, index, self.width(kind, index), 32)?.as_chunks().0.to_vec())
    }

    /// The bundle's entries.
    pub(in crate::audit) fn entries(&self, index: u64) -> io::Result<Vec<Hash>> {
        let bytes = self.read(Kind::Entries, index, self.width(Kind::Entries, index), FRAMED)?;
        let framed = bytes.as_chunks::<FRAMED>().0.iter();
        framed
            .map(|framed| match framed {
                [0, 32, entry @ ..] => Ok(*entry),
                _ => Err(io::Error::new(io::ErrorKind::InvalidData, "an entry that is not 32 bytes long")),
            })
            .collect()
    }

    /// The leaf of one record.
    pub(in crate::audit) fn leaf(&self, index: u64) -> io::Result<Leaf> {
        let at = usize::try_from(index % WIDTH as u64).unwrap_or(0);
        let missing = || io::Error::from(io::ErrorKind::UnexpectedEof);
        self.entries(index / WIDTH as u64)?.get(at).map(|entry| Leaf::of(*entry)).ok_or_else(missing)
    }
}

impl Hashes for Stored<'_> {
    fn hashes(&self, level: u8, first: u64, count: usize) -> io::Result<Vec<Hash>> {
        let at = usize::try_from(first % WIDTH as u64).unwrap_or(0);
        let tile = self.tile(level, first / WIDTH as u64)?;
        tile.get(at..at + count).map(<[Hash]>::to_vec).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_lie_where_the_specification_says() {
        for (index, wanted) in [(0, "000"), (999, "999"), (1000, "x001/000"), (1_234_067, "x001/x234/067")] {
            assert_eq!(path(Kind::Level(0), index), Path::new("tile/0").join(wanted));
        }
        assert_eq!(partial_path(Kind::Level(1), 1000, 17), Path::new("tile/1/x001/000.p/17"));
        assert_eq!(partial_path(Kind::Entries, 273, 112), Path::new("tile/entries/273.p/112"));
    }

    #[test]
    fn a_tile_is_as_wide_as_the_tree_makes_it() {
        let of = |size| Stored { directory: Path::new(""), size };
        // The specification's own example.
        let widths = [(0, 272, 256), (0, 273, 112), (1, 0, 256), (1, 1, 17), (2, 0, 1)];
        for (level, index, width) in widths {
            assert_eq!(of(70_000).width(Kind::Level(level), index), width);
        }
        assert_eq!(of(256).width(Kind::Level(1), 0), 1);
        assert_eq!(of(256).width(Kind::Level(0), 1), 0);
    }

    #[test]
    fn a_full_tile_that_a_crash_cut_does_not_hide_the_partial_one() {
        let folder = tempfile::tempdir().unwrap();
        let kind = Kind::Level(0);
        let write = |path: PathBuf, bytes: &[u8]| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        };
        let tile = || Stored { directory: folder.path(), size: 3 }.tile(0, 0);
        write(partial_path(kind, 0, 3), &[7; 96]);
        for cut in [0, 32, 95] {
            write(path(kind, 0), &vec![7; cut]);
            assert_eq!(tile().unwrap(), [[7; 32]; 3], "{cut} bytes");
        }
        fs::remove_dir_all(folder.path().join(partial_folder(kind, 0))).unwrap();
        assert!(tile().is_err(), "neither has it");
        write(path(kind, 0), &[7; 8192]);
        assert_eq!(tile().unwrap(), [[7; 32]; 3]);
    }
}
