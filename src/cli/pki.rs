//! A small certificate authority for gates that only local programs talk to.
//!
//! The authority may sign for this machine's own names and for those asked for at its making, nothing else: a name
//! constraint in its certificate says so, and clients hold it to that. Its private key is thrown away after the one
//! signature unless asked for; who needs another certificate later makes a new authority.

use std::net::IpAddr;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P256_SHA256, SanType,
};
use zeroize::Zeroizing;

/// Longest life of a server certificate that all clients accept, days.
const SERVER_DAYS: i64 = 825;
/// Life of the authority, years.
const CA_YEARS: i64 = 10;

/// A fresh authority and the server certificate it signed, all PEM.
pub struct Pki {
    /// The authority's certificate: what clients trust.
    pub ca: String,
    /// The authority's private key.
    pub ca_key: Zeroizing<String>,
    /// The server's certificate.
    pub server: String,
    /// The server's private key.
    pub server_key: Zeroizing<String>,
}

/// Why a name cannot stand in a certificate, or the making failed.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// Not a host name or an IP address.
    #[error("`{0}` is neither a host name nor an IP address")]
    Name(String),
    /// The library or the system's randomness failed.
    #[error("cannot make certificates")]
    Make(#[from] rcgen::Error),
    /// The clock shows a time beyond the calendar.
    #[error("the system clock is out of range")]
    Clock(#[from] jiff::Error),
}

/// Makes an authority and a server certificate (ECDSA P-256) for `localhost`, `127.0.0.1`, `::1` and `names`, valid from
/// the day before `today`.
pub fn make(names: &[String], today: Date) -> Result<Pki, PkiError> {
    let names: Vec<Name> = names.iter().map(|name| Name::parse(name)).collect::<Result<_, _>>()?;
    let (ca_key, server_key) = (key()?, key()?);
    let authority = authority(&names, today)?;
    let ca = authority.self_signed(&ca_key)?.pem();
    let server = server(&names, today)?.signed_by(&server_key, &Issuer::from_params(&authority, &ca_key))?.pem();
    let pem = |key: &KeyPair| Zeroizing::new(key.serialize_pem());
    Ok(Pki { ca, server, ca_key: pem(&ca_key), server_key: pem(&server_key) })
}

/// The present day, UTC.
pub fn today() -> Date {
    TimeZone::UTC.to_datetime(Timestamp::now()).date()
}

enum Name {
    Host(String),
    Address(IpAddr),
}

impl Name {
    fn parse(text: &str) -> Result<Self, PkiError> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let label = |part: &str| {
            (1..=63).contains(&part.len())
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !part.starts_with('-')
                && !part.ends_with('-')
        };
        // Four numbers that are no address are a mistyped address, not a host.
        let numeric = text.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
        if text.len() <= 253 && text.split('.').all(label) && !numeric {
            Ok(Self::Host(text.to_ascii_lowercase()))
        } else {
            Err(PkiError::Name(text.to_owned()))
        }
    }

    fn subtree(&self) -> GeneralSubtree {
        match self {
            Self::Host(host) => GeneralSubtree::DnsName(host.clone()),
            Self::Address(address) => {
                let bits = if address.is_ipv4() { 32 } else { 128 };
                GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(*address, bits))
            }
        }
    }

    fn subject(&self) -> Result<SanType, PkiError> {
        Ok(match self {
            Self::Host(host) => SanType::DnsName(host.as_str().try_into()?),
            Self::Address(address) => SanType::IpAddress(*address),
        })
    }
}

fn authority(names: &[Name], today: Date) -> Result<CertificateParams, PkiError> {
    let mut params = params("Keygate local CA", today, today.checked_add(CA_YEARS.years())?)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let mut permitted = vec![
        GeneralSubtree::DnsName("localhost".to_owned()),
        GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([127, 0, 0, 0], 8)),
        GeneralSubtree::IpAddress(CidrSubnet::from_v6_prefix(std::net::Ipv6Addr::LOCALHOST.octets(), 128)),
    ];
    permitted.extend(names.iter().map(Name::subtree));
    params.name_constraints = Some(NameConstraints { permitted_subtrees: permitted, excluded_subtrees: Vec::new() });
    Ok(params)
}

fn server(names: &[Name], today: Date) -> Result<CertificateParams, PkiError> {
    // One day of the 825 goes to the past, for clocks that are behind.
    let mut params = params("Keygate", today, today.checked_add((SERVER_DAYS - 1).days())?)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params.subject_alt_names =
        CertificateParams::new(["localhost", "127.0.0.1", "::1"].map(str::to_owned))?.subject_alt_names;
    for name in names {
        let subject = name.subject()?;
        if !params.subject_alt_names.contains(&subject) {
            params.subject_alt_names.push(subject);
        }
    }
    Ok(params)
}

fn params(name: &str, today: Date, until: Date) -> Result<CertificateParams, PkiError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let time =
        |day: Date| rcgen::date_time_ymd(day.year().into(), day.month().unsigned_abs(), day.day().unsigned_abs());
    params.not_before = time(today.checked_sub(1.day())?);
    params.not_after = time(until);
    Ok(params)
}

fn key() -> Result<KeyPair, rcgen::Error> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
}
