//! Reads a request target the way ASP.NET's server does: percent-decoded, dot segments resolved, names in any case.
//!
//! That is on purpose: a client or a proxy that judges a path by another reading is found out here.

use super::envelope::Problem;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// The most characters that a target may have (the API documents 1,048 for the whole address).
pub const MAX_TARGET: usize = 1_048;

/// A target, taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// Decoded path segments; an empty one stands for `//`.
    pub segments: Vec<String>,
    /// The query.
    pub query: Query,
}

/// Query pairs in order; names in lower case.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Target {
    /// Reads a path (beginning with `/`) and a query (without `?`).
    pub fn parse(path: &str, query: Option<&str>) -> Self {
        let decoded = decode_path(path);
        let mut segments: Vec<String> = Vec::new();
        for segment in decoded.trim_start_matches('/').split('/') {
            match segment {
                "." => {}
                ".." => drop(segments.pop()),
                other => segments.push(other.to_owned()),
            }
        }
        // Routing there does not mind one slash at the end.
        if segments.last().is_some_and(String::is_empty) {
            segments.pop();
        }
        Self { segments, query: Query::parse(query.unwrap_or_default()) }
    }
}

impl Query {
    /// Reads `name=value&name=value`, percent- and plus-decoded.
    pub fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode_query(name).to_ascii_lowercase(), decode_query(value))
        });
        Self(pairs.collect())
    }

    /// All values of a name, given in lower case. `name` and `name[]` and `name[0]` are the same to the API.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.0.iter().filter(move |(key, _)| key.split('[').next() == Some(name)).map(|(_, value)| value.as_str())
    }

    /// The first value of a name, given in lower case, unless it is empty.
    pub fn one<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.all(name).next().filter(|value| !value.is_empty())
    }

    /// A filter that lets everything through when it is not given.
    pub fn admits(&self, name: &str, value: &str) -> bool {
        let mut wanted = self.all(name).peekable();
        wanted.peek().is_none() || wanted.any(|each| each.eq_ignore_ascii_case(value))
    }

    /// A number.
    pub fn number(&self, name: &str) -> Result<Option<usize>, Problem> {
        self.one(name).map(|text| text.parse().map_err(|_| not_valid(name, text))).transpose()
    }

    /// A switch.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, Problem> {
        let read = |text: &str| match text.to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(not_valid(name, text)),
        };
        self.one(name).map(read).transpose()
    }

    /// A date, with or without an offset; without one it is UTC.
    pub fn date(&self, name: &str) -> Result<Option<Timestamp>, Problem> {
        let read = |text: &str| {
            let local = || TimeZone::UTC.to_timestamp(text.parse::<DateTime>().ok()?).ok();
            text.parse().ok().or_else(local).ok_or_else(|| not_valid(name, text))
        };
        self.one(name).map(read).transpose()
    }

    /// Whether `moment` lies from `from` (inclusive) to `to` (exclusive), two names of dates.
    pub fn within(&self, from: &str, to: &str, moment: Option<Timestamp>) -> Result<bool, Problem> {
        let (from, to) = (self.date(from)?, self.date(to)?);
        let Some(moment) = moment else { return Ok(from.is_none() && to.is_none()) };
        Ok(from.is_none_or(|from| moment >= from) && to.is_none_or(|to| moment < to))
    }

    /// `page`, which counts from 1; the result counts from 0.
    pub fn page(&self) -> Result<usize, Problem> {
        match self.number("page")? {
            None => Ok(0),
            Some(0) => Err(Problem::invalid_field("page", "'page' must be greater than '0'.")),
            Some(page) => Ok(page - 1),
        }
    }

    /// `pageIndex` from 0 and `pageSize` up to 500.
    pub fn page_index(&self) -> Result<(usize, usize), Problem> {
        let size = self.number("pagesize")?.unwrap_or(100);
        if size == 0 || size > 500 {
            return Err(Problem::invalid_field("pageSize", "'pageSize' must be between '1' and '500'."));
        }
        Ok((self.number("pageindex")?.unwrap_or(0), size))
    }
}

fn not_valid(name: &str, text: &str) -> Problem {
    Problem::invalid_field(name, format!("The value '{text}' is not valid."))
}

/// Decodes a path, all but `%2F`, which stays as it is.
fn decode_path(path: &str) -> String {
    decode(path.as_bytes(), |byte| byte != b'/', false)
}

fn decode_query(text: &str) -> String {
    decode(text.as_bytes(), |_| true, true)
}

fn decode(text: &[u8], takes: impl Fn(u8) -> bool, plus: bool) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match escape(byte, after).filter(|&value| takes(value)) {
            Some(value) => {
                out.push(value);
                rest = after.get(2..).unwrap_or_default();
            }
            None if plus && byte == b'+' => out.push(b' '),
            None => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The byte that `%` and the two digits after it stand for.
fn escape(byte: u8, after: &[u8]) -> Option<u8> {
    let (b'%', [high, low, ..]) = (byte, after) else { return None };
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(path: &str) -> Vec<String> {
        Target::parse(path, None).segments
    }

    #[test]
    fn a_path_is_decoded_and_its_dots_are_resolved() {
        assert_eq!(segments("/api/v2/%70roducts/A%2FB%20C"), ["api", "v2", "products", "A%2FB C"]);
        assert_eq!(segments("/api/v2/orders/%2e%2e/settings"), ["api", "v2", "settings"]);
        assert_eq!(segments("/../../api"), ["api"]);
        assert_eq!(segments("/api/v2/orders/"), ["api", "v2", "orders"]);
    }

    #[test]
    fn broken_escapes_stay_as_they_are() {
        assert_eq!(segments("/a%/b%4/c%zz"), ["a%", "b%4", "c%zz"]);
    }

    #[test]
    fn query_names_are_found_in_any_case_and_repeat() {
        let query = Query::parse("STATUSES=NEW&statuses=IN_PROGRESS&api%4Bey=a%2Bb+c");
        assert_eq!(query.all("statuses").collect::<Vec<_>>(), ["NEW", "IN_PROGRESS"]);
        assert_eq!(query.one("apikey"), Some("a+b c"));
        assert!(query.admits("statuses", "new") && !query.admits("statuses", "SHIPPED") && query.admits("none", "x"));
    }

    #[test]
    fn pages_count_from_one_and_page_indexes_from_nought() {
        assert_eq!(Query::parse("page=2").page(), Ok(1));
        assert!(Query::parse("page=0").page().is_err());
        assert!(Query::parse("page=-1").page().is_err());
        assert_eq!(Query::parse("pageIndex=2&pageSize=500").page_index(), Ok((2, 500)));
        assert!(Query::parse("pageSize=501").page_index().is_err());
    }

    #[test]
    fn dates_are_read_with_and_without_an_offset() {
        let query = Query::parse("a=2026-01-02T03:04:05Z&b=2026-01-02T03:04:05&c=2026-01-02&d=soon");
        assert_eq!(query.date("a"), query.date("b"));
        assert!(query.date("c").is_ok() && query.date("d").is_err());
    }
}
