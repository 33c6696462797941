//! Planted secrets and the forms in which they might leak.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// What must never be seen, with a name for messages.
#[derive(Clone, Default)]
pub struct Secrets(Vec<(String, String)>);

impl Secrets {
    /// Adds one.
    pub fn plant(&mut self, name: &str, secret: &str) {
        assert!(secret.len() >= 16, "a short secret would be found by chance");
        self.0.push((name.to_owned(), secret.to_owned()));
    }

    /// The secrets without those of this name.
    pub fn without(&self, name: &str) -> Self {
        Self(self.0.iter().filter(|(n, _)| n != name).cloned().collect())
    }

    /// Fails when any secret stands in `bytes` in any of its forms; `place` says what was looked at.
    pub fn must_not_be_in(&self, bytes: &[u8], place: &str) {
        if let Some(leak) = self.find(bytes) {
            panic!("{leak} stands in {place}:\n{}", String::from_utf8_lossy(bytes));
        }
    }

    /// The first leak, in words.
    pub fn find(&self, bytes: &[u8]) -> Option<String> {
        let plain = bytes.to_ascii_lowercase();
        let decoded = percent_decoded(&plain);
        self.0.iter().find_map(|(name, secret)| {
            let raw = secret.to_ascii_lowercase();
            let hex = each_byte(secret, |b| format!("{b:02x}"));
            let found = if contains(&plain, raw.as_bytes()) {
                "raw"
            } else if contains(&decoded, raw.as_bytes()) {
                "percent-encoded"
            } else if contains(&plain, hex.as_bytes()) {
                "in hex"
            } else if base64_forms(secret).iter().any(|form| contains(bytes, form.as_bytes())) {
                "in base64"
            } else {
                return None;
            };
            Some(format!("the {name} ({found})"))
        })
    }
}

/// What base64 makes of a secret at each of the three places it may start at, without the characters that its
/// neighbours share.
pub fn base64_forms(secret: &str) -> BTreeSet<String> {
    let mut forms = BTreeSet::new();
    for shift in 0..3 {
        let padded = [&b"\0\0\0"[..shift], secret.as_bytes()].concat();
        let first = (shift * 8).div_ceil(6);
        let last = padded.len() * 8 / 6;
        for text in [STANDARD_NO_PAD.encode(&padded), URL_SAFE_NO_PAD.encode(&padded)] {
            forms.insert(text[first..last].to_owned());
        }
    }
    forms
}

/// Every byte of a secret percent-encoded.
pub fn percent_form(secret: &str) -> String {
    each_byte(secret, |b| format!("%{b:02X}"))
}

fn each_byte(text: &str, form: impl Fn(u8) -> String) -> String {
    text.bytes().map(form).collect::<Vec<_>>().concat()
}

fn contains(hay: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(hay, needle).is_some()
}

fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let digit = |b: Option<&u8>| b.and_then(|b| char::from(*b).to_digit(16));
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        match (text[at], digit(text.get(at + 1)), digit(text.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).unwrap());
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

#[test]
fn a_planted_secret_is_found_in_every_form_and_nothing_else_is() {
    let mut secrets = Secrets::default();
    let key = "0123456789abcdef0123456789abcdef01234567";
    secrets.plant("real key", key);
    let percent = percent_form(key);
    for shift in ["", "a", "ab"] {
        let text = format!("{shift}{key}&x");
        assert!(secrets.find(STANDARD_NO_PAD.encode(&text).as_bytes()).is_some(), "base64 after `{shift}`");
    }
    for text in [key, &key.to_uppercase(), &percent, &format!("x{key}x")] {
        assert!(secrets.find(text.as_bytes()).is_some(), "{text}");
    }
    assert!(secrets.find(&key.as_bytes()[..39]).is_none());
}
