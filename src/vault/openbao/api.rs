//! What is common to all questions: how they are put, and what the server's answers mean.

use http::{Method, StatusCode};
use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::http::{Question, Server};
use crate::vault::document::{damaged, explain_json};
use crate::vault::https::Answer;
use crate::vault::{Secret, VaultError};

/// Room for the body of a question; a JWT is the longest thing in one.
const ROOM: usize = 32 * 1024;

/// A question that sends something along.
pub(super) fn post<'a>(path: &'a str, token: Option<&'a Secret>, body: &impl Serialize) -> Question<'a> {
    // Room enough that it never grows: no copy is left behind unwiped.
    let mut json = Zeroizing::new(Vec::with_capacity(ROOM));
    // A vector takes everything, and what is sent has no part that cannot be written.
    let _ = serde_json::to_writer(&mut *json, body);
    Question { method: Method::POST, path, token, body: json }
}

/// Asks, and hands a good answer on; `what` says what was asked for when the server says no.
pub(super) fn reply(server: &Server, question: Question<'_>, what: &str) -> Result<Answer, VaultError> {
    let answer = server.ask(question)?;
    judge(server, &answer, what)?;
    Ok(answer)
}

/// Whether an answer is a good one.
pub(super) fn judge(server: &Server, answer: &Answer, what: &str) -> Result<(), VaultError> {
    match answer.status {
        status if status.is_success() => Ok(()),
        status if status.is_redirection() => {
            Err(server.away("it points to another server; `address` must be that of the active one"))
        }
        // Sealed, standing by, not ready, too many requests, behind (412): it passes.
        status if status.is_server_error() || [412, 429, 472, 473].contains(&status.as_u16()) => {
            Err(server.away(told(status, answer)))
        }
        status => Err(refused(server, what, told(status, answer))),
    }
}

pub(super) fn refused(server: &Server, what: &str, why: impl Into<String>) -> VaultError {
    VaultError::Refused { place: server.place(), what: what.to_owned(), why: why.into() }
}

/// Reads a good answer.
pub(super) fn json<T: DeserializeOwned>(server: &Server, answer: &Answer) -> Result<T, VaultError> {
    serde_json::from_slice(&answer.body).map_err(|error| damaged(&server.place(), explain_json(&error)))
}

#[derive(Default, Deserialize)]
struct Errors {
    #[serde(default)]
    errors: Vec<String>,
}

/// The server's own words, if it has any.
pub(super) fn words(answer: &Answer) -> Option<String> {
    let Errors { errors } = serde_json::from_slice(&answer.body).unwrap_or_default();
    (!errors.is_empty()).then(|| harmless(&errors.join("; ")))
}

fn told(status: StatusCode, answer: &Answer) -> String {
    match words(answer) {
        Some(words) => format!("status {}: {words}", status.as_u16()),
        None => format!("status {}", status.as_u16()),
    }
}

/// Words of a server as they may stand in a log: short, printable, and nothing long enough to be a secret.
fn harmless(text: &str) -> String {
    let word = |word: &str| if word.len() < 24 { word.escape_debug().to_string() } else { "…".to_owned() };
    let words: Vec<String> = text.split_whitespace().take(40).map(word).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::harmless;

    #[test]
    fn a_servers_words_are_told_without_what_might_be_a_secret() {
        assert_eq!(harmless("permission denied"), "permission denied");
        assert_eq!(harmless("bad token s.cL1GA1UwfecoFkWQaf1bRIDW\n\u{7}"), "bad token … \\u{7}");
        assert!(harmless(&"word ".repeat(1000)).len() < 400);
    }
}
