//! The memory of a running process, as its machine's root reads it: what a core dump that knows no mercy would hold.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};

use aho_corasick::AhoCorasick;

const PAGE: u64 = 4096;
/// Read at once, bytes; neighbours overlap by `OVERLAP`, so that nothing hides on a border.
const WINDOW: u64 = 1024 * 1024;
const OVERLAP: u64 = 512;

/// A stretch of the process's addresses.
struct Mapping {
    start: u64,
    end: u64,
    /// Locked, and left out of core dumps.
    guarded: bool,
    name: String,
}

/// Where a text was found.
pub struct Found {
    /// Which of the texts.
    pub what: String,
    /// In memory that is locked and left out of core dumps.
    pub guarded: bool,
    /// Address and mapping, for messages.
    pub place: String,
}

impl std::fmt::Debug for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {}", self.what, self.place)
    }
}

/// Looks through everything that can be read of a process for texts with a name each.
pub fn search(pid: u32, texts: &[(String, Vec<u8>)]) -> Vec<Found> {
    let mut memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    // All of them in one walk, however many.
    let searcher = AhoCorasick::new(texts.iter().map(|(_, text)| text)).unwrap();
    let mut found = Vec::new();
    for mapping in mappings(pid) {
        for (start, end) in present(pid, &mapping) {
            let mut at = start;
            while at < end {
                let bytes = read(&mut memory, at, (at + WINDOW).min(end)).unwrap_or_default();
                // What begins in the overlap is found with the next window.
                let last = if at + WINDOW < end { WINDOW - OVERLAP } else { WINDOW };
                let hits = searcher.find_overlapping_iter(&bytes).filter(|hit| (hit.start() as u64) < last);
                found.extend(hits.map(|hit| Found {
                    what: texts[hit.pattern().as_usize()].0.clone(),
                    guarded: mapping.guarded,
                    place: format!("{:#x} {}", at + hit.start() as u64, mapping.name),
                }));
                at += WINDOW - OVERLAP;
            }
        }
    }
    found
}

fn read(memory: &mut File, start: u64, end: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
    memory.seek(SeekFrom::Start(start))?;
    memory.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Readable mappings, with what `smaps` says of them: `lo` is locked, `dd` is left out of dumps.
fn mappings(pid: u32) -> Vec<Mapping> {
    let mut all: Vec<Mapping> = Vec::new();
    for line in fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap().lines() {
        if let Some(flags) = line.strip_prefix("VmFlags:") {
            let has = |flag: &str| flags.split_whitespace().any(|it| it == flag);
            let last = all.last_mut().unwrap();
            last.guarded = has("lo") && has("dd");
            if !has("rd") || last.name.starts_with("[v") {
                all.pop();
            }
        } else if let Some((range, rest)) = line.split_once(' ').filter(|(range, _)| range.contains('-')) {
            let (start, end) = range.split_once('-').unwrap();
            let address = |text| u64::from_str_radix(text, 16).unwrap();
            let name = rest.split_whitespace().nth(4).unwrap_or("anonymous").to_owned();
            all.push(Mapping { start: address(start), end: address(end), guarded: false, name });
        }
    }
    assert!(all.len() > 10, "only {} mappings", all.len());
    all
}

/// The runs of pages that are in RAM or in swap; the rest was never written to.
fn present(pid: u32, mapping: &Mapping) -> Vec<(u64, u64)> {
    let mut pagemap = File::open(format!("/proc/{pid}/pagemap")).unwrap();
    pagemap.seek(SeekFrom::Start(mapping.start / PAGE * 8)).unwrap();
    let mut entries = vec![0; usize::try_from((mapping.end - mapping.start) / PAGE * 8).unwrap()];
    if pagemap.read_exact(&mut entries).is_err() {
        return vec![(mapping.start, mapping.end)];
    }
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for (n, entry) in entries.chunks_exact(8).enumerate() {
        let page = mapping.start + n as u64 * PAGE;
        match runs.last_mut() {
            _ if entry[7] >> 6 == 0 => {}
            Some((_, end)) if *end == page => *end += PAGE,
            _ => runs.push((page, page + PAGE)),
        }
    }
    runs
}
