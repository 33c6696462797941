//! A request target through its one reading: what is let through can be read in one way only.

use std::cell::LazyCell;

use http::{HeaderMap, HeaderValue, Method};
use keygate::policy::target::{read_path, read_query};
use keygate::policy::{Policy, scoped_key};

use super::gate;

const METHODS: [Method; 5] = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

thread_local! {
    static POLICY: LazyCell<Policy> = LazyCell::new(|| Policy::new(&gate::config()));
}

/// Nothing panics; the canonical spelling reads as itself; what goes upstream is judged again in the same way.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (path, query) = text.split_once('?').map_or((text, None), |(path, query)| (path, Some(query)));
    if let Ok(segments) = read_path(path) {
        let canonical = segments.iter().fold(String::new(), |all, segment| all + "/" + segment.canonical());
        let again = read_path(if canonical.is_empty() { "/" } else { &canonical }).expect("the canonical form is read");
        assert_eq!(segments.len(), again.len());
        for (first, second) in segments.iter().zip(&again) {
            assert_eq!((first.decoded(), first.canonical()), (second.decoded(), second.canonical()), "{canonical}");
            assert!(!first.decoded().contains(['/', '\\', ';', '\0']) && !["", ".", ".."].contains(&first.decoded()));
        }
    }
    for pair in read_query(query.unwrap_or_default()).unwrap_or_default() {
        assert!(!pair.raw.contains(['&', ';', '#', ' ']) && !pair.name.contains(char::is_control), "{}", pair.raw);
    }
    POLICY.with(|policy| METHODS.iter().for_each(|method| judge(policy, method, path, query)));
}

fn judge(policy: &Policy, method: &Method, path: &str, query: Option<&str>) {
    let mut headers = HeaderMap::new();
    headers.insert("x-ce-key", HeaderValue::from_str(&gate::scoped_key()).unwrap());
    let sent = |path: &str, query: Option<&str>| {
        let query = policy.query(query).ok()?;
        let client = policy.identify(&headers, &query, jiff::Timestamp::UNIX_EPOCH).ok()?;
        let call = policy.read(&client, method, path, query).ok()?;
        Some((call.index(), call.target("/api")))
    };
    let Some((index, target)) = sent(path, query) else { return };
    let (path, query) = target.split_once('?').map_or((&*target, None), |(path, query)| (path, Some(query)));
    for pair in read_query(query.unwrap_or_default()).expect("what goes upstream can be read") {
        let is_key = |text: &str| scoped_key::check(text.as_bytes()).is_ok();
        assert!(!is_key(&pair.name) && !is_key(&pair.value), "a scoped key goes upstream: {target}");
    }
    assert_eq!(sent(path, query), Some((index, target.clone())), "what goes upstream is judged in another way");
    assert!(target.parse::<http::uri::PathAndQuery>().is_ok(), "{target}");
}
