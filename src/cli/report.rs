//! How a failed command is told: `error:` with what was tried, `caused by:` for each level below, `hint:` for what to do.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::iter;

use crate::config::{Problem, Problems};

/// Exit code: it did not work.
pub const FAILED: u8 = 1;
/// Exit code: the command line itself is wrong.
pub const USAGE: u8 = 2;
/// Exit code: a key was rotated, and the old one still lives or was not seen dead.
pub const ALIVE: u8 = 3;
/// Exit code: the configuration is wrong (`EX_CONFIG` of `sysexits.h`).
pub const CONFIG: u8 = 78;

/// A command that failed: what was tried, why it failed, what to do, and the exit code.
#[derive(Debug)]
pub struct Failure {
    what: String,
    source: Option<Box<dyn Error + Send + Sync>>,
    hints: Vec<String>,
    code: u8,
    problems: Option<Problems>,
}

impl Failure {
    /// Something did not work; exit code 1. `what` is lower case, without a full stop.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), source: None, hints: Vec::new(), code: FAILED, problems: None }
    }

    /// The arguments make no sense; exit code 2.
    pub fn usage(what: impl Into<String>) -> Self {
        Self { code: USAGE, ..Self::new(what) }
    }

    /// The configuration is wrong; exit code 78. Every problem is printed with its place.
    pub fn config(what: impl Into<String>, problems: Problems) -> Self {
        Self { code: CONFIG, problems: Some(problems), ..Self::new(what) }
    }

    /// The same with another exit code.
    #[must_use]
    pub fn with_code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// The same with its cause, which may have causes of its own.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same with one more thing to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The exit code.
    pub fn code(&self) -> u8 {
        self.code
    }

    /// What to do about it.
    pub fn hints(&self) -> &[String] {
        &self.hints
    }

    /// The configuration's problems, when it is about these.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().flat_map(|problems| &problems.0)
    }

    /// What failed and every cause, in one line: for machines.
    pub fn chain(&self) -> String {
        let causes = self.causes().map(|cause| format!(": {}", words(cause)));
        self.what.clone() + &causes.collect::<String>()
    }

    fn causes(&self) -> impl Iterator<Item = &(dyn Error + 'static)> {
        let first: Option<&(dyn Error + 'static)> = self.source.as_deref().map(|source| source as _);
        iter::successors(first, |error: &&(dyn Error + 'static)| (*error).source())
    }

    /// Prints it on standard error, with colour when that is a terminal and `NO_COLOR` is not set.
    pub fn print(&self) {
        let mut stderr = io::stderr().lock();
        let colour = stderr.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        // Where standard error is closed there is nobody left to tell.
        let _ = stderr.write_all(self.render(colour).as_bytes());
    }

    fn render(&self, colour: bool) -> String {
        let mut text = String::new();
        if let Some(problems) = &self.problems {
            let _ = writeln!(text, "{problems}");
        }
        let mut line = |label: &str, shade: &str, words: &str| {
            let label = if colour { format!("\x1b[1;{shade}m{label}:\x1b[0m") } else { format!("{label}:") };
            let _ = writeln!(text, "{label} {words}");
        };
        line("error", "31", &self.what);
        self.causes().for_each(|cause| line("caused by", "33", &words(cause)));
        for hint in &self.hints {
            line("hint", "36", hint);
        }
        text
    }
}

/// An error's own words; the system's are brought into our form.
pub fn words(error: &(dyn Error + 'static)) -> String {
    let text = error.to_string();
    if error.downcast_ref::<io::Error>().is_none() {
        return text;
    }
    let text = text.split(" (os error ").next().unwrap_or_default();
    let mut letters = text.chars();
    let acronym = text.chars().nth(1).is_some_and(char::is_uppercase);
    match letters.next() {
        Some(first) if !acronym => first.to_lowercase().chain(letters).collect(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_is_told_once_and_hints_come_last() {
        let missing = io::Error::from_raw_os_error(2);
        let failure =
            Failure::new("cannot read `a.toml`").because(missing).hint("run `keygate init`").hint("or `--config`");
        let expected = "error: cannot read `a.toml`\ncaused by: no such file or directory\n\
                        hint: run `keygate init`\nhint: or `--config`\n";
        assert_eq!(failure.render(false), expected);
    }

    #[test]
    fn colour_is_only_added_never_needed() {
        let failure = Failure::new("it failed").hint("try again");
        let plain = failure.render(true).replace("\x1b[1;31m", "").replace("\x1b[1;36m", "").replace("\x1b[0m", "");
        assert_eq!(plain, failure.render(false));
    }
}
