//! Cancellations: pieces that will not be shipped.

use super::envelope::{List, Outcome, Problem, Reply};
use super::fields::Reader;
use super::order_view::moment;
use super::orders::Line;
use super::shipments::{take_pieces, wanted_lines};
use super::state::{Call, State};
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

const REASONS: [&str; 6] = ["NOT_IN_STOCK", "DAMAGED", "INCOMPLETE", "CLIENT_CANCELLED", "INVALID_ADDRESS", "OTHER"];

/// One cancellation.
#[derive(Debug)]
pub struct Cancellation {
    id: i64,
    no: String,
    merchant_order_no: String,
    channel_order_no: String,
    lines: Vec<(i64, String, i64)>,
    reason: Option<String>,
    reason_code: &'static str,
    created: Timestamp,
}

/// `POST /v2/cancellations`.
pub fn create(state: &mut State, call: &Call) -> Outcome {
    let body = call.json()?;
    let mut reader = Reader::default();
    let request = reader.object(&body, "");
    let no = reader.required_text(&request, "MerchantCancellationNo", 250);
    let merchant_order_no = reader.required_text(&request, "MerchantOrderNo", 50);
    let wanted = wanted_lines(&mut reader, &request);
    let reason = reader.text(&request, "Reason", usize::MAX);
    let reason_code = reader.choice(&request, "ReasonCode", &REASONS).unwrap_or("OTHER");
    reader.finish(())?;
    if state.cancellations.iter().any(|cancellation| cancellation.no == no) {
        return Err(Problem::conflict(format!("The merchant cancellation number '{no}' is already in use.")));
    }
    let order = state.order_mut(&merchant_order_no)?;
    take_pieces(order, &wanted, Line::open, |line, pieces| line.cancelled += pieces)?;
    order.changed(call.now);
    let channel_order_no = order.channel_order_no.clone();
    let id = state.next_id();
    let lines = wanted.into_iter().map(|(_, product_no, pieces)| (state.next_id(), product_no, pieces)).collect();
    let created = call.now;
    state.cancellations.push(Cancellation {
        id,
        no,
        merchant_order_no,
        channel_order_no,
        lines,
        reason,
        reason_code,
        created,
    });
    Ok(Reply::Done(StatusCode::CREATED))
}

/// `GET /v2/cancellations/merchant`.
pub fn list(state: &State, call: &Call) -> Outcome {
    let since = call.query.date("createdsince")?;
    let found = state.cancellations.iter().filter(|each| since.is_none_or(|since| each.created >= since));
    let found: Vec<Value> = found.map(view).collect();
    Ok(Reply::List(List::render(found.iter(), call.query.page()?, 100)))
}

fn view(cancellation: &Cancellation) -> Value {
    let line = |(id, no, pieces): &(i64, String, i64)| json!({"Id": id, "MerchantProductNo": no, "ChannelProductNo": format!("CH-{no}"), "Quantity": pieces});
    json!({
        "Id": cancellation.id, "MerchantCancellationNo": cancellation.no, "MerchantOrderNo": cancellation.merchant_order_no,
        "ChannelOrderNo": cancellation.channel_order_no, "Lines": cancellation.lines.iter().map(line).collect::<Vec<_>>(),
        "CreatedAt": moment(cancellation.created), "Reason": cancellation.reason, "ReasonCode": cancellation.reason_code,
    })
}

#[cfg(test)]
mod tests {
    use super::super::seed::testing::acknowledged;
    use super::super::state::testing::{call, content, query};
    use super::super::{orders, shipments};
    use super::*;

    fn body(no: &str, pieces: i64) -> Value {
        json!({"MerchantCancellationNo": no, "MerchantShipmentNo": no, "MerchantOrderNo": "M-1", "Lines": [{"MerchantProductNo": "A", "Quantity": pieces}]})
    }

    fn status(state: &State) -> Value {
        content(orders::list(state, &query("")))[0]["Status"].clone()
    }

    #[test]
    fn an_order_that_is_cancelled_whole_is_canceled() {
        let mut state = acknowledged("M-1", &[("A", 2)]);
        assert!(create(&mut state, &call(&body("C-1", 2))).is_ok());
        assert_eq!(status(&state), "CANCELED");
        assert_eq!(content(list(&state, &query("")))[0]["MerchantCancellationNo"], "C-1");
    }

    #[test]
    fn a_part_cancelled_and_the_rest_shipped_is_shipped() {
        let mut state = acknowledged("M-1", &[("A", 2)]);
        assert!(create(&mut state, &call(&body("C-1", 1))).is_ok());
        assert!(shipments::create(&mut state, &call(&body("S-1", 1))).is_ok());
        assert_eq!(status(&state), "SHIPPED");
    }

    #[test]
    fn shipped_pieces_cannot_be_cancelled_and_a_number_is_used_once() {
        let mut state = acknowledged("M-1", &[("A", 2)]);
        assert!(shipments::create(&mut state, &call(&body("S-1", 1))).is_ok());
        assert_eq!(create(&mut state, &call(&body("C-1", 2))).unwrap_err().status, 400);
        assert!(create(&mut state, &call(&body("C-1", 1))).is_ok());
        assert_eq!(create(&mut state, &call(&body("C-1", 1))).unwrap_err().status, 409);
    }
}
