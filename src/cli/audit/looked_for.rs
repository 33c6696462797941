//! What the arguments of `audit find` ask for.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use jiff::Timestamp;

use super::find::Find;
use crate::assemble;
use crate::audit::find::{Field, Named, Wanted};
use crate::audit::{KeyedHash, ParamHasher};
use crate::cli::report::Failure;
use crate::cli::settings;
use crate::config::{Config, nearest, parse_duration, parse_moment};

/// `NAME=VALUE`
#[derive(Clone, Debug)]
pub(super) struct Parameter {
    name: String,
    value: String,
}

impl FromStr for Parameter {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, value) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or("write NAME=VALUE")?;
        Ok(Self { name: name.to_owned(), value: value.to_owned() })
    }
}

/// Reads a status, or its class.
pub(super) fn status(text: &str) -> Result<String, &'static str> {
    let text = text.to_ascii_lowercase();
    let digits = text.strip_suffix("xx").filter(|class| class.len() == 1).or((text.len() == 3).then_some(&*text));
    let good = digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    if good { Ok(text) } else { Err("write a status `404` or a class `4xx`") }
}

/// Reads a record's id or number.
pub(super) fn named(text: &str) -> Result<Named, &'static str> {
    let number = || text.parse().map(Named::Number);
    text.parse().map(Named::Id).or_else(|_| number()).map_err(|_| "write a record's id (a UUID) or its number")
}

/// Names that the configuration knows: a log may have others, of before.
#[derive(Default)]
pub(super) struct Known {
    integrations: Vec<String>,
    upstreams: Vec<String>,
    endpoints: Vec<String>,
}

impl Known {
    /// None where there is no configuration.
    pub(super) fn of(config: &Path) -> Self {
        let Ok(Config { integrations, upstreams, .. }) = settings::load(config) else { return Self::default() };
        let endpoints = upstreams.iter().flat_map(|upstream| upstream.profile.endpoints());
        Self {
            endpoints: endpoints.map(|endpoint| endpoint.name.to_string()).collect(),
            integrations: integrations.iter().map(|it| it.name.to_string()).collect(),
            upstreams: upstreams.iter().map(|it| it.name.to_string()).collect(),
        }
    }

    /// An endpoint as records have it: in whatever case it was written, and a path for all its methods.
    fn endpoint(&self, asked: &str) -> Vec<String> {
        let path = |name: &str| name.split_once(' ').map(|(_, path)| path.to_owned()).unwrap_or_default();
        let is = |name: &&String| name.eq_ignore_ascii_case(asked) || path(name).eq_ignore_ascii_case(asked);
        let meant: Vec<String> = self.endpoints.iter().filter(is).cloned().collect();
        if meant.is_empty() { vec![asked.to_owned()] } else { meant }
    }

    /// What may have been meant by names that are not known.
    pub(super) fn hints(&self, args: &Find) -> Vec<String> {
        let unknown = |what: &str, asked: &[String], known: &[String]| -> Vec<String> {
            let strange = asked.iter().filter(|name| !known.is_empty() && !known.contains(*name));
            let hint = |name: &String| match nearest(name, known.iter().map(String::as_str)) {
                Some(near) => format!("the configuration has no {what} `{name}`; did you mean `{near}`?"),
                None => format!("the configuration has no {what} `{name}`"),
            };
            strange.map(hint).collect()
        };
        let endpoints: Vec<String> = args.endpoint.iter().flat_map(|asked| self.endpoint(asked)).collect();
        let mut hints = unknown("integration", &args.integration, &self.integrations);
        hints.extend(unknown("endpoint", &endpoints, &self.endpoints));
        hints.extend(unknown("upstream", &args.upstream, &self.upstreams));
        hints
    }
}

/// Everything that is asked for.
pub(super) fn looked_for(args: &Find, known: &Known, config: &Path) -> Result<Wanted, Failure> {
    let now = Timestamp::now();
    let time = |text: &Option<String>, end| text.as_ref().map(|text| moment(text, now, end)).transpose();
    Ok(Wanted {
        fields: vec![
            (Field::Kind, args.kind.clone()),
            (Field::Integration, args.integration.clone()),
            (Field::Method, args.method.iter().map(|method| method.to_ascii_uppercase()).collect()),
            (Field::Endpoint, args.endpoint.iter().flat_map(|asked| known.endpoint(asked)).collect()),
            (Field::Verdict, args.verdict.clone()),
            (Field::Refusal, args.refusal.clone()),
            (Field::Status, args.status.clone()),
            (Field::Upstream, args.upstream.clone()),
            (Field::Outcome, args.outcome.clone()),
            (Field::Event, args.event.clone()),
        ],
        records: args.record.clone(),
        peers: args.peer.clone(),
        params: params(args, config)?,
        since: time(&args.since, false)?,
        until: time(&args.until, true)?,
    })
}

/// The hashes of the parameters, those of one name together.
fn params(args: &Find, config: &Path) -> Result<Vec<Vec<KeyedHash>>, Failure> {
    if args.param.is_empty() {
        return Ok(Vec::new());
    }
    let hasher = hasher(args, config)?;
    let mut params: BTreeMap<String, Vec<KeyedHash>> = BTreeMap::new();
    for Parameter { name, value } in &args.param {
        let hash = hasher.hash(name, value.as_bytes());
        params.entry(name.to_ascii_lowercase()).or_default().push(hash);
    }
    Ok(params.into_values().collect())
}

fn hasher(args: &Find, config: &Path) -> Result<ParamHasher, Failure> {
    if let Some(path) = &args.hash_key {
        return assemble::hasher(path);
    }
    let config = settings::load(config).map_err(|error| {
        error.hint(
            "name the key of the log's hashes with `--hash-key FILE`: `audit-hash.key` beside the gate's configuration",
        )
    })?;
    assemble::hasher(&config.audit.hash_key)
}

/// Reads a time; a date ends with its last moment when it is an end.
fn moment(text: &str, now: Timestamp, end: bool) -> Result<Timestamp, Failure> {
    let word = text.trim();
    let ago = word.strip_suffix(" ago").unwrap_or(word);
    let ago = ago.strip_prefix('-').unwrap_or(ago);
    let before = |ago| now.checked_sub(ago).ok();
    let far = || Failure::usage(format!("`{text}` is too far away"));
    if let Ok(ago) = parse_duration(ago) {
        return before(ago).ok_or_else(far);
    }
    let time = parse_moment(word).map_err(|wrong| {
        Failure::usage(wrong.what).hint(format!("{}, or how long ago: `2h`, `30m`, `7d`", wrong.remedy))
    })?;
    let day = std::time::Duration::from_secs(24 * 3600);
    let is_date = word.len() == 10;
    if end && is_date { time.checked_add(day).map_err(|_| far()) } else { Ok(time) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_date_a_moment_or_how_long_ago() {
        let now: Timestamp = "2026-11-28T12:00:00Z".parse().unwrap();
        let read = |text, end| moment(text, now, end).map(|time| time.to_string()).map_err(|error| error.chain());
        for ago in ["2h", "-2h", "2h ago", "120min"] {
            assert_eq!(read(ago, false).unwrap(), "2026-11-28T10:00:00Z", "{ago}");
        }
        assert_eq!(read("2026-11-01", false).unwrap(), "2026-11-01T00:00:00Z");
        assert_eq!(read("2026-11-01", true).unwrap(), "2026-11-02T00:00:00Z");
        assert_eq!(read("2026-11-01T09:00:00+02:00", true).unwrap(), "2026-11-01T07:00:00Z");
        assert_eq!(read("yesterday", false).unwrap_err(), "`yesterday` is no point in time");
    }

    #[test]
    fn what_is_no_status_record_or_parameter_is_refused() {
        assert!(["404", "4xx", "5XX"].iter().all(|text| status(text).is_ok()));
        assert!(["40", "4xxx", "xx", "abc", "40xx", ""].iter().all(|text| status(text).is_err()));
        assert_eq!(named("17"), Ok(Named::Number(17)));
        assert!(named("01a20bf9-9961-750d-ab3b-bf0af6caaf65").is_ok() && named("x").is_err());
        assert!(
            "a=".parse::<Parameter>().is_ok()
                && "a".parse::<Parameter>().is_err()
                && "=a".parse::<Parameter>().is_err()
        );
    }
}
