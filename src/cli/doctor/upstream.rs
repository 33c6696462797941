//! Each upstream's TLS and clock, and the gate's own certificate.

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::super::report::Failure;
use super::certificate::facts;
use super::finding::{Finding, Level, fine, not_fine};
use super::span;
use crate::config::{Config, Listen, Upstream};
use crate::server::tls::read_certificate;
use crate::upstream::{Probe, UpstreamError, client_config, probe};

const DAY: i64 = 86_400;
/// A certificate that ends sooner is worth a warning: our own is renewed by hand.
const OWN_DAYS: i64 = 30;
/// Those of merchant APIs are renewed by machines, mostly some weeks ahead.
const UPSTREAM_DAYS: i64 = 10;
/// Clocks that differ by more mislead whoever compares two logs, seconds; `Date` has whole seconds and took its time.
const CLOCK: i64 = 5;
/// With more, certificates and keys end at another time than they say, seconds.
const CLOCK_WRONG: i64 = 120;

pub(super) fn look(config: &Config) -> Vec<Finding> {
    let mut findings = vec![own_certificate(&config.listen)];
    for upstream in &config.upstreams {
        findings.extend(one(upstream));
    }
    findings
}

fn own_certificate(listen: &Listen) -> Finding {
    const AREA: &str = "certificate";
    let remedy = "`keygate init` in a new folder makes a CA and a certificate; put both files where `[listen]` names them, \
                  and give the new `ca.pem` to the clients";
    if let Err(error) = read_certificate(&listen.certificate, &listen.private_key) {
        return not_fine(Level::Fail, AREA, Failure::new("the server certificate").because(error).chain(), remedy);
    }
    let leaf = CertificateDer::pem_file_iter(&listen.certificate).ok().and_then(|mut all| all.next()?.ok());
    let name = listen.certificate.display();
    lasts(AREA, &format!("`{name}`"), leaf.as_deref(), OWN_DAYS, remedy)
}

/// Whether a certificate is valid now, and for how long.
fn lasts(area: &'static str, name: &str, der: Option<&[u8]>, days: i64, remedy: &str) -> Finding {
    let Some(facts) = der.and_then(facts) else {
        return not_fine(Level::Warn, area, format!("{name}: its dates cannot be read"), remedy);
    };
    let now = Timestamp::now().as_second();
    let left = facts.until.as_second() - now;
    let until = facts.until;
    if now < facts.from.as_second() {
        let remedy = "set this machine's clock, or wait";
        return not_fine(Level::Fail, area, format!("{name} is valid from {} on only", facts.from), remedy);
    }
    if left < 0 {
        return not_fine(Level::Fail, area, format!("{name} ended on {until}"), remedy);
    }
    let what = format!("{name} is valid for {} (until {until})", span(left));
    if left < days * DAY { not_fine(Level::Warn, area, what, remedy) } else { fine(area, what) }
}

fn one(upstream: &Upstream) -> Vec<Finding> {
    const AREA: &str = "upstream";
    let name = &upstream.name;
    let failed = |failure: &Failure, remedy: &str| vec![not_fine(Level::Fail, AREA, failure.chain(), remedy)];
    let tls = match client_config(upstream.trust_roots.as_deref()) {
        Ok(tls) => tls,
        Err(error) => {
            let failure = Failure::new(format!("`{name}`: its trust roots")).because(error);
            return failed(&failure, "`trust_roots` names a PEM file with CA certificates, or `mozilla`");
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let seen = match runtime.map(|runtime| runtime.block_on(probe(upstream, &tls))) {
        Ok(Some(seen)) => seen,
        Ok(None) => {
            return failed(
                &Failure::new(format!("`{name}`: its host is no name for a certificate")),
                "mend `base_url`",
            );
        }
        Err(error) => {
            return failed(&Failure::new("cannot start a runtime").because(error), "free some memory or descriptors");
        }
    };
    match seen {
        Ok(seen) => vec![connected(name, &seen), chain(name, &seen), clock(name, &seen)],
        Err(error) => {
            let remedy = remedy(&error);
            failed(&Failure::new(format!("`{name}` at {}", upstream.base_url)).because(error), remedy)
        }
    }
}

fn remedy(error: &UpstreamError) -> &'static str {
    match error {
        UpstreamError::Tls(_) => {
            "its certificate must be signed by a CA of `trust_roots`, be valid now, and name this host; `openssl s_client \
             -connect HOST:443` shows it"
        }
        _ => {
            "can this machine reach it: DNS, a firewall, a proxy in between? `addresses` says where to connect instead of DNS"
        }
    }
}

fn connected(name: &str, seen: &Probe) -> Finding {
    let Probe { version, suite, answer, .. } = seen;
    if let Some((status, _)) = answer {
        return fine(
            "upstream",
            format!("`{name}` answers ({status} to a call without a key) over {version}, {suite}"),
        );
    }
    let remedy = "is it the merchant API that listens there? mend `base_url` or `addresses`";
    not_fine(Level::Warn, "upstream", format!("`{name}` speaks {version}, but no HTTP came back"), remedy)
}

fn chain(name: &str, seen: &Probe) -> Finding {
    let remedy = "whoever runs the merchant API must renew it; tell them";
    let ends = |der: &&Vec<u8>| facts(der).map(|facts| facts.until);
    // The one that ends first ends the trust in all.
    let first = seen.chain.iter().min_by_key(ends);
    let shown = format!("`{name}` shows {} certificates, verified; the one that ends first", seen.chain.len());
    lasts("upstream", &shown, first.map(Vec::as_slice), UPSTREAM_DAYS, remedy)
}

fn clock(name: &str, seen: &Probe) -> Finding {
    let date = seen.answer.as_ref().and_then(|(_, date)| date.as_deref());
    let told = date.and_then(|date| DateTimeParser::new().parse_timestamp(date.trim()).ok());
    let Some(told) = told else {
        let remedy = "compare this machine's clock by hand: `timedatectl`";
        return not_fine(Level::Note, "clock", format!("`{name}` does not tell the time"), remedy);
    };
    let off = Timestamp::now().as_second() - told.as_second();
    let side = if off > 0 { "ahead of" } else { "behind" };
    let remedy = "let this machine keep time by itself: `timedatectl set-ntp true`, or chrony";
    match off.abs() {
        0..=CLOCK => fine("clock", format!("this machine's clock and that of `{name}` agree")),
        seconds => {
            let level = if seconds > CLOCK_WRONG { Level::Fail } else { Level::Warn };
            not_fine(level, "clock", format!("this machine's clock is {seconds} s {side} that of `{name}`"), remedy)
        }
    }
}
