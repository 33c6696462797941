//! Which files `keygate scan` looks through: every regular one below the paths. Symbolic links are not followed, so there
//! are no loops; what is no regular file (a pipe, a device) is never opened; other file systems are left alone.

use std::fs;
use std::path::{Path, PathBuf};

use ignore::WalkBuilder;

use super::super::report::words;

/// What there is to look through.
#[derive(Default)]
pub(super) struct Files {
    /// Path and size, in the order of a walk sorted by name.
    pub(super) files: Vec<(PathBuf, u64)>,
    /// What could not be looked into, and why.
    pub(super) unreadable: Vec<(PathBuf, String)>,
}

/// Walks the paths. With `gitignore`, what git ignores is left out.
pub(super) fn below(paths: &[PathBuf], gitignore: bool) -> Files {
    let mut files = Files::default();
    for path in paths {
        walk(path, gitignore, &mut files);
    }
    files
}

fn walk(path: &Path, gitignore: bool, files: &mut Files) {
    let mut walk = WalkBuilder::new(path);
    walk.standard_filters(false).follow_links(false).same_file_system(true);
    walk.git_ignore(gitignore).git_exclude(gitignore).git_global(gitignore).parents(gitignore).require_git(false);
    walk.sort_by_file_name(std::cmp::Ord::cmp);
    for entry in walk.build() {
        match entry {
            Ok(entry) => {
                let facts = match entry.depth() {
                    // A path that was named is meant, also when it is a link.
                    0 => fs::metadata(entry.path()),
                    _ => fs::symlink_metadata(entry.path()),
                };
                match facts {
                    Ok(facts) if facts.is_file() => files.files.push((entry.into_path(), facts.len())),
                    Ok(_) => {}
                    Err(error) => files.unreadable.push((entry.into_path(), words(&error))),
                }
            }
            Err(error) => files.unreadable.push(told(&error, path)),
        }
    }
}

fn told(error: &ignore::Error, below: &Path) -> (PathBuf, String) {
    let mut inner = error;
    let mut place = below.to_path_buf();
    loop {
        inner = match inner {
            ignore::Error::WithPath { path, err } => {
                place.clone_from(path);
                err
            }
            ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => err,
            _ => break,
        };
    }
    (place, inner.io_error().map_or_else(|| inner.to_string(), |error| words(error)))
}

/// Where the shells and consoles of the present user keep what was typed, as far as it is there.
pub(super) fn histories() -> Vec<PathBuf> {
    const NAMES: [&str; 13] = [
        ".bash_history",
        ".zsh_history",
        ".histfile",
        ".ash_history",
        ".sh_history",
        ".ksh_history",
        ".local/share/fish/fish_history",
        ".local/share/powershell/PSReadLine/ConsoleHost_history.txt",
        ".python_history",
        ".node_repl_history",
        ".psql_history",
        ".mysql_history",
        ".lesshst",
    ];
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let known = home.into_iter().flat_map(|home| NAMES.map(|name| home.join(name)));
    let named = std::env::var_os("HISTFILE").map(PathBuf::from);
    let mut all: Vec<PathBuf> = named.into_iter().chain(known).filter(|path| path.is_file()).collect();
    all.sort();
    all.dedup();
    all
}
