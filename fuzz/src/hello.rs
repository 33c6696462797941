//! The first bytes of a connection: the same is seen in them however they are cut.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use keygate::server::hello::{First, read};
use tokio::io::{AsyncRead, ReadBuf};

/// Hands bytes out in pieces, never waits, and ends.
struct Pieces<'a> {
    rest: &'a [u8],
    size: usize,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (now, rest) = self.rest.split_at(self.size.min(self.rest.len()).min(into.remaining()));
        into.put_slice(now);
        self.rest = rest;
        Poll::Ready(Ok(()))
    }
}

fn seen(data: &[u8], size: usize) -> (Option<First>, Vec<u8>) {
    let mut buffer = Vec::new();
    let mut pieces = Pieces { rest: data, size };
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let first = std::pin::pin!(read(&mut pieces, &mut buffer)).poll(&mut cx);
    let Poll::Ready(first) = first else { panic!("it waits for what never waits") };
    (first.ok(), buffer)
}

/// Nothing panics; bytes read are kept for TLS; pieces change nothing.
pub fn run(data: &[u8]) {
    let (whole, kept) = seen(data, usize::MAX);
    assert!(data.starts_with(&kept), "TLS would read other bytes");
    for size in [1, 7] {
        let (cut, kept) = seen(data, size);
        assert!(data.starts_with(&kept), "TLS would read other bytes");
        // A hello that is too long is seen to be a little earlier or later.
        if data.len() < 12 * 1024 {
            assert_eq!(whole, cut, "pieces of {size} are seen in another way");
        }
    }
    if let Some(First::Tls(hello) | First::Outdated(hello)) = whole {
        assert!(hello.sni.is_none_or(|name| name.is_ascii() && name.len() <= 253));
        assert!(hello.ja4.is_none_or(|ja4| ja4.is_ascii() && ja4.len() < 50), "a fingerprint has a form");
    }
}
