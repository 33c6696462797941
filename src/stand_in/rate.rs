//! Rate limits per key and endpoint in fixed windows, with the header forms that the API shows.

use super::envelope::Answer;
use http::StatusCode;
use http::header::{HeaderName, HeaderValue, RETRY_AFTER};
use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;
use std::str::FromStr;

/// So many calls in so long a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rate {
    /// Calls admitted in one window.
    pub calls: u64,
    /// The window as the API writes it: `1s`, `15m`, `1h`, `1d`.
    pub period: String,
    seconds: i64,
}

/// Why a rate cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a rate of the form `60/1m` (calls, `/`, whole seconds `s`, minutes `m`, hours `h` or days `d`)")]
pub struct NotARate(String);

impl FromStr for Rate {
    type Err = NotARate;

    fn from_str(text: &str) -> Result<Self, NotARate> {
        let bad = || NotARate(text.to_owned());
        let (calls, period) = text.split_once('/').ok_or_else(bad)?;
        let (number, unit) = period.split_at_checked(period.len().saturating_sub(1)).ok_or_else(bad)?;
        let unit: i64 = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            _ => return Err(bad()),
        };
        let number: i64 = number.parse().map_err(|_| bad())?;
        let seconds =
            number.checked_mul(unit).filter(|seconds| (1..=86_400 * 366).contains(seconds)).ok_or_else(bad)?;
        Ok(Self { calls: calls.trim().parse().map_err(|_| bad())?, period: period.to_owned(), seconds })
    }
}

/// Which limits hold.
#[derive(Debug, Clone, Default)]
pub struct RateLimits {
    /// For every endpoint without one of its own; `None` sends no rate-limit headers either.
    pub every: Option<Rate>,
    /// For single endpoints, written `PUT /v2/offer` in any case.
    pub endpoints: Vec<(String, Rate)>,
}

impl RateLimits {
    /// A limit that no test or benchmark meets, so that the headers are there and nothing is refused.
    pub fn generous() -> Self {
        let every = Rate { calls: 1_000_000_000, period: "1m".to_owned(), seconds: 60 };
        Self { every: Some(every), endpoints: Vec::new() }
    }

    fn of(&self, endpoint: &str) -> Option<&Rate> {
        let own = self.endpoints.iter().find(|(name, _)| name.eq_ignore_ascii_case(endpoint));
        own.map(|(_, rate)| rate).or(self.every.as_ref())
    }
}

/// The counters.
#[derive(Debug, Default)]
pub struct Limiter {
    limits: RateLimits,
    windows: HashMap<(usize, &'static str), Window>,
}

#[derive(Debug)]
struct Window {
    start: Timestamp,
    calls: u64,
}

/// What the limiter says of a call.
#[derive(Debug)]
pub enum Verdict {
    /// Passed; these headers go with the answer.
    Passed(Vec<(HeaderName, HeaderValue)>),
    /// Too many; this is the answer.
    Refused(Answer),
}

impl Limiter {
    /// A limiter with empty windows.
    pub fn new(limits: RateLimits) -> Self {
        Self { limits, windows: HashMap::new() }
    }

    /// Counts a call of key number `key` to `endpoint` (method and template).
    pub fn take(&mut self, key: usize, endpoint: &'static str, now: Timestamp) -> Verdict {
        let Some(rate) = self.limits.of(endpoint) else { return Verdict::Passed(Vec::new()) };
        let period = SignedDuration::from_secs(rate.seconds);
        let window = self.windows.entry((key, endpoint)).or_insert(Window { start: now, calls: 0 });
        if now.duration_since(window.start) >= period {
            *window = Window { start: now, calls: 0 };
        }
        let reset = window.start.saturating_add(period).unwrap_or(now);
        if window.calls >= rate.calls {
            return Verdict::Refused(refusal(rate, reset.duration_since(now)));
        }
        window.calls += 1;
        Verdict::Passed(headers(rate, rate.calls - window.calls, reset))
    }
}

/// `X-Rate-Limit-Limit` is the period, not a count: so does the library that the API seems to use, and so says its page.
fn headers(rate: &Rate, remaining: u64, reset: Timestamp) -> Vec<(HeaderName, HeaderValue)> {
    let named = [
        ("x-rate-limit-limit", HeaderValue::from_str(&rate.period)),
        ("x-rate-limit-remaining", Ok(HeaderValue::from(remaining))),
        ("x-rate-limit-reset", HeaderValue::try_from(format!("{reset:.7}"))),
    ];
    named.into_iter().filter_map(|(name, value)| Some((HeaderName::from_static(name), value.ok()?))).collect()
}

fn refusal(rate: &Rate, wait: SignedDuration) -> Answer {
    let text = format!("API calls quota exceeded! maximum admitted {} per {}.", rate.calls, rate.period);
    let mut answer = Answer::plain(StatusCode::TOO_MANY_REQUESTS, "text/plain", text);
    // Rounded up, so that who waits as long as told is not refused again.
    let seconds = wait.as_secs() + i64::from(wait.subsec_nanos() > 0);
    answer.headers.push((RETRY_AFTER, HeaderValue::from(seconds.max(1))));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn limiter() -> Limiter {
        let own = ("put /V2/offer".to_owned(), "1/1m".parse().unwrap());
        Limiter::new(RateLimits { every: Some("2/1m".parse().unwrap()), endpoints: vec![own] })
    }

    fn passes(limiter: &mut Limiter, key: usize, endpoint: &'static str, now: i64) -> bool {
        matches!(limiter.take(key, endpoint, at(now)), Verdict::Passed(_))
    }

    #[test]
    fn a_window_ends_after_its_period() {
        let mut limiter = limiter();
        assert!(passes(&mut limiter, 0, "GET /a", 0) && passes(&mut limiter, 0, "GET /a", 30));
        assert!(!passes(&mut limiter, 0, "GET /a", 59) && passes(&mut limiter, 0, "GET /a", 60));
    }

    #[test]
    fn keys_and_endpoints_are_counted_apart() {
        let mut limiter = limiter();
        assert!(passes(&mut limiter, 0, "PUT /v2/offer", 0) && !passes(&mut limiter, 0, "PUT /v2/offer", 0));
        assert!(passes(&mut limiter, 1, "PUT /v2/offer", 0) && passes(&mut limiter, 0, "GET /a", 0));
    }

    #[test]
    fn a_refusal_says_how_long_to_wait_in_plain_text() {
        let mut limiter = limiter();
        limiter.take(0, "PUT /v2/offer", at(0));
        let Verdict::Refused(answer) = limiter.take(0, "PUT /v2/offer", at(20)) else { panic!("passed") };
        assert_eq!(answer.status, 429);
        assert_eq!(&answer.body[..], b"API calls quota exceeded! maximum admitted 1 per 1m.");
        assert!(answer.headers.contains(&(RETRY_AFTER, HeaderValue::from_static("40"))));
    }

    #[test]
    fn a_passed_call_tells_period_rest_and_reset() {
        let Verdict::Passed(headers) = limiter().take(0, "GET /a", at(0)) else { panic!("refused") };
        let values: Vec<&str> = headers.iter().map(|(_, value)| value.to_str().unwrap()).collect();
        assert_eq!(values, ["1m", "1", "1970-01-01T00:01:00.0000000Z"]);
    }

    #[test]
    fn odd_rates_are_refused() {
        for text in ["", "60", "60/", "60/m", "x/1m", "60/0s", "60/1y", "60/-1m", "60/99999999999d", "60/1\u{e9}"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }
}
