//! Every answer that Keygate gives itself. Reply, record and counter are all made from the same code.

use std::fmt::Write;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::json;
use uuid::Uuid;

use crate::audit::Closed;
use crate::causes::chain;
use crate::limit::Limited;
use crate::policy::head::Unacceptable;
use crate::policy::target::Ambiguous;
use crate::policy::{Denied, Misread, Unproven};
use crate::profile::Envelope;
use crate::upstream::UpstreamError;
use crate::vault::Unusable;

/// Why a call was not answered by the merchant API. Built from each step's own error with `?`.
pub enum Refusal {
    /// The head is not one that this gate serves.
    Head(Unacceptable),
    /// The query can be read in two ways.
    Target(Ambiguous),
    /// Nobody was identified.
    Identity(Unproven),
    /// The target means no endpoint.
    Call(Misread),
    /// The policy says no.
    Policy(Denied),
    /// A limit says not now.
    Limit(Limited),
    /// There is no credential to send.
    Credential(Unusable),
    /// The merchant API did not answer.
    Upstream(UpstreamError),
    /// The record cannot be kept.
    Audit(Closed),
    /// Too many calls are under way.
    Overloaded,
    /// A fault of ours.
    Internal,
}

/// On a refusal of a request that RFC 9113 calls malformed: over HTTP/2 its stream is reset instead of answered.
#[derive(Clone, Copy)]
pub struct Malformed;

/// Whose fault a refusal is; it decides the log level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The integration's, or it is as it should be (a limit, a rule).
    Client,
    /// Of whoever runs the gate.
    Operator,
    /// The merchant API's.
    Merchant,
    /// Ours.
    Us,
}

impl Refusal {
    /// The stable code: header `keygate-refusal`, field `refusal` of the record, label of the counter.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Head(why) => why.code(),
            Self::Target(why) => why.code(),
            Self::Identity(why) => why.code(),
            Self::Call(why) => why.code(),
            Self::Policy(why) => why.code(),
            Self::Limit(why) => why.bucket.limit.level.code(),
            Self::Credential(_) => "credential_unavailable",
            Self::Upstream(why) => why.code(),
            Self::Audit(Closed::ReadsOnly) => "audit_reads_only",
            Self::Audit(_) => "audit_unavailable",
            Self::Overloaded => "overloaded",
            Self::Internal => "internal",
        }
    }

    /// The status, by an exhaustive match: a new reason has to say its own.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Head(Unacceptable::Method) | Self::Call(Misread::UnknownMethod(_)) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Head(Unacceptable::TooLarge(_)) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Head(Unacceptable::TargetTooLong(_)) => StatusCode::URI_TOO_LONG,
            Self::Head(Unacceptable::BodyTooLarge(_)) | Self::Upstream(UpstreamError::BodyTooLarge(_)) => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            Self::Head(
                Unacceptable::Upgrade
                | Unacceptable::Host
                | Unacceptable::Padded
                | Unacceptable::Framing
                | Unacceptable::Name,
            )
            | Self::Target(_)
            | Self::Call(Misread::Ambiguous(_))
            | Self::Upstream(UpstreamError::UploadBroken) => StatusCode::BAD_REQUEST,
            Self::Identity(_) => StatusCode::UNAUTHORIZED,
            Self::Call(Misread::OutsideBasePath(_) | Misread::UnknownPath(_)) => StatusCode::NOT_FOUND,
            Self::Policy(_) => StatusCode::FORBIDDEN,
            Self::Limit(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Upstream(UpstreamError::UploadTimeout(_) | UpstreamError::UploadTooSlow(..)) => {
                StatusCode::REQUEST_TIMEOUT
            }
            Self::Upstream(
                UpstreamError::ConnectTimeout(_)
                | UpstreamError::HeadTimeout(_)
                | UpstreamError::TotalTimeout(_)
                | UpstreamError::BodyTimeout(_),
            ) => StatusCode::GATEWAY_TIMEOUT,
            Self::Upstream(
                UpstreamError::Unreachable(_)
                | UpstreamError::Tls(_)
                | UpstreamError::Broken(_)
                | UpstreamError::Encoded(_),
            ) => StatusCode::BAD_GATEWAY,
            Self::Credential(_)
            | Self::Audit(_)
            | Self::Overloaded
            | Self::Upstream(UpstreamError::NoDescriptor(_)) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Whether the request was malformed, as RFC 9113 has it.
    pub fn is_malformed(&self) -> bool {
        matches!(self, Self::Head(why) if why.is_malformed())
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Head(_) | Self::Target(_) | Self::Identity(_) | Self::Call(_) | Self::Policy(_) | Self::Limit(_) => {
                Fault::Client
            }
            Self::Upstream(
                UpstreamError::BodyTooLarge(_)
                | UpstreamError::UploadTimeout(_)
                | UpstreamError::UploadTooSlow(..)
                | UpstreamError::UploadBroken,
            ) => Fault::Client,
            Self::Credential(_)
            | Self::Audit(_)
            | Self::Overloaded
            | Self::Upstream(UpstreamError::NoDescriptor(_)) => Fault::Operator,
            Self::Upstream(_) => Fault::Merchant,
            Self::Internal => Fault::Us,
        }
    }

    /// What the integration may read: what happened, and what to ask for.
    pub fn message(&self) -> String {
        let (what, ask) = match self {
            Self::Head(why) => (why.to_string(), None),
            Self::Identity(why) => (why.to_string(), Some(ask_for_key(why))),
            Self::Target(why) | Self::Call(Misread::Ambiguous(why)) => (why.to_string(), Some(ENCODE.to_owned())),
            Self::Call(why) => (why.to_string(), None),
            Self::Policy(why) => (why.to_string(), Some(ask_owner(why.integration.owner.as_deref(), &why.ask_for()))),
            Self::Limit(why) => (why.to_string(), None),
            Self::Credential(_) => (
                "the gate has no usable credential for this upstream".to_owned(),
                Some("the operator finds the reason in the gate's log and in the audit log".to_owned()),
            ),
            Self::Upstream(why @ UpstreamError::NoDescriptor(_)) => {
                (why.to_string(), Some("try again in a second".to_owned()))
            }
            Self::Upstream(why) => (why.to_string(), None),
            Self::Audit(why @ Closed::ReadsOnly) => {
                (why.to_string(), Some("try again later; the operator has to make room".to_owned()))
            }
            Self::Audit(_) => (
                "the gate cannot keep its audit log, so it lets no call pass".to_owned(),
                Some("the operator finds the reason in the gate's log".to_owned()),
            ),
            Self::Overloaded => ("too many calls are under way".to_owned(), Some("try again in a second".to_owned())),
            Self::Internal => ("the gate itself failed".to_owned(), None),
        };
        let mut text = format!("Keygate: {what}.");
        if let Some(ask) = ask {
            let mut ask = ask.chars();
            if let Some(first) = ask.next() {
                let _ = write!(text, " {}{}.", first.to_uppercase(), ask.as_str());
            }
        }
        text
    }

    /// What the log gets to read on top: causes that the integration need not know.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::Credential(why) => Some(why.to_string()),
            Self::Upstream(why) => Some(chain(why)),
            Self::Head(_)
            | Self::Target(_)
            | Self::Identity(_)
            | Self::Call(_)
            | Self::Policy(_)
            | Self::Limit(_)
            | Self::Audit(_)
            | Self::Overloaded
            | Self::Internal => None,
        }
    }

    /// Header fields that belong to this refusal alone.
    fn extra(&self, headers: &mut HeaderMap) {
        match self {
            Self::Identity(_) => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"keygate\""));
            }
            Self::Limit(why) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(why.seconds()));
            }
            Self::Overloaded | Self::Upstream(UpstreamError::NoDescriptor(_)) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            Self::Call(Misread::UnknownMethod(methods)) => {
                let head = methods.contains(&http::Method::GET).then_some("HEAD");
                let list: Vec<_> = methods.iter().map(http::Method::as_str).chain(head).collect();
                if let Ok(value) = HeaderValue::from_str(&list.join(", ")) {
                    headers.insert(header::ALLOW, value);
                }
            }
            Self::Head(_)
            | Self::Target(_)
            | Self::Call(_)
            | Self::Policy(_)
            | Self::Credential(_)
            | Self::Upstream(_)
            | Self::Audit(_)
            | Self::Internal => {}
        }
    }

    /// The refusal as a reply in the profile's own shape.
    pub fn render(&self, envelope: Envelope, record: Uuid) -> (http::response::Parts, Bytes) {
        let (mut head, ()) = http::Response::new(()).into_parts();
        head.status = self.status();
        let (kind, body) = match envelope {
            Envelope::ChannelEngine => ("application/json; charset=utf-8", self.channelengine(record)),
            Envelope::Problem => ("application/problem+json", self.problem(record)),
        };
        head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        head.headers.insert(REFUSAL_HEADER, HeaderValue::from_static(self.code()));
        self.extra(&mut head.headers);
        (head, Bytes::from(body.to_string()))
    }

    fn channelengine(&self, record: Uuid) -> serde_json::Value {
        json!({
            "StatusCode": self.status().as_u16(),
            "LogId": record,
            "Success": false,
            "Message": self.message(),
            "ValidationErrors": {},
        })
    }

    fn problem(&self, record: Uuid) -> serde_json::Value {
        json!({
            "type": format!("urn:keygate:refusal:{}", self.code()),
            "title": self.status().canonical_reason(),
            "status": self.status().as_u16(),
            "detail": self.message(),
            "instance": format!("urn:uuid:{record}"),
        })
    }
}

/// Header that names the refusal.
pub const REFUSAL_HEADER: &str = "keygate-refusal";
/// Header that names the record.
pub const RECORD_HEADER: HeaderName = HeaderName::from_static("keygate-record");

const ENCODE: &str = "send the target in its plain form, each value percent-encoded once";

fn ask_for_key(why: &Unproven) -> String {
    match why {
        Unproven::Missing(slots) => {
            format!("put it where the API's own key goes ({slots}), or into the header `authorization: Bearer kg_…`")
        }
        Unproven::Differ => "send the key in one place only".to_owned(),
        Unproven::Malformed => "a scoped key begins with `kg_`; the API's own key is not to be sent here".to_owned(),
        Unproven::Unknown => "ask the operator of this gate for a key (`keygate integration add`)".to_owned(),
        Unproven::Expired(it) | Unproven::Revoked(it) => {
            ask_owner(it.owner.as_deref(), "have a new key made (`keygate integration rotate`)")
        }
    }
}

fn ask_owner(owner: Option<&str>, what: &str) -> String {
    format!("ask {} to {what}", owner.unwrap_or("the operator of this gate"))
}

macro_rules! from {
    ($($error:ty => $variant:ident),* $(,)?) => {
        $(impl From<$error> for Refusal {
            fn from(why: $error) -> Self {
                Self::$variant(why)
            }
        })*
    };
}

from! {
    Unacceptable => Head,
    Ambiguous => Target,
    Unproven => Identity,
    Misread => Call,
    Denied => Policy,
    Limited => Limit,
    Unusable => Credential,
    UpstreamError => Upstream,
    Closed => Audit,
}
