//! Where problems are gathered while a file is read, with the small readers that every section uses.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::field::{Field, Leaf, List};
use super::{Problem, Problems, Wrong};

/// A value and its place in the file.
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

/// Gathers problems. A reader that finds one reports it and hands back the default, so that reading goes on.
pub(super) struct Desk<'a> {
    file: String,
    text: &'a str,
    base_dir: &'a Path,
    problems: Vec<Problem>,
    /// Keys that were evidently meant but misspelt: reported already, so not missed a second time.
    excused: BTreeSet<String>,
}

impl<'a> Desk<'a> {
    pub(super) fn new(file_name: &str, text: &'a str, base_dir: &'a Path) -> Self {
        Self { file: file_name.to_owned(), text, base_dir, problems: Vec::new(), excused: BTreeSet::new() }
    }

    pub(super) fn report(&mut self, span: Range<usize>, key: &str, wrong: Wrong) {
        self.problems.push(Problem::new(&self.file, self.text, span, key, wrong));
    }

    /// A problem of another file.
    pub(super) fn report_foreign(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    pub(super) fn excuse(&mut self, key: &str) {
        self.excused.insert(key.to_owned());
    }

    /// `Ok` when nothing was reported.
    pub(super) fn close<T>(self, value: T) -> Result<T, Problems> {
        if self.problems.is_empty() { Ok(value) } else { Err(self.into_problems()) }
    }

    /// By place, the configuration's own before those of other files.
    pub(super) fn into_problems(mut self) -> Problems {
        let own = self.file;
        self.problems.sort_by_key(|problem| (problem.file != own, problem.file.clone(), problem.line, problem.column));
        Problems(self.problems)
    }

    /// Keeps a value, or reports why there is none.
    pub(super) fn keep<T>(&mut self, span: Range<usize>, key: &str, result: Result<T, Wrong>) -> Option<T> {
        result.map_err(|wrong| self.report(span, key, wrong)).ok()
    }

    /// A value that may be absent.
    pub(super) fn optional<T: Leaf>(&mut self, key: &str, field: Option<Field<T>>) -> Option<At<T>> {
        let Field { span, value } = field?;
        let named = |wrong: Wrong| Wrong::new(format!("`{key}`: {}", wrong.what), wrong.remedy);
        let value = self.keep(span.clone(), key, value.map_err(named))?;
        Some(At { value, span })
    }

    /// A value that must be there; `home` is where its section begins.
    pub(super) fn required<T: Leaf>(
        &mut self,
        key: &str,
        field: Option<Field<T>>,
        home: &Range<usize>,
        remedy: &str,
    ) -> Option<At<T>> {
        if field.is_none() {
            self.missing(key, home, remedy);
        }
        self.optional(key, field)
    }

    /// Reports that a required key is not there.
    pub(super) fn missing(&mut self, key: &str, home: &Range<usize>, remedy: &str) {
        if !self.excused.contains(key) {
            self.report(home.clone(), key, Wrong::new(format!("`{key}` is missing"), remedy));
        }
    }

    /// A text that is read by `read`; the default when it is absent or refused.
    pub(super) fn read<T>(
        &mut self,
        key: &str,
        field: Option<Field<String>>,
        default: T,
        read: impl FnOnce(&str) -> Result<T, Wrong>,
    ) -> T {
        let Some(At { value, span }) = self.optional(key, field) else { return default };
        self.keep(span, key, read(&value)).unwrap_or(default)
    }

    /// A number that must not be 0.
    pub(super) fn positive(&mut self, key: &str, field: Option<Field<u32>>, default: u32) -> u32 {
        let Some(At { value, span }) = self.optional(key, field) else { return default };
        if value > 0 {
            return value;
        }
        let wrong = Wrong::new(format!("`{key}` must not be 0"), format!("the default is {default}"));
        self.report(span, key, wrong);
        default
    }

    /// A path, joined to the configuration's folder.
    pub(super) fn path(&mut self, key: &str, field: Option<Field<String>>, default: &str) -> PathBuf {
        let default = self.base_dir.join(default);
        let base_dir = self.base_dir;
        self.read(key, field, default, |text| join(base_dir, text))
    }

    /// A path that is read by other means, joined likewise.
    pub(super) fn join(&self, text: &str) -> Result<PathBuf, Wrong> {
        join(self.base_dir, text)
    }

    /// The readable entries of a list; absent is empty.
    pub(super) fn list(&mut self, key: &str, list: Option<List>) -> Vec<At<String>> {
        let Some(List { span, entries }) = list else { return Vec::new() };
        let named = |found| Wrong::new(format!("`{key}`: {}", List::wrong(found).what), List::wrong(found).remedy);
        let entries = self.keep(span, key, entries.map_err(named)).unwrap_or_default();
        entries.into_iter().filter_map(|entry| self.optional(key, Some(entry))).collect()
    }
}

/// Joins a path to the configuration's folder. Nothing but the folder is added: no `~`, no variables.
fn join(base_dir: &Path, text: &str) -> Result<PathBuf, Wrong> {
    if text.is_empty() || text.contains('\0') {
        return Err(Wrong::new("a path must not be empty", "paths are relative to this file's folder, or absolute"));
    }
    if text.starts_with('~') || text.contains('$') {
        let remedy = "write the path out; it is relative to this file's folder, or absolute";
        return Err(Wrong::new(format!("`{text}`: `~` and variables are not expanded"), remedy));
    }
    Ok(base_dir.join(text))
}
