//! What somebody may do to a log's folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The segments of a log as lines, to be put together differently.
pub fn lines(log: &Path) -> BTreeMap<PathBuf, Vec<String>> {
    let segments = fs::read_dir(log).unwrap().flatten().map(|entry| entry.path());
    let segments = segments.filter(|path| path.extension().is_some_and(|kind| kind == "jsonl"));
    segments
        .map(|path| (path.clone(), fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()))
        .collect()
}

fn write(segment: &Path, lines: &[String]) {
    let text: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
    fs::write(segment, text).unwrap();
}

/// What somebody may do to a log's folder, and the number of the first record in doubt: `None` leaves it intact.
pub type Tamper = (&'static str, fn(&Path), Expected);

/// What verifying must find.
pub enum Expected {
    /// The first bad record lies in this segment, counted from 0, at this line.
    Bad(usize, usize),
    /// Not intact, and no record is to blame.
    Unsigned,
    /// Intact, and records are missing.
    Incomplete,
}

fn nth(log: &Path, n: usize) -> (PathBuf, Vec<String>) {
    lines(log).into_iter().nth(n).unwrap()
}

/// All of them. The last one is none where records are encrypted.
pub const TAMPERS: [Tamper; 12] = [
    (
        "a changed record",
        |log| {
            let (path, mut lines) = nth(log, 0);
            lines[5] = match lines[5].strip_prefix("{\"box\":\"A") {
                None => lines[5].replace("\"status\":200", "\"status\":201"),
                Some(rest) => format!("{{\"box\":\"B{rest}"),
            };
            write(&path, &lines);
        },
        Expected::Bad(0, 5),
    ),
    (
        "a dropped record",
        |log| {
            let (path, mut lines) = nth(log, 1);
            lines.remove(3);
            write(&path, &lines);
        },
        Expected::Bad(1, 3),
    ),
    (
        "two swapped records",
        |log| {
            let (path, mut lines) = nth(log, 0);
            lines.swap(7, 8);
            write(&path, &lines);
        },
        Expected::Bad(0, 7),
    ),
    (
        "a duplicated record",
        |log| {
            let (path, mut lines) = nth(log, 0);
            lines.insert(4, lines[3].clone());
            write(&path, &lines);
        },
        Expected::Bad(0, 4),
    ),
    (
        "a changed entry",
        |log| {
            let (path, mut lines) = nth(log, 0);
            let at = lines[2].len() - 20;
            let other = if lines[2].as_bytes()[at] == b'A' { "B" } else { "A" };
            lines[2].replace_range(at..=at, other);
            write(&path, &lines);
        },
        Expected::Bad(0, 2),
    ),
    (
        "a cut tail",
        |log| {
            let (path, mut lines) = lines(log).pop_last().unwrap();
            lines.truncate(lines.len() - 2);
            write(&path, &lines);
        },
        Expected::Incomplete,
    ),
    (
        "a tail turned into room",
        |log| {
            let (path, mut lines) = lines(log).pop_last().unwrap();
            let length = fs::metadata(&path).unwrap().len();
            lines.truncate(1);
            write(&path, &lines);
            fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length).unwrap();
        },
        Expected::Incomplete,
    ),
    ("a segment that is gone", |log| fs::remove_file(nth(log, 1).0).unwrap(), Expected::Bad(1, 0)),
    ("a replaced segment", |log| write(&nth(log, 1).0, &nth(log, 0).1), Expected::Bad(1, 0)),
    (
        "a changed tile",
        |log| {
            let path = log.join("tile/0/000");
            let mut bytes = fs::read(&path).unwrap();
            bytes[32 * 9] ^= 1;
            fs::write(path, bytes).unwrap();
        },
        Expected::Bad(0, 9),
    ),
    (
        "a checkpoint with another size",
        |log| {
            let path = log.join("checkpoint");
            let note = fs::read_to_string(&path).unwrap();
            let size = note.lines().nth(1).unwrap();
            fs::write(&path, note.replacen(size, "3", 1)).unwrap();
        },
        Expected::Unsigned,
    ),
    (
        "a salt file that is gone",
        |log| fs::remove_file(log.join(format!("salts/{:020}.keys", 0))).unwrap(),
        Expected::Bad(0, 0),
    ),
];

/// The number of a segment's first record.
pub fn number(segment: &Path) -> u64 {
    segment.file_stem().unwrap().to_string_lossy().trim_start_matches("segment-").parse().unwrap()
}
