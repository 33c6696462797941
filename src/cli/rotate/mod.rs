//! `keygate credential rotate`: another key in the place of one that is in use, without a failed call.
//!
//! The vault's file says how far it has come, the running gate does the work, and this command drives: it takes one durable
//! step after the other, each only when the one before has shown what it should. Killed at any moment, it goes on from
//! the file.

mod gate;
mod probe;

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use crate::config::{self, Config, Wrong, parse_duration};
use crate::vault::arena::Locked;
use crate::vault::{Account, AgeFile, AgeStore, Begin, Credential, Other, Phase, Rotation, SecondKey, Secret, Vault};

use super::credential::{Hidden, as_argument, read_key, upstream};
use super::output::{self, quoted};
use super::report::{ALIVE, Failure};
use super::settings;
use super::vault_failure::{age_file, rotated_elsewhere};
use gate::Gate;
use probe::{Said, read_path};

/// Between two looks at what the gate has seen.
const LOOK: Duration = Duration::from_millis(100);
/// Between two questions to the upstream whether it still takes the old key.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// Arguments of `credential rotate`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    keygate credential rotate acme                    asks for the new key, shows nothing\n  \
    keygate credential rotate acme < new-key.txt\n  \
    keygate credential rotate acme --wait 1h < new-key.txt     time to withdraw the old key at the merchant API\n  \
    keygate credential rotate acme --resume           goes on where it was stopped or killed\n  \
    keygate credential rotate acme --abort            back to the old key\n\n\
    Make a new key at the merchant API and leave the old one valid. The upstream is asked whether it takes the new key; a\n\
    share of the reads goes out with it; when these are answered it is used for all calls; when no call uses the old one\n\
    any more, it is time to withdraw that at the merchant API, and the upstream is asked to refuse it: the old key's death\n\
    certificate, on record. A new key that is refused where the old one is not is taken back at once, by the gate itself.\n\n\
    Exit code 0 when the old key is dead, 3 when the new key is in use and the old one still lives (`--resume` asks again),\n\
    1 when the new key was not taken or taken back.")]
pub struct Rotate {
    /// The credential's name
    name: String,
    /// Percent of the reads that go out with the new key at first
    #[arg(long, default_value_t = 10, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100))]
    share: u8,
    /// So many reads must be answered to the new key before it is used for all calls
    #[arg(long, default_value_t = 20, value_name = "COUNT")]
    reads: u64,
    /// When so many do not come in this time, a read of this command's own decides
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = duration)]
    within: Duration,
    /// How long the old key's end is waited for
    #[arg(long, default_value = "0s", value_name = "TIME", value_parser = duration)]
    wait: Duration,
    /// The path that the upstream is asked with, below its base URL [default: a read without parameters of the profile]
    #[arg(long, value_name = "PATH")]
    probe: Option<String>,
    /// From when on the new key is not used any more: `2027-01-31`
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Go on with the rotation that is under way, without a key
    #[arg(long, conflicts_with = "until")]
    resume: bool,
    /// Back to the old key alone
    #[arg(long, conflicts_with_all = ["until", "resume"])]
    abort: bool,
    // Takes what must not be there, so that it is refused without being repeated.
    #[arg(hide = true, allow_hyphen_values = true)]
    surplus: Vec<Hidden>,
}

fn duration(text: &str) -> Result<Duration, String> {
    if text == "0s" || text == "0" {
        return Ok(Duration::ZERO);
    }
    parse_duration(text).map_err(|wrong| format!("{} ({})", wrong.what, wrong.remedy))
}

/// Runs it; the exit code.
pub fn run(args: &Rotate, path: &Path) -> Result<u8, Failure> {
    if !args.surplus.is_empty() {
        return Err(as_argument("rotate", &args.name));
    }
    let config = settings::load(path)?;
    let play = Play::new(args, &config)?;
    if args.abort || args.resume {
        let hint = format!("`keygate credential rotate {}` begins one; it reads the new key", quoted(&args.name));
        let none = || Failure::new(format!("no rotation of `{}` is under way", args.name)).hint(hint);
        let rotation = play.store.rotation(&args.name)?.ok_or_else(none)?;
        return if args.abort { play.abort(rotation) } else { play.go_on() };
    }
    play.begin()?;
    play.go_on()
}

/// A rotation, as this command sees it.
struct Play<'a> {
    args: &'a Rotate,
    config: &'a Config,
    upstream: usize,
    vault: AgeFile,
    store: AgeStore,
    gate: Gate<'a>,
}

/// Whether the play goes on.
enum Next {
    Again,
    Over,
    Alive,
}

impl<'a> Play<'a> {
    fn new(args: &'a Rotate, config: &'a Config) -> Result<Self, Failure> {
        let vault = age_file(config).map_err(rotated_elsewhere)?;
        let upstream = upstream(config, &args.name, None)?;
        if upstream.profile.token.is_some() {
            let what =
                format!("`{}` is exchanged for tokens: what an upstream says to a token tells little of it", args.name);
            return Err(Failure::usage(what)
                .hint("store the new one with `credential put`, and withdraw the old one after that"));
        }
        let upstream = config.upstreams.iter().position(|it| it.name == upstream.name).unwrap_or(0);
        let (store, gate) = (AgeStore::new(vault.clone()), Gate::new(config, &args.name)?);
        Ok(Self { args, config, upstream, vault, store, gate })
    }

    /// Takes the new key in, after the upstream has taken it. With the key of a rotation that is under way, nothing happens.
    fn begin(&self) -> Result<(), Failure> {
        let (id, upstream) = (&self.args.name, &self.config.upstreams[self.upstream]);
        let until = self.args.until.as_deref().map(config::parse_moment).transpose();
        let until = until.map_err(|wrong: Wrong| Failure::usage(wrong.what).hint(wrong.remedy))?;
        let former = self.vault.fetch(id)?;
        let secret = read_key(id, &upstream.base_url.to_string())?;
        let begin = Begin { share: self.args.share, until };
        if former.other.is_some() {
            self.store.begin_rotation(id, begin, &secret)?;
            return Ok(());
        }
        let new = Credential { until, version: former.version + 1, secret: again(&secret), ..former };
        match self.ask(&new)? {
            Said::Takes => {}
            Said::Refuses(status) => {
                return Err(Failure::new(format!(
                    "the upstream refuses the new key with {status}; nothing was changed"
                ))
                .hint("see that it is copied whole, is active at the merchant API, and belongs to the same tenant"));
            }
            Said::Unclear(why) => return Err(unclear("new", &why).hint("nothing was changed")),
        }
        let Rotation { old, new, .. } = self.store.begin_rotation(id, begin, &secret)?;
        let share = self.args.share;
        self.step("rotation-begun", &format!("version {new} is to follow {old}; {share} % of the reads go out with it"))
    }

    /// One step after the other, by what the vault's file says.
    fn go_on(&self) -> Result<u8, Failure> {
        loop {
            let Some(rotation) = self.store.rotation(&self.args.name)? else { return Ok(0) };
            let next = match rotation.phase {
                Phase::Canary => self.canary(rotation)?,
                Phase::Drain => self.drain(rotation)?,
                Phase::Certify => self.certify(rotation)?,
            };
            match next {
                Next::Again => {}
                Next::Over => return Ok(0),
                Next::Alive => return Ok(ALIVE),
            }
        }
    }

    /// Waits until enough reads have been answered to the new key.
    fn canary(&self, rotation: Rotation) -> Result<Next, Failure> {
        let (began, new) = (Instant::now(), rotation.new);
        let mut told = false;
        loop {
            let Some(accounts) = self.gate.accounts()? else {
                self.tell("no gate runs: the new key is asked about and used by the next one");
                return self.decide_alone(rotation);
            };
            self.check(&accounts, rotation)?;
            let seconds = seconds(&accounts, new);
            if !told {
                self.tell(&format!("canary: {} % of the reads go out with version {new}", rotation.share));
                told = true;
            }
            if seconds.iter().any(|second| second.refused == Some(rotation.old.into())) {
                self.tell("the upstream refuses the old key already, and takes the new one");
                return self.promote(rotation);
            }
            let good: u64 = seconds.iter().map(|second| second.good).sum();
            if good >= self.args.reads && !seconds.is_empty() {
                self.tell(&format!("{good} reads were answered to version {new}"));
                return self.promote(rotation);
            }
            if began.elapsed() >= self.args.within {
                self.tell(&format!("{good} reads were answered to version {new} in time: a read of our own decides"));
                return self.decide_alone(rotation);
            }
            thread::sleep(LOOK);
        }
    }

    fn decide_alone(&self, rotation: Rotation) -> Result<Next, Failure> {
        match self.ask(&self.key_of(rotation.new)?)? {
            Said::Takes => self.promote(rotation),
            Said::Refuses(status) => Err(self.take_back(rotation, status)?),
            Said::Unclear(why) => Err(unclear("new", &why).hint(self.resume_hint())),
        }
    }

    fn promote(&self, rotation: Rotation) -> Result<Next, Failure> {
        let Rotation { old, new, .. } = self.store.promote(&self.args.name)?;
        self.step("rotation-promoted", &format!("version {new} is in use in place of {old}"))?;
        debug_assert_eq!(rotation.new, new);
        Ok(Next::Again)
    }

    /// Waits until no call under way uses the old key.
    fn drain(&self, rotation: Rotation) -> Result<Next, Failure> {
        let mut told = false;
        while let Some(accounts) = self.gate.accounts()? {
            self.check(&accounts, rotation)?;
            let moved_on = |account: &Account| account.version != Some(rotation.old.into());
            let unused = seconds(&accounts, rotation.old).iter().all(|second| !second.in_use);
            if unused && accounts.iter().all(moved_on) {
                break;
            }
            if !told {
                self.tell(&format!("drain: calls under way may still use version {}", rotation.old));
                told = true;
            }
            thread::sleep(LOOK);
        }
        self.store.drained(&self.args.name)?;
        self.step("rotation-drained", &format!("no call uses version {} any more", rotation.old))?;
        Ok(Next::Again)
    }

    /// Asks the upstream whether it still takes the old key.
    fn certify(&self, rotation: Rotation) -> Result<Next, Failure> {
        let (began, old) = (Instant::now(), rotation.old);
        loop {
            let said = self.ask(&self.key_of(old)?)?;
            if let Said::Refuses(status) = said {
                self.step(
                    "rotation-certified",
                    &format!("version {old} is dead: the upstream refuses it with {status}"),
                )?;
                self.store.finish_rotation(&self.args.name)?;
                // So that it is gone from the gate's memory too.
                self.gate.accounts()?;
                return Ok(Next::Over);
            }
            if let Some(accounts) = self.gate.accounts()? {
                self.check(&accounts, rotation)?;
            }
            if began.elapsed() >= self.args.wait {
                return self.still_alive(rotation, &said);
            }
            thread::sleep(ASK_AGAIN);
        }
    }

    fn still_alive(&self, Rotation { old, new, .. }: Rotation, said: &Said) -> Result<Next, Failure> {
        let what = match said {
            Said::Unclear(why) => format!("version {old} was not seen dead: {why}"),
            _ => format!("version {old} still lives: the upstream takes it"),
        };
        self.step("rotation-former-alive", &format!("{what}; version {new} is in use"))?;
        let id = quoted(&self.args.name);
        output::note(&format!(
            "hint: withdraw the old key at the merchant API, then run `keygate credential rotate {id} --resume`\n"
        ));
        Ok(Next::Alive)
    }

    /// Ends the play when the gate has seen the new key refused where the old one was not.
    fn check(&self, accounts: &[Account], rotation: Rotation) -> Result<(), Failure> {
        let refused = |second: &SecondKey| second.refused == Some(rotation.new.into());
        match accounts.iter().filter_map(|account| account.second.as_ref()).find(|second| refused(second)) {
            Some(second) => Err(self.take_back(rotation, second.status.unwrap_or(401))?),
            None => Ok(()),
        }
    }

    /// Back to the old key alone; what to tell.
    fn take_back(&self, rotation: Rotation, status: u16) -> Result<Failure, Failure> {
        let Rotation { old, new, .. } = rotation;
        self.store.take_back(&self.args.name)?;
        let detail = format!("version {new} was refused with {status}; version {old} is in use");
        self.step("rotation-taken-back", &detail)?;
        self.gate.accounts()?;
        Ok(Failure::new(format!(
            "the upstream refuses the new key with {status}; it was taken back, the old one is in use"
        ))
        .hint("see at the merchant API what the new key may do, or make another, and rotate again"))
    }

    /// Back to the old key, as long as it lives.
    fn abort(&self, rotation: Rotation) -> Result<u8, Failure> {
        if rotation.phase != Phase::Canary {
            match self.ask(&self.key_of(rotation.old)?)? {
                Said::Takes => {}
                Said::Refuses(status) => {
                    return Err(Failure::new(format!(
                        "the upstream refuses the old key with {status}: there is no way back"
                    ))
                    .hint(self.resume_hint()));
                }
                Said::Unclear(why) => return Err(unclear("old", &why)),
            }
        }
        let Rotation { old, new, phase, .. } = self.store.take_back(&self.args.name)?;
        self.step("rotation-aborted", &format!("in phase {phase}: version {old} is in use, version {new} is gone"))?;
        self.gate.accounts()?;
        Ok(0)
    }

    /// A step was taken: on record, and told.
    fn step(&self, code: &str, detail: &str) -> Result<(), Failure> {
        let detail = format!("credential {}: {detail}", self.args.name);
        self.gate.note(code, &detail)?;
        output::note(&format!("{detail}\n"));
        Ok(())
    }

    fn tell(&self, what: &str) {
        output::note(&format!("credential {}: {what}\n", self.args.name));
    }

    fn ask(&self, credential: &Credential) -> Result<Said, Failure> {
        let path = read_path(&self.config.upstreams[self.upstream], credential, self.args.probe.as_deref())?;
        Ok(probe::ask(self.config, self.upstream, credential, &path))
    }

    /// The credential with the key of one of the two versions.
    fn key_of(&self, version: u32) -> Result<Credential, Failure> {
        let mut first = self.vault.fetch(&self.args.name)?;
        let other = first.other.take().map(|other: Box<Other>| other.credential);
        let both = other.into_iter().chain([first]);
        let gone = || Failure::new(format!("somebody else has ended the rotation of `{}`", self.args.name));
        both.into_iter().find(|credential| credential.version == u64::from(version)).ok_or_else(gone)
    }

    fn resume_hint(&self) -> String {
        format!("`keygate credential rotate {} --resume` goes on from here", quoted(&self.args.name))
    }
}

/// The second keys of this version.
fn seconds(accounts: &[Account], version: u32) -> Vec<&SecondKey> {
    let seconds = accounts.iter().filter_map(|account| account.second.as_ref());
    seconds.filter(|second| second.version == u64::from(version)).collect()
}

fn again(secret: &Secret) -> Secret {
    Secret::from_locked(Locked::copy_of(secret.expose()))
}

fn unclear(which: &str, why: &str) -> Failure {
    Failure::new(format!("whether the upstream takes the {which} key cannot be told: {why}"))
        .hint("`--probe PATH` names another read that the key may make")
}
