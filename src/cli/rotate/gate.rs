//! The running gate, from the command's side: what it has seen of the keys, and its log. Where no gate runs, the log is
//! opened for a moment.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::admin::{LOOK, NOTE, Step};
use crate::assemble;
use crate::cli::output::quoted_path;
use crate::cli::report::Failure;
use crate::config::Config;
use crate::running;
use crate::vault::Account;

/// How long a gate that runs may not answer: it is starting or ending.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries.
const AGAIN: Duration = Duration::from_millis(50);
/// A look asks the vault; a busy machine forgives nothing less.
const ANSWER: Duration = Duration::from_secs(60);

/// The gate that runs with a configuration, or none.
pub struct Gate<'a> {
    config: &'a Config,
    credential: &'a str,
    /// A gate has answered: one that is gone now may come back.
    seen: Cell<bool>,
}

impl<'a> Gate<'a> {
    /// Fails when a gate runs that cannot be spoken to: a rotation must not be driven blindly.
    pub fn new(config: &'a Config, credential: &'a str) -> Result<Self, Failure> {
        let gate = Self { config, credential, seen: Cell::new(false) };
        if config.admin.is_none() && gate.runs()? {
            return Err(Failure::new(
                "a gate runs, and it has no admin socket: what it sees of the keys cannot be known",
            )
            .hint(
                "add `[admin]` with `address = \"unix:audit/admin.sock\"` to the configuration and restart the gate",
            ));
        }
        Ok(gate)
    }

    fn runs(&self) -> Result<bool, Failure> {
        let told = running::ask(&self.config.audit.directory).map_err(|error| {
            Failure::new("whether a gate runs cannot be told")
                .because(error)
                .hint("run this command as the user that runs the gate")
        })?;
        Ok(told.is_some())
    }

    /// Has the gate look at the vault, and tells how it stands with the credential, once for each upstream that uses it.
    /// `None` when no gate runs.
    pub fn accounts(&self) -> Result<Option<Vec<Account>>, Failure> {
        let Some(text) = self.ask(LOOK, b"")? else { return Ok(None) };
        let accounts: Vec<Account> = serde_json::from_slice(&text).map_err(|error| {
            Failure::new("the gate's answer makes no sense").because(error).hint("is it another version?")
        })?;
        Ok(Some(accounts.into_iter().filter(|account| *account.credential == *self.credential).collect()))
    }

    /// Puts a step on record, with the gate's log or alone.
    pub fn note(&self, code: &str, detail: &str) -> Result<(), Failure> {
        let step = Step { code: code.to_owned(), detail: detail.to_owned() };
        let body = serde_json::to_vec(&step).map_err(|error| Failure::new("cannot write JSON").because(error))?;
        let unknown = || Failure::new(format!("`{code}` is no step of a rotation"));
        let code = step.code().ok_or_else(unknown)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            if self.ask(NOTE, &body)?.is_some() {
                return Ok(());
            }
            match assemble::note_alone(self.config, code, detail.to_owned()) {
                // A gate that starts at this moment has the log already, and cannot be spoken to yet.
                Err(_) if Instant::now() < deadline => thread::sleep(AGAIN),
                noted => return noted,
            }
        }
    }

    /// The answer of the gate, `None` when none runs. One that is starting, or was there just now, is waited for.
    fn ask(&self, path: &str, body: &[u8]) -> Result<Option<Vec<u8>>, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let Some(admin) = &self.config.admin else { return Ok(None) };
            if !self.runs()? {
                if self.seen.get() && Instant::now() < deadline {
                    thread::sleep(AGAIN);
                    continue;
                }
                self.seen.set(false);
                return Ok(None);
            }
            match post(&admin.socket, path, body) {
                Ok((200, answer)) => {
                    self.seen.set(true);
                    return Ok(Some(answer));
                }
                Ok((status, answer)) if status != 503 || Instant::now() > deadline => {
                    let why = String::from_utf8_lossy(&answer).trim().to_owned();
                    return Err(Failure::new(format!("the running gate says {status}")).because(why));
                }
                Err(error) if Instant::now() > deadline => {
                    return Err(Failure::new(format!(
                        "the running gate does not answer on {}",
                        quoted_path(&admin.socket)
                    ))
                    .because(error)
                    .hint("run this command as the user that runs the gate"));
                }
                _ => thread::sleep(AGAIN),
            }
        }
    }
}

fn post(socket: &Path, path: &str, body: &[u8]) -> io::Result<(u16, Vec<u8>)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(ANSWER))?;
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: gate\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let broken = || io::Error::new(io::ErrorKind::UnexpectedEof, "it broke off");
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(broken)?;
    let head = String::from_utf8_lossy(&answer[..end]);
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(broken)?;
    Ok((status, answer.split_off(end + 4)))
}
