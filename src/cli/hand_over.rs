//! `keygate credential request` and `credential put --sealed`: a real key that nobody between the merchant API and the vault
//! sees.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use clap::Args;
use jiff::Timestamp;

use crate::vault::{HandOverError, Terms, handover};

use super::integration::later;
use super::output::{self, quoted, quoted_path};
use super::report::Failure;
use super::settings;
use super::vault_failure::store;

/// A sealed key is larger than this only if it is none, bytes.
const LONGEST_FILE: u64 = 256 * 1024;

/// Arguments of `credential request`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    keygate credential request acme                send what it prints to whoever has the key\n  \
    keygate credential put acme --sealed acme.age  once the sealed key has come back\n\n\
    Whoever has the key seals it with `age` (https://age-encryption.org); only this vault can open it, and only once. What is\n\
    printed is no secret; but send it on a way on which nobody can put another recipient in its place.")]
pub struct Request {
    /// The credential's name, as `credential = \"…\"` in `[upstream.…]` has it
    name: String,
    /// The upstream it is for, when several use a credential of this name
    #[arg(long, value_name = "NAME")]
    upstream: Option<String>,
    /// How long a sealed key is waited for
    #[arg(long, value_name = "DURATION", default_value = "7d")]
    valid: String,
}

/// Opens a request and tells what to send to whom.
pub fn request(args: &Request, path: &Path) -> Result<(), Failure> {
    let until = later(&args.valid, Timestamp::now(), "--valid")?;
    let config = settings::load(path)?;
    let upstream = super::credential::upstream(&config, &args.name, args.upstream.as_deref())?;
    let bound_to = upstream.base_url.to_string();
    let token_url = upstream.profile.token.as_ref().map(|token| token.url.to_string());
    let terms = Terms { bound_to: bound_to.clone(), token_url, ..Terms::default() };
    let recipient = store(&config)?.request(&args.name, &terms, until)?;
    let file = format!("{}.age", args.name);
    output::result(&format!(
        "recipient  {recipient}\ncommand    age --encrypt --armor --recipient {recipient} --output {}\n",
        quoted(&file)
    ))?;
    output::note(&format!(
        "send both lines to whoever has the API key of {bound_to}: the command asks for the key on its standard input\n\
         (type or paste it, Enter, Ctrl-D), and what it writes can be mailed\n\
         then: keygate --config {} credential put {} --sealed {}   (once, until {until})\n",
        quoted_path(path),
        quoted(&args.name),
        quoted(&file)
    ));
    Ok(())
}

/// Takes a sealed key over.
pub fn put_sealed(name: &str, file: &Path, path: &Path) -> Result<(), Failure> {
    let config = settings::load(path)?;
    let sealed = read(file)
        .map_err(|error| Failure::new(format!("cannot read the sealed key `{}`", file.display())).because(error))?;
    let stored = store(&config)?.put_sealed(name, &sealed, Timestamp::now())?;
    output::note(&format!("stored `{}`, version {}, for {} only\n", stored.id, stored.version, stored.bound_to));
    Ok(())
}

/// A file, or standard input for `-`.
fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut sealed = Vec::new();
    let source: Box<dyn Read> =
        if file == Path::new("-") { Box::new(io::stdin()) } else { Box::new(File::open(file)?) };
    source.take(LONGEST_FILE).read_to_end(&mut sealed)?;
    Ok(sealed)
}

/// Where a scoped key goes: to standard output as it is, or sealed.
#[derive(Debug, Args)]
pub struct SealTo {
    /// Print the key sealed to this age recipient (`age1…`), and nowhere in the clear
    #[arg(long, value_name = "RECIPIENT")]
    seal_to: Option<String>,
}

impl SealTo {
    /// The recipient, looked at before anything is changed.
    pub fn recipient(&self) -> Result<Option<age::x25519::Recipient>, Failure> {
        self.seal_to.as_deref().map(handover::recipient).transpose().map_err(Failure::from)
    }
}

impl From<HandOverError> for Failure {
    fn from(error: HandOverError) -> Self {
        let what = error.to_string();
        match error {
            HandOverError::NoRequest(id) => Self::new(what)
                .hint(format!("`keygate credential request {}` opens one; a sealed key is taken once", quoted(&id))),
            HandOverError::Over { id, .. } => {
                Self::new(what).hint(format!("open another: `keygate credential request {}`", quoted(&id)))
            }
            HandOverError::NotSealed(id) => Self::new(what).hint(format!(
                "the request is still open; a later `keygate credential request {}` closes an earlier one",
                quoted(&id)
            )),
            HandOverError::Recipient => {
                Self::usage(what).hint("it begins with `age1`; `age-keygen` makes one, for whoever will use the key")
            }
            HandOverError::Seal(source) => Self::new(what).because(source),
        }
    }
}
