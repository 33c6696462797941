//! A value that must not be printed, serialised or compared by accident.

use bytes::Bytes;
use zeroize::Zeroizing;

/// A secret. It has no `Debug`, `Display` or `Serialize`, is wiped on drop, and is read through one greppable method.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes over.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The secret itself. Every place that calls this is a place to review.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// A copy in shared bytes that are wiped when the last holder drops them: what a header value is made of.
    pub fn to_shared(&self, template: &str) -> Bytes {
        let mut filled = Zeroizing::new(Vec::with_capacity(template.len() + self.0.len()));
        let (before, after) = template.split_once("{key}").unwrap_or((template, ""));
        filled.extend_from_slice(before.as_bytes());
        filled.extend_from_slice(&self.0);
        filled.extend_from_slice(after.as_bytes());
        Bytes::from_owner(Wiped(filled))
    }
}

struct Wiped(Zeroizing<Vec<u8>>);

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
