//! Memory for real keys: locked into RAM where the system allows it, left out of core dumps, wiped before it is used again.
//!
//! One arena for the process: regions of whole pages, mapped apart from the heap, cut into pieces whose sizes are powers of
//! two. A piece that is given back is wiped and kept for the next one; a region is never given back. Where a region cannot be
//! locked (`RLIMIT_MEMLOCK`) it is used all the same, and [`protection`] says so: a gate that refuses to start would send
//! its operator back to keys in configuration files.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::ops::Deref;
use std::sync::{Mutex, MutexGuard, PoisonError};

use memmap2::{Advice, MmapMut};
use zeroize::Zeroize;

/// Size of a region, bytes: room for the keys of some 50 upstreams.
const REGION: usize = 64 * 1024;
/// Smallest piece, bytes: a ChannelEngine key and a header's words around it.
const SMALLEST: usize = 64;

static ARENA: Mutex<Arena> = Mutex::new(Arena {
    rest: &mut [],
    free: BTreeMap::new(),
    protection: Protection { locked: 0, unlocked: 0, dumped: 0, why: None },
});

struct Arena {
    /// What of the last region was never handed out.
    rest: &'static mut [u8],
    /// Wiped pieces by their size.
    free: BTreeMap<usize, Vec<&'static mut [u8]>>,
    protection: Protection,
}

/// What the system granted to the memory that holds keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Protection {
    /// Bytes that are locked: never in swap.
    pub locked: usize,
    /// Bytes that the system would not lock.
    pub unlocked: usize,
    /// Bytes that a core dump would hold.
    pub dumped: usize,
    /// Why the last of them could not be locked or left out.
    pub why: Option<String>,
}

impl Protection {
    /// Whether everything that was asked for was granted.
    pub fn is_whole(&self) -> bool {
        self.unlocked == 0 && self.dumped == 0
    }
}

/// What the memory that holds keys is protected by at the moment.
pub fn protection() -> Protection {
    arena().protection.clone()
}

fn arena() -> MutexGuard<'static, Arena> {
    // Nothing in here can be left half-done by a panic.
    ARENA.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Arena {
    fn take(&mut self, size: usize) -> &'static mut [u8] {
        if let Some(piece) = self.free.get_mut(&size).and_then(Vec::pop) {
            return piece;
        }
        if self.rest.len() < size {
            // What is left of the old region still serves small pieces.
            while self.rest.len() >= SMALLEST {
                let largest = 1 << self.rest.len().ilog2();
                let piece = self.cut(largest);
                self.free.entry(largest).or_default().push(piece);
            }
            self.rest = self.region(size.max(REGION));
        }
        self.cut(size)
    }

    fn cut(&mut self, size: usize) -> &'static mut [u8] {
        let (piece, rest) = std::mem::take(&mut self.rest).split_at_mut(size);
        self.rest = rest;
        piece
    }

    fn region(&mut self, size: usize) -> &'static mut [u8] {
        let protection = &mut self.protection;
        let Ok(region) = MmapMut::map_anon(size) else {
            (protection.unlocked, protection.dumped) = (protection.unlocked + size, protection.dumped + size);
            return Box::leak(vec![0; size].into_boxed_slice());
        };
        if let Err(error) = region.advise(Advice::DontDump) {
            protection.dumped += size;
            protection.why = Some(error.to_string());
        }
        match region.lock() {
            Ok(()) => protection.locked += size,
            Err(error) => {
                protection.unlocked += size;
                protection.why = Some(error.to_string());
            }
        }
        &mut Box::leak(Box::new(region))[..]
    }
}

/// Bytes in the arena. They are wiped when this is dropped, and when they move because they grow.
#[derive(Default)]
pub struct Locked {
    piece: &'static mut [u8],
    length: usize,
}

impl Locked {
    /// Empty, with room for so many bytes.
    pub fn with_room(bytes: usize) -> Self {
        Self { piece: arena().take(bytes.next_power_of_two().max(SMALLEST)), length: 0 }
    }

    /// A copy of these bytes.
    pub fn copy_of(bytes: &[u8]) -> Self {
        let mut locked = Self::with_room(bytes.len());
        locked.extend(bytes);
        locked
    }

    /// Appends bytes.
    pub fn extend(&mut self, bytes: &[u8]) {
        let length = self.length + bytes.len();
        if length > self.piece.len() {
            let mut larger = Self::with_room(length);
            larger.extend(self);
            *self = larger;
        }
        self.piece[self.length..length].copy_from_slice(bytes);
        self.length = length;
    }

    /// Appends a character.
    pub fn push(&mut self, character: char) {
        self.extend(character.encode_utf8(&mut [0; 4]).as_bytes());
    }

    /// Appends all that a reader has, straight into the arena; more than `most` bytes is an error.
    pub fn read_all(&mut self, reader: &mut impl Read, most: usize) -> io::Result<()> {
        loop {
            if self.length == self.piece.len() {
                let mut larger = Self::with_room((self.length + 1).max(SMALLEST));
                larger.extend(self);
                *self = larger;
            }
            match reader.read(&mut self.piece[self.length..]) {
                Ok(0) => return Ok(()),
                Ok(count) => self.length += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if self.length > most {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
        }
    }
}

impl Deref for Locked {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.piece[..self.length]
    }
}

impl AsRef<[u8]> for Locked {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Write for Locked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        let piece = std::mem::take(&mut self.piece);
        piece[..self.length].zeroize();
        if !piece.is_empty() {
            arena().free.entry(piece.len()).or_default().push(piece);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_that_is_given_back_is_wiped_before_it_is_used_again() {
        // Of a size that no other test takes.
        let first = Locked::copy_of(&vec![7; 40_000]);
        let place = first.as_ptr();
        drop(first);
        let second = Locked::with_room(40_000);
        assert_eq!((second.piece.as_ptr(), second.len()), (place, 0));
        assert!(second.piece.iter().all(|byte| *byte == 0));
    }

    #[test]
    fn bytes_keep_their_order_however_they_come_in() {
        let text: Vec<u8> = (0..=255).cycle().take(70_000).collect();
        let mut grown = Locked::with_room(1);
        text.chunks(999).for_each(|part| grown.extend(part));
        let mut read = Locked::default();
        read.read_all(&mut &text[..], text.len()).unwrap();
        let mut short = Locked::with_room(10);
        assert!(short.read_all(&mut &text[..], 100).is_err());
        assert!(*grown == text && *read == text);
    }

    #[test]
    fn what_was_granted_is_counted_to_the_byte() {
        let _held = Locked::copy_of(b"anything");
        let granted = protection();
        assert!(granted.locked + granted.unlocked >= REGION, "{granted:?}");
        assert_eq!(granted.is_whole(), granted.why.is_none(), "{granted:?}");
    }
}
