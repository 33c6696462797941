//! What the command `credential rotate` asks of a running gate: to look at the vault at once and tell how the credentials
//! stand, and to put a step on record. No key passes here in either direction.

use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};

use crate::gateway::{Shared, note_event};

/// `POST`: looks at the vault and answers with a list of accounts, when all that was found is in use.
pub const LOOK: &str = "/vault/look";
/// `POST`: puts a step of a rotation on record and answers when that is durable.
pub const NOTE: &str = "/vault/note";

/// A step is a line or two, bytes.
const LONGEST: usize = 4096;

/// The codes of a rotation's steps, as they stand in the record.
const CODES: [&str; 7] = [
    "rotation-begun",
    "rotation-promoted",
    "rotation-drained",
    "rotation-certified",
    "rotation-former-alive",
    "rotation-taken-back",
    "rotation-aborted",
];

/// A step of a rotation.
#[derive(Debug, Serialize, Deserialize)]
pub struct Step {
    /// One of a few words.
    pub code: String,
    /// For people.
    pub detail: String,
}

impl Step {
    /// The code as the record has it; `None` when it is none of a rotation.
    pub fn code(&self) -> Option<&'static str> {
        CODES.into_iter().find(|code| *code == self.code)
    }
}

type Answer = (StatusCode, &'static str, String);

fn plain(status: StatusCode, text: &str) -> Answer {
    (status, "text/plain; charset=utf-8", format!("{text}\n"))
}

pub(super) async fn look(shared: &Shared) -> Answer {
    match shared.ring.look().await.map(|accounts| serde_json::to_string(&accounts)) {
        Some(Ok(json)) => (StatusCode::OK, "application/json", json),
        _ => plain(StatusCode::SERVICE_UNAVAILABLE, "nobody looks at the vault any more: the gate is ending"),
    }
}

pub(super) async fn note(shared: &Shared, body: Incoming) -> Answer {
    let Ok(body) = Limited::new(body, LONGEST).collect().await else {
        return plain(StatusCode::PAYLOAD_TOO_LARGE, "a step is a line or two");
    };
    let bytes: Bytes = body.to_bytes();
    let Some((code, detail)) = serde_json::from_slice::<Step>(&bytes).ok().and_then(|s| Some((s.code()?, s.detail)))
    else {
        return plain(StatusCode::BAD_REQUEST, "not a step of a rotation");
    };
    match note_event(&shared.log, code, detail).await {
        Ok(_) => plain(StatusCode::OK, "on record"),
        Err(_) => plain(StatusCode::SERVICE_UNAVAILABLE, "the audit log is closed"),
    }
}
