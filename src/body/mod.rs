//! What happens to bytes on their way: the real key is cut out, a reply's last byte is held back, a pace is kept.

mod hold;
mod pace;
mod scrub;
mod sieve;
mod spellings;

pub use hold::Hold;
pub use pace::{Late, Pace};
pub use scrub::{Scrub, Scrubber};
