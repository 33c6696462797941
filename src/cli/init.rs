//! `keygate init`: a folder with everything that `keygate run` needs. It never overwrites anything.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use clap::Args;
use http::Uri;
use zeroize::Zeroizing;

use crate::audit::{Directory, Identity, SigningKey};
use crate::config::{self, Config};
use crate::vault::private_file::{self, PRIVATE, PUBLIC};
use crate::vault::{AgeFile, AgeStore};

use super::audit::IDENTITY;
use super::output::{self, names, quoted, quoted_path};
use super::pki::{self, Pki};
use super::report::Failure;
use super::settings;
use super::vault_failure::{age_file, cannot_make};

/// Arguments of `init`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    keygate init gate --upstream https://acme.channelengine.net/api\n  \
    keygate init gate --upstream https://acme.channelengine.net/api --name gate.internal\n\n\
    Makes the configuration with comments, a local CA with a server certificate, an empty vault\n\
    with the identity that opens it, and the audit folder. The CA can sign for this machine's own\n\
    names and for those given with --name only.")]
pub struct Init {
    /// The folder; made when it is not there
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Base URL of the merchant API
    #[arg(long, value_name = "URL")]
    upstream: String,
    /// Name of the upstream in the configuration [default: the host's first label]
    #[arg(long, value_name = "NAME")]
    upstream_name: Option<String>,
    /// What kind of merchant API it is: a name of `keygate profile list` or a profile's file
    #[arg(long, value_name = "PROFILE", default_value = "channelengine")]
    profile: String,
    /// One more host name or address that integrations use for the gate; may be repeated
    #[arg(long = "name", value_name = "HOST")]
    names: Vec<String>,
    /// Keep the CA's private key (`ca.key`) instead of throwing it away after signing
    #[arg(long)]
    keep_ca_key: bool,
}

/// Everything that will be made, thought through before anything is written.
struct Plan {
    folder: PathBuf,
    file: PathBuf,
    text: String,
    config: Config,
    pki: Pki,
    keep_ca_key: bool,
    upstream: String,
    /// The text of the auditor's identity.
    identity: Zeroizing<String>,
}

/// Runs it.
pub fn run(args: &Init) -> Result<(), Failure> {
    let plan = Plan::new(args)?;
    plan.refuse_overwriting()?;
    let mut made = Made(Vec::new());
    plan.make(&mut made)?;
    made.0.clear();
    output::result(&plan.report())
}

impl Plan {
    fn new(args: &Init) -> Result<Self, Failure> {
        let upstream = args.upstream_name.clone().unwrap_or_else(|| name_from(&args.upstream));
        refuse_unwritable(args, &upstream)?;
        let (identity, recipient) = Identity::generate();
        let text = config::minimal(&upstream, &args.upstream, &args.profile, &recipient);
        let file = args.folder.join("keygate.toml");
        let config = settings::check("keygate.toml (not written)", &args.folder, &text).map_err(|problems| {
            Failure::config("nothing was made: the configuration would be wrong", problems)
                .with_code(super::report::USAGE)
        })?;
        let pki = pki::make(&args.names, pki::today()).map_err(|error| match error {
            pki::PkiError::Name(_) => {
                Failure::usage(error.to_string()).hint("write `--name gate.internal` or `--name 10.0.0.5`")
            }
            error => Failure::new("cannot make certificates").because(error),
        })?;
        Ok(Self {
            folder: args.folder.clone(),
            file,
            text,
            config,
            pki,
            keep_ca_key: args.keep_ca_key,
            upstream,
            identity,
        })
    }

    fn vault(&self) -> Result<AgeFile, Failure> {
        age_file(&self.config)
    }

    fn ca(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    fn ca_key(&self) -> PathBuf {
        self.folder.join("ca.key")
    }

    fn audit_identity(&self) -> PathBuf {
        self.folder.join(IDENTITY)
    }

    fn refuse_overwriting(&self) -> Result<(), Failure> {
        let (listen, audit, vault) = (&self.config.listen, &self.config.audit, self.vault()?);
        let planned = [
            &self.file,
            &self.ca(),
            &listen.certificate,
            &listen.private_key,
            &vault.file,
            &vault.identity,
            &audit.directory,
            &audit.hash_key,
            &audit.signing_key,
            &audit.verifier_key(),
            &self.audit_identity(),
            &self.ca_key(),
        ];
        // A dangling link is in the way too.
        let standing = planned.into_iter().filter(|path| path.symlink_metadata().is_ok());
        let standing: Vec<String> = standing.map(|path| path.display().to_string()).collect();
        if standing.is_empty() {
            return Ok(());
        }
        Err(Failure::new(format!("`{}` is not empty: in the way are {}", self.folder.display(), names(standing)))
            .hint("nothing was changed; name another folder, or move these away"))
    }

    fn make(&self, made: &mut Made) -> Result<(), Failure> {
        if !self.folder.is_dir() {
            let folder = fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder);
            folder.map_err(|error| cannot_make(&self.folder, error))?;
        }
        let (listen, audit, vault) = (&self.config.listen, &self.config.audit, self.vault()?);
        made.file(&self.ca(), self.pki.ca.as_bytes(), PUBLIC)?;
        made.file(&listen.certificate, self.pki.server.as_bytes(), PUBLIC)?;
        made.file(&listen.private_key, self.pki.server_key.as_bytes(), PRIVATE)?;
        if self.keep_ca_key {
            made.file(&self.ca_key(), self.pki.ca_key.as_bytes(), PRIVATE)?;
        }
        made.file(&audit.hash_key, &*hash_key()?, PRIVATE)?;
        let key = signing_key()?;
        made.file(&audit.signing_key, key.text().as_bytes(), PRIVATE)?;
        made.file(&audit.verifier_key(), format!("{}\n", key.verifier().text()).as_bytes(), PUBLIC)?;
        made.file(&self.audit_identity(), self.identity.as_bytes(), PRIVATE)?;
        made.0.extend([vault.identity.clone(), vault.file.clone()]);
        AgeStore::create(vault)?;
        Directory::init(&audit.directory, key).map_err(|error| cannot_make(&audit.directory, error))?;
        // Last, so that a folder with a configuration is a complete one.
        made.file(&self.file, self.text.as_bytes(), PRIVATE)
    }

    fn report(&self) -> String {
        let config = quoted_path(&self.file);
        let upstream = quoted(&self.upstream);
        let scopes: Vec<&str> = self.config.upstreams.iter().flat_map(|upstream| upstream.profile.scopes()).collect();
        let scope =
            scopes.iter().find(|scope| **scope == "orders:read").or(scopes.first()).copied().unwrap_or("orders:read");
        format!(
            "made `{}`; integrations must trust `{}`\n\n\
             next:\n  \
             keygate --config {config} credential put {upstream}\n  \
             keygate --config {config} integration add webshop --upstream {upstream} --allow {} --expires 180d\n  \
             keygate --config {config} run\n\n\
             move `{}` to where the log is read, and keep a copy: it alone opens\n\
             the records of the audit log, and the gate does not need it. Who breaks into the gate can then\n\
             read no record of the past.\n",
            self.file.display(),
            self.ca().display(),
            quoted(scope),
            self.audit_identity().display(),
        )
    }
}

/// The template takes its values as they are, so they must be good before.
fn refuse_unwritable(args: &Init, upstream: &str) -> Result<(), Failure> {
    config::base_url(&args.upstream)
        .map_err(|why| Failure::usage(format!("`--upstream`: {}", why.what)).hint(why.remedy))?;
    let plain = |text: &str, more: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    if !plain(upstream, "-_.") {
        return Err(Failure::usage(format!("`{upstream}` cannot be the name of an upstream"))
            .hint("use letters, digits, `-`, `_` and `.`: `--upstream-name acme`"));
    }
    if !plain(&args.profile, "-_./ ") {
        return Err(Failure::usage(format!("`{}` is neither a profile nor a profile's file", args.profile))
            .hint("`keygate profile list` shows the built-in ones"));
    }
    Ok(())
}

/// What was made so far; taken away again unless everything was.
struct Made(Vec<PathBuf>);

impl Made {
    fn file(&mut self, path: &Path, contents: &[u8], mode: u32) -> Result<(), Failure> {
        private_file::create(path, contents, mode).map_err(|error| cannot_make(path, error))?;
        self.0.push(path.to_path_buf());
        Ok(())
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for path in &self.0 {
            // The first error was told already; a file that was never made is no second one.
            let _ = fs::remove_file(path);
        }
    }
}

/// A fresh key for the keyed hashes in the log.
pub fn hash_key() -> Result<Zeroizing<[u8; 32]>, Failure> {
    let mut key = Zeroizing::new([0; 32]);
    rand::fill(&mut *key).map_err(|_| Failure::new("the system hands out no random bytes"))?;
    Ok(key)
}

/// A fresh key that signs the log's checkpoints.
pub fn signing_key() -> Result<SigningKey, Failure> {
    SigningKey::of_a_log().map_err(|error| Failure::new("cannot make the key that signs the log").because(error))
}

/// `acme` from `https://acme.channelengine.net/api`.
fn name_from(url: &str) -> String {
    let host = url.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_ascii_lowercase)).unwrap_or_default();
    let label = host.split('.').next().unwrap_or_default();
    let fits = label.starts_with(|c: char| c.is_ascii_alphabetic())
        && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if fits { label.to_owned() } else { "upstream".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::name_from;

    #[test]
    fn the_upstream_is_named_after_its_tenant() {
        for (url, name) in [
            ("https://acme.channelengine.net/api", "acme"),
            ("https://Acme-2.example.com", "acme-2"),
            ("https://localhost:8443/api", "localhost"),
            ("https://10.0.0.5/api", "upstream"),
            ("https://[::1]/api", "upstream"),
            ("not a url", "upstream"),
        ] {
            assert_eq!(name_from(url), name, "{url}");
        }
    }
}
