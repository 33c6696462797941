//! What a certificate says of itself, as far as the doctor asks: until when it is valid, and who signed it.

use jiff::Timestamp;

/// Dates and names of a certificate.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
    /// Names as they are encoded, to be compared only.
    pub(super) issuer: Vec<u8>,
    pub(super) subject: Vec<u8>,
}

/// Reads a certificate (RFC 5280, section 4.1). None when it is none.
pub(super) fn facts(der: &[u8]) -> Option<Facts> {
    const SEQUENCE: u8 = 0x30;
    const VERSION: u8 = 0xa0;
    let mut whole = Elements(der);
    let mut body = Elements(Elements(whole.next_of(SEQUENCE)?).next_of(SEQUENCE)?);
    let (tag, _) = body.next()?;
    if tag == VERSION {
        body.next()?;
    }
    body.next_of(SEQUENCE)?;
    let issuer = body.next_of(SEQUENCE)?.to_vec();
    let mut validity = Elements(body.next_of(SEQUENCE)?);
    let (from, until) = (time(validity.next()?)?, time(validity.next()?)?);
    let subject = body.next_of(SEQUENCE)?.to_vec();
    Some(Facts { from, until, issuer, subject })
}

/// DER elements, one behind the other.
struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let mut length = usize::from(first);
        if first >= 0x80 {
            let (digits, behind) = rest.split_at_checked(usize::from(first & 0x7f)).filter(|(d, _)| d.len() <= 4)?;
            length = digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit));
            rest = behind;
        }
        let (content, behind) = rest.split_at_checked(length)?;
        self.0 = behind;
        Some((tag, content))
    }

    fn next_of(&mut self, wanted: u8) -> Option<&'a [u8]> {
        self.next().filter(|(tag, _)| *tag == wanted).map(|(_, content)| content)
    }
}

/// `YYMMDDHHMMSSZ` until 2049, `YYYYMMDDHHMMSSZ` from then on.
fn time((tag, text): (u8, &[u8])) -> Option<Timestamp> {
    const UTC_TIME: u8 = 0x17;
    let text = std::str::from_utf8(text).ok()?;
    let text = match tag {
        UTC_TIME if text.get(..2)? < "50" => format!("20{text}"),
        UTC_TIME => format!("19{text}"),
        _ => text.to_owned(),
    };
    let part = |from: usize, to: usize| text.get(from..to);
    let (date, clock) = (part(0, 8)?, part(8, 14)?);
    format!("{}-{}-{}T{}:{}:{}Z", &date[..4], &date[4..6], &date[6..], &clock[..2], &clock[2..4], &clock[4..])
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;

    use super::*;

    #[test]
    fn dates_and_names_are_what_was_written() {
        let made = crate::cli::pki::make(&[], jiff::civil::date(2026, 8, 2)).unwrap();
        let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec();
        let (ca, server) = (facts(&der(&made.ca)).unwrap(), facts(&der(&made.server)).unwrap());
        assert_eq!((&ca.issuer, &server.issuer), (&ca.subject, &ca.subject));
        assert_ne!(server.subject, ca.subject);
        assert_eq!(server.from.to_string(), "2026-08-01T00:00:00Z");
        assert!(server.until > server.from && ca.until > server.until, "{:?} {:?}", server.until, ca.until);
    }

    #[test]
    fn both_forms_of_time_are_read() {
        let at = |tag, text: &str| time((tag, text.as_bytes())).map(|time| time.to_string());
        assert_eq!(at(0x17, "491231235959Z").as_deref(), Some("2049-12-31T23:59:59Z"));
        assert_eq!(at(0x17, "500101000000Z").as_deref(), Some("1950-01-01T00:00:00Z"));
        assert_eq!(at(0x18, "20500101000000Z").as_deref(), Some("2050-01-01T00:00:00Z"));
        assert_eq!(at(0x17, "5"), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_no_certificate_and_no_panic(bytes: Vec<u8>) {
            prop_assert_eq!(facts(&bytes), None);
        }
    }
}
