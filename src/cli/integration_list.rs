//! `keygate integration list`: who may call, and until when.

use std::path::Path;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use crate::config::{Config, Integration, Rule};

use super::output::{self, table};
use super::report::Failure;
use super::settings;

/// Arguments of `integration list`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  keygate integration list\n  \
    keygate integration list --json | jq -r '.[] | select(.state == \"expired\") | .name'")]
pub struct List {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Entry<'a> {
    name: &'a str,
    upstream: &'a str,
    /// `active`, `expired` or `revoked`.
    state: &'static str,
    expires: Option<Timestamp>,
    /// Until when the key before the last rotation may still be used.
    old_key_until: Option<Timestamp>,
    allow: Vec<&'a str>,
    deny: Vec<&'a str>,
    limit: Option<String>,
    owner: Option<&'a str>,
}

/// Runs it.
pub fn run(args: &List, path: &Path) -> Result<(), Failure> {
    let config = settings::load(path)?;
    let now = Timestamp::now();
    let entries: Vec<Entry> = config.integrations.iter().map(|it| entry(&config, it, now)).collect();
    if args.json {
        return output::json(&entries);
    }
    if entries.is_empty() {
        output::note("there is no integration yet; `keygate integration add` makes one\n");
        return Ok(());
    }
    let mut rows =
        vec![["name", "upstream", "state", "expires", "allow", "deny", "limit", "owner"].map(str::to_owned).to_vec()];
    rows.extend(entries.iter().map(Entry::row));
    output::result(&table(&rows))
}

fn entry<'a>(config: &'a Config, it: &'a Integration, now: Timestamp) -> Entry<'a> {
    Entry {
        name: &it.name,
        upstream: &config.upstreams[it.upstream].name,
        state: match it.expires {
            _ if it.revoked => "revoked",
            Some(end) if end <= now => "expired",
            _ => "active",
        },
        expires: it.expires,
        old_key_until: it.keys.iter().filter_map(|key| key.until).find(|until| *until > now),
        allow: texts(&it.allow),
        deny: texts(&it.deny),
        limit: it.limit.map(|limit| limit.to_string()),
        owner: it.owner.as_deref(),
    }
}

fn texts(rules: &[Rule]) -> Vec<&str> {
    rules.iter().map(|rule| &*rule.text).collect()
}

impl Entry<'_> {
    fn row(&self) -> Vec<String> {
        let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
        vec![
            self.name.to_owned(),
            self.upstream.to_owned(),
            self.state.to_owned(),
            self.expires.map_or_else(|| "-".to_owned(), |end| end.to_string()),
            or_dash(self.allow.join(", ")),
            or_dash(self.deny.join(", ")),
            or_dash(self.limit.clone().unwrap_or_default()),
            or_dash(self.owner.unwrap_or_default().to_owned()),
        ]
    }
}
