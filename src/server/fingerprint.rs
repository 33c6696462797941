//! The inside of a `ClientHello`: versions, server name, and the JA4 fingerprint of the client's TLS stack.
//!
//! JA4 as its authors publish it: `t13d1516h2_8daaf6152771_e5627efa2ab1`; what is GREASE is left out.

use std::fmt::Write;

use aws_lc_rs::digest::{SHA256, digest};

/// What a `ClientHello` offers.
#[derive(Debug, Default)]
pub struct Offer {
    /// Version codes, newest first, GREASE left out.
    pub versions: Vec<u16>,
    /// Server name.
    pub sni: Option<String>,
    ciphers: Vec<u16>,
    extensions: Vec<u16>,
    signatures: Vec<u16>,
    alpn: Option<Vec<u8>>,
}

/// Reads the body of a `ClientHello` (without the handshake header). `None` when it is none.
pub fn read(body: &[u8]) -> Option<Offer> {
    let mut bytes = Bytes(body);
    let legacy = bytes.u16()?;
    bytes.take(32)?;
    let session = bytes.u8()?;
    bytes.take(usize::from(session))?;
    let mut offer = Offer { ciphers: bytes.list16()?, ..Offer::default() };
    let compressions = bytes.u8()?;
    bytes.take(usize::from(compressions))?;
    if !bytes.0.is_empty() {
        let length = bytes.u16()?;
        let mut extensions = Bytes(bytes.take(usize::from(length))?);
        while !extensions.0.is_empty() {
            let kind = extensions.u16()?;
            let length = extensions.u16()?;
            offer.extension(kind, extensions.take(usize::from(length))?)?;
        }
    }
    if offer.versions.is_empty() {
        offer.versions.push(legacy);
    }
    offer.versions.sort_unstable_by(|a, b| b.cmp(a));
    Some(offer)
}

impl Offer {
    fn extension(&mut self, kind: u16, data: &[u8]) -> Option<()> {
        if !is_grease(kind) {
            self.extensions.push(kind);
        }
        let mut data = Bytes(data);
        match kind {
            0 => {
                let length = data.u16()?;
                let mut names = Bytes(data.take(usize::from(length))?);
                let host_name = names.u8()? == 0;
                let length = names.u16()?;
                let name = names.take(usize::from(length))?;
                let clean = name.len() <= 253 && name.iter().all(u8::is_ascii_graphic);
                self.sni = (host_name && clean).then(|| String::from_utf8_lossy(name).into_owned());
            }
            13 => self.signatures = data.list16()?,
            16 => {
                let length = data.u16()?;
                let mut names = Bytes(data.take(usize::from(length))?);
                let length = names.u8()?;
                self.alpn = Some(names.take(usize::from(length))?.to_vec());
            }
            43 => {
                let length = data.u8()?;
                self.versions = pairs(data.take(usize::from(length))?);
            }
            _ => {}
        }
        Some(())
    }

    /// The fingerprint.
    pub fn ja4(&self) -> String {
        let version = match self.versions.first() {
            Some(0x0304) => "13",
            Some(0x0303) => "12",
            Some(0x0302) => "11",
            Some(0x0301) => "10",
            _ => "00",
        };
        let name = if self.sni.is_some() { 'd' } else { 'i' };
        let (ciphers, extensions) = (self.ciphers.len().min(99), self.extensions.len().min(99));
        let mut sorted = self.ciphers.clone();
        sorted.sort_unstable();
        let mut rest: Vec<_> = self.extensions.iter().copied().filter(|e| !matches!(e, 0 | 16)).collect();
        rest.sort_unstable();
        let mut tail = hex_list(&rest);
        if !self.signatures.is_empty() {
            let _ = write!(tail, "_{}", hex_list(&self.signatures));
        }
        format!(
            "t{version}{name}{ciphers:02}{extensions:02}{}_{}_{}",
            self.alpn_mark(),
            short_hash(&hex_list(&sorted), sorted.is_empty()),
            short_hash(&tail, rest.is_empty()),
        )
    }

    /// First and last character of the first protocol name.
    fn alpn_mark(&self) -> String {
        match self.alpn.as_deref() {
            Some([first, .., last]) if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() => {
                [char::from(*first), char::from(*last)].iter().collect()
            }
            Some([only]) if only.is_ascii_alphanumeric() => [char::from(*only); 2].iter().collect(),
            _ => "00".to_owned(),
        }
    }
}

fn short_hash(text: &str, empty: bool) -> String {
    if empty {
        return "000000000000".to_owned();
    }
    digest(&SHA256, text.as_bytes()).as_ref()[..6].iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn hex_list(codes: &[u16]) -> String {
    codes.iter().map(|code| format!("{code:04x}")).collect::<Vec<_>>().join(",")
}

/// RFC 8701: values that stand for nothing and keep servers tolerant.
fn is_grease(code: u16) -> bool {
    code & 0x0f0f == 0x0a0a && code >> 8 == code & 0xff
}

fn pairs(bytes: &[u8]) -> Vec<u16> {
    bytes.chunks_exact(2).map(|p| u16::from_be_bytes([p[0], p[1]])).filter(|c| !is_grease(*c)).collect()
}

/// Bytes that are read from the front.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|b| b[0])
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|b| u16::from_be_bytes([b[0], b[1]]))
    }

    /// A list of two-byte codes behind its two-byte length.
    fn list16(&mut self) -> Option<Vec<u16>> {
        let length = self.u16()?;
        self.take(usize::from(length)).map(pairs)
    }
}
