//! A value that must not be printed, serialised or compared by accident.

use bytes::Bytes;
use zeroize::Zeroize;

use super::arena::Locked;

/// A secret, in memory that is locked where the system allows it. It has no `Debug`, `Display` or `Serialize`, is wiped on
/// drop, and is read through one greppable method.
pub struct Secret(Locked);

impl Secret {
    /// Takes the bytes over: what they stood in is wiped.
    pub fn new(mut bytes: Vec<u8>) -> Self {
        let secret = Self(Locked::copy_of(&bytes));
        bytes.zeroize();
        secret
    }

    /// Takes over what stands in locked memory already.
    pub fn from_locked(bytes: Locked) -> Self {
        Self(bytes)
    }

    /// The secret itself. Every place that calls this is a place to review.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// A copy in shared bytes, in locked memory too, wiped when the last holder drops them: what a header value is made of.
    pub fn to_shared(&self, template: &str) -> Bytes {
        let (before, after) = template.split_once("{key}").unwrap_or((template, ""));
        let mut filled = Locked::with_room(template.len() + self.0.len());
        for part in [before.as_bytes(), &self.0, after.as_bytes()] {
            filled.extend(part);
        }
        Bytes::from_owner(filled)
    }
}
