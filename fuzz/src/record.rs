//! A log's bytes through its check: nothing that was changed passes for intact.

use keygate::audit::{Report, verify_bytes};

/// The salts of every log here.
const KEYS: &str = "- AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";

fn check(segment: &[u8]) -> Report {
    verify_bytes(segment, KEYS)
}

/// Nothing panics; an intact log is intact at every record's end, and no longer when a byte is changed.
pub fn run(data: &[u8]) {
    let report = check(data);
    assert_eq!(report.intact, report.first_bad.is_none());
    let lines = memchr::memchr_iter(b'\n', data).count() as u64;
    assert!(report.records <= lines && report.segments == 1);
    if !report.intact || report.records == 0 {
        return;
    }
    assert_eq!(report.records, lines);
    // Zeros are room that was laid out ahead.
    let data = &data[..data.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1)];
    let whole = &data[..data.len() - usize::try_from(report.torn_bytes).unwrap()];
    let cut = memchr::memrchr(b'\n', &whole[..whole.len() - 1]).map_or(0, |at| at + 1);
    let shorter = check(&whole[..cut]);
    assert!(shorter.intact && shorter.records == report.records - 1, "{shorter:?}");
    let mut changed = whole.to_vec();
    let at = usize::from(data[data.len() / 2]) * 7 % changed.len();
    changed[at] ^= 1;
    // The last newline turned into something else leaves a torn tail, which was never acknowledged.
    assert!(at + 1 == changed.len() || !check(&changed).intact, "a changed byte at {at} is not found");
}
