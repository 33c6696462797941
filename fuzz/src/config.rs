//! A configuration through its check, and what is compiled from one that is good.

use std::path::Path;

use keygate::policy::Policy;

/// Nothing panics; a bad text gets at least one problem, each told in words; a good one can be run on.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let profile = keygate::profile::source("mirakl").unwrap();
    let read = |path: &Path| if path.ends_with("own.toml") { Ok(profile.to_owned()) } else { Ok(text.to_owned()) };
    match keygate::config::check(text, "keygate.toml", Path::new("/etc/keygate"), &read) {
        Ok(config) => {
            let policy = Policy::new(&config);
            assert_eq!(policy.integrations().len(), config.integrations.len());
        }
        Err(problems) => {
            let told = problems.to_string();
            assert!(!problems.0.is_empty() && told.starts_with("error: "), "{told}");
        }
    }
}
