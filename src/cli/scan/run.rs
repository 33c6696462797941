//! Looks through files on as many threads as there are processors, and tells how far it is.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::super::report::words;
use super::find::{Hit, look_through};

/// How often the progress bar is drawn.
const FRAME: Duration = Duration::from_millis(100);

/// What came of it.
#[derive(Default)]
pub(super) struct Outcome {
    /// Position of the file, and what was found in it; in the files' order.
    pub(super) hits: Vec<(usize, Hit)>,
    pub(super) unreadable: Vec<(PathBuf, String)>,
    pub(super) bytes: u64,
}

enum News {
    Hit(usize, Hit),
    Unreadable(usize, String),
}

/// Looks through all of them.
pub(super) fn look_at(files: &[(PathBuf, u64)], threads: usize) -> Outcome {
    let (next, done) = (AtomicUsize::new(0), AtomicU64::new(0));
    let (tell, told) = mpsc::channel();
    let mut outcome = Outcome::default();
    std::thread::scope(|scope| {
        for _ in 0..threads.min(files.len()) {
            let (tell, next, done) = (tell.clone(), &next, &done);
            scope.spawn(move || work(files, next, done, &tell));
        }
        drop(tell);
        let mut bar = Bar::new(files.iter().map(|(_, size)| size).sum());
        loop {
            match told.recv_timeout(FRAME) {
                Ok(News::Hit(n, hit)) => outcome.hits.push((n, hit)),
                Ok(News::Unreadable(n, why)) => outcome.unreadable.push((files[n].0.clone(), why)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            bar.draw(done.load(Relaxed), outcome.hits.len());
        }
        bar.clear();
    });
    // Each file was looked through by one thread, from its beginning to its end.
    outcome.hits.sort_by_key(|(n, _)| *n);
    outcome.bytes = done.into_inner();
    outcome
}

fn work(files: &[(PathBuf, u64)], next: &AtomicUsize, done: &AtomicU64, tell: &mpsc::Sender<News>) {
    let mut buffer = Vec::new();
    loop {
        let n = next.fetch_add(1, Relaxed);
        let Some((path, _)) = files.get(n) else { return };
        // The other end lives as long as any of these threads.
        let mut report = |hit| drop(tell.send(News::Hit(n, hit)));
        if let Err(error) = look(path, done, &mut buffer, &mut report) {
            drop(tell.send(News::Unreadable(n, words(&error))));
        }
    }
}

fn look(path: &Path, done: &AtomicU64, buffer: &mut Vec<u8>, hit: &mut dyn FnMut(Hit)) -> io::Result<()> {
    let mut counted = Counted { file: File::open(path)?, done };
    look_through(&mut counted, buffer, hit).map(drop)
}

/// A file whose bytes are counted while it is read, so that the bar moves inside a large one too.
struct Counted<'a> {
    file: File,
    done: &'a AtomicU64,
}

impl io::Read for Counted<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(into)?;
        self.done.fetch_add(count as u64, Relaxed);
        Ok(count)
    }
}

/// One line on standard error, where that is a terminal.
struct Bar {
    shown: bool,
    total: u64,
    began: Instant,
    drawn: Instant,
}

impl Bar {
    fn new(total: u64) -> Self {
        let now = Instant::now();
        Self { shown: io::stderr().is_terminal(), total, began: now, drawn: now }
    }

    fn draw(&mut self, done: u64, found: usize) {
        if !self.shown || self.drawn.elapsed() < FRAME {
            return;
        }
        self.drawn = Instant::now();
        let line = line(done, self.total, self.began.elapsed(), found);
        // A bar that nobody can see is no reason to stop.
        let _ = write!(io::stderr().lock(), "\r{line}\x1b[K");
    }

    fn clear(&self) {
        if self.shown {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}

fn line(done: u64, total: u64, took: Duration, found: usize) -> String {
    const WIDTH: u64 = 24;
    // A file may have grown since it was measured.
    let done = done.min(total);
    let full = (done * WIDTH).checked_div(total).unwrap_or(0);
    let bar: String = (0..WIDTH).map(|n| if n < full { '#' } else { '.' }).collect();
    let percent = (done * 100).checked_div(total).unwrap_or(0);
    let speed = (u128::from(done) * 1000).checked_div(took.as_millis()).unwrap_or(0);
    let speed = u64::try_from(speed).unwrap_or(u64::MAX);
    format!("[{bar}] {percent:>3} %  {} of {}  {}/s  {found} found", size(done), size(total), size(speed))
}

/// `512 B`, `1.5 GB`.
pub fn size(bytes: u64) -> String {
    let (unit, name) = match bytes {
        0..1_000 => return format!("{bytes} B"),
        1_000..1_000_000 => (1_000, "kB"),
        1_000_000..1_000_000_000 => (1_000_000, "MB"),
        _ => (1_000_000_000, "GB"),
    };
    format!("{}.{} {name}", bytes / unit, bytes % unit / (unit / 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_says_how_far_how_fast_and_how_many() {
        let half = line(500_000_000, 1_000_000_000, Duration::from_secs(1), 3);
        assert_eq!(half, "[############............]  50 %  500.0 MB of 1.0 GB  500.0 MB/s  3 found");
        assert!(line(7, 0, Duration::ZERO, 0).contains("  0 %  0 B of 0 B"));
    }
}
