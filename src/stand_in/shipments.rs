//! Shipments: all of an order or a part of it, never more than is open; tracking can be changed later.

use super::envelope::{List, Outcome, Problem, Reply};
use super::fields::{Object, Reader};
use super::order_view::{line as line_view, moment};
use super::orders::{Line, Order};
use super::state::{Call, State};
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// One shipment.
#[derive(Debug)]
pub struct Shipment {
    /// The merchant's number, unique.
    pub no: String,
    /// The order that it belongs to.
    pub merchant_order_no: String,
    /// Product number and pieces.
    pub lines: Vec<(String, i64)>,
    tracking: Tracking,
    extra: Map<String, Value>,
    shipped_at: Option<String>,
    created: Timestamp,
    updated: Timestamp,
}

#[derive(Debug, Default)]
struct Tracking {
    method: Option<String>,
    number: Option<String>,
    url: Option<String>,
    return_number: Option<String>,
    country: Option<String>,
}

/// A wanted line: path for complaints, product number, pieces.
pub type Wanted = (String, String, i64);

/// Reads `Lines: [{MerchantProductNo, Quantity}]`.
pub fn wanted_lines(reader: &mut Reader, request: &Object) -> Vec<Wanted> {
    let lines = reader.lines(request, "Lines");
    let read = |line: &Object| {
        (line.path(""), reader.required_text(line, "MerchantProductNo", 64), reader.quantity(line, "Quantity"))
    };
    lines.iter().map(read).collect()
}

/// Takes pieces from an order's lines, all or nothing: `left` says how many a line still has, `take` takes them.
pub fn take_pieces(
    order: &mut Order,
    wanted: &[Wanted],
    left: impl Fn(&Line) -> i64,
    take: impl Fn(&mut Line, i64),
) -> Result<(), Problem> {
    let mut reader = Reader::default();
    let mut lines = order.lines.clone();
    for (path, product_no, quantity) in wanted {
        match order.line_at(product_no).map(|at| &mut lines[at]) {
            None => {
                reader
                    .complain(format!("{path}MerchantProductNo"), format!("The order has no product '{product_no}'."));
            }
            Some(line) if line.by_marketplace => {
                reader.complain(
                    format!("{path}MerchantProductNo"),
                    format!("The product '{product_no}' is fulfilled by the marketplace."),
                );
            }
            Some(line) if *quantity > left(line) => {
                let complaint = format!("'Quantity' must be less than or equal to '{}'.", left(line));
                reader.complain(format!("{path}Quantity"), complaint);
            }
            Some(line) => take(line, *quantity),
        }
    }
    reader.finish(())?;
    order.lines = lines;
    Ok(())
}

/// `POST /v2/shipments`.
pub fn create(state: &mut State, call: &Call) -> Outcome {
    let body = call.json()?;
    let mut reader = Reader::default();
    let request = reader.object(&body, "");
    let no = reader.required_text(&request, "MerchantShipmentNo", 250);
    let merchant_order_no = reader.required_text(&request, "MerchantOrderNo", 50);
    let wanted = wanted_lines(&mut reader, &request);
    let tracking = tracking(&mut reader, &request);
    let extra = reader.dictionary(&request, "ExtraData");
    let shipped_at = reader.text(&request, "ShipmentDate", 64);
    reader.finish(())?;
    if state.shipments.iter().any(|shipment| shipment.no == no) {
        return Err(Problem::conflict(format!("The merchant shipment number '{no}' is already in use.")));
    }
    let order = state.order_mut(&merchant_order_no)?;
    take_pieces(order, &wanted, Line::open, |line, pieces| line.shipped += pieces)?;
    order.changed(call.now);
    let lines = wanted.into_iter().map(|(_, product_no, pieces)| (product_no, pieces)).collect();
    let shipment =
        Shipment { no, merchant_order_no, lines, tracking, extra, shipped_at, created: call.now, updated: call.now };
    state.shipments.push(shipment);
    Ok(Reply::Done(StatusCode::CREATED))
}

fn tracking(reader: &mut Reader, request: &Object) -> Tracking {
    Tracking {
        method: reader.text(request, "Method", 50),
        number: reader.text(request, "TrackTraceNo", 50),
        url: reader.text(request, "TrackTraceUrl", 250),
        return_number: reader.text(request, "ReturnTrackTraceNo", 50),
        country: reader.text(request, "ShippedFromCountryCode", 3),
    }
}

/// `PUT /v2/shipments/{merchantShipmentNo}`: method and number are required, the rest is replaced too.
pub fn update(state: &mut State, call: &Call) -> Outcome {
    let body = call.json()?;
    let mut reader = Reader::default();
    let request = reader.object(&body, "");
    reader.required_text(&request, "Method", 50);
    reader.required_text(&request, "TrackTraceNo", 50);
    let tracking = tracking(&mut reader, &request);
    let tracking = reader.finish(tracking)?;
    let shipment = state.shipments.iter_mut().find(|shipment| shipment.no == call.param(0));
    let shipment = shipment.ok_or_else(|| Problem::missing("Shipment", call.param(0)))?;
    (shipment.tracking, shipment.updated) = (tracking, call.now);
    Ok(Reply::Done(StatusCode::OK))
}

/// `GET /v2/shipments/merchant`.
pub fn list(state: &State, call: &Call) -> Outcome {
    let query = &call.query;
    let mut found = Vec::new();
    for shipment in &state.shipments {
        let by_word = query.admits("merchantshipmentnos", &shipment.no)
            && query.admits("merchantordernos", &shipment.merchant_order_no)
            && query.admits("method", shipment.tracking.method.as_deref().unwrap_or_default());
        if by_word && query.within("fromcreatedate", "tocreatedate", Some(shipment.created))? {
            found.extend(state.order(&shipment.merchant_order_no).map(|order| view(shipment, order)));
        }
    }
    Ok(Reply::List(List::render(found.iter(), query.page()?, 100)))
}

fn view(shipment: &Shipment, order: &Order) -> Value {
    let channel = super::tenant::channel(order.channel_id);
    let tracking = &shipment.tracking;
    let lines: Vec<Value> =
        shipment.lines.iter().filter_map(|(no, pieces)| shipment_line(order, no, *pieces)).collect();
    json!({
        "MerchantShipmentNo": shipment.no, "MerchantOrderNo": shipment.merchant_order_no, "ChannelShipmentNo": null,
        "ChannelOrderNo": order.channel_order_no, "ChannelId": channel.id, "GlobalChannelId": channel.global_id,
        "Lines": lines, "CreatedAt": moment(shipment.created), "UpdatedAt": moment(shipment.updated),
        "ExtraData": shipment.extra, "TrackTraceNo": tracking.number, "TrackTraceUrl": tracking.url,
        "ReturnTrackTraceNo": tracking.return_number, "Method": tracking.method,
        "ShippedFromCountryCode": tracking.country, "ShippedFromStockLocationId": null, "ShipmentDate": shipment.shipped_at,
    })
}

fn shipment_line(order: &Order, product_no: &str, pieces: i64) -> Option<Value> {
    let line = &order.lines[order.line_at(product_no)?];
    Some(json!({
        "MerchantProductNo": product_no, "MerchantBundleProductNo": null, "ChannelProductNo": format!("CH-{product_no}"),
        "OrderLine": line_view(order, line), "ShipmentStatus": "SHIPPED", "ExtraData": {}, "Quantity": pieces,
    }))
}

#[cfg(test)]
mod tests {
    use super::super::orders;
    use super::super::seed::testing::acknowledged;
    use super::super::state::testing::{call, content, param, query};
    use super::*;

    fn ship(state: &mut State, no: &str, product: &str, pieces: i64) -> Outcome {
        let lines = json!([{"MerchantProductNo": product, "Quantity": pieces}]);
        create(
            state,
            &call(
                &json!({"MerchantShipmentNo": no, "MerchantOrderNo": "M-1", "Lines": lines, "Method": "PostNL", "TrackTraceNo": "3S1"}),
            ),
        )
    }

    fn status(state: &State) -> Value {
        content(orders::list(state, &query("merchantOrderNos=M-1")))[0]["Status"].clone()
    }

    #[test]
    fn an_order_is_shipped_when_its_last_piece_is() {
        let mut state = acknowledged("M-1", &[("A", 3)]);
        assert!(matches!(ship(&mut state, "S-1", "A", 2), Ok(Reply::Done(StatusCode::CREATED))));
        assert_eq!(status(&state), "IN_PROGRESS");
        assert!(ship(&mut state, "S-2", "A", 1).is_ok());
        assert_eq!(status(&state), "SHIPPED");
        assert_eq!(content(list(&state, &query("merchantShipmentNos=S-2")))[0]["Lines"][0]["Quantity"], 1);
    }

    #[test]
    fn no_more_is_shipped_than_is_open() {
        let mut state = acknowledged("M-1", &[("A", 3)]);
        assert!(ship(&mut state, "S-1", "A", 2).is_ok());
        assert_eq!(ship(&mut state, "S-2", "A", 2).unwrap_err().validation[0].0, "Lines[0].Quantity");
        assert_eq!(ship(&mut state, "S-2", "B", 1).unwrap_err().status, 400);
        let twice = json!([{"MerchantProductNo": "A", "Quantity": 1}, {"MerchantProductNo": "A", "Quantity": 1}]);
        let body = json!({"MerchantShipmentNo": "S-3", "MerchantOrderNo": "M-1", "Lines": twice});
        assert_eq!(create(&mut state, &call(&body)).unwrap_err().validation[0].0, "Lines[1].Quantity");
        assert_eq!(state.shipments.len(), 1);
    }

    #[test]
    fn a_shipment_number_is_used_once_and_the_order_must_be_known() {
        let mut state = acknowledged("M-1", &[("A", 3)]);
        assert!(ship(&mut state, "S-1", "A", 1).is_ok());
        assert_eq!(ship(&mut state, "S-1", "A", 1).unwrap_err().status, 409);
        let mut other = acknowledged("M-2", &[("A", 3)]);
        assert_eq!(ship(&mut other, "S-1", "A", 1).unwrap_err().status, 404);
    }

    #[test]
    fn tracking_is_changed_later() {
        let mut state = acknowledged("M-1", &[("A", 1)]);
        assert!(ship(&mut state, "S-1", "A", 1).is_ok());
        assert!(update(&mut state, &param("S-1", &json!({"Method": "DHL", "TrackTraceNo": "JD9"}))).is_ok());
        assert_eq!(content(list(&state, &query("")))[0]["TrackTraceNo"], "JD9");
        assert_eq!(update(&mut state, &param("S-1", &json!({"Method": "DHL"}))).unwrap_err().status, 400);
        assert_eq!(
            update(&mut state, &param("S-9", &json!({"Method": "DHL", "TrackTraceNo": "1"}))).unwrap_err().status,
            404
        );
    }
}
