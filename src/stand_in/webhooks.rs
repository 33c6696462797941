//! Webhooks: registered and remembered, never called.

use super::envelope::{List, Outcome, Problem, Reply};
use super::fields::Reader;
use super::state::{Call, State};
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;

const EVENTS: [&str; 7] = [
    "ORDERS_CREATE",
    "ORDERS_CHANGE",
    "PRODUCTS_CHANGE",
    "RETURNS_CHANGE",
    "SHIPMENTS_CHANGE",
    "NOTIFICATIONS_CREATE",
    "BUNDLE_PRODUCTS_CHANGE",
];

/// One webhook.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Webhook {
    name: String,
    url: String,
    is_active: bool,
    events: Vec<&'static str>,
}

fn read(call: &Call) -> Result<Webhook, Problem> {
    let body = call.json()?;
    let mut reader = Reader::default();
    let request = reader.object(&body, "");
    let name = reader.required_text(&request, "Name", 128);
    let url = reader.required_text(&request, "Url", 1_028);
    let is_active = reader.flag(&request, "IsActive");
    let words = request.get("Events").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let known = |word: &Value| {
        EVENTS.iter().copied().find(|event| word.as_str().is_some_and(|word| word.eq_ignore_ascii_case(event)))
    };
    let events: Vec<&str> = words.iter().filter_map(known).collect();
    if events.is_empty() || events.len() != words.len() {
        reader.complain("Events", format!("'Events' must hold one or more of {}.", EVENTS.join(", ")));
    }
    reader.finish(Webhook { name, url, is_active, events })
}

/// `GET /v2/webhooks`.
pub fn list(state: &State, _: &Call) -> Outcome {
    Ok(Reply::List(List::render(state.webhooks.iter(), 0, 100)))
}

/// `POST /v2/webhooks`.
pub fn create(state: &mut State, call: &Call) -> Outcome {
    let webhook = read(call)?;
    if state.webhooks.iter().any(|other| other.name == webhook.name) {
        return Err(Problem::conflict(format!("The webhook '{}' already exists.", webhook.name)));
    }
    state.webhooks.push(webhook);
    Ok(Reply::Done(StatusCode::CREATED))
}

/// `PUT /v2/webhooks`.
pub fn update(state: &mut State, call: &Call) -> Outcome {
    let webhook = read(call)?;
    let old = state.webhooks.iter_mut().find(|other| other.name == webhook.name);
    let old = old.ok_or_else(|| Problem::missing("Webhook", &webhook.name))?;
    *old = webhook;
    Ok(Reply::Done(StatusCode::OK))
}

/// `DELETE /v2/webhooks/{webhookName}`.
pub fn delete(state: &mut State, call: &Call) -> Outcome {
    let at = state.webhooks.iter().position(|webhook| webhook.name == call.param(0));
    state.webhooks.remove(at.ok_or_else(|| Problem::missing("Webhook", call.param(0)))?);
    Ok(Reply::Done(StatusCode::OK))
}

#[cfg(test)]
mod tests {
    use super::super::state::testing::{call, content, param, query};
    use super::*;
    use serde_json::json;

    #[test]
    fn a_webhook_is_created_once_changed_and_deleted() {
        let mut state = State::default();
        let body = call(
            &json!({"Name": "w", "Url": "https://shop.example.com/hook?token=t", "IsActive": true, "Events": ["orders_create"]}),
        );
        assert!(matches!(create(&mut state, &body), Ok(Reply::Done(StatusCode::CREATED))));
        assert_eq!(create(&mut state, &body).unwrap_err().status, 409);
        assert_eq!(content(list(&state, &query("")))[0]["Events"], json!(["ORDERS_CREATE"]));
        assert!(update(&mut state, &body).is_ok() && delete(&mut state, &param("w", &Value::Null)).is_ok());
        assert_eq!(update(&mut state, &body).unwrap_err().status, 404);
        assert_eq!(delete(&mut state, &param("w", &Value::Null)).unwrap_err().status, 404);
    }

    #[test]
    fn an_unknown_event_is_refused() {
        let body = call(&json!({"Name": "w", "Url": "https://shop.example.com", "Events": ["ORDERS_CREATE", "RAIN"]}));
        assert_eq!(create(&mut State::default(), &body).unwrap_err().validation[0].0, "Events");
    }
}
