//! What happens to a reply's bytes on their way: the real key is cut out, the last byte is held back.

mod hold;
mod scrub;

pub use hold::Hold;
pub use scrub::{Scrub, Scrubber};
