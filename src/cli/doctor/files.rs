//! Who may read which file, and how much room the log has.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Access, access, statvfs};

use super::super::output::quoted_path;
use super::super::report::words;
use super::super::scan::size;
use super::finding::{Finding, Level, fine, not_fine};
use crate::config::{Config, Login, OpenBao, VaultPlace};

const OPENS: &str = "it opens the vault";

/// Below so many segments' room the log's disk is nearly full.
const SEGMENTS: u64 = 16;

pub(super) fn look(config: &Config, path: &Path) -> Vec<Finding> {
    let secret = "it holds a secret";
    let private = [
        (path, Level::Warn, "it says who may do what"),
        (config.audit.hash_key.as_path(), Level::Fail, secret),
        (config.audit.signing_key.as_path(), Level::Fail, secret),
        (config.listen.private_key.as_path(), Level::Fail, secret),
        (config.audit.directory.as_path(), Level::Warn, "it says who called what, and when"),
    ];
    let mut findings: Vec<Finding> = private
        .into_iter()
        .chain(vault_files(&config.vault.place))
        .map(|(path, level, why)| kept_private(path, level, why))
        .collect();
    findings.push(writable(&config.audit.directory));
    findings.push(room(&config.audit.directory, config.audit.segment_size));
    findings
}

/// What opens the vault. Files that others put there (a service account's token, a folder of credentials) have rules of their
/// own, which reading them holds to.
fn vault_files(place: &VaultPlace) -> Vec<(&Path, Level, &'static str)> {
    match place {
        VaultPlace::Age { file, identity } => {
            vec![
                (file.as_path(), Level::Warn, "it is encrypted, and still nobody else's business"),
                (identity.as_path(), Level::Fail, OPENS),
            ]
        }
        VaultPlace::OpenBao(OpenBao { login, .. }) => match login {
            Login::Token { file } => vec![(file.as_path(), Level::Fail, OPENS)],
            Login::AppRole { secret_id_file, .. } => vec![(secret_id_file.as_path(), Level::Fail, OPENS)],
            Login::Certificate { key, .. } => vec![(key.as_path(), Level::Fail, OPENS)],
            Login::Jwt { .. } => Vec::new(),
        },
        VaultPlace::Directory { .. } | VaultPlace::Exec(_) => Vec::new(),
    }
}

fn cannot_look(path: &Path, error: &io::Error) -> Finding {
    let remedy = "run the doctor as the user that runs the gate; `keygate init` makes what is missing";
    not_fine(Level::Fail, "files", format!("cannot look at `{}`: {}", path.display(), words(error)), remedy)
}

fn kept_private(path: &Path, level: Level, why: &str) -> Finding {
    let facts = match fs::metadata(path) {
        Ok(facts) => facts,
        Err(error) => return cannot_look(path, &error),
    };
    let (mode, owner) = (facts.mode() & 0o7777, facts.uid());
    if mode & 0o077 != 0 {
        let remedy = format!("{why}: `chmod go= {}`", quoted_path(path));
        return not_fine(level, "files", format!("`{}` is open to others (mode {mode:04o})", path.display()), remedy);
    }
    let ours = rustix::process::geteuid().as_raw();
    if owner != ours {
        let remedy = format!("run the doctor as the gate's user, or `chown` it; this is uid {ours}");
        return not_fine(Level::Warn, "files", format!("`{}` belongs to uid {owner}", path.display()), remedy);
    }
    fine("files", format!("`{}` is its owner's alone (mode {mode:04o})", path.display()))
}

fn writable(directory: &Path) -> Finding {
    if let Err(error) = fs::metadata(directory).and_then(|facts: Metadata| a_folder(&facts)) {
        return cannot_look(directory, &error);
    }
    match access(directory, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => fine("files", format!("`{}` can be written to", directory.display())),
        Err(errno) => {
            let why = words(&io::Error::from(errno));
            let remedy = format!("the gate's user must own it: `chown -R USER {}`", quoted_path(directory));
            not_fine(Level::Fail, "files", format!("`{}` cannot be written to: {why}", directory.display()), remedy)
        }
    }
}

fn a_folder(facts: &Metadata) -> io::Result<()> {
    if facts.is_dir() { Ok(()) } else { Err(io::ErrorKind::NotADirectory.into()) }
}

fn room(directory: &Path, segment: u64) -> Finding {
    let disk = match statvfs(directory) {
        Ok(disk) => disk,
        Err(errno) => return cannot_look(directory, &errno.into()),
    };
    let (free, total) = (disk.f_bavail.saturating_mul(disk.f_frsize), disk.f_blocks.saturating_mul(disk.f_frsize));
    // A file system that does not count its nodes says that it has none at all.
    let nodes_left = disk.f_files == 0 || disk.f_favail > 1000;
    let what = format!("{} free of {} for the log", size(free), size(total));
    let remedy = format!(
        "without room the log closes, and the gate with it: move old segments out of {} (all but the newest), or enlarge the disk",
        quoted_path(directory)
    );
    if free < 2 * segment || !nodes_left {
        let what = if nodes_left { what } else { format!("{what}, and hardly a file more can be made") };
        return not_fine(Level::Fail, "disk", what, remedy);
    }
    if free < SEGMENTS * segment {
        return not_fine(Level::Warn, "disk", what, remedy);
    }
    fine("disk", what)
}
