//! Whether what clients are written in, as far as it is on this machine, trusts the CA that signed the gate's certificate.
//! What a client is told in its own code cannot be seen from here, so nothing of this is more than a note.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::super::output::quoted_path;
use super::certificate::facts;
use super::finding::{Finding, Level, fine, not_fine};
use crate::config::Config;

const AREA: &str = "trust";

/// Where systems keep their trusted certificates in one file.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Prints a runtime's stores, a line each: what reads it, a tab, the path.
const PYTHON: &str = "
import os, ssl
paths = ssl.get_default_verify_paths()
for path in (paths.cafile, paths.capath):
    if path: print('ssl', path, sep='\\t')
try:
    import certifi
    bundle = os.environ.get('REQUESTS_CA_BUNDLE') or os.environ.get('CURL_CA_BUNDLE') or certifi.where()
    print('requests', bundle, sep='\\t')
except ImportError:
    pass
";

/// Prints the certificates that Node trusts.
const NODE: &str = "
const tls = require('tls'), extra = process.env.NODE_EXTRA_CA_CERTS;
const all = tls.getCACertificates ? tls.getCACertificates('default') : tls.rootCertificates;
console.log(all.join('\\n'));
if (extra) console.log(require('fs').readFileSync(extra, 'utf8'));
";

pub(super) fn look(config: &Config, path: &Path) -> Vec<Finding> {
    let Some(ca) = Authority::of(config, path) else {
        let remedy = "clients must trust whoever signed it";
        return vec![not_fine(Level::Note, AREA, "the CA of the gate's certificate is not at hand", remedy)];
    };
    if ca.is_public {
        return vec![fine(AREA, "the gate's certificate is signed by a public CA, which clients know")];
    }
    let mut findings = vec![system(&ca)];
    findings.extend(python(&ca));
    findings.extend(node(&ca));
    findings.extend(java(&ca));
    findings
}

/// Who signed the gate's certificate.
struct Authority {
    path: PathBuf,
    der: Vec<u8>,
    is_public: bool,
}

impl Authority {
    /// `ca.pem` beside the configuration, if it signed the certificate; else the chain's own end.
    fn of(config: &Config, path: &Path) -> Option<Self> {
        let chain = certificates(&config.listen.certificate);
        let last = facts(chain.last()?)?;
        let roots = webpki_roots::TLS_SERVER_ROOTS;
        let is_public = roots.iter().any(|root| root.subject.as_ref() == last.issuer);
        let beside = path.with_file_name("ca.pem");
        let signed = |der: &Vec<u8>| facts(der).is_some_and(|ca| ca.subject == last.issuer);
        if let Some(der) = certificates(&beside).into_iter().find(signed) {
            return Some(Self { path: beside, der, is_public });
        }
        let root = chain.last().filter(|_| last.subject == last.issuer || is_public)?;
        Some(Self { path: config.listen.certificate.clone(), der: root.clone(), is_public })
    }

    /// Whether a PEM file holds it, or a folder has a file that does.
    fn is_in(&self, store: &Path) -> bool {
        if let Ok(folder) = fs::read_dir(store) {
            return folder.flatten().any(|entry| certificates(&entry.path()).contains(&self.der));
        }
        certificates(store).contains(&self.der)
    }

    fn is_in_text(&self, pem: &[u8]) -> bool {
        CertificateDer::pem_slice_iter(pem).flatten().any(|der| *der == *self.der)
    }

    /// As a shell reads it back.
    fn shown(&self) -> String {
        quoted_path(&std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone()))
    }
}

fn verdict(trusted: bool, who: &str, remedy: &str) -> Finding {
    if trusted {
        return fine(AREA, format!("{who} trusts the gate's CA"));
    }
    not_fine(Level::Note, AREA, format!("{who} does not trust the gate's CA"), remedy)
}

fn certificates(path: &Path) -> Vec<Vec<u8>> {
    let all = CertificateDer::pem_file_iter(path).into_iter().flatten().flatten();
    all.map(|der| der.to_vec()).collect()
}

fn system(ca: &Authority) -> Finding {
    let trusted = BUNDLES.iter().any(|bundle| ca.is_in(Path::new(bundle)));
    let remedy = format!(
        "for curl and all that asks the system: `cp {} /usr/local/share/ca-certificates/keygate.crt && \
         update-ca-certificates` (Debian), or into `/etc/pki/ca-trust/source/anchors`, then `update-ca-trust` (Red Hat); or \
         give each client the file (`curl --cacert`)",
        ca.shown()
    );
    verdict(trusted, "the system's store", &remedy)
}

fn python(ca: &Authority) -> Vec<Finding> {
    let Some(stores) = output_of("python3", &["-c", PYTHON]) else { return Vec::new() };
    let text = String::from_utf8_lossy(&stores).into_owned();
    let stores: Vec<(&str, &str)> = text.lines().filter_map(|line| line.split_once('\t')).collect();
    let look = |reader: &str, who: &str, variable: &str| {
        let of_it: Vec<_> = stores.iter().filter(|(name, _)| *name == reader).collect();
        let remedy = format!(
            "set `{variable}={}` for the client, or name the file in its code (`verify=`, `ssl_ca_cert`)",
            ca.shown()
        );
        let trusted = of_it.iter().any(|(_, store)| ca.is_in(Path::new(store)));
        (!of_it.is_empty()).then(|| verdict(trusted, who, &remedy))
    };
    let found = [
        look("ssl", "Python (ssl, urllib)", "SSL_CERT_FILE"),
        look("requests", "Python (requests, certifi)", "REQUESTS_CA_BUNDLE"),
    ];
    found.into_iter().flatten().collect()
}

fn node(ca: &Authority) -> Option<Finding> {
    let pem = output_of("node", &["-e", NODE])?;
    let remedy = format!("set `NODE_EXTRA_CA_CERTS={}` for the client", ca.shown());
    Some(verdict(ca.is_in_text(&pem), "Node", &remedy))
}

fn java(ca: &Authority) -> Option<Finding> {
    let pem = output_of("keytool", &["-list", "-rfc", "-cacerts", "-storepass", "changeit"])?;
    let remedy =
        format!("`keytool -importcert -cacerts -storepass changeit -noprompt -alias keygate -file {}`", ca.shown());
    Some(verdict(ca.is_in_text(&pem), "Java", &remedy))
}

/// What a program prints; none where it is not there or does not like the question.
fn output_of(program: &str, args: &[&str]) -> Option<Vec<u8>> {
    let args = args.iter().map(OsString::from);
    let output = Command::new(program).args(args).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then_some(output.stdout)
}
