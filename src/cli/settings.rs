//! The configuration file as commands meet it: read and checked, or changed in place and checked before it is written.

use std::fs;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;

use crate::config::{self, Config, EditError, Editor, Problems};
use crate::vault::private_file;

use super::output::hex;
use super::report::{CONFIG, Failure, USAGE, words};

/// Which text a configuration came from.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// SHA-256 of its text, hexadecimal.
    pub sha256: String,
}

/// Reads and checks the file.
pub fn load(path: &Path) -> Result<Config, Failure> {
    checked(path, &read(path)?)
}

/// Reads the file, and notes which text it was.
pub fn read_source(path: &Path) -> Result<(String, Source), Failure> {
    let text = read(path)?;
    let sha256 = hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    Ok((text, Source { path: path.to_owned(), sha256 }))
}

/// Changes the file: `change` works on its text and leaves comments alone; the result is checked and written only when
/// it is right. Waits for other writers. Hands back what the file means now.
pub fn edit(path: &Path, change: impl FnOnce(&mut Editor) -> Result<(), EditError>) -> Result<Config, Failure> {
    let cannot_write = |error| Failure::new(format!("cannot write `{}`", path.display())).because(error);
    // What stands there must be right first: else old problems would be told as if they were new.
    load(path)?;
    let _lock = private_file::lock_folder(path).map_err(cannot_write)?;
    let mut editor = Editor::open(&read(path)?).map_err(|error| refused(&error))?;
    change(&mut editor).map_err(|error| refused(&error))?;
    let text = editor.to_string();
    let shown = format!("{} (not written)", path.display());
    let config = check(&shown, folder(path), &text).map_err(|problems| {
        Failure::config(format!("`{}` stays as it was: the change would make it wrong", path.display()), problems)
            .with_code(USAGE)
    })?;
    private_file::replace(path, text.as_bytes()).map_err(cannot_write)?;
    Ok(config)
}

/// Checks a text as if it stood in `path`.
pub fn checked(path: &Path, text: &str) -> Result<Config, Failure> {
    check(&path.display().to_string(), folder(path), text).map_err(|problems| {
        let count = problems.0.len();
        let what = if count == 1 { "1 problem".to_owned() } else { format!("{count} problems") };
        Failure::config(format!("`{}` has {what}", path.display()), problems)
    })
}

/// Checks a text whose relative paths begin in `folder`.
pub fn check(shown: &str, folder: &Path, text: &str) -> Result<Config, Problems> {
    config::check(text, shown, folder, &|profile| fs::read_to_string(profile).map_err(|error| words(&error)))
}

/// Reads the configuration file.
pub fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| {
        let failure = Failure::new(format!("cannot read the configuration `{}`", path.display()));
        let failure = match error.kind() {
            std::io::ErrorKind::NotFound => failure
                .hint("name another file with `--config FILE` or in `KEYGATE_CONFIG`")
                .hint("make one with `keygate init DIR --upstream https://TENANT.channelengine.net/api`"),
            _ => failure,
        };
        failure.with_code(CONFIG).because(error)
    })
}

/// What an editor does not do, with what to do instead.
fn refused(error: &EditError) -> Failure {
    let (what, hint) = (error.to_string(), error.hint());
    if hint.is_empty() { Failure::usage(what) } else { Failure::usage(what).hint(hint) }
}

fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}
