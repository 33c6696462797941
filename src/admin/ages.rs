//! How the keys in use stand, for the metrics: how old they are, and how many the vault does not confirm.

use std::fmt::Write;

use jiff::Timestamp;

use crate::gateway::Shared;
use crate::vault::Age;

/// Samples for each credential whose vault knows since when it holds it.
pub(super) fn write(out: &mut String, shared: &Shared, now: Timestamp) {
    let (ages, live) = (shared.ring.ages(), shared.live.load());
    let labels =
        |Age { upstream, credential, .. }: &Age| format!("{{upstream=\"{upstream}\",credential=\"{credential}\"}}");
    head(out, "keygate_credential_age_seconds", "How long the vault has held the key in use.");
    for age in &ages {
        let _ = writeln!(out, "keygate_credential_age_seconds{} {}", labels(age), age.seconds(now));
    }
    head(out, "keygate_credential_overdue", "1 while the key is older than `rotate_after` of its upstream.");
    for age in &ages {
        if let Some(Some(limit)) = live.rotate_after.get(age.position) {
            let overdue = u8::from(age.seconds(now) > limit.as_secs());
            let _ = writeln!(out, "keygate_credential_overdue{} {overdue}", labels(age));
        }
    }
}

/// How many credentials are in use that the vault does not confirm at the moment.
pub(super) fn write_unconfirmed(out: &mut String, shared: &Shared) {
    head(
        out,
        "keygate_credentials_unconfirmed",
        "Credentials in use that the vault did not confirm when it was asked last.",
    );
    let _ = writeln!(out, "keygate_credentials_unconfirmed {}", shared.ring.unconfirmed().len());
}

pub(super) fn head(out: &mut String, name: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge");
}
