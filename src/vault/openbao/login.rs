//! How the gate proves to the server who it is, and what it gets for it: a token with an end.

use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use http::Method;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::api::{json, post, refused, reply};
use super::http::{Question, Server};
use crate::config::Login;
use crate::vault::age_file::Key;
use crate::vault::arena::Locked;
use crate::vault::{Secret, VaultError, private_file};

/// Tells what a token is good for; every token may ask.
pub(super) const LOOK_UP: &str = "auth/token/lookup-self";

/// A token that the server takes.
pub(super) struct Session {
    pub(super) token: Secret,
    /// Whether it was issued to us by a login, so that it is ours to give back.
    pub(super) issued: bool,
    renewable: bool,
    begun: Instant,
    /// How long it lives from `begun` on; for ever when absent.
    life: Option<Duration>,
}

/// A secret id that was unwrapped, with the digest of what it was wrapped in: it can be unwrapped only once.
#[derive(Default)]
pub(super) struct Unwrapped(Option<([u8; 32], Secret)>);

#[derive(Deserialize)]
struct LoggedIn {
    auth: Auth,
}

/// What a login or a renewal gives.
#[derive(Deserialize)]
struct Auth {
    client_token: Key,
    lease_duration: u64,
    renewable: bool,
}

impl Session {
    fn new(auth: &Auth, issued: bool) -> Self {
        Self {
            token: Secret::from_locked(Locked::copy_of(&auth.client_token.0)),
            issued,
            renewable: auth.renewable,
            begun: Instant::now(),
            life: life(auth.lease_duration),
        }
    }

    /// Whether it has come to its end.
    pub(super) fn is_over(&self) -> bool {
        self.life.is_some_and(|life| self.begun.elapsed() >= life)
    }

    /// In how long something should be done for it: when two thirds of its life are over.
    pub(super) fn due(&self) -> Option<Duration> {
        let life = self.life?;
        Some((life * 2 / 3).saturating_sub(self.begun.elapsed()))
    }

    /// How long it lives, for people.
    pub(super) fn told(&self) -> String {
        match self.life {
            None => "it has no end".to_owned(),
            Some(life) => {
                let renewable = if self.renewable { "can" } else { "cannot" };
                format!("it lives {} s and {renewable} be renewed", life.as_secs())
            }
        }
    }

    /// Makes its life longer. `false` when it cannot be, or would not live much longer: a login is due then.
    pub(super) fn renew(&mut self, server: &Server) -> Result<bool, VaultError> {
        if !self.renewable {
            return Ok(false);
        }
        let question = post("auth/token/renew-self", Some(&self.token), &serde_json::json!({}));
        let LoggedIn { auth } = match reply(server, question, "to renew the token") {
            Err(VaultError::Refused { .. }) => return Ok(false),
            answer => json(server, &answer?)?,
        };
        // Near the end of its longest life the server gives less and less, and nothing at last.
        let (former, now) = (self.life.unwrap_or_default(), Duration::from_secs(auth.lease_duration));
        if !now.is_zero() {
            *self = Self::new(&auth, self.issued);
        }
        Ok(now > former / 2)
    }

    /// Gives an issued token back, so that it does not live on without anybody using it.
    pub(super) fn end(&self, server: &Server) {
        if self.issued {
            let question = post("auth/token/revoke-self", Some(&self.token), &serde_json::json!({}));
            // A server that is away forgets it at its end.
            let _ = server.ask_within(question, Duration::from_secs(1));
        }
    }
}

fn life(seconds: u64) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

/// Logs in.
pub(super) fn login(server: &Server, how: &Login, unwrapped: &mut Unwrapped) -> Result<Session, VaultError> {
    match how {
        Login::Token { file } => token(server, read(file)?),
        Login::AppRole { mount, role_id, secret_id_file, wrapped } => {
            #[derive(Serialize)]
            struct Body<'a> {
                role_id: &'a str,
                secret_id: &'a str,
            }
            let file = read(secret_id_file)?;
            let log_in = |secret_id: &Secret| {
                let secret_id = text(server, secret_id)?;
                let path = format!("auth/{mount}/login");
                let question = post(&path, None, &Body { role_id, secret_id });
                issued(server, question, "the login by approle")
            };
            if *wrapped { log_in(unwrapped.secret_id(server, mount, &file)?) } else { log_in(&file) }
        }
        Login::Jwt { mount, role, file } => {
            #[derive(Serialize)]
            struct Body<'a> {
                role: &'a str,
                jwt: &'a str,
            }
            let file = read(file)?;
            let (path, jwt) = (format!("auth/{mount}/login"), text(server, &file)?);
            issued(server, post(&path, None, &Body { role, jwt }), "the login by JWT")
        }
        Login::Certificate { mount, role, .. } => {
            #[derive(Serialize)]
            struct Body<'a> {
                #[serde(skip_serializing_if = "Option::is_none")]
                name: Option<&'a str>,
            }
            let (path, body) = (format!("auth/{mount}/login"), Body { name: role.as_deref() });
            issued(server, post(&path, None, &body), "the login by certificate")
        }
    }
}

fn issued(server: &Server, question: Question<'_>, what: &str) -> Result<Session, VaultError> {
    let LoggedIn { auth } = json(server, &reply(server, question, what)?)?;
    Ok(Session::new(&auth, true))
}

/// A token that somebody else keeps: what it is good for is asked of the server.
fn token(server: &Server, token: Secret) -> Result<Session, VaultError> {
    #[derive(Deserialize)]
    struct Looked {
        data: Facts,
    }
    #[derive(Deserialize)]
    struct Facts {
        ttl: u64,
        #[serde(default)]
        renewable: bool,
    }
    let question = Question { method: Method::GET, path: LOOK_UP, token: Some(&token), body: Zeroizing::default() };
    let Looked { data } = json(server, &reply(server, question, "the token of `token_file`")?)?;
    Ok(Session { token, issued: false, renewable: data.renewable, begun: Instant::now(), life: life(data.ttl) })
}

impl Unwrapped {
    /// The secret id that is wrapped in `token`. It is unwrapped once and kept, because a second time is refused.
    fn secret_id(&mut self, server: &Server, mount: &str, token: &Secret) -> Result<&Secret, VaultError> {
        let seen = digest(&SHA256, token.expose());
        let known = self.0.as_ref().is_some_and(|(wrapping, _)| wrapping == seen.as_ref());
        if !known {
            let fresh = looked_up(server, mount, token).and_then(|()| unwrap(server, token));
            match (fresh, &self.0) {
                (Ok(secret_id), _) => {
                    let mut wrapping = [0; 32];
                    wrapping.copy_from_slice(seen.as_ref());
                    self.0 = Some((wrapping, secret_id));
                }
                // What was unwrapped before may still be good.
                (Err(_), Some(_)) => {}
                (Err(error), None) => return Err(error),
            }
        }
        self.0.as_ref().map(|(_, secret_id)| secret_id).ok_or_else(|| server.away("nothing was unwrapped"))
    }
}

/// Whether a wrapping token is good and was made by the role it should be from. Asking does not use it up. Somebody who
/// took the secret id could have put another one in its place, wrapped anew: that one has another origin.
pub(super) fn looked_up(server: &Server, mount: &str, token: &Secret) -> Result<(), VaultError> {
    #[derive(Serialize)]
    struct Body<'a> {
        token: &'a str,
    }
    #[derive(Deserialize)]
    struct Looked {
        data: Origin,
    }
    #[derive(Deserialize)]
    struct Origin {
        creation_path: String,
    }
    let what = "the wrapping token of `secret_id_file` (it is used up, too old or wrong; when nobody of yours used it, \
                somebody else has)";
    let question = post("sys/wrapping/lookup", None, &Body { token: text(server, token)? });
    let Looked { data } = json(server, &reply(server, question, what)?)?;
    let made_here = data.creation_path.strip_prefix("auth/").and_then(|rest| rest.strip_prefix(mount));
    if made_here.is_some_and(|rest| rest.starts_with("/role/") && rest.ends_with("/secret-id")) {
        return Ok(());
    }
    let why = format!("it does not wrap a secret id of `auth/{mount}`: somebody may have put it there");
    Err(VaultError::Refused { place: server.place(), what: "the wrapping token of `secret_id_file`".to_owned(), why })
}

fn unwrap(server: &Server, token: &Secret) -> Result<Secret, VaultError> {
    #[derive(Deserialize)]
    struct Unwrapped {
        data: Data,
    }
    #[derive(Deserialize)]
    struct Data {
        secret_id: Key,
    }
    let question = post("sys/wrapping/unwrap", Some(token), &serde_json::json!({}));
    let Unwrapped { data } = json(server, &reply(server, question, "to unwrap the secret id")?)?;
    Ok(Secret::from_locked(data.secret_id.0))
}

/// A secret of one line from a file; the end of the line is not part of it.
pub(super) fn read(file: &std::path::Path) -> Result<Secret, VaultError> {
    let (bytes, _) = private_file::read_mounted(file)?;
    let secret = bytes.trim_ascii();
    if secret.is_empty() || !secret.iter().all(u8::is_ascii_graphic) {
        let (place, why) = (file.display().to_string(), "it must hold one line with the secret alone".to_owned());
        return Err(VaultError::Damaged { place, why });
    }
    Ok(Secret::from_locked(Locked::copy_of(secret)))
}

fn text<'a>(server: &Server, secret: &'a Secret) -> Result<&'a str, VaultError> {
    let odd = |_| refused(server, "a login", "the secret is no text");
    std::str::from_utf8(secret.expose()).map_err(odd)
}
