//! Every `tests/config/*.toml` is a configuration with something wrong; the `.txt` beside it is the whole report that
//! `check` gives. Profile files that cases name lie in `tests/config/profiles/`.
//!
//! After a wanted change of wording, run this test with `ACCEPT=1` and read the difference before it is committed.

use std::fs;
use std::path::Path;

#[test]
fn every_bad_configuration_is_reported_as_its_text_file_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config");
    let mut failures = Vec::new();
    let mut cases: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    cases.sort();
    assert!(cases.len() > 10, "the cases are missing");
    for case in cases {
        let text = fs::read_to_string(&case).unwrap();
        let read = |path: &Path| fs::read_to_string(path).map_err(|error| error.kind().to_string());
        let report = match keygate::config::check(&text, "keygate.toml", &folder, &read) {
            Ok(_) => "no problem\n".to_owned(),
            Err(problems) => problems.to_string(),
        };
        let expected = case.with_extension("txt");
        if std::env::var_os("ACCEPT").is_some() {
            fs::write(&expected, &report).unwrap();
        }
        if fs::read_to_string(&expected).unwrap_or_default() != report {
            failures.push(format!("{} gives\n{report}", case.display()));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
