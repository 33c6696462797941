//! What an endpoint answers, and the JSON envelope that every answer of the API stands in.

use bytes::Bytes;
use http::StatusCode;
use http::header::{ALLOW, CONTENT_DISPOSITION, CONTENT_TYPE, HeaderName, HeaderValue};
use serde::Serialize;
use std::fmt::Write as _;
use uuid::Uuid;

/// The type of every answer that is not a document or a rate limit.
pub const JSON: &str = "application/json; charset=utf-8";

/// What an endpoint makes of a call.
pub type Outcome = Result<Reply, Problem>;

/// A success, still without its envelope.
#[derive(Debug)]
pub enum Reply {
    /// Nothing to show but the status, 200 or 201.
    Done(StatusCode),
    /// One thing, as rendered JSON.
    Single(String),
    /// One page of a list.
    List(List),
    /// A document; never in an envelope.
    Document {
        /// Media type.
        content_type: &'static str,
        /// File name for `content-disposition`; printable ASCII without quotes.
        name: String,
        /// The document itself.
        bytes: Vec<u8>,
    },
}

impl Reply {
    /// One thing that serde can render.
    pub fn single(content: &impl Serialize) -> Outcome {
        serde_json::to_string(content).map(Self::Single).map_err(|_| Problem::server_error())
    }
}

/// One page of a list: its items joined by commas, ready to be set between brackets.
#[derive(Debug, Default)]
pub struct List {
    /// The items' JSON, joined by commas.
    pub items: String,
    /// How many items stand in `items`.
    pub count: usize,
    /// How many items there are on all pages.
    pub total: usize,
    /// The most items a page may hold.
    pub per_page: usize,
}

impl List {
    /// Takes page `page` (from 0) of `all`, each rendered JSON already.
    pub fn page<'a>(all: impl Iterator<Item = &'a str>, page: usize, per_page: usize) -> Self {
        let first = page.saturating_mul(per_page);
        let mut list = Self { per_page, ..Self::default() };
        for item in all {
            if list.total >= first && list.count < per_page {
                if list.count > 0 {
                    list.items.push(',');
                }
                list.items.push_str(item);
                list.count += 1;
            }
            list.total += 1;
        }
        list
    }

    /// The same for things that serde renders here.
    pub fn render<'a, T: Serialize + 'a>(all: impl Iterator<Item = &'a T>, page: usize, per_page: usize) -> Self {
        let rendered: Vec<String> = all.filter_map(|item| serde_json::to_string(item).ok()).collect();
        Self::page(rendered.iter().map(String::as_str), page, per_page)
    }
}

/// A failure in the API's own terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status, repeated in the envelope.
    pub status: StatusCode,
    /// `Message` of the envelope.
    pub message: String,
    /// `ValidationErrors`: field path, complaints.
    pub validation: Vec<(String, Vec<String>)>,
    /// For 405: the methods that the path knows.
    pub allow: Option<String>,
}

impl Problem {
    /// Any status with a message.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), validation: Vec::new(), allow: None }
    }

    /// 400 with the fields that are wrong.
    pub fn invalid(validation: Vec<(String, Vec<String>)>) -> Self {
        Self { validation, ..Self::new(StatusCode::BAD_REQUEST, "Bad request") }
    }

    /// 400 for one field.
    pub fn invalid_field(field: impl Into<String>, complaint: impl Into<String>) -> Self {
        Self::invalid(vec![(field.into(), vec![complaint.into()])])
    }

    /// 404 for a thing that is not there.
    pub fn missing(what: &str, name: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("{what} '{name}' was not found."))
    }

    /// 409 for what was done before.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }

    /// 500.
    pub fn server_error() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "An unexpected error occurred. Please try again later.")
    }
}

/// A finished answer: status, headers, body.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// All headers but `content-length`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The whole body.
    pub body: Bytes,
}

impl Answer {
    /// An answer outside the envelope.
    pub fn plain(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self { status, headers: vec![(CONTENT_TYPE, HeaderValue::from_static(content_type))], body: body.into() }
    }

    /// Puts an outcome into the envelope. `log_id` and `request_id` are the API's handles for support.
    pub fn render(outcome: Outcome, log_id: Uuid, request_id: u64) -> Self {
        match outcome {
            Ok(Reply::Done(status)) => Self::json(status, &Tail::success(status, log_id, request_id).close("")),
            Ok(Reply::Single(content)) => {
                let tail = Tail::success(StatusCode::OK, log_id, request_id);
                Self::json(StatusCode::OK, &tail.close(&format!("\"Content\":{content},")))
            }
            Ok(Reply::List(list)) => {
                let tail = Tail::success(StatusCode::OK, log_id, request_id);
                Self::json(StatusCode::OK, &tail.close(&list_head(&list)))
            }
            Ok(Reply::Document { content_type, name, bytes }) => {
                let mut answer = Self::plain(StatusCode::OK, content_type, bytes);
                if let Ok(value) = HeaderValue::try_from(format!("attachment; filename=\"{name}\"")) {
                    answer.headers.push((CONTENT_DISPOSITION, value));
                }
                answer
            }
            Err(problem) => Self::problem(&problem, log_id, request_id),
        }
    }

    fn problem(problem: &Problem, log_id: Uuid, request_id: u64) -> Self {
        let tail = Tail { status: problem.status, log_id, request_id, problem: Some(problem) };
        let mut answer = Self::json(problem.status, &tail.close(""));
        if let Some(Ok(allow)) = problem.allow.as_deref().map(HeaderValue::from_str) {
            answer.headers.push((ALLOW, allow));
        }
        answer
    }

    fn json(status: StatusCode, body: &str) -> Self {
        Self::plain(status, JSON, body.to_owned())
    }
}

fn list_head(list: &List) -> String {
    let List { items, count, total, per_page } = list;
    format!("\"Content\":[{items}],\"Count\":{count},\"TotalCount\":{total},\"ItemsPerPage\":{per_page},")
}

/// The fields that every envelope ends with.
struct Tail<'a> {
    status: StatusCode,
    log_id: Uuid,
    request_id: u64,
    problem: Option<&'a Problem>,
}

impl Tail<'_> {
    fn success(status: StatusCode, log_id: Uuid, request_id: u64) -> Self {
        Self { status, log_id, request_id, problem: None }
    }

    fn close(&self, head: &str) -> String {
        let message = self.problem.map(|problem| problem.message.as_str());
        let errors = self.problem.map_or(&[][..], |problem| &problem.validation);
        let mut text = String::with_capacity(head.len() + 256);
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "{{{head}\"StatusCode\":{},\"RequestId\":\"{:016X}\",\"LogId\":\"{}\",\"Success\":{},\"Message\":{},\
             \"ExceptionType\":null,\"ValidationErrors\":{}}}",
            self.status.as_u16(),
            self.request_id,
            self.log_id.simple(),
            self.problem.is_none(),
            serde_json::json!(message),
            dictionary(errors),
        );
        text
    }
}

/// Renders `{field: [complaints]}`.
pub fn dictionary(entries: &[(String, Vec<String>)]) -> serde_json::Value {
    entries.iter().map(|(field, complaints)| (field.clone(), serde_json::json!(complaints))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(outcome: Outcome) -> serde_json::Value {
        serde_json::from_slice(&Answer::render(outcome, Uuid::nil(), 7).body).unwrap()
    }

    #[test]
    fn a_list_says_how_many_there_are_on_all_pages() {
        let items: Vec<String> = (0..5).map(|n| n.to_string()).collect();
        let shown = body(Ok(Reply::List(List::page(items.iter().map(String::as_str), 1, 2))));
        assert_eq!(shown["Content"], serde_json::json!([2, 3]));
        assert_eq!((&shown["Count"], &shown["TotalCount"], &shown["ItemsPerPage"]), (&2.into(), &5.into(), &2.into()));
        assert_eq!(shown["Success"], true);
    }

    #[test]
    fn a_page_beyond_the_end_is_empty_and_still_a_success() {
        let shown = body(Ok(Reply::List(List::page(["1"].into_iter(), usize::MAX, 100))));
        assert_eq!(shown["Content"], serde_json::json!([]));
        assert_eq!(shown["TotalCount"], 1);
    }

    #[test]
    fn a_problem_carries_its_fields() {
        let shown = body(Err(Problem::invalid_field("Model.Price", "'Price' is \"odd\"")));
        assert_eq!(shown["StatusCode"], 400);
        assert_eq!(shown["Success"], false);
        assert_eq!(shown["ValidationErrors"]["Model.Price"][0], "'Price' is \"odd\"");
    }
}
