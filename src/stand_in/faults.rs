//! What goes wrong on purpose: for every call of a server, or for one call by a header.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt::Write as _;
use std::time::Duration;

/// The header that names faults for one call, when the server allows it: `delay=200ms, cut-after=100`.
pub const HEADER: &str = "x-stand-in-faults";

/// Faults; the default is none. They can be combined.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own, and any of them go together")]
pub struct Faults {
    /// Waits so long before the reply's head.
    pub delay: Option<Duration>,
    /// Breaks the connection off after so many bytes of the reply's body; 0 breaks it off before the head.
    pub cut_after_bytes: Option<u64>,
    /// Sends so many bytes of the body, then nothing more, until the client leaves.
    pub stall_after_bytes: Option<u64>,
    /// Answers every so-manieth call with a 500; 1 means all. 0 means none.
    pub error_every: Option<u64>,
    /// Answers every call with a 503 and a page of HTML.
    pub maintenance: bool,
    /// Encodes replies with gzip, whatever the client accepts.
    pub gzip: bool,
    /// Does not tell the reply's length: chunked on HTTP/1.1.
    pub chunked: bool,
    /// Repeats the key that the call came with.
    pub echo_key: Vec<Echo>,
    /// Makes every reply's body at least so many bytes longer, in an extra field of the envelope.
    pub huge_reply_bytes: Option<u64>,
    /// Sends an interim reply with this status (100, 102 or 103) first; HTTP/1.1 only.
    pub early: Option<u16>,
    /// Ends the reply with a trailer field.
    pub trailers: bool,
}

/// One way to repeat the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Echo {
    /// Where.
    pub place: Place,
    /// How.
    pub form: Form,
}

/// Where a key is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the header `x-echo`.
    Header,
    /// In the field `Echo` of the body.
    Body,
}

/// How a key is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As it came.
    Raw,
    /// Every byte as `%XX`.
    Percent,
    /// Standard base64 with padding.
    Base64,
}

/// Why a fault cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAFault {
    /// No such name.
    #[error("`{0}` is not a fault")]
    Name(String),
    /// The value does not fit the name.
    #[error("`{value}` does not fit the fault `{name}`, which takes {expected}")]
    Value {
        /// The fault.
        name: String,
        /// What was given.
        value: String,
        /// What it takes.
        expected: &'static str,
    },
}

impl Faults {
    /// Sets a fault by its name on the command line, without the dashes.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), NotAFault> {
        let bad = |expected| NotAFault::Value { name: name.to_owned(), value: value.to_owned(), expected };
        let number = || value.parse().map_err(|_| bad("a whole number"));
        match name {
            "delay" => self.delay = Some(duration(value).ok_or_else(|| bad("a time such as `200ms` or `2s`"))?),
            "cut-after" => self.cut_after_bytes = Some(number()?),
            "stall-after" => self.stall_after_bytes = Some(number()?),
            "error-every" => self.error_every = Some(number()?),
            "huge-reply" => self.huge_reply_bytes = Some(number()?),
            "maintenance" => self.maintenance = true,
            "gzip" => self.gzip = true,
            "chunked" => self.chunked = true,
            "trailers" => self.trailers = true,
            "early" => self.early = Some(early(value).ok_or_else(|| bad("`100`, `102` or `103`"))?),
            "echo-key" => self
                .echo_key
                .push(echo(value).ok_or_else(|| bad("`header-` or `body-`, then `raw`, `percent` or `base64`"))?),
            _ => return Err(NotAFault::Name(name.to_owned())),
        }
        Ok(())
    }

    /// Adds the faults of a list such as `delay=200ms, gzip`.
    pub fn set_all(&mut self, list: &str) -> Result<(), NotAFault> {
        for item in list.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let (name, value) = item.split_once('=').unwrap_or((item, ""));
            self.set(name.trim(), value.trim())?;
        }
        Ok(())
    }

    /// Whether call number `count` (from 1) is to fail.
    pub fn fails(&self, count: u64) -> bool {
        self.error_every.is_some_and(|every| every > 0 && count.is_multiple_of(every))
    }
}

/// `200ms`, `2s`, or a bare number of milliseconds.
pub fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|each: char| !each.is_ascii_digit()).unwrap_or(text.len()));
    let number = number.parse().ok()?;
    match unit {
        "" | "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        _ => None,
    }
}

fn early(text: &str) -> Option<u16> {
    text.parse().ok().filter(|status| [100, 102, 103].contains(status))
}

fn echo(text: &str) -> Option<Echo> {
    let (place, form) = text.split_once('-')?;
    let place = match place {
        "header" => Place::Header,
        "body" => Place::Body,
        _ => return None,
    };
    let form = match form {
        "raw" => Form::Raw,
        "percent" => Form::Percent,
        "base64" => Form::Base64,
        _ => return None,
    };
    Some(Echo { place, form })
}

impl Form {
    /// The key in this form.
    pub fn write(self, key: &str) -> String {
        match self {
            Self::Raw => key.to_owned(),
            Self::Percent => key.bytes().fold(String::new(), |mut text, byte| {
                // Writing to a string cannot fail.
                let _ = write!(text, "%{byte:02X}");
                text
            }),
            Self::Base64 => STANDARD.encode(key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_sets_several_faults() {
        let mut faults = Faults::default();
        faults.set_all("delay=200ms, cut-after=10,gzip, echo-key=body-base64, echo-key=header-raw, early=103").unwrap();
        assert_eq!(
            (faults.delay, faults.cut_after_bytes, faults.gzip),
            (Some(Duration::from_millis(200)), Some(10), true)
        );
        assert_eq!((faults.echo_key.len(), faults.early), (2, Some(103)));
    }

    #[test]
    fn unknown_names_and_values_are_told() {
        let tell = |list: &str| Faults::default().set_all(list).unwrap_err().to_string();
        assert_eq!(tell("rain"), "`rain` is not a fault");
        for list in ["delay=soon", "cut-after=x", "early=200", "echo-key=body"] {
            assert!(tell(list).contains("does not fit the fault"), "{list}");
        }
    }

    #[test]
    fn every_third_call_fails() {
        let faults = Faults { error_every: Some(3), ..Faults::default() };
        assert_eq!(
            (1..=6).map(|count| faults.fails(count)).collect::<Vec<_>>(),
            [false, false, true, false, false, true]
        );
        assert!(!Faults { error_every: Some(0), ..Faults::default() }.fails(1));
    }

    #[test]
    fn a_key_is_written_in_three_forms() {
        assert_eq!((Form::Percent.write("aZ"), Form::Base64.write("key")), ("%61%5A".to_owned(), "a2V5".to_owned()));
    }
}
