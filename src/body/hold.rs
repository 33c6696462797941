//! The last byte of a reply waits for its receipt.

use bytes::Bytes;

/// Holds back at least one byte of a stream until it is known whether more follows.
///
/// Chunks pass through whole as long as another one is already there; when none is, all but the last byte may go. So a
/// slow reply is not delayed, and a fast one is not cut into small pieces.
#[derive(Default)]
pub struct Hold {
    held: Bytes,
}

impl Hold {
    /// Another chunk has come: what was held may go, the new one is held. Empty chunks change nothing.
    pub fn next(&mut self, chunk: Bytes) -> Option<Bytes> {
        if chunk.is_empty() {
            return None;
        }
        let before = std::mem::replace(&mut self.held, chunk);
        (!before.is_empty()).then_some(before)
    }

    /// Nothing more is there at the moment: all but the last byte may go.
    pub fn pause(&mut self) -> Option<Bytes> {
        (self.held.len() > 1).then(|| self.held.split_to(self.held.len() - 1))
    }

    /// Bytes held back.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether nothing is held back.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// The stream has ended: what is still held. The caller needs a receipt to send it.
    pub fn end(&mut self) -> Bytes {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn everything_passes_in_order_and_the_last_byte_passes_last(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 1..20),
            pauses in proptest::collection::vec(any::<bool>(), 20),
        ) {
            let whole: Vec<u8> = chunks.concat();
            let (mut hold, mut sent) = (Hold::default(), Vec::new());
            for (chunk, pause) in chunks.into_iter().zip(pauses) {
                sent.extend(hold.next(chunk.into()).unwrap_or_default());
                if pause {
                    sent.extend(hold.pause().unwrap_or_default());
                }
                prop_assert!(sent.len() < whole.len() || whole.is_empty());
            }
            let last = hold.end();
            prop_assert!(whole.is_empty() || !last.is_empty());
            sent.extend(last);
            prop_assert_eq!(sent, whole);
        }
    }
}
