//! What a client offers, read from its first bytes before TLS sees them.
//!
//! A client that offers nothing newer than TLS 1.1 gets the alert that says so, and is put on record with what it
//! offered; plain HTTP gets a short answer in plain HTTP. Everything else is handed to TLS as it came.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// A hello may span several TLS records; real ones stay under 2 KB, post-quantum ones included.
const MAX_HELLO: usize = 16 * 1024;

/// What the first bytes turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub enum First {
    /// A hello that offers TLS 1.2 or 1.3.
    Tls(Hello),
    /// A hello that offers only what is refused here.
    Outdated(Hello),
    /// Plain HTTP, or something that looks like it.
    Http,
    /// None of these.
    Garbage,
}

/// What a hello says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// Versions offered, newest first: `TLS 1.3`, `TLS 1.0`, `SSL 3.0`.
    pub versions: Vec<&'static str>,
    /// Server name.
    pub sni: Option<String>,
    /// JA4 fingerprint.
    pub ja4: Option<String>,
}

/// Reads until the hello is whole. The bytes read are left in `buffer` for TLS to read again.
pub async fn read(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> io::Result<First> {
    loop {
        match parse(buffer) {
            Parsed::Done(first) => return Ok(first),
            Parsed::More if buffer.len() >= MAX_HELLO => return Ok(First::Garbage),
            Parsed::More => {
                buffer.reserve(2048);
                if stream.read_buf(buffer).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
    }
}

enum Parsed {
    Done(First),
    More,
}

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

fn parse(bytes: &[u8]) -> Parsed {
    match bytes {
        [] => Parsed::More,
        [HANDSHAKE, rest @ ..] => match rest {
            [] => Parsed::More,
            [3, ..] => parse_records(bytes),
            _ => Parsed::Done(First::Garbage),
        },
        // SSL 2.0 form: length with the high bit set, then the message type.
        [high, _, kind, ..] if high & 0x80 != 0 && *kind != CLIENT_HELLO => Parsed::Done(First::Garbage),
        [high, _, _, major, minor, ..] if high & 0x80 != 0 => {
            Parsed::Done(First::Outdated(Hello { versions: ssl2_versions(*major, *minor), ..Hello::default() }))
        }
        [high, ..] if high & 0x80 != 0 => Parsed::More,
        [letter, ..] if letter.is_ascii_alphabetic() => Parsed::Done(First::Http),
        _ => Parsed::Done(First::Garbage),
    }
}

/// A client that speaks SSL 2.0 form may still mean SSL 3.0 or TLS 1.0; no current one does.
fn ssl2_versions(major: u8, minor: u8) -> Vec<&'static str> {
    match major {
        3 => version(0x0300 | u16::from(minor)).into_iter().chain(["SSL 2.0 form"]).collect(),
        _ => vec!["SSL 2.0"],
    }
}

/// Puts the handshake message together from its records.
fn parse_records(bytes: &[u8]) -> Parsed {
    let mut message = Vec::new();
    let mut rest = bytes;
    loop {
        let Some((header, after)) = rest.split_at_checked(5) else { return Parsed::More };
        if header[0] != HANDSHAKE || header[1] != 3 {
            return Parsed::Done(First::Garbage);
        }
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        let Some((fragment, after)) = after.split_at_checked(length) else { return Parsed::More };
        message.extend_from_slice(fragment);
        rest = after;
        if let [CLIENT_HELLO, a, b, c, body @ ..] = &message[..] {
            let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
            if body.len() >= length {
                return Parsed::Done(judge(&body[..length]));
            }
        } else if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
            return Parsed::Done(First::Garbage);
        }
    }
}

fn judge(body: &[u8]) -> First {
    match super::fingerprint::read(body) {
        None => First::Garbage,
        Some(offer) => {
            let current = offer.versions.iter().any(|v| matches!(v, 0x0303 | 0x0304));
            let hello = Hello {
                versions: offer.versions.iter().filter_map(|v| version(*v)).collect(),
                ja4: current.then(|| offer.ja4()),
                sni: offer.sni,
            };
            if current { First::Tls(hello) } else { First::Outdated(hello) }
        }
    }
}

fn version(code: u16) -> Option<&'static str> {
    match code {
        0x0304 => Some("TLS 1.3"),
        0x0303 => Some("TLS 1.2"),
        0x0302 => Some("TLS 1.1"),
        0x0301 => Some("TLS 1.0"),
        0x0300 => Some("SSL 3.0"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A hello with the given legacy version and, when not empty, a `supported_versions` extension.
    fn hello(legacy: u16, supported: &[u16]) -> Vec<u8> {
        let mut body = legacy.to_be_bytes().to_vec();
        body.extend([7; 32]);
        body.push(0);
        body.extend([0, 4, 0x13, 0x01, 0xc0, 0x2b, 1, 0]);
        let mut extensions = vec![0, 0, 0, 14, 0, 12, 0, 0, 9];
        extensions.extend(b"localhost");
        if !supported.is_empty() {
            let length = u8::try_from(supported.len() * 2).unwrap();
            extensions.extend([0, 43, 0, length + 1, length]);
            extensions.extend(supported.iter().flat_map(|v| v.to_be_bytes()));
        }
        body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
        body.extend(extensions);
        let mut message = vec![1, 0];
        message.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        message.extend(body);
        message
    }

    fn records(message: &[u8], size: usize) -> Vec<u8> {
        let record = |part: &[u8]| [&[22, 3, 1, 0, u8::try_from(part.len()).unwrap()], part].concat();
        message.chunks(size).flat_map(record).collect()
    }

    fn first(bytes: &[u8]) -> Option<First> {
        match parse(bytes) {
            Parsed::Done(first) => Some(first),
            Parsed::More => None,
        }
    }

    #[test]
    fn versions_come_from_the_extension_where_there_is_one() {
        let offered = |bytes: &[u8]| match first(bytes).unwrap() {
            First::Tls(hello) => (true, hello.versions, hello.sni),
            First::Outdated(hello) => (false, hello.versions, hello.sni),
            other => panic!("{other:?}"),
        };
        let name = Some("localhost".to_owned());
        assert_eq!(
            offered(&records(&hello(0x0303, &[0x0304, 0x0303]), 200)),
            (true, vec!["TLS 1.3", "TLS 1.2"], name.clone())
        );
        assert_eq!(offered(&records(&hello(0x0303, &[]), 200)), (true, vec!["TLS 1.2"], name.clone()));
        assert_eq!(offered(&records(&hello(0x0302, &[]), 200)), (false, vec!["TLS 1.1"], name.clone()));
        assert_eq!(
            offered(&records(&hello(0x0303, &[0x0302, 0x0301]), 200)),
            (false, vec!["TLS 1.1", "TLS 1.0"], name)
        );
        assert_eq!(offered(&records(&hello(0x0300, &[]), 7)).1, ["SSL 3.0"]);
    }

    #[test]
    fn what_is_no_hello_is_told_apart() {
        assert_eq!(first(b"GET / HTTP/1.1\r\n"), Some(First::Http));
        assert_eq!(first(&[0x80, 0x2e, 1, 0, 2, 0]).map(|f| matches!(f, First::Outdated(_))), Some(true));
        assert_eq!(first(&[22, 3, 1, 0, 4, 2, 0, 0, 0]), Some(First::Garbage));
        assert_eq!(first(&[0, 1, 2]), Some(First::Garbage));
        assert_eq!(first(&[22]), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_a_cut_hello_waits(bytes in proptest::collection::vec(any::<u8>(), 0..300), cut in 1usize..90) {
            let _ = first(&bytes);
            let whole = records(&hello(0x0303, &[0x0304]), 50);
            prop_assert!(first(&whole[..cut.min(whole.len() - 1)]).is_none());
        }
    }
}
