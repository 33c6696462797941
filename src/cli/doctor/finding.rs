//! What the doctor found: how bad it is, where, what, and what to do.

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing; may be meant so.
    Note,
    /// Works now and will not for ever, or works worse than it could.
    Warn,
    /// Does not work.
    Fail,
}

/// One of them.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    pub(super) level: Level,
    /// `vault`, `certificate`, `upstream`, `clock`, `disk`, `files`, `limits`, `memory`, `trust`.
    pub(super) area: &'static str,
    pub(super) what: String,
    /// What to do about it; empty when it is as it should be.
    #[serde(rename = "do", skip_serializing_if = "String::is_empty")]
    pub(super) remedy: String,
}

/// As it should be.
pub(super) fn fine(area: &'static str, what: impl Into<String>) -> Finding {
    Finding { level: Level::Ok, area, what: what.into(), remedy: String::new() }
}

/// Not as it should be.
pub(super) fn not_fine(
    level: Level,
    area: &'static str,
    what: impl Into<String>,
    remedy: impl Into<String>,
) -> Finding {
    Finding { level, area, what: what.into(), remedy: remedy.into() }
}
