//! Exports: what is in them, and that one that was killed at any moment goes on to the same end.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use jiff::SignedDuration;

use super::export::{Asked, ExportError, Folder, Format, Keys, Manifest, Place, Target, Trouble, hash, in_steps};
use super::*;

/// Records of three days, of several kinds and callers.
fn log_of(directory: &Path, records: i64) {
    let (log, _) = log_in(directory);
    let begin: Timestamp = "2026-11-27T20:00:00Z".parse().unwrap();
    for n in 0..records {
        let time = begin + SignedDuration::from_mins(n * 40);
        let mut record = Record::new(if n % 7 == 3 { Kind::Gate } else { Kind::Call }, time);
        if record.kind == Kind::Gate {
            record.event = Some(Event { code: "reloaded", detail: "a \"changed\" file,\nof two lines".to_owned() });
        } else {
            record.integration = Some(if n % 2 == 0 { "webshop" } else { "wms" }.into());
            record.peer = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
            record.method = Some("GET".into());
            record.endpoint = Some("GET /v2/orders".into());
            record.status = Some(200);
            record.verdict = Some(Verdict::Allowed);
            record.detail = Some("=1+1".to_owned());
        }
        wait(log.append(&record)).unwrap();
    }
    log.seal().unwrap();
}

fn keys() -> Keys<'static> {
    static KEY: std::sync::OnceLock<Arc<SigningKey>> = std::sync::OnceLock::new();
    Keys { verifier: KEY.get_or_init(key).verifier(), identity: None }
}

fn asked(format: Format) -> Asked {
    Asked { format, since: None, until: None, integrations: Vec::new() }
}

/// A place whose process is killed before or behind one of its operations.
struct Killed {
    place: Folder,
    left: usize,
    behind: bool,
}

impl Killed {
    fn then<T>(&mut self, act: impl FnOnce(&mut Folder) -> Result<T, Trouble>) -> Result<T, Trouble> {
        let Some(left) = self.left.checked_sub(1) else {
            if self.behind {
                act(&mut self.place)?;
            }
            return Err("killed".into());
        };
        self.left = left;
        act(&mut self.place)
    }
}

impl Place for Killed {
    fn put(&mut self, name: &str, contents: Vec<u8>) -> Result<(), Trouble> {
        self.then(|place| place.put(name, contents))
    }
    fn get(&mut self, name: &str) -> Result<Option<Vec<u8>>, Trouble> {
        self.then(|place| place.get(name))
    }
    fn remove(&mut self, name: &str) -> Result<(), Trouble> {
        self.then(|place| place.remove(name))
    }
}

fn target(folder: &Path, single: bool, left: usize, behind: bool) -> Target {
    let place = Box::new(Killed { place: Folder::lock(folder).unwrap(), left, behind });
    if single { Target::Single(place, folder.join("export")) } else { Target::Parts(place) }
}

/// All files of a folder, with what they hold.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(root: &Path, folder: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, found);
            } else {
                let name = path.strip_prefix(root).unwrap().display().to_string();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(folder, folder, &mut found);
    found
}

#[test]
fn an_export_that_was_killed_at_any_moment_goes_on_to_the_same_bytes() {
    let folder = fresh();
    let log = folder.path().join("audit");
    log_of(&log, 100);
    let run = |target: &mut Target, format| in_steps(16, &log, keys(), &asked(format), target, |_, _| ());
    let cases = [(Format::Csv, true), (Format::Jsonl, true), (Format::Jsonl, false), (Format::Parquet, false)];
    for (format, single) in cases {
        let whole = tempfile::tempdir().unwrap();
        run(&mut target(whole.path(), single, usize::MAX, false), format).unwrap();
        let expected = files(whole.path());
        assert!(expected.keys().all(|name| !name.starts_with('.')), "{:?}", expected.keys());
        let mut kills = 0;
        for (left, behind) in (0..).flat_map(|left| [(left, false), (left, true)]) {
            let place = tempfile::tempdir().unwrap();
            if run(&mut target(place.path(), single, left, behind), format).is_ok() {
                break;
            }
            kills += 1;
            if let Ok(partial) = fs::OpenOptions::new().append(true).open(place.path().join(".export.partial")) {
                // Half of what a step wrote.
                std::io::Write::write_all(&mut &partial, b"half a li").unwrap();
            }
            let noted = place
                .path()
                .read_dir()
                .unwrap()
                .flatten()
                .any(|it| it.file_name().to_string_lossy().ends_with(".export.json"));
            if behind && !noted && files(place.path()) == expected {
                // It was killed behind its end.
                continue;
            }
            run(&mut target(place.path(), single, usize::MAX, false), format).unwrap_or_else(|error| {
                panic!("{format:?}, killed at {left}: {error}: {:?}", files(place.path()).keys())
            });
            assert_eq!(files(place.path()), expected, "{format:?}, killed at {left}, behind it: {behind}");
        }
        assert!(kills > 20, "{format:?}: only {kills} moments");
    }
}

#[test]
fn the_manifest_says_what_is_there_and_is_held_to_the_signature() {
    let folder = fresh();
    let log = folder.path().join("audit");
    log_of(&log, 50);
    let place = tempfile::tempdir().unwrap();
    let asked = Asked {
        since: Some("2026-11-28T00:00:00Z".parse().unwrap()),
        until: Some("2026-11-29T00:00:00Z".parse().unwrap()),
        integrations: vec!["webshop".to_owned()],
        ..asked(Format::Jsonl)
    };
    let mut to = target(place.path(), false, usize::MAX, false);
    let made = in_steps(1 << 16, &log, keys(), &asked, &mut to, |_, _| ()).unwrap();
    let [file] = &made.files[..] else { panic!("{made:?}") };
    assert_eq!(file.name, "day=2026-11-28/part-00000000.jsonl");
    let path = place.path().join(&file.name);
    assert_eq!(hash(&path).unwrap(), (file.size, file.sha256.clone()));
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count() as u64, made.records.count);
    assert!(
        text.lines()
            .all(|line| line.contains(r#""integration":"webshop""#) && line.starts_with(r#"{"time":"2026-11-28"#))
    );
    let original = fs::read_to_string(only_segment(&log)).unwrap();
    let original: Vec<&str> = original.trim_end_matches('\0').lines().collect();
    assert!(text.lines().all(|line| original.contains(&line)), "a line is not the log's own");
    let (first, last) = (made.records.first.unwrap(), made.records.last.unwrap());
    assert!(original[usize::try_from(first).unwrap()] == text.lines().next().unwrap() && last > first);
    let manifest = fs::read(place.path().join("manifest.json")).unwrap();
    assert_eq!(Manifest::open(&manifest, key().verifier()).unwrap(), made);
    assert!(Manifest::open(&manifest, SigningKey::of_a_log().unwrap().verifier()).is_err(), "another key");
    let more = String::from_utf8(manifest).unwrap().replace(r#""below": 51"#, r#""below": 52"#);
    assert!(Manifest::open(more.as_bytes(), key().verifier()).unwrap_err().contains("not signed for"));
}

#[test]
fn nothing_is_written_over_and_nothing_mixed() {
    let folder = fresh();
    let log = folder.path().join("audit");
    log_of(&log, 40);
    let place = tempfile::tempdir().unwrap();
    let run = |left, format| {
        let mut to = target(place.path(), true, left, false);
        in_steps(16, &log, keys(), &asked(format), &mut to, |_, _| ())
    };
    run(5, Format::Csv).unwrap_err();
    assert!(matches!(run(usize::MAX, Format::Ecs), Err(ExportError::Another(_))));
    run(usize::MAX, Format::Csv).unwrap();
    let before = files(place.path());
    assert!(matches!(run(usize::MAX, Format::Csv), Err(ExportError::There(_))));
    assert_eq!(files(place.path()), before);
    let table = fs::read_to_string(place.path().join("export")).unwrap();
    assert!(table.contains("\"'=1+1\""), "a formula stands in it");
}
